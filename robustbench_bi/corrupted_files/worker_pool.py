"""Work shared out over processes that stop, with nothing half done, when the one that started them stops."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_COMPLETED, CancelledError, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from multiprocessing.synchronize import Event
from typing import Any, TypeVar

import torch

from robustbench_bi.errors import DataError
from robustbench_bi.ground.worker_process import deaf_to_ctrl_c, obey_parent
from robustbench_bi.ops.share_out import torch_threads

GRACE = 2.0  # seconds that a worker has to clear away what it has half done, when its parent is gone

Job = TypeVar("Job")

_stop: Event | None = None


def in_processes(
    function: Callable[[Job], object], jobs: Iterable[Job], workers: int, finished: Callable[[Job], None]
) -> None:
    """Call a function on each job, in any order, torch with one thread in each process.

    Args:
        function: of a module, and jobs that can be pickled. A long one calls `stop_if_asked` now and then.
        jobs: taken one by one, two for each worker ahead, so they may be made as they are needed.
        workers: processes; 1 is the calling one.
        finished: called after each job, in the calling process.

    Raises:
        DataError: a worker died.
        Exception: whatever the function, the jobs or `finished` raised first; no further job is begun.

    Example:
        >>> in_processes(abs, [3, -4], 1, print)
        3
        -4
    """
    if workers == 1:
        with torch_threads(1):
            for job in jobs:
                function(job)
                finished(job)
        return
    context = get_context("spawn")  # a fork would copy locks that other threads hold
    stop = context.Event()
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_start_worker, initargs=(stop,)) as pool:
        try:
            running: dict[Future[object], Job] = {}
            for job in jobs:
                with deaf_to_ctrl_c():
                    future = pool.submit(function, job)
                running[future] = job
                if len(running) >= 2 * workers:
                    _collect(running, finished)
            while running:
                _collect(running, finished)
        except BaseException as error:
            stop.set()
            pool.shutdown(cancel_futures=True)
            if isinstance(error, BrokenProcessPool):
                raise DataError(
                    "a worker process died, perhaps for lack of memory: try fewer workers. A script must start its "
                    "work "
                    "under `if __name__ == '__main__':`. Files already written are intact; run again to continue"
                ) from error
            raise


def stop_if_asked() -> None:
    """Raise CancelledError in a worker process whose parent asked it to stop; do nothing elsewhere."""
    if _stop is not None and _stop.is_set():
        raise CancelledError


def _collect(running: dict[Future[Any], Job], finished: Callable[[Job], None]) -> None:
    """Wait for at least one job, and take out those that are done."""
    done, _ = wait(running, return_when=FIRST_COMPLETED)
    for future in done:
        job = running.pop(future)
        future.result()
        finished(job)


def _start_worker(stop: Event) -> None:
    global _stop
    _stop = stop
    obey_parent(stop.set, GRACE)
    torch.set_num_threads(1)

"""How a worker process is started and ends: it leaves Ctrl-C to the one that started it, and does not outlive that."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing import connection, parent_process
from threading import Thread


@contextmanager
def deaf_to_ctrl_c() -> Iterator[None]:
    """Hold SIGINT back in this thread, where the system can; it comes afterwards.

    A process that is started meanwhile inherits that. Ctrl-C reaches every process of a terminal; the parent answers.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def obey_parent(gone: Callable[[], object] = int, grace: float = 0.0) -> None:
    """In a worker process, ignore Ctrl-C, and end when the parent is gone: killed, it can tell nobody.

    Args:
        gone: called when the parent is gone.
        grace: seconds from then to the end.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = parent_process()
    if parent is not None:
        Thread(target=_end_with, args=(parent.sentinel, gone, grace), daemon=True).start()


def _end_with(parent: int, gone: Callable[[], object], grace: float) -> None:
    connection.wait([parent])
    gone()
    time.sleep(grace)
    os._exit(1)

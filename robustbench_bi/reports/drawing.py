"""Figures drawn by a process of their own, while this one works out the numbers of the next."""

from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from robustbench_bi.errors import DataError
from robustbench_bi.ground.cores import available_cores
from robustbench_bi.ground.worker_process import deaf_to_ctrl_c, obey_parent

Written = Callable[[], list[Path]]
"""Returns the files that were written, when they are."""

Begin = Callable[..., Written]
"""Takes a function that writes files, and its arguments."""

_LARGE = 1_000_000
"""Records of all runs from which on a process of its own saves more than its start costs, about a second."""


def when_asked(function: Callable[..., list[Path]], *arguments: Any) -> Written:
    """Write files here, when they are asked for.

    Example:
        >>> when_asked(list, "ab")()
        ['a', 'b']
    """
    return partial(function, *arguments)


@contextmanager
def drawing_aside(records: int) -> Iterator[Begin]:
    """Draw figures in a process of its own, where there are so many records that it pays and a core for it.

    For programs that may be imported again, as the command line may: the process does that.

    Args:
        records: of all runs from whose numbers the figures are drawn.

    Yields:
        What begins to write the files of a figure. Its function and arguments can be pickled.

    Raises:
        DataError: the process died.
    """
    if records < _LARGE or available_cores() == 1:
        yield when_asked
        return
    # A fork would copy locks that other threads hold.
    pool = ProcessPoolExecutor(1, mp_context=get_context("spawn"), initializer=_get_ready)
    try:
        with deaf_to_ctrl_c():
            pool.submit(int)  # it gets ready while the records are read
        yield lambda function, *arguments: pool.submit(function, *arguments).result
    except BrokenProcessPool as error:
        raise DataError(
            "the process that draws the figures died, perhaps for lack of memory; run the command again"
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


def _get_ready() -> None:
    obey_parent()
    import robustbench_bi.reports.figures.accuracy
    import robustbench_bi.reports.write  # noqa: F401

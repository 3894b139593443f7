"""The threads that operators on the CPU share their work out to."""

from __future__ import annotations

import functools
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import torch


def share_out(calls: Sequence[Callable[[], object]], threads: int | None = None) -> None:
    """Make all of the calls, in this thread and in others, in torch's thread count altogether.

    A call is made by whichever thread is free, in the order of the sequence. Threads that wake up late find less to do,
    and none is waited for that has not begun.

    Args:
        calls: they release Python's lock while they compute, as compiled kernels and torch's operators do; the latter
            only where this thread has none inside, see `torch_threads`. Some ten microseconds each at least, and a few
            for each thread.
        threads: how many altogether; by default as many as torch's operators have in this thread.

    Raises:
        Exception: what a call raises, once those that have begun are done.

    Example:
        >>> done = []
        >>> share_out([functools.partial(done.append, number) for number in range(3)])
        >>> sorted(done)
        [0, 1, 2]
    """
    waiting = iter(calls)

    def work() -> None:
        for call in waiting:
            call()

    count = torch.get_num_threads() if threads is None else threads
    futures = [pool(count).submit(work) for _ in range(min(count, len(calls)) - 1)]
    try:
        work()
    finally:
        errors = [future.exception() for future in futures if not future.cancel()]
    for error in errors:
        if error is not None:
            raise error


@contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """Let torch's operators in this thread have so many threads inside, and as many as before afterwards.

    Example:
        >>> with torch_threads(1):
        ...     torch.get_num_threads()
        1
    """
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def pool(count: int) -> ThreadPoolExecutor:
    """Return so many threads, always the same, in which torch's operators do not start threads of their own.

    Example:
        >>> pool(2).submit(torch.get_num_threads).result()
        1
    """
    return _pool(count, os.getpid())


@functools.cache
def _pool(count: int, process: int) -> ThreadPoolExecutor:
    """A forked process has to start its own."""
    before = torch.get_num_threads()
    ready = threading.Barrier(count + 1)

    def start() -> None:
        torch.set_num_threads(1)
        # Until a thread has asked, its number is the last that any thread set.
        torch.get_num_threads()
        ready.wait()

    threads = ThreadPoolExecutor(count, "operator", initializer=start)
    for _ in range(count):
        threads.submit(int)
    ready.wait()
    # What a thread sets is also what threads that start later get; the caller's own number stands.
    torch.set_num_threads(before)
    return threads

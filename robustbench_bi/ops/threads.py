"""The threads that operators on the CPU share their work out to."""

from __future__ import annotations

import functools
import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

Part = TypeVar("Part")


def share_out(work: Callable[[Part], None], parts: Sequence[Part]) -> None:
    """Call work with each of the parts, in torch's thread count of threads; with one part or thread, here.

    In those threads gradients are not recorded, and torch's operators do not start threads of their own.

    Args:
        work: releases Python's lock while it computes, as torch's operators and compiled kernels do; writes its result.
        parts: of similar size, a few for each thread.

    Example:
        >>> import torch
        >>> result = torch.zeros(4)
        >>> share_out(lambda index: result[index].fill_(index), range(4))
        >>> result
        tensor([0., 1., 2., 3.])
    """
    threads = torch.get_num_threads()
    if threads == 1 or len(parts) < 2:
        for part in parts:
            work(part)
        return
    # A tensor made in the caller's inference mode can be written to in that mode alone.
    inference = torch.is_inference_mode_enabled()

    def there(part: Part) -> None:
        with torch.inference_mode(inference), torch.no_grad():
            work(part)

    list(_threads(threads, os.getpid()).map(there, parts))


@functools.cache
def _threads(count: int, process: int) -> ThreadPoolExecutor:
    """Threads in which torch's operators do not start threads of their own; a forked process has to start its own."""
    before = torch.get_num_threads()
    ready = threading.Barrier(count + 1)

    def start() -> None:
        torch.set_num_threads(1)
        # Until a thread has asked, its number is the last that any thread set.
        torch.get_num_threads()
        ready.wait()

    pool = ThreadPoolExecutor(count, "operator", initializer=start)
    for _ in range(count):
        pool.submit(int)
    ready.wait()
    # What a thread sets is also what threads that start later get; the caller's own number stands.
    torch.set_num_threads(before)
    return pool

"""How many threads a batch gets, settled by timing: beside other work, one may be far faster than all.

That holds for all that is done with a batch, its corruption as well as the forward passes: under load each step that
is shared out among threads waits for the one that another process has pushed aside.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import TypeVar

import torch

Result = TypeVar("Result")

TRIALS = 5
"""Batches for each number of threads. Their median counts: beside other work a lucky batch tells little."""
MATTERS_BELOW = 0.1
"""Seconds of a batch: above, waiting for threads is a small part, and trying one thread costs more than it tells.

Unless all threads together got no more than one processor's time: then others hold the machine, and one thread alone
would be about as quick."""
SETTLED_FOR = 30.0
"""Seconds after which it is tried anew, since the load of a machine changes."""


class Threads:
    """Runs work with one thread or with all, whichever was quicker.

    What is computed does not depend on it but for last bits, as with another machine; it is recorded, not identity.

    Args:
        most: the number of threads that torch would use.
        settled: whether it stays with all of them, as for compiled code, which is made for a number of threads.
        clock: seconds.
        processor: seconds of processor time of all threads together.

    Example:
        >>> Threads(2).run(torch.get_num_threads) in (1, 2)
        True
    """

    def __init__(
        self,
        most: int | None = None,
        clock: Callable[[], float] = time.perf_counter,
        settled: bool = False,
        processor: Callable[[], float] = time.process_time,
    ) -> None:
        self.most = torch.get_num_threads() if most is None else most
        self.clock, self.processor = clock, processor
        self.fixed = settled or self.most == 1
        self.chosen: int | None = self.most if self.fixed else None
        self._seconds: dict[int, list[float]] = {}
        self._crowded = False
        self._settled_at = clock()

    def run(self, work: Callable[[], Result]) -> Result:
        """Do work that mostly takes as long as the one before; torch's number of threads is put back."""
        if self.chosen is not None and not self.fixed and self.clock() - self._settled_at > SETTLED_FOR:
            self.chosen, self._seconds, self._crowded = None, {}, False
        threads = self._next() if self.chosen is None else self.chosen
        before = torch.get_num_threads()
        torch.set_num_threads(threads)
        started, worked = self.clock(), self.processor()
        try:
            return work()
        finally:
            torch.set_num_threads(before)
            if self.chosen is None:
                seconds = self.clock() - started
                self._crowded |= threads == self.most and self.processor() - worked < seconds
                self._note(threads, seconds)

    def _next(self) -> int:
        return min((self.most, 1), key=lambda threads: len(self._seconds.get(threads, [])))

    def _note(self, threads: int, seconds: float) -> None:
        self._seconds.setdefault(threads, []).append(seconds)
        tried = self._seconds
        if len(tried) == 1 and len(tried[threads]) == 1:
            return  # the first one is slow for other reasons, and decides nothing
        long = len(tried.get(self.most, [])) > 1 and min(tried[self.most]) > MATTERS_BELOW
        if long and not self._crowded:
            self._settle(self.most)
        elif all(len(tried.get(count, [])) > TRIALS for count in (1, self.most)):
            self._settle(min((self.most, 1), key=lambda count: statistics.median(tried[count])))

    def _settle(self, threads: int) -> None:
        self.chosen, self._settled_at = threads, self.clock()

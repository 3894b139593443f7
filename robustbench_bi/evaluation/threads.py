"""How many threads a batch gets, settled by timing: beside other work, one may be far faster than all.

All threads share out a batch, or each of its steps, and wait for the slowest thread: for small networks the waiting
costs more than it gains, and where another process has pushed a thread aside, far more. The other way is one thread
that asks the network, and beside it another that makes the next batch meanwhile and scores the last one; they wait for
each other once a batch.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from typing import TypeVar

import torch

from robustbench_bi.ops.share_out import pool, torch_threads

Made = TypeVar("Made")
Used = TypeVar("Used")
Result = TypeVar("Result")

ROUND = 4
"""Batches in a row for each number of threads, in turns; only from the second on can one be made ahead."""
TRIALS = 2 * ROUND
"""Batches for each number of threads. Their median counts: beside other work a lucky batch tells little."""
MATTERS_BELOW = 0.1
"""Seconds of a batch: above, waiting for threads is a small part, and trying one thread costs more than it tells.

Unless all threads together got no more than one processor's time: then others hold the machine, and one thread alone
would be about as quick."""
SETTLED_FOR = 30.0
"""Seconds after which it is tried anew, since the load of a machine changes."""


class Threads:
    """Makes batches and uses them, with all threads for each, or with one while another makes the next batch.

    What is computed does not depend on it but for last bits, as with another machine; it is recorded, not identity.

    Args:
        most: the number of threads that torch would use.
        settled: whether it stays with all of them, as for compiled code, which is made for a number of threads.
        clock: seconds.
        processor: seconds of processor time of all threads together.

    Example:
        >>> list(Threads(2).each([lambda: 3, lambda: 4], lambda made: made + 1, str))
        ['4', '5']
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

    def each(
        self, makes: Sequence[Callable[[], Made]], use: Callable[[Made], Used], finish: Callable[[Used], Result]
    ) -> Iterator[Result]:
        """Make, use and finish each batch, in order; each mostly takes as long as the one before.

        Args:
            makes: what makes a batch. It may run in another thread, while the batch before is used.
            use: runs in this thread, in which torch's number of threads is put back afterwards.
            finish: what is left to do of a batch. It may run in another thread, while the batch after is used.

        Raises:
            Exception: what was raised first; nothing is made any more then.
        """
        ahead: Future[Made] | None = None
        behind: Future[Result] | None = None
        following = [*makes[1:], None]
        try:
            for make, after in zip(makes, following, strict=True):
                threads = self._threads()
                beside, started, worked = threads < self.most, self.clock(), self.processor()
                with torch_threads(threads):
                    made = make() if ahead is None else ahead.result()
                    ahead = None if after is None or not beside else pool(1).submit(after)
                    used = use(made)
                    done = [] if beside else [finish(used)]
                before = [] if behind is None else [behind.result()]
                behind = pool(1).submit(finish, used) if beside else None
                if self.chosen is None:
                    self._note(threads, self.clock() - started, self.processor() - worked)
                yield from before + done
            if behind is not None:
                yield behind.result()
        finally:
            for future in (ahead, behind):
                if future is not None and not future.cancel():
                    future.exception()  # wait for it: what it reads may be gone when this returns

    def _threads(self) -> int:
        """For the next batch."""
        if self.chosen is not None and not self.fixed and self.clock() - self._settled_at > SETTLED_FOR:
            self.chosen, self._seconds, self._crowded = None, {}, False
        if self.chosen is not None:
            return self.chosen
        return min((self.most, 1), key=lambda threads: len(self._seconds.get(threads, [])) // ROUND)

    def _note(self, threads: int, seconds: float, worked: float) -> None:
        self._crowded |= threads == self.most and worked < seconds
        self._seconds.setdefault(threads, []).append(seconds)
        tried = self._seconds
        if len(tried) == 1 and len(tried[threads]) == 1:
            return  # the first one is slow for other reasons, and decides nothing
        long = len(tried.get(self.most, [])) > 1 and min(tried[self.most]) > MATTERS_BELOW
        if long and not self._crowded:
            self._settle(self.most)
        elif all(len(tried.get(count, [])) >= TRIALS for count in (1, self.most)):
            self._settle(min((self.most, 1), key=lambda count: statistics.median(tried[count])))

    def _settle(self, threads: int) -> None:
        self.chosen, self._settled_at = threads, self.clock()

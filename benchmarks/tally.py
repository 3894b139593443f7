"""How often intervals hold the truth; what the studies of coverage count with."""

from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

Row = dict[str, Any]


class Tally:
    """How often intervals hold the truth, on which side they miss it, and how wide they are."""

    def __init__(self) -> None:
        self.held: dict[tuple[str, str], list[NDArray[np.float64]]] = defaultdict(list)

    def add(self, number: str, method: str, low: float, high: float, truth: float) -> None:
        """One interval."""
        outcome = [low <= truth <= high, truth < low, truth > high, high - low]
        self.held[number, method].append(np.array(outcome, dtype=np.float64))

    def rows(self, **columns: object) -> Iterator[Row]:
        """A row for each number and method."""
        for (number, method), outcomes in self.held.items():
            held, below, above, width = np.mean(outcomes, axis=0)
            yield {
                "number": number, **columns, "method": method, "repeats": len(outcomes),
                "coverage": round(100 * float(held), 2), "truth_below": round(100 * float(below), 2),
                "truth_above": round(100 * float(above), 2), "width": round(float(width), 3),
            }  # fmt: skip

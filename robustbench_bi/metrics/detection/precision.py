"""Average precision of the cells of a run, under any weighting of its images."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robustbench_bi.ground.cores import available_cores
from robustbench_bi.metrics.detection.matching import THRESHOLDS, Indices, Matched, Truth
from robustbench_bi.metrics.statistics import Bounds, Difference, Floats, Statistic, bounds_of

RECALLS = np.linspace(0.0, 1.0, 101)
NUMBERS = ("AP", "AP50", "AP75", "AR")
"""What one pass over the detections gives."""


@dataclass(frozen=True, eq=False)
class Objects:
    """The images of the objects to find, by category.

    Attributes:
        image: int32 (M,).
        starts: int64 (K + 1,), where a category's begin.
    """

    image: NDArray[np.int32]
    starts: Indices

    @classmethod
    def of(cls, truth: Truth, size: str = "all") -> Objects:
        """Those of a truth that are of a size and no crowd."""
        wanted = ~truth.ignored(size)
        category, image = truth.category[wanted], truth.image[wanted]
        order = np.argsort(category, kind="stable")
        starts = np.searchsorted(category[order], np.arange(truth.categories + 1))
        return cls(image[order].astype(np.int32), starts)


@dataclass(frozen=True, eq=False)
class Precision:
    """`NUMBERS` of several cells in percent; the numbers of one size and kind of object.

    Attributes:
        n: images.
        objects: to find; the same in every cell.
        cells: the detections of each.
    """

    n: int
    objects: Objects
    cells: Sequence[Matched]
    _events: dict[int, Any] = field(default_factory=dict, repr=False)
    _last: list[Any] = field(default_factory=list, repr=False)

    def numbers(self, weights: Floats) -> Floats:
        """The numbers (R, C, 4) under weightings (R, n); NaN where there is no object.

        Those of the last weightings are kept, because several numbers are asked for under the same ones.
        """
        if self._last and self._last[0] is weights:
            last: Floats = self._last[1]
            return last
        result: Floats = self._accumulated(np.ascontiguousarray(weights, dtype=np.float64), by_category=False)[:, :, 0]
        self._last[:] = [weights, result]
        return result

    def by_category(self) -> Floats:
        """The numbers of each category, (C, K, 4), each image counted once."""
        numbers: Floats = self._accumulated(np.ones((1, self.n)), by_category=True)[0]
        return numbers

    def _accumulated(self, weights: Floats, by_category: bool) -> Floats:
        from robustbench_bi.metrics.detection.precision_numba_kernels import accumulate, weigh

        wanted = weigh(self.objects.image, self.objects.starts, weights)

        def of_cell(place: int) -> Floats:
            cell, (events, begins) = self.cells[place], self._events_of(place)
            parts = (cell.image, cell.starts, events, begins, wanted, weights, RECALLS, by_category)
            numbers: Floats = accumulate(*parts)
            return numbers

        with ThreadPoolExecutor(available_cores()) as threads:
            numbers: Floats = 100.0 * np.stack(list(threads.map(of_cell, range(len(self.cells)))), axis=1)
        return numbers

    def _events_of(self, place: int) -> Any:
        from robustbench_bi.metrics.detection.precision_numba_kernels import events_of

        if place not in self._events:
            cell = self.cells[place]
            self._events[place] = events_of(cell.hits, cell.left_out, cell.starts, len(THRESHOLDS))
        return self._events[place]


@dataclass(frozen=True, eq=False)
class Undefined:
    """A number that no cell has, such as the AP of masks where there are none."""

    n: int
    cells: int

    def value(self) -> Floats:
        """NaN for each cell (C,)."""
        return np.full(self.cells, np.nan)

    def resampled(self, weights: Floats) -> Floats:
        """NaN (R, C)."""
        return np.full((len(weights), self.cells), np.nan)

    def minus(self, other: Statistic) -> Statistic:
        """The difference to another run's."""
        return Difference(self, other)


@dataclass(frozen=True, eq=False)
class OneNumber:
    """One of `NUMBERS` of each cell, in percent.

    Attributes:
        of: the cells.
        number: its place in `NUMBERS`.
    """

    of: Precision
    number: int

    @property
    def n(self) -> int:
        """The images."""
        return self.of.n

    @property
    def limits(self) -> Bounds:
        """From nothing to everything."""
        return bounds_of(np.eye(len(self.of.cells)), 0.0, 100.0)

    def value(self) -> Floats:
        """The number of each cell (C,)."""
        value: Floats = self.resampled(np.ones((1, self.n)))[0]
        return value

    def resampled(self, weights: Floats) -> Floats:
        """The number of each cell (R, C) under weightings (R, n)."""
        numbers: Floats = self.of.numbers(weights)[:, :, self.number]
        return numbers

    def minus(self, other: Statistic) -> Statistic:
        """The difference to another run's."""
        return Difference(self, other)

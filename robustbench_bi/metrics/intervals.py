"""Intervals with the image as the unit.

The cells of a run share their images, so cells are not independent: an interval that resamples cells, or treats them as
separate samples, is too narrow. Resampling images keeps each image's cells together. Mostly a number is the mean over
images of a per-image score, where an image's score is a weighted sum over its cells; `statistics` tells of others.
Where such scores have bounds, as those of an accuracy have, `bounded` has an interval that needs no resampling.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from robustbench_bi.errors import DataError, InputError
from robustbench_bi.ground.cells import Cell
from robustbench_bi.metrics.bounded import bounded_interval
from robustbench_bi.metrics.bounded import wilson_interval as wilson_interval
from robustbench_bi.metrics.statistics import Floats as Floats
from robustbench_bi.metrics.statistics import ImageMeans, Statistic

# Weights of about 32 MB at a time.
_CHUNK = 2**22


@dataclass(frozen=True)
class Resampling:
    """How a bootstrap is done.

    Attributes:
        confidence: of the intervals, between 0 and 1.
        repeats: resamples; 2,000 place the ends of a 95 % interval within about 3 % of its half-width.
        seed: of the resamples. Same seed, same interval.

    Raises:
        InputError: a value is out of range.
    """

    confidence: float = 0.95
    repeats: int = 2000
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 < self.confidence < 1:
            raise InputError(f"confidence must be between 0 and 1, got {self.confidence}")
        if self.repeats < 100:
            raise InputError(f"repeats must be at least 100, got {self.repeats}")


@dataclass(frozen=True, eq=False)
class Grid:
    """The images and cells of a run, and where the record of each image in each cell stands.

    Attributes:
        image_ids: int64 (n,), increasing.
        labels: (n,), what two runs on the same images must agree in: of classification, the label of each.
        cells: the C cells, in the order of the records.
        rows: int64 (n, C), row numbers of the records; (n, 0) where an image may have any number of them.
        more: what the task keeps beside these, such as its records matched to the truth.
    """

    image_ids: NDArray[np.int64]
    labels: NDArray[np.integer]
    cells: tuple[Cell, ...]
    rows: NDArray[np.int64]
    more: Any = None


def grid_of(image_ids: NDArray[np.int64], labels: NDArray[np.integer], cells: tuple[Cell, ...]) -> Grid:
    """The images and cells, without rows of records."""
    return Grid(image_ids, labels, cells, np.empty((len(image_ids), 0), dtype=np.int64))


def arrange(records: pd.DataFrame) -> Grid:
    """Lay the records of a run out as images × cells.

    Args:
        records: a frame with corruption, severity, image_id and label, in any order.

    Raises:
        InputError: there are no records.
        DataError: an image is missing in a cell, stands twice in it, or changes its label between cells.

    Example:
        >>> frame = pd.DataFrame({"corruption": ["none", "fog", "fog", "none"], "severity": [0, 1, 1, 0],
        ...     "image_id": [7, 9, 7, 9], "label": [1, 0, 1, 0]})
        >>> grid = arrange(frame)
        >>> grid.image_ids.tolist(), grid.cells, grid.rows.tolist()
        ([7, 9], (('none', 0), ('fog', 1)), [[0, 2], [3, 1]])
    """
    if not len(records):
        raise InputError("intervals need at least one record, got none")
    corruption, names = pd.factorize(records["corruption"])
    codes, found = pd.factorize(corruption * 8 + records["severity"].to_numpy())
    cells = tuple((str(names[code // 8]), int(code % 8)) for code in found)
    image_ids, image = np.unique(records["image_id"].to_numpy(), return_inverse=True)
    place = image * len(cells) + codes
    count = np.bincount(place, minlength=len(image_ids) * len(cells))
    if (count != 1).any():
        wrong = int(np.flatnonzero(count != 1)[0])
        corruption_name, severity = cells[wrong % len(cells)]
        raise DataError(
            f"each image must have one record in every cell, but image {image_ids[wrong // len(cells)]} has "
            f"{count[wrong]} in {corruption_name} severity {severity}; evaluate that run again"
        )
    rows = np.empty((len(image_ids), len(cells)), dtype=np.int64)
    rows.flat[place] = np.arange(len(place))
    label = records["label"].to_numpy()
    changed = (label[rows] != label[rows[:, :1]]).any(axis=1)
    if changed.any():
        raise DataError(f"image {image_ids[changed][0]} has different labels in different cells; evaluate again")
    return Grid(image_ids.astype(np.int64), label[rows[:, 0]], cells, rows)


def image_scores(
    records: pd.DataFrame, grid: Grid, scores: Callable[[pd.DataFrame], Floats], weights: Floats
) -> Floats:
    """Per-image scores of S statistics, each a weighted sum over cells.

    Args:
        records: the frame that `grid` was made of.
        grid: from `arrange`.
        scores: takes the records of one cell, gives one score an image; see `Metric.scores`.
        weights: (C, S), the weight of each cell in each statistic.

    Returns:
        Scores (n, S). Their mean over images is the statistic.

    Raises:
        DataError: a score is not finite.
    """
    numbers = records.drop(columns=["corruption", "severity"])
    totals = np.zeros((len(grid.image_ids), weights.shape[1]))
    for number, cell in enumerate(grid.cells):
        used = np.flatnonzero(weights[number])
        if not len(used):
            continue
        own = scores(numbers.take(grid.rows[:, number]))
        if not np.isfinite(own).all():
            raise DataError(f"the records of {cell[0]} severity {cell[1]} hold a value that is not finite")
        totals[:, used] += own[:, None] * weights[number, used]
    return totals


def bootstrap_values(statistic: Statistic, resampling: Resampling) -> Floats:
    """The numbers of a statistic on resampled images.

    Args:
        statistic: S numbers of n images.
        resampling: number of resamples and seed; another statistic of as many images meets the same resamples.

    Returns:
        Numbers (repeats, S). The weights stay within some 150 MB.

    Example:
        >>> bootstrap_values(ImageMeans(np.ones((5, 1))), Resampling(repeats=100)).mean()
        np.float64(1.0)
    """
    n = statistic.n
    generator = np.random.default_rng(resampling.seed)
    parts = []
    step = max(1, _CHUNK // n)
    for start in range(0, resampling.repeats, step):
        count = min(step, resampling.repeats - start)
        drawn = generator.integers(n, size=(count, n))
        drawn += n * np.arange(count)[:, None]
        weights = np.bincount(drawn.ravel(), minlength=count * n).reshape(count, n)
        parts.append(statistic.resampled(weights.astype(np.float64)))
    return np.concatenate(parts)


def bootstrap_means(scores: Floats, resampling: Resampling) -> Floats:
    """`bootstrap_values` of the means of per-image scores (n, S).

    Example:
        >>> bootstrap_means(np.ones((5, 1)), Resampling(repeats=100)).mean()
        np.float64(1.0)
    """
    return bootstrap_values(ImageMeans(scores), resampling)


def bootstrap_interval(of: Statistic | Floats, resampling: Resampling) -> tuple[Floats, Floats]:
    """Percentile bootstrap interval of each number (Efron & Tibshirani 1993, ch. 13), resampling images.

    Args:
        of: S numbers of n images; or per-image scores (n, S), for their means.
        resampling: confidence, resamples and seed.

    Returns:
        Lower and upper ends (S,); NaN with a single image, which says nothing about spread.

    Example:
        >>> low, high = bootstrap_interval(np.repeat([[0.0], [100.0]], 200, axis=0), Resampling())
        >>> bool(44 < low[0] < 46 and 54 < high[0] < 56)
        True
    """
    statistic = ImageMeans(of) if isinstance(of, np.ndarray) else of
    if statistic.n < 2:
        nothing = np.full(len(statistic.value()), np.nan)
        return nothing, nothing.copy()
    tail = (1 - resampling.confidence) / 2
    low, high = np.quantile(bootstrap_values(statistic, resampling), [tail, 1 - tail], axis=0)
    return low, high


def image_interval(of: Statistic, resampling: Resampling) -> tuple[Floats, Floats]:
    """The interval of each number: `bounded_interval` where per-image scores have bounds, else `bootstrap_interval`.

    Args:
        of: S numbers of n images.
        resampling: confidence, and of what is resampled the resamples and the seed.

    Returns:
        Lower and upper ends (S,); NaN with a single image, which says nothing about spread, but for single cells.
    """
    if not isinstance(of, ImageMeans):
        return bootstrap_interval(of, resampling)
    low, high = bounded_interval(of, resampling.confidence)
    rest = ~(np.isfinite(of.limits.least) & np.isfinite(of.limits.most))
    if rest.any():
        low[rest], high[rest] = bootstrap_interval(of.scores[:, rest], resampling)
    return low, high

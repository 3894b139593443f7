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
from robustbench_bi.metrics.distributions import normal_quantile
from robustbench_bi.metrics.halves import halves_interval
from robustbench_bi.metrics.statistics import Floats as Floats
from robustbench_bi.metrics.statistics import ImageMeans, Statistic

# Weights of about 32 MB at a time.
_CHUNK = 2**22
MANY = 10_000
"""From so many images on the limit of a bootstrap of means is nearer to it than 2,000 resamples are."""


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

    def records_of(self, records: pd.DataFrame, place: int) -> pd.DataFrame:
        """The records of a cell, by its place, in the order of the images; where they lie so, a view."""
        rows = self.rows[:, place]
        if len(rows) and (np.diff(rows) == 1).all():
            return records.iloc[rows[0] : rows[-1] + 1]
        return records.take(rows)


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
    cells, codes = cells_of(records)
    image_ids, rows = _rows_of(records["image_id"].to_numpy(), codes, cells)
    label = records["label"].to_numpy()
    labels = label[rows[:, 0]]
    for place in range(1, len(cells)):
        changed = label[rows[:, place]] != labels
        if changed.any():
            raise DataError(f"image {image_ids[changed][0]} has different labels in different cells; evaluate again")
    return Grid(image_ids, labels, cells, rows)


def cells_of(records: pd.DataFrame) -> tuple[tuple[Cell, ...], NDArray[np.integer]]:
    """The cells in the order of the records, and which of them each record is of."""
    corruption = records["corruption"]
    if isinstance(corruption.dtype, pd.CategoricalDtype):
        coded, names = corruption.cat.codes.to_numpy(), corruption.cat.categories
    else:
        coded, names = pd.factorize(corruption)
    codes, found = pd.factorize(coded.astype(np.int32) * 8 + records["severity"].to_numpy().astype(np.int32))
    return tuple((str(names[int(code) // 8]), int(code) % 8) for code in found), codes


def _rows_of(
    image_id: NDArray[np.integer], codes: NDArray[np.integer], cells: tuple[Cell, ...]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The images (n,), increasing, and the row of each in each cell (n, C), a cell's rows side by side in memory.

    Raises:
        DataError: an image is missing in a cell, or stands twice in it.
    """
    number = len(cells)
    ids = np.asarray(image_id[: len(image_id) // number], dtype=np.int64)
    as_written = len(image_id) == len(ids) * number and (np.diff(ids) > 0).all()
    if as_written and all(
        (codes[start : start + len(ids)] == place).all() and (image_id[start : start + len(ids)] == ids).all()
        for place, start in enumerate(range(0, len(image_id), max(1, len(ids))))
    ):
        # Cell after cell, the images of each in the order of their ids: nothing need be looked for.
        return ids, np.arange(len(image_id)).reshape(number, len(ids)).T
    ids, image = np.unique(image_id, return_inverse=True)
    place = codes.astype(np.int64) * len(ids) + image
    count = np.bincount(place, minlength=len(ids) * number)
    if (count != 1).any():
        # The first of the images that are not as they must be.
        wrong, cell = np.argwhere(count.reshape(number, len(ids)).T != 1)[0]
        corruption, severity = cells[cell]
        raise DataError(
            f"each image must have one record in every cell, but image {ids[wrong]} has "
            f"{count[cell * len(ids) + wrong]} in {corruption} severity {severity}; evaluate that run again"
        )
    rows = np.empty(len(place), dtype=np.int64)
    rows[place] = np.arange(len(place))
    return ids.astype(np.int64), rows.reshape(number, len(ids)).T


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
    return weighted_scores(grid, lambda place: scores(grid.records_of(numbers, place)), weights)


def weighted_scores(
    grid: Grid, of_cell: Callable[[int], Floats], weights: Floats, may_be_undefined: bool = False
) -> Floats:
    """Weighted sums over cells of per-image scores.

    Args:
        grid: the images and cells.
        of_cell: place of a cell → one score an image.
        weights: (C, S), the weight of each cell in each statistic.
        may_be_undefined: whether all scores of a cell may be NaN; then those of each statistic that it is part of are.

    Returns:
        Scores (n, S).

    Raises:
        DataError: a score is not finite.
    """
    used = np.flatnonzero(weights.any(axis=1))
    own = np.empty((len(grid.image_ids), len(used)), order="F")
    undefined = np.zeros(len(used), dtype=bool)
    for column, place in enumerate(used):
        own[:, column] = of_cell(int(place))
        undefined[column] = may_be_undefined and bool(np.isnan(own[:, column]).all())
        if not undefined[column] and not np.isfinite(own[:, column]).all():
            corruption, severity = grid.cells[place]
            raise DataError(f"the records of {corruption} severity {severity} hold a value that is not finite")
    own[:, undefined] = 0.0
    totals: Floats = own @ weights[used]
    totals[:, weights[used][undefined].any(axis=0)] = np.nan
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
        # One resample after the other: its counts stay near the processor.
        weights = np.stack([np.bincount(own, minlength=n) for own in drawn]).astype(np.float64)
        parts.append(statistic.resampled(weights))
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

    Of means over `MANY` images or more its limit is computed, without resampling.

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
    if isinstance(statistic, ImageMeans) and statistic.n >= MANY:
        return _limit_of_bootstrap(statistic.scores, resampling.confidence)
    tail = (1 - resampling.confidence) / 2
    low, high = np.quantile(bootstrap_values(statistic, resampling), [tail, 1 - tail], axis=0)
    return low, high


def _limit_of_bootstrap(scores: Floats, confidence: float) -> tuple[Floats, Floats]:
    """What the ends of a percentile bootstrap of means tend to as resamples are added, to within 1/n of their width.

    The distribution of a resampled mean has the mean of the scores, their variance over n and their skewness over √n,
    and its quantiles follow by Cornish and Fisher (Hall 1992, The Bootstrap and Edgeworth Expansion, sec. 2.5).
    """
    mean, centred = scores.mean(axis=0), scores - scores.mean(axis=0)
    variance = (centred**2).mean(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        skewness = np.nan_to_num((centred**3).mean(axis=0) / variance**1.5)
    z, error = normal_quantile((1 - confidence) / 2), np.sqrt(variance / len(scores))
    shift = skewness * (z**2 - 1) / (6 * np.sqrt(len(scores)))
    return mean + error * (shift - z), mean + error * (shift + z)


def image_interval(of: Statistic, resampling: Resampling) -> tuple[Floats, Floats]:
    """The interval of each number, by what it is.

    Of a mean of per-image scores `bounded_interval` where they have bounds, else `bootstrap_interval`; of any other
    number, such as average precision, `halves_interval`.

    Args:
        of: S numbers of n images.
        resampling: confidence, and of what is resampled the resamples and the seed.

    Returns:
        Lower and upper ends (S,); NaN with a single image, which says nothing about spread, but for single cells.
    """
    if not isinstance(of, ImageMeans):
        return halves_interval(of, resampling)
    low, high = bounded_interval(of, resampling.confidence)
    rest = ~(np.isfinite(of.limits.least) & np.isfinite(of.limits.most))
    if rest.any():
        low[rest], high[rest] = bootstrap_interval(of.scores[:, rest], resampling)
    return low, high

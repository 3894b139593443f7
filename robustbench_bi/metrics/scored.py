"""Metrics that are made of one function: per-image scores, whose mean is the metric.

Where a metric is no mean over images, such as a ratio of two means or a number that rests on an order, the scores are
its linearisation: the metric plus the influence of each image (Hampel 1974). Their mean is the metric to the last bits,
and their spread is that of the metric to first order. So means over cells, intervals and paired differences of every
such metric are made in the same way as those of an accuracy.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from robustbench_bi.errors import DataError, InputError

Floats = NDArray[np.float64]

# A softmax in single precision may end this far above 1.
ROUNDING = 1e-6


class Scored:
    """A metric from the function that gives its per-image scores; calling it gives their mean.

    Args:
        scores: frames of records → scores (n,); all NaN where the metric is not defined.

    Example:
        >>> @Scored
        ... def share_of_dogs(records):
        ...     return np.where(records["label"].to_numpy() == 1, 100.0, 0.0)
        >>> share_of_dogs(pd.DataFrame({"label": [0, 1, 1, 1]}))
        75.0
    """

    def __init__(self, scores: Callable[..., Floats]) -> None:
        functools.update_wrapper(self, scores)
        self._scores = scores
        self.reach: Callable[..., tuple[float, float]] | None = None

    def extremes(self, of: Callable[..., tuple[float, float]]) -> Callable[..., tuple[float, float]]:
        """Take, as a decorator, what one more image could score at worst and at best, from the same frames.

        It is wanted where scores are a linearisation: in a ratio an image weighs the more, the smaller the whole is.
        """
        self.reach = of
        return of

    def scores(self, *frames: pd.DataFrame) -> Floats:
        """The per-image scores (n,).

        Raises:
            InputError: there are no records.
        """
        if not all(map(len, frames)):
            raise InputError("a metric needs at least one record, got none")
        return self._scores(*frames)

    def __call__(self, *frames: pd.DataFrame) -> float:
        """The metric; NaN where it is not defined."""
        return float(self.scores(*frames).mean())


def right(records: pd.DataFrame) -> NDArray[np.bool_]:
    """Whether each record is a right answer (n,)."""
    return records["rank"].to_numpy() < 1


def ratio_scores(part: Floats | NDArray[np.bool_], whole: Floats | NDArray[np.bool_]) -> Floats:
    """Linearised scores of 100 Σ part / Σ whole, in percent; all NaN where the whole is nothing.

    Example:
        >>> ratio_scores(np.array([1.0, 0.0, 0.0]), np.array([1.0, 1.0, 0.0])).mean()
        np.float64(50.0)
    """
    size = float(whole.mean())
    if size == 0:
        return np.full(len(whole), np.nan)
    ratio = float(part.mean()) / size
    scores: Floats = 100.0 * (ratio + (part.astype(np.float64) - ratio * whole) / size)
    return scores


def ratio_extremes(part: Floats | NDArray[np.bool_], whole: Floats | NDArray[np.bool_]) -> tuple[float, float]:
    """What one more image of the whole adds to `ratio_scores` at worst and at best, in percent.

    Example:
        >>> ratio_extremes(np.array([1.0, 0.0, 0.0, 0.0]), np.array([1.0, 1.0, 0.0, 0.0]))
        (-50.0, 150.0)
    """
    size = float(whole.mean())
    if size == 0:
        return -np.inf, np.inf
    ratio = float(part.mean()) / size
    return 100.0 * (ratio - ratio / size), 100.0 * (ratio + (1 - ratio) / size)


def confidence_of(records: pd.DataFrame) -> Floats:
    """The confidence of each record (n,).

    Raises:
        DataError: one is outside 0 to 1 or not a number.
    """
    confidence = records["confidence"].to_numpy(dtype=np.float64)
    possible = (confidence >= 0) & (confidence <= 1 + ROUNDING)
    if not possible.all():
        raise DataError(f"confidence must be from 0 to 1, got {confidence[~possible][0]}; make the records again")
    return confidence


def order_by_confidence(records: pd.DataFrame) -> NDArray[np.int64]:
    """The places of the records, the most confident first; where two are alike, that with the smaller image id.

    Raises:
        DataError: a confidence is outside 0 to 1 or not a number.
    """
    confidence = confidence_of(records).astype(np.float32)
    if "image_id" in records and not records["image_id"].is_monotonic_increasing:
        order: NDArray[np.int64] = np.lexsort((records["image_id"].to_numpy(), -confidence))
        return order
    # Floats above zero are ordered as their bits are; the place in the low bits makes a plain sort, which is several
    # times as fast, a stable one.
    bits = (confidence + np.float32(0)).view(np.uint32).astype(np.uint64)
    keys = ((np.uint64(2**32 - 1) - bits) << np.uint64(32)) | np.arange(len(bits), dtype=np.uint64)
    keys.sort()
    return (keys & np.uint64(2**32 - 1)).astype(np.int64)

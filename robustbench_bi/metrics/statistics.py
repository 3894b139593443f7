"""Numbers of a run that can be computed again from a weighting of its images.

That is all a bootstrap needs: it draws images, and an image that was drawn twice weighs two. A mean of per-image scores
is the simplest case; average precision or F1 is none, and has to be computed anew from the images that were drawn.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


class Statistic(Protocol):
    """S numbers of n images.

    A class of a task's own, such as average precision, needs `n`, `value` and `resampled`; as its `minus` it may return
    a `Difference`. Where its numbers have bounds, its `limits` tell them; see `limits_of`.
    """

    @property
    def n(self) -> int:
        """The images."""

    def value(self) -> Floats:
        """The numbers (S,), each image counted once."""

    def resampled(self, weights: Floats) -> Floats:
        """The numbers (R, S) under R weightings (R, n) of the images, each of which sums to n."""

    def minus(self, other: Statistic) -> Statistic:
        """The difference to the same numbers of another run, on the same images in the same order."""


@dataclass(frozen=True, eq=False)
class Bounds:
    """What a single image can score at worst and at best, in each of S numbers.

    Attributes:
        least: (S,), −∞ where a score has no lower bound.
        most: (S,), ∞ where it has no upper one.
        single: bool (S,), whether the number is of one cell alone.
        ends: what the numbers can be at least and at most, (S,) each, where that is less than what an image can score.
    """

    least: Floats
    most: Floats
    single: NDArray[np.bool_]
    ends: tuple[Floats, Floats] | None = None

    @property
    def scale(self) -> tuple[Floats, Floats]:
        """What the numbers can be at least and at most."""
        return self.ends or (self.least, self.most)

    def minus(self, other: Bounds) -> Bounds:
        """The bounds of a difference."""
        (low, high), (others_low, others_high) = self.scale, other.scale
        ends = (low - others_high, high - others_low) if self.ends or other.ends else None
        return Bounds(self.least - other.most, self.most - other.least, np.zeros_like(self.single), ends)

    def weighted(self, weights: Floats) -> Bounds:
        """The bounds of weighted sums, `weights` being (C, S)."""
        with np.errstate(invalid="ignore"):
            ends = np.stack([self.least, self.most])[:, :, None] * weights
        # What does not count may have infinite bounds.
        ends[:, weights == 0] = 0.0
        single = np.count_nonzero(weights, axis=0) == 1
        scale = None if self.ends is None else Bounds(*self.ends, self.single).weighted(weights).scale
        return Bounds(ends.min(axis=0).sum(axis=0), ends.max(axis=0).sum(axis=0), single, scale)

    def at(self, places: Sequence[int] | NDArray[np.intp] | slice) -> Bounds:
        """The bounds of some of the numbers."""
        ends = None if self.ends is None else (self.ends[0][places], self.ends[1][places])
        return Bounds(self.least[places], self.most[places], self.single[places], ends)


def unbounded(number: int) -> Bounds:
    """The bounds of scores of which nothing is known, such as a likelihood's."""
    return Bounds(np.full(number, -np.inf), np.full(number, np.inf), np.zeros(number, dtype=bool))


def bounds_of(weights: Floats, least: float, most: float) -> Bounds:
    """The bounds of weighted sums over cells in each of which an image scores from `least` to `most`.

    Args:
        weights: (C, S), the weight of each cell in each number.
        least: at least this in each cell.
        most: at most this in each cell.

    Example:
        >>> found = bounds_of(np.array([[-1.0, 1.0], [1.0, 0.0]]), 0, 100)
        >>> found.least.tolist(), found.most.tolist(), found.single.tolist()
        ([-100.0, 0.0], [100.0, 100.0], [False, True])
    """
    if not np.isfinite([least, most]).all():
        return unbounded(weights.shape[1])
    up, down = weights.clip(min=0).sum(axis=0), weights.clip(max=0).sum(axis=0)
    return Bounds(up * least + down * most, up * most + down * least, np.count_nonzero(weights, axis=0) == 1)


@dataclass(frozen=True, eq=False)
class ImageMeans:
    """Means of per-image scores.

    Attributes:
        scores: (n, S).
        bounds: of a single image's scores; None where they have none.

    Example:
        >>> ImageMeans(np.array([[0.0], [100.0]])).resampled(np.array([[2.0, 0.0], [1.0, 1.0]])).tolist()
        [[0.0], [50.0]]
    """

    scores: Floats
    bounds: Bounds | None = None

    @property
    def n(self) -> int:
        """The images."""
        return len(self.scores)

    def value(self) -> Floats:
        """The means (S,)."""
        means: Floats = self.scores.mean(axis=0)
        return means

    def resampled(self, weights: Floats) -> Floats:
        """The weighted means (R, S)."""
        means: Floats = weights @ self.scores / self.n
        return means

    def minus(self, other: Statistic) -> Statistic:
        """The mean of each image's difference, which is zero to the last bit where no image differs."""
        if not isinstance(other, ImageMeans):
            return Difference(self, other)
        known = self.bounds is not None and other.bounds is not None
        return ImageMeans(self.scores - other.scores, self.limits.minus(other.limits) if known else None)

    @property
    def limits(self) -> Bounds:
        """The bounds, infinite where none are known."""
        return self.bounds or unbounded(self.scores.shape[1])


@dataclass(frozen=True, eq=False)
class Shares:
    """Percentages of images that are right, each a weighted sum over cells.

    Attributes:
        correct: bool (n, C).
        weights: (C, S), the weight of each cell in each number.
    """

    correct: NDArray[np.bool_]
    weights: Floats

    @property
    def n(self) -> int:
        """The images."""
        return len(self.correct)

    def value(self) -> Floats:
        """The percentages (S,)."""
        shares: Floats = 100.0 * (self.correct.mean(axis=0) @ self.weights)
        return shares

    def resampled(self, weights: Floats) -> Floats:
        """The percentages (R, S)."""
        shares: Floats = 100.0 * (weights @ self.correct / self.n @ self.weights)
        return shares

    def minus(self, other: Statistic) -> Statistic:
        """The mean of each image's change in points."""
        if isinstance(other, Shares):
            changes = 100.0 * ((self.correct.astype(np.int8) - other.correct) @ self.weights)
            own = bounds_of(self.weights, 0, 100)
            return ImageMeans(changes, own.minus(own))
        return Difference(self, other)


@dataclass(frozen=True, eq=False)
class Weighted:
    """Weighted sums of the numbers of another statistic, such as means over cells.

    Attributes:
        of: C numbers.
        weights: (C, S).
    """

    of: Statistic
    weights: Floats

    @property
    def n(self) -> int:
        """The images."""
        return self.of.n

    @property
    def limits(self) -> Bounds:
        """The bounds of the sums."""
        return limits_of(self.of).weighted(self.weights)

    def value(self) -> Floats:
        """The sums (S,)."""
        sums: Floats = self.of.value() @ self.weights
        return sums

    def resampled(self, weights: Floats) -> Floats:
        """The sums (R, S)."""
        sums: Floats = self.of.resampled(weights) @ self.weights
        return sums

    def minus(self, other: Statistic) -> Statistic:
        """The difference of the sums."""
        return Difference(self, other)


@dataclass(frozen=True, eq=False)
class Difference:
    """The numbers of a run minus those of another, resampled with the same weights: the pairing by image.

    It has no `limits`: two runs differ by far less than the −100 to 100 that they might, so images that are added at
    these ends would say more than the images that there are.
    """

    own: Statistic
    other: Statistic

    @property
    def n(self) -> int:
        """The images."""
        return self.own.n

    def value(self) -> Floats:
        """The differences (S,)."""
        return self.own.value() - self.other.value()

    def resampled(self, weights: Floats) -> Floats:
        """The differences (R, S)."""
        return self.own.resampled(weights) - self.other.resampled(weights)

    def minus(self, other: Statistic) -> Statistic:
        """The difference of differences."""
        return Difference(self, other)


@dataclass(frozen=True, eq=False)
class Joined:
    """The numbers of several statistics of the same images, one after the other."""

    parts: Sequence[Statistic]

    @property
    def n(self) -> int:
        """The images."""
        return self.parts[0].n

    @property
    def limits(self) -> Bounds:
        """The bounds of all numbers."""
        return _all_limits(self.parts)

    def value(self) -> Floats:
        """All numbers (S,)."""
        return np.concatenate([part.value() for part in self.parts])

    def resampled(self, weights: Floats) -> Floats:
        """All numbers (R, S)."""
        return np.hstack([part.resampled(weights) for part in self.parts])

    def minus(self, other: Statistic) -> Statistic:
        """The difference of all numbers."""
        return Difference(self, other)


def joined(parts: Sequence[Statistic]) -> Statistic:
    """Several statistics of the same images as one, so that all are resampled together.

    Example:
        >>> joined([ImageMeans(np.ones((2, 1))), ImageMeans(np.zeros((2, 2)))]).value().tolist()
        [1.0, 0.0, 0.0]
    """
    means = [part for part in parts if isinstance(part, ImageMeans)]
    if len(means) == len(parts):
        return ImageMeans(np.hstack([part.scores for part in means]), _all_limits(parts))
    return Joined(tuple(parts))


def limits_of(statistic: Statistic) -> Bounds:
    """The bounds of the numbers of a statistic: its `limits`, or infinite where it has none.

    Example:
        >>> limits_of(ImageMeans(np.ones((2, 1)))).most.tolist()
        [inf]
    """
    found: Bounds | None = getattr(statistic, "limits", None)
    return unbounded(len(statistic.value())) if found is None else found


def _all_limits(parts: Sequence[Statistic]) -> Bounds:
    """The bounds of all numbers of several statistics."""
    every = [limits_of(part) for part in parts]
    least, most, single = (
        np.concatenate([getattr(own, name) for own in every]) for name in ("least", "most", "single")
    )
    low, high = (np.concatenate([own.scale[place] for own in every]) for place in (0, 1))
    return Bounds(least, most, single, (low, high) if any(own.ends for own in every) else None)


@dataclass(frozen=True, eq=False)
class SharesOfFirst:
    """Each number but the first of another statistic as a percentage of the first; NaN where that is not positive.

    Example:
        >>> SharesOfFirst(ImageMeans(np.array([[40.0, 20.0, 10.0]]))).value().tolist()
        [50.0, 25.0]
    """

    of: Statistic

    @property
    def n(self) -> int:
        """The images."""
        return self.of.n

    @property
    def limits(self) -> Bounds:
        """The bounds of the shares, while the first number is what it is."""
        first = self.of.value()[0]
        scale = 100.0 / first if first > 0 else np.nan
        own = limits_of(self.of).at(slice(1, None))
        return Bounds(own.least * scale, own.most * scale, np.zeros_like(own.single))

    def value(self) -> Floats:
        """The shares (S − 1,)."""
        shares: Floats = self.of_numbers(self.of.value()[None])[0]
        return shares

    def resampled(self, weights: Floats) -> Floats:
        """The shares (R, S − 1)."""
        return self.of_numbers(self.of.resampled(weights))

    @staticmethod
    def of_numbers(numbers: Floats) -> Floats:
        """The shares (R, S − 1) of any numbers (R, S) in place of its own."""
        first: Floats = np.where(numbers[:, :1] > 0, numbers[:, :1], np.nan)
        shares: Floats = 100.0 * numbers[:, 1:] / first
        return shares

    @classmethod
    def changes(cls, numbers: Floats, steps: Floats) -> Floats:
        """By how much the shares of numbers (S,) change to first order (R, S − 1) under small steps of these (R, S)."""
        shares: Floats = cls.of_numbers(numbers[None])
        changes: Floats = (100.0 * steps[:, 1:] - shares * steps[:, :1]) / numbers[0]
        return changes

    def minus(self, other: Statistic) -> Statistic:
        """The difference of the shares."""
        return Difference(self, other)


def changes_from_first(statistic: Statistic) -> Statistic:
    """How far each number but the first lies above the first, paired by image.

    Args:
        statistic: S numbers.

    Returns:
        S − 1 differences.

    Example:
        >>> changes_from_first(ImageMeans(np.array([[90.0, 60.0, 40.0]]))).value().tolist()
        [-30.0, -50.0]
    """
    if isinstance(statistic, ImageMeans):
        of_first = [0] * (statistic.scores.shape[1] - 1)
        bounds = statistic.limits.at(slice(1, None)).minus(statistic.limits.at(of_first))
        return ImageMeans(statistic.scores[:, 1:] - statistic.scores[:, :1], bounds)
    number = len(statistic.value()) - 1
    return Weighted(statistic, np.vstack([-np.ones(number), np.eye(number)]))


def chosen(statistic: Statistic, places: Sequence[int]) -> Statistic:
    """Some of the numbers of a statistic.

    Example:
        >>> chosen(ImageMeans(np.array([[90.0, 60.0, 40.0]])), [2, 0]).value().tolist()
        [40.0, 90.0]
    """
    if isinstance(statistic, ImageMeans):
        return ImageMeans(statistic.scores[:, list(places)], statistic.limits.at(list(places)))
    return Weighted(statistic, np.eye(len(statistic.value()))[:, list(places)])

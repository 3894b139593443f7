"""Intervals of numbers that are no mean over images and that few images overstate, such as average precision.

Precision is read at its best from a recall on, and the best of something noisy is too high: the fewer the images, the
higher AP is on average. What an interval is to hold is the number on all images of the kind, of which these are a
sample. A bootstrap does not lead there. Its resamples have fewer different images, so they are higher still, and their
percentiles lie above a number that is too high itself.

Halves of the images are drawn without replacement instead, each with the half that it leaves over (McCarthy 1969).
Their spread is the standard error, as a resample's is: a mean of half of the images varies around the mean of all by
exactly as much as that varies around the truth. And they tell the bias, for they are as samples half as large. Where
it falls as n^−a, it is the halves' mean excess over the number, divided by 2^a − 1. A smooth function of means has
a = 1. Curves that are made to fall, as precision is, converge with a = 2/3 where they fall and 1/2 where they do not
(Prakasa Rao 1969; Groeneboom and Jongbloed 2014), and AP is between. The lower end is corrected for `SLOWEST`, the
upper one for `FASTEST`.

A share of the first of several numbers, such as rPC, is a case of its own, since the shares of halves tell little of
its bias. The bias of the numbers above and below the line is corrected instead, and their shares are taken. The
standard error is that of the share's linear change there (the delta method).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from robustbench_bi.metrics.distributions import student_quantile
from robustbench_bi.metrics.statistics import Bounds, Floats, Joined, SharesOfFirst, Statistic, limits_of

if TYPE_CHECKING:
    from robustbench_bi.metrics.intervals import Resampling

SLOWEST, FASTEST = 0.5, 1.0
"""How fast a bias may fall as images are added: as n to the power of minus this."""
MOST_UNDEFINED = 0.05
"""The share of halves in which a number with an interval may be undefined, as AP is where there is no object."""
# Weights of about 32 MB at a time.
_CHUNK = 2**22


def halves(n: int, pairs: int, seed: int) -> Iterator[Floats]:
    """Weightings (R, n) of the images by halves, of which two that follow each other make up all images.

    Args:
        n: images, at least 2. One half of an odd number has one image more than the other; each sums to n.
        pairs: of halves.
        seed: of what is drawn.

    Example:
        >>> first, second = next(halves(4, 1, seed=0)).tolist()
        >>> sorted(first), [one + other for one, other in zip(first, second)]
        ([0.0, 0.0, 2.0, 2.0], [2.0, 2.0, 2.0, 2.0])
    """
    generator = np.random.default_rng(seed)
    inside = np.arange(n) < n // 2
    step = max(1, _CHUNK // (2 * n))
    for start in range(0, pairs, step):
        count = min(step, pairs - start)
        chosen = generator.permuted(np.broadcast_to(inside, (count, n)), axis=1)
        sizes = np.where(chosen, n / (n // 2), n / (n - n // 2))
        yield np.stack([chosen * sizes, ~chosen * sizes], axis=1).reshape(2 * count, n)


def halves_interval(statistic: Statistic, resampling: Resampling) -> tuple[Floats, Floats]:
    """Student's interval with the standard error of halves of the images, moved by the bias that they show.

    Where the number has bounds, a worst and a best image are added as in `bounded_interval`, so that there is a width
    where no half differs, and ends keep within the bounds. The interval always holds the number itself.

    Args:
        statistic: S numbers of n images.
        resampling: confidence, how many halves, and the seed.

    Returns:
        Lower and upper ends (S,); NaN with a single image, or where more than `MOST_UNDEFINED` of the halves have no
        number.

    Example:
        >>> from robustbench_bi.metrics.intervals import Resampling
        >>> from robustbench_bi.metrics.statistics import ImageMeans
        >>> low, high = halves_interval(ImageMeans(np.repeat([[0.0], [100.0]], 200, axis=0)), Resampling())
        >>> bool(44 < low[0] < 46 and 54 < high[0] < 56)
        True
    """
    if statistic.n < 2:
        nothing = np.full(len(statistic.value()), np.nan)
        return nothing, nothing.copy()
    parts = statistic.parts if isinstance(statistic, Joined) else (statistic,)
    drawn: list[list[Floats]] = [[] for _ in parts]
    for weights in halves(statistic.n, -(-resampling.repeats // 2), resampling.seed):
        for own, part in zip(drawn, parts, strict=True):
            own.append((part.of if isinstance(part, SharesOfFirst) else part).resampled(weights))
    quantile = student_quantile((1 - resampling.confidence) / 2, statistic.n - 1)
    ends = [
        _ends_of_shares(part, np.concatenate(own), quantile)
        if isinstance(part, SharesOfFirst)
        else _ends(part, np.concatenate(own), quantile)
        for own, part in zip(drawn, parts, strict=True)
    ]
    low, high = (np.concatenate(side) for side in zip(*ends, strict=True))
    return low, high


def _ends(statistic: Statistic, drawn: Floats, quantile: float) -> tuple[Floats, Floats]:
    """The interval of numbers from what they are in halves, `drawn` (R, S); `quantile` is Student's."""
    value, n = statistic.value(), statistic.n
    excess = drawn - value
    defined = ~np.isnan(excess)
    number = np.where(defined.mean(axis=0) >= 1 - MOST_UNDEFINED, defined.sum(axis=0), np.nan)
    mean = np.where(defined, excess, 0.0).sum(axis=0) / number
    error = np.sqrt(np.where(defined, (excess - mean) ** 2, 0.0).sum(axis=0) / (number - 1))
    limits = limits_of(statistic)
    biases = [mean / (2**rate - 1) for rate in (SLOWEST, FASTEST)]
    centres = value - np.maximum(*biases), value - np.minimum(*biases)
    low, high = (_end(centre, side * quantile, error, n, limits) for centre, side in zip(centres, (-1, 1), strict=True))
    return np.minimum(low, value), np.maximum(high, value)


def _ends_of_shares(shares: SharesOfFirst, drawn: Floats, quantile: float) -> tuple[Floats, Floats]:
    """The interval of shares from what the numbers that they are of are in halves.

    NaN where a share may have no meaning: in more than `MOST_UNDEFINED` of the halves, or corrected, there is no first.
    """
    value, numbers = shares.value(), shares.of.value()
    defined = ~np.isnan(shares.of_numbers(drawn)).any(axis=1)
    if defined.mean() < 1 - MOST_UNDEFINED:
        return np.full(len(value), np.nan), np.full(len(value), np.nan)
    excess = drawn[defined] - numbers
    mean = excess.mean(axis=0)
    ends = []
    for rate in (SLOWEST, FASTEST):
        corrected = numbers - mean / (2**rate - 1)
        width = quantile * shares.changes(corrected, excess).std(axis=0, ddof=1)
        centre = shares.of_numbers(corrected[None])[0]
        ends.append((centre - width, centre + width))
    limits = limits_of(shares)
    (low, high), (others_low, others_high) = ends
    low, high = (
        np.clip(end, limits.least, limits.most) for end in (np.minimum(low, others_low), np.maximum(high, others_high))
    )
    return np.minimum(low, value), np.maximum(high, value)


def _end(centre: Floats, quantile: float, error: Floats, n: int, limits: Bounds) -> Floats:
    """One end of an interval, with a worst and a best image where there are bounds."""
    known = np.isfinite(limits.least) & np.isfinite(limits.most)
    least, most = (np.where(known, own, 0.0) for own in (limits.least, limits.most))
    middle = (n * centre + least + most) / (n + 2)
    root = np.sqrt((n * error) ** 2 + (least - middle) ** 2 + (most - middle) ** 2)
    bounded = np.clip(middle + quantile * root / (n + 2), least, most)
    end: Floats = np.where(known, bounded, centre + quantile * error)
    return end

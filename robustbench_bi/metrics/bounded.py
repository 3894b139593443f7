"""Intervals of means of bounded per-image scores, which hold near the ends of the scale too.

Where nearly every image scores alike, a bootstrap or a t-interval has hardly any width: it knows of no image that
scores otherwise. Agresti and Coull (1998) mend that for one proportion by adding made-up successes and failures, and
Bonett and Price (2012) for a difference of two paired ones. Here the images are what is added: one that scores worst in
every cell and one that scores best. `docs/statistics.md` has the rule, the others that were tried, and their coverage.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from robustbench_bi.metrics.distributions import normal_quantile, student_quantile
from robustbench_bi.metrics.statistics import Floats, ImageMeans

# The cap of `_capped` is placed within 2^-60 of the scale: as far as a double can tell.
_HALVINGS = 60


def wilson_interval(top1: Floats, n: int, confidence: float = 0.95) -> tuple[Floats, Floats]:
    """Wilson's score interval of single cells (Wilson 1927): unlike a bootstrap it has a width at 0 and 100 % too.

    Args:
        top1: accuracies in percent, any shape.
        n: images, at least 1.
        confidence: between 0 and 1.

    Returns:
        Lower and upper ends in percent, of the shape of `top1`.

    Example:
        >>> low, high = wilson_interval(np.array([100.0]), 500)
        >>> low.round(2).tolist(), high.round(2).tolist()
        ([99.24], [100.0])
    """
    share = np.asarray(top1, dtype=np.float64) / 100
    z = float(normal_quantile((1 - confidence) / 2))
    centre = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * np.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    return 100 * np.clip(centre - half, 0, 1), 100 * np.clip(centre + half, 0, 1)


def bounded_interval(means: ImageMeans, confidence: float) -> tuple[Floats, Floats]:
    """Interval of each mean: Wilson's for the accuracy of a single cell, else Student's with two images added.

    With an image added at either end of the scale, `least` and `most`, the mean is m = (Σ s + least + most) / (n + 2),
    and the ends are m ∓ t √(Σ (s − m)² + (least − m)² + (most − m)²) / (n + 2), t being Student's quantile with n − 1
    degrees of freedom. They are kept within the scale, and the mean of the scores within them. Where one image weighs
    so much that an end would fall as this image gets better, its score is capped for that end: better scores never give
    a lower end.

    Args:
        means: per-image scores (n, S) and their bounds.
        confidence: between 0 and 1.

    Returns:
        Lower and upper ends (S,); NaN where a score has no bounds, and with a single image but for single cells.

    Example:
        >>> from robustbench_bi.metrics.statistics import Bounds
        >>> nothing_right = ImageMeans(np.zeros((100, 1)), Bounds(np.zeros(1), np.full(1, 100.0), np.zeros(1, bool)))
        >>> [end.round(2).tolist() for end in bounded_interval(nothing_right, 0.95)]
        [[0.0], [2.92]]
    """
    scores, bounds, n = means.scores, means.limits, means.n
    low, high = np.full(scores.shape[1], np.nan), np.full(scores.shape[1], np.nan)
    known: NDArray[np.bool_] = np.isfinite(bounds.least) & np.isfinite(bounds.most)
    cell = known & bounds.single & (bounds.least == 0) & (bounds.most > 0)
    other = np.flatnonzero(known & ~cell)
    if n > 1 and len(other):
        of_others = bounds.at(other)
        quantile = student_quantile((1 - confidence) / 2, n - 1)
        low[other] = _lower_end(scores[:, other], of_others.least, of_others.most, quantile)
        # The upper end is the lower one of the scale turned round.
        high[other] = -_lower_end(-scores[:, other], -of_others.most, -of_others.least, quantile)
        if of_others.ends is not None:
            low[other], high[other] = (end.clip(*of_others.ends) for end in (low[other], high[other]))
    mean, scale = scores[:, cell].mean(axis=0), bounds.most[cell] / 100
    ends = wilson_interval(mean / scale, n, confidence)
    # At 0 and 100 % the last bits of an end may pass the mean.
    low[cell], high[cell] = np.minimum(ends[0] * scale, mean), np.maximum(ends[1] * scale, mean)
    return low, high


def _lower_end(scores: Floats, least: Floats, most: Floats, quantile: float) -> Floats:
    """The lower end of each mean, within the scale and not above the mean."""
    n = len(scores)
    cap = scores.max(axis=0)
    centre, root = _centre_and_root(scores, least, most)
    # The lower end falls as a score s rises where quantile × (s − centre) > root.
    outlying = np.flatnonzero(quantile * (cap - centre) > root)
    if len(outlying):
        capped = _capped(scores[:, outlying], least[outlying], most[outlying], quantile)
        centre[outlying], root[outlying] = _centre_and_root(capped, least[outlying], most[outlying])
    end = centre - quantile * root / (n + 2)
    within: Floats = np.minimum(np.maximum(end, least), scores.mean(axis=0))
    return within


def _centre_and_root(scores: Floats, least: Floats, most: Floats) -> tuple[Floats, Floats]:
    """The mean with the added images, and the root of the sum of squares around it."""
    centre = (scores.sum(axis=0) + least + most) / (len(scores) + 2)
    squares = ((scores - centre) ** 2).sum(axis=0) + (least - centre) ** 2 + (most - centre) ** 2
    return centre, np.sqrt(squares)


def _capped(scores: Floats, least: Floats, most: Floats, quantile: float) -> Floats:
    """The scores under the cap at which the lower end is highest.

    Of all images that score no better than these, that gives the highest lower end; so no image that gets better can
    lower it. Raising the cap raises the end as long as quantile × (cap − centre) < root, and lowers it afterwards.
    """
    below, above = scores.min(axis=0), scores.max(axis=0)
    for _ in range(_HALVINGS):
        cap = (below + above) / 2
        centre, root = _centre_and_root(np.minimum(scores, cap), least, most)
        rising = quantile * (cap - centre) <= root
        below, above = np.where(rising, cap, below), np.where(rising, above, cap)
    capped: NDArray[np.float64] = np.minimum(scores, below)
    return capped

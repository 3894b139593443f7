"""How two runs on the same images are told apart: which test, which interval, and which words say so.

An interval and a p-value that stand side by side must say the same about zero; `agreeing` sees to that.

There are two ways. Where a number is a mean of per-image scores, the scores' differences are tested: McNemar's test for
a single cell, a paired t-test for a mean over cells. Where it is not, as average precision is not, there are no scores
to test; then both runs are computed again from the same resampled images, and the spread of their difference is the
standard error that it is judged by.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from robustbench_bi.metrics.bounded import bounded_interval
from robustbench_bi.metrics.distributions import normal_above, normal_quantile
from robustbench_bi.metrics.intervals import Resampling, bootstrap_values
from robustbench_bi.metrics.paired import mcnemar, paired_t_interval, paired_t_test
from robustbench_bi.metrics.statistics import Floats, ImageMeans, Statistic


@dataclass(frozen=True)
class Pairing:
    """A way to tell two runs apart.

    Attributes:
        test: difference, whether each number is of a single cell (S,), resampling → p-values (S,) and each one's test.
        test_words: what the tests are, as the beginning of a sentence.
        interval: difference, confidence → lower and upper ends (S,). It draws nothing that another call would draw
            otherwise, and holds far out too, where a bootstrap's percentiles rest on a handful of resamples.
        interval_words: what it is.
    """

    test: Callable[[Statistic, NDArray[np.bool_], Resampling], tuple[Floats, NDArray[np.str_]]]
    test_words: str
    interval: Callable[[Statistic, float], tuple[Floats, Floats]]
    interval_words: str


def _test_scores(
    difference: Statistic, single: NDArray[np.bool_], resampling: Resampling
) -> tuple[Floats, NDArray[np.str_]]:
    scores = _scores_of(difference)
    exact = mcnemar((scores < 0).sum(axis=0), (scores > 0).sum(axis=0))
    return np.where(single, exact, paired_t_test(scores)), np.where(single, "McNemar", "paired t")


def _interval_of_scores(difference: Statistic, confidence: float) -> tuple[Floats, Floats]:
    scores = _scores_of(difference)
    if not isinstance(difference, ImageMeans) or difference.bounds is None:
        return paired_t_interval(scores, confidence)
    return bounded_interval(difference, confidence)


def _scores_of(difference: Statistic) -> Floats:
    """The per-image scores of a difference.

    Raises:
        TypeError: it has none; its task must be paired by "bootstrap".
    """
    if not isinstance(difference, ImageMeans):
        raise TypeError(f"{type(difference).__name__} is no mean of per-image scores; pair it by bootstrap")
    return difference.scores


def standard_errors(difference: Statistic, resampling: Resampling) -> Floats:
    """The bootstrap's standard errors (S,), over images; NaN with a single image.

    Example:
        >>> errors = standard_errors(ImageMeans(np.array([[0.0], [100.0]] * 200)), Resampling())
        >>> bool(2.4 < errors[0] < 2.6)
        True
    """
    if difference.n < 2:
        return np.full(len(difference.value()), np.nan)
    errors: Floats = bootstrap_values(difference, resampling).std(axis=0, ddof=1)
    return errors


def _test_by_bootstrap(
    difference: Statistic, single: NDArray[np.bool_], resampling: Resampling
) -> tuple[Floats, NDArray[np.str_]]:
    value, error = difference.value(), standard_errors(difference, resampling)
    with np.errstate(divide="ignore", invalid="ignore"):
        p: Floats = np.where((value == 0) & ~np.isnan(error), 1.0, 2 * normal_above(np.abs(value) / error))
    # As for a t-test, no spread says nothing of a difference.
    p[(error == 0) & (value != 0)] = np.nan
    return p, np.full(len(p), "paired bootstrap")


def _interval_by_bootstrap(difference: Statistic, confidence: float) -> tuple[Floats, Floats]:
    value = difference.value()
    half = normal_quantile((1 - confidence) / 2) * standard_errors(difference, Resampling())
    return value - half, value + half


def agreeing(ends: tuple[Floats, Floats], value: Floats, p_values: Floats, confidence: float) -> tuple[Floats, Floats]:
    """Let intervals say of zero what the tests beside them say.

    An interval and a test that are made in two ways may disagree where p is close to 1 − confidence. There the end that
    faces zero becomes the test-based one of Miettinen (1976), d (1 − z / z_p), where z and z_p are the normal quantiles
    of the confidence and of p. It is zero exactly where p is 1 − confidence.

    Args:
        ends: lower and upper ends (S,).
        value: the differences d (S,).
        p_values: two-sided, of no difference (S,); NaN leaves an interval as it is.
        confidence: of the intervals.

    Returns:
        The ends; they exclude zero where p is below 1 − confidence, and nowhere else.

    Example:
        >>> ends = np.array([-0.1, 0.2]), np.array([4.0, 4.0])
        >>> low, high = agreeing(ends, np.array([2.0, 2.0]), np.array([0.04, 0.06]), 0.95)
        >>> low.round(2).tolist(), high.tolist()
        ([0.09, -0.08], [4.0, 4.0])
    """
    low, high = ends
    rejected = p_values < 1 - confidence
    apart = ~np.isnan(p_values) & (value != 0) & (rejected != ((low > 0) | (high < 0)))
    # A p-value that underflows to zero, or is one, has no finite quantile.
    quantile = normal_quantile(np.clip(p_values, 1e-300, 0.999999) / 2)
    facing = value * (1 - normal_quantile((1 - confidence) / 2) / quantile)
    return np.where(apart & (value > 0), facing, low), np.where(apart & (value < 0), facing, high)


PAIRINGS: Mapping[str, Pairing] = {
    "scores": Pairing(
        _test_scores,
        "McNemar's test (mid-p) for a single cell, paired t-test over images for a mean",
        _interval_of_scores,
        "paired t over images, with a worst and a best image added",
    ),
    "bootstrap": Pairing(
        _test_by_bootstrap,
        "the difference over its standard error, from a paired bootstrap over images",
        _interval_by_bootstrap,
        "normal, with the standard error of a paired bootstrap over images",
    ),
}
"""By the name that a task's `PAIRING` has."""

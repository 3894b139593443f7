"""Tests for two models on the same images: McNemar for one cell, a paired t-test over images for means, Holm for many.

In a mean over cells the same image counts several times, so McNemar's test on pooled cells is not valid. There the unit
is the image: its score is its mean correctness over the cells, and the test is on the n differences.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from robustbench_bi.errors import InputError, RunMismatchError
from robustbench_bi.metrics.distributions import at_most, student_above, student_quantile
from robustbench_bi.metrics.intervals import Floats, Grid


def check_paired(grid: Grid, baseline: Grid, name: str = "the run", baseline_name: str = "the baseline") -> None:
    """Check that two runs hold the same images with the same labels; a common subset is never taken in silence.

    Raises:
        RunMismatchError: they differ; the message says in what.
    """
    own, other = set(grid.image_ids.tolist()), set(baseline.image_ids.tolist())
    if own != other:
        only = sorted(own ^ other)
        holder = name if only[0] in own else baseline_name
        raise RunMismatchError(
            f"{name} and {baseline_name} must be evaluated on the same images, but they hold {len(own)} and "
            f"{len(other)}, {len(own & other)} of them in both; image {only[0]} is only in {holder}"
        )
    changed = grid.image_ids[grid.labels != baseline.labels]
    if len(changed):
        raise RunMismatchError(
            f"{name} and {baseline_name} must have the same labels, but {len(changed)} of {len(own)} images differ, "
            f"the first is image {changed[0]}; their class files are not the same"
        )


def mcnemar(losses: ArrayLike, wins: ArrayLike, *, mid_p: bool = True) -> Floats:
    """McNemar's two-sided test on the images that only one of two models classifies correctly.

    Under no difference the losses are binomial with probability 1/2 among losses + wins. Exact at every count. The
    mid-p version counts the observed outcome half, because the exact test is too cautious (Fagerland et al. 2013).

    Args:
        losses: images that only the baseline gets right.
        wins: images that only the model gets right, of the same shape.
        mid_p: False for the classical exact test.

    Returns:
        p-values, of the common shape; 1 where the two never differ.

    Example:
        >>> mcnemar([5, 0], [15, 0], mid_p=False).round(4).tolist()
        [0.0414, 1.0]
    """
    losses, wins = np.broadcast_arrays(np.asarray(losses, dtype=np.int64), np.asarray(wins, dtype=np.int64))
    fewer, both = np.minimum(losses, wins), losses + wins
    # Half of the outcome itself is left out: P(X ≤ k) + P(X ≤ k − 1) is 2 P(X ≤ k) − P(X = k).
    p = at_most(fewer, both) + at_most(fewer - 1 if mid_p else fewer, both)
    return np.where(losses == wins, 1.0, np.minimum(p, 1.0))


def paired_t_test(differences: Floats) -> Floats:
    """Two-sided paired t-test with the image as the unit.

    Args:
        differences: (n, S), the model's score minus the baseline's for each image.

    Returns:
        p-values (S,); 1 where no image differs, NaN with a single image or without any spread.
    """
    n = len(differences)
    if n < 2:
        return np.full(differences.shape[1], np.nan)
    mean, error = differences.mean(axis=0), differences.std(axis=0, ddof=1) / np.sqrt(n)
    with np.errstate(divide="ignore", invalid="ignore"):
        statistic = np.abs(mean) / error
    p: Floats = np.where(mean == 0, 1.0, 2 * student_above(statistic, n - 1))
    # Where every image differs by the same amount there is no spread to judge the mean by.
    p[(error == 0) & (mean != 0)] = np.nan
    return p


def paired_t_interval(differences: Floats, confidence: float) -> tuple[Floats, Floats]:
    """Interval of each mean difference with the image as the unit; it excludes zero where the paired t-test rejects.

    Args:
        differences: (n, S), n at least 2.
        confidence: between 0 and 1.

    Returns:
        Lower and upper ends (S,). Without any spread both are the mean.

    Example:
        >>> low, high = paired_t_interval(np.array([[1.0], [2.0], [3.0]]), 0.95)
        >>> low.round(2).tolist(), high.round(2).tolist()
        ([-0.48], [4.48])
    """
    n = len(differences)
    mean = differences.mean(axis=0)
    half = student_quantile((1 - confidence) / 2, n - 1) * differences.std(axis=0, ddof=1) / np.sqrt(n)
    return mean - half, mean + half


def holm(p_values: ArrayLike) -> Floats:
    """Holm's step-down correction for several tests (Holm 1979); valid whatever their dependence.

    Args:
        p_values: (m,); NaN is no test and stays NaN.

    Returns:
        Corrected p-values (m,): those below α keep the chance of any false alarm among the m below α.

    Raises:
        InputError: a p-value is outside 0 to 1.

    Example:
        >>> holm([0.01, 0.04, 0.03]).round(2).tolist()
        [0.03, 0.06, 0.06]
    """
    p: NDArray[np.float64] = np.asarray(p_values, dtype=np.float64)
    if ((p < 0) | (p > 1)).any():
        raise InputError(f"p-values must be from 0 to 1, got {p[(p < 0) | (p > 1)][0]}")
    corrected = np.full(p.shape, np.nan)
    tests = np.flatnonzero(~np.isnan(p))
    order = tests[np.argsort(p[tests], kind="stable")]
    factors = np.arange(len(order), 0, -1)
    corrected[order] = np.minimum(np.maximum.accumulate(p[order] * factors), 1.0)
    return corrected

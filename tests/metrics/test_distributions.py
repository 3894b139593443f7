"""Tails and quantiles, against those of scipy.stats."""

import numpy as np
import pytest
from scipy.stats import binom, norm, t

from robustbench_bi.metrics.distributions import (
    at_most,
    normal_above,
    normal_quantile,
    student_above,
    student_quantile,
)
from robustbench_bi.metrics.intervals import MANY, Resampling, bootstrap_interval
from robustbench_bi.metrics.paired import mcnemar


def test_they_are_those_of_scipy_stats():
    x = np.array([-3.0, 0.0, 0.4, 8.0, 30.0])
    np.testing.assert_allclose(normal_above(x), norm.sf(x), rtol=1e-13)
    np.testing.assert_allclose(normal_quantile([0.4, 0.025, 1e-12]), norm.isf([0.4, 0.025, 1e-12]), rtol=1e-13)
    for degrees in (1, 7, 49_999):
        np.testing.assert_allclose(student_above(x, degrees), t.sf(x, degrees), rtol=1e-11)
        assert student_quantile(0.001, degrees) == pytest.approx(t.isf(0.001, degrees), rel=1e-11)
    heads, tosses = np.array([0, 3, 500, 24_000, 12]), np.array([1, 20, 1100, 50_000, 12])
    np.testing.assert_allclose(at_most(heads, tosses), binom.cdf(heads, tosses, 0.5), rtol=1e-10)


def test_mcnemar_at_mid_p_leaves_out_half_of_the_outcome():
    losses, wins = np.array([0, 3, 40, 7]), np.array([5, 9, 22, 7])
    fewer, both = np.minimum(losses, wins), losses + wins
    wanted = np.minimum(2 * binom.cdf(fewer, both, 0.5) - binom.pmf(fewer, both, 0.5), 1)
    np.testing.assert_allclose(mcnemar(losses, wins), np.where(losses == wins, 1, wanted), rtol=1e-12)


def test_of_many_images_the_bootstrap_is_its_limit():
    """As near to 20,000 resamples as those are to each other, and not the interval without its skewness."""
    losses = np.random.default_rng(0).lognormal(0, 2, (MANY, 1))
    found = np.concatenate(bootstrap_interval(losses, Resampling()))
    few = np.random.default_rng(1).multinomial(MANY, np.full(MANY, 1 / MANY), size=3000) @ losses[:, 0] / MANY
    resampled = np.quantile(few, [0.025, 0.975])
    half = (found[1] - found[0]) / 2
    np.testing.assert_allclose(found, resampled, atol=0.06 * half)
    assert found.mean() - losses.mean() > 0.02 * half
    constant = bootstrap_interval(np.ones((MANY, 1)), Resampling())
    assert [float(end[0]) for end in constant] == [1.0, 1.0]

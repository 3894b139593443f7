import itertools

import numpy as np
import pandas as pd
import pytest

from robustbench_bi.errors import DataError, InputError
from robustbench_bi.metrics.calibration import (
    calibrated_level,
    calibration_scores,
    expected_calibration_error,
    negative_log_likelihood,
)
from robustbench_bi.metrics.intervals import Resampling, bootstrap_interval


def frame(confidence, correct):
    return pd.DataFrame({"confidence": np.asarray(confidence, "float32"), "rank": 1 - np.asarray(correct, "int32")})


def ece_by_definition(confidence, correct, bins=15):
    """Guo et al. 2017, eq. 3, written as its formula."""
    edges = np.linspace(0, 1, bins + 1)
    total = 0.0
    for low, high in itertools.pairwise(edges):
        inside = (confidence > low) & (confidence <= high)
        if inside.any():
            total += inside.mean() * abs(correct[inside].mean() - confidence[inside].mean())
    return 100 * total


@pytest.mark.parametrize("bins", [1, 15, 40])
def test_against_the_formula(bins):
    generator = np.random.default_rng(3)
    confidence = generator.uniform(0.05, 1, 3000).astype("float32").astype("float64")
    correct = generator.random(3000) < confidence**2
    ours = expected_calibration_error(frame(confidence, correct), bins)
    assert ours == pytest.approx(ece_by_definition(confidence, correct, bins), abs=1e-9)
    assert ours > 5


def test_binned_over_the_whole_set_and_never_per_batch():
    """Two halves that err in opposite ways cancel within a bin; a mean over batches would not see that."""
    sure, unsure = frame([0.75] * 10, [1] * 10), frame([0.75] * 10, [0, 1] * 5)
    whole = expected_calibration_error(pd.concat([sure, unsure]))
    batches = (expected_calibration_error(sure) + expected_calibration_error(unsure)) / 2
    assert whole == pytest.approx(0, abs=1e-9)
    assert batches == pytest.approx(25)


def test_confidence_of_one_and_of_zero_have_a_bin():
    assert expected_calibration_error(frame([1.0, 0.0], [0, 0])) == pytest.approx(50)


def test_an_edge_belongs_to_the_bin_below():
    assert expected_calibration_error(frame([0.5, 0.75], [1, 0]), bins=2) == pytest.approx((50 + 75) / 2)


def test_impossible_values_are_refused():
    for bad in (1.2, -0.1, float("nan")):
        with pytest.raises(DataError, match="confidence must be from 0 to 1, got"):
            calibration_scores(frame([0.5, bad], [1, 1]))
    with pytest.raises(InputError, match="bins must be at least 1, got 0"):
        calibration_scores(frame([0.5], [1]), bins=0)


def test_likelihood_is_a_mean_in_nats():
    assert negative_log_likelihood(pd.DataFrame({"loss": np.float32([0.25, 0.75])})) == 0.5


def simulated(generator, shift, n=500):
    """Records of a network whose accuracy is its confidence minus `shift`."""
    confidence = generator.uniform(0.4, 1.0, n)
    return frame(confidence, generator.random(n) < confidence - shift)


def test_the_calibrated_level_is_the_mean_error_of_calibrated_networks():
    generator = np.random.default_rng(0)
    records = [simulated(generator, 0.0) for _ in range(200)]
    errors = [expected_calibration_error(own) for own in records]
    assert np.mean(errors) == pytest.approx(np.mean([calibrated_level(own) for own in records]), rel=0.05)


@pytest.mark.parametrize("shift", [0.0, 0.05, 0.15])
def test_the_lowered_interval_covers_the_true_error(shift):
    generator = np.random.default_rng(1)
    covered = []
    for _ in range(200):
        own = simulated(generator, shift)
        low, high = bootstrap_interval(calibration_scores(own)[:, None], Resampling(repeats=200))
        covered.append(low[0] - calibrated_level(own) <= 100 * shift <= high[0])
    assert np.mean(covered) >= 0.95

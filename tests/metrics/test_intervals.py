"""Intervals: right layout, right means, bounded memory, and coverage by simulation."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binomtest, norm

from robustbench_bi.errors import DataError, InputError
from robustbench_bi.metrics import intervals
from robustbench_bi.metrics.accuracy import top1_scores
from robustbench_bi.metrics.intervals import (
    Resampling,
    arrange,
    bootstrap_interval,
    bootstrap_means,
    image_scores,
    wilson_interval,
)

CELLS = [("none", 0), ("fog", 1), ("fog", 2), ("snow", 5)]


@pytest.fixture
def records():
    """Six images in four cells; image 10·i has rank i in clean, and one more from cell to cell."""
    rows = [(c, s, 10 * i, i % 3, i + k) for k, (c, s) in enumerate(CELLS) for i in range(6)]
    return pd.DataFrame(rows, columns=["corruption", "severity", "image_id", "label", "rank"])


def correct(generator, n, cells, difficulty=1.2):
    """Correctness (n, cells) of images that are as hard in one cell as in the other, and each cell's true accuracy."""
    ease = np.linspace(1.5, -1.0, cells)
    chance = norm.cdf(ease + difficulty * generator.normal(size=(n, 1)))
    return 100.0 * (generator.random((n, cells)) < chance), 100 * norm.cdf(ease / np.hypot(1, difficulty))


@pytest.mark.parametrize("dtype", ["str", "category", "object"])
def test_order_of_records_does_not_matter(records, dtype):
    shuffled = records.sample(frac=1, random_state=3, ignore_index=True).astype({"corruption": dtype})
    grid = arrange(shuffled)
    assert grid.image_ids.tolist() == [0, 10, 20, 30, 40, 50]
    assert grid.labels.tolist() == [0, 1, 2, 0, 1, 2]
    assert set(grid.cells) == set(CELLS)
    for number, cell in enumerate(grid.cells):
        own = shuffled.loc[grid.rows[:, number]]
        assert (own["image_id"] == grid.image_ids).all()
        assert set(zip(own["corruption"], own["severity"], strict=True)) == {cell}


def test_broken_records_are_named(records):
    with pytest.raises(DataError, match="image 10 has 0 in fog severity 1"):
        arrange(records.drop(index=7))
    with pytest.raises(DataError, match="image 0 has 2 in none severity 0"):
        arrange(pd.concat([records, records[:1]]))
    records.loc[8, "label"] = 7
    with pytest.raises(DataError, match="image 20 has different labels"):
        arrange(records)
    with pytest.raises(InputError, match="at least one record"):
        arrange(records[:0])


def test_scores_are_weighted_sums_over_the_cells_of_an_image(records):
    grid = arrange(records)
    weights = np.array([[1.0, -1.0], [0.0, 0.5], [0.0, 0.5], [0.0, 0.0]])
    scores = image_scores(records, grid, lambda frame: frame["rank"].to_numpy(dtype=float), weights)
    assert scores[:, 0].tolist() == [0, 1, 2, 3, 4, 5]
    assert scores[:, 1].tolist() == [1.5] * 6
    assert image_scores(records, grid, top1_scores, np.eye(4)).mean(axis=0).tolist() == [100 / 6, 0, 0, 0]


def test_values_that_are_not_finite_are_named(records):
    records["loss"] = 1.0
    records.loc[13, "loss"] = np.nan
    with pytest.raises(DataError, match="records of fog severity 2 hold a value that is not finite"):
        image_scores(records, arrange(records), lambda frame: frame["loss"].to_numpy(), np.eye(4))


def test_resampled_means_have_the_mean_and_the_spread_of_a_mean():
    scores = np.random.default_rng(0).normal(3, 2, (400, 2))
    means = bootstrap_means(scores, Resampling(repeats=4000))
    assert means.shape == (4000, 2)
    assert means.mean(axis=0) == pytest.approx(scores.mean(axis=0), abs=0.01)
    assert means.std(axis=0) == pytest.approx(scores.std(axis=0) / 20, rel=0.04)


def test_what_is_the_same_for_every_image_has_no_spread():
    assert (bootstrap_means(np.full((37, 1), 50.0), Resampling(repeats=100)) == 50).all()


def test_the_seed_decides_and_chunks_do_not(monkeypatch):
    scores = np.random.default_rng(0).integers(0, 2, (50, 3)) * 100.0
    means = bootstrap_means(scores, Resampling(repeats=200, seed=4))
    monkeypatch.setattr(intervals, "_CHUNK", 350)
    assert (bootstrap_means(scores, Resampling(repeats=200, seed=4)) == means).all()
    assert (bootstrap_means(scores, Resampling(repeats=200, seed=5)) != means).any()


def test_images_are_resampled_and_not_cells():
    """Ten equal cells tell no more than one: their mean's interval must be as wide as that of one cell."""
    one = np.random.default_rng(1).integers(0, 2, (300, 1)) * 100.0
    low, high = bootstrap_interval(
        np.hstack([one, np.repeat(one, 10, axis=1).mean(axis=1, keepdims=True)]), Resampling()
    )
    assert low[1] == pytest.approx(low[0])
    assert high[1] == pytest.approx(high[0])
    assert high[0] - low[0] > 10


@pytest.mark.parametrize("statistic", ["cell", "mean", "difference"])
def test_bootstrap_covers(statistic):
    """400 samples of 250 images × 6 cells: 95 % intervals hold the truth in 93 to 97 %."""
    generator = np.random.default_rng(11)
    covered = 0
    for seed in range(400):
        sample, truth = correct(generator, 250, 6)
        weights = {"cell": np.eye(6)[2], "mean": np.full(6, 1 / 6), "difference": np.eye(6)[4] - np.eye(6)[0]}[
            statistic
        ]
        low, high = bootstrap_interval(sample @ weights[:, None], Resampling(repeats=400, seed=seed))
        covered += bool(low[0] <= truth @ weights <= high[0])
    assert 0.93 <= covered / 400 <= 0.97


def test_resampling_cells_would_not_cover():
    """The proof that the check above can fail: an interval that takes cells for independent samples is too narrow."""
    generator = np.random.default_rng(11)
    covered = 0
    for seed in range(400):
        sample, truth = correct(generator, 250, 6)
        pooled = sample.reshape(-1, 1)
        low, high = bootstrap_interval(pooled, Resampling(repeats=400, seed=seed))
        covered += bool(low[0] <= truth.mean() <= high[0])
    assert covered / 400 < 0.90


def test_confidence_is_the_width():
    scores = np.random.default_rng(2).integers(0, 2, (500, 1)) * 100.0
    low90, high90 = bootstrap_interval(scores, Resampling(confidence=0.9))
    low99, high99 = bootstrap_interval(scores, Resampling(confidence=0.99))
    half = 100 * np.sqrt(0.25 / 500)
    assert (high90 - low90)[0] / 2 == pytest.approx(1.645 * half, rel=0.06)
    assert (high99 - low99)[0] / 2 == pytest.approx(2.576 * half, rel=0.06)


def test_a_single_image_has_no_interval():
    low, high = bootstrap_interval(np.array([[100.0, 0.0]]), Resampling())
    assert np.isnan(low).all()
    assert np.isnan(high).all()


@pytest.mark.parametrize(("count", "n"), [(0, 10), (3, 10), (500, 500), (200, 500), (21_000, 50_000)])
@pytest.mark.parametrize("confidence", [0.9, 0.95])
def test_wilson_against_scipy(count, n, confidence):
    low, high = wilson_interval(np.array([100 * count / n]), n, confidence)
    reference = binomtest(count, n).proportion_ci(confidence, method="wilson")
    assert low[0] == pytest.approx(100 * reference.low, abs=1e-9)
    assert high[0] == pytest.approx(100 * reference.high, abs=1e-9)


def test_half_widths_of_the_protocol():
    for n, expected in ((1000, 3.0), (5000, 1.4), (50_000, 0.43)):
        low, high = wilson_interval(np.array([40.0]), n)
        assert (high - low)[0] / 2 == pytest.approx(expected, abs=0.06)


def test_out_of_range_is_refused():
    with pytest.raises(InputError, match="confidence must be between 0 and 1, got 95"):
        Resampling(confidence=95)
    with pytest.raises(InputError, match="repeats must be at least 100, got 10"):
        Resampling(repeats=10)

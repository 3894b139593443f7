import numpy as np
import pytest
from scipy.stats import binomtest

from robustbench_bi.metrics.bounded import bounded_interval
from robustbench_bi.metrics.intervals import Resampling, bootstrap_interval, image_interval
from robustbench_bi.metrics.paired import mcnemar
from robustbench_bi.metrics.pairing import agreeing
from robustbench_bi.metrics.statistics import ImageMeans, Shares, bounds_of, changes_from_first, joined

MEANS = np.column_stack([np.eye(6)[2], np.full(6, 1 / 6), [-1, 0.2, 0.2, 0.2, 0.2, 0.2], [-1, 0, 0, 0, 0, 1]])
"""A single cell, a mean of six, a difference of a mean of five to the first cell, and of two cells."""


def means_of(correct, weights=MEANS):
    return ImageMeans(100.0 * (correct @ weights), bounds_of(weights, 0, 100))


def test_a_mean_agrees_with_the_formula():
    correct = np.random.default_rng(0).random((60, 6)) < 0.3
    low, high = (end[1] for end in bounded_interval(means_of(correct), 0.95))
    scores = np.array([*(100 * correct.mean(axis=1)), 0, 100])
    half = 2.000995 * np.sqrt(((scores - scores.mean()) ** 2).sum()) / 62
    assert (low, high) == pytest.approx((scores.mean() - half, scores.mean() + half), abs=1e-4)


def test_a_single_cell_is_wilsons():
    correct = np.arange(60)[:, None] < [0, 5, 30, 55, 60, 60]
    ends = bounded_interval(means_of(correct, np.eye(6)), 0.95)
    for count, low, high in zip((0, 5, 30, 55, 60, 60), *ends, strict=True):
        wilson = binomtest(count, 60).proportion_ci(method="wilson")
        assert (low, high) == pytest.approx((100 * wilson.low, 100 * wilson.high), abs=1e-9)


@pytest.mark.parametrize("share", [0.0, 1.0])
@pytest.mark.parametrize("n", [2, 50, 5000])
def test_nothing_right_and_everything_right_have_a_width(n, share):
    low, high = bounded_interval(means_of(np.full((n, 6), share)), 0.95)
    assert (high - low > 100 / n).all()
    value = means_of(np.full((n, 6), share)).value()
    assert (low <= value).all() and (value <= high).all()
    assert low[:2].min() >= 0 and high[:2].max() <= 100


def test_all_images_alike_in_the_middle_have_a_width_too():
    """Right in the first three cells and wrong in the others: a bootstrap takes the mean for certain."""
    correct = np.tile(np.arange(6) < 3, (50, 1))
    boot = bootstrap_interval(means_of(correct), Resampling())
    assert boot[0][1] == boot[1][1] == 50
    low, high = bounded_interval(means_of(correct), 0.95)
    assert low[1] < 49 and high[1] > 51


@pytest.mark.parametrize("confidence", [0.5, 0.95, 0.9976])
def test_better_counts_never_give_lower_ends(confidence):
    """One answer after another becomes right, from none to all: no end of a mean, and none of a gain, falls."""
    generator = np.random.default_rng(3)
    for cells, n in ((6, 8), (6, 30), (25, 20)):
        weights = np.column_stack([np.eye(cells)[0], np.full(cells, 1 / cells), np.linspace(0, 2, cells) / cells])
        correct = np.zeros((n, cells), dtype=bool)
        order = generator.permutation(n * cells)
        if cells == 25:
            # One image is right everywhere before another is right anywhere: the worst case for a standard error.
            order = np.concatenate([np.arange(3 * cells), 3 * cells + generator.permutation((n - 3) * cells)])
        before = np.full((2, 3), -np.inf)
        for place in order:
            correct.flat[place] = True
            ends = np.array(bounded_interval(means_of(correct, weights), confidence))
            assert (ends >= before - 1e-9).all(), (cells, n, place)
            before = ends
        assert before[1].tolist() == pytest.approx(100 * weights.sum(axis=0))


def test_a_gain_over_a_baseline_never_falls_either():
    generator = np.random.default_rng(4)
    baseline, correct = generator.random((30, 6)) < 0.5, np.zeros((30, 6), dtype=bool)
    weights = MEANS[:, :2]
    before = np.full((2, 2), -np.inf)
    for place in generator.permutation(180):
        correct.flat[place] = True
        change = Shares(correct, weights).minus(Shares(baseline, weights))
        ends = np.array(bounded_interval(change, 0.95))
        assert (ends >= before - 1e-9).all()
        before = ends


def test_a_difference_of_two_cells_agrees_with_p_and_never_falls():
    """All numbers of losses and wins of 24 images, with the interval that stands beside McNemar's p."""
    n, bounds = 24, bounds_of(np.array([[-1.0], [1.0]]), 0, 100)
    ends, p = {}, {}
    for losses in range(n + 1):
        for wins in range(n + 1 - losses):
            scores = np.repeat([-100.0, 100.0, 0.0], [losses, wins, n - losses - wins])[:, None]
            p[losses, wins] = mcnemar([losses], [wins])
            found = bounded_interval(ImageMeans(scores, bounds), 0.95)
            ends[losses, wins] = np.ravel(agreeing(found, scores.mean(axis=0), p[losses, wins], 0.95))
    for (losses, wins), (low, high) in ends.items():
        assert low < high
        assert (low > 0 or high < 0) == (p[losses, wins] < 0.05)
        for better in ((losses, wins + 1), (losses - 1, wins), (losses - 1, wins + 1)):
            assert (ends.get(better, np.inf) >= np.array([low, high]) - 1e-9).all()


def test_without_the_cap_an_end_would_fall():
    """That the tests above can fail: one image that gets better makes the spread grow faster than the mean."""
    weights = np.full((40, 1), 1 / 40)
    tiny = np.zeros((200, 40), dtype=bool)
    tiny[:60, 0] = True
    ends, naive = [], []
    for right in range(20, 41):
        tiny[0, :right] = True
        found = means_of(tiny, weights)
        scores = np.append(found.scores[:, 0], [0, 100])
        ends.append(bounded_interval(found, 0.95)[0][0])
        naive.append(scores.mean() - 1.972 * np.sqrt(((scores - scores.mean()) ** 2).sum()) / 202)
    assert np.diff(naive).min() < 0
    assert np.diff(ends).min() >= 0


def test_copies_of_a_cell_tell_no_more_than_one():
    one = np.random.default_rng(1).random((100, 1)) < 0.4
    other = np.random.default_rng(2).random((100, 1)) < 0.4
    changes = []
    for copies in (1, 5):
        weights = np.full((copies, 1), 1 / copies)
        changes.append(Shares(np.repeat(one, copies, 1), weights).minus(Shares(np.repeat(other, copies, 1), weights)))
    np.testing.assert_allclose(*(bounded_interval(change, 0.95) for change in changes))


def test_bounds_go_with_parts_and_differences():
    found = means_of(np.ones((3, 6)), np.eye(6))
    changes = changes_from_first(found)
    assert changes.limits.least.tolist() == [-100] * 5 and changes.limits.most.tolist() == [100] * 5
    both = joined([found, ImageMeans(np.ones((3, 1)))])
    assert both.limits.most.tolist() == [100] * 6 + [np.inf]
    assert both.limits.single.tolist() == [True] * 6 + [False]


def test_scores_without_bounds_are_resampled():
    losses = np.random.default_rng(0).lognormal(size=(50, 1))
    found = joined([means_of(np.ones((50, 6))), ImageMeans(losses)])
    low, high = image_interval(found, Resampling(repeats=300))
    wanted = bootstrap_interval(losses, Resampling(repeats=300))
    assert (low[-1], high[-1]) == (wanted[0][0], wanted[1][0])
    assert np.isnan(bounded_interval(found, 0.95)[0][-1])


def test_a_single_image_says_nothing_of_a_spread():
    low, high = bounded_interval(means_of(np.ones((1, 6))), 0.95)
    assert np.isnan(low[1:]).all() and np.isnan(high[1:]).all()
    assert low[0] == pytest.approx(20.65, abs=0.01)


@pytest.mark.parametrize(("level", "least"), [(0.01, 93.5), (0.5, 92.5), (0.99, 93.5)])
def test_the_interval_covers(level, least):
    """500 samples of 100 images × 20 cells that share how easy an image is; Student's alone holds 85 % at 1 %."""
    generator = np.random.default_rng(7)
    weights = np.full((20, 1), 1 / 20)
    bar = np.array([-2.326, 0, 2.326])[[0.01, 0.5, 0.99].index(level)]
    held = []
    for _ in range(500):
        latent = 0.8 * generator.standard_normal((100, 1)) + 0.6 * generator.standard_normal((100, 20))
        low, high = bounded_interval(means_of(latent < bar, weights), 0.95)
        held.append(low[0] <= 100 * level <= high[0])
    assert 100 * np.mean(held) >= least

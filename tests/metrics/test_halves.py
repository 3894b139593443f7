import numpy as np
import pytest

from robustbench_bi.metrics.bounded import bounded_interval
from robustbench_bi.metrics.distributions import student_quantile
from robustbench_bi.metrics.halves import halves, halves_interval
from robustbench_bi.metrics.intervals import Resampling, bootstrap_interval, image_interval
from robustbench_bi.metrics.statistics import (
    Difference,
    ImageMeans,
    SharesOfFirst,
    Weighted,
    bounds_of,
    joined,
    limits_of,
)

GENERATOR = np.random.default_rng(0)
QUICK = Resampling(repeats=400)


class OfMeans:
    """A function of the means of scores, (R, S) → (R, 1)."""

    def __init__(self, scores, function, limits=None):
        self.scores, self.function, self.n, self.limits = scores, function, len(scores), limits

    def value(self):
        return self.resampled(np.ones((1, self.n)))[0]

    def resampled(self, weights):
        return self.function(weights @ self.scores / self.n)

    def minus(self, other):
        return Difference(self, other)


def best(means):
    return means.max(axis=1, keepdims=True)


def test_two_halves_make_all_images_and_each_weighs_as_much():
    for n in (2, 7, 10):
        drawn = np.concatenate(list(halves(n, 50, seed=3)))
        assert drawn.shape == (100, n) and drawn.sum(axis=1) == pytest.approx(np.full(100, n))
        assert ((drawn[0::2] > 0) != (drawn[1::2] > 0)).all()
        assert set((drawn[0::2] > 0).sum(axis=1)) == {n // 2}
    assert len(np.unique(drawn > 0, axis=0)) > 50, "others each time"
    assert (next(halves(9, 5, seed=1)) == next(halves(9, 5, seed=1))).all()


def test_chunks_change_no_draw(monkeypatch):
    whole = np.concatenate(list(halves(20, 30, seed=0)))
    monkeypatch.setattr("robustbench_bi.metrics.halves._CHUNK", 200)
    assert (np.concatenate(list(halves(20, 30, seed=0))) == whole).all()


def test_a_mean_has_the_interval_that_means_have():
    scores = 100.0 * (GENERATOR.random((150, 4)) < [0.02, 0.3, 0.7, 1.0])
    limits = bounds_of(np.eye(4), 0, 100)
    one = OfMeans(scores, lambda means: means, limits)
    own = np.array(halves_interval(one, Resampling(repeats=20_000)))
    squares = ((scores - scores.mean(axis=0)) ** 2).sum(axis=0) / 149
    middle = (scores.sum(axis=0) + 100) / 152
    # A worst and a best image, whose squares stand beside those of the mean's standard error.
    root = np.sqrt(150 * squares + middle**2 + (100 - middle) ** 2)
    half = student_quantile(0.025, 149) * root / 152
    assert own == pytest.approx(np.clip([middle - half, middle + half], 0, 100), abs=0.15)
    means = ImageMeans(scores, bounds_of(np.full((2, 4), 0.5), 0, 100))
    assert own == pytest.approx(np.array(bounded_interval(means, 0.95)), abs=1.5)
    assert own[0, 3] < 99 and own[1, 3] == 100, "no image differs, and yet there is a width"


def test_the_truth_is_held_by_what_is_biased_upwards():
    """The best of ten means that are all zero in truth: no number is biased more, and none falls more slowly."""
    generator, held = np.random.default_rng(0), {"halves": 0, "bootstrap": 0}
    for _ in range(600):
        number = OfMeans(generator.normal(0, 1, (100, 10)), best)
        for name, interval in (("halves", halves_interval), ("bootstrap", bootstrap_interval)):
            low, high = interval(number, Resampling(repeats=100))
            assert low[0] <= number.value()[0] <= high[0] or name == "bootstrap"
            held[name] += low[0] <= 0 <= high[0]
    assert held["halves"] > 530, "of 600"
    assert held["bootstrap"] < 300


def test_a_bias_is_corrected_for_by_the_least_above_and_by_the_most_below():
    scores = np.random.default_rng(4).normal(0, 1, (60, 5))
    number = OfMeans(scores, best)
    drawn = np.concatenate([number.resampled(weights) for weights in halves(60, 200, seed=0)])[:, 0]
    value, half = number.value()[0], student_quantile(0.025, 59) * drawn.std(ddof=1)
    excess = drawn.mean() - value
    assert excess > 0.02
    low, high = halves_interval(number, QUICK)
    assert low[0] == pytest.approx(value - excess / (2**0.5 - 1) - half)
    assert high[0] == pytest.approx(value - excess + half)
    turned = np.array(halves_interval(OfMeans(-scores, lambda means: -best(-means)), QUICK))
    assert turned[::-1, 0] == pytest.approx([-low[0], -high[0]])


def test_a_number_that_few_images_define():
    def interval(images):
        present = np.zeros((200, 2))
        present[:images] = [1.0, 1.0]
        present[: images // 2, 0] = 0.0

        def ratio(means):
            with np.errstate(invalid="ignore"):
                return means[:, :1] / means[:, 1:]

        return halves_interval(OfMeans(present, ratio), QUICK)

    assert np.isnan(interval(2)).all() and np.isnan(interval(0)).all()
    few, many = (np.subtract(*interval(images)[::-1])[0] for images in (12, 100))
    assert few > 2 * many
    assert np.isnan(halves_interval(OfMeans(np.ones((1, 1)), best), QUICK)).all()


def test_the_bounds_of_what_is_made_of_numbers():
    scores = 100.0 * (GENERATOR.random((80, 3)) < [0.8, 0.5, 0.2])
    number = OfMeans(scores, lambda means: means, bounds_of(np.eye(3), 0, 100))
    weights = np.array([[-1.0, 0.0], [0.5, 0.5], [0.5, 0.5]])
    sums = limits_of(Weighted(number, weights))
    assert (sums.least.tolist(), sums.most.tolist()) == ([-100, 0], [100, 100])
    assert np.isinf(limits_of(number.minus(number)).most).all()
    shares = limits_of(SharesOfFirst(number))
    assert shares.most == pytest.approx(np.full(2, 10_000 / number.value()[0])) and (shares.least == 0).all()
    every = limits_of(joined([number, SharesOfFirst(number)]))
    assert every.most == pytest.approx([100, 100, 100, *shares.most])
    free = OfMeans(scores, lambda means: means)
    assert np.isinf(limits_of(Weighted(free, weights)).most).all()
    assert not np.isnan(limits_of(Weighted(free, np.eye(3))).least).any()


def test_a_share_is_that_of_the_corrected_numbers():
    """And its error that of its linear change there; the share of halves itself would hardly be corrected."""
    scores = np.random.default_rng(4).normal(3, 2, (80, 6))

    def two(means):
        return np.stack([means[:, :3].max(axis=1) + 1, means[:, 3:].max(axis=1)], axis=1)

    of = OfMeans(scores, two)
    drawn, value = np.concatenate([of.resampled(weights) for weights in halves(80, 200, seed=0)]), of.value()
    mean, ends = drawn.mean(axis=0) - value, []
    for rate in (0.5, 1.0):
        first, second = value - mean / (2**rate - 1)
        step = (drawn - value) @ [-second / first, 1.0] / first
        half = student_quantile(0.025, 79) * 100 * step.std(ddof=1)
        ends.append((100 * second / first - half, 100 * second / first + half))
    low, high = halves_interval(SharesOfFirst(of), QUICK)
    assert (low[0], high[0]) == pytest.approx((min(ends)[0], max(end for _, end in ends)))
    beside = np.array(halves_interval(joined([of, SharesOfFirst(of)]), QUICK))
    assert beside == pytest.approx(np.hstack([halves_interval(of, QUICK), (low, high)]))


def test_a_share_of_what_may_be_zero_has_no_interval():
    scores = np.stack([np.arange(50) < 1, np.arange(50) < 30], axis=1) * 100.0
    limits = bounds_of(np.eye(2), 0, 100)
    assert np.isnan(halves_interval(SharesOfFirst(OfMeans(scores, lambda means: means, limits)), QUICK)).all()
    low, high = halves_interval(SharesOfFirst(OfMeans(scores[:, ::-1], lambda means: means, limits)), QUICK)
    assert low[0] == 0 and high[0] < 20


def test_two_like_runs_differ_by_little():
    """By the spread of their difference alone, which an image that might differ by 100 would drown."""
    scores = 100.0 * (GENERATOR.random((200, 1)) < 0.5)
    others = np.where(np.arange(200)[:, None] < 2, 100 - scores, scores)
    own, other = (OfMeans(part, lambda means: means, bounds_of(np.eye(1), 0, 100)) for part in (scores, others))
    low, high = halves_interval(own.minus(other), Resampling())
    assert high[0] - low[0] == pytest.approx(2 * 1.97 * (scores - others).std(ddof=1) / np.sqrt(200), rel=0.05)


def test_what_is_no_mean_has_its_interval_from_halves():
    number = OfMeans(GENERATOR.normal(0, 1, (50, 3)), best)
    assert np.array(image_interval(number, QUICK)) == pytest.approx(np.array(halves_interval(number, QUICK)))

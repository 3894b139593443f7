import numpy as np
import pytest

from robustbench_bi.metrics.intervals import Resampling, bootstrap_interval, bootstrap_means, bootstrap_values
from robustbench_bi.metrics.paired import paired_t_interval, paired_t_test
from robustbench_bi.metrics.pairing import PAIRINGS
from robustbench_bi.metrics.statistics import (
    Difference,
    ImageMeans,
    Joined,
    Shares,
    Weighted,
    changes_from_first,
    chosen,
    joined,
)

QUICK = Resampling(repeats=300)
GENERATOR = np.random.default_rng(0)
SCORES = GENERATOR.normal(50, 10, (80, 3))
OTHERS = SCORES + GENERATOR.normal(1, 4, (80, 3))


class Plain:
    """The same means, but for a class that no function knows."""

    def __init__(self, scores):
        self.scores, self.n = scores, len(scores)

    def value(self):
        return self.scores.mean(axis=0)

    def resampled(self, weights):
        return weights @ self.scores / self.n

    def minus(self, other):
        return Difference(self, other)


def test_a_mean_of_scores_is_resampled_as_ever():
    means = bootstrap_values(ImageMeans(SCORES), QUICK)
    assert (means == bootstrap_means(SCORES, QUICK)).all()
    drawn = np.random.default_rng(0).integers(80, size=(300, 80))
    assert means == pytest.approx(SCORES[drawn].mean(axis=1))


@pytest.mark.parametrize("of", [ImageMeans, Plain])
def test_parts_sums_and_differences_are_those_of_the_numbers(of):
    statistic, other = of(SCORES), of(OTHERS)
    value, weights = SCORES.mean(axis=0), np.array([[2.0] * 40 + [0.0] * 40])
    half = SCORES[:40].mean(axis=0)
    assert changes_from_first(statistic).value() == pytest.approx(value[1:] - value[0])
    assert changes_from_first(statistic).resampled(weights)[0] == pytest.approx(half[1:] - half[0])
    assert chosen(statistic, [2, 0]).resampled(weights)[0] == pytest.approx(half[[2, 0]])
    assert statistic.minus(other).resampled(weights)[0] == pytest.approx(half - OTHERS[:40].mean(axis=0))
    both = joined([statistic, chosen(other, [1])])
    assert isinstance(both, ImageMeans if of is ImageMeans else Joined)
    assert both.resampled(weights)[0] == pytest.approx([*half, OTHERS[:40, 1].mean()])
    mean = Weighted(statistic, np.full((3, 1), 1 / 3))
    assert (mean.n, mean.value()[0]) == (80, pytest.approx(SCORES.mean()))


def test_a_statistic_of_another_kind_has_the_same_interval():
    ends, others = (bootstrap_interval(of(SCORES), QUICK) for of in (ImageMeans, Plain))
    assert np.array(ends) == pytest.approx(np.array(others))
    assert np.isnan(bootstrap_interval(Plain(SCORES[:1]), QUICK)).all()


def test_a_run_and_its_baseline_meet_the_same_resamples():
    apart = bootstrap_values(Plain(SCORES), QUICK) - bootstrap_values(Plain(OTHERS), QUICK)
    assert bootstrap_values(Plain(SCORES).minus(Plain(OTHERS)), QUICK) == pytest.approx(apart)


def test_shares_are_percentages_of_cells():
    correct = GENERATOR.random((50, 4)) < 0.6
    weights = np.array([[1.0, 0.25], [0.0, 0.25], [0.0, 0.25], [0.0, 0.25]])
    shares, means = Shares(correct, weights), ImageMeans(100.0 * (correct @ weights))
    assert shares.value() == pytest.approx(means.value())
    drawn = np.array([[2.0] * 25 + [0.0] * 25])
    assert shares.resampled(drawn) == pytest.approx(means.resampled(drawn))
    other = Shares(GENERATOR.random((50, 4)) < 0.5, weights)
    assert isinstance(shares.minus(other), ImageMeans)
    assert shares.minus(other).value() == pytest.approx(shares.value() - other.value())
    assert (shares.minus(shares).value() == 0).all()


def test_the_bootstrap_agrees_with_the_paired_t_test_where_both_apply():
    differences = ImageMeans(SCORES[:, :1] + np.array([[-47.0]]))
    single = np.array([False])
    many = Resampling(repeats=4000)
    p, names = PAIRINGS["bootstrap"].test(Plain(differences.scores), single, many)
    assert p[0] == pytest.approx(paired_t_test(differences.scores)[0], rel=0.25)
    assert names.tolist() == ["paired bootstrap"]
    low, high = PAIRINGS["bootstrap"].interval(Plain(differences.scores), 0.95)
    exact = np.array(paired_t_interval(differences.scores, 0.95))
    assert np.array([low, high]) == pytest.approx(exact, abs=0.05 * float(exact[1, 0] - exact[0, 0]))


def test_the_bootstrap_rarely_calls_chance_a_difference():
    alarms = 0
    for seed in range(200):
        scores = np.random.default_rng(seed).normal(0, 1, (60, 1))
        p, _ = PAIRINGS["bootstrap"].test(Plain(scores), np.array([True]), QUICK)
        alarms += p[0] < 0.05
    assert 2 <= alarms <= 20


def test_without_any_spread_a_difference_is_not_tested():
    scores = np.column_stack([np.zeros(5), np.ones(5)])
    p, _ = PAIRINGS["bootstrap"].test(Plain(scores), np.array([True, True]), QUICK)
    assert p[0] == 1 and np.isnan(p[1])
    assert np.isnan(PAIRINGS["bootstrap"].test(Plain(scores[:1]), np.array([True, True]), QUICK)[0]).all()


def test_scores_are_needed_where_they_are_tested():
    with pytest.raises(TypeError, match="Plain is no mean of per-image scores; pair it by bootstrap"):
        PAIRINGS["scores"].interval(Plain(SCORES), 0.95)

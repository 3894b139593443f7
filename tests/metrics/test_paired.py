from math import comb

import numpy as np
import pytest
from scipy.stats import binomtest, norm, ttest_rel

from robustbench_bi.errors import InputError, RunMismatchError
from robustbench_bi.metrics.intervals import Grid, Resampling, bootstrap_interval
from robustbench_bi.metrics.paired import check_paired, holm, mcnemar, paired_t_test


def grid(image_ids, labels=None):
    ids = np.array(image_ids, dtype=np.int64)
    return Grid(ids, np.zeros(len(ids), "int32") if labels is None else np.array(labels), (), np.empty((len(ids), 0)))


def two_models(generator, n, cells, gain=0.0):
    """Correctness of two models on the same images; the second has `gain` in probit units."""
    ease = np.linspace(1.2, -0.8, cells)
    shared = 1.2 * generator.normal(size=(n, 1)) + 0.6 * generator.normal(size=(n, cells))
    first, second = (100.0 * (generator.random((n, cells)) < norm.cdf(ease + shared + own)) for own in (0.0, gain))
    return first, second


def test_the_same_images_pass():
    assert check_paired(grid([1, 2, 3]), grid([1, 2, 3])) is None


def test_other_images_are_named():
    with pytest.raises(
        RunMismatchError,
        match="a and b must be evaluated on the same images, but they hold 3 and 2, 2 of them in both; "
        "image 2 is only in a",
    ):
        check_paired(grid([1, 2, 3]), grid([1, 3]), "a", "b")
    with pytest.raises(RunMismatchError, match="image 1 is only in the baseline"):
        check_paired(grid([2, 3]), grid([1, 2]))


def test_other_labels_are_named():
    with pytest.raises(RunMismatchError, match="1 of 3 images differ, the first is image 2"):
        check_paired(grid([1, 2, 3], [0, 1, 2]), grid([1, 2, 3], [0, 5, 2]))


@pytest.mark.parametrize(("losses", "wins"), [(0, 0), (0, 1), (2, 9), (9, 2), (10, 10), (30, 55), (400, 470)])
def test_mcnemar_against_scipy(losses, wins):
    exact = binomtest(losses, losses + wins).pvalue if losses + wins else 1.0
    assert mcnemar(losses, wins, mid_p=False) == pytest.approx(exact, abs=1e-12)
    if losses != wins:
        outcome = comb(losses + wins, losses) / 2 ** (losses + wins)
        assert mcnemar(losses, wins) == pytest.approx(exact - outcome, abs=1e-12)


def test_the_t_test_against_scipy():
    first, second = two_models(np.random.default_rng(0), 300, 4, gain=0.1)
    ours = paired_t_test((second - first).mean(axis=1, keepdims=True))
    assert ours[0] == pytest.approx(ttest_rel(second.mean(axis=1), first.mean(axis=1)).pvalue)


def test_models_that_never_differ():
    assert paired_t_test(np.zeros((10, 1))).tolist() == [1.0]
    assert np.isnan(paired_t_test(np.full((10, 1), 2.0))).all()
    assert np.isnan(paired_t_test(np.ones((1, 1)))).all()


def test_false_alarms_and_power():
    """600 pairs of equal models: each test at 5 % raises the alarm in 3 to 7 %, and the paired interval agrees."""
    generator = np.random.default_rng(5)
    alarms = {"t": 0, "mcnemar": 0, "interval": 0}
    found = 0
    for seed in range(600):
        first, second = two_models(generator, 250, 5)
        difference = second - first
        mean = difference.mean(axis=1, keepdims=True)
        alarms["t"] += paired_t_test(mean)[0] < 0.05
        alarms["mcnemar"] += mcnemar((difference[:, 1] < 0).sum(), (difference[:, 1] > 0).sum()) < 0.05
        low, high = bootstrap_interval(mean, Resampling(repeats=400, seed=seed))
        alarms["interval"] += not low[0] <= 0 <= high[0]
        first, second = two_models(generator, 250, 5, gain=0.3)
        found += paired_t_test((second - first).mean(axis=1, keepdims=True))[0] < 0.05
    assert {name: 0.03 <= count / 600 <= 0.07 for name, count in alarms.items()} == dict.fromkeys(alarms, True)
    assert found / 600 > 0.9


def test_mcnemar_on_pooled_cells_would_raise_false_alarms():
    """Why means do not use it: with models that differ by image, pooled cells are not independent."""
    generator = np.random.default_rng(6)
    alarms = 0
    for _ in range(300):
        own = generator.normal(size=(200, 1)) * 2
        other = generator.normal(size=(200, 1)) * 2
        noise = generator.normal(size=(2, 200, 20))
        difference = (noise[0] + own > 0).astype(int) - (noise[1] + other > 0)
        alarms += mcnemar((difference < 0).sum(), (difference > 0).sum()) < 0.05
    assert alarms / 300 > 0.3


def test_holm():
    assert holm([0.01, 0.04, 0.03, 0.005]).tolist() == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]).tolist() == [1.0, 1.0]
    corrected = holm([0.01, np.nan, 0.02])
    assert corrected[[0, 2]].tolist() == pytest.approx([0.02, 0.02])
    assert np.isnan(corrected[1])
    with pytest.raises(InputError, match=r"p-values must be from 0 to 1, got 1\.5"):
        holm([0.1, 1.5])


def test_holm_keeps_the_chance_of_any_false_alarm():
    generator = np.random.default_rng(8)
    p_values = generator.random((2000, 9))
    any_alarm = np.mean([(holm(row) < 0.05).any() for row in p_values])
    assert any_alarm < 0.06
    assert np.mean((p_values < 0.05).any(axis=1)) > 0.3

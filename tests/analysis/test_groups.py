import numpy as np
import pytest

from robustbench_bi.analysis.groups import (
    CATEGORIES,
    bar_groups,
    cell_groups,
    corruption_groups,
    error_groups,
    mean_error_groups,
    summary_groups,
    weight_matrix,
    weighted,
)
from robustbench_bi.corruptions import CORRUPTIONS, SUITES
from robustbench_bi.metrics.robustness import benchmark_corruptions

FULL = [("none", 0), *((name, s) for name in CORRUPTIONS.names for s in range(1, 6))]
BAR = SUITES["imagenet-c-bar"].corruptions


def named(groups):
    return {group.name: group for group in groups}


def test_the_published_benchmark_and_the_table_of_corruptions_agree():
    assert benchmark_corruptions() == tuple(row.name for row in CORRUPTIONS if row.category not in ("extra", "c-bar"))
    assert CATEGORIES == ("noise", "blur", "weather", "digital")


def test_rows_of_a_summary():
    names = [group.name for group in summary_groups(FULL)]
    assert names == ["clean", "mean", *CATEGORIES, *CORRUPTIONS.names]


def test_bars_are_those_of_figure_3_with_clean_and_means_beside_them():
    names = [group.name for group in bar_groups(FULL)]
    noises = ["gaussian_noise", "shot_noise", "impulse_noise", "speckle_noise"]
    assert names == ["clean", *noises, "noise", "blur", "weather", "digital", "mean"]


@pytest.mark.parametrize("make", [summary_groups, bar_groups, corruption_groups, cell_groups])
def test_weights_of_a_mean_sum_to_one(make):
    cells = [cell for cell in FULL if cell not in [("fog", 2), ("snow", 5), ("shot_noise", 1)]]
    for group in make(cells):
        assert sum(group.weights.values()) == pytest.approx(1), group.name


def test_sizes_of_means():
    groups = named(summary_groups(FULL))
    sizes = {name: groups[name].size for name in ("clean", "mean", "noise", "blur", "fog")}
    assert sizes == {"clean": 1, "mean": 75, "noise": 15, "blur": 20, "fog": 5}


def test_extra_corruptions_are_in_no_mean():
    groups = named(summary_groups(FULL))
    assert {name for name, _ in groups["mean"].weights} == set(benchmark_corruptions())
    assert {name for name, _ in groups["noise"].weights} == {"gaussian_noise", "shot_noise", "impulse_noise"}


def test_the_mean_error_of_c_bar_is_a_plain_mean_over_all_of_its_ten():
    cells = [cell for cell in FULL if cell[0] in BAR and cell[1] <= 2 and cell != ("sparkles", 2)]
    (group,) = mean_error_groups([("none", 0), ("fog", 1), ("lines", 3), *cells])
    assert (group.kind, group.name) == ("mean_error", "mean error of imagenet-c-bar")
    errors = {cell: float(place) for place, cell in enumerate(cells)}
    means = [np.mean([error for cell, error in errors.items() if cell[0] == name]) for name in BAR]
    assert weighted(group, errors) == pytest.approx(np.mean(means))
    assert mean_error_groups(cells[1:-1]) == []
    assert [group.name for group in mean_error_groups(FULL)] == [
        "mean error of imagenet-c-bar",
        "mean error of cifar-10-c-bar",
    ]


def test_corruptions_weigh_the_same_whatever_number_of_severities_they_have():
    group = named(summary_groups([("fog", 1), ("snow", 1), ("snow", 2)]))["weather (2 of 4)"]
    assert group.weights == {("fog", 1): 0.5, ("snow", 1): 0.25, ("snow", 2): 0.25}


def test_a_corruption_outside_the_table_has_its_own_row():
    assert [group.name for group in summary_groups([("my_rain", 1)])] == ["my_rain"]


def test_error_groups():
    mce, relative = error_groups(FULL, "mCE")
    assert (mce.kind, mce.name, mce.size) == ("mce", "mCE", 75)
    assert (relative.kind, relative.name, relative.size) == ("relative_mce", "relative mCE", 75)
    assert weighted(mce, dict.fromkeys(FULL, 50.0)) == pytest.approx(np.mean([100 * 50 / e for e in _alexnet()]))
    assert [group.kind for group in error_groups(FULL[1:], "mCE")] == ["mce"]
    assert error_groups([("none", 0)], "mCE") == []


def test_a_relative_mean_over_fewer_corruptions_than_its_name_tells_is_left_out():
    normaliser = {("none", 0): 40.0, ("fog", 1): 50.0, ("snow", 1): 30.0}
    cells = [("none", 0), ("fog", 1), ("snow", 1)]
    assert [group.kind for group in error_groups(cells, "mCE*", normaliser)] == ["mce"]


def _alexnet():
    from robustbench_bi.metrics.robustness import alexnet_errors

    return [alexnet_errors()[name, 0] for name in benchmark_corruptions()]


def test_weight_matrix_follows_the_order_of_cells():
    groups = summary_groups([("none", 0), ("fog", 1), ("fog", 2)])
    matrix = weight_matrix(groups, [("fog", 2), ("none", 0), ("fog", 1), ("snow", 1)])
    assert matrix.shape == (4, len(groups))
    assert matrix[:, 0].tolist() == [0, 1, 0, 0]
    assert matrix[:, -1].tolist() == [0.5, 0, 0.5, 0]
    assert weight_matrix([], [("none", 0)]).shape == (1, 0)

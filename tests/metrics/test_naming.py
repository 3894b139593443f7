"""Habit: a subset, another size or another table never prints as plain "mCE"."""

import pytest

from robustbench_bi.data import named_source
from robustbench_bi.metrics import naming
from robustbench_bi.metrics.naming import coverage, qualify
from robustbench_bi.metrics.robustness import benchmark_corruptions

PUBLISHED = {
    "data": "folder",
    "class_set": "imagenet-1k",
    "n": 50_000,
    "input_size": 224,
    "resize_size": 256,
    "interpolation": "bilinear",
    "table": "imagenet-c",
    "jpeg": 85,
    "generator": "bivo-robust",
    "corruptions": benchmark_corruptions(),
    "severities": (1, 2, 3, 4, 5),
}
FILES = PUBLISHED | {"data": "imagenet-c", "generator": "files", "jpeg": None}


def mce_name(config, cells=None):
    """The name for a run's configuration, with what the table of sources says of its data."""
    source, _ = named_source(config["data"])
    return naming.mce_name(config, cells, applies=source.mce_applies, part_of_imagenet=source.part_of_imagenet)


def test_as_published_it_is_mce():
    assert mce_name(PUBLISHED) == "mCE"
    assert mce_name(FILES) == "mCE"
    assert mce_name(PUBLISHED | {"corruptions": (*benchmark_corruptions(), "spatter")}) == "mCE"
    # How clean images would be resized does not matter to files that are stored at 224.
    assert mce_name(FILES | {"resize_size": 232, "interpolation": "bicubic"}) == "mCE"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"n": 500}, "n=500"),
        ({"n": 49_999}, "n=49,999"),
        ({"input_size": 64, "table": "tiny-imagenet-c"}, "64 px, table tiny-imagenet-c"),
        ({"input_size": 299, "resize_size": 342, "table": "imagenet-c-299"}, "299 px, table imagenet-c-299"),
        ({"resize_size": 232}, "resize 232 bilinear"),
        ({"interpolation": "bicubic"}, "resize 256 bicubic"),
        ({"jpeg": None}, "no JPEG"),
        ({"jpeg": 95}, "JPEG 95"),
        ({"generator": "imagecorruptions"}, "generator imagecorruptions"),
        ({"corruptions": benchmark_corruptions()[:12]}, "over 12 of 15 corruptions"),
        ({"severities": (1, 3, 5)}, "over 14 of 15 corruptions, 42 of 70 cells"),
        ({"data": "imagenette"}, "10 of 1,000 classes"),
    ],
)
def test_anything_else_is_named(change, words):
    assert mce_name(PUBLISHED | change) == f"mCE* ({words})"


def test_files_of_another_size_are_named():
    assert mce_name(FILES | {"input_size": 160}) == "mCE* (160 px)"


@pytest.mark.parametrize(
    "change",
    [
        {"class_set": "other"},
        {"data": "demo"},
        {"data": "cifar-10-c:data/c"},
        {"corruptions": ("spatter", "saturate")},
        {"corruptions": ("jpeg_compression",), "severities": (1, 2)},
    ],
)
def test_where_alexnet_says_nothing_there_is_no_name(change):
    assert mce_name(PUBLISHED | change) is None


def test_cells_that_are_there_count_and_not_those_that_were_planned():
    cells = [(name, s) for name in benchmark_corruptions() for s in range(1, 6)]
    assert mce_name(PUBLISHED, cells[:-1]) == "mCE* (over 14 of 15 corruptions)"
    assert mce_name(PUBLISHED, cells[1:]) == "mCE* (74 of 75 cells)"
    assert mce_name(PUBLISHED, [("none", 0), *cells]) == "mCE"


def test_coverage_counts_a_mean_as_five_cells():
    assert coverage([(name, 0) for name in benchmark_corruptions()]) == []
    assert coverage([("fog", 0), ("snow", 1)]) == ["over 2 of 15 corruptions", "6 of 10 cells"]
    assert qualify(coverage([("fog", 0)])) == "mCE* (over 1 of 15 corruptions)"

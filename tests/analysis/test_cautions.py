from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from scipy.special import softmax

from robustbench_bi.analysis.cautions import cautions
from robustbench_bi.analysis.comparison import comparison_frame
from robustbench_bi.analysis.described import data_name, describe_model, header
from robustbench_bi.analysis.summary import summary_frame
from robustbench_bi.metrics.intervals import Resampling
from robustbench_bi.tasks import TASKS

QUICK = Resampling(repeats=100)


@pytest.fixture
def with_ranks(make_run):
    """with_ranks(right, …) -> a run that gets so many of its clean images right, and none of the others."""

    def make(right, name="net", **config):
        run = make_run(name, **config)
        rank = np.where(run.frame["severity"] == 0, 0, 3)
        clean = np.flatnonzero(run.frame["severity"] == 0)
        rank[clean[right:]] = 3
        run.frame["rank"] = rank.astype("int32")
        return run

    return make


def test_a_network_at_chance_is_named_with_chance_and_causes(with_ranks):
    (note,) = cautions([with_ranks(15, n=150, num_classes=10)])
    assert note.startswith("net is no better than chance on clean images: top-1 10.0 [6.2, 15.8] %, chance 10 %")
    for cause in ("relative mCE, Δ and calibration say nothing", "order", "preprocessing", "weights"):
        assert cause in note


@pytest.mark.parametrize(
    ("right", "classes", "warned"), [(0, 10, 1), (22, 10, 1), (24, 10, 0), (0, 1000, 1), (2, 1000, 0)]
)
def test_the_interval_decides_and_not_the_number(with_ranks, right, classes, warned):
    """22 of 150 are 14.7 % [9.9, 21.2]; two of 150 are 1.3 % [0.4, 4.7], which is more than 0.1 %."""
    assert len(cautions([with_ranks(right, n=150, num_classes=classes)])) == warned


def test_the_warning_stands_with_summaries_and_comparisons(with_ranks, make_run):
    bad, good = with_ranks(0, "bad", corruptions=("fog",)), make_run("good", corruptions=("fog",), luck=1)
    assert "bad is no better" in summary_frame(bad, QUICK).notes[0]
    assert summary_frame(good, QUICK).notes == ()
    assert "bad is no better" in comparison_frame([bad], good, resampling=QUICK).notes[0]


@pytest.mark.parametrize(("config", "said"), [({"num_classes": 5}, 5), ({"num_classes": 6}, None)])
def test_a_top5_that_cannot_miss_says_so(make_run, config, said):
    notes = summary_frame(make_run(corruptions=("fog",), luck=1, **config), QUICK).notes
    assert any("Top-5" in note for note in notes) == (said is not None)
    assert said is None or notes[-1] == "Top-5 is always 100 % with 5 classes, whatever the network answers"


@pytest.mark.parametrize(("ends_in_softmax", "warned"), [(True, 1), (False, 0)])
def test_a_network_that_ends_in_a_softmax_is_named(with_ranks, ends_in_softmax, warned):
    """Right in all 150 images, with logits of 4 for one class of ten and 0 for the others."""
    run = with_ranks(150, n=150, num_classes=10)
    scores = softmax(np.eye(10)[0] * 4)
    run.frame["confidence"] = np.float32((softmax(scores) if ends_in_softmax else scores).max())
    notes = cautions([run])
    assert len(notes) == warned
    assert all("never more confident than 23.2 %, the limit for 10 classes" in note for note in notes)


def test_without_clean_images_nothing_is_said(with_ranks):
    assert cautions([with_ranks(0, clean=False)]) == ()


def test_a_random_network_has_no_interval_without_width(with_ranks, imagenet):
    frame = summary_frame(with_ranks(0, **imagenet), QUICK).frame
    for column in ("top1", "delta", "corruption_error"):
        own = frame[frame[column].notna()]
        assert (own[f"{column}_low"] < own[f"{column}_high"]).all(), column
        assert (own[f"{column}_low"] <= own[column] + 1e-9).all() and (
            own[column] <= own[f"{column}_high"] + 1e-9
        ).all()
    relative = frame[frame["kind"] == "relative_mce"].iloc[0]
    assert relative["corruption_error"] == pytest.approx(0, abs=1e-9) and relative["corruption_error_high"] > 1
    mce = frame[frame["kind"] == "mce"].iloc[0]
    assert mce["corruption_error"] == pytest.approx(mce["corruption_error_high"])
    assert mce["corruption_error_low"] < mce["corruption_error"] - 1


def test_a_slightly_better_network_has_no_lower_ends(with_ranks, imagenet):
    worst = with_ranks(0, n=300, **imagenet)
    better = with_ranks(0, n=300, **imagenet)
    weakest = (better.frame["severity"] == 1) & (better.frame["image_id"] < 2)
    better.frame.loc[weakest, "rank"] = 0
    one, two = (summary_frame(run, QUICK).frame.set_index("name") for run in (worst, better))
    assert two.loc["mean", "top1"] > 0
    assert two.loc["mean", "top1_high"] >= one.loc["mean", "top1_high"] and two.loc["mean", "top1_low"] >= 0
    name = next(name for name in one.index if name.startswith("mCE"))
    assert two.loc[name, "corruption_error_high"] <= one.loc[name, "corruption_error_high"]
    assert two.loc[name, "corruption_error_low"] <= one.loc[name, "corruption_error_low"]


def test_a_header_says_what_was_evaluated(make_run):
    model = {"name": "binet50_dc_ca", "options": {"width": 0.25, "stem": "imagenet", "input_size": 64}}
    runtime = {"parameters": 1_262_345, "source": "/data/my photos/"}
    run = make_run("binet50", corruptions=("fog",), data="folder", model=model, runtime=runtime)
    assert describe_model(run.config, "binet50") == "binet50_dc_ca, width 0.25, 1.26 M parameters, 64 px"
    assert (
        summary_frame(run, QUICK).header == f"binet50 ({describe_model(run.config, 'binet50')}) on my photos/, n = 150"
    )
    assert "n = 150 images of my photos/, 64 px" in summary_frame(run, QUICK).caption
    other = make_run("resnet50", corruptions=("fog",), data="folder", runtime={"source": "/data/my photos/"})
    assert header([run, other], ["a", "b"]) == (
        "a (binet50_dc_ca, width 0.25, 1.26 M parameters, 64 px), b (64 px) on my photos/, n = 150"
    )


@pytest.mark.parametrize(
    ("kind", "source", "name"),
    [
        ("folder", "photos", "photos/"),
        ("folder", "C:\\images\\mine", "mine/"),
        ("folder", ".", "folder"),
        ("folder", "../imagenet/val", "imagenet/val/"),
        ("imagenet-c", "imagenet-c:/data/imagenet-c", "imagenet-c:imagenet-c/"),
        ("cifar-10", "cifar-10:images.parquet", "cifar-10:images.parquet"),
        ("demo", "demo", "demo"),
    ],
)
def test_data_have_the_name_of_their_folder(kind, source, name):
    assert data_name({"data": kind, "runtime": {"source": source}}) == name


@pytest.mark.parametrize(
    ("ap", "found", "warned"), [(0.02, 5, True), (1.0, 5, False), (30.0, 5, False), (0.0, 0, False)]
)
def test_a_detector_that_finds_almost_nothing_is_named(ap, found, warned):
    """Its rPC may be 100 %. One that finds nothing at all is named by its own remark."""
    run = SimpleNamespace(
        name="det",
        task=TASKS["detection"],
        config={"num_classes": 10},
        cell_names=[("none", 0), ("fog", 3)],
        cells=lambda: pd.DataFrame({"corruption": ["none", "fog"], TASKS["detection"].primary.name: [ap, 30.0]}),
        records=lambda: pd.DataFrame({"score": [0.5] * found}),
    )
    notes = cautions([run])
    assert bool(notes) == warned
    assert not warned or "det finds almost nothing on clean images: AP 0.02 %. Its rPC and Δ say nothing" in notes[0]

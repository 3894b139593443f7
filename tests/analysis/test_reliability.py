import dataclasses

import numpy as np
import pandas as pd
import pytest

from robustbench_bi.analysis.drops import drops_frame
from robustbench_bi.analysis.reliability import reliability_frame
from robustbench_bi.analysis.summary import summaries_frame, summary_frame
from robustbench_bi.errors import RunMismatchError
from robustbench_bi.metrics.calibration import expected_calibration_error
from robustbench_bi.metrics.intervals import Resampling, wilson_interval

QUICK = Resampling(repeats=200)


@pytest.fixture
def runs(make_run):
    return [make_run("a", corruptions=("fog", "snow")), make_run("b", corruptions=("fog", "snow"), luck=1, skill=1.0)]


def test_summaries_are_those_of_each_run(runs):
    found = summaries_frame(runs, QUICK)
    frame = found.frame
    for label, run in zip(("a", "b"), runs, strict=True):
        own = frame[frame["model"] == label].drop(columns="model").reset_index(drop=True)
        assert own.equals(summary_frame(run, QUICK).frame)
    assert found.caption == summary_frame(runs[0], QUICK).caption


def test_a_caption_names_the_runs_that_differ(make_run):
    runs = [
        make_run(name, corruptions=("fog",), severities=(1, 3), jpeg=jpeg) for name, jpeg in (("a", None), ("b", 85))
    ]
    caption = summaries_frame(runs, QUICK).caption
    assert "a: n = 150 images" in caption and "b: n = 150 images" in caption
    assert "Means over severities 1, 3." in caption


def test_means_beside_each_other_are_over_the_same_cells(make_run):
    """Of one network, once over more cells: its means over all of them would differ, and look like a drop."""
    few, many = (
        make_run("a", corruptions=corruptions, severities=severities)
        for corruptions, severities in ((("fog", "snow"), (1, 3)), (("fog", "snow", "contrast"), (1, 3, 5)))
    )
    found = summaries_frame([many, few], QUICK)
    one, other = (own.drop(columns="model").reset_index(drop=True) for _, own in found.frame.groupby("model"))
    assert one.equals(other) and "contrast" not in set(one["name"])
    assert one.equals(summary_frame(few, QUICK).frame)
    assert not summary_frame(many, QUICK).frame.equals(one)
    words = "Means are over the 4 corrupted cells that all runs have; cells that only some runs have are left out."
    bins = reliability_frame([many, few], QUICK)
    assert words in found.caption and words in bins.caption
    assert bins.frame.query("part == 'corrupted'")["cells"].unique().tolist() == [4]
    for shown in (summaries_frame([many], QUICK), reliability_frame([many], QUICK)):
        assert "that all runs have" not in shown.caption
    with pytest.raises(RunMismatchError, match="must share a cell"):
        summaries_frame([few, make_run("b", corruptions=("contrast",), clean=False)], QUICK)


def test_the_bins_of_clean_images(runs):
    frame = reliability_frame(runs, QUICK).frame
    own = frame[(frame["model"] == "a") & (frame["part"] == "clean")]
    records = runs[0].records().query("corruption == 'none'")
    assert own["n"].sum() == 150 == own["images"].iloc[0]
    for row in own.itertuples():
        chosen = records[records["confidence"].between(row.bin_low / 100, row.bin_high / 100, inclusive="right")]
        assert len(chosen) == row.n
        if row.n:
            assert row.accuracy == pytest.approx(100 * (chosen["rank"] < 1).mean())
            assert row.confidence == pytest.approx(100 * chosen["confidence"].mean())
            low, high = wilson_interval(row.accuracy, row.n)
            assert (row.accuracy_low, row.accuracy_high) == pytest.approx((low, high))
        else:
            assert np.isnan([row.accuracy, row.confidence, row.accuracy_low, row.accuracy_high]).all()


def test_ece_of_clean_images_is_that_of_the_summary(runs):
    clean = summary_frame(runs[0], QUICK).frame.iloc[0]
    row = reliability_frame(runs, QUICK).frame.iloc[0]
    expected = clean[[f"expected_calibration_error{end}" for end in ("", "_low", "_high")]].tolist()
    assert row[["ece", "ece_low", "ece_high"]].tolist() == pytest.approx(expected)


def test_corrupted_cells_are_pooled(runs):
    frame = reliability_frame(runs, QUICK).frame
    own = frame[(frame["model"] == "b") & (frame["part"] == "corrupted")]
    records = runs[1].records().query("corruption != 'none'")
    first = own.iloc[0]
    assert (first["cells"], first["images"], own["n"].sum()) == (10, 150, 1500)
    assert first["ece"] == pytest.approx(expected_calibration_error(records))
    assert first["ece"] <= summary_frame(runs[1], QUICK).frame.iloc[1]["expected_calibration_error"]
    # Ten answers of one image are not ten images.
    filled = own[own["n"] > 0]
    naive = [wilson_interval(row.accuracy, row.n) for row in filled.itertuples()]
    widths = filled["accuracy_high"] - filled["accuracy_low"]
    assert (widths >= [high - low - 1e-9 for low, high in naive]).all()
    assert (widths > [1.2 * (high - low) for low, high in naive]).any()


def test_the_lower_end_of_a_pooled_ece_allows_for_images_that_answer_alike(make_run):
    run = make_run("a", corruptions=("fog",), severities=(3,), clean=False)
    once = reliability_frame([run], QUICK).frame.iloc[0]
    copies = pd.concat([run.frame.assign(severity=severity) for severity in (1, 2, 3, 4, 5)], ignore_index=True)
    many = reliability_frame([dataclasses.replace(run, frame=copies)], QUICK).frame.iloc[0]
    assert (once["cells"], many["cells"]) == (1, 5)
    ends = ["ece", "ece_low", "ece_high"]
    assert many[ends].tolist() == pytest.approx(once[ends].tolist(), abs=1e-6)


def test_extra_corruptions_are_pooled_only_where_there_are_no_others(make_run):
    mixed = reliability_frame([make_run("a", corruptions=("fog", "spatter"))], QUICK).frame
    assert mixed.query("part == 'corrupted'")["cells"].iloc[0] == 5
    extra = reliability_frame([make_run("b", corruptions=("spatter",), clean=False)], QUICK).frame
    assert extra["part"].unique().tolist() == ["corrupted"]
    assert extra["cells"].iloc[0] == 5


def test_the_worst_cells_of_every_run_are_shown_for_all(make_run):
    runs = [
        make_run("a", corruptions=("fog", "snow", "frost"), gains={"snow": -4.0}),
        make_run("b", corruptions=("fog", "snow", "frost"), gains={"frost": -4.0}),
    ]
    frame = drops_frame(runs, QUICK, number=2).frame
    picked = set(zip(frame["corruption"], frame["severity"], strict=True))
    for run in runs:
        cells = run.cells()
        worst = cells[cells["corruption"] != "none"].nsmallest(2, "top1")
        assert set(zip(worst["corruption"], worst["severity"], strict=True)) <= picked
    assert len(frame) == 2 * len(picked)
    means = frame.groupby(["corruption", "severity"], sort=False)["delta"].mean()
    assert means.is_monotonic_increasing
    cells = runs[0].cells().set_index(["corruption", "severity"])["top1"]
    for row in frame[frame["model"] == "a"].itertuples():
        assert row.top1 == pytest.approx(cells[row.corruption, row.severity])
        assert row.clean_top1 == pytest.approx(cells["none", 0])
        assert row.delta == pytest.approx(row.top1 - row.clean_top1)
        assert row.delta_low <= row.delta <= row.delta_high
        assert row.n == 150


def test_there_are_no_drops_without_clean(make_run):
    assert len(drops_frame([make_run("a", corruptions=("fog",), clean=False)], QUICK).frame) == 0

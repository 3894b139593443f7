"""Further metrics in summaries: which columns and rows they are, and what a run that cannot give one says."""

import numpy as np
import pytest

from robustbench_bi.analysis.summary import summaries_frame, summary_frame
from robustbench_bi.errors import InputError, UnknownNameError
from robustbench_bi.metrics.intervals import Resampling
from robustbench_bi.tasks import TASKS
from robustbench_bi.tasks.chosen import chosen_measures

QUICK = Resampling(repeats=100)
FURTHER = [measure.name for measure in TASKS["classification"].further]


@pytest.fixture(scope="module")
def run(make_module_run):
    return make_module_run(n=300)


@pytest.fixture(scope="module")
def summary(run):
    return summary_frame(run, QUICK, metrics="all")


def test_numbers_and_intervals_are_there_and_belong_to_the_cells(run, summary):
    frame, records = summary.frame, run.records()
    assert [measure.name for measure in summary.further] == [name for name in FURTHER if name != "brier_score"]
    for measure in summary.further:
        own = frame[frame[measure.name].notna()]
        assert len(own) >= 5
        assert (own[f"{measure.name}_low"] <= own[measure.name] + 1e-9).all(), measure.name
        assert (own[measure.name] <= own[f"{measure.name}_high"] + 1e-9).all(), measure.name
        assert (own[f"{measure.name}_low"] < own[f"{measure.name}_high"]).all(), measure.name
    fog = records[records["corruption"] == "fog"].groupby("severity")["prediction"].agg(list)
    clean = np.array(records.loc[records["corruption"] == "none", "prediction"])
    flips = np.mean([np.mean(np.array(own) != clean) for own in fog])
    assert frame.set_index("name").loc["fog", "flip_rate"] == pytest.approx(100 * flips)
    assert np.isnan(frame.set_index("name").loc["clean", "flip_rate"])


def test_right_under_all_has_a_row_for_each_severity(run, summary):
    rows = summary.frame[summary.frame["kind"] == "severity"]
    assert rows["name"].tolist() == [f"severity {severity} (15 corruptions)" for severity in range(1, 6)]
    records = run.records().query("severity == 5")
    all_right = records.assign(right=records["rank"] < 1).groupby("image_id")["right"].all()
    assert rows["right_under_all"].iloc[-1] == pytest.approx(100 * all_right.mean())
    assert rows["top1"].isna().all()


def test_without_names_a_summary_is_as_ever(run, summary):
    usual = summary_frame(run, QUICK).frame
    assert not set(FURTHER) & set(usual.columns)
    same = summary.frame.loc[summary.frame["kind"] != "severity", usual.columns]
    assert same.reset_index(drop=True).equals(usual)


def test_a_run_says_what_it_cannot_give(make_run, run, summary):
    assert "resnet50 has no Brier score: its records were written before this was stored" in summary.notes[0]
    without_clean = summary_frame(make_run(clean=False), QUICK, metrics=["flip_rate", "aurc"])
    assert [measure.name for measure in without_clean.further] == ["area_under_risk_coverage"]
    assert without_clean.notes == ("resnet50 has no flip rate: it has no clean images to compare with",)
    both = summaries_frame([run], QUICK, metrics=["brier"])
    assert [note for note in both.notes if "no Brier score" in note]


def test_what_is_undefined_is_no_number(make_run):
    frame = summary_frame(make_run(skill=50.0, corruptions=("fog",)), QUICK, metrics="all").frame
    assert frame["confidence_of_wrong_answers"].isna().all()
    assert frame.set_index("name").loc["fog", "accuracy_kept"] == 100


def test_names_are_looked_up_and_refused_in_a_line():
    task = TASKS["classification"]
    assert [measure.name for measure in chosen_measures(task, ["aurc", "ece"])] == [
        "expected_calibration_error",
        "area_under_risk_coverage",
    ]
    with pytest.raises(UnknownNameError, match=r"unknown metric 'flip_rat'\. Did you mean 'flip_rate'"):
        chosen_measures(task, ["flip_rat"])
    with pytest.raises(InputError, match="compares two networks; use compare --metrics kappa"):
        chosen_measures(task, ["kappa"])
    with pytest.raises(InputError, match="mean_corruption_error cannot be chosen"):
        chosen_measures(task, ["mce"])
    with pytest.raises(InputError, match="flip_rate is not a metric of detection"):
        chosen_measures(TASKS["detection"], ["flip_rate"])

from pathlib import Path

import numpy as np
import pytest

from robustbench_bi.analysis.captions import describe_data, describe_means, run_labels
from robustbench_bi.analysis.described import header
from robustbench_bi.analysis.summary import cells_frame, summary_frame
from robustbench_bi.commands.output import print_summary
from robustbench_bi.corruptions import SUITES
from robustbench_bi.errors import DataError
from robustbench_bi.metrics import METRICS
from robustbench_bi.metrics.calibration import expected_calibration_error
from robustbench_bi.metrics.intervals import Resampling
from robustbench_bi.metrics.robustness import (
    corruption_errors,
    mean_corruption_accuracy,
    mean_corruption_error,
    relative_mean_corruption_error,
)
from robustbench_bi.runs.run import open_run
from robustbench_bi.tasks.classification import COLUMNS

QUICK = Resampling(repeats=300)


def test_values_are_those_of_the_metrics(make_run, imagenet):
    run = make_run(**imagenet)
    frame = summary_frame(run, QUICK).frame.set_index("name")
    cells = run.cells()
    assert frame.loc["clean", "top1"] == pytest.approx(cells["top1"].iloc[0])
    assert frame.loc["clean", "top5"] == pytest.approx(cells["top5"].iloc[0])
    assert frame.loc["mean", "top1"] == pytest.approx(mean_corruption_accuracy(cells))
    fog = cells[cells["corruption"] == "fog"]
    assert frame.loc["fog", "top1"] == pytest.approx(fog["top1"].mean())
    assert frame.loc["fog", "negative_log_likelihood"] == pytest.approx(fog["loss"].mean())
    assert frame.loc["fog", "delta"] == pytest.approx(fog["top1"].mean() - cells["top1"].iloc[0])
    assert frame.loc["fog", "corruption_error"] == pytest.approx(corruption_errors(cells)["fog"])
    assert frame.loc["mCE* (n=150)", "corruption_error"] == pytest.approx(mean_corruption_error(cells))
    assert frame.loc["relative mCE* (n=150)", "corruption_error"] == pytest.approx(
        relative_mean_corruption_error(cells)
    )
    row = frame.loc["mCE* (n=150)"]
    assert row["mean_error"] == pytest.approx(100 - frame.loc["mean", "top1"])
    assert [row["mean_error_low"], row["mean_error_high"]] == pytest.approx(
        [100 - frame.loc["mean", "top1_high"], 100 - frame.loc["mean", "top1_low"]]
    )
    assert frame["mean_error"].notna().sum() == 1
    records = run.records()
    by_cell = records[records["corruption"] == "fog"].groupby("severity")
    errors = [expected_calibration_error(own) for _, own in by_cell]
    assert frame.loc["fog", "expected_calibration_error"] == pytest.approx(np.mean(errors))


def test_the_terminal_prints_the_mean_error_beside_mce(make_run, imagenet, capsys):
    run = make_run(**imagenet)
    summary = summary_frame(run, QUICK)
    print_summary(run, summary)
    error = 100 - summary.frame.set_index("name").loc["mean", "top1"]
    lines = capsys.readouterr().out.splitlines()
    assert any(line.rstrip().endswith("CE* / mCE* %") for line in lines)
    (line,) = [line for line in lines if line.startswith("mCE*")]
    assert f"(mean error, not normalised: {error:.2f} [" in line


@pytest.mark.parametrize("suite", ["imagenet-c-bar", "cifar-10-c-bar"])
def test_c_bar_has_a_plain_mean_error_and_no_mce(make_run, imagenet, suite):
    run = make_run(**(imagenet | {"corruptions": SUITES[suite].corruptions}))
    frame = summary_frame(run, QUICK).frame.set_index("name")
    cells = run.cells()
    errors = 100 - cells[cells["corruption"] != "none"].groupby("corruption", observed=True)["top1"].mean()
    row = frame.loc[f"mean error of {suite}"]
    assert row["corruption_error"] == pytest.approx(errors.mean())
    assert row["corruption_error_low"] < row["corruption_error"] < row["corruption_error_high"]
    assert list(frame["kind"]) == ["clean", *["corruption"] * 10, "mean_error"]


def test_a_run_folder_gives_the_same(make_run):
    run = make_run(corruptions=("fog", "snow"))
    records = run.records()
    for (corruption, severity), own in records.groupby(["corruption", "severity"], observed=True):
        for block, (start, rows) in enumerate(((0, 64), (64, 64), (128, 22))):
            columns = {name: own[name].to_numpy()[start : start + rows] for name in COLUMNS}
            open_run(run.directory).write_block((corruption, severity), block, columns, rows)
    assert summary_frame(open_run(run.directory), QUICK).frame.equals(summary_frame(run, QUICK).frame)


def test_every_number_has_n_and_an_interval(make_run, imagenet):
    frame = summary_frame(make_run(**imagenet), QUICK).frame
    assert (frame["n"] == 150).all()
    columns = [metric.name for metric in METRICS if metric.of == "images"] + ["delta", "corruption_error"]
    for column in columns:
        own = frame[frame[column].notna()]
        assert len(own) >= 17
        assert (own[f"{column}_low"] <= own[column] + 1e-9).all(), column
        assert (own[column] <= own[f"{column}_high"] + 1e-9).all(), column
        assert (own[f"{column}_low"] < own[f"{column}_high"]).all(), column


def test_order_and_kinds_of_rows(make_run, imagenet):
    frame = summary_frame(make_run(corruptions=("fog", "gaussian_noise", "spatter"), **imagenet), QUICK).frame
    assert list(zip(frame["kind"], frame["name"], frame["cells"], strict=True)) == [
        ("clean", "clean", 1),
        ("mean", "mean (2 of 15)", 10),
        ("category", "noise (1 of 3)", 5),
        ("category", "weather (1 of 4)", 5),
        ("corruption", "gaussian_noise", 5),
        ("corruption", "fog", 5),
        ("corruption", "spatter", 5),
        ("mce", "mCE* (over 2 of 15 corruptions, n=150)", 10),
        ("relative_mce", "relative mCE* (over 2 of 15 corruptions, n=150)", 10),
    ]
    assert np.isnan(frame["delta"][0])


def test_where_alexnet_says_nothing_no_mean_corruption_error_is_shown(make_run):
    frame = summary_frame(make_run(), QUICK).frame
    assert set(frame["kind"]) == {"clean", "mean", "category", "corruption"}
    assert frame["corruption_error"].isna().all()


def test_without_clean_a_difference_to_it_is_absent_and_not_zero(make_run, imagenet):
    frame = summary_frame(make_run(clean=False, **imagenet), QUICK).frame
    assert "delta" not in frame
    assert "clean" not in set(frame["kind"])
    assert set(frame["kind"]) >= {"mce"}
    assert "relative_mce" not in set(frame["kind"])


def test_the_smaller_n_after_broken_images_is_shown(make_run, imagenet):
    frame = summary_frame(make_run(n=97, **imagenet), QUICK).frame
    assert (frame["n"] == 97).all()
    assert "mCE* (n=97)" in set(frame["name"])


@pytest.mark.parametrize(
    ("data", "names"),
    [
        ("imagenette", {"mCE* (10 of 1,000 classes, n=150)", "relative mCE* (10 of 1,000 classes, n=150)"}),
        ("demo", set()),
        ("cifar-10-c", set()),
    ],
)
def test_the_source_says_whether_there_is_an_mce_and_of_what(make_run, imagenet, data, names):
    frame = summary_frame(make_run(**imagenet | {"data": data}), QUICK).frame
    assert set(frame["name"][frame["kind"].isin(["mce", "relative_mce"])]) == names


def test_same_seed_same_frame(make_run):
    run = make_run()
    assert summary_frame(run, QUICK).frame.equals(summary_frame(run, QUICK).frame)
    assert not summary_frame(run, QUICK).frame.equals(summary_frame(run, Resampling(repeats=300, seed=1)).frame)


def test_a_single_cell_has_wilsons_interval(make_run):
    frame = summary_frame(make_run(n=40, skill=20.0, severities=(1,)), QUICK).frame
    assert frame["top1"].tolist() == pytest.approx([100.0] * len(frame))
    assert frame.loc[frame["cells"] == 1, "top1_low"].between(91, 91.5).all()


def test_a_confidence_that_is_not_a_number_is_refused(make_run, monkeypatch):
    run = make_run(corruptions=("fog",))
    records = run.records()
    records.loc[200, "loss"] = np.inf
    monkeypatch.setattr(type(run), "records", lambda self: records)
    with pytest.raises(DataError, match="records of fog severity 1 hold a value that is not finite"):
        summary_frame(run, QUICK)


def test_captions_say_what_and_how(make_run, imagenet):
    found = summary_frame(make_run(severities=(1, 3, 5), **imagenet), QUICK)
    assert found.caption == (
        "n = 150 images of folder, 224 px, constants of imagenet-c, JPEG 85. Means over severities 1, 3, 5. "
        "95 % intervals over images: t with a worst and a best image added (top-1, top-5, CE, mCE, Δ); t, debiased by "
        "folded normals (ECE); percentile bootstrap (300 resamples) (NLL); Wilson (single cells). CE* and mCE* are "
        "not comparable with published ones; the name of mCE* says why. No CE of jpeg_compression: AlexNet's errors "
        "there are published only as a mean over all five severities."
    )
    bar = SUITES["imagenet-c-bar"].corruptions
    caption = summary_frame(make_run("bar", corruptions=bar, severities=(3,), **imagenet), QUICK).caption
    assert "(top-1, top-5, mean error, Δ)" in caption and "mCE" not in caption
    files = {"data": "imagenet-c", "input_size": 224, "table": "imagenet-c", "jpeg": None, "generator": "files"}
    assert describe_data(files, 50_000) == "n = 50,000 images of imagenet-c, 224 px, stored files."
    assert describe_data(files | {"generator": "imagecorruptions"}, 9).endswith("no JPEG, generator imagecorruptions.")
    assert describe_data(files, 1).startswith("n = 1 image of ")
    assert describe_means([5]) == "Severity 5 only."


def test_cells_of_several_runs(make_run):
    runs = [make_run("a", corruptions=("fog",)), make_run("b", corruptions=("fog", "snow"), luck=1)]
    found = cells_frame(runs)
    frame = found.frame
    assert frame.groupby("model").size().to_dict() == {"a": 6, "b": 11}
    assert (frame["top1_low"] < frame["top1"]).all()
    assert (frame["n"] == 150).all()
    assert found.caption.count("n = 150") == 1


def test_cells_of_different_data_are_told_apart(make_run):
    runs = [make_run("a", corruptions=("fog",)), make_run("b", corruptions=("fog",), n=70)]
    assert cells_frame(runs).caption.startswith("a: n = 150 images of demo, 64 px")
    assert "b: n = 70 images" in cells_frame(runs).caption


def test_runs_of_one_name_are_told_apart_by_their_folders(make_run):
    runs = [make_run("a", corruptions=()), make_run("b", corruptions=()), make_run("a", corruptions=())]
    assert run_labels(runs) == [runs[0].directory.name, "b", runs[2].directory.name]


def test_no_two_labels_are_alike(make_run):
    """Copies of one run in several folders, and one given twice: a table finds its rows by their labels."""
    copies = []
    for folder in ("first", "second", "second"):
        copies.append(make_run("a", corruptions=()))
        assert copies[-1].config  # read once
        object.__setattr__(copies[-1], "directory", Path(folder, "a-0123"))
    assert run_labels(copies) == ["first/a-0123", "second/a-0123", "second/a-0123 (2)"]


def test_runs_of_one_network_are_told_apart_by_what_differs(make_run):
    runs = [
        make_run("a", corruptions=(), generator="imagecorruptions", seed=0),
        make_run("a", corruptions=(), seed=1),
        make_run("b", corruptions=()),
    ]
    assert run_labels(runs) == ["a (generator imagecorruptions)", "a (generator bivo-robust)", "b"]
    seeds = [make_run("a", corruptions=(), seed=seed) for seed in (3, 4)]
    assert run_labels(seeds) == ["a (seed 3)", "a (seed 4)"]
    plain_and_adapted = [make_run("a", corruptions=()), make_run("a", corruptions=(), adapt="bn:16")]
    assert run_labels(plain_and_adapted) == ["a (not adapted)", "a (adapted by bn:16)"]
    assert run_labels([make_run("a", corruptions=(), jpeg=quality) for quality in (85, None)]) == [
        "a (jpeg 85)",
        "a (no JPEG)",
    ]
    assert run_labels([*runs[:2], seeds[0]])[0] == "a (seed 0)"


def test_runs_of_one_network_are_told_apart_by_their_weights(make_run):
    runs = [make_run("a", corruptions=()) for _ in range(2)]
    for run, file in zip(runs, ("trained/early.pth", "late.pth"), strict=True):
        run.config["runtime"]["requested"] = {"weights": [file]}
    assert run_labels(runs) == ["a (early.pth)", "a (late.pth)"]
    runs[1].config["runtime"]["requested"] = {"weights": ["other/early.pth"]}
    assert run_labels(runs) == [run.directory.name for run in runs]
    runs[1].config["runtime"]["requested"] = {"weights": ["none"]}
    assert run_labels(runs) == ["a (early.pth)", "a (weights none)"]
    assert header(runs, run_labels(runs)) == (
        "a (early.pth) (resnet50, 64 px), a (weights none) (resnet50, 64 px) on demo, n = 150"
    )
    told = "a (resnet50, early.pth, 64 px), b (resnet50, weights none, 64 px) on demo, n = 150"
    assert header(runs, ["a", "b"]) == told
    runs[1].config["runtime"]["requested"] = {}
    assert run_labels(runs) == [run.directory.name for run in runs]


def test_a_size_that_is_not_square_is_height_by_width(make_run):
    run = make_run("a", corruptions=("fog",), input_size=[96, 64], resize_size=[96, 64])
    found = summary_frame(run, QUICK)
    assert "n = 150 images of demo, 96×64 px (height × width), " in found.caption
    assert found.header.endswith("96×64 px (height × width)) on demo, n = 150")

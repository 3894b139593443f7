"""Chosen metrics of runs beside a baseline's, and how alike two networks err."""

import json

import numpy as np
import pytest
from click.testing import CliRunner

from robustbench_bi.analysis.chosen_comparison import chosen_comparison
from robustbench_bi.analysis.summary import summary_frame
from robustbench_bi.cli import cli
from robustbench_bi.metrics.agreement import error_consistency
from robustbench_bi.metrics.intervals import Resampling

QUICK = Resampling(repeats=100)


@pytest.fixture(scope="module")
def pair(make_module_run):
    return make_module_run("binet50", luck=1, skill=0.5, n=300), make_module_run("resnet50", n=300)


def test_differences_are_those_of_the_summaries(pair):
    own, baseline = (summary_frame(run, QUICK, metrics="all").frame.set_index("name") for run in pair)
    frame = chosen_comparison([pair[0]], pair[1], "all", QUICK).frame
    for row in frame[frame["metric"] != "error_consistency"].to_dict("records"):
        assert row["value"] == pytest.approx(own.loc[row["name"], row["metric"]])
        assert row["baseline_value"] == pytest.approx(baseline.loc[row["name"], row["metric"]])
        assert row["delta"] == pytest.approx(row["value"] - row["baseline_value"])
        assert row["delta_low"] <= row["delta"] <= row["delta_high"]
        assert (row["p_value"] < 0.05) == (row["delta_low"] > 0 or row["delta_high"] < 0)


def test_all_are_those_of_every_table_but_the_primary_one_and_the_caption_says_how(pair):
    found = chosen_comparison([pair[0]], pair[1], "all", QUICK)
    metrics = set(found.frame["metric"])
    assert {"top5", "expected_calibration_error", "negative_log_likelihood", "error_consistency"} <= metrics
    assert "top1" not in metrics
    assert "not corrected for the number of rows. With few images, ECE, " in found.caption
    assert "overstate" not in chosen_comparison([pair[0]], pair[1], ["flip_rate"], QUICK).caption


def test_kappa_is_the_mean_over_cells_and_has_an_interval(pair):
    records = [run.records() for run in pair]
    kappas = [
        error_consistency(*(of_run[(of_run["corruption"] == name) & (of_run["severity"] == s)] for of_run in records))
        for name in pair[0].config["corruptions"]
        for s in range(1, 6)
    ]
    frame = chosen_comparison([pair[0]], pair[1], ["kappa"], QUICK).frame.set_index("kind")
    assert frame.loc["mean", "value"] == pytest.approx(np.mean(kappas))
    assert 0 < frame.loc["mean", "value_low"] < frame.loc["mean", "value"] < frame.loc["mean", "value_high"] < 1
    assert frame["n"].tolist() == [300, 300]


def test_a_network_is_consistent_with_itself(pair, make_module_run):
    again = make_module_run("again", n=300)
    frame = chosen_comparison([again], pair[1], ["kappa", "flip_rate"], QUICK).frame
    assert frame[frame["metric"] == "error_consistency"]["value"].to_numpy() == pytest.approx(1)
    assert (frame[frame["metric"] == "flip_rate"]["delta"] == 0).all()


def test_what_a_run_lacks_is_a_note(pair):
    found = chosen_comparison([pair[0]], pair[1], ["brier"], QUICK)
    assert not len(found.frame)
    assert [note.partition(":")[0] for note in found.notes] == [
        "binet50 has no Brier score",
        "resnet50 has no Brier score",
    ]


def test_compare_prints_what_was_chosen(make_run, make_config, write_run, tmp_path):
    folders = []
    for name, luck in (("resnet50", 0), ("binet50", 1)):
        records = make_run(name, luck=luck, corruptions=("fog",), severities=(1,)).records()
        cells = {cell: records.iloc[place * 150 :][:150] for place, cell in enumerate((("none", 0), ("fog", 1)))}
        columns = {cell: {key: own[key].to_numpy() for key in own.columns[2:]} for cell, own in cells.items()}
        config = make_config(n=150, name=name, weights_hash=name, corruptions=("fog",), severities=(1,))
        folders.append(str(write_run(tmp_path / name, config, columns).directory))
    command = ["compare", folders[1], "--baseline", folders[0], "--out", str(tmp_path / "out")]
    text = CliRunner().invoke(cli, [*command, "--metrics", "kappa,accuracy_kept"])
    assert text.exit_code == 0, text.output
    assert "Chosen metrics" in text.stdout and "kept %" in text.stdout and "κ" in text.stdout
    assert "AURC" not in text.stdout
    printed = json.loads(CliRunner().invoke(cli, [*command, "--json"]).stdout)
    assert {"error_consistency", "area_under_risk_coverage"} <= {row["metric"] for row in printed["metrics"]}
    page = CliRunner().invoke(
        cli, ["report", *folders, "--metrics", "aurc", "--out", str(tmp_path / "page.html")], catch_exceptions=False
    )
    assert page.exit_code == 0
    assert "area under the risk-coverage curve (AURC), %" in (tmp_path / "page.html").read_text()

"""Runs that cannot be compared: groups of a report, and what compare, report and gate say of them."""

import json
import re

import pytest
from click.testing import CliRunner

from robustbench_bi.cli import cli
from robustbench_bi.runs.settings import Settings
from robustbench_bi.tasks.classification import COLUMNS


def invoke(*arguments, code=0):
    result = CliRunner().invoke(cli, [str(argument) for argument in arguments])
    assert result.exit_code == code, result.output + repr(result.exception)
    return result


@pytest.fixture
def runs(tmp_path, make_run, write_run, make_config):
    """A folder of runs as a user comes to have it: two on the demo, three on photos, one unfinished, a leaderboard."""
    folder = tmp_path / "runs"
    photos = {"listing_hash": "b" * 64, "data": "folder", "num_classes": 10}

    def write(name, **config):
        made = make_run(name, n=60, corruptions=("fog", "snow"), severities=(1, 5), **config)
        columns = {
            (str(corruption), int(severity)): {column: own[column].to_numpy() for column in COLUMNS}
            for (corruption, severity), own in made.frame.groupby(["corruption", "severity"], observed=True)
        }
        changed = {key: value for key, value in config.items() if key not in ("skill", "luck", "runtime")}
        own = make_config(name=name, n=60, **changed, **config.get("runtime", {}), weights_hash=name.ljust(64, "0"))
        return write_run(folder / name, own, columns)

    for number, name in enumerate(("a", "b")):
        write(name, luck=number)
    for number, name in enumerate(("p", "q", "r")):
        write(name, luck=number, skill=0.3, runtime={"source": "photos"}, **photos)
    write_run(folder / "unfinished", make_config(name="u"), {})
    (folder / "leaderboard.csv").write_text("model\n", encoding="utf-8")
    return folder


def field_names():
    return [name for name in ("listing_hash", "num_classes", "pixel_version", *vars(Settings())) if "_" in name]


def test_a_report_of_everything_has_a_page_for_each_group(runs, tmp_path):
    out = tmp_path / "report.html"
    result = invoke("report", *sorted(runs.iterdir()), "--out", out)
    assert "Compared with p: q, r\n" in result.stdout and "Compared with a: b\n" in result.stdout
    written = re.findall(r"^Written: (.*) \(", result.stdout, re.MULTILINE)
    assert written == [str(out), str(tmp_path / "report-demo.html")]
    assert "On a separate page: a, b: made on the demo set, the others on photos/.\n" in result.stderr
    assert "Left out: leaderboard.csv: not a run.\n" in result.stderr
    assert "Left out: unfinished: not finished, 40 cell-blocks are missing" in result.stderr
    assert not any(name in result.output for name in field_names())


def test_a_report_with_a_baseline_is_of_what_can_be_compared_with_it(runs, tmp_path):
    out = tmp_path / "report.html"
    result = invoke("report", *sorted(runs.iterdir()), "--baseline", runs / "b", "--out", out)
    assert "Compared with b: a\n" in result.stdout
    assert "Left out: p, q, r: made on photos/, the baseline on the demo set.\n" in result.stderr
    assert not (tmp_path / "report-photos.html").exists()


def test_compare_says_the_same_words(runs, tmp_path):
    result = invoke("compare", *sorted(runs.iterdir()), "--baseline", runs / "a", "--out", tmp_path, "--json")
    assert {row["model"] for row in json.loads(result.stdout)["bars"]} == {"b"}
    assert "Left out: p, q, r: made on photos/, the baseline on the demo set." in json.loads(result.stdout)["left_out"]
    refused = invoke("compare", runs / "p", "--baseline", runs / "a", "--out", tmp_path, code=2)
    assert "p was made on photos/, a on the demo set; evaluate both in the same way" in refused.stderr
    refused = invoke("compare", runs / "p", runs / "q", "--baseline", runs / "a", "--out", tmp_path, code=2)
    assert refused.stderr.splitlines()[-1] == "Error: none of these runs can be compared with a"


def test_gate_says_the_same_words(runs, tmp_path):
    invoke("gate", runs / "a", "--save", tmp_path / "a.json")
    refused = invoke("gate", runs / "p", "--baseline", tmp_path / "a.json", code=2)
    assert "the run was made on photos/, the baseline on the demo set" in refused.stderr
    assert not any(name in refused.output for name in field_names())


def test_an_empty_group_is_refused_with_the_reasons(runs, tmp_path):
    given = [runs / "unfinished", runs / "leaderboard.csv"]
    for command in (["report", *given], ["compare", *given, "--baseline", runs / "a"]):
        refused = invoke(*command, "--out", tmp_path / "out.html", code=2)
        assert refused.stderr.startswith("Error: none of the 2 paths holds a finished run (unfinished: not finished")


def test_runs_without_a_common_corruption_are_two_groups(runs, make_run):
    from robustbench_bi.analysis.comparable import comparable_groups

    fog, snow = make_run("f", corruptions=["fog"]), make_run("s", corruptions=["snow"])
    both = make_run("b", corruptions=["fog", "snow"])
    assert [[run.name for run in group] for group in comparable_groups([fog, snow, both])] == [["f", "b"], ["s"]]

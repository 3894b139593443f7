"""`runs` and `export`, as they are typed."""

import json

import pandas as pd
import pytest
from click.testing import CliRunner

from robustbench_bi.cli import cli
from robustbench_bi.runs.identity import fingerprint_of


def invoke(*arguments):
    return CliRunner().invoke(cli, [str(argument) for argument in arguments])


def records_of(run):
    records = run.records().drop(columns=["corruption", "severity"])
    return {cell: records.iloc[place * 150 : place * 150 + 150] for place, cell in enumerate(run.cell_names)}


@pytest.fixture
def written(make_run, make_config, write_run, tmp_path):
    """written(name, …) -> a run on disk with simulated answers; `cells` says how many cells are finished."""

    def write(name, folder=None, cells=None, **options):
        simulated = make_run(name, corruptions=("fog", "snow"), severities=(1, 5), **options)
        found = records_of(simulated)
        done = dict(list(found.items())[:cells])
        config = make_config(n=150, name=name, started="2026-01-02T03:04:05", block_size=64)
        done = {cell: {key: own[key].to_numpy() for key in own} for cell, own in done.items()}
        return write_run(tmp_path / "listed" / (folder or name), config, done)

    return write


def test_runs_lists_what_there_is(written, tmp_path):
    whole = written("resnet50")
    part = written("binet50", folder="deeper/binet50", cells=3)
    config = json.loads((part.directory / "run.json").read_text())
    config["runtime"] |= {"command": "bivo-robust eval --model binet50 --out x", "started_in": "/my data"}
    (part.directory / "run.json").write_text(json.dumps(config))
    (tmp_path / "listed" / "broken").mkdir()
    (tmp_path / "listed" / "broken" / "run.json").write_text("{}")
    result = invoke("runs", tmp_path / "listed", "--json")
    assert result.exit_code == 0, result.output
    printed = json.loads(result.output)
    finished, unfinished = (
        next(run for run in printed["runs"] if run["model"] == name) for name in ("resnet50", "binet50")
    )
    cells = whole.cells().set_index(["corruption", "severity"])["top1"]
    assert finished["clean"] == cells["none", 0]
    assert finished["mean"] == pytest.approx(cells.drop(("none", 0)).mean())
    assert (finished["mean_of"], finished["when"], finished["n"]) == ("mean (2 of 15)", "2026-01-02T03:04:05", 150)
    assert (finished["over"], unfinished["over"]) == ("snow, fog at 1, 5", "")
    assert (finished["cells_done"], finished["cells"], finished["resume"]) == (5, 5, "")
    assert (unfinished["cells_done"], unfinished["clean"], unfinished["run"]) == (3, None, "deeper/binet50")
    assert unfinished["resume"] == "cd '/my data' && bivo-robust eval --model binet50 --out x"
    assert list(printed["unreadable"]) == ["broken"]
    text = invoke("runs", tmp_path / "listed").output
    assert "To finish deeper/binet50: cd '/my data' && bivo-robust eval --model binet50 --out x" in text
    assert "3/5" in text
    # A mean is of something, and AP beside top-1 is not taken for it.
    assert "top-1 %" in text and "snow, fog at 1, 5" in text
    assert "Left out: broken" in text


def test_runs_finds_those_that_are_there_twice(written, make_config, tmp_path):
    written("resnet50")
    copy = written("resnet50", folder="copy")
    other = written("resnet50", folder="other_seed")
    config = json.loads((other.directory / "run.json").read_text())
    config["seed"] = 7
    (other.directory / "run.json").write_text(json.dumps(config | {"fingerprint": fingerprint_of(config)}))
    # The same answers in files of another size are the same measurement.
    config = json.loads((copy.directory / "run.json").read_text())
    config["block_size"] //= 2
    (copy.directory / "run.json").write_text(json.dumps(config | {"fingerprint": fingerprint_of(config)}))
    printed = json.loads(invoke("runs", tmp_path / "listed", "--json").output)
    assert printed["duplicates"] == [["copy", "resnet50"]]


def test_runs_without_a_folder_says_so(tmp_path):
    result = invoke("runs", tmp_path / "nothing")
    assert result.exit_code == 2
    assert "there is no folder" in result.output
    assert invoke("runs", tmp_path).output == f"There are no runs in {tmp_path}.\n"


def test_export_csv_has_every_cell_of_every_run(written, tmp_path):
    runs = [written("resnet50"), written("binet50", luck=3)]
    out = tmp_path / "new" / "cells.csv"
    result = invoke("export", *(run.directory for run in runs), "--format", "csv", "--out", out)
    assert result.exit_code == 0, result.output
    table = pd.read_csv(out)
    assert table["model"].tolist() == ["resnet50"] * 5 + ["binet50"] * 5
    assert table["top1"].to_numpy() == pytest.approx(pd.concat([run.cells() for run in runs])["top1"].to_numpy())
    assert (table["top1_low"] < table["top1"]).all()


def test_export_writes_its_file_anew(written, tmp_path):
    run, out = written("resnet50"), tmp_path / "cells.csv"
    out.write_text("old")
    assert invoke("export", run.directory, "--format", "csv", "--out", out).exit_code == 0
    assert out.read_text().startswith("model,")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--format", "csv", "--out", "."], "it is a folder; name a file in it"),
        (["--format", "xml", "--out", "x"], "is not one of"),
        (["--format", "csv"], "Missing option '--out'"),
    ],
)
def test_export_refuses_in_a_line(written, arguments, message):
    result = invoke("export", written("resnet50").directory, *arguments)
    assert result.exit_code == 2
    assert message in result.output


def test_export_of_an_unfinished_run_says_how_to_finish_it(written, tmp_path):
    result = invoke("export", written("resnet50", cells=2).directory, "--format", "csv", "--out", tmp_path / "x.csv")
    assert result.exit_code == 2
    assert "is not finished" in result.output
    assert not (tmp_path / "x.csv").exists()


def test_the_formats_that_are_offered_are_those_of_the_table():
    from robustbench_bi.commands.export import FORMATS
    from robustbench_bi.reports.exports import EXPORTS

    assert set(FORMATS) == set(EXPORTS.names)

"""`eval --config`, `--print-config`, and the leaderboard of several data sets."""

import csv
import json
import re
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from robustbench_bi.cli import cli
from robustbench_bi.runs.run import open_run

SWEEP = """
model = ["tiny:a", "tiny:b"]
data = ["demo", "photos"]
suite = ["contrast", "fog"]
severities = [1, 5]
limit = 6
out = "runs"
quiet = true
"""


NETWORKS = """
import torch

def a(num_classes):
    return torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(2), torch.nn.Flatten(), torch.nn.Linear(12, num_classes))

b = lambda num_classes: a(num_classes)

def loud(num_classes):
    print("Loaded pretrained weights")
    return a(num_classes)
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder to work in, with ten classes of small photos and the file of a sweep over them and the demo."""
    random = np.random.default_rng(0)
    for number in range(10):
        (tmp_path / "photos" / f"class{number}").mkdir(parents=True)
        pixels = random.integers(0, 255, (40, 48, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "photos" / f"class{number}" / "a.png")
    (tmp_path / "tiny.py").write_text(NETWORKS, encoding="utf-8")
    (tmp_path / "sweep.toml").write_text(SWEEP, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "tiny", raising=False)
    monkeypatch.setattr(sys, "path", [*sys.path])
    return tmp_path


def invoke(*arguments, code=0):
    result = CliRunner().invoke(cli, [str(argument) for argument in arguments])
    assert result.exit_code == code, result.output + repr(result.exception)
    return result


def printed(*arguments):
    return tomllib.loads(invoke("eval", *arguments, "--print-config").stdout)


def test_a_sweep_ends_with_one_leaderboard_in_four_forms(folder):
    (folder / "empty").mkdir()
    result = invoke(
        "eval", "--config", "sweep.toml", "--input-size", 32, "--data", "photos", "--data", "cifar-10-c:empty", code=2
    )
    # What is typed wins: the demo of the file was not asked for, and cannot be resized.
    assert "Error: 1 of 2 data sets failed: cifar-10-c:empty: " in result.stderr
    assert "demo" not in result.stdout

    (folder / "photos" / "class3" / "broken.png").write_bytes(b"")
    result = invoke("eval", "--config", "sweep.toml", "--input-size", 32, "--limit", 11, "--data", "photos", code=2)
    assert "1 of 11 images cannot be decoded" in result.stderr
    failing = invoke("eval", "--config", "sweep.toml", "--limit", 11, code=2)
    assert failing.stderr.startswith("Error: 1 of 2 data sets failed: photos: 1 of 11 images cannot be decoded")
    assert failing.stderr.count("\n") == 1
    assert next(line for line in failing.stdout.splitlines() if "tiny:a" in line).split()[-1] == "–"

    (folder / "photos" / "class3" / "broken.png").unlink()
    begun = {path: path.stat().st_mtime_ns for path in Path("runs").rglob("*.parquet")}
    result = invoke("eval", "--config", "sweep.toml", "--limit", 10)
    again = invoke("eval", "--config", "sweep.toml", "--limit", 10)
    assert again.stdout == result.stdout
    assert all(path.stat().st_mtime_ns == time for path, time in begun.items())
    warnings = [line for line in result.stdout.splitlines() if line.startswith("Warning: ")]
    assert warnings and all(re.match(r"Warning: (demo|photos): tiny:[ab] is no better", line) for line in warnings)
    board = json.loads(Path("runs/leaderboard.json").read_text(encoding="utf-8"))
    with Path("runs/leaderboard.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["model"] for row in rows] == board["models"] == ["tiny:a", "tiny:b"]
    for row in board["rows"]:
        assert row["mean"] == "mean (2 of 15)"
        own = open_run(row["run"])
        assert own.name == row["model"] and own.config["runtime"]["source"] == row["data"]
        cells = own.cells()
        assert row["top1"] == pytest.approx(cells["top1"][cells["corruption"] != "none"].mean())
        number = next(line for line in rows if line["model"] == row["model"])
        assert float(number[row["data"]]) == pytest.approx(row["top1"])
        assert float(number[f"{row['data']}_low"]) == pytest.approx(row["top1_low"])
    assert "| tiny:b |" in Path("runs/leaderboard.md").read_text(encoding="utf-8")
    assert "demo: n = 10; photos: n = 10" in result.stdout
    for text in (result.stdout, Path("runs/leaderboard.md").read_text(encoding="utf-8")):
        assert board["caption"] in " ".join(text.split())
    assert "Means over severities 1, 5. Networks: tiny:a (" in board["caption"]
    assert board["caption"].count(" px) on ") == 2


def test_the_printed_file_is_the_command_that_was_typed(folder):
    typed = ["--model", "resnet50", "--weights", "none", "--data", "demo", "--data", "photos", "--severities", "1,3"]
    typed += ["--mean", "0.5,0.5,0.5", "--batch-size", 8, "--skip-broken", "--out", "runs"]
    expected = {
        "model": ["resnet50"], "weights": ["none"], "data": ["demo", "photos"], "severities": "1,3",
        "mean": [0.5, 0.5, 0.5], "batch-size": 8, "skip-broken": True, "out": "runs",
    }  # fmt: skip
    assert printed(*typed) == expected
    text = invoke("eval", *typed, "--print-config").stdout
    (folder / "typed.toml").write_text(text, encoding="utf-8")
    assert printed("--config", "typed.toml") == expected
    assert printed("--config", "typed.toml", "--data", "demo", "--batch-size", 4) == expected | {
        "data": ["demo"],
        "batch-size": 4,
    }
    assert not (folder / "runs").exists()


def test_a_run_tells_the_options_that_make_it_again(folder, monkeypatch):
    options = ["--model", "resnet50", "--model", "resnext50", "--weights", "none", "--weights", "demo"]
    small = ["--suite", "contrast", "--severities", 2, "--limit", 4, "--jpeg", 80, "--seed", 3, "--out", "runs"]
    (first, second) = json.loads(invoke("eval", *options, *small, "--quiet", "--json").stdout)
    assert printed("--config", Path(first["directory"]) / "run.json") == {
        "model": ["resnet50"], "weights": ["none"], "data": ["demo"], "limit": 4, "suite": "contrast",
        "severities": "2", "jpeg": "80", "seed": 3,
    }  # fmt: skip
    (folder / "elsewhere").mkdir()
    monkeypatch.chdir(folder / "elsewhere")
    out = folder / "again"
    (again,) = json.loads(invoke("eval", "--config", second["directory"], "--out", out, "--quiet", "--json").stdout)[
        "runs"
    ]
    assert again["fingerprint"] == second["fingerprint"]


def test_paths_of_a_run_are_found_from_elsewhere(folder, monkeypatch):
    small = ["--weights", "none", "--suite", "contrast", "--severities", 2, "--input-size", 32, "--quiet"]
    (made,) = json.loads(invoke("eval", "--model", "resnet50", "--data", "photos", *small, "--json").stdout)
    (folder / "elsewhere").mkdir()
    monkeypatch.chdir(folder / "elsewhere")
    assert printed("--config", made["directory"])["data"] == [str(folder / "photos")]


def test_a_run_that_does_not_know_its_options_is_refused(folder, make_config, write_run):
    run = write_run(folder / "old", make_config(command="bivo-robust eval --model resnet50"), {})
    result = invoke("eval", "--config", run.directory, code=2)
    assert "its command was: bivo-robust eval --model resnet50" in result.stderr
    run = write_run(folder / "module", make_config(requested={"data": ["demo"]}), {})
    assert "was made from a module object" in invoke("eval", "--config", run.directory, code=2).stderr


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("limt = 3", "unknown option 'limt' in bad.toml. Did you mean 'limit'?"),
        ("limit = [1, 2]", "limit in bad.toml must be one value, got a list of 2"),
        ('limit = "ten"', "'ten' is not a whole number"),
        ("limit = 2.5", "'2.5' is not a whole number"),
        ("limit = true", "limit in bad.toml must be text or a number, got true"),
        ("suite = []", "suite in bad.toml must be one value, got a list of 0"),
        ("quiet = 1", "quiet in bad.toml must be true or false, got 1"),
        ("severities = [6]", "severity must be an integer from 1 to 5, got 6"),
        ("data = ['demo', 'demo']", "give each data set once"),
        ("zzz = 3", "unknown option 'zzz' in bad.toml. There are 3"),
        ("zzz = 3", "; `bivo-robust eval --help` shows them."),
        ("[eval]\nlimit = 3", "unknown option 'eval' in bad.toml. Put the keys at the top level of the file, not in a"),
        ("[seed]", "seed in bad.toml must be text or a number, got a table; options are not in sections"),
        ("limit =", "bad.toml is not a TOML file"),
        ("batch_size = 0", "batch_size in bad.toml: "),
        ("limit = 'ten'", "limit in bad.toml: 'ten' is not a whole number."),
    ],
)
def test_bad_files_are_one_line(folder, line, message):
    (folder / "bad.toml").write_text(f"model = 'resnet50'\n{line}\n", encoding="utf-8")
    result = invoke("eval", "--config", "bad.toml", code=2)
    assert message in result.stderr
    assert result.stderr.count("\n") == 1
    assert result.stdout == ""


@pytest.mark.parametrize("command", ["eval", "fourier"])
def test_what_a_network_prints_is_not_mixed_with_the_result(command, folder):
    options = ["--suite", "contrast", "--severities", 5] if command == "eval" else ["--radius", 1, "--step", 1]
    result = invoke(command, "--model", "tiny:loud", "--limit", 4, *options, "--out", "x", "--json", "--quiet")
    assert json.loads(result.stdout)
    assert "Loaded pretrained weights" in result.stderr


def test_all_that_failed_is_named(folder):
    (folder / "empty").mkdir()
    failing = ["--data", "empty", "--data", "demo", "--data", "cifar-10-c:empty"]
    result = invoke("eval", "--config", "sweep.toml", *failing, code=2)
    (line,) = result.stderr.splitlines()
    assert line.startswith("Error: 2 of 3 data sets failed: empty: ") and "; cifar-10-c:empty: " in line
    assert "There is no result for empty, cifar-10-c:empty." in " ".join(result.stdout.split())


@pytest.mark.parametrize("absent", ["absent", "cifar-10-c:absent"])
def test_a_path_that_leads_nowhere_is_refused_before_the_others_are_evaluated(folder, absent):
    result = invoke("eval", "--config", "sweep.toml", "--data", "demo", "--data", absent, code=2)
    assert result.stderr.startswith("Error: there is no ") and absent in result.stderr
    assert (result.stdout, result.stderr.count("\n")) == ("", 1)
    assert not (folder / "runs").exists()

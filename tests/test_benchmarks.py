"""The command for a GPU, tried on the CPU: every stage runs small, so that a GPU runs no line first."""

from __future__ import annotations

import csv
import importlib
import os
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType

import pytest
import torch

ROOT = Path(__file__).parent.parent
FILES = ("correctness", "corruptions", "operators", "networks", "end_to_end", "profile", "training")


@pytest.fixture
def stages(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    return importlib.import_module("gpu_stages")


def start(out: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, ROOT / "benchmarks" / "gpu.py", "--device", "cpu", "--quick", "--out", out]
    # A machine that does much else at the same time needs long for little.
    command += ["--seconds", "1500", *options]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=1600)


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def test_every_stage_runs_and_none_runs_twice(tmp_path: Path) -> None:
    done = start(tmp_path)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    written = {path.name: path.read_bytes() for path in tmp_path.glob("*.csv")}
    assert sorted(written) == sorted(f"gpu_{name}.csv" for name in FILES)
    (tests,) = rows(tmp_path / "gpu_correctness.csv")
    assert (int(tests["passed"]), tests["failed"], tests["ended"]) == (3, "0", "True")
    assert len(rows(tmp_path / "gpu_corruptions.csv")) == 20
    assert {row["pass"] for row in rows(tmp_path / "gpu_operators.csv")} == {"forward", "backward"}
    assert all(float(row["over_resnet"]) > 0 for row in rows(tmp_path / "gpu_networks.csv"))
    trained = rows(tmp_path / "cifar10" / "resnet29-seed0.csv")
    assert {(row["part"], row["way"], row["processes"]) for row in trained} == {
        ("probe", "compiled", "2"),
        ("whole", "compiled", "2"),
    }
    again = start(tmp_path, "--stages", "abde")
    assert again.returncode == 0, again.stderr[-3000:]
    assert {path.name: path.read_bytes() for path in tmp_path.glob("*.csv")} == written


def test_a_row_is_due_until_it_is_there_and_again_after_a_change(
    stages: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    bench = stages.Bench(torch.device("cpu"), True, tmp_path, time.monotonic() + 60)
    key = {"corruption": "fog", "severity": 3}
    assert bench.due("a.csv", key)
    bench.add("a.csv", key, {"seconds": 1.0})
    assert not bench.due("a.csv", key)
    assert bench.due("a.csv", {**key, "severity": 5})
    assert not stages.Bench(bench.device, True, tmp_path, time.monotonic()).due("a.csv", {**key, "severity": 5})
    assert stages.Bench(bench.device, False, tmp_path, bench.ends).due("a.csv", key)
    monkeypatch.setattr(stages, "source_hash", lambda: "another")
    assert bench.due("a.csv", key)


def test_outcomes_are_read_as_pytest_and_its_workers_write_them(stages: ModuleType) -> None:
    command = importlib.import_module("gpu")
    lines = [
        "tests/a.py::one PASSED                      [ 33%]",
        "[gw1] [ 66%] FAILED tests/a.py::two[x y-None] ",
        "tests/a.py::three[1] FAILED [100%]",
        "E   AssertionError: FAILED is no outcome here",
        "FAILED tests/a.py::three[1] - AssertionError: assert 1 == 2",
        "= 2 failed, 1 passed in 0.01s =",
    ]
    assert command.outcome_lines([line.rstrip() for line in lines], "FAILED") == [
        "tests/a.py::two[x y-None]",
        "tests/a.py::three[1]",
        "tests/a.py::three[1]",
    ]
    assert command.outcome_lines(lines, "PASSED") == ["tests/a.py::one"]


def test_a_command_that_takes_too_long_is_stopped_with_all_that_it_began(stages: ModuleType) -> None:
    command = importlib.import_module("gpu")
    began = time.monotonic()
    code = "import subprocess; print('here', flush=True); subprocess.run(['sleep', '60'])"
    lines, status = command.output_within([sys.executable, "-c", code], 5)
    assert time.monotonic() - began < 30
    assert status != 0
    assert lines[0] == "here"

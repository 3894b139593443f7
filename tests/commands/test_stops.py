"""Ctrl-C and SIGTERM, to real processes: the exit code, one line, and nothing that is half written."""

import os
import re
import signal
import subprocess
import sys
import time

import pytest
from click.testing import CliRunner

from robustbench_bi.cli import cli
from robustbench_bi.commands import COMMANDS
from robustbench_bi.ground.stops import Terminated

CODES = {signal.SIGINT: 130, signal.SIGTERM: 143}
EVAL = ["eval", "--model", "resnet50", "--suite", "noise", "--severities", "1,5", "--limit", "64", "--quiet"]
CORRUPT = ["corrupt", "demo", "c", "--suite", "noise", "--limit", "300", "--workers", "2", "--quiet"]
TRAIN = ["train", "--model", "resnet29", "--option", "width=0.125", "--limit", "640", "--batch-size", "32", "--quiet"]
STOPPED = "Stopped. Finished {} are kept in {}/; run the same command to resume."


def start(arguments, folder, **variables):
    """The program in a process group of its own, as a terminal starts it."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path), **variables}
    return subprocess.Popen(
        [sys.executable, "-m", "robustbench_bi", *arguments],
        cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip


def stop_when(process, folder, pattern, send):
    """Send a signal when a file is there; returns what the process printed."""
    deadline = time.monotonic() + 240
    while not any(folder.glob(pattern)):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)
    send()
    return process.communicate(timeout=240)


@pytest.mark.parametrize("number", CODES)
def test_eval_that_is_stopped_says_what_is_kept_and_goes_on(tmp_path, number):
    process = start(EVAL, tmp_path)
    said = stop_when(process, tmp_path, "runs/*/records/*.parquet", lambda: process.send_signal(number))
    assert (process.returncode, *said) == (CODES[number], "", STOPPED.format("cells", "runs") + "\n")
    assert not list(tmp_path.rglob(".*.partial"))
    kept = {path: path.stat().st_mtime_ns for path in tmp_path.glob("runs/*/records/*.parquet")}
    assert 0 < len(kept) < 7
    again = start(EVAL, tmp_path)
    stdout, stderr = again.communicate(timeout=240)
    assert (again.returncode, stderr) == (0, "")
    assert "Records: " in stdout
    assert {path: path.stat().st_mtime_ns for path in kept} == kept


@pytest.mark.parametrize("number", CODES)
def test_the_workers_of_corrupt_end_with_it(tmp_path, number):
    process = start(CORRUPT, tmp_path)
    # A terminal sends Ctrl-C to the whole group; a scheduler may send SIGTERM to the first process alone.
    whole_group = number == signal.SIGINT
    send = (lambda: os.killpg(process.pid, number)) if whole_group else (lambda: process.send_signal(number))
    said = stop_when(process, tmp_path, "c/gaussian_noise/1/*/*.JPEG", send)
    assert (process.returncode, *said) == (CODES[number], "", STOPPED.format("files", "c") + "\n")
    assert not list(tmp_path.rglob(".*.partial"))
    deadline = time.monotonic() + 10
    while members_of(process.pid):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_ctrl_c_while_the_workers_of_corrupt_start_is_one_line(tmp_path):
    """A worker that still imports has not yet been told to leave Ctrl-C to the first process."""
    (tmp_path / "sitecustomize.py").write_text(
        "import sys\n"
        "class Noting:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'torch' and '--multiprocessing-fork' in sys.orig_argv:\n"
        "            open('a-worker-starts', 'w').close()\n"
        "sys.meta_path.insert(0, Noting())\n"
    )
    path = os.pathsep.join([str(tmp_path), *(path for path in sys.path if path)])
    process = start(CORRUPT, tmp_path, PYTHONPATH=path)
    said = stop_when(process, tmp_path, "a-worker-starts", lambda: os.killpg(process.pid, signal.SIGINT))
    assert (process.returncode, *said) == (130, "", STOPPED.format("files", "c") + "\n")


def members_of(group):
    """The processes of a group that still run."""
    done = subprocess.run(["ps", "-eo", "pgid,stat"], capture_output=True, text=True, check=True)
    rows = [line.split() for line in done.stdout.splitlines()[1:]]
    return [state for number, state in rows if number == str(group) and not state.startswith("Z")]


@pytest.mark.parametrize("number", CODES)
def test_a_stop_while_torch_is_imported_is_no_crash(tmp_path, number):
    """An exception in the midst of torch's import aborts the process."""
    (tmp_path / "sitecustomize.py").write_text(
        "import os, sys\n"
        "class Asking:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'torch.autograd':\n"
        f"            os.kill(os.getpid(), {int(number)})\n"
        "sys.meta_path.insert(0, Asking())\n"
    )
    path = os.pathsep.join([str(tmp_path), *(path for path in sys.path if path)])
    process = start(EVAL, tmp_path, PYTHONPATH=path)
    stdout, stderr = process.communicate(timeout=240)
    assert (process.returncode, stdout, len(stderr.splitlines())) == (CODES[number], "", 1)
    assert stderr.startswith("Stopped. ")


@pytest.mark.parametrize("number", CODES)
def test_train_ends_its_step_and_says_which(tmp_path, number):
    process = start([*TRAIN, "--epochs", "50", "--save-every", "0"], tmp_path)
    said = stop_when(process, tmp_path, "trained/*-state.safetensors", lambda: process.send_signal(number))
    assert (process.returncode, said[0]) == (CODES[number], "")
    assert re.fullmatch(r"stopped after step \d+ of epoch \d+; run the same command to resume\n", said[1])
    assert not list(tmp_path.rglob(".*.partial"))


@pytest.mark.parametrize("stop", [KeyboardInterrupt, Terminated])
def test_a_follower_is_quiet(tmp_path, monkeypatch, stop):
    def stopped(*arguments, **options):
        raise stop

    monkeypatch.setattr("robustbench_bi.training.loop.train", stopped)
    command = ["train", "--model", "resnet29", "--out", str(tmp_path)]
    code = 143 if stop is Terminated else 130
    follower = CliRunner().invoke(cli, command, env={"RANK": "1"})
    assert (follower.exit_code, follower.output) == (code, "")
    first = CliRunner().invoke(cli, command, env={"RANK": "0"})
    assert (first.exit_code, first.stderr) == (
        code, f"Stopped. Everything saved so far is kept in {tmp_path}/; run the same command to resume.\n",
    )  # fmt: skip


def test_a_command_that_keeps_nothing_says_so(tmp_path, monkeypatch):
    def stopped(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr("robustbench_bi.analysis.score.read_cells", stopped)
    cells = tmp_path / "cells.csv"
    cells.write_text("corruption,severity,top1\nfog,1,50\n", encoding="utf-8")
    result = CliRunner().invoke(cli, ["score", str(cells)])
    assert (result.exit_code, result.stderr) == (130, "Stopped. Nothing was saved; run the same command again.\n")


@pytest.mark.parametrize("command", [TRAIN, EVAL, CORRUPT], ids=lambda command: command[0])
def test_a_command_that_is_stopped_before_its_folder_is_there_names_no_folder(tmp_path, monkeypatch, command):
    def stopped(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(COMMANDS.load(command[0]), "callback", stopped)
    result = CliRunner().invoke(cli, command)
    assert (result.exit_code, result.stderr) == (130, "Stopped. Nothing was saved; run the same command again.\n")


@pytest.mark.parametrize("row", COMMANDS, ids=lambda row: row.name)
def test_every_command_says_how_to_go_on_in_one_sentence_or_two(row):
    assert row.when_stopped.endswith(".") and "same command" in row.when_stopped
    # Only a command that says where it writes can name the place.
    has_out = any(p.name in ("out", "destination") and p.callback for p in COMMANDS.load(row.name).params)
    assert "{out}" not in row.when_stopped or has_out

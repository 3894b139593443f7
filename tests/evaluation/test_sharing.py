import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from threading import Semaphore, Thread

import pytest
import torch
from click.testing import CliRunner
from PIL import Image

import robustbench_bi as rb
from robustbench_bi.cli import cli
from robustbench_bi.data import Dataset
from robustbench_bi.errors import DataError, InputError, ModelOutputError
from robustbench_bi.evaluation import sharing
from robustbench_bi.evaluation.networks import device_for
from robustbench_bi.evaluation.sharing import (
    ALONE,
    INTERVAL,
    PATIENCE,
    Share,
    owners,
    share_of_environment,
    wait_until,
)
from robustbench_bi.runs.run import open_run

SMALL = {"suite": "gaussian_noise,contrast", "severities": "1,5", "limit": 20, "block_size": 8, "batch_size": 4}
CELL_BLOCKS = 5 * 3
TORCHRUN = {"WORLD_SIZE": "2", "TORCHELASTIC_RUN_ID": "none"}


class Tiny(torch.nn.Module):
    """A fixed random projection of the mean colours of 16 patches."""

    mean, std = (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)

    def __init__(self, input_size=64):
        super().__init__()
        self.input_size = input_size
        self.head = torch.nn.Linear(48, 10)
        with torch.no_grad():
            self.head.weight.copy_(torch.randn(10, 48, generator=torch.Generator().manual_seed(input_size)))
            self.head.bias.zero_()

    def forward(self, images):
        return self.head(torch.nn.functional.adaptive_avg_pool2d(images, 4).flatten(1))


class Clock:
    """Time that passes only while somebody sleeps; in place of the module `time`."""

    def __init__(self):
        self.now = 0.0

    def monotonic(self):
        return self.now

    def sleep(self, seconds):
        self.now += seconds


@pytest.fixture
def clock(monkeypatch):
    """The clock of the processes that wait for others."""
    clock = Clock()
    monkeypatch.setattr(sharing, "time", clock)
    return clock


def contents(run):
    """Name and bytes of every record file of a run."""
    return {path.name: path.read_bytes() for path in sorted((run.directory / "records").iterdir())}


def environment(**variables):
    """The variables of this process, without what torchrun or SLURM set, and these."""
    launchers = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "TORCHELASTIC_RUN_ID")
    kept = {name: value for name, value in os.environ.items() if name not in launchers and name[:6] != "SLURM_"}
    return {**kept, **variables}


@pytest.mark.parametrize("blocks", [1, 2, 3, 7, 25])
@pytest.mark.parametrize("cells", [1, 2, 5, 76])
@pytest.mark.parametrize("processes", [1, 2, 3, 4, 7, 8, 24, 25, 64, 500])
def test_cell_blocks_are_shared_evenly_and_each_block_among_few_ranks(blocks, cells, processes):
    owned = owners([2048] * (blocks * cells), processes)
    shares = [owned.count(rank) for rank in range(processes)]
    assert sum(shares) == len(owned) == blocks * cells
    assert max(shares) - min(shares) <= 1
    decoded = {(owner, number // cells) for number, owner in enumerate(owned)}
    assert len(decoded) <= blocks + processes - 1


@pytest.mark.parametrize("weights", [[2048, 2048, 100], [7] * 24 + [3], [5, 5, 5, 1, 1, 1], [1], [1, 1000]])
@pytest.mark.parametrize("processes", [1, 2, 3, 8])
def test_shares_of_unequal_blocks_differ_from_even_ones_by_less_than_a_piece(weights, processes):
    owned = owners(weights, processes)
    assert owned == sorted(owned)
    for rank in range(processes):
        own = sum(weight for weight, owner in zip(weights, owned, strict=True) if owner == rank)
        assert abs(own - sum(weights) / processes) < max(weights)


ARRAY = "SLURM_ARRAY_TASK_ID={} SLURM_ARRAY_TASK_COUNT={} SLURM_ARRAY_TASK_MIN={}"
SRUN = "SLURM_PROCID={} SLURM_STEP_NUM_TASKS={} SLURM_LOCALID={}"


def variables_of(text):
    return dict(part.split("=") for part in text.split())


@pytest.mark.parametrize(
    ("text", "share"),
    [
        ("", ALONE),
        ("RANK=3 WORLD_SIZE=8 LOCAL_RANK=1 TORCHELASTIC_RUN_ID=none", Share(3, 8, 1, together=True)),
        ("RANK=3 WORLD_SIZE=8", Share(3, 8)),
        # By hand in a job array: it is not counted twice.
        (f"RANK=3 WORLD_SIZE=8 {ARRAY.format(3, 8, 0)}", Share(3, 8)),
        (f"{SRUN.format(5, 8, 1)} SLURM_NTASKS=8", Share(5, 8, 1, together=True)),
        # In a batch script, outside srun, there is one process.
        ("SLURM_PROCID=0 SLURM_NTASKS=8 SLURM_LOCALID=0", ALONE),
        # One torchrun a machine, started by srun: what torchrun says counts.
        (
            f"RANK=9 WORLD_SIZE=16 LOCAL_RANK=1 TORCHELASTIC_RUN_ID=7 {SRUN.format(1, 2, 0)}",
            Share(9, 16, 1, together=True),
        ),
        (ARRAY.format(7, 4, 5), Share(2, 4)),
        (f"{ARRAY.format(7, 4, 1)} SLURM_ARRAY_TASK_STEP=2", Share(3, 4)),
        # One task of an array that is submitted again by itself does all that is left.
        (ARRAY.format(7, 1, 7), ALONE),
        (f"{ARRAY.format(2, 3, 0)} {SRUN.format(1, 4, 1)}", Share(9, 12, 1)),
    ],
)
def test_torchrun_and_slurm_tell_the_share(text, share):
    assert share_of_environment(variables_of(text)) == share


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("RANK=0", "RANK is set and WORLD_SIZE is not; set both, or neither"),
        ("WORLD_SIZE=2", "WORLD_SIZE is set and RANK is not"),
        ("RANK=2 WORLD_SIZE=2", "RANK must be less than WORLD_SIZE, got RANK=2 and WORLD_SIZE=2"),
        ("RANK=0 WORLD_SIZE=0", "RANK must be less than WORLD_SIZE"),
        ("RANK=-1 WORLD_SIZE=2", "RANK must be an integer of at least 0, as torchrun and SLURM set it, got '-1'"),
        ("RANK= WORLD_SIZE=2", "RANK must be an integer of at least 0, .* got ''"),
        ("RANK=0 WORLD_SIZE=two", "WORLD_SIZE must be an integer"),
        ("RANK=0 WORLD_SIZE=2 LOCAL_RANK=x", "LOCAL_RANK must be an integer"),
        ("SLURM_STEP_NUM_TASKS=2", "SLURM_STEP_NUM_TASKS is set and SLURM_PROCID is not"),
        ("SLURM_ARRAY_TASK_ID=2", "SLURM_ARRAY_TASK_ID is set and SLURM_ARRAY_TASK_COUNT is not"),
        (ARRAY.format(7, 3, 1), r"such as --array=0-2; got task 7 of 3 that start at 1. Unset SLURM_ARRAY_TASK_ID"),
        (f"{ARRAY.format(4, 3, 1)} SLURM_ARRAY_TASK_STEP=2", "must have evenly spaced tasks"),
    ],
)
def test_variables_that_contradict_each_other_are_refused(text, message):
    with pytest.raises(InputError, match=message):
        share_of_environment(variables_of(text))


@pytest.mark.parametrize("numbers", [(2, 2), (-1, 2), (0, 0), (0, 2, -1)])
def test_a_share_is_of_numbers_that_fit(numbers):
    with pytest.raises(InputError, match="a rank must be from 0 to"):
        Share(*numbers)


def test_each_process_of_a_machine_takes_a_gpu_of_its_own(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    monkeypatch.setattr("robustbench_bi.evaluation.networks.choose_device", lambda name: name)
    assert [device_for("auto", Share(8, 16, local)) for local in (0, 3, 5)] == ["cuda:0", "cuda:3", "cuda:1"]
    assert device_for("cuda", Share(6, 8, 2)) == "cuda:2"
    assert device_for("cuda:1", Share(2, 8, 2)) == "cuda:1"
    assert device_for("cpu", Share(2, 8, 2)) == "cpu"
    assert device_for("auto", ALONE) == "auto"


def test_waiting_ends_when_nothing_comes_for_long(clock):
    assert not wait_until(lambda: False)
    assert PATIENCE < clock.now <= PATIENCE + INTERVAL


def test_what_comes_renews_the_patience(clock):
    end = 3 * PATIENCE
    assert wait_until(lambda: clock.now > end, lambda: clock.now // (PATIENCE / 2))
    assert not wait_until(lambda: False, lambda: min(clock.now, 2 * end))
    assert clock.now > 2 * end + PATIENCE


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1)])
def test_tasks_of_a_job_array_run_one_after_the_other_fill_one_run(tmp_path, order, monkeypatch):
    options = {**SMALL, "limit": 24}
    whole = rb.evaluate(Tiny(), out=tmp_path / "whole", **options)
    decoded, read = [], Dataset.read
    monkeypatch.setattr(
        Dataset, "read", lambda self, rows, *a, **k: decoded.append(len(rows)) or read(self, rows, *a, **k)
    )
    seen, stamps = [], {}
    for rank in order:
        run = rb.evaluate(Tiny(), out=tmp_path / "shared", share=Share(rank, 3), progress=seen.append, **options)
        files = {path.name: path.stat().st_mtime_ns for path in (run.directory / "records").iterdir()}
        assert {name: files[name] for name in stamps} == stamps
        stamps = files
        assert len(run.missing()) == CELL_BLOCKS - len(files)
    assert contents(run) == contents(whole)
    assert len(seen) == CELL_BLOCKS
    assert [rows for rows in decoded if rows > 1] == [8, 8, 8]  # but for the one image that is tried out


def test_more_ranks_than_cell_blocks(tmp_path):
    options = {"out": tmp_path / "shared", "suite": "contrast", "severities": 1, "limit": 4}
    for rank in range(5):
        run = rb.evaluate(Tiny(), share=Share(rank, 5), **options)
    assert contents(run) == contents(rb.evaluate(Tiny(), **{**options, "out": tmp_path / "whole"}))


def test_another_number_of_ranks_finishes_what_is_left(tmp_path):
    options = {**SMALL, "out": tmp_path / "shared"}
    rb.evaluate(Tiny(), share=Share(1, 4), **options)
    for rank in range(2):
        run = rb.evaluate(Tiny(), share=Share(rank, 2), **options)
    assert contents(run) == contents(rb.evaluate(Tiny(), **{**SMALL, "out": tmp_path / "whole"}))


def test_several_models_of_two_sizes_are_shared(tmp_path):
    models = [Tiny(), Tiny(48), Tiny(56)]
    for number in range(10):
        path = tmp_path / "data" / str(number) / "0.png"
        path.parent.mkdir(parents=True)
        Image.new("RGB", (64, 64), (number * 20, 0, 255 - number)).save(path)
    options = {"suite": "contrast", "severities": "1,5", "block_size": 4, "table": "tiny-imagenet-c"}
    whole = rb.evaluate_models(models, tmp_path / "data", out=tmp_path / "whole", **options)
    for rank in (1, 0):
        runs = rb.evaluate_models(models, tmp_path / "data", out=tmp_path / "shared", share=Share(rank, 2), **options)
    assert [contents(run) for run in runs] == [contents(run) for run in whole]


def test_what_fails_leaves_the_folder_to_the_others(tmp_path):
    class NotANumber(Tiny):
        def forward(self, images):
            return super().forward(images) * torch.nan

    with pytest.raises(ModelOutputError, match="NaN or infinite logits"):
        rb.evaluate(NotANumber(), out=tmp_path, share=Share(0, 2), **SMALL)
    assert list(tmp_path.glob("*/run.json"))


def test_rank_0_shows_the_progress_of_all_and_ends_last(tmp_path, monkeypatch):
    options, seen = {**SMALL, "out": tmp_path}, []
    rb.evaluate(Tiny(), share=Share(2, 3), **options)
    turn, came = Semaphore(0), Semaphore(0)

    def work(_):
        came.release()
        turn.acquire()

    class Turns(Clock):
        """While rank 0 sleeps, rank 1 does one more cell-block."""

        def sleep(self, seconds):
            turn.release()
            assert came.acquire(timeout=120)

    slow = {"share": Share(1, 3, together=True), "progress": work, **options}
    follower = Thread(target=rb.evaluate, args=[Tiny()], kwargs=slow, daemon=True)
    follower.start()
    monkeypatch.setattr(sharing, "time", Turns())
    run = rb.evaluate(Tiny(), share=Share(0, 3, together=True), progress=seen.append, **options)
    assert run.missing() == []
    turn.release(CELL_BLOCKS)
    follower.join()
    there = [progress.steps_done for progress in seen]
    assert there == sorted(there) and there[0] > CELL_BLOCKS // 3 and there[-1] == seen[-1].steps_total == CELL_BLOCKS
    left = [progress.images_total - progress.images for progress in seen]
    assert left == sorted(left, reverse=True) and left[-1] == 0
    assert len({progress.images_total for progress in seen}) == 1


def test_rank_0_alone_notes_that_a_run_was_started_again(tmp_path):
    for rank in (1, 2, 0, 1):
        run = rb.evaluate(Tiny(), out=tmp_path, share=Share(rank, 3), **SMALL)
    assert len(run.config["runtime"]["resumed"]) == 1


def test_a_rank_whose_rank_0_never_begins_gives_up(tmp_path, clock):
    with pytest.raises(DataError, match=r"rank 0 has not created .*run\.json; check its output"):
        rb.evaluate(Tiny(), out=tmp_path, share=Share(1, 2, together=True), **SMALL)
    assert clock.now > PATIENCE
    assert not list(tmp_path.iterdir())


COMMAND = ["eval", "--model", "resnet50", "--suite", "contrast", "--severities", "1-5", "--limit", "16"]


def invoke(variables, *arguments, code=0):
    """The command line in this process, with these variables of a launcher."""
    unset = {name: None for name in os.environ if name not in environment()}
    result = CliRunner().invoke(cli, [*COMMAND, *map(str, arguments)], env={**unset, **variables})
    assert result.exit_code == code, result.output + repr(result.exception)
    return result


def task(number):
    return variables_of(ARRAY.format(number, 3, 1))


def test_tasks_of_a_job_array_say_what_is_left_and_the_last_prints_the_result(tmp_path):
    for number, there in ((3, 2), (1, 4)):
        result = invoke(task(number), "--out", tmp_path)
        assert result.stdout == ""
        assert f"This is rank {number - 1} of 3 that share the work. To do all the work" in result.stderr
        assert f"Rank {number - 1} of 3 has finished its part. {there} of 6 cell-blocks of {tmp_path}" in result.stderr
    last = invoke(task(2), "--out", tmp_path, "--json", "--quiet")
    assert last.stderr == ""
    assert [cell["n"] for cell in json.loads(last.stdout)[0]["cells"]] == [16] * 6
    late = invoke(task(1), "--out", tmp_path)
    assert "clean" in late.stdout and "has finished its part" not in late.stderr
    assert late.stdout == invoke({}, "--out", tmp_path).stdout


def test_a_rank_that_waits_in_vain_ends_with_one_line(tmp_path, clock):
    result = invoke({**TORCHRUN, "RANK": "0"}, "--out", tmp_path, "--quiet", code=2)
    assert result.stdout == ""
    assert "is not finished: 3 of 6 cell-blocks are missing" in result.stderr
    assert len(result.stderr.splitlines()) == 1
    follower = invoke({**TORCHRUN, "RANK": "1"}, "--out", tmp_path)
    assert follower.output == ""
    assert "clean" in invoke({**TORCHRUN, "RANK": "0"}, "--out", tmp_path).stdout


def test_bad_variables_are_one_line(tmp_path):
    result = invoke({"RANK": "1"}, "--out", tmp_path / "runs", code=2)
    assert result.stderr.splitlines() == [
        "Error: RANK is set and WORLD_SIZE is not; set both, or neither for one process"
    ]
    assert not (tmp_path / "runs").exists()


def test_a_killed_rank_is_made_up_for_by_the_next_start(tmp_path):
    """Two processes as torchrun starts them, one of them killed; then torchrun itself."""
    out, command = tmp_path / "shared", ["-m", "robustbench_bi", "eval", "--model", "resnet50", "--suite", "noise,blur"]
    command += ["--limit", "50", "--out", str(out)]
    processes = [
        subprocess.Popen(
            [sys.executable, *command, "--quiet"],
            env=environment(**TORCHRUN, RANK=str(rank), LOCAL_RANK=str(rank)),
            stdout=subprocess.PIPE,
        )
        for rank in (0, 1)
    ]
    deadline, files = time.monotonic() + 120, random.randrange(5, 15)
    try:
        while len(list(out.glob("*/records/*.parquet"))) < files:
            assert [process.poll() for process in processes] == [None, None] and time.monotonic() < deadline
            time.sleep(0.01)
        processes[1].send_signal(signal.SIGKILL)
    finally:
        for process in processes:
            process.terminate()  # as torchrun does when one is dead
    assert [process.communicate()[0] for process in processes] == [b"", b""]
    run = open_run(next(out.iterdir()))
    assert run.missing()

    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
    again = subprocess.run(
        [*torchrun, *command], env=environment(), capture_output=True, text=True, timeout=120, check=False
    )
    assert again.returncode == 0, again.stderr
    assert again.stdout.count("Records: ") == 1
    assert "2 processes share the work; this one shows their combined progress." in again.stderr
    assert "36/36 cells" in again.stderr
    whole = rb.evaluate("resnet50", suite="noise,blur", limit=50, out=tmp_path / "whole")
    assert contents(run) == contents(whole)
    assert Path(run.directory).name == whole.directory.name

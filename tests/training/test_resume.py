"""Stopped at any step, a training ends with the weights, bit for bit, of one that was not stopped."""

import csv
import os
import signal
import time

import pytest
import torch

from robustbench_bi.errors import InputError, ModelOutputError, RunMismatchError
from robustbench_bi.models.weights import read_metadata
from robustbench_bi.training.logs import COLUMNS
from robustbench_bi.training.loop import train

EVERYTHING = {"ema": 0.8, "augment": "noise", "half": False, "batch_size": 16}


class Crash(BaseException):
    """Nobody catches it, as nobody does when a machine fails."""


def short(out, name="batch_norm", **arguments):
    fixed = {"preset": "demo", "epochs": 3, "limit": 70, "recipe": EVERYTHING, "accumulate": 2, "save_every": 0}
    return train(f"tiny_networks:{name}", "demo", out=out, **{**fixed, **arguments})


def until(steps, action):
    """A progress callback that acts after so many steps."""
    seen = []

    def progress(_):
        seen.append(None)
        if len(seen) == steps:
            action()

    return progress


def crash():
    raise Crash


def log_of(path):
    with path.with_suffix(".csv").open(encoding="utf-8") as file:
        return [{name: row[name] for name in COLUMNS if name != "seconds"} for row in csv.DictReader(file)]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Four steps an epoch, three epochs, without an interruption."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(os.path.dirname(__file__))  # noqa: PTH120
        return short(tmp_path_factory.mktemp("whole"))


@pytest.mark.parametrize("crashes", [(1,), (2,), (4,), (5, 1, 3), (11,), (12,)])
def test_a_crash_at_any_step_changes_nothing(tiny, tmp_path, whole, same_bytes, crashes):
    for steps in crashes:
        with pytest.raises(Crash):
            short(tmp_path, progress=until(steps, crash))
    notes = []
    path = short(tmp_path, note=notes.append)
    assert same_bytes(path, whole)
    assert log_of(path) == log_of(whole)
    assert read_metadata(path)["accuracy"] == read_metadata(whole)["accuracy"]
    assert sorted(file.name for file in tmp_path.iterdir()) == [f"{path.stem}.csv", path.name]
    # The step that a crash falls into is lost.
    done = sum(steps - 1 for steps in crashes)
    begun = [f"Resuming after step {done % 4} of epoch {done // 4 + 1}, from {tmp_path}/{path.stem}-state.safetensors."]
    assert notes == (begun if done else [])


def test_without_states_within_it_an_epoch_is_begun_anew(tiny, tmp_path, whole, same_bytes):
    with pytest.raises(Crash):
        short(tmp_path, save_every=1000, progress=until(7, crash))
    notes = []
    assert same_bytes(short(tmp_path, save_every=1000, note=notes.append), whole)
    assert notes[0].startswith("Resuming after step 0 of epoch 2")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_request_to_stop_keeps_the_step_it_came_in(tiny, tmp_path, whole, same_bytes, number):
    handlers = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt, match="stopped after step 2 of epoch 2; run the same command to resume"):
        short(tmp_path, save_every=1000, progress=until(5, lambda: os.kill(os.getpid(), number)))
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == handlers
    assert same_bytes(short(tmp_path), whole)


def test_a_second_request_ends_it_at_once(tiny, tmp_path):
    def twice():
        # Raised in this thread: a signal to the process may reach another one, and be answered a step later.
        asks = signal.getsignal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
        while signal.getsignal(signal.SIGINT) is asks:
            time.sleep(0)  # two signals that come before the first is answered are one
        signal.raise_signal(signal.SIGINT)

    # Where the tests run in a shell's background, the shell has let them ignore Ctrl-C.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt) as caught:
            short(tmp_path, progress=until(5, twice))
    finally:
        signal.signal(signal.SIGINT, before)
    assert not caught.value.args


def test_a_finished_training_is_not_repeated(tiny, tmp_path):
    path = short(tmp_path, epochs=1)
    before = path.stat().st_mtime_ns
    left = tmp_path / f"{path.stem}-state.safetensors"
    left.write_bytes(b"left by a crash at the very end")
    notes, steps = [], []
    assert short(tmp_path, epochs=1, note=notes.append, progress=steps.append) == path
    assert notes == [f"Training already finished: {path}. Nothing to do."]
    assert steps == []
    assert path.stat().st_mtime_ns == before
    assert not left.exists()


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"epochs": 4}, "epochs was 3, now 4"),
        ({"recipe": {**EVERYTHING, "label_smoothing": 0.1}}, "label_smoothing was 0.0, now 0.1"),
        ({"seed": 1}, "seed was 0, now 1"),
        ({"limit": 69}, "training images differ"),
        ({"accumulate": 1}, "images per batch-norm statistic was 8, now 16"),
        ({"options": {"dropout": 0.1}}, "dropout was None, now 0.1"),
    ],
)
def test_another_training_is_refused_begun_or_finished(tiny, tmp_path, whole, changes, text):
    with pytest.raises(Crash):
        short(tmp_path, progress=until(2, crash))
    for folder in (tmp_path, whole.parent):
        before = {file: file.stat().st_mtime_ns for file in folder.iterdir()}
        with pytest.raises(
            RunMismatchError, match=f"belongs to another training run: {text}. Choose another --out, or delete that"
        ):
            short(folder, **changes)
        assert {file: file.stat().st_mtime_ns for file in folder.iterdir()} == before


def test_a_network_whose_code_has_changed_is_another(tiny, tmp_path, monkeypatch):
    with pytest.raises(Crash):
        short(tmp_path, progress=until(2, crash))
    monkeypatch.setattr("robustbench_bi.training.loop.source_hash", lambda network: "another")
    with pytest.raises(RunMismatchError, match=r"your network's source files differ\. Choose another"):
        short(tmp_path)


def test_what_only_tells_how_it_is_computed_may_change(tiny, tmp_path, same_bytes):
    expected = short(tmp_path / "a", "group_norm", accumulate=1)
    with pytest.raises(Crash):
        short(tmp_path / "b", "group_norm", accumulate=1, progress=until(6, crash))
    path = short(tmp_path / "b", "group_norm", accumulate=2, workers=3, save_every=60)
    assert not same_bytes(path, expected)  # sums of another order
    losses = [[float(row["training_loss"]) for row in log_of(one)] for one in (path, expected)]
    assert losses[0] == pytest.approx(losses[1], abs=2e-4)


def test_a_training_that_diverges_does_so_again(tiny, tmp_path):
    wild = {**EVERYTHING, "learning_rate": 1e30, "warmup_epochs": 0}
    for _ in range(2):
        with pytest.raises(
            ModelOutputError, match=r"the loss became \w+ in epoch 1, step \d; try a lower learning rate"
        ):
            short(tmp_path, recipe=wild)


@pytest.mark.parametrize("where", ["loop.share_out", "steps.autocast", "steps.Learner.score", "loop.restore_state"])
def test_a_device_that_is_too_small_is_one_clear_error(tiny, tmp_path, monkeypatch, where):
    with pytest.raises(Crash):
        short(tmp_path, progress=until(2, crash))

    def full(*arguments, **keywords):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    monkeypatch.setattr(f"robustbench_bi.training.{where}", full)
    with pytest.raises(InputError, match=r"8 images at once do not fit in the device's memory; use more micro-"):
        short(tmp_path)

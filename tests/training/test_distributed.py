"""Two processes on the CPU, over gloo, started as torchrun starts them."""

import csv
import signal

import pytest
import safetensors.torch
import torch
from several_processes import start

from robustbench_bi.errors import DataError, InputError, LostProcessError
from robustbench_bi.models.weights import read_metadata
from robustbench_bi.training.distributed import Processes, join, losing_others
from robustbench_bi.training.loop import train

RECIPE = ["--preset", "demo", "--limit", "96", "--batch-size", "32", "--epochs", "3", "--recipe", "half=false"]


def losses(path):
    with path.with_suffix(".csv").open(encoding="utf-8") as file:
        return [[float(row[f"{split}_loss"]) for split in ("training", "evaluation")] for row in csv.DictReader(file)]


def test_two_processes_have_the_losses_of_one_with_the_same_batch(tmp_path, tiny):
    model = "tiny_networks:group_norm"
    codes, said = start(2, "--model", model, *RECIPE, "--ema", 0.5, "--augment", "noise", "--out", tmp_path / "two")
    assert codes == [0, 0], said
    assert "epoch 3/3, step 3/3, loss" in said[0]
    assert "epoch" not in said[1]
    recipe = {"batch_size": 32, "half": False, "ema": 0.5, "augment": "noise"}
    one = train(model, preset="demo", limit=96, epochs=3, recipe=recipe, out=tmp_path / "one")
    two = tmp_path / "two" / one.name
    for first, second in zip(losses(one), losses(two), strict=True):
        assert first == pytest.approx(second, abs=1.5e-4)
    weights = [safetensors.torch.load_file(path) for path in (one, two)]
    for name, tensor in weights[0].items():
        assert torch.allclose(tensor, weights[1][name], atol=2e-5), name
    stated = [read_metadata(path) for path in (one, two)]
    assert [about["processes"] for about in stated] == [1, 2]
    assert stated[0]["accuracy"]["loss"] == pytest.approx(stated[1]["accuracy"]["loss"], abs=1e-4)
    # Nothing that identifies a training depends on the number of processes, so one may go on with what two began.
    assert train(model, preset="demo", limit=96, epochs=3, recipe=recipe, out=two.parent) == two


def test_a_process_that_is_killed_costs_nothing_but_a_new_start(tmp_path, same_bytes):
    arguments = ["--model", "tiny_networks:ends", *RECIPE, "--save-every", 0, "--out"]
    codes, said = start(2, *arguments, tmp_path / "a", ENDS_ONCE=str(tmp_path / "ended"))
    assert codes == [2, -signal.SIGKILL]
    line = said[0].strip().splitlines()[-1]
    assert line == (
        "Error: another of the 2 processes has stopped. Run the same command to resume from the last saved state"
    )
    assert "Traceback" not in said[0]
    codes, said = start(2, *arguments, tmp_path / "a", ENDS_ONCE=str(tmp_path / "ended"))
    assert codes == [0, 0], said
    assert said[0].startswith("Resuming after step 2 of epoch 2")
    codes, said = start(2, *arguments, tmp_path / "b", ENDS_ONCE=str(tmp_path / "ended"))
    assert codes == [0, 0], said
    name = "tiny_networks-ends.safetensors"
    assert same_bytes(tmp_path / "a" / name, tmp_path / "b" / name)


def test_one_process_goes_on_with_what_two_began(tmp_path, tiny, monkeypatch):
    ended = str(tmp_path / "ended")
    arguments = ["--model", "tiny_networks:ends_plain", *RECIPE, "--save-every", 0, "--out", tmp_path / "a"]
    codes, _ = start(2, *arguments, ENDS_ONCE=ended)
    assert codes == [2, -signal.SIGKILL]
    again = {"preset": "demo", "limit": 96, "epochs": 3, "recipe": {"batch_size": 32, "half": False}}
    notes = []
    monkeypatch.setenv("ENDS_ONCE", ended)
    joined = train("tiny_networks:ends_plain", out=tmp_path / "a", note=notes.append, **again)
    assert notes[0].startswith("Resuming after step 2 of epoch 2")
    alone = train("tiny_networks:ends_plain", out=tmp_path / "b", **again)
    for first, second in zip(losses(joined), losses(alone), strict=True):
        assert first == pytest.approx(second, abs=1.5e-4)


def test_a_network_with_an_unused_part_is_one_line_of_one_of_them(tmp_path):
    codes, said = start(2, "--model", "tiny_networks:unused", *RECIPE, "--out", tmp_path)
    assert codes == [2, 2], said
    line = next(line for line in said[0].splitlines() if line.startswith("Error: "))
    assert "tiny_networks:unused failed on images of shape (16, 3, 64, 64): RuntimeError: Expected to have" in line
    assert "parameters that were not used in producing loss" in line
    assert "Traceback" not in said[0] + said[1]


def test_a_batch_that_the_processes_cannot_share_is_one_line_of_one_of_them(tmp_path):
    arguments = ["--model", "tiny_networks:group_norm", *RECIPE, "--batch-size", 33, "--out", tmp_path / "out"]
    codes, said = start(2, *arguments)
    assert codes == [2, 2]
    assert said[0].startswith("Error: a batch of 33 images cannot be split evenly over 2 processes × 1 micro-")
    assert len(said[0].splitlines()) == 1
    assert said[1] == ""
    assert not (tmp_path / "out").exists()


def test_one_process_does_everything_alone():
    alone = Processes(torch.device("cpu"))
    assert alone.first
    assert alone.together(lambda: 7) == alone.tell(7) == 7
    assert alone.sum(torch.tensor([2.0])).item() == 2
    assert alone.gather(torch.tensor([1]))[0].item() == 1
    with pytest.raises(DataError, match="no images"):
        alone.together(lambda: alone.fail(DataError("no images")))


def test_a_missing_variable_of_torchrun_is_one_clear_error(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "0")
    for name in ("MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    text = r"the 2 processes cannot connect to each other: .*MASTER_ADDR.*; start them with torchrun"
    with pytest.raises(InputError, match=text), join("cpu"):
        pass
    text = "with several processes, device must be auto, cpu or cuda, got 'cuda:1'"
    with pytest.raises(InputError, match=text), join("cuda:1"):
        pass


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("SLURM_STEP_NUM_TASKS", "8", "srun started several copies of this training; have srun start torchrun"),
        ("WORLD_SIZE", "two", "WORLD_SIZE must be an integer of at least 0, as torchrun sets it, got 'two'"),
    ],
)
def test_variables_that_would_start_something_else_are_refused(monkeypatch, name, value, text):
    monkeypatch.setenv(name, value)
    with pytest.raises(InputError, match=text), join("cpu"):
        pass


@pytest.mark.parametrize(
    ("rank", "error", "kind"),
    [
        (0, RuntimeError("[gloo/transport/tcp/pair.cc:561] Connection closed by peer"), LostProcessError),
        (1, torch.distributed.DistBackendError("NCCL error"), LostProcessError),
        (2, torch.distributed.DistBackendError("NCCL error"), SystemExit),
        (0, RuntimeError("shapes do not fit"), RuntimeError),
    ],
)
def test_only_what_a_lost_process_causes_is_called_so(monkeypatch, rank, error, kind):
    monkeypatch.setattr("time.sleep", lambda _: None)
    with pytest.raises(kind) as caught, losing_others(Processes(torch.device("cpu"), rank, 3), "Again."):
        raise error
    assert caught.type is kind
    if kind is LostProcessError:
        assert str(caught.value) == "another of the 3 processes has stopped. Again."

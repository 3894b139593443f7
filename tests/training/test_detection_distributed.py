"""Two processes that train a detector."""

import csv
import json
import shutil
import signal

import coloured_boxes
import pytest
import safetensors.torch
import steady_draws
import torch
from several_processes import start

import robustbench_bi as rb
from robustbench_bi.models import save_checkpoint
from robustbench_bi.models.weights import read_metadata
from robustbench_bi.training.loop import train

OPTIONS = {
    "width": 0.125,
    "pyramid_channels": 16,
    "head_channels": 16,
    "smallest_anchor": 8,
    "min_size": 48,
    "max_size": 64,
    # So few that each picture has enough regions to learn from, and all pictures equally many.
    "proposals": 20,
}
RECIPE = {"batch_size": 2, "drops": (2,), "learning_rate": 0.05, "warmup_epochs": 0}
PROGRAM = (steady_draws.__file__,)
NAME = "fasterrcnn_resnet50.safetensors"


@pytest.fixture(scope="module")
def coco(tmp_path_factory):
    """COCO's folder: pictures of one size, which are not padded beside others, and each with a box."""
    root = tmp_path_factory.mktemp("coco")
    (root / "annotations").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(coloured_boxes, "SIZES", ((64, 48),))
        for name, first in (("train", 1), ("val", 1000)):
            folder = root / f"{name}2017"
            folder.mkdir()
            coloured_boxes.write(folder, n=5, first_id=first)
            shutil.move(folder / "boxes.json", root / "annotations" / f"instances_{name}2017.json")
    return f"coco:{root}"


@pytest.fixture(scope="module")
def options(tmp_path_factory):
    """Those of the detector, on a backbone whose statistics of batch normalisation stay as they are."""
    file = tmp_path_factory.mktemp("backbone") / "resnet50.safetensors"
    torch.manual_seed(0)
    save_checkpoint(file, rb.create_model("resnet50", num_classes=3, width=0.125))
    return {**OPTIONS, "backbone_weights": str(file)}


@pytest.fixture(scope="module")
def arguments(coco, options):
    words = [word for key, value in options.items() for word in ("--option", f"{key}={value}")]
    words += [word for key, value in RECIPE.items() for word in ("--recipe", f"{key}={json.dumps(value)}")]
    return ["--model", "fasterrcnn_resnet50", "--data", coco, "--preset", "detection", "--epochs", 3, *words]


@pytest.fixture(scope="module")
def two(arguments, tmp_path_factory):
    """What two processes make."""
    folder = tmp_path_factory.mktemp("two")
    codes, said = start(2, *arguments, "--out", folder, program=PROGRAM)
    assert codes == [0, 0], said
    assert "epoch" not in said[1]
    return folder / NAME


def losses_of(path):
    with path.with_suffix(".csv").open(encoding="utf-8") as file:
        return [float(row["training_loss"]) for row in csv.DictReader(file)]


def test_two_processes_learn_what_one_does_from_the_same_pictures(coco, options, two, tmp_path, monkeypatch):
    monkeypatch.setattr(torch, "randperm", steady_draws.first_ones)
    given = {"preset": "detection", "epochs": 3, "recipe": RECIPE, "options": options}
    one = train("fasterrcnn_resnet50", coco, out=tmp_path, **given)
    losses = [losses_of(path) for path in (one, two)]
    assert losses[0] == pytest.approx(losses[1], abs=1.5e-4)
    weights = [safetensors.torch.load_file(path) for path in (one, two)]
    for name, tensor in weights[0].items():
        assert torch.allclose(tensor, weights[1][name], atol=2e-5), name
    assert [read_metadata(path)["processes"] for path in (one, two)] == [1, 2]


def test_a_process_that_is_killed_costs_nothing_but_a_new_start(arguments, two, tmp_path, same_bytes):
    again = [*arguments, "--save-every", 0, "--out", tmp_path]
    broken = {"END_AT": "9", "ENDED": str(tmp_path / "ended")}
    codes, said = start(2, *again, program=PROGRAM, **broken)
    assert codes == [2, -signal.SIGKILL], said
    codes, said = start(2, *again, program=PROGRAM, **broken)
    assert codes == [0, 0], said
    assert said[0].startswith("Resuming after step")
    assert same_bytes(tmp_path / NAME, two)

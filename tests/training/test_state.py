from pathlib import Path

import pytest
import torch
from torch import nn

from robustbench_bi.errors import RunMismatchError, WeightsError
from robustbench_bi.models.weights import read_metadata
from robustbench_bi.training.distributed import Processes
from robustbench_bi.training.state import (
    IDENTITY,
    Position,
    generator_states,
    read_state,
    require_same,
    restore_state,
    save_state,
)

ALONE = Processes(torch.device("cpu"))
WANTED = {
    "model": "resnet50",
    "options": {"width": 1.0},
    "source": "12ab",
    "num_classes": 10,
    "backbone_weights": "90ab",
    "class_names": ["a", "b"],
    "listing_hash": "12ab",
    "content_hash": "56cd",
    "recipe": {"epochs": 2, "ema": 0.0},
    "precision": "fp32",
    "seed": 0,
    "batch_norm_images": 256,
}


def learner(seed):
    torch.manual_seed(seed)
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(64, 2))
    network.to(memory_format=torch.channels_last)
    optimiser = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9)
    step(network, optimiser)
    return network, optimiser


def step(network, optimiser):
    network(torch.rand(4, 3, 6, 6)).square().sum().backward()
    optimiser.step()
    optimiser.zero_grad()


def test_a_restored_training_takes_the_same_next_step(tmp_path):
    with torch.random.fork_rng():
        network, optimiser = learner(0)
        position = Position(2, 3, 1.5, 7, 0.25, [{"epoch": 1, "training_loss": 2.0}])
        path = tmp_path / "a-state.safetensors"
        save_state(path, {"network": network}, optimiser, generator_states(ALONE), position, WANTED)
        step(network, optimiser)
        expected = torch.rand(3)

        other, fresh = learner(1)
        tensors, found = read_state(path)
        assert found == position
        restore_state(tensors, {"network": other}, fresh, ALONE)
        assert next(iter(fresh.state.values()))["momentum_buffer"].is_contiguous(memory_format=torch.channels_last)
        step(other, fresh)
        assert torch.equal(torch.rand(3), expected)
    for (name, one), two in zip(network.state_dict().items(), other.state_dict().values(), strict=True):
        assert torch.equal(one, two), name
    require_same(path, read_metadata(path), WANTED)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"model": "binet50"}, "the network was resnet50, now binet50"),
        ({"options": {"width": 0.5}}, "width was 1.0, now 0.5"),
        ({"options": {"width": 1.0, "stem": "cifar"}}, "stem was None, now cifar"),
        ({"source": "34cd"}, "your network's source files differ"),
        ({"class_names": ["a", "c"]}, "class names differ"),
        ({"backbone_weights": None}, "backbone weights differ"),
        ({"listing_hash": "34cd"}, "training images differ"),
        ({"content_hash": "78cd"}, "contents of the training images differ"),
        ({"recipe": {"epochs": 3, "ema": 0.9}}, "epochs was 2, now 3; ema was 0.0, now 0.9"),
        ({"precision": "bf16"}, "precision was fp32, now bf16"),
        ({"seed": 1, "num_classes": 3}, "number of classes was 10, now 3; seed was 0, now 1"),
        ({"batch_norm_images": 32}, "images per batch-norm statistic was 256, now 32"),
    ],
)
def test_another_training_is_refused_with_what_differs(change, text):
    path = Path("trained/a.safetensors")
    with pytest.raises(RunMismatchError) as caught:
        require_same(path, WANTED, {**WANTED, **change})
    expected = (
        f"{path} belongs to another training run: {text}. Choose another --out, or delete that file to start over"
    )
    assert str(caught.value) == expected


def test_a_file_from_before_contents_were_kept_goes_on():
    require_same(Path("a"), {name: own for name, own in WANTED.items() if name != "content_hash"}, WANTED)


def test_every_part_of_the_identity_is_compared():
    assert IDENTITY.keys() == WANTED.keys()
    require_same(Path("a"), WANTED, {**WANTED, "class_names": ("a", "b"), "device": "cuda"})


def test_a_file_that_says_nothing_of_its_training_is_refused():
    with pytest.raises(RunMismatchError, match=r"the network was None, now resnet50; .*seed was None, now 0"):
        require_same(Path("a"), {}, WANTED)


def test_a_broken_file_is_one_clear_error(tmp_path):
    path = tmp_path / "a-state.safetensors"
    path.write_bytes(b"half a file")
    with pytest.raises(WeightsError, match="is incomplete or not a safetensors file"):
        read_state(path)

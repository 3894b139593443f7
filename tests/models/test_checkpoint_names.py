import pathlib
from collections import OrderedDict

import pytest
import torch
from torch import nn

from robustbench_bi.errors import WeightsError
from robustbench_bi.models import create_model
from robustbench_bi.models.checkpoint_names import names_in
from robustbench_bi.models.weights import load_weights, weights_hash

MADE = []


class Settings:
    """A class that a checkpoint names; making one, or giving it a state, would be code of the file's."""

    def __init__(self):
        MADE.append("made")

    def __setstate__(self, state):
        MADE.append("state")


class AttributeDict(dict):
    """As Lightning keeps hyperparameters."""


def network(seed=0, classes=4):
    torch.manual_seed(seed)
    return create_model("resnet29", num_classes=classes, width=0.125)


def prefixed(prefix, state):
    return {f"{prefix}{name}": tensor for name, tensor in state.items()}


@pytest.mark.parametrize(
    "prefix",
    [
        *("module.", "model.", "net.", "network.", "backbone.", "encoder.", "_orig_mod.", "my_classifier."),
        *("module.model.", "_orig_mod.module.net.", "model._orig_mod."),
    ],
)
def test_any_single_prefix_is_stripped(prefix, tmp_path):
    stored, loaded = network(), network(1)
    torch.save(prefixed(prefix, stored.state_dict()), tmp_path / "weights.pth")
    load_weights(loaded, tmp_path / "weights.pth")
    assert weights_hash(loaded) == weights_hash(stored)
    again = create_model("resnet29", width=0.125, weights=tmp_path / "weights.pth")
    assert again.fc.out_features == 4


def test_a_prefix_before_some_of_the_names_is_none():
    stored = network().state_dict()
    state = {f"model.{name}" if name.startswith("fc") else name: tensor for name, tensor in stored.items()}
    with pytest.raises(WeightsError, match=r"missing: fc.weight, fc.bias; unexpected: model.fc.weight, model.fc.bias"):
        load_weights(network(), _checkpoint(state))


def test_what_stands_beside_the_network_is_refused():
    state = {**prefixed("model.", network().state_dict()), "normalise.mean": torch.zeros(3)}
    with pytest.raises(
        WeightsError, match=r"unexpected: normalise.mean; if .* save its own state_dict\(\) without them$"
    ):
        load_weights(network(1), _checkpoint(state))


def test_two_networks_in_one_checkpoint_are_refused_unless_they_are_the_same():
    student, teacher = network(0).state_dict(), network(1).state_dict()
    state = {**prefixed("student.", student), **prefixed("teacher.net.", teacher)}
    with pytest.raises(WeightsError, match=r"several networks .* under the prefixes 'student.', 'teacher.net.'; save"):
        load_weights(network(2), _checkpoint(state))


def test_names_that_begin_like_a_wrapper_are_the_networks_own():
    own = nn.Sequential(OrderedDict(model=nn.Linear(2, 2)))
    state = prefixed("module.", own.state_dict())
    found = names_in(state, own.state_dict())
    assert (found.prefix, sorted(found.state)) == ("module.", ["model.bias", "model.weight"])


def test_lightning_checkpoints_give_their_weights_and_nothing_else_is_made(tmp_path):
    stored = network()
    content = {
        "pytorch-lightning_version": "2.5.0",
        "epoch": 3,
        "state_dict": prefixed("model.", stored.state_dict()),
        "hyper_parameters": AttributeDict(lr=0.1, path=pathlib.PurePosixPath("runs"), own=Settings()),
        "callbacks": {Settings: {"best": torch.tensor(1.0)}},
        "optimizer_states": [{"state": {0: {"momentum": torch.zeros(3)}}}],
    }
    torch.save(content, tmp_path / "lightning.ckpt")
    MADE.clear()
    loaded = create_model("resnet29", width=0.125, weights=tmp_path / "lightning.ckpt")
    assert weights_hash(loaded) == weights_hash(stored)
    assert MADE == []
    content.pop("pytorch-lightning_version")
    torch.save(content, tmp_path / "other.ckpt")
    with pytest.raises(WeightsError, match=r"it needs \S*(AttributeDict|Settings|PurePosixPath).*was not run"):
        create_model("resnet29", width=0.125, weights=tmp_path / "other.ckpt")
    assert MADE == []


def test_a_lightning_checkpoint_cannot_run_a_command(tmp_path):
    class Command:
        def __reduce__(self):
            import os

            return os.system, (f"touch {tmp_path / 'ran'}",)

    stored = network()
    content = {"pytorch-lightning_version": "2", "state_dict": stored.state_dict(), "hyper_parameters": Command()}
    torch.save(content, tmp_path / "lightning.ckpt")
    assert weights_hash(create_model("resnet29", width=0.125, weights=tmp_path / "lightning.ckpt"))
    assert not (tmp_path / "ran").exists()


def test_another_number_of_classes_says_what_would_fit():
    state = prefixed("model.", network(classes=7).state_dict())
    message = r"it has 7 classes, but num_classes or the data ask for 4; num_classes=7 fits.*--classes FILE"
    with pytest.raises(WeightsError, match=message):
        load_weights(network(), _checkpoint(state))
    with pytest.raises(WeightsError, match="; if the data really have fewer classes, list these in --classes FILE"):
        load_weights(network(classes=9), _checkpoint(state))
    with pytest.raises(WeightsError, match="FILE begin at 1, number 0 is missing there"):
        load_weights(network(classes=8), _checkpoint(state))


def test_fewer_classes_than_imagenet_has_are_told_why_and_what_helps():
    message = "folders named by ImageNet's wnids stand for all of its 1,000 classes.*list the folders in a file"
    with pytest.raises(WeightsError, match=message):
        load_weights(network(classes=1000), _checkpoint(network(classes=7).state_dict()))


def _checkpoint(state):
    from robustbench_bi.models.weights import Checkpoint

    return Checkpoint("a file", state)

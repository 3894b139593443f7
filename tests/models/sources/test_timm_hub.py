"""`timm:hf-hub:OWNER/NAME` end to end, from a cache of the hub that was filled by hand: nothing is downloaded."""

import json
import time

import pytest
import timm
import torch
from huggingface_hub import constants
from safetensors.torch import save_file

import robustbench_bi as rb
from robustbench_bi.errors import WeightsError
from robustbench_bi.models import create_model
from robustbench_bi.models.sources import downloads

COMMIT = "0" * 39 + "1"
NAME = "timm:hf-hub:owner/tiny"


@pytest.fixture(autouse=True)
def no_network(monkeypatch, tmp_path):
    """Not even asked: the hub's client waits for a minute."""
    monkeypatch.setattr(downloads, "is_reachable", lambda url: False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))


@pytest.fixture
def published(tmp_path):
    """A network as timm's `push_to_hf_hub` publishes it: seen through a cut of its own, of the demo's ten classes."""
    torch.manual_seed(0)
    network = timm.create_model("test_resnet", num_classes=10).eval()
    repository = tmp_path / "hub" / "models--owner--tiny"
    snapshot = repository / "snapshots" / COMMIT
    snapshot.mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(COMMIT)
    (repository / "refs" / "v1").write_text(COMMIT)
    stated = {"input_size": [3, 96, 96], "crop_pct": 0.75, "crop_mode": "center", "interpolation": "bilinear"}
    stated |= {"mean": [0.5, 0.4, 0.3], "std": [0.2, 0.2, 0.2], "first_conv": "conv1.0", "classifier": "fc"}
    config = {"architecture": "test_resnet", "num_classes": 10, "pretrained_cfg": stated}
    (snapshot / "config.json").write_text(json.dumps(config))
    save_file(network.state_dict(), snapshot / "model.safetensors")
    return network


def test_an_evaluation_has_the_repositorys_weights_and_preprocessing(published, tmp_path):
    run = rb.evaluate(NAME, "demo", suite="contrast", severities=3, limit=8, fit=True, out=tmp_path / "runs")
    assert run.config["model"]["name"] == NAME and run.config["model"]["options"] == {"architecture": "test_resnet"}
    assert (run.config["mean"], run.config["input_size"]) == ([0.5, 0.4, 0.3], 96)
    own = create_model(NAME).eval()
    images = torch.randn(2, 3, 96, 96)
    torch.testing.assert_close(own(images), published(images))
    assert (own.input_size, own.resize_size, own.interpolation) == (96, 128, "bilinear")


def test_a_revision_is_found_and_another_is_not(published):
    assert create_model(f"{NAME}@v1").num_classes == 10
    with pytest.raises(WeightsError, match=r"tiny@v2 could not be downloaded: huggingface.co does not answer"):
        create_model(f"{NAME}@v2")


def test_classes_are_those_of_the_repository_but_for_random_weights(published):
    with pytest.raises(WeightsError, match="tiny is for 10 classes, and 7 were asked for"):
        create_model(NAME, num_classes=7)
    assert create_model(NAME, num_classes=7, weights="none").num_classes == 7


def test_a_hub_that_does_not_answer_is_given_up_at_once_and_says_what_to_fetch():
    begun = time.monotonic()
    advice = r"Download config.json and model.safetensors of https://huggingface.co/owner/other and give timm:ARCH"
    with pytest.raises(WeightsError, match=f"huggingface.co does not answer. {advice}"):
        create_model("timm:hf-hub:owner/other")
    assert time.monotonic() - begun < 5

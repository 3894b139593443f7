"""What `--compile` does where there is a compiler: networks are compiled, once each, and stay the same functions."""

import os
import shutil

import numpy as np
import pytest
import timm
import torch
import torchvision
from torchvision.models.resnet import BasicBlock

from robustbench_bi.evaluation import evaluate_models
from robustbench_bi.models import create_model
from robustbench_bi.models.forward_pass import forward_pass
from robustbench_bi.probes import fourier_errors, heat_maps

# Two batches a cell, of which the second is short; in two cells.
ASKED = {"suite": "contrast", "severities": 5, "limit": 12, "batch_size": 8}
compiler = pytest.mark.skipif(
    shutil.which(os.environ.get("CXX", "g++")) is None, reason="a C++ compiler is not installed"
)


@pytest.fixture(scope="module")
def networks():
    torch.manual_seed(0)
    return [
        create_model("resnet29", num_classes=10, width=0.125),
        torchvision.models.ResNet(BasicBlock, [1, 1, 1, 1], num_classes=10),
        timm.create_model("test_vit", img_size=64, num_classes=10),
    ]


@compiler
def test_networks_compile_once_and_stay_the_same_functions(networks, tmp_path, caplog):
    from torch._dynamo.utils import counters

    torch._dynamo.reset()
    counters.clear()
    runs = evaluate_models(networks, compile=True, out=tmp_path / "compiled", **ASKED)
    assert [run.config["runtime"]["forward_pass"].get("not_compiled") for run in runs] == [None] * 3
    assert [run.config["forward"] for run in runs] == ["compiled"] * 3
    assert counters["stats"]["unique_graphs"] == 3 and not counters["graph_break"]
    assert not [record for record in caplog.records if record.name.startswith("robustbench_bi")]
    plain = evaluate_models(networks, out=tmp_path / "plain", **ASKED)
    for compiled, other in zip(runs, plain, strict=True):
        assert compiled.config["fingerprint"] != other.config["fingerprint"]
        np.testing.assert_allclose(compiled.records()["loss"], other.records()["loss"], rtol=1e-4, atol=1e-5)


@pytest.fixture
def no_compiler(monkeypatch):
    """As on a machine without one: torch says so when it comes to it."""

    def compiled(network, **_):
        def run(*_):
            raise RuntimeError("No working C++ compiler found in torch._inductor.config.cpp.cxx\nand more")

        return run

    monkeypatch.setattr(torch, "compile", compiled)


def test_fourier_falls_back_with_one_line(no_compiler, networks, tmp_path, caplog):
    found = fourier_errors([networks[0]], limit=4, radius=1, step=1, compile=True, out=tmp_path)
    assert len(found.frame) == 4
    (said,) = [record.getMessage() for record in caplog.records if record.name.startswith("robustbench_bi")]
    assert said == (
        "ResNet cannot be compiled and runs uncompiled: No working C++ compiler found in torch._inductor.config.cpp.cxx"
    )


def test_heatmaps_look_inside_so_they_run_without(networks, caplog):
    heat_maps([networks[0]], limit=2, corruptions="contrast", compile=True)
    (said,) = [record.getMessage() for record in caplog.records if record.name.startswith("robustbench_bi")]
    assert said == "Layers of a compiled network cannot be seen, so it runs without."


def test_what_compiles_to_another_function_is_not_taken(monkeypatch, caplog, networks):
    network = networks[0].eval()
    monkeypatch.setattr(torch, "compile", lambda network, **_: lambda images: network(images) * 1.1)
    made = forward_pass(network, torch.randn(1, 3, 64, 64), "it", 4)
    assert made.how == "folded" and "compiling changes the outputs by" in made.about["not_compiled"]
    assert "it cannot be compiled and runs uncompiled" in caplog.text


def test_a_compiled_network_sees_batches_in_one_form(monkeypatch):
    forms = []

    def compiled(network, **_):
        def run(images):
            forms.append(
                (tuple(images.shape), images.stride(), images.is_inference(), torch.is_inference_mode_enabled())
            )
            return network(images)

        return run

    monkeypatch.setattr(torch, "compile", compiled)
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 1), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten()).eval()
    image = torch.randn(1, 3, 8, 8).contiguous(memory_format=torch.channels_last)
    made = forward_pass(network, image, "it", 4)
    images = torch.randn(10, 3, 8, 8)
    with torch.inference_mode():
        for batch in (images, images.contiguous(memory_format=torch.channels_last), images[:1]):
            torch.testing.assert_close(made.network(batch), network(batch))
    assert len(forms) == 1 + 3 + 3 + 1 and len(set(forms)) == 1

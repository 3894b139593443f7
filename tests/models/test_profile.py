"""Sizes and costs against published numbers: torchvision's, RedNet's README, and the Bi-volution paper's tables.

The paper prints three digits. The exact counts come from an independent script that fitted them, layer by layer.
"""

import pytest
import torch
from torch import nn

from robustbench_bi.errors import InputError
from robustbench_bi.models import create_model
from robustbench_bi.models.profile import profile
from robustbench_bi.ops import dynamic_filter

BASE = {"sakg": False, "dual_branch": False}

# name, options, parameters, multiply-accumulates at 224 (G, four digits)
EXACT = [
    ("rednet26", {}, 9233166, None),
    ("rednet38", {}, 12386986, 2.1668),
    ("rednet50", {}, 15540806, 2.6485),
    ("rednet101", {}, 25652950, 4.6590),
    ("ddf_resnet38", {}, 13328322, 1.8483),
    ("ddf_resnet50", {}, 16843748, 2.2668),
    ("ddf_resnet101", {}, 28146912, 4.0313),
    ("binet38_dc", {}, 13858346, 2.2530),
    ("binet50_dc", {}, 17572806, 2.7635),
    ("binet101_dc", {}, 29508438, 4.8954),
    ("binet38_dc_ca", {}, 15121858, 2.1633),
    ("binet50_dc_ca", {}, 19286884, 2.7000),
    ("binet101_dc_ca", {}, 33070688, 4.7326),
    # Table 4: SAKG's kernel varies, and there is no static branch. Its 1×1 rows are the networks without SAKG.
    ("binet50_dc", {"preset": "H2", **BASE}, 15540806, 2.6485),
    ("binet50_dc", {"dual_branch": False}, 17512390, 2.7415),
    ("binet50_dc", {"dual_branch": False, "sakg_dilation": 2}, 17512390, 2.7415),
    ("binet50_dc", {"dual_branch": False, "delta": 5}, 17572806, 2.7635),
    ("binet50_dc", {"dual_branch": False, "delta": 7}, 17663430, 2.7967),
    ("binet50_dc_ca", BASE, 16843748, 2.2668),
    ("binet50_dc_ca", {"dual_branch": False, "delta": 3}, 18135204, 2.2805),
    ("binet50_dc_ca", {"dual_branch": False, "delta": 3, "sakg_dilation": 2}, 18135204, 2.2805),
    ("binet50_dc_ca", {"dual_branch": False}, 18195620, 2.3026),
    ("binet50_dc_ca", {"dual_branch": False, "delta": 7}, 18286244, 2.3357),
]

# name, options, parameters in units of 0.0001 M: how far the other readings of dc lie from the printed values
READINGS = [
    ("binet38_dc", {"preset": "H2"}, 13.25 + 0.5916),
    ("binet50_dc", {"preset": "H2", "delta": 3}, 17.55 + 0.0009),
    ("binet38_dc", {"preset": "H0"}, 13.25 + 0.1167),
    ("binet50_dc", {"preset": "H0"}, 17.55 - 0.6573),
    ("binet101_dc", {"preset": "H0"}, 29.45 - 1.2223),
    ("binet50_dc", {"preset": "H0", "dual_branch": False}, 17.45 - 0.6177),
]


@pytest.mark.parametrize(("name", "options", "parameters", "macs"), EXACT)
def test_sizes_and_costs_of_the_dynamic_networks(name, options, parameters, macs):
    found = profile(name, 224, **options)
    assert found["parameters"] == parameters
    assert macs is None or round(found["macs"] / 1e9, 4) == macs


@pytest.mark.parametrize(("name", "options", "millions"), READINGS)
def test_sizes_of_the_other_readings(name, options, millions):
    with torch.device("meta"):
        network = create_model(name, **options)
    assert sum(value.numel() for value in network.parameters()) / 1e6 == pytest.approx(millions, abs=1e-4)


@pytest.mark.parametrize(
    ("name", "parameters", "macs"),
    [
        ("resnet50", 25557032, 4.09),
        ("resnet101", 44549160, 7.80),
        ("resnext50", 25028904, 4.23),
        ("resnext101", 44177704, 7.99),
    ],
)
def test_convolutional_networks_have_their_published_sizes(name, parameters, macs):
    found = profile(name, 224)
    assert found["parameters"] == parameters
    assert found["macs"] / 1e9 == pytest.approx(macs, abs=0.03)


def test_rednet152_and_resnet38():
    assert profile("rednet152", 32)["parameters"] / 1e6 == pytest.approx(33.99, abs=0.01)  # README of RedNet
    assert profile("resnet38", 32)["parameters"] / 1e6 == pytest.approx(19.6, abs=0.05)  # Table 1


def test_costs_by_hand():
    network = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1, bias=True), nn.BatchNorm2d(8), nn.Flatten(), nn.Linear(8 * 25, 7))
    assert profile(network, 10) == {
        "parameters": 3 * 8 * 9 + 8 + 16 + 200 * 7 + 7,
        "macs": 8 * 25 * 27 + 200 * 7,
    }


def test_attention_is_counted():
    class Attention(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = nn.TransformerEncoderLayer(12, 3, 24, batch_first=True)

        def forward(self, images):
            return self.inner(images.reshape(1, -1, 12))

    tokens, width = 4 * 4 * 3 // 12, 12
    projections, attention, feedforward = 4 * width**2, 2 * tokens * width, 2 * width * 24
    assert profile(Attention(), 4)["macs"] == tokens * (projections + attention + feedforward)


def test_dynamic_filters_of_anybodys_layers_are_counted():
    class Averages(nn.Module):
        def forward(self, images):
            return dynamic_filter(images, torch.ones(1, 25, 4, 4), kernel_size=5, stride=2)

    assert profile(Averages(), 8) == {"parameters": 0, "macs": 3 * 4 * 4 * 25}


def test_the_size_defaults_to_the_networks_own():
    assert profile("rednet26", input_size=64, width=0.25) == profile("rednet26", 64, width=0.25)
    assert profile("rednet26", input_size=64, width=0.25) != profile("rednet26", 96, width=0.25)


def test_the_network_is_left_as_it_was():
    network = create_model("binet38", width=0.125, num_classes=3)
    network.layer1.eval()
    before = [module.training for module in network.modules()]
    profile(network, 32)
    assert [module.training for module in network.modules()] == before
    assert not any(module._forward_hooks for module in network.modules())


@pytest.mark.parametrize("size", [0, -3, 2.5, True, "224"])
def test_a_size_must_be_a_number_of_pixels(size):
    with pytest.raises(InputError, match="size must be a positive integer, got"):
        profile("resnet50", size)


def test_a_size_that_the_network_cannot_take():
    network = nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 2))
    with pytest.raises(InputError, match="the network cannot take images of 9×9"):
        profile(network, 9)

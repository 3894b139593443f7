"""Packed convolutions: the same function, only in a copy of ours, and only where nothing else looks at them."""

import pytest
import torch
from torch import nn

from robustbench_bi.models import create_model
from robustbench_bi.models.forward_pass import forward_pass
from robustbench_bi.models.packing import PackedConv2d, pack

IMAGES = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def convolutions(network, kind=nn.Conv2d):
    return [module for module in network.modules() if type(module) is kind]


@pytest.mark.parametrize(
    "options",
    [
        {"kernel_size": 1},
        {"kernel_size": 3, "padding": 1, "bias": False},
        {"kernel_size": (3, 5), "stride": (2, 1), "padding": (0, 2), "dilation": (1, 2)},
        {"kernel_size": 5, "padding": 2, "groups": 4},
        {"kernel_size": 3, "groups": 16},
    ],
)
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_a_packed_convolution_computes_the_same_at_any_size(options, layout):
    torch.manual_seed(0)
    conv = nn.Conv2d(16, 32, **options).requires_grad_(False)
    packed = PackedConv2d(conv, (8, 16, 20, 20))
    for shape in ((8, 16, 20, 20), (1, 16, 20, 20), (3, 16, 9, 31)):
        images = torch.randn(shape).contiguous(memory_format=layout)
        torch.testing.assert_close(packed(images), conv(images), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["torchvision:resnet18", "binet50", "timm:mobilenetv3_small_050"])
def test_a_folded_network_is_packed_and_the_one_that_came_is_not(name):
    network = create_model(name, weights="none").eval()
    count = len(convolutions(network))
    made = forward_pass(network, IMAGES[:1], name, batch_size=4)
    packed, left = convolutions(made.network, PackedConv2d), convolutions(made.network)
    assert made.about["packed"] == len(packed) > 9 * len(left)
    assert len(convolutions(network)) == count
    with torch.inference_mode():
        expected = network(IMAGES)
        torch.testing.assert_close(made.network(IMAGES), expected, rtol=1e-3, atol=1e-4 * float(expected.std()))


class LooksAtWeights(nn.Module):
    """Two layers, one of which is taken apart."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.norm, self.second = nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Conv2d(8, 8, 3)

    def forward(self, images):
        maps = self.norm(self.first(images)) + self.bias_of()
        return self.second(maps).mean((2, 3))

    def bias_of(self):
        return self.second.weight.mean()


class TakesWhatItFinds(LooksAtWeights):
    """Silently another function if its layer is another one."""

    def bias_of(self):
        return 1.0 if isinstance(self.second, nn.Conv2d) else 2.0


@pytest.mark.parametrize("kind", [LooksAtWeights, TakesWhatItFinds])
def test_a_network_that_looks_into_its_layers_keeps_them(kind):
    network = kind().eval().requires_grad_(False)
    with torch.inference_mode():
        before = network(IMAGES)
        layers = convolutions(network)
        assert pack(network, IMAGES, 4) == 0
        assert convolutions(network) == layers
        assert torch.equal(network(IMAGES), before)


def test_layers_with_hooks_or_another_kind_of_padding_stay():
    hooked, circular, same = (nn.Conv2d(3, 3, 3, padding=1) for _ in range(3))
    seen = []
    hooked.register_forward_hook(lambda *_: seen.append(1))
    circular.padding_mode, same.padding = "circular", "same"
    network = nn.Sequential(hooked, circular, same, nn.Conv2d(3, 3, 3)).requires_grad_(False)
    assert pack(network, IMAGES, 4) == 1
    seen.clear()
    network(IMAGES)
    assert seen == [1] and type(network[3]) is PackedConv2d


@pytest.mark.parametrize("options", [{"precision": "bf16"}, {"compiled_for": 4}])
def test_other_precisions_and_compiled_networks_keep_plain_layers(options, monkeypatch):
    monkeypatch.setattr("torch.compile", lambda network, **_: network)
    network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten()).eval()
    made = forward_pass(network, IMAGES[:1], "it", batch_size=4, **options)
    assert "packed" not in made.about and convolutions(made.network)


def test_a_network_that_does_not_compile_is_packed(monkeypatch):
    def fail(*_, **__):
        raise RuntimeError("no")

    monkeypatch.setattr("torch.compile", fail)
    network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten()).eval()
    made = forward_pass(network, IMAGES[:1], "it", compiled_for=4)
    assert made.about["compiled"] is False and made.about["packed"] == 1

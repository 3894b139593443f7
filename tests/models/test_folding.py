import pytest
import torch
from torch import nn
from torch.nn import functional as F

from robustbench_bi.models import create_model
from robustbench_bi.models.folding import fold
from robustbench_bi.models.forward_pass import forward_pass


def trained(network):
    """Statistics and scales that are far from those of a new network."""
    torch.manual_seed(0)
    for module in network.modules():
        if getattr(module, "running_var", None) is not None:
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
            if module.weight is not None:
                nn.init.uniform_(module.weight, 0.5, 1.5)
                nn.init.normal_(module.bias, 0, 0.1)
    return network.eval()


@pytest.mark.parametrize(
    ("name", "side", "count", "left"),
    [
        ("resnet50", 64, 53, 0),
        ("binet50", 64, 37, 16),
        ("torchvision:resnet18", 64, 20, 0),
        ("torchvision:mobilenet_v3_small", 64, 34, 0),
        ("timm:efficientnet_b0", 64, 49, 0),
        ("timm:vit_tiny_patch16_224", 224, 0, 0),
    ],
)
def test_a_folded_network_is_the_same_function(name, side, count, left):
    options = {"width": 0.25} if ":" not in name else {}
    network = trained(create_model(name, num_classes=10, **options))
    images = torch.randn(2, 3, side, side)
    folded = fold(network, images[:1])
    assert (folded.count, folded.left) == (count, left)
    with torch.no_grad():
        expected, found = network(images), folded.network(images)
    torch.testing.assert_close(found, expected, atol=2e-4 * float(expected.std()), rtol=1e-3)
    assert (folded.network is network) == (count == 0)


class UsedTwice(nn.Module):
    """What the convolution puts out goes to the norm, and past it."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)

    def forward(self, x):
        made = self.conv(x)
        return self.norm(made) + made


class BentBetween(UsedTwice):
    def forward(self, x):
        return self.norm(F.relu_(self.conv(x)))


class RunTwice(UsedTwice):
    def forward(self, x):
        return self.norm(self.conv(self.norm(self.conv(x))))


@pytest.mark.parametrize("kind", [UsedTwice, BentBetween, RunTwice])
def test_what_is_not_a_chain_is_left(kind):
    network = trained(kind())
    images = torch.randn(2, 3, 8, 8)
    folded = fold(network, images)
    assert (folded.count, folded.left) == (0, 1) and folded.network is network
    assert "no batch norm follows" in folded.reason


def test_subclasses_and_norms_in_training_are_left():
    class Standardised(nn.Conv2d):
        def forward(self, x):
            return F.conv2d(x, self.weight - self.weight.mean(), self.bias)

    assert fold(trained(nn.Sequential(Standardised(3, 3, 1), nn.BatchNorm2d(3))), torch.randn(1, 3, 8, 8)).count == 0
    network = nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)).eval()
    network[1].train()
    assert fold(network, torch.randn(2, 3, 8, 8)).count == 0
    assert not torch.equal(network[1].running_mean, torch.ones(3))


def test_a_network_that_fails_is_left_for_later():
    network = nn.Sequential(nn.Conv2d(4, 3, 1), nn.BatchNorm2d(3)).eval()
    folded = fold(network, torch.randn(1, 3, 8, 8))
    assert folded.network is network and "RuntimeError" in folded.reason


def test_a_network_whose_numbers_overflow_is_left_and_said_to():
    network = trained(nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)))
    network[0].weight.data.fill_(torch.nan)
    folded = fold(network, torch.randn(1, 3, 8, 8))
    assert folded.count == 0 and folded.network is network
    assert folded.reason == "the network puts out numbers that are not finite for images of noise"


def test_a_network_that_overflows_by_folding_is_left_and_said_to():
    network = trained(nn.Sequential(nn.Conv2d(3, 3, 1, bias=False), nn.BatchNorm2d(3)))
    network[0].weight.data *= 1e10
    network[1].weight.data.fill_(1e30)
    images = torch.randn(1, 3, 8, 8) * 1e-30
    folded = fold(network, images)
    assert torch.isfinite(network(images)).all() and folded.count == 0
    assert folded.reason == "the folded network puts out numbers that are not finite for images of noise"


def test_a_network_that_does_not_compile_runs_without(monkeypatch, caplog):
    monkeypatch.setattr(torch, "compile", lambda *_, **__: 1 / 0)
    made = forward_pass(trained(nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3))), torch.randn(1, 3, 8, 8), "x", 4)
    assert made.how == "folded" and made.about["compiled"] is False
    assert "x cannot be compiled and runs uncompiled: division by zero" in caplog.text

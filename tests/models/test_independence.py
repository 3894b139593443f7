"""Answers that depend on chance or on the rest of a batch are noticed, and said."""

import logging

import pytest
import torch
from torch import nn

from robustbench_bi.models import create_model, prepare_forward_pass
from robustbench_bi.models.independence import depends_on

IMAGE = torch.randn(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def network(norm, dropout=0.0, training=False):
    torch.manual_seed(0)
    head = nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(dropout), nn.Linear(8, 5)
    made = nn.Sequential(nn.Conv2d(3, 8, 3), norm, nn.ReLU(), nn.Conv2d(8, 8, 3), *head).eval()
    return made.train(training)


class RangeOfTheBatch(nn.Module):
    """Numbers of four bits, with the range of those that come."""

    def forward(self, values):
        step = values.abs().max() / 7
        return (values / step).round() * step


class ByPlace(nn.Module):
    """Noise that is seeded, so that the first picture always gets the same."""

    def forward(self, values):
        return values + torch.randn(values.shape, generator=torch.Generator().manual_seed(0))


class WritesIntoIt(nn.Module):
    def forward(self, values):
        return values.mul_(0.5)


DISTURBED = {
    "batch norms without statistics": (network(nn.BatchNorm2d(8, track_running_stats=False)), "batch"),
    "batch norms in training mode": (network(nn.BatchNorm2d(8), training=True), "batch"),
    "a range of the batch": (network(RangeOfTheBatch()), "batch"),
    "batch norms of the images themselves": (
        nn.Sequential(nn.BatchNorm2d(3, track_running_stats=False), *network(nn.Identity())),
        "batch",
    ),
    "noise by place": (nn.Sequential(ByPlace(), *network(nn.Identity())), "batch"),
    "what is given is written into": (nn.Sequential(WritesIntoIt(), *network(nn.Identity())), ""),
    "dropout": (network(nn.BatchNorm2d(8), dropout=0.5, training=True), "chance"),
    "group norms": (network(nn.GroupNorm(2, 8)), ""),
    "batch norms": (network(nn.BatchNorm2d(8), dropout=0.5), ""),
}


@pytest.mark.parametrize("name", DISTURBED)
def test_what_answers_depend_on_is_found_and_said(name, caplog):
    disturbed, expected = DISTURBED[name]
    assert depends_on(disturbed, IMAGE) == expected
    with caplog.at_level(logging.WARNING):
        made = prepare_forward_pass(disturbed, IMAGE, "it", batch_size=32)
    assert made.about.get("depends_on", "") == expected
    assert [record.getMessage().partition(",")[0] for record in caplog.records] == {
        "batch": ["it answers an image differently beside others"],
        "chance": ["it answers the same image differently each time"],
        "": [],
    }[expected]


@pytest.mark.parametrize("name", [name for name, (_, expected) in DISTURBED.items() if expected == "batch"])
def test_batches_of_which_answers_depend_are_not_divided(name):
    disturbed, _ = DISTURBED[name]
    given = []
    handle = disturbed[0].register_forward_hook(lambda _, images, __: given.append(len(images[0])))
    made = prepare_forward_pass(disturbed, IMAGE, "it", batch_size=1 << 12)
    given.clear()
    with torch.no_grad():
        made.network(IMAGE.expand(1 << 11, -1, -1, -1))
    handle.remove()
    assert given == [1 << 11]


def test_a_network_that_writes_into_what_it_is_given_is_given_its_batches_in_parts():
    disturbed, _ = DISTURBED["what is given is written into"]
    assert prepare_forward_pass(disturbed, IMAGE, "it", batch_size=1 << 12).about["at_once"] < 1 << 12


def test_a_network_that_fails_says_nothing_of_it(caplog):
    made = prepare_forward_pass(nn.Linear(3, 4), IMAGE, "it")
    assert "depends_on" not in made.about and not caplog.records


@pytest.mark.parametrize("name", ["resnet50", "binet50", "timm:vit_tiny_patch16_224", "torchvision:swin_t"])
def test_networks_of_the_field_depend_on_nothing_else(name):
    torch.manual_seed(0)
    built = create_model(name, weights="none").eval()
    assert depends_on(built, torch.randn(1, 3, built.input_size, built.input_size)) == ""

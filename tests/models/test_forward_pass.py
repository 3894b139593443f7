"""The form in which a network takes its images: few at once, channels last, and only where that changes no answer."""

import pytest
import torch
from torch import nn

import robustbench_bi as rb
from robustbench_bi.models import batch_size
from robustbench_bi.models.batch_size import images_at_once
from robustbench_bi.models.forward_pass import forward_pass


class Convolutional(nn.Module):
    """Notes what it is given."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.fc = nn.Conv2d(3, 8, 3), nn.Linear(8, 10)
        self.given = []

    def forward(self, images):
        self.given.append((len(images), images.is_contiguous()))
        return self.fc(self.pooled(self.conv(images)))

    def pooled(self, maps):
        return maps.relu().mean((2, 3))


class WrittenForChannelsFirst(Convolutional):
    """Silently another function where the channels come last in memory."""

    def pooled(self, maps):
        size = maps.shape
        in_memory = torch.as_strided(maps, (maps.numel(),), (1,))
        return in_memory.view(size).relu().mean((2, 3))


class FailsOnChannelsLast(Convolutional):
    def pooled(self, maps):
        return maps.view(len(maps), -1).unflatten(1, (8, -1)).relu().mean(2)


class DependsOnTheBatch(Convolutional):
    def pooled(self, maps):
        return super().pooled(maps - maps.mean(0, keepdim=True) + maps[:, :1])


@pytest.fixture
def two_fit(monkeypatch):
    """Caches that hold the largest layer, 8 maps of 14 × 14, of two images and a half."""
    monkeypatch.setattr(batch_size, "FEWEST", 1)
    monkeypatch.setattr(batch_size, "CACHE", int(2.5 * 8 * 14 * 14 * 4) // torch.get_num_threads())


IMAGES = torch.randn(5, 3, 16, 16, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    ("kind", "sizes", "last"),
    [
        (Convolutional, [2, 2, 1], True),
        (WrittenForChannelsFirst, [2, 2, 1], False),
        (FailsOnChannelsLast, [2, 2, 1], False),
        (DependsOnTheBatch, [5], False),
    ],
)
def test_a_network_gets_the_form_in_which_it_is_the_same_function(kind, sizes, last, two_fit):
    network = kind().eval()
    made = forward_pass(network, IMAGES[:1], "it", batch_size=5)
    network.given.clear()
    with torch.inference_mode():
        answers = made.network(IMAGES)
        assert network.given == [(size, not last) for size in sizes]
        torch.testing.assert_close(answers, network(IMAGES))
    assert made.how is None
    assert made.about.get("at_once") == (2 if len(sizes) > 1 else None)
    assert made.about.get("memory_format") == ("channels last" if last else None)


def test_a_batch_that_fits_is_given_as_a_whole(two_fit):
    network = Convolutional().eval()
    made = forward_pass(network, IMAGES[:1], "it", batch_size=2)
    network.given.clear()
    made.network(IMAGES[:2])
    assert [size for size, _ in network.given] == [2] and "at_once" not in made.about


def test_the_largest_layer_decides_how_many_and_never_less_than_torch_needs(monkeypatch):
    network = nn.Sequential(nn.Conv2d(3, 64, 1), nn.Conv2d(64, 2, 1))
    monkeypatch.setattr(batch_size, "CACHE", 64 * 8 * 8 * 4 * 70 // torch.get_num_threads())
    assert images_at_once(network, torch.zeros(1, 3, 8, 8)) == 64
    assert images_at_once(network, torch.zeros(1, 3, 32, 32)) == 16
    assert images_at_once(network.to("meta"), torch.zeros(1, 3, 8, 8, device="meta")) is None


def test_a_run_says_so_and_goes_on_where_the_form_is_another(two_fit, monkeypatch, tmp_path):
    asked = {"suite": "contrast", "severities": 5, "limit": 12, "batch_size": 6}
    run = rb.evaluate(Convolutional(), out=tmp_path / "a", **asked)
    assert run.config["runtime"]["forward_pass"]["memory_format"] == "channels last"
    assert run.config["runtime"]["forward_pass"]["at_once"] == 1
    monkeypatch.setattr("robustbench_bi.models.forward_pass.images_at_once", lambda *_: None)
    plain = rb.evaluate(Convolutional(), out=tmp_path / "b", **asked)
    assert plain.config["runtime"]["forward_pass"] == {"folded": 0, "left": 0}
    assert plain.config["fingerprint"] == run.config["fingerprint"]
    assert plain.records()["prediction"].equals(run.records()["prediction"])

"""Parts of a batch in several threads: the same answers, whatever a network writes down while it is asked."""

import threading
import time

import pytest
import torch
from torch import nn

from robustbench_bi.models import create_model
from robustbench_bi.models.batch_size import images_in_caches
from robustbench_bi.models.forward_pass import forward_pass
from robustbench_bi.models.in_parts import InParts, InThreads, in_threads
from robustbench_bi.ops.share_out import torch_threads

IMAGES = torch.randn(11, 3, 32, 32, generator=torch.Generator().manual_seed(0))


@pytest.fixture(autouse=True)
def two_threads():
    with torch_threads(2):
        yield
        assert torch.get_num_threads() == 2


def shared(network, fitting=2, fewest=1):
    return InThreads(InParts(network.eval(), 16, torch.contiguous_format), 2, fitting, fewest)


@pytest.mark.parametrize("name", ["torchvision:resnet18", "binet50", "timm:mobilenetv3_small_050"])
def test_a_folded_network_is_asked_in_threads_and_answers_alike(name):
    torch.manual_seed(0)
    network = create_model(name, weights="none").eval()
    made = forward_pass(network, IMAGES[:1], name, batch_size=11)
    assert isinstance(made.network, InThreads) and made.about["in_threads"] == 2
    with torch.inference_mode():
        for count in (1, 2, 3, 11):
            expected = network(IMAGES[:count])
            close = {"rtol": 1e-3, "atol": 1e-4 * float(network(IMAGES).std())}
            torch.testing.assert_close(made.network(IMAGES[:count]), expected, **close)


def test_the_weights_are_shared_and_nothing_counts_twice():
    network = create_model("torchvision:resnet18", weights="none").eval()
    made = forward_pass(network, IMAGES[:1], "it", batch_size=11).network
    first, second = made.copies
    assert [one.data_ptr() for one in first.parameters()] == [one.data_ptr() for one in second.parameters()]
    assert first.conv1.weight is second.conv1.weight and first.conv1 is not second.conv1
    assert len(list(made.parameters())) == len(list(first.parameters()))


def test_fused_bottlenecks_get_twice_the_images_that_the_caches_hold():
    network = create_model("ddf_resnet50", weights="none", width=0.25).eval()
    made = forward_pass(network, IMAGES[:1], "it").network
    assert made.fitting == 2 * images_in_caches(made.network, IMAGES[:1])


class Own(nn.Module):
    """A user's, with nothing to fold."""

    def __init__(self):
        super().__init__()
        self.conv, self.asked = nn.Conv2d(3, 4, 3), []

    def forward(self, images):
        self.asked.append(len(images))
        return self.conv(images).mean((2, 3))


def test_of_networks_without_batch_norms_those_that_are_known_are_copied_and_a_users_own_are_asked_themselves():
    name = "timm:convnext_atto"
    network = create_model(name, weights="none").eval()
    made = forward_pass(network, IMAGES[:1], name, batch_size=11)
    assert made.how is None and made.about["folded"] == 0
    assert made.about["in_threads"] == 2 and made.about["packed"] > 0
    assert not any(type(module).__name__ == "PackedConv2d" for module in network.modules())
    with torch.inference_mode():
        torch.testing.assert_close(made.network(IMAGES), network(IMAGES), rtol=1e-3, atol=1e-4)
    own = Own().eval()
    made = forward_pass(own, IMAGES[:1], "my_models:build", batch_size=11)
    own.asked.clear()
    made.network(IMAGES)
    assert own.asked == [11] and "in_threads" not in made.about


class WritesDown(nn.Module):
    """What it keeps meanwhile is another image's, if two threads ask the same module."""

    def __init__(self):
        super().__init__()
        self.register_buffer("scratch", torch.zeros(16, 3))
        self.kept = None

    def forward(self, images):
        self.kept = images.mean((2, 3))
        self.scratch[: len(images)] = images.amax((2, 3))
        time.sleep(0.01)
        return self.kept + self.scratch[: len(images)]


def test_a_network_that_writes_things_down_is_not_mixed_up():
    expected = WritesDown()(IMAGES)
    made = shared(WritesDown())
    assert torch.equal(made(IMAGES), expected)
    made.copies = made.copies[:1] * 2  # what the copies are for
    assert not torch.equal(made(IMAGES), expected)


class Notes(nn.Module):
    def __init__(self):
        super().__init__()
        self.given, self.lock = [], None

    def forward(self, images):
        state = torch.get_num_threads(), torch.is_inference_mode_enabled(), torch.is_grad_enabled()
        self.given.append((len(images), threading.get_ident(), *state))
        time.sleep(0.01)
        return images.mean((2, 3))


def noted(made):
    found = [note for network in made.copies for note in network.given]
    for network in made.copies:
        network.given.clear()
    return found


@pytest.mark.parametrize(
    ("images", "options", "sizes"),
    [
        (8, {}, [2, 2, 2, 2]),
        (11, {}, [1, 2, 2, 2, 2, 2]),
        (3, {}, [1, 2]),
        (1, {}, [1]),
        (11, {"fitting": 64}, [5, 6]),
        (11, {"fewest": 4}, [5, 6]),
        (7, {"fewest": 4}, [7]),
    ],
)
def test_each_thread_gets_equal_parts_that_fit(images, options, sizes):
    made = shared(Notes(), **options)
    made(IMAGES[:images])
    given = noted(made)
    assert sorted(note[0] for note in given) == sizes
    assert len({note[1] for note in given}) == min(2, len(sizes))


def test_threads_do_as_the_one_that_asks():
    made = shared(Notes())
    with torch.inference_mode():
        made(IMAGES)
    assert {note[2:] for note in noted(made)} == {(1, True, False)}
    with torch.no_grad():
        made(IMAGES)
    assert {note[2:] for note in noted(made)} == {(1, False, False)}
    with torch_threads(1):
        made(IMAGES)
    assert [note[0] for note in noted(made)] == [11]


class Fails(nn.Module):
    def forward(self, images):
        if images.amin() < -4:
            raise ValueError("too dark")
        return images.mean((2, 3))


def test_an_error_in_a_thread_is_the_error():
    dark = IMAGES.clone()
    dark[7] -= 10
    with pytest.raises(ValueError, match="too dark"):
        shared(Fails())(dark)


class DependsOnTheBatch(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)

    def forward(self, images):
        maps = self.norm(self.conv(images)).mean((2, 3))
        return maps - maps.mean(0)


class CannotBeCopied(nn.Module):
    def __init__(self):
        super().__init__()
        self.lock = threading.Lock()

    def forward(self, images):
        return images.mean((2, 3))


def test_a_network_that_depends_on_its_batch_gets_it_whole():
    made = forward_pass(DependsOnTheBatch().eval(), IMAGES[:1], "it", batch_size=11)
    assert made.about["folded"] == 1 and "in_threads" not in made.about


@pytest.mark.parametrize("network", [DependsOnTheBatch(), CannotBeCopied()])
def test_what_cannot_be_shared_out_is_asked_as_before(network):
    parts = InParts(network.eval(), 16, torch.contiguous_format)
    assert in_threads(parts, IMAGES[:2]) is parts

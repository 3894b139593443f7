"""Fused layers: the same function, of a network's own layers only, and only where nothing else looks at them."""

import copy
import functools

import pytest
import torch
from torch import nn

from robustbench_bi.models import create_model
from robustbench_bi.models.forward_pass import forward_pass
from robustbench_bi.models.fusing import FusedBottleneck, FusedConv2d, FusedLayer, fuse
from robustbench_bi.models.in_parts import shallow_copy
from robustbench_bi.models.layers import DDF2d, FilterNorm, Involution2d, bivolution_dc
from robustbench_bi.models.layers import bivolution_dc_ca as dc_ca
from robustbench_bi.models.resnet import Bottleneck
from robustbench_bi.ops.dynamic_filter import numba_kernels

LAYERS = {
    "involution": lambda stride: Involution2d(32, 7, stride),
    "involution without a bottleneck": lambda stride: Involution2d(32, 3, stride, group_channels=32, reduction=None),
    "DDF": lambda stride: DDF2d(32, 3, stride),
    "DDF, added": lambda stride: DDF2d(48, 5, stride, combine="add"),
    "dc": lambda stride: bivolution_dc(32, stride),
    "dc, the other choices": lambda stride: bivolution_dc(
        32, stride, kernel_size=3, reduction=4, delta=5, sakg_dilation=2, static_kernel=3, bias=True
    ),
    "dc, biases": lambda stride: bivolution_dc(64, stride, bias=True),
    "dc, gate": lambda stride: bivolution_dc(32, stride, fusion="gate"),
    "dc without SAKG": lambda stride: bivolution_dc(32, stride, sakg=False),
    "dc without a static branch": lambda stride: bivolution_dc(32, stride, dual_branch=False),
    "dc-ca": lambda stride: dc_ca(32, stride),
    "dc-ca, the other choices": lambda stride: dc_ca(
        32, stride, combine="add", delta=3, sakg_dilation=2, static_kernel=1, static_groups=1, static_bias=False
    ),
    "dc-ca, gate": lambda stride: dc_ca(32, stride, fusion="gate"),
    "dc-ca without SAKG": lambda stride: dc_ca(32, stride, sakg=False),
    "dc-ca, a wider static branch": lambda stride: dc_ca(64, stride, static_kernel=5, static_groups=2),
    "dc-ca without a static branch": lambda stride: dc_ca(32, stride, dual_branch=False),
}
SIDES = {"inside and borders": (13, 18), "odd": (7, 5), "smaller than a filter": (2, 1)}


def drawn(module, seed=0):
    """A module in evaluation mode with parameters and statistics that leave nothing at zero or one."""
    generator = torch.Generator().manual_seed(seed)
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.running_mean.normal_(0, 0.5, generator=generator)
            part.running_var.uniform_(0.5, 2, generator=generator)
            part.weight.data.normal_(0, 1, generator=generator)
            part.bias.data.normal_(0, 0.5, generator=generator)
        elif isinstance(part, nn.Conv2d | FilterNorm):
            for parameter in part.parameters(recurse=False):
                parameter.data.normal_(0, 0.3, generator=generator)
    return module.eval().requires_grad_(False)


def pictures(channels, sides=(9, 11), batch=3):
    return torch.randn(batch, channels, *sides, generator=torch.Generator().manual_seed(1))


def channels_of(layer):
    for part in layer.modules():
        if isinstance(part, nn.Conv2d):
            return part.in_channels
    raise AssertionError


@pytest.mark.parametrize("sides", SIDES.values(), ids=SIDES.keys())
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("make", LAYERS.values(), ids=LAYERS.keys())
def test_a_fused_layer_computes_the_same(make, stride, sides):
    layer = drawn(make(stride))
    channels = channels_of(layer)
    norm, images = drawn(nn.BatchNorm2d(channels), 2), pictures(channels, sides)
    for following in ((), (norm,), (norm, nn.ReLU())):
        expected = nn.Sequential(layer, *following)(images)
        fused = FusedLayer(copy.deepcopy(layer), norm if following else None, len(following) == 2)
        for layout in (torch.contiguous_format, torch.channels_last):
            given = images.contiguous(memory_format=layout)
            before = given.clone()
            torch.testing.assert_close(fused(given), expected, rtol=1e-4, atol=2e-5 * float(expected.std() + 1))
            assert torch.equal(given, before)


def bottleneck(make, channels, stride):
    """A block around a layer, with a projected shortcut where the shape changes."""
    layer = make(stride)
    return Bottleneck(channels, channels_of(layer), 96, stride, lambda *_, **__: layer)


@pytest.mark.parametrize("sides", SIDES.values(), ids=SIDES.keys())
@pytest.mark.parametrize("channels", [96, 20])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("make", LAYERS.values(), ids=LAYERS.keys())
def test_a_fused_bottleneck_computes_the_same(make, stride, channels, sides):
    block, images = drawn(bottleneck(make, channels, stride)), pictures(channels, sides)
    expected = block(images.clone())
    fused = FusedBottleneck(copy.deepcopy(block))
    before = images.clone()
    torch.testing.assert_close(fused(images), expected, rtol=1e-4, atol=2e-5 * float(expected.std() + 1))
    assert torch.equal(images, before)


@pytest.mark.parametrize("name", ["dc", "dc-ca", "DDF", "involution"])
def test_the_number_of_threads_changes_no_bit(name, threads, monkeypatch):
    monkeypatch.setattr(numba_kernels, "_UNIT", 3000)
    block, images, results = FusedBottleneck(drawn(bottleneck(LAYERS[name], 96, 1))), pictures(96, (16, 11)), []
    for count in (1, 2, 3):
        threads(count)
        # Torch's own averages and convolutions may be summed up in another order with other threads.
        base = block.conv2
        inner = torch.randn(3, base.weights.scale.size, 16, 11, generator=torch.Generator().manual_seed(0))
        results.append(base(inner, images, inner.mean((2, 3))))
    assert all(torch.equal(results[0], other) for other in results[1:])
    assert 0.1 < float((results[0] == 0).float().mean()) < 0.9


@pytest.mark.parametrize("name", ["binet50_dc_ca", "binet50_dc", "rednet50", "ddf_resnet50"])
def test_a_prepared_network_is_fused_and_the_one_that_came_is_not(name):
    torch.manual_seed(0)
    network = create_model(name, weights="none", width=0.25, num_classes=10).eval().requires_grad_(False)
    for part in network.modules():
        if isinstance(part, nn.BatchNorm2d):
            # Small, since each layer multiplies what the one before put out with itself.
            drawn(part).weight.mul_(0.2)
    kinds = [type(module) for module in network.modules()]
    images = torch.randn(20, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    made = forward_pass(network, images[:1], name)
    assert made.about["fused"] == sum(isinstance(part, FusedLayer) for part in made.network.modules()) == 16
    assert [type(module) for module in network.modules()] == kinds
    with torch.inference_mode():
        expected = network(images)
        assert float(expected.std()) > 1e-3
        torch.testing.assert_close(made.network(images), expected, rtol=1e-3, atol=1e-4 * float(expected.std()))


@pytest.mark.parametrize("name", ["resnet50", "torchvision:resnet18"])
def test_other_networks_have_nothing_to_fuse(name):
    made = forward_pass(create_model(name, weights="none").eval(), torch.randn(1, 3, 64, 64), name)
    assert "fused" not in made.about


def hooked(layer):
    layer.channel_branch[1].register_forward_hook(lambda *_: None)
    return layer


class Own(DDF2d):
    """A subclass may do something else."""


UNFIT = {
    "a hook": lambda: hooked(DDF2d(16)).eval(),
    "a subclass": lambda: Own(16).eval(),
    "training": lambda: DDF2d(16).train(),
    "float64": lambda: DDF2d(16).eval().double(),
    "channels that are no whole vectors": lambda: DDF2d(24).eval(),
    "a static branch whose groups are no whole vectors": lambda: bivolution_dc(32, static_groups=4).eval(),
    "groups that are no whole vectors": lambda: Involution2d(32, group_channels=8).eval(),
}


@pytest.mark.parametrize("make", UNFIT.values(), ids=UNFIT.keys())
def test_layers_that_do_not_fit_stay(make):
    torch.manual_seed(0)
    layer = make()
    network = nn.Sequential(layer).requires_grad_(False)
    images = pictures(channels_of(layer)).to(next(layer.parameters()).dtype)
    assert fuse(network, images) == 0
    assert network[0] is layer


def with_part(name, part):
    block = drawn(bottleneck(lambda stride: DDF2d(32, 3, stride), 96, 1))
    block.set_submodule(name, part.eval().requires_grad_(False))
    return block


def hooked_at(name):
    block = drawn(bottleneck(lambda stride: DDF2d(32, 3, stride), 96, 1))
    block.get_submodule(name).register_forward_hook(lambda *_: None)
    return block


class OwnBottleneck(Bottleneck):
    """A subclass may do something else."""


BLOCKS = {
    "attention": lambda: with_part("att", nn.Sigmoid()),
    "another ReLU": lambda: with_part("relu", nn.GELU()),
    "another ReLU behind the layer": lambda: with_part("relu2", nn.SiLU()),
    "another norm": lambda: with_part("bn3", nn.GroupNorm(4, 96)),
    "a larger last convolution": lambda: with_part("conv3", nn.Conv2d(32, 96, 3, padding=1)),
    "a larger first convolution": lambda: with_part("conv1", nn.Conv2d(96, 32, 3, padding=1)),
    "a hook on the last convolution": lambda: hooked_at("conv3"),
    "a hook on the first norm": lambda: hooked_at("bn1"),
    "a last convolution in groups": lambda: with_part("conv3", nn.Conv2d(32, 96, 1, groups=4)),
}


@pytest.mark.parametrize("make", BLOCKS.values(), ids=BLOCKS.keys())
def test_blocks_with_something_else_in_them_keep_it_and_their_layer_is_fused(make):
    torch.manual_seed(0)
    block, images = make(), pictures(96)
    network = nn.Sequential(block)
    expected = network(images.clone())
    assert fuse(network, images) == 1
    assert network[0] is block and type(block.conv2) is FusedLayer
    torch.testing.assert_close(network(images.clone()), expected, rtol=1e-3, atol=1e-4)


def test_convolutions_with_biases_in_front_of_norms():
    block, images = with_part("conv3", nn.Conv2d(32, 96, 1)), pictures(96)
    block.conv1 = nn.Conv2d(96, 32, 1).requires_grad_(False)
    expected, fused = block(images.clone()), FusedBottleneck(copy.deepcopy(block))
    torch.testing.assert_close(fused(images), expected, rtol=1e-4, atol=1e-4)


def test_copies_share_the_weights_of_what_is_fused():
    block = FusedBottleneck(drawn(bottleneck(lambda stride: dc_ca(32, stride), 96, 1)))
    copied = shallow_copy(block)
    assert copied.conv2 is not block.conv2 and copied.conv1 is not block.conv1
    assert copied.conv2.weights is block.conv2.weights and copied.conv1.weights is block.conv1.weights


def test_a_block_of_another_class_is_left_alone():
    make = functools.partial(DDF2d, 32, 3)
    block = drawn(OwnBottleneck(96, 32, 96, 1, lambda *_, **__: make(1)))
    network = nn.Sequential(block)
    assert fuse(network, pictures(96)) == 0
    assert type(block.conv2) is DDF2d


@pytest.mark.parametrize(("channels", "kind"), [(2048, FusedConv2d), (2080, nn.Conv2d)])
def test_the_first_convolution_is_fused_where_its_weights_stay_in_the_caches(channels, kind):
    block, images = drawn(bottleneck(lambda stride: DDF2d(32, 3, stride), channels, 1)), pictures(channels)
    expected, fused = block(images.clone()), FusedBottleneck(copy.deepcopy(block))
    assert type(fused.conv1) is kind
    torch.testing.assert_close(fused(images), expected, rtol=1e-4, atol=1e-4 * float(expected.std()))


@pytest.mark.parametrize("norm", [nn.GroupNorm(4, 16), nn.BatchNorm2d(16, track_running_stats=False)])
def test_a_norm_of_the_batch_or_of_another_kind_stays_behind_its_layer(norm):
    torch.manual_seed(0)
    network, images = nn.Sequential(DDF2d(16), norm, nn.ReLU()).requires_grad_(False).eval(), pictures(16)
    expected = network(images)
    assert fuse(network, images) == 1
    assert network[1] is norm and type(network[2]) is nn.ReLU
    torch.testing.assert_close(network(images), expected, rtol=1e-4, atol=1e-5)


class LooksAtItsLayer(nn.Module):
    """Silently another function if its layer is another one."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.parts = nn.Sequential(DDF2d(16), nn.BatchNorm2d(16))

    def forward(self, images):
        return self.parts(images) * (1.0 if isinstance(self.parts[0], DDF2d) else 1.01)


class TakesItsLayerApart(LooksAtItsLayer):
    def forward(self, images):
        return self.parts(images) + self.parts[0].combine.count("m") + self.parts[0].channel_branch[1].weight.mean()


@pytest.mark.parametrize("kind", [LooksAtItsLayer, TakesItsLayerApart])
def test_a_network_that_looks_into_its_layers_keeps_them(kind):
    network, images = kind().eval().requires_grad_(False), pictures(16)
    parts, expected = list(network.parts), network(images)
    assert fuse(network, images) == 0
    assert list(network.parts) == parts
    assert torch.equal(network(images), expected)


def test_what_is_no_number_stays_so():
    fused = FusedLayer(drawn(dc_ca(32)), drawn(nn.BatchNorm2d(32)), True)
    images = pictures(32)
    images[1, 5, 4, 4] = torch.nan
    answers = fused(images)
    assert answers[1].isnan().any() and not answers[[0, 2]].isnan().any()

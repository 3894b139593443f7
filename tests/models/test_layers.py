import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from robustbench_bi.errors import InputError
from robustbench_bi.models.layers import (
    Bivolution2d,
    DDF2d,
    FilterNorm,
    Involution2d,
    SpatialAugmentedKernel,
    bivolution_dc,
    bivolution_dc_ca,
    group_count,
)


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def parameter_count(module):
    return sum(parameter.numel() for parameter in module.parameters())


def unfolded(x, kernel_size, stride=1):
    """(B, C, K·K, Ho, Wo), by torch's own operator."""
    height, width = (-(-side // stride) for side in x.shape[2:])
    return F.unfold(x, kernel_size, padding=kernel_size // 2, stride=stride).view(
        len(x), x.shape[1], kernel_size**2, height, width
    )


@pytest.mark.parametrize("stride", [1, 2])
def test_involution_is_the_published_computation(stride):
    layer = Involution2d(32, 7, stride).eval()
    x = torch.randn(2, 32, 8, 6)
    pooled = F.avg_pool2d(x, stride) if stride > 1 else x
    reduced = layer.conv1.bn(F.conv2d(pooled, layer.conv1.conv.weight)).relu()
    filters = F.conv2d(reduced, layer.conv2.conv.weight, layer.conv2.conv.bias)
    filters = filters.view(2, 2, 1, 49, 8 // stride, 6 // stride)
    windows = unfolded(x, 7, stride).view(2, 2, 16, 49, 8 // stride, 6 // stride)
    expected = (filters * windows).sum(3).view(2, 32, 8 // stride, 6 // stride)
    torch.testing.assert_close(layer(x), expected, rtol=1e-4, atol=1e-4)


def test_involution_without_reduction_is_one_convolution():
    layer = Involution2d(32, 5, reduction=None)
    assert {name: tuple(value.shape) for name, value in layer.named_parameters()} == {
        "conv2.conv.weight": (50, 32, 1, 1),
        "conv2.conv.bias": (50,),
    }


def test_involution_averages_partial_windows_at_the_border():
    layer = Involution2d(16, 3, stride=2, reduction=None)
    seen = []
    layer.conv2.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    x = torch.randn(1, 16, 5, 4)
    layer(x)
    assert seen[0].shape == (1, 16, 3, 2)
    torch.testing.assert_close(seen[0][..., 2, 1], x[..., 4, 2:4].mean(-1))


@pytest.mark.parametrize("combine", ["mul", "add"])
@pytest.mark.parametrize("stride", [1, 2])
def test_ddf_is_the_published_computation(stride, combine):
    layer = DDF2d(20, stride=stride, combine=combine)
    x = torch.randn(2, 20, 8, 6)

    def normalised(filters, scale):
        return (filters - filters.mean(-1, keepdim=True)) / (filters.std(-1, keepdim=True) + 1e-10) * scale

    positions = layer.spatial_branch[0](x).permute(0, 2, 3, 1)
    positions = normalised(positions, math.sqrt(2) / 3).permute(0, 3, 1, 2)[:, None]
    squeezed = F.linear(x.mean((2, 3)), layer.channel_branch[1].weight[..., 0, 0], layer.channel_branch[1].bias).relu()
    channels = F.linear(squeezed, layer.channel_branch[3].weight[..., 0, 0], layer.channel_branch[3].bias)
    channels = normalised(channels.view(2, 20, 9), layer.channel_branch[4].std.view(20, 9))[..., None, None]
    filters = positions * channels if combine == "mul" else positions + channels
    torch.testing.assert_close(layer(x), (filters * unfolded(x, 3, stride)).sum(2), rtol=1e-4, atol=1e-4)


def test_ddf_has_the_published_sizes():
    hidden = {64: 12, 128: 25, 256: 51, 512: 102}
    assert {c: DDF2d(c).channel_branch[1].out_channels for c in hidden} == hidden
    assert parameter_count(DDF2d(64)) == (64 * 9 + 9) + (64 * 12 + 12) + (12 * 576 + 576) + 576


def test_filter_norm_standardises_over_the_taps():
    filters = FilterNorm(3)(5 + 3 * torch.randn(2, 18, 4, 5)).view(2, 2, 9, 4, 5)
    torch.testing.assert_close(filters.mean(2), torch.zeros(2, 2, 4, 5), atol=1e-6, rtol=0)
    torch.testing.assert_close(filters.std(2), torch.full((2, 2, 4, 5), math.sqrt(2) / 3))


def test_filter_norm_of_channels_learns_its_scale():
    norm = FilterNorm(3, channels=500)
    assert norm.std.shape == (4500,)
    assert norm.std.std().item() == pytest.approx(math.sqrt(2) / 3, rel=0.05)
    nn.init.constant_(norm.std, 2.0)
    filters = norm(torch.randn(2, 4500, 1, 1)).view(2, 500, 9)
    torch.testing.assert_close(filters.std(2), torch.full((2, 500), 2.0))


def test_equal_taps_have_a_finite_gradient():
    filters = torch.ones(1, 9, 2, 2, requires_grad=True)
    output = FilterNorm(3)(filters)
    output.sum().backward()
    assert torch.equal(output, torch.zeros_like(output))
    assert filters.grad.isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_filter_norm_is_computed_in_float32(dtype):
    filters = (1e-3 * torch.randn(1, 9, 8, 8)).to(dtype)
    result = FilterNorm(3)(filters)
    assert result.dtype == dtype
    torch.testing.assert_close(result, FilterNorm(3)(filters.float()).to(dtype))
    equal = FilterNorm(3)(torch.ones(1, 9, 2, 2, dtype=dtype))
    assert torch.equal(equal, torch.zeros_like(equal))


def test_filter_norm_needs_a_filter_with_spread():
    with pytest.raises(InputError, match="filter's spread, and one of 1×1 has none; kernel_size must be at least 3"):
        DDF2d(8, kernel_size=1)


@pytest.mark.parametrize("delta", [1, 3, 5])
def test_sakg_has_the_cost_that_the_paper_states(delta):
    assert parameter_count(SpatialAugmentedKernel(24, delta)) == delta**2 * 24 + 24**2
    assert parameter_count(SpatialAugmentedKernel(24, delta, bias=True)) == delta**2 * 24 + 24**2 + 48


def test_sakg_joins_neighbourhood_and_image():
    x = torch.randn(2, 6, 7, 5)
    summed = SpatialAugmentedKernel(6, 3, stride=2, dilation=2)
    spatial = F.conv2d(x, summed.spatial.weight, stride=2, padding=2, dilation=2, groups=6)
    channel = F.conv2d(x.mean((2, 3), keepdim=True), summed.channel[1].weight)
    torch.testing.assert_close(summed(x), spatial + channel)
    gated = SpatialAugmentedKernel(6, 3, stride=2, dilation=2, fusion="gate")
    gated.load_state_dict(summed.state_dict())
    torch.testing.assert_close(gated(x), spatial * channel.sigmoid())


def test_bivolution_adds_its_branches():
    layer = bivolution_dc_ca(32, stride=2)
    x = torch.randn(1, 32, 7, 7)
    torch.testing.assert_close(layer(x), layer.dynamic(x) + layer.static(x))
    alone = Bivolution2d(layer.dynamic, None)
    torch.testing.assert_close(alone(x), layer.dynamic(x))


def test_presets_of_dc_and_dc_ca_are_those_of_the_reconstruction():
    dc, ca = bivolution_dc(64, stride=2), bivolution_dc_ca(64, stride=2)
    assert (dc.static.kernel_size, dc.static.groups, dc.static.stride, dc.static.bias) == ((1, 1), 4, (2, 2), None)
    assert (ca.static.kernel_size, ca.static.groups, ca.static.stride) == ((3, 3), 2, (2, 2))
    assert ca.static.bias is not None
    assert (dc.dynamic.kernel_size, dc.dynamic.conv2.conv.out_channels) == (5, 25 * 4)
    assert (dc.dynamic.sakg.spatial.kernel_size, dc.dynamic.sakg.spatial.stride) == ((3, 3), (1, 1))
    assert (ca.dynamic.sakg.spatial.kernel_size, ca.dynamic.sakg.spatial.stride) == ((5, 5), (2, 2))
    assert ca.dynamic.spatial_branch[0].stride == (1, 1)


def test_a_base_model_of_table_3_is_the_layer_it_is_built_over():
    involution = bivolution_dc(64, kernel_size=7, reduction=4, sakg=False, dual_branch=False)
    assert involution.dynamic.state_dict().keys() == Involution2d(64).state_dict().keys()
    assert len(list(involution.children())) == 1
    ddf = bivolution_dc_ca(64, sakg=False, dual_branch=False)
    assert ddf.dynamic.state_dict().keys() == DDF2d(64).state_dict().keys()


@pytest.mark.parametrize("build", [Involution2d, DDF2d, bivolution_dc, bivolution_dc_ca])
@pytest.mark.parametrize("channels", [8, 16, 32, 128])
@pytest.mark.parametrize("stride", [1, 2, 3])
def test_every_layer_keeps_channels_and_rounds_sides_up(build, channels, stride):
    output = build(channels, stride=stride)(torch.zeros(1, channels, 7, 10))
    assert output.shape == (1, channels, -(-7 // stride), -(-10 // stride))


def test_group_count():
    assert [group_count(*pair) for pair in ((64, 16), (16, 16), (16, 32), (8, 16))] == [4, 1, 1, 1]
    with pytest.raises(InputError, match="56 channels cannot be divided into groups of 16; choose another width"):
        group_count(56, 16)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: SpatialAugmentedKernel(8, 2), "delta must be a positive odd integer, got 2"),
        (lambda: SpatialAugmentedKernel(8, fusion="max"), "fusion must be 'sum' or 'gate', got 'max'"),
        (lambda: DDF2d(8, combine="max"), "combine must be 'mul' or 'add', got 'max'"),
        (lambda: DDF2d(8, kernel_size=4), "kernel_size must be a positive odd integer, got 4"),
        (lambda: Involution2d(8, 4), "kernel_size must be a positive odd integer, got 4"),
        (lambda: bivolution_dc(16, static_groups=3), "static_groups must divide the 16 channels of the layer, got 3"),
        (lambda: bivolution_dc(16, static_kernel=2), "static_kernel must be a positive odd integer, got 2"),
    ],
)
def test_bad_arguments_are_refused_when_the_layer_is_made(build, message):
    with pytest.raises(InputError, match=message):
        build()

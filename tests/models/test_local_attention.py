"""Layers of local attention against the same written with unfold: values and gradients; the others by their rules."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from robustbench_bi.errors import InputError
from robustbench_bi.models import create_model
from robustbench_bi.models.axial import AxialAttention
from robustbench_bi.models.gates import BottleneckAttention, ConvolutionalBlockAttention
from robustbench_bi.models.global_attention import AugmentedConvolution2d
from robustbench_bi.models.local_attention import LocalRelation2d, StandAloneAttention2d
from robustbench_bi.models.san import PairwiseAttention2d


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def neighbours(x, size, mode="constant"):
    """(B, C, K·K, H·W)"""
    return F.unfold(F.pad(x, (size // 2,) * 4, mode), size).unflatten(1, (x.shape[1], -1))


def standalone_by_unfold(layer, x):
    heads, size = layer.heads, layer.kernel_size
    query = layer.query(x).flatten(2).unflatten(1, (heads, -1)).unsqueeze(3)
    keys, values = (neighbours(map_, size).unflatten(1, (heads, -1)) for map_ in (layer.key(x), layer.value(x)))
    embeddings = torch.cat([layer.rows.repeat_interleave(size, 1), layer.columns.repeat(1, size)])
    weights = (query * (keys + embeddings[:, :, None])).sum(2, keepdim=True).softmax(3)
    return layer.pool((weights * values).sum(3).flatten(1, 2).unflatten(2, x.shape[2:]))


def relations_by_unfold(layer, x):
    prior = layer.prior(layer.places).flatten()
    logits = layer.query(x).flatten(2).unsqueeze(2) * neighbours(layer.key(x), layer.kernel_size)
    weights = (logits + prior[:, None]).softmax(2).repeat_interleave(8, 1)[:, : x.shape[1]]
    aggregated = (weights * neighbours(x, layer.kernel_size)).sum(2).unflatten(2, x.shape[2:])
    return layer.pool(layer.output(aggregated))


def pairwise_by_unfold(layer, x):
    size, (height, width) = layer.kernel_size, x.shape[2:]
    rows, columns = torch.meshgrid(torch.linspace(-1, 1, height), torch.linspace(-1, 1, width), indexing="ij")
    places = layer.conv_p(torch.stack([columns, rows])[None].to(x.dtype))
    moved = places.flatten(2).unsqueeze(2) - neighbours(places, size, "reflect")
    differences = layer.conv1(x).flatten(2).unsqueeze(2) - neighbours(layer.conv2(x), size, "reflect")
    relation = torch.cat([differences, moved.expand(len(x), -1, -1, -1)], 1)
    weights = layer.conv_w(relation).softmax(2)
    values = neighbours(layer.conv3(x), size, "reflect")
    # Channel c has the weights of number c modulo their count, as in the published kernels.
    weights = weights[:, torch.arange(values.shape[1]) % weights.shape[1]]
    return (weights * values).sum(2).unflatten(2, (height, width))


LAYERS = {
    "stand-alone": (lambda: StandAloneAttention2d(32), standalone_by_unfold, 32),
    "stand-alone, stride 2": (lambda: StandAloneAttention2d(16, 5, 2), standalone_by_unfold, 16),
    "local relation": (lambda: LocalRelation2d(24), relations_by_unfold, 24),
    "local relation of 25 channels, stride 2": (lambda: LocalRelation2d(25, 7, 2), relations_by_unfold, 25),
    "pairwise": (lambda: PairwiseAttention2d(32, 4, 24, 7), pairwise_by_unfold, 32),
    "pairwise, kernel 3": (lambda: PairwiseAttention2d(16, 2, 16, 3), pairwise_by_unfold, 16),
}


@pytest.mark.parametrize("order", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize(("build", "by_unfold", "channels"), LAYERS.values(), ids=LAYERS.keys())
def test_layers_are_their_unfold_formulation(build, by_unfold, channels, order):
    layer = build()
    x = torch.randn(2, channels, 9, 11).contiguous(memory_format=order).requires_grad_()
    results = []
    for output in (layer(x), by_unfold(layer, x)):
        wanted = [x, *layer.parameters()]
        gradients = torch.autograd.grad(output.square().sum(), wanted, allow_unused=True)
        results.append([output, *(value for value in gradients if value is not None)])
    assert len(results[0]) == len(results[1]) > 4
    for result, value in zip(*results, strict=True):
        scale = max(1.0, value.detach().abs().max().item())
        torch.testing.assert_close(result / scale, value / scale, rtol=0, atol=1e-5)


def test_augmented_convolution_by_loops():
    layer = AugmentedConvolution2d(16, 1, side=3).double()
    x = torch.randn(1, 16, 3, 2, dtype=torch.float64)
    query, key, value = layer.qkv(x)[0].unflatten(0, (8, -1)).split([20, 20, 1], 1)
    expected = torch.zeros(8, 3, 2, dtype=torch.float64)
    for head in range(8):
        for i in range(3):
            for j in range(2):
                own = query[head, :, i, j] / 20**0.5
                logits = torch.stack(
                    [
                        own @ (key[head, :, k, m] + layer.rows[:, k - i + 2] + layer.columns[:, m - j + 2])
                        for k in range(3)
                        for m in range(2)
                    ]
                )
                expected[head, i, j] = logits.softmax(0) @ value[head].flatten()
    torch.testing.assert_close(layer(x), torch.cat([layer.conv(x), layer.project(expected[None])], 1))


def test_augmented_convolution_takes_maps_of_other_sizes():
    layer = AugmentedConvolution2d(16, 2, side=4)
    for height, width in ((3, 5), (7, 8), (20, 31)):
        assert layer(torch.randn(1, 16, height, width)).shape == (1, 16, -(-height // 2), -(-width // 2))


def test_axial_attention_by_loops():
    layer = AxialAttention(8, 3).double().eval()
    for module in layer.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
    x = torch.randn(2, 8, 3, dtype=torch.float64)
    # 4 groups of q, k of one channel and v of two
    query, key, value = layer.bn_qkv(layer.qkv(x)).unflatten(1, (4, 4)).split([1, 1, 2], 2)
    a, b, c = layer.relative.split([1, 1, 2])
    terms = torch.zeros(2, 3, 4, 3, 3, dtype=torch.float64)
    for i in range(3):
        for j in range(3):
            place = j - i + 2
            terms[:, 0, :, i, j] = (query[..., i] * key[..., j]).sum(2)
            terms[:, 1, :, i, j] = (query[..., i] * a[:, place]).sum(2)
            terms[:, 2, :, i, j] = (key[..., j] * b[:, place]).sum(2)
    weights = layer.bn_similarity(terms.flatten(1, 2)).unflatten(1, (3, 4)).sum(1).softmax(3)
    parts = torch.zeros(2, 2, 4, 2, 3, dtype=torch.float64)
    for i in range(3):
        for j in range(3):
            parts[:, 0, ..., i] += weights[:, :, i, j, None] * value[..., j]
            parts[:, 1, ..., i] += weights[:, :, i, j, None] * c[:, j - i + 2]
    expected = layer.bn_output(parts.flatten(1, 3)).unflatten(1, (2, 8)).sum(1)
    torch.testing.assert_close(layer(x), expected)


def test_axial_networks_take_one_size():
    network = create_model("axial_resnet_s", width=0.125, input_size=64)
    message = "this axial attention takes images of 64×64, got 64×96; create the network with another"
    with pytest.raises(InputError, match=message):
        network(torch.zeros(1, 3, 64, 96))


def test_gates_by_hand():
    x = torch.randn(2, 16, 5, 4)
    bam, cbam = BottleneckAttention(16).eval(), ConvolutionalBlockAttention(16).eval()
    channel = bam.channel_att.gate_c(x.mean((2, 3)))
    spatial = bam.spatial_att.gate_s(x)
    product = torch.einsum("bc,bohw->bchw", channel, spatial)
    torch.testing.assert_close(bam(x), x + x * product.sigmoid())
    first, _, second = cbam.ChannelGate.mlp[1:]
    pooled = (F.adaptive_avg_pool2d(x, 1).flatten(1), F.adaptive_max_pool2d(x, 1).flatten(1))
    y = x * sum(second(first(vector).relu()) for vector in pooled).sigmoid()[..., None, None]
    squeezed = torch.cat([y.max(1, keepdim=True).values, y.mean(1, keepdim=True)], 1)
    torch.testing.assert_close(cbam(x), y * cbam.SpatialGate.spatial(squeezed).sigmoid())


def test_gates_stand_where_their_papers_put_them():
    with torch.device("meta"):
        bam, cbam = create_model("bam_resnet101", width=0.25), create_model("cbam_resnet101", width=0.25)
    names = [name for name, module in bam.named_modules() if isinstance(module, BottleneckAttention)]
    assert names == ["bam1", "bam2", "bam3"]
    blocks = [module for module in cbam.modules() if isinstance(module, ConvolutionalBlockAttention)]
    assert len(blocks) == 3 + 4 + 23 + 3

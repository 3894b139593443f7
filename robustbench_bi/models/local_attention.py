"""Attention over a neighbourhood in place of a bottleneck's 3×3: stand-alone self-attention and local relations.

The logits come from `local_logits`, and `dynamic_filter` aggregates with their softmax. Both layers compute at every
position and then average stride×stride of them. Positions outside the image take part in the softmax with keys and
values of zero, as in published code.
"""

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from robustbench_bi.models.layers import check_odd
from robustbench_bi.models.resnet import ResNet, convolutional_network
from robustbench_bi.ops.dynamic_filter import dynamic_filter
from robustbench_bi.ops.local_logits import local_logits

SHARED = 8
"""Channels that share a weight in a local relation layer."""

BOTTLENECK = 100 / 64
"""LR-Net's layers are wider than a ResNet's: 100, 200, 400 and 800 channels."""


class StandAloneAttention2d(nn.Module):
    """Local self-attention (Ramachandran et al., NeurIPS 2019) with learned embeddings of relative rows and columns.

    y_i = Σ_j softmax_j(q_i · (k_j + r_{j-i})) v_j over the K×K neighbours j of i, in each head; the first half of r
    depends on the row of j, the second on its column. All heads share r, which fits the paper's counts best.

    Args:
        channels: C.
        kernel_size: K, odd.
        stride: stride; the result is averaged over stride×stride.
        heads: of the attention; narrow layers have fewer, of two channels.

    Example:
        >>> import torch
        >>> StandAloneAttention2d(32, stride=2)(torch.zeros(1, 32, 9, 9)).shape
        torch.Size([1, 32, 5, 5])
    """

    def __init__(self, channels: int, kernel_size: int = 7, stride: int = 1, *, heads: int = 8) -> None:
        super().__init__()
        check_odd("kernel_size", kernel_size)
        self.kernel_size, self.heads = kernel_size, min(heads, channels // 2)
        self.query, self.key, self.value = (nn.Conv2d(channels, channels, 1, bias=False) for _ in range(3))
        size = channels // self.heads
        self.rows = nn.Parameter(torch.randn(size // 2, kernel_size))
        self.columns = nn.Parameter(torch.randn(size - size // 2, kernel_size))
        self.pool = nn.AvgPool2d(stride, ceil_mode=True) if stride > 1 else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to (B, C, ceil(H / stride), ceil(W / stride))."""
        query = self.query(x)
        logits = local_logits(query, self.key(x), kernel_size=self.kernel_size, groups=self.heads)
        by_tap = torch.unflatten(logits, 1, (self.heads, self.kernel_size, self.kernel_size))
        parts = torch.split(torch.unflatten(query, 1, (self.heads, -1)), [len(self.rows), len(self.columns)], 2)
        rows, columns = (
            torch.einsum("bnchw,ck->bnkhw", part, embedding)
            for part, embedding in zip(parts, (self.rows, self.columns), strict=True)
        )
        by_tap = by_tap + rows.unsqueeze(3) + columns.unsqueeze(2)
        weights = by_tap.flatten(2, 3).softmax(2).flatten(1, 2)
        output: Tensor = self.pool(dynamic_filter(self.value(x), weights, kernel_size=self.kernel_size))
        return output


class LocalRelation2d(nn.Module):
    """A local relation layer (Hu et al., ICCV 2019): the input is aggregated by how pixels relate in look and place.

    y_i = W Σ_j softmax_j(q_i · k_j + prior(j - i)) x_j over the K×K neighbours j of i. Query and key of a group of
    eight channels are one number each, and their product stands for its appearance. The geometric prior is a network of
    two 1×1 convolutions on the relative position. No code was released: the prior has eight channels inside and is
    shared by the groups, as the counts leave no room for more, and the stride is an average after W.

    Args:
        channels: C; where eight does not divide it, the last group is smaller.
        kernel_size: K, odd.
        stride: stride.

    Example:
        >>> import torch
        >>> LocalRelation2d(25, stride=2)(torch.zeros(1, 25, 9, 9)).shape
        torch.Size([1, 25, 5, 5])
    """

    def __init__(self, channels: int, kernel_size: int = 7, stride: int = 1) -> None:
        super().__init__()
        check_odd("kernel_size", kernel_size)
        self.kernel_size, self.groups = kernel_size, -(-channels // SHARED)
        self.missing = self.groups * SHARED - channels
        self.query = nn.Conv2d(channels, self.groups, 1, bias=False)
        self.key = nn.Conv2d(channels, self.groups, 1, bias=False)
        self.prior = nn.Sequential(
            nn.Conv2d(2, 8, 1, bias=False), nn.ReLU(inplace=True), nn.Conv2d(8, 1, 1, bias=False)
        )
        steps = torch.linspace(-1, 1, kernel_size)
        self.register_buffer("places", torch.stack(torch.meshgrid(steps, steps, indexing="ij"))[None], persistent=False)
        self.output = nn.Conv2d(channels, channels, 1, bias=False)
        self.pool = nn.AvgPool2d(stride, ceil_mode=True) if stride > 1 else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to (B, C, ceil(H / stride), ceil(W / stride))."""
        logits = local_logits(self.query(x), self.key(x), kernel_size=self.kernel_size, groups=self.groups)
        prior = self.prior(self.get_buffer("places")).reshape(1, 1, -1, 1, 1)
        weights = (torch.unflatten(logits, 1, (self.groups, -1)) + prior).softmax(2).flatten(1, 2)
        pixels = nn.functional.pad(x, (0, 0, 0, 0, 0, self.missing)) if self.missing else x
        relations = dynamic_filter(pixels, weights, kernel_size=self.kernel_size)[:, : x.shape[1]]
        output: Tensor = self.pool(self.output(relations))
        return output


def standalone_resnet(depth: int, *, num_classes: int, width: float, stem: str, **layer: Any) -> ResNet:
    """A ResNet whose 3×3 are `StandAloneAttention2d`, the paper's "Conv-stem + Attention"."""
    return convolutional_network(depth, partial(StandAloneAttention2d, **layer), num_classes, width, stem)


def lr_net(depth: int, *, num_classes: int, width: float, stem: str, **layer: Any) -> ResNet:
    """LR-Net: a ResNet with wider bottlenecks around `LocalRelation2d`, behind a convolution stem."""
    return convolutional_network(depth, partial(LocalRelation2d, **layer), num_classes, width, stem, BOTTLENECK)

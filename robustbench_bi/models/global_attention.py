"""Attention-augmented convolution in place of a bottleneck's 3×3 (Bello et al., ICCV 2019)."""

import torch
from torch import Tensor, nn

from robustbench_bi.models.resnet import STEM_STRIDES, ResNet, convolution, convolutional_network

HEADS = 8
KEY_SHARE, VALUE_SHARE = 0.2, 0.1
KEY_CHANNELS = 20
"""The least a head has."""


class AugmentedConvolution2d(nn.Module):
    """A 3×3 convolution and attention over the whole map, side by side: AAConv of Bello et al.

    The convolution makes C - d_v channels and the attention d_v, a tenth of them in multiples of 8. In each head

        y_i = Σ_j softmax_j((q_i · k_j + q_i · r_{row j - row i} + q_i · r'_{column j - column i}) / √d) v_j

    with embeddings r, r' of relative rows and columns that the heads share. Where we chose: with a stride, the
    attention sees the averaged input, so that it runs on the map of the output; distances beyond those of the map that
    the layer is made for count as the largest of these.

    Args:
        channels: C.
        stride: stride.
        side: of the map that the layer puts out, for which there are embeddings.

    Example:
        >>> import torch
        >>> AugmentedConvolution2d(32, 2, side=5)(torch.zeros(1, 32, 9, 9)).shape
        torch.Size([1, 32, 5, 5])
    """

    def __init__(self, channels: int, stride: int, *, side: int) -> None:
        super().__init__()
        self.keys = max(int(KEY_SHARE * channels) // HEADS, KEY_CHANNELS) * HEADS
        self.values = max(int(VALUE_SHARE * channels) // HEADS, 1) * HEADS
        self.conv = nn.Conv2d(channels, channels - self.values, 3, stride, 1, bias=False)
        self.pool = nn.AvgPool2d(stride, ceil_mode=True) if stride > 1 else nn.Identity()
        self.qkv = nn.Conv2d(channels, 2 * self.keys + self.values, 1, bias=False)
        self.project = nn.Conv2d(self.values, self.values, 1, bias=False)
        size = self.keys // HEADS
        self.rows = nn.Parameter(torch.randn(size, 2 * side - 1) * size**-0.5)
        self.columns = nn.Parameter(torch.randn(size, 2 * side - 1) * size**-0.5)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to (B, C, ceil(H / stride), ceil(W / stride))."""
        maps = self.qkv(self.pool(x))
        height, width = maps.shape[2:]
        query, key, value = maps.unflatten(1, (HEADS, -1)).split(
            [self.keys // HEADS, self.keys // HEADS, self.values // HEADS], 2
        )
        query = query * (self.keys // HEADS) ** -0.5
        rows = torch.einsum("bnchw,chi->bnhwi", query, _of_pairs(self.rows, height))
        columns = torch.einsum("bnchw,cwj->bnhwj", query, _of_pairs(self.columns, width))
        logits = query.flatten(3).mT @ key.flatten(3)
        places = (rows.unsqueeze(5) + columns.unsqueeze(4)).flatten(4).flatten(2, 3)
        attended = value.flatten(3) @ (logits + places).softmax(3).mT
        augmented = self.project(attended.reshape(len(x), self.values, height, width))
        return torch.cat([self.conv(x), augmented], 1)


def _of_pairs(embedding: Tensor, side: int) -> Tensor:
    """(C, distances) to (C, side, side), that of each position and each other."""
    furthest = embedding.shape[1] // 2
    place = torch.arange(side, device=embedding.device)
    return embedding[:, (place - place[:, None]).clamp(-furthest, furthest) + furthest]


def aa_resnet(depth: int, *, num_classes: int, width: float, stem: str, input_size: int) -> ResNet:
    """AA-ResNet: `AugmentedConvolution2d` in the last three stages, made for maps of images of `input_size` pixels."""
    first, pool = STEM_STRIDES.get(stem, (1, 1))

    def layer(channels: int, *, stride: int) -> nn.Module:
        stage = channels.bit_length() - int(64 * width).bit_length()
        if not stage:
            return convolution(channels, stride=stride, groups=1)
        return AugmentedConvolution2d(channels, stride, side=-(-input_size // (first * pool << stage)))

    return convolutional_network(depth, layer, num_classes, width, stem)

"""SAN (Zhao, Jia, Koltun, CVPR 2020): a network of pairwise self-attention, without a ResNet's trunk.

Names of modules are those of the published code (hszhao/SAN, `model/san.py`), so that its checkpoints load.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from robustbench_bi.errors import InputError
from robustbench_bi.ops.dynamic_filter import dynamic_filter
from robustbench_bi.ops.neighbourhoods import mirrored

BLOCKS = {10: (2, 1, 2, 4, 1), 15: (3, 2, 3, 5, 2), 19: (3, 3, 4, 6, 3)}
"""Blocks in each of the five stages."""

KERNEL_SIZES = (3, 7, 7, 7, 7)
CHANNELS = (64, 256, 512, 1024, 2048)
SHARED = 8
"""Channels that share a weight; those of equal remainder, as in the published kernels."""


class PairwiseAttention2d(nn.Module):
    """Self-attention whose weights come from differences of features and of positions.

    y_i = Σ_j softmax_j(γ([φ(x_i) - ψ(x_j), p_i - p_j])) β(x_j) over the K×K neighbours j of i; p is a 1×1 convolution
    of the coordinates, from -1 to 1 over the map, and γ is BN, ReLU, 1×1, BN, ReLU, 1×1. The image is mirrored beyond
    its border; on maps smaller than the neighbourhood we mirror again, where the published code fails.

    Args:
        channels: C in.
        relation_channels: of φ and ψ.
        output_channels: of β, and of the result.
        kernel_size: K, odd.

    Example:
        >>> import torch
        >>> PairwiseAttention2d(64, 4, 16, 7)(torch.zeros(2, 64, 5, 6)).shape
        torch.Size([2, 16, 5, 6])
    """

    def __init__(self, channels: int, relation_channels: int, output_channels: int, kernel_size: int) -> None:
        super().__init__()
        self.kernel_size = kernel_size
        self.groups = max(1, output_channels // SHARED)
        if output_channels % self.groups:
            raise InputError(
                f"{output_channels} channels cannot be split into groups of {SHARED}; choose another width"
            )
        self.conv1 = nn.Conv2d(channels, relation_channels, 1)
        self.conv2 = nn.Conv2d(channels, relation_channels, 1)
        self.conv3 = nn.Conv2d(channels, output_channels, 1)
        self.conv_w = nn.Sequential(
            nn.BatchNorm2d(relation_channels + 2),
            nn.ReLU(inplace=True),
            nn.Conv2d(relation_channels + 2, relation_channels, 1, bias=False),
            nn.BatchNorm2d(relation_channels),
            nn.ReLU(inplace=True),
            nn.Conv2d(relation_channels, self.groups, 1),
        )
        self.conv_p = nn.Conv2d(2, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to (B, output channels, H, W)."""
        height, width = x.shape[2:]
        differences = self._differences(self.conv1(x), self.conv2(x))
        places = self.conv_p(_coordinates(x))
        moved = self._differences(places, places).expand(len(x), -1, -1, -1)
        weights = self.conv_w(torch.cat([differences, moved], 1)).softmax(2)
        values = self.conv3(x)
        by_group = torch.unflatten(values, 1, (-1, self.groups)).transpose(1, 2).flatten(1, 2)
        output = dynamic_filter(
            by_group,
            weights.reshape(len(x), -1, height, width),
            kernel_size=self.kernel_size,
            padding="reflect",
        )
        return torch.unflatten(output, 1, (self.groups, -1)).transpose(1, 2).flatten(1, 2)

    def _differences(self, centre: Tensor, neighbour: Tensor) -> Tensor:
        """(B, R, H, W) twice to (B, R, K·K, H·W)."""
        keys = F.unfold(mirrored(neighbour, self.kernel_size // 2), self.kernel_size)
        return centre.flatten(2).unsqueeze(2) - torch.unflatten(keys, 1, (centre.shape[1], -1))


def _coordinates(x: Tensor) -> Tensor:
    """(1, 2, H, W): the column and the row of each pixel, from -1 to 1."""
    rows, columns = (torch.linspace(-1, 1, side, dtype=x.dtype, device=x.device) for side in x.shape[2:])
    size = len(rows), len(columns)
    return torch.stack([columns[None].expand(size), rows[:, None].expand(size)])[None]


class Bottleneck(nn.Module):
    """BN, ReLU, attention to a quarter of the channels, BN, ReLU, 1×1, and the input added.

    Where we differ: the 1×1 starts at zero, and so the block as the identity, like the blocks of our other networks.
    From the values that the published code starts with, 60 to 80 % of the variance behind each stage is that of
    averages over random neighbours, and a first epoch of few steps does not lower the loss.

    Args:
        channels: C.
        kernel_size: K, odd.
    """

    def __init__(self, channels: int, kernel_size: int) -> None:
        super().__init__()
        hidden = max(1, channels // 4)
        self.bn1 = nn.BatchNorm2d(channels)
        self.sam = PairwiseAttention2d(channels, max(1, channels // 16), hidden, kernel_size)
        self.bn2 = nn.BatchNorm2d(hidden)
        self.conv = nn.Conv2d(hidden, channels, 1)
        for parameter in self.conv.parameters():
            nn.init.zeros_(parameter)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to the same."""
        output: Tensor = self.conv(self.relu(self.bn2(self.sam(self.relu(self.bn1(x))))))
        return output + x


class SelfAttentionNetwork(nn.Module):
    """A 1×1 stem and five stages, each after a 2×2 max-pool and a 1×1 convolution to its channels.

    Args:
        blocks: in each stage.
        num_classes: outputs of the classifier; 0 for none, the network then returns the pooled features.
        width: multiplies all channel counts, a multiple of 1/8.

    Example:
        >>> import torch
        >>> san(15, num_classes=10, width=0.25)(torch.zeros(2, 3, 65, 65)).shape
        torch.Size([2, 10])
    """

    def __init__(self, blocks: tuple[int, ...], num_classes: int, width: float) -> None:
        super().__init__()
        if not width > 0 or 64 * width % 8:
            raise InputError(f"width must be a positive multiple of 1/8, got {width!r}")
        channels = [int(count * width) for count in CHANNELS]
        self.conv_in = nn.Conv2d(3, channels[0], 1, bias=False)
        self.bn_in = nn.BatchNorm2d(channels[0])
        before = channels[0]
        for stage, (count, kernel_size) in enumerate(zip(channels, KERNEL_SIZES, strict=True)):
            self.add_module(f"conv{stage}", nn.Conv2d(before, count, 1, bias=False))
            modules = [Bottleneck(count, kernel_size) for _ in range(blocks[stage])]
            self.add_module(f"layer{stage}", nn.Sequential(*modules))
            self.add_module(f"bn{stage}", nn.BatchNorm2d(count))
            before = count
        self.relu = nn.ReLU(inplace=True)
        self.pool = nn.MaxPool2d(2, 2, ceil_mode=True)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(before, num_classes) if num_classes else nn.Identity()
        self.num_classes = num_classes
        self.num_features = before

    def forward_features(self, x: Tensor) -> Tensor:
        """The last stage's output, (B, num_features, H/32, W/32)."""
        x = self.relu(self.bn_in(self.conv_in(x)))
        for stage in range(len(CHANNELS)):
            x = self.get_submodule(f"conv{stage}")(self.pool(x))
            x = self.relu(self.get_submodule(f"bn{stage}")(self.get_submodule(f"layer{stage}")(x)))
        return x

    def forward(self, x: Tensor) -> Tensor:
        """Logits (B, num_classes) of images (B, 3, H, W); without a classifier, features (B, num_features)."""
        logits: Tensor = self.fc(self.avgpool(self.forward_features(x)).flatten(1))
        return logits


def san(depth: int, *, num_classes: int, width: float) -> SelfAttentionNetwork:
    """SAN with pairwise attention, of `BLOCKS[depth]`; the paper's patchwise form has other counts."""
    return SelfAttentionNetwork(BLOCKS[depth], num_classes, width)

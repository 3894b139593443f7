"""Axial-ResNet (Wang et al., ECCV 2020): a ResNet of blocks that attend along the height and then along the width.

Structure as in the authors' group's re-implementation (csrhddlam/axial-deeplab, `lib/models/axialnet.py`), with a
convolution stem: "Conv-Stem + Axial-Attention" of the paper's Table 1.
"""

import torch
from torch import Tensor, nn

from robustbench_bi.errors import InputError

BLOCKS = {"s": (3, 4, 6, 3)}
"""Blocks in each stage."""

STEM, EXPANSION, GROUPS = 32, 2, 8


class AxialAttention(nn.Module):
    """Attention over a whole axis, with positions in queries, keys and values.

    y_i = Σ_j softmax_j(q_i · k_j + q_i · a_{j-i} + k_j · b_{j-i}) (v_j + c_{j-i}) in each of 8 groups, which share the
    learned a, b and c. BN stands after the 1×1 that makes q, k and v, on the three terms before they are added, and on
    the two parts of the result.

    Args:
        channels: C.
        length: of the axis.

    Example:
        >>> import torch
        >>> AxialAttention(16, 5)(torch.zeros(3, 16, 5)).shape
        torch.Size([3, 16, 5])
    """

    def __init__(self, channels: int, length: int) -> None:
        super().__init__()
        self.groups = min(GROUPS, channels // 2)
        size = channels // self.groups
        self.parts = [size // 2, size // 2, size]
        self.qkv = nn.Conv1d(channels, 2 * channels, 1, bias=False)
        self.bn_qkv = nn.BatchNorm1d(2 * channels)
        self.bn_similarity = nn.BatchNorm2d(3 * self.groups)
        self.bn_output = nn.BatchNorm1d(2 * channels)
        self.relative = nn.Parameter(torch.randn(2 * size, 2 * length - 1) * size**-0.5)
        place = torch.arange(length)
        self.register_buffer("distances", place - place[:, None] + length - 1, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, L) to the same."""
        maps = torch.unflatten(self.bn_qkv(self.qkv(x)), 1, (self.groups, -1))
        query, key, value = torch.split(maps, self.parts, 2)
        to_query, to_key, to_value = torch.split(self.relative[:, self.get_buffer("distances")], self.parts)
        terms = [
            query.mT @ key,
            torch.einsum("ngci,cij->ngij", query, to_query),
            torch.einsum("ngcj,cij->ngij", key, to_key),
        ]
        weights = torch.unflatten(self.bn_similarity(torch.cat(terms, 1)), 1, (3, -1)).sum(1).softmax(3)
        parts = value @ weights.mT, torch.einsum("ngij,cij->ngci", weights, to_value)
        output: Tensor = self.bn_output(torch.cat([part.flatten(1, 2) for part in parts], 1))
        return torch.unflatten(output, 1, (2, -1)).sum(1)


class Bottleneck(nn.Module):
    """1×1, attention along the height and the width, 1×1, and a shortcut that is projected where the shape changes.

    Args:
        in_channels: channels of the input.
        channels: channels of the attention.
        stride: the attended map is averaged over stride×stride.
        side: of the input.
    """

    def __init__(self, in_channels: int, channels: int, stride: int, side: int) -> None:
        super().__init__()
        out_channels = channels * EXPANSION
        self.conv_down = nn.Conv2d(in_channels, channels, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.height_block = AxialAttention(channels, side)
        self.width_block = AxialAttention(channels, side)
        self.pool = nn.AvgPool2d(stride, ceil_mode=True) if stride > 1 else nn.Identity()
        self.conv_up = nn.Conv2d(channels, out_channels, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.relu = nn.ReLU(inplace=True)
        self.downsample: nn.Module = nn.Identity()
        if stride != 1 or in_channels != out_channels:
            self.downsample = nn.Sequential(
                nn.Conv2d(in_channels, out_channels, 1, stride, bias=False), nn.BatchNorm2d(out_channels)
            )

    def forward(self, x: Tensor) -> Tensor:
        """(B, in_channels, side, side) to (B, 2 · channels, ceil(side / stride), ceil(side / stride))."""
        output = self.relu(self.bn1(self.conv_down(x)))
        batch, channels, height, width = output.shape
        columns = self.height_block(output.permute(0, 3, 1, 2).reshape(-1, channels, height))
        columns = columns.unflatten(0, (batch, width))
        rows = self.width_block(columns.permute(0, 3, 2, 1).reshape(-1, channels, width))
        output = rows.unflatten(0, (batch, height)).transpose(1, 2)
        output = self.bn2(self.conv_up(self.relu(self.pool(output))))
        result: Tensor = self.relu(output + self.downsample(x))
        return result


class AxialResNet(nn.Module):
    """A 7×7 stem with stride 2, a max-pool, four stages, global average pooling and a linear classifier.

    It takes images of one size only: the lengths of the axes are in the weights.

    Args:
        blocks: in each stage.
        num_classes: outputs of the classifier; 0 for none, the network then returns the pooled features.
        width: multiplies all channel counts, a multiple of 1/8.
        input_size: side of the images.

    Example:
        >>> import torch
        >>> axial_resnet("s", num_classes=10, width=0.25, input_size=64)(torch.zeros(2, 3, 64, 64)).shape
        torch.Size([2, 10])
    """

    def __init__(self, blocks: tuple[int, ...], num_classes: int, width: float, input_size: int) -> None:
        super().__init__()
        if not width > 0 or 64 * width % 8:
            raise InputError(f"width must be a positive multiple of 1/8, got {width!r}")
        self.input_size = input_size
        in_channels, channels, side = int(STEM * width), int(2 * STEM * width), -(-input_size // 4)
        self.conv1 = nn.Conv2d(3, in_channels, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(in_channels)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        self.stages = len(blocks)
        for stage, count in enumerate(blocks):
            modules = []
            for block in range(count):
                stride = 2 if stage and not block else 1
                modules.append(Bottleneck(in_channels, channels, stride, side))
                in_channels, side = channels * EXPANSION, -(-side // stride)
            self.add_module(f"layer{stage + 1}", nn.Sequential(*modules))
            channels *= 2
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(in_channels, num_classes) if num_classes else nn.Identity()
        self.num_classes = num_classes
        self.num_features = in_channels
        self._initialise()

    def _initialise(self) -> None:
        """As the published code: Kaiming for convolutions but those of the attention, and branches start at zero."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            elif isinstance(module, AxialAttention):
                nn.init.normal_(module.qkv.weight, std=module.qkv.in_channels**-0.5)
            elif isinstance(module, Bottleneck):
                nn.init.zeros_(module.bn2.weight)

    def forward_features(self, x: Tensor) -> Tensor:
        """The last stage's output, (B, num_features, H/32, W/32).

        Raises:
            InputError: the images are of another size than the network is made for.
        """
        if tuple(x.shape[2:]) != (self.input_size, self.input_size):
            raise InputError(
                f"this axial attention takes images of {self.input_size}×{self.input_size}, got "
                f"{x.shape[2]}×{x.shape[3]}; create the network with another input_size"
            )
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        for stage in range(self.stages):
            x = self.get_submodule(f"layer{stage + 1}")(x)
        return x

    def forward(self, x: Tensor) -> Tensor:
        """Logits (B, num_classes) of images (B, 3, H, W); without a classifier, features (B, num_features)."""
        logits: Tensor = self.fc(self.avgpool(self.forward_features(x)).flatten(1))
        return logits


def axial_resnet(depth: str, *, num_classes: int, width: float, input_size: int) -> AxialResNet:
    """Axial-ResNet of the size `depth`; half as wide as a ResNet-50, with an expansion of 2."""
    return AxialResNet(BLOCKS[depth], num_classes, width, input_size)

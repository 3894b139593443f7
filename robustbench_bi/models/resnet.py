"""One ResNet (He et al., CVPR 2016) whose 3×3 is a given layer: ResNet, ResNeXt, FcaNet, RedNet, DDF-ResNet, BiNet.

A block is 1×1, BN, ReLU, the layer, BN, ReLU, 1×1, BN, plus the shortcut, ReLU; the layer carries the stride.
Parameters have the names of torchvision, of FcaNet's and DDF's published code and, but for their prefixes, of RedNet's
in mmcls.

Every builder takes `depth` (a key of `DEPTHS`), `num_classes` (0 leaves the classifier out), `width` and `stem`.
`width` multiplies all channel counts and is a multiple of 1/8.
`stem` is "imagenet" (7×7 with stride 2 and a max-pool with stride 2), "small" (3×3 with stride 2, no max-pool) or
"cifar" (3×3 with stride 1, no max-pool): the first stage sees a quarter of the image's side, half of it, or all of it.
RedNet's stem of three layers does the same with its first stride and its max-pool.

On a CPU they are fastest folded and with channels last in memory, as evaluations run them. BiNet, RedNet and DDF-ResNet
of depth 50 then reach 0.84 of the images a second that their multiply-accumulates let one expect of torchvision's
ResNet-50, treated alike, and 0.77 to 0.81 compiled (two threads, 224 pixels, batches of 32;
`benchmarks/results/networks_prepared.csv`). docs/scale.md says why it is not more.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Protocol

from torch import Tensor, nn

from robustbench_bi.errors import InputError
from robustbench_bi.models.attention import MultiSpectralAttention
from robustbench_bi.models.layers import DDF2d, Involution2d, bivolution_dc, bivolution_dc_ca, conv_bn_relu

DEPTHS = {26: (1, 2, 4, 1), 29: (3, 3, 3), 38: (2, 3, 5, 2), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}
"""Blocks in each stage (26 and 38 as in Ramachandran et al. 2019, Li et al. 2021; 29 as in ResNeXt's for CIFAR)."""

STEM_STRIDES = {"imagenet": (2, 2), "small": (2, 1), "cifar": (1, 1)}
"""Stride of the stem's first convolution and of its max-pool; a pool of stride 1 is left out."""

EXPANSION = 4

Attention = Callable[[int, int], nn.Module]
"""Makes the attention that ends a block, of its output channels and its stage, 0 to 3."""

Between = Callable[[int], nn.Module]
"""Makes what follows a stage, of its output channels."""


class Layer(Protocol):
    """Makes the layer in the middle of a block."""

    def __call__(self, channels: int, *, stride: int) -> nn.Module:
        """A module that maps (B, channels, H, W) to (B, channels, ceil(H / stride), ceil(W / stride))."""


class Bottleneck(nn.Module):
    """1×1, layer, 1×1, and a shortcut that is projected where the shape changes.

    Args:
        in_channels: channels of the input.
        channels: channels of the layer in the middle.
        out_channels: channels of the output.
        stride: stride of the layer.
        layer: makes it.
        attention: what the residual passes through last; None for nothing.
    """

    def __init__(
        self,
        in_channels: int,
        channels: int,
        out_channels: int,
        stride: int,
        layer: Layer,
        attention: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, channels, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = layer(channels, stride=stride)
        self.bn2 = nn.BatchNorm2d(channels)
        # A ReLU of its own, so that it can become one with the layer before it (`fusing`).
        self.relu2 = nn.ReLU(inplace=True)
        self.conv3 = nn.Conv2d(channels, out_channels, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(out_channels)
        self.relu = nn.ReLU(inplace=True)
        self.att = nn.Identity() if attention is None else attention
        self.downsample: nn.Module | None = None
        if stride != 1 or in_channels != out_channels:
            self.downsample = nn.Sequential(
                nn.Conv2d(in_channels, out_channels, 1, stride, bias=False), nn.BatchNorm2d(out_channels)
            )

    def forward(self, x: Tensor) -> Tensor:
        """(B, in_channels, H, W) to (B, out_channels, ceil(H / stride), ceil(W / stride))."""
        shortcut = x if self.downsample is None else self.downsample(x)
        x = self.relu(self.bn1(self.conv1(x)))
        x = self.relu2(self.bn2(self.conv2(x)))
        output: Tensor = self.relu(self.att(self.bn3(self.conv3(x))).add_(shortcut))
        return output


class ResNet(nn.Module):
    """A stem, stages of bottlenecks (`DEPTHS`), global average pooling and a linear classifier.

    Args:
        stem: the stem's modules by name, run in order; they become children of the network.
        stem_channels: what the stem puts out; stage i is 2^i times as wide.
        depths: blocks in each stage.
        layer: makes the layer in the middle of a block.
        num_classes: outputs of the classifier; 0 for none, the network then returns the pooled features.
        layer_ratio: channels of the layer, over those of a ResNet's (2 in ResNeXt 32×4d).
        attention: makes what ends each block; None for nothing.
        between: makes what follows each stage but the last, of its channels; None for nothing.

    Example:
        >>> import torch
        >>> network = resnet(26, num_classes=10, width=0.125, stem="small")
        >>> network(torch.zeros(2, 3, 65, 65)).shape
        torch.Size([2, 10])
    """

    def __init__(
        self,
        stem: Mapping[str, nn.Module],
        stem_channels: int,
        depths: tuple[int, ...],
        layer: Layer,
        num_classes: int,
        layer_ratio: float = 1,
        attention: Attention | None = None,
        between: Between | None = None,
    ) -> None:
        super().__init__()
        self.stem_names = tuple(stem)
        self.stages = len(depths)
        for name, module in stem.items():
            self.add_module(name, module)
        in_channels = stem_channels
        for stage, blocks in enumerate(depths):
            channels = stem_channels << stage
            modules = []
            for block in range(blocks):
                stride = 2 if stage > 0 and block == 0 else 1
                out_channels = channels * EXPANSION
                last = attention and attention(out_channels, stage)
                modules.append(Bottleneck(in_channels, int(channels * layer_ratio), out_channels, stride, layer, last))
                in_channels = out_channels
            self.add_module(f"layer{stage + 1}", nn.Sequential(*modules))
            if between is not None and stage + 1 < len(depths):
                self.add_module(f"bam{stage + 1}", between(in_channels))
        self.between = between is not None
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(in_channels, num_classes) if num_classes else nn.Identity()
        self.num_classes = num_classes
        self.num_features = in_channels

    def forward_features(self, x: Tensor) -> Tensor:
        """The last stage's output; of four stages behind the stem "imagenet", (B, num_features, H/32, W/32)."""
        for name in self.stem_names:
            x = self.get_submodule(name)(x)
        for stage in range(self.stages):
            x = self.get_submodule(f"layer{stage + 1}")(x)
            if self.between and stage + 1 < self.stages:
                x = self.get_submodule(f"bam{stage + 1}")(x)
        return x

    def forward(self, x: Tensor) -> Tensor:
        """Logits (B, num_classes) of images (B, 3, H, W); without a classifier, features (B, num_features)."""
        logits: Tensor = self.fc(self.avgpool(self.forward_features(x)).flatten(1))
        return logits


def resnet(depth: int, *, num_classes: int, width: float, stem: str) -> ResNet:
    """ResNet in the form of torchvision, with the stride in the 3×3 ("v1.5")."""
    return convolutional_network(depth, partial(convolution, groups=1), num_classes, width, stem)


def resnext(depth: int, *, num_classes: int, width: float, stem: str) -> ResNet:
    """ResNeXt 32×4d (Xie et al., CVPR 2017): 32·width groups, so that a group keeps its 4, 8, 16, 32 channels."""
    groups = max(1, round(32 * width))
    return convolutional_network(depth, partial(convolution, groups=groups), num_classes, width, stem, layer_ratio=2)


def fcanet(depth: int, *, num_classes: int, width: float, stem: str) -> ResNet:
    """FcaNet (Qin et al., ICCV 2021): a ResNet with `MultiSpectralAttention` for the map that 224 pixels give."""

    def attention(channels: int, stage: int) -> nn.Module:
        return MultiSpectralAttention(channels, 56 >> stage)

    layer = partial(convolution, groups=1)
    return convolutional_network(depth, layer, num_classes, width, stem, attention=attention)


def rednet(depth: int, *, num_classes: int, width: float, stem: str) -> ResNet:
    """RedNet (Li et al., CVPR 2021): involution 7×7 in the blocks, 3×3 in the stem."""
    return _involution_network(depth, partial(Involution2d, kernel_size=7), num_classes, width, stem)


def ddf_resnet(depth: int, *, num_classes: int, width: float, stem: str, combine: str) -> ResNet:
    """DDF-ResNet (Zhou et al., CVPR 2021)."""
    return convolutional_network(depth, partial(DDF2d, combine=combine), num_classes, width, stem)


def binet_dc(depth: int, *, num_classes: int, width: float, stem: str, **layer: Any) -> ResNet:
    """BiNet (dc): `bivolution_dc` in the blocks, and RedNet's stem, with plain involution; the counts allow either."""
    return _involution_network(depth, partial(bivolution_dc, **layer), num_classes, width, stem)


def binet_dc_ca(depth: int, *, num_classes: int, width: float, stem: str, **layer: Any) -> ResNet:
    """BiNet (dc-ca): `bivolution_dc_ca` in the blocks of a DDF-ResNet."""
    return convolutional_network(depth, partial(bivolution_dc_ca, **layer), num_classes, width, stem)


def convolutional_network(
    depth: int,
    layer: Layer,
    num_classes: int,
    width: float,
    stem: str,
    layer_ratio: float = 1,
    attention: Attention | None = None,
    between: Between | None = None,
) -> ResNet:
    """A `ResNet` behind a stem of one convolution; see there for the arguments."""
    channels = _stem_channels(width)
    stride, pool = _stem_strides(stem)
    kernel_size = 7 if stem == "imagenet" else 3
    modules: dict[str, nn.Module] = {
        "conv1": nn.Conv2d(3, channels, kernel_size, stride, kernel_size // 2, bias=False),
        "bn1": nn.BatchNorm2d(channels),
        "relu": nn.ReLU(inplace=True),
        "maxpool": nn.MaxPool2d(3, pool, 1) if pool > 1 else nn.Identity(),
    }
    network = ResNet(modules, channels, DEPTHS[depth], layer, num_classes, layer_ratio, attention, between)
    _initialise(network)
    return network


def _involution_network(depth: int, layer: Layer, num_classes: int, width: float, stem: str) -> ResNet:
    channels = _stem_channels(width)
    stride, pool = _stem_strides(stem)
    half = channels // 2
    involution_stem = nn.Sequential(
        conv_bn_relu(3, half, 3, stride),
        Involution2d(half, kernel_size=3),
        nn.BatchNorm2d(half),
        nn.ReLU(inplace=True),
        conv_bn_relu(half, channels, 3),
    )
    modules = {"stem": involution_stem, "maxpool": nn.MaxPool2d(3, pool, 1) if pool > 1 else nn.Identity()}
    network = ResNet(modules, channels, DEPTHS[depth], layer, num_classes)
    _initialise(network)
    for module in network.modules():
        if isinstance(module, nn.Conv2d) and module.bias is not None:
            nn.init.zeros_(module.bias)
    return network


def convolution(channels: int, *, stride: int, groups: int) -> nn.Conv2d:
    """The 3×3 of a ResNet."""
    return nn.Conv2d(channels, channels, 3, stride, 1, groups=groups, bias=False)


def _stem_channels(width: float) -> int:
    if not width > 0 or 64 * width % 8:
        raise InputError(f"width must be a positive multiple of 1/8, got {width!r}")
    return int(64 * width)


def _stem_strides(stem: str) -> tuple[int, int]:
    if stem not in STEM_STRIDES:
        raise InputError(f"stem must be one of {', '.join(map(repr, STEM_STRIDES))}, got {stem!r}")
    return STEM_STRIDES[stem]


def _initialise(network: ResNet) -> None:
    """As the published code of both families: Kaiming for convolutions, and each residual branch starts at zero."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        elif isinstance(module, Bottleneck):
            nn.init.zeros_(module.bn3.weight)

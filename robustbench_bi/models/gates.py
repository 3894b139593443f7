"""BAM and CBAM: a channel gate and a spatial gate, after a stage of a ResNet and in each of its blocks.

Names of modules are those of the published code (Jongchan/attention-module).
"""

from collections import OrderedDict
from functools import partial

import torch
from torch import Tensor, nn

from robustbench_bi.models.resnet import ResNet, convolution, convolutional_network

DILATION = 4


class BottleneckAttention(nn.Module):
    """BAM (Park et al., BMVC 2018): y = x · (1 + sigmoid(c · s)), c for each channel, s for each position.

    c is average pool, linear, BN, ReLU, linear; s is 1×1, two 3×3 with dilation 4, each with BN and ReLU, and 1×1. The
    paper adds c and s; the published code, and we, multiply them.

    Args:
        channels: C.
        reduction: both branches have C // reduction channels inside.

    Example:
        >>> import torch
        >>> BottleneckAttention(32)(torch.zeros(2, 32, 5, 5)).shape
        torch.Size([2, 32, 5, 5])
    """

    def __init__(self, channels: int, reduction: int = 16) -> None:
        super().__init__()
        hidden = max(1, channels // reduction)
        self.channel_att, self.spatial_att = nn.Module(), nn.Module()
        self.channel_att.gate_c = nn.Sequential(
            OrderedDict(
                flatten=nn.Flatten(),
                gate_c_fc_0=nn.Linear(channels, hidden),
                gate_c_bn_1=nn.BatchNorm1d(hidden),
                gate_c_relu_1=nn.ReLU(inplace=True),
                gate_c_fc_final=nn.Linear(hidden, channels),
            )
        )
        layers: dict[str, nn.Module] = {
            "gate_s_conv_reduce0": nn.Conv2d(channels, hidden, 1),
            "gate_s_bn_reduce0": nn.BatchNorm2d(hidden),
            "gate_s_relu_reduce0": nn.ReLU(inplace=True),
        }
        for number in range(2):
            layers[f"gate_s_conv_di_{number}"] = nn.Conv2d(hidden, hidden, 3, 1, DILATION, DILATION)
            layers[f"gate_s_bn_di_{number}"] = nn.BatchNorm2d(hidden)
            layers[f"gate_s_relu_di_{number}"] = nn.ReLU(inplace=True)
        layers["gate_s_conv_final"] = nn.Conv2d(hidden, 1, 1)
        self.spatial_att.gate_s = nn.Sequential(OrderedDict(layers))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to the same."""
        channel = self.get_submodule("channel_att.gate_c")(x.mean((2, 3)))
        spatial = self.get_submodule("spatial_att.gate_s")(x)
        output: Tensor = x * (1 + (channel[:, :, None, None] * spatial).sigmoid())
        return output


class ConvolutionalBlockAttention(nn.Module):
    """CBAM (Woo et al., ECCV 2018): a factor for each channel, then one for each position.

    The first is sigmoid(f(mean) + f(maximum)) over the positions, f two linear layers; the second sigmoid(BN(7×7)) of
    the mean and the maximum over the channels.

    Args:
        channels: C.
        bias: whether f has biases, as in the published code; the paper's Table 1 counts none.
        reduction: f has C // reduction channels inside.

    Example:
        >>> import torch
        >>> ConvolutionalBlockAttention(32)(torch.zeros(2, 32, 5, 5)).shape
        torch.Size([2, 32, 5, 5])
    """

    def __init__(self, channels: int, *, bias: bool = False, reduction: int = 16) -> None:
        super().__init__()
        hidden = max(1, channels // reduction)
        self.ChannelGate, self.SpatialGate = nn.Module(), nn.Module()
        self.ChannelGate.mlp = nn.Sequential(
            nn.Flatten(),
            nn.Linear(channels, hidden, bias=bias),
            nn.ReLU(inplace=True),
            nn.Linear(hidden, channels, bias=bias),
        )
        self.SpatialGate.spatial = nn.Sequential(
            OrderedDict(conv=nn.Conv2d(2, 1, 7, padding=3, bias=False), bn=nn.BatchNorm2d(1, momentum=0.01))
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to the same."""
        weigh = self.get_submodule("ChannelGate.mlp")
        x = x * (weigh(x.mean((2, 3))) + weigh(x.amax((2, 3)))).sigmoid()[:, :, None, None]
        squeezed = torch.stack([x.amax(1), x.mean(1)], 1)
        output: Tensor = x * self.get_submodule("SpatialGate.spatial")(squeezed).sigmoid()
        return output


def bam_resnet(depth: int, *, num_classes: int, width: float, stem: str) -> ResNet:
    """A ResNet with `BottleneckAttention` after each stage but the last."""
    layer = partial(convolution, groups=1)
    return convolutional_network(depth, layer, num_classes, width, stem, between=BottleneckAttention)


def cbam_resnet(depth: int, *, num_classes: int, width: float, stem: str, gate_bias: bool) -> ResNet:
    """A ResNet with `ConvolutionalBlockAttention` at the end of each block."""

    def attention(channels: int, stage: int) -> nn.Module:
        return ConvolutionalBlockAttention(channels, bias=gate_bias)

    layer = partial(convolution, groups=1)
    return convolutional_network(depth, layer, num_classes, width, stem, attention=attention)

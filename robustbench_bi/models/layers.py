"""The layers that take the place of a bottleneck's 3×3: involution, the decoupled dynamic filter, Bi-volution.

Each maps (B, C, H, W) to (B, C, ceil(H / stride), ceil(W / stride)). Module names follow the published code of
involution (d-li14/involution, mmcls) and DDF (theFoxofSky/ddfnet), so that their checkpoints load.

No code of Bi-volution was ever released. What stands here is a reconstruction from the paper's text and from the
parameter and operation counts of its Tables 1 and 4; where those leave a choice, the choice is an argument.
"""

from collections import OrderedDict

import torch
from torch import Tensor, nn

from robustbench_bi.errors import InputError
from robustbench_bi.ops.dynamic_filter import dynamic_filter

FILTER_GAIN = 2**0.5
"""Kaiming's gain for a ReLU; FilterNorm scales by it, divided by the kernel size."""


def group_count(channels: int, group_channels: int) -> int:
    """The number of groups of `group_channels` channels; a narrower layer is one group.

    Raises:
        InputError: the channels cannot be divided so.

    Example:
        >>> group_count(64, 16), group_count(16, 32)
        (4, 1)
    """
    if group_channels < 1 or (channels > group_channels and channels % group_channels):
        raise InputError(f"{channels} channels cannot be divided into groups of {group_channels}; choose another width")
    return max(1, channels // group_channels)


class FilterNorm(nn.Module):
    """Standardise filters over their K·K taps, then scale them (DDF, Zhou et al. 2021, equation 4 and its code).

    y = a · (f - mean(f)) / (std(f) + 1e-10) over the taps of one filter, with the unbiased standard deviation.
    a is sqrt(2)/K; with `channels` it is a learned vector `std` of C·K·K instead, drawn from N(0, (sqrt(2)/K)²).
    It is computed in float32 when the filters are narrower.

    Args:
        kernel_size: K, more than 1.
        channels: C for the filters of the channel branch, (B, C·K·K, 1, 1), which have learned scales; None for those
            of the spatial branch, (B, G·K·K, Ho, Wo), which have none.

    Example:
        >>> import torch
        >>> filters = FilterNorm(3)(torch.randn(2, 9, 5, 5))
        >>> round(filters.std(1).mean().item(), 4)
        0.4714
    """

    def __init__(self, kernel_size: int, channels: int | None = None) -> None:
        super().__init__()
        if kernel_size < 2:
            raise InputError(
                f"FilterNorm divides by a filter's spread, and one of {kernel_size}×{kernel_size} has none; "
                "kernel_size must be at least 3"
            )
        self.taps = kernel_size**2
        self.scale = FILTER_GAIN / kernel_size
        self.std = None if channels is None else nn.Parameter(torch.randn(channels * self.taps) * self.scale)

    def forward(self, filters: Tensor) -> Tensor:
        """(B, …·K·K, H, W) to the same."""
        wide = filters.float() if filters.dtype in (torch.float16, torch.bfloat16) else filters
        taps = wide.view(wide.shape[0], -1, self.taps, *wide.shape[2:])
        centred = taps - taps.mean(2, keepdim=True)
        # torch.std over this axis takes several times as long on the CPU.
        deviation = torch.linalg.vector_norm(centred, dim=2, keepdim=True) / (self.taps - 1) ** 0.5
        normalised = (centred / (deviation + 1e-10)).flatten(1, 2)
        scale = self.scale if self.std is None else self.std[:, None, None]
        scaled: Tensor = normalised * scale
        return scaled.to(filters.dtype)


class SpatialAugmentedKernel(nn.Module):
    """SAKG, the paper's Spatial Augmented Kernel Generation (section 3.2): context for the 1×1 that makes a filter.

    A depthwise Δ×Δ convolution adds its neighbourhood to each position; global average pooling and a 1×1
    convolution add the whole image to each channel. The paper counts Δ²·h·w·c + h·w·c + c² operations, which leaves
    no room for a pointwise convolution after the depthwise one. How the two are joined it does not say, nor do the
    counts: "sum" adds them, "gate" multiplies by the sigmoid of the second.

    Args:
        channels: C.
        delta: Δ, odd.
        stride: stride of the depthwise convolution.
        dilation: dilation of the depthwise convolution (Table 4, "3×3, 2").
        fusion: "sum" or "gate".
        bias: whether both convolutions have one.

    Example:
        >>> import torch
        >>> SpatialAugmentedKernel(8, delta=5, stride=2)(torch.zeros(1, 8, 7, 7)).shape
        torch.Size([1, 8, 4, 4])
    """

    def __init__(
        self,
        channels: int,
        delta: int = 3,
        *,
        stride: int = 1,
        dilation: int = 1,
        fusion: str = "sum",
        bias: bool = False,
    ) -> None:
        super().__init__()
        check_odd("delta", delta)
        if fusion not in ("sum", "gate"):
            raise InputError(f"fusion must be 'sum' or 'gate', got {fusion!r}")
        self.fusion = fusion
        self.spatial = nn.Conv2d(
            channels, channels, delta, stride, dilation * (delta // 2), dilation, groups=channels, bias=bias
        )
        self.channel = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(channels, channels, 1, bias=bias))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to (B, C, ceil(H / stride), ceil(W / stride))."""
        spatial: Tensor = self.spatial(x)
        channel: Tensor = self.channel(x)
        return spatial.add_(channel) if self.fusion == "sum" else spatial * channel.sigmoid()


class Involution2d(nn.Module):
    """Involution (Li et al., CVPR 2021): the filter of a position is made from that position alone.

    W = Conv1×1(ReLU(BN(Conv1×1(pool(x))))), then `dynamic_filter`; pool averages stride×stride when stride > 1.
    We pool with partial windows at the border, the published code without them; on sides that the stride divides
    both are the same, on others the published code fails.

    Args:
        channels: C.
        kernel_size: K, odd.
        stride: stride.
        group_channels: channels that share a filter; a layer with fewer is one group.
        reduction: the bottleneck of the filter's generator has C // reduction channels; None leaves it out, so that one
            1×1 convolution makes the filter (the best fit for BiNet (dc)).
        sakg: what prepares the pooled input for the generator (Bi-volution); None for involution itself.

    Example:
        >>> import torch
        >>> Involution2d(32, stride=2)(torch.zeros(1, 32, 9, 9)).shape
        torch.Size([1, 32, 5, 5])
    """

    def __init__(
        self,
        channels: int,
        kernel_size: int = 7,
        stride: int = 1,
        *,
        group_channels: int = 16,
        reduction: int | None = 4,
        sakg: nn.Module | None = None,
    ) -> None:
        super().__init__()
        check_odd("kernel_size", kernel_size)
        self.kernel_size, self.stride = kernel_size, stride
        hidden = channels if reduction is None else max(1, channels // reduction)
        self.pool = nn.AvgPool2d(stride, ceil_mode=True) if stride > 1 else nn.Identity()
        self.sakg = nn.Identity() if sakg is None else sakg
        self.conv1 = nn.Identity() if reduction is None else conv_bn_relu(channels, hidden, 1)
        groups = group_count(channels, group_channels)
        self.group_channels = channels // groups
        self.conv2 = nn.Sequential(OrderedDict(conv=nn.Conv2d(hidden, groups * kernel_size**2, 1)))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to (B, C, ceil(H / stride), ceil(W / stride))."""
        filters = self.conv2(self.conv1(self.sakg(self.pool(x))))
        return dynamic_filter(x, filters, kernel_size=self.kernel_size, stride=self.stride)


class DDF2d(nn.Module):
    """Decoupled dynamic filter (Zhou et al., CVPR 2021): one filter for each position, and one for each channel.

    The spatial one is FilterNorm(Conv1×1(x)), the channel one FilterNorm(Conv1×1(ReLU(Conv1×1(mean of x)))), and
    `dynamic_filter` multiplies (or adds) them.

    Args:
        channels: C.
        kernel_size: K, odd, at least 3.
        stride: stride.
        combine: "mul" (the published networks) or "add".
        squeeze: the channel branch has int(squeeze · C) channels inside.
        sakg: what prepares the input for the spatial branch (Bi-volution). It takes the stride over from the 1×1.

    Example:
        >>> import torch
        >>> DDF2d(16, stride=2)(torch.zeros(1, 16, 9, 9)).shape
        torch.Size([1, 16, 5, 5])
    """

    def __init__(
        self,
        channels: int,
        kernel_size: int = 3,
        stride: int = 1,
        *,
        combine: str = "mul",
        squeeze: float = 0.2,
        sakg: nn.Module | None = None,
    ) -> None:
        super().__init__()
        if combine not in ("mul", "add"):
            raise InputError(f"combine must be 'mul' or 'add', got {combine!r}")
        check_odd("kernel_size", kernel_size)
        self.kernel_size, self.stride, self.combine = kernel_size, stride, combine
        taps, hidden = kernel_size**2, max(1, int(squeeze * channels))
        self.sakg = nn.Identity() if sakg is None else sakg
        self.spatial_branch = nn.Sequential(
            nn.Conv2d(channels, taps, 1, stride if sakg is None else 1), FilterNorm(kernel_size)
        )
        self.channel_branch = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Conv2d(channels, hidden, 1),
            nn.ReLU(inplace=True),
            nn.Conv2d(hidden, channels * taps, 1),
            FilterNorm(kernel_size, channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to (B, C, ceil(H / stride), ceil(W / stride))."""
        spatial = self.spatial_branch(self.sakg(x))
        channel = self.channel_branch(x).view(*x.shape[:2], self.kernel_size, self.kernel_size)
        return dynamic_filter(
            x, spatial, channel, kernel_size=self.kernel_size, stride=self.stride, combine=self.combine
        )


class Bivolution2d(nn.Module):
    """Bi-volution (section 3.2, equation 6): y = f(x) * x + g(x), a dynamic and a static convolution side by side.

    Args:
        dynamic: f(x) * x; an `Involution2d` in the design dc, a `DDF2d` in dc-ca, each with its SAKG.
        static: g, a grouped convolution of the same stride; None leaves the branch out (the rows of Table 3 without
            "dual-branch", and Table 4).

    Example:
        >>> import torch
        >>> bivolution_dc_ca(16, stride=2)(torch.zeros(1, 16, 9, 9)).shape
        torch.Size([1, 16, 5, 5])
    """

    def __init__(self, dynamic: nn.Module, static: nn.Module | None) -> None:
        super().__init__()
        self.dynamic = dynamic
        self.static = static

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to (B, C, ceil(H / stride), ceil(W / stride))."""
        dynamic: Tensor = self.dynamic(x)
        return dynamic if self.static is None else dynamic.add_(self.static(x))


def bivolution_dc(
    channels: int,
    stride: int = 1,
    *,
    kernel_size: int = 5,
    group_channels: int = 16,
    reduction: int | None = None,
    sakg: bool = True,
    delta: int = 3,
    sakg_dilation: int = 1,
    fusion: str = "sum",
    dual_branch: bool = True,
    static_kernel: int = 1,
    static_groups: int | None = None,
    bias: bool = False,
) -> Bivolution2d:
    """Bi-volution over involution, the paper's "dc". The defaults are the reading that fits its counts best.

    That reading has K = 5 and one 1×1 convolution as the generator; the paper's "we follow Li et al." would be K = 7
    with reduction 4, which comes 0.6 to 1.2 million parameters short of Table 1.

    Args:
        channels: C.
        stride: stride.
        kernel_size: K of the dynamic filter.
        group_channels: channels that share a dynamic filter.
        reduction: as in `Involution2d`.
        sakg: whether SAKG prepares the generator's input.
        delta: Δ of SAKG.
        sakg_dilation: dilation of SAKG's depthwise convolution.
        fusion: "sum" or "gate", in SAKG.
        dual_branch: whether there is a static branch.
        static_kernel: kernel size of the static branch.
        static_groups: groups of the static branch; None makes groups of 16 channels.
        bias: whether SAKG's convolutions and the static branch have biases.

    Returns:
        A layer; stride 1 in SAKG, since the generator's input is pooled.

    Example:
        >>> sum(parameter.numel() for parameter in bivolution_dc(64).parameters())
        12196
    """
    context = (
        SpatialAugmentedKernel(channels, delta, dilation=sakg_dilation, fusion=fusion, bias=bias) if sakg else None
    )
    dynamic = Involution2d(
        channels, kernel_size, stride, group_channels=group_channels, reduction=reduction, sakg=context
    )
    groups = group_count(channels, 16) if static_groups is None else static_groups
    return Bivolution2d(
        dynamic, _grouped_convolution(channels, stride, static_kernel, groups, bias) if dual_branch else None
    )


def bivolution_dc_ca(
    channels: int,
    stride: int = 1,
    *,
    kernel_size: int = 3,
    combine: str = "mul",
    sakg: bool = True,
    delta: int = 5,
    sakg_dilation: int = 1,
    fusion: str = "sum",
    dual_branch: bool = True,
    static_kernel: int = 3,
    static_groups: int | None = None,
    static_bias: bool = True,
) -> Bivolution2d:
    """Bi-volution over the decoupled dynamic filter, the paper's "dc-ca".

    Args:
        channels: C.
        stride: stride.
        kernel_size: K of the dynamic filter.
        combine: "mul" or "add", as in `DDF2d`.
        sakg: whether SAKG prepares the input of the spatial branch.
        delta: Δ of SAKG; 5 fits Table 1, Table 3 has 3, Table 4 varies it.
        sakg_dilation: dilation of SAKG's depthwise convolution.
        fusion: "sum" or "gate", in SAKG.
        dual_branch: whether there is a static branch.
        static_kernel: kernel size of the static branch.
        static_groups: groups of the static branch; None makes groups of 32 channels.
        static_bias: whether the static branch has a bias.

    Returns:
        A layer; SAKG carries its stride.

    Example:
        >>> sum(parameter.numel() for parameter in bivolution_dc_ca(64).parameters())
        33621
    """
    context = (
        SpatialAugmentedKernel(channels, delta, stride=stride, dilation=sakg_dilation, fusion=fusion) if sakg else None
    )
    dynamic = DDF2d(channels, kernel_size, stride, combine=combine, sakg=context)
    groups = group_count(channels, 32) if static_groups is None else static_groups
    return Bivolution2d(
        dynamic, _grouped_convolution(channels, stride, static_kernel, groups, static_bias) if dual_branch else None
    )


def _grouped_convolution(channels: int, stride: int, kernel_size: int, groups: int, bias: bool) -> nn.Conv2d:
    if groups < 1 or channels % groups:
        raise InputError(f"static_groups must divide the {channels} channels of the layer, got {groups}")
    check_odd("static_kernel", kernel_size)
    return nn.Conv2d(channels, channels, kernel_size, stride, kernel_size // 2, groups=groups, bias=bias)


def check_odd(name: str, value: int) -> None:
    """Refuse what is no positive odd number.

    Raises:
        InputError: it is something else.
    """
    if value < 1 or value % 2 == 0:
        raise InputError(f"{name} must be a positive odd integer, got {value}")


def conv_bn_relu(channels: int, output_channels: int, kernel_size: int, stride: int = 1) -> nn.Sequential:
    """Convolution, batch normalisation, ReLU, under the names of mmcv's ConvModule."""
    convolution = nn.Conv2d(channels, output_channels, kernel_size, stride, kernel_size // 2, bias=False)
    normalisation = nn.BatchNorm2d(output_channels)
    return nn.Sequential(OrderedDict(conv=convolution, bn=normalisation, relu=nn.ReLU(inplace=True)))

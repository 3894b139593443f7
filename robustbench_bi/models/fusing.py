"""Layers with dynamic filters, each with what follows it, in one pass over memory: inference on a CPU.

As they stand in a network, such layers are thirty operators one after another, most of which only read and write what
the one before wrote: averages, sums, norms, the batch norm and the ReLU behind. Here they are the convolutions, and one
compiled kernel that does the rest.

Sums are made in another order, and linear operators that follow each other become one: SAKG adds a linear function of
the image's mean to what a 1×1 convolution takes, and so a linear function of it, a vector per image, to what that puts
out.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from robustbench_bi.models.exchanging import exchange
from robustbench_bi.models.folding import scale_and_shift
from robustbench_bi.models.layers import Bivolution2d, DDF2d, Involution2d, SpatialAugmentedKernel
from robustbench_bi.models.resnet import Bottleneck
from robustbench_bi.ops.backends import choose_backend, load
from robustbench_bi.ops.dynamic_filter import MODULES

LANES = 16
"""Channels that share a filter come in multiples of this, as the kernel wants them."""


class FusedLayer(nn.Module):
    """A layer with a dynamic filter, the batch norm that follows it, and perhaps a ReLU.

    Args:
        layer: an `Involution2d`, a `DDF2d`, or a `Bivolution2d` with one of them, in float32 on the CPU.
        norm: a batch norm in evaluation mode; None for none.
        rectified: whether a ReLU follows.

    Example:
        >>> layer, images = DDF2d(16).requires_grad_(False), torch.randn(2, 16, 8, 8)
        >>> torch.allclose(FusedLayer(layer)(images), layer(images), atol=1e-5)
        True
    """

    def __init__(self, layer: Any, norm: Any = None, rectified: bool = False) -> None:
        super().__init__()
        # Any, since mypy takes what hangs on a module for tensors or modules.
        static: Any = layer.static if isinstance(layer, Bivolution2d) else None
        dynamic: Any = layer.dynamic if isinstance(layer, Bivolution2d) else layer
        kernel_size: int = dynamic.kernel_size
        self.rectified = rectified
        self.options = kernel_size, dynamic.stride, getattr(dynamic, "combine", "mul")
        if isinstance(dynamic, DDF2d):
            self._take_decoupled(dynamic, kernel_size**2)
        else:
            self._take_involution(dynamic)
        channels = _channels(dynamic)
        scale, shift = (torch.ones(channels), torch.zeros(channels)) if norm is None else scale_and_shift(norm)
        self.static: nn.Module | None = None
        if static is not None:
            self.static = _convolution(static, static.weight.double() * scale.view(-1, 1, 1, 1))
            shift = shift if static.bias is None else shift + static.bias.double() * scale
        self.follows = scale.float(), shift.float()

    def _take_decoupled(self, dynamic: Any, taps: int) -> None:
        generator, norm = dynamic.spatial_branch
        _, squeeze, _, excite, channel_norm = dynamic.channel_branch
        self.pool: nn.Module = nn.Identity()
        self._take_generator(dynamic.sakg, nn.Identity(), generator)
        self.gain: float = norm.scale
        # The kernel wants the channels of a tap one after another.
        excite = _linear(_by_tap(excite.weight, taps), _by_tap(excite.bias, taps))
        self.channel: nn.Module | None = nn.Sequential(
            _linear(squeeze.weight, squeeze.bias), nn.ReLU(inplace=True), excite
        )
        self.channel_scale: Tensor | None = _by_tap(channel_norm.std, taps)

    def _take_involution(self, dynamic: Any) -> None:
        self.pool = dynamic.pool
        self._take_generator(dynamic.sakg, dynamic.conv1, dynamic.conv2.conv)
        self.gain, self.channel, self.channel_scale = 0.0, None, None

    def _take_generator(self, sakg: Any, between: nn.Module, last: Any) -> None:
        """What makes the filters; of SAKG in front of the last convolution, the image's share is a linear layer."""
        self.context: nn.Module | None = None
        if isinstance(sakg, SpatialAugmentedKernel) and sakg.fusion == "sum" and isinstance(between, nn.Identity):
            channel: Any = sakg.channel[1]
            weight: Tensor = last.weight.double().flatten(1)
            shared: Tensor = last.bias.double()
            if channel.bias is not None:
                shared = shared + weight @ channel.bias.double()
            self.context = _linear(weight @ channel.weight.double().flatten(1), shared)
            sakg, last = sakg.spatial, _convolution(last, last.weight)
        layers = [sakg, between, last]
        self.generator = nn.Sequential(*(module for module in layers if not isinstance(module, nn.Identity)))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to (B, C, ceil(H / stride), ceil(W / stride)), the channels last in memory."""
        x = x.contiguous(memory_format=torch.channels_last)
        pooled = self.pool(x)
        spatial = self.generator(pooled).contiguous(memory_format=torch.channels_last)
        context = channel = None
        if self.context is not None or self.channel is not None:
            mean = pooled.mean((2, 3))
            context = None if self.context is None else self.context(mean)
            channel = None if self.channel is None else self.channel(mean)
        static = None if self.static is None else self.static(x).contiguous(memory_format=torch.channels_last)
        filters = x, spatial, context, self.gain, channel, self.channel_scale
        output: Tensor = load(MODULES, "numba", "layer")(*filters, *self.follows, static, self.rectified, *self.options)
        return output


def fuse(network: nn.Module, images: Tensor) -> int:
    """Fuse a network's layers with dynamic filters in place, where it is on a CPU and stays the same function.

    Args:
        network: in evaluation mode, in float32; no other code may hold it, since its layers are exchanged.
        images: (B, C, H, W), as the network takes them, to try it on.

    Returns:
        How many layers were fused.

    Example:
        >>> network = nn.Sequential(nn.Conv2d(3, 16, 1), DDF2d(16)).eval().requires_grad_(False)
        >>> fuse(network, torch.randn(2, 3, 8, 8))
        1
    """
    if images.device.type != "cpu" or choose_backend(None, images.device, MODULES) != "numba":
        return 0
    found = list(_layers(network))

    def make() -> tuple[Any, dict[str, nn.Module]]:
        modules: dict[str, nn.Module] = {}
        for name, norm, relu in found:
            following = network.get_submodule(norm) if norm else None
            modules[name] = FusedLayer(network.get_submodule(name), following, bool(relu))
            modules |= {place: nn.Identity() for place in (norm, relu) if place}
        return network(images), modules

    return len(found) if found and exchange(network, images, make) else 0


def _layers(network: nn.Module) -> Iterator[tuple[str, str, str]]:
    """The layers that can be fused, by name, each with the batch norm and the ReLU that follow, or empty names."""
    for name, module in network.named_modules():
        if type(module) is Bottleneck:
            following = [f"{name}.{part}".removeprefix(".") for part in ("conv2", "bn2", "relu2")]
        elif type(module) is nn.Sequential:
            following = [f"{name}.{part}".removeprefix(".") for part in module._modules]
        else:
            continue
        for place, layer in enumerate(following):
            if not _can_be_fused(network.get_submodule(layer)):
                continue
            norm, relu = [*following[place + 1 : place + 3], "", ""][:2]
            if not norm or not _is_batch_norm(network.get_submodule(norm)):
                norm = relu = ""
            elif not relu or not _is_plain(network.get_submodule(relu), nn.ReLU):
                relu = ""
            yield layer, norm, relu


def _can_be_fused(layer: Any) -> bool:
    if type(layer) is Bivolution2d:
        return _can_be_fused(layer.dynamic) and _is_plain(layer, Bivolution2d)
    if not _is_plain(layer, DDF2d) and not _is_plain(layer, Involution2d):
        return False
    if any(parameter.dtype != torch.float32 for parameter in layer.parameters()):
        return False
    sharing: int = _channels(layer) if type(layer) is DDF2d else layer.group_channels
    return sharing % LANES == 0


def _channels(dynamic: Any) -> int:
    branch = getattr(dynamic, "channel_branch", None)
    if branch is not None:
        return int(branch[1].in_channels)
    groups: int = dynamic.conv2.conv.out_channels // dynamic.kernel_size**2
    return groups * int(dynamic.group_channels)


def _is_batch_norm(module: Any) -> bool:
    """Whether it is one whose statistics do not depend on the batch."""
    return _is_plain(module, nn.BatchNorm2d) and module.running_var is not None


def _is_plain(module: nn.Module, kind: type[nn.Module]) -> bool:
    """Whether a module is of that class and in evaluation mode, and nothing else hangs on it."""
    hooked = any(part._forward_hooks or part._forward_pre_hooks for part in module.modules())
    return type(module) is kind and not module.training and not hooked


def _convolution(like: Any, weight: Tensor) -> nn.Conv2d:
    """A convolution without a bias."""
    how = like.kernel_size, like.stride, like.padding, like.dilation, like.groups
    made = nn.Conv2d(like.in_channels, like.out_channels, *how, bias=False, padding_mode=like.padding_mode)
    made.weight = _constant(weight)
    return made


def _linear(weight: Tensor, bias: Tensor) -> nn.Linear:
    """A linear layer; a 1×1 convolution's weight counts as one's, too."""
    made = nn.Linear(weight.shape[1], weight.shape[0])
    made.weight, made.bias = _constant(weight.flatten(1)), _constant(bias)
    return made


def _constant(values: Tensor) -> nn.Parameter:
    return nn.Parameter(values.detach().float().contiguous(), requires_grad=False)


def _by_tap(values: Tensor, taps: int) -> Tensor:
    """(C·K·K, …), with the taps of a channel one after another, to the channels of a tap one after another."""
    return values.detach().view(-1, taps, *values.shape[1:]).transpose(0, 1).flatten(0, 1).contiguous()

"""Layers with dynamic filters, each with what follows it, in one pass over memory: inference on a CPU.

As they stand in a network, such layers are thirty operators one after another, most of which only read and write what
the one before wrote: averages, sums, norms, the batch norm and the ReLU behind. Here one compiled kernel does all but
the averages and the larger convolutions; in a bottleneck, it does all from there to the end.

Sums are made in another order, and linear operators that follow each other become one: SAKG adds a linear function of
the image's mean to what a 1×1 convolution takes, and so a linear function of it, a vector per image, to what that puts
out; and the mean over a filter's taps, which FilterNorm takes off, is taken off the convolution that makes them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from robustbench_bi.models.exchanging import exchange
from robustbench_bi.models.folding import scale_and_shift
from robustbench_bi.models.layers import Bivolution2d, DDF2d, Involution2d, SpatialAugmentedKernel
from robustbench_bi.models.resnet import Bottleneck
from robustbench_bi.ops.backends import choose_backend, load
from robustbench_bi.ops.dynamic_filter import MODULES

LANES = 16
"""Channels that share a filter come in multiples of this, as the kernel wants them."""


class FusedLayer(nn.Module):
    """A layer with a dynamic filter, and what follows it: a batch norm, a ReLU, the end of a bottleneck.

    Args:
        layer: an `Involution2d`, a `DDF2d`, or a `Bivolution2d` with one of them, in float32 on the CPU.
        norm: a batch norm in evaluation mode; None for none.
        rectified: whether a ReLU follows.
        last: weight (K, C) and bias (K,) of a 1×1 convolution, to which a shortcut is added, and a ReLU; None for none.

    Example:
        >>> layer, images = DDF2d(16).requires_grad_(False), torch.randn(2, 16, 8, 8)
        >>> torch.allclose(FusedLayer(layer)(images), layer(images), atol=1e-5)
        True
    """

    def __init__(
        self, layer: Any, norm: Any = None, rectified: bool = False, last: tuple[Tensor, Tensor] | None = None
    ) -> None:
        super().__init__()
        # Any, since mypy takes what hangs on a module for tensors or modules.
        static: Any = layer.static if isinstance(layer, Bivolution2d) else None
        dynamic: Any = layer.dynamic if isinstance(layer, Bivolution2d) else layer
        channels, decoupled = _channels(dynamic), isinstance(dynamic, DDF2d)
        weights: dict[str, Any] = {}
        self.pool: nn.Module | None = None if decoupled else _unless_identity(dynamic.pool)
        base = self._take_generator(dynamic, weights)
        self.squeeze: nn.Parameter | None = None
        if decoupled:
            self._take_channel_branch(dynamic, weights)
        scale, shift = (torch.ones(channels), torch.zeros(channels)) if norm is None else scale_and_shift(norm)
        options = dynamic.kernel_size, dynamic.stride, 1 if decoupled else channels // dynamic.group_channels
        static_options = 1, 1
        if static is not None:
            static_options = static.kernel_size[0], static.groups
            weight = static.weight.double() * scale.view(-1, 1, 1, 1)
            shift = shift if static.bias is None else shift + static.bias.double() * scale
            # (groups, taps · channels of the group, its channels)
            by_group = weight.flatten(2).unflatten(0, (static.groups, -1)).permute(0, 3, 2, 1)
            weights["static"] = by_group.flatten(1, 2)
        weights |= {"scale": scale, "shift": shift, "least": 0 if rectified else -np.inf}
        if last is not None:
            weights |= {"last": last[0].T, "last_shift": last[1]}
        geometry = *options, getattr(dynamic, "combine", "mul"), base, static_options
        self.geometry = load(MODULES, "numba", "LayerGeometry")(*geometry)
        self.weights = load(MODULES, "numba", "layer_weights")(**weights)

    def _take_generator(self, dynamic: Any, weights: dict[str, Any]) -> tuple[int, int, int]:
        """What makes the filters; of SAKG in front of their convolution, the image's share is a linear layer.

        Returns:
            Kernel size, stride and dilation of what the kernel begins with.
        """
        decoupled = isinstance(dynamic, DDF2d)
        generator: Any = dynamic.spatial_branch[0] if decoupled else dynamic.conv2.conv
        between: Any = nn.Identity() if decoupled else dynamic.conv1
        sakg: Any = dynamic.sakg
        weight: Tensor = generator.weight.double().flatten(1)
        shift, of_mean = generator.bias.double(), None
        base = 1, generator.stride[0], 1
        self.base: nn.Module | None = _unless_identity(sakg)
        if isinstance(sakg, SpatialAugmentedKernel) and sakg.fusion == "sum" and isinstance(between, nn.Identity):
            spatial: Any = sakg.spatial
            channel: Any = sakg.channel[1]
            self.base, base = None, (spatial.kernel_size[0], spatial.stride[0], spatial.dilation[0])
            weights["depthwise"] = spatial.weight.flatten(1).T
            for convolution in (spatial, channel):
                if convolution.bias is not None:
                    shift = shift + weight @ convolution.bias.double()
            of_mean = weight @ channel.weight.double().flatten(1)
        elif not isinstance(between, nn.Identity):
            hidden, hidden_shift = _with_norm(between.conv, between.bn)
            weights["hidden"], weights["hidden_shift"] = _filled_up(hidden).T, _filled_up(hidden_shift)
            weight = F.pad(weight, (0, -weight.shape[1] % LANES))
        if decoupled:
            weights["gain"] = dynamic.spatial_branch[1].scale
            weight, shift = weight - weight.mean(0), shift - shift.mean()
            of_mean = None if of_mean is None else of_mean - of_mean.mean(0)
        weights["filters"] = _filled_up(weight).T
        self.shift = _constant(_filled_up(shift)[None])
        self.context = None if of_mean is None else _constant(_filled_up(of_mean))
        return base

    def _take_channel_branch(self, dynamic: Any, weights: dict[str, Any]) -> None:
        _, squeeze, _, excite, norm = dynamic.channel_branch
        taps: int = norm.taps
        self.squeeze, self.squeeze_bias = _constant(squeeze.weight.flatten(1)), _constant(squeeze.bias)
        # The kernel wants the channels of a tap one after another.
        self.excite = _constant(_by_tap(excite.weight, taps).flatten(1))
        self.excite_bias = _constant(_by_tap(excite.bias, taps))
        weights["channel_scale"] = _by_tap(norm.std, taps)

    def forward(self, x: Tensor, shortcut: Tensor | None = None, mean: Tensor | None = None) -> Tensor:
        """(B, C, H, W) to (B, C, ceil(H / stride), ceil(W / stride)), the channels last in memory.

        With a last convolution, to (B, K, …), as the shortcut that is added. `mean` is that of x over the pixels, for
        those who know it.
        """
        x = _channels_last(x)
        base = x if self.pool is None else _channels_last(self.pool(x))
        context: Tensor = self.shift
        channel = None
        if self.context is not None or self.squeeze is not None:
            if mean is None or self.pool is not None:
                mean = base.mean((2, 3))
            if self.context is not None:
                context = F.linear(mean, self.context, self.shift[0])
            if self.squeeze is not None:
                squeezed = F.linear(mean, self.squeeze, self.squeeze_bias).relu_()
                channel = F.linear(squeezed, self.excite, self.excite_bias)
        base = base if self.base is None else _channels_last(self.base(base))
        shortcut = None if shortcut is None else _channels_last(shortcut)
        given = x, base, context, channel, shortcut
        output: Tensor = load(MODULES, "numba", "layer")(*given, self.weights, self.geometry)
        return output


class FusedConv2d(nn.Module):
    """A 1×1 convolution of stride 1, the batch norm that may follow it, and perhaps a ReLU.

    Args:
        convolution: without groups, in float32 on the CPU.
        norm: a batch norm in evaluation mode, or an `nn.Identity`.
        rectified: whether a ReLU follows.
    """

    def __init__(self, convolution: Any, norm: Any, rectified: bool) -> None:
        super().__init__()
        weight, bias = _with_norm(convolution, norm)
        self.weights = load(MODULES, "numba", "matrix_weights")(weight.T), bias.float().numpy()
        self.rectified = rectified

    def forward(self, x: Tensor, averaged: bool = False) -> tuple[Tensor, Tensor | None]:
        """(B, C, H, W) to (B, K, H, W), and where it is wanted, the mean over the pixels (B, K)."""
        result: tuple[Tensor, Tensor | None] = load(MODULES, "numba", "convolve")(
            _channels_last(x), *self.weights, self.rectified, averaged
        )
        return result


class FusedBottleneck(nn.Module):
    """A bottleneck in which the layer is one with what follows it, and so is the first convolution if it is small.

    Args:
        block: in evaluation mode, with a layer that can be fused and without attention.
    """

    def __init__(self, block: Any) -> None:
        super().__init__()
        self.conv1, self.bn1, self.relu = block.conv1, block.bn1, block.relu
        if block.conv1.weight.numel() <= load(MODULES, "numba", "SMALL"):
            self.conv1 = FusedConv2d(block.conv1, block.bn1, True)
        self.conv2 = FusedLayer(block.conv2, block.bn2, True, _with_norm(block.conv3, block.bn3))
        self.downsample = block.downsample
        self.averaged = self.conv2.context is not None or self.conv2.squeeze is not None

    def forward(self, x: Tensor) -> Tensor:
        """As the bottleneck's."""
        shortcut, mean = x if self.downsample is None else self.downsample(x), None
        if isinstance(self.conv1, FusedConv2d):
            x, mean = self.conv1(x, self.averaged)
        else:
            x = self.relu(self.bn1(self.conv1(x)))
        output: Tensor = self.conv2(x, shortcut, mean)
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
    blocks = [name for name, module in network.named_modules() if name and _is_fusible(module)]
    layers = [found for found in _layers(network) if found[0].rpartition(".")[0] not in blocks]

    def make() -> tuple[Any, dict[str, nn.Module]]:
        modules: dict[str, nn.Module] = {name: FusedBottleneck(network.get_submodule(name)) for name in blocks}
        for name, norm, relu in layers:
            following = network.get_submodule(norm) if norm else None
            modules[name] = FusedLayer(network.get_submodule(name), following, bool(relu))
            modules |= {place: nn.Identity() for place in (norm, relu) if place}
        return network(images), modules

    found = len(blocks) + len(layers)
    return found if found and exchange(network, images, make) else 0


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


def _is_fusible(block: Any) -> bool:
    """Whether a module is a bottleneck of which all from its layer on can become one."""
    if not _is_plain(block, Bottleneck) or not _can_be_fused(block.conv2) or not _is_batch_norm(block.bn2):
        return False
    if not type(block.relu) is type(block.relu2) is nn.ReLU or type(block.att) is not nn.Identity:
        return False
    pairs = (block.conv1, block.bn1), (block.conv3, block.bn3)
    return all(_is_pointwise(convolution) and _may_follow(norm) for convolution, norm in pairs)


def _is_pointwise(module: Any) -> bool:
    """Whether it is a 1×1 convolution as the kernel wants it."""
    if not _is_plain(module, nn.Conv2d) or not module.kernel_size == module.stride == (1, 1) or module.groups > 1:
        return False
    whole: bool = module.out_channels % LANES == 0 and module.padding in ((0, 0), "valid", "same")
    return whole and module.weight.dtype == torch.float32


def _may_follow(norm: Any) -> bool:
    return type(norm) is nn.Identity or _is_batch_norm(norm)


def _can_be_fused(layer: Any) -> bool:
    if type(layer) is Bivolution2d:
        static: Any = layer.static
        whole = static is None or static.weight.shape[1] % LANES == 0
        return whole and _can_be_fused(layer.dynamic) and _is_plain(layer, Bivolution2d)
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


def _with_norm(convolution: Any, norm: Any) -> tuple[Tensor, Tensor]:
    """A 1×1 convolution's weight (K, C) and bias (K,), in float64, with the batch norm or nothing that follows it."""
    weight = convolution.weight.double().flatten(1)
    bias = weight.new_zeros(len(weight)) if convolution.bias is None else convolution.bias.double()
    if isinstance(norm, nn.Identity):
        return weight, bias
    scale, shift = scale_and_shift(norm)
    return weight * scale[:, None], bias * scale + shift


def _unless_identity(module: nn.Module) -> nn.Module | None:
    return None if isinstance(module, nn.Identity) else module


def _filled_up(values: Tensor) -> Tensor:
    """With zeros, to a length of whole vectors."""
    return torch.cat([values, values.new_zeros(-len(values) % LANES, *values.shape[1:])])


def _channels_last(images: Tensor) -> Tensor:
    return images.contiguous(memory_format=torch.channels_last)


def _constant(values: Tensor) -> nn.Parameter:
    return nn.Parameter(values.detach().float().contiguous(), requires_grad=False)


def _by_tap(values: Tensor, taps: int) -> Tensor:
    """(C·K·K, …), with the taps of a channel one after another, to the channels of a tap one after another."""
    return values.detach().view(-1, taps, *values.shape[1:]).transpose(0, 1).flatten(0, 1).contiguous()

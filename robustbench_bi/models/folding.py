"""Batch norms folded into the convolution or linear layer before them: the same function with fewer passes over memory.

Which layers follow each other is not read from code but watched: every operator of one forward pass is seen, with the
tensors that it takes. A batch norm is folded where it takes what a layer put out, and nothing else takes that. Then the
whole network is compared with the one before, on noise; where it differs by more than rounding, nothing is folded.
"""

from __future__ import annotations

import copy
import math
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

LAYERS = {
    "torch.nn.modules.conv.Conv1d",
    "torch.nn.modules.conv.Conv2d",
    "torch.nn.modules.linear.Linear",
    "timm.layers.conv2d_same.Conv2dSame",
}
"""Layers that a scale and a shift for each output channel can go into, by class; a subclass may do something else."""

NORMS: dict[str, Callable[[Any], nn.Module]] = {
    "torch.nn.modules.batchnorm.BatchNorm1d": lambda _: nn.Identity(),
    "torch.nn.modules.batchnorm.BatchNorm2d": lambda _: nn.Identity(),
    "torchvision.ops.misc.FrozenBatchNorm2d": lambda _: nn.Identity(),
    "timm.layers.norm_act.BatchNormAct2d": lambda norm: nn.Sequential(norm.drop, norm.act),
    "timm.layers.norm_act.FrozenBatchNormAct2d": lambda norm: nn.Sequential(norm.drop, norm.act),
}
"""Batch norms by class, and what is left of each once it is folded."""

TOLERANCE = 1e-3
"""Of the largest difference of an output, over the spread of the outputs; rounding is a thousandth of that."""


@dataclass(frozen=True)
class Folded:
    """A network in which batch norms were folded, or the one that came where none could be.

    Attributes:
        network: in evaluation mode.
        count: of batch norms that were folded.
        left: of those that were not.
        reason: why none was, though there are some; empty otherwise.
    """

    network: nn.Module
    count: int = 0
    left: int = 0
    reason: str = ""


def fold(network: nn.Module, images: Tensor) -> Folded:
    """Fold what can be folded, in a copy; the network that is given stays as it is.

    Args:
        network: in evaluation mode.
        images: a batch as the network takes it, to watch it on.

    Example:
        >>> block = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU()).eval()
        >>> folded = fold(block, torch.randn(1, 3, 8, 8))
        >>> folded.count, folded.network[1]
        (1, Identity())
    """
    norms = sum(kind_of(module) in NORMS for module in network.modules())
    if not norms:
        return Folded(network)
    try:
        with torch.no_grad():
            pairs, before = _watch(network, images)
            if not pairs:
                return Folded(network, 0, norms, "no batch norm follows a layer it can be folded into")
            folded = copy.deepcopy(network)
            for layer, norm in pairs:
                _merge(folded, layer, norm)
            difference = spread_difference(before, folded(images))
    except Exception as error:  # a network may refuse to be watched or copied in any way; it is left as it is
        reason = next(iter(str(error).splitlines()), "")[:200]
        return Folded(network, 0, norms, f"{type(error).__name__}: {reason}")
    if math.isnan(difference):
        which = "folded network" if torch.isfinite(before).all() else "network"
        return Folded(network, 0, norms, f"the {which} puts out numbers that are not finite for images of noise")
    if not difference <= TOLERANCE:
        return Folded(network, 0, norms, f"folding changes the outputs by {difference:.1e} of their spread")
    return Folded(folded.requires_grad_(False), len(pairs), norms - len(pairs))


@dataclass
class _Seen:
    """What one pass shows: how often each tensor is taken, which layer put it out, which norm took it."""

    taken: Counter[int] = field(default_factory=Counter)
    made: dict[int, str] = field(default_factory=dict)
    normed: dict[int, str] = field(default_factory=dict)
    runs: Counter[str] = field(default_factory=Counter)
    kept: list[Tensor] = field(default_factory=list)


class _Watch(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the operators that take each piece of memory."""

    def __init__(self, seen: _Seen) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.seen = seen

    def __torch_dispatch__(self, operator: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        for value in tree_leaves((args, kwargs or {})):
            if isinstance(value, Tensor):
                self.seen.taken[_memory(value)] += 1
        return operator(*args, **(kwargs or {}))


def _watch(network: nn.Module, images: Tensor) -> tuple[list[tuple[str, str]], Tensor]:
    """The pairs (layer, norm) that may be merged, by name, and what the network puts out."""
    seen = _Seen()
    with _hooked(network, seen), _Watch(seen):
        output: Tensor = network(images)
    once = [
        (seen.made[memory], norm)
        for memory, norm in seen.normed.items()
        if memory in seen.made and seen.taken[memory] == 1 and seen.runs[norm] == 1
    ]
    return [(layer, norm) for layer, norm in once if seen.runs[layer] == 1], output


@contextmanager
def _hooked(network: nn.Module, seen: _Seen) -> Iterator[None]:
    def after(name: str) -> Callable[..., None]:
        def hook(_: nn.Module, __: Any, output: Tensor) -> None:
            seen.runs[name] += 1
            seen.made[_memory(output)] = name
            seen.taken[_memory(output)] = 0  # memory that another tensor had before
            seen.kept.append(output)  # so that its memory is not given to another tensor

        return hook

    def before(name: str) -> Callable[..., None]:
        def hook(_: nn.Module, inputs: Any) -> None:
            seen.runs[name] += 1
            seen.normed[_memory(inputs[0])] = name
            seen.kept.append(inputs[0])

        return hook

    handles = []
    for name, module in network.named_modules(remove_duplicate=False):
        plain = not module._forward_hooks and not module._forward_pre_hooks
        if plain and kind_of(module) in LAYERS:
            handles.append(module.register_forward_hook(after(name)))
        elif plain and kind_of(module) in NORMS and _has_statistics(module):
            handles.append(module.register_forward_pre_hook(before(name)))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _merge(network: nn.Module, layer_name: str, norm_name: str) -> None:
    """Put a norm into its layer; computed in float64, so that it is rounded once."""
    layer: Any = network.get_submodule(layer_name)
    norm: Any = network.get_submodule(norm_name)
    scale, shift = scale_and_shift(norm)
    weight = layer.weight.double() * scale.view(-1, *[1] * (layer.weight.ndim - 1))
    bias = shift if layer.bias is None else layer.bias.double() * scale + shift
    layer.weight = nn.Parameter(weight.to(layer.weight.dtype), requires_grad=False)
    layer.bias = nn.Parameter(bias.to(layer.weight.dtype), requires_grad=False)
    parent, _, own = norm_name.rpartition(".")
    setattr(network.get_submodule(parent), own, NORMS[kind_of(norm)](norm).eval())


def scale_and_shift(norm: Any) -> tuple[Tensor, Tensor]:
    """What a batch norm in evaluation mode multiplies each channel with and adds to it, in float64.

    Example:
        >>> scale_and_shift(nn.BatchNorm2d(1, eps=0.0).eval())
        (tensor([1.], dtype=torch.float64), tensor([0.], dtype=torch.float64))
    """
    scale = (norm.running_var.double() + norm.eps).rsqrt()
    if norm.weight is not None:
        scale = scale * norm.weight.detach().double()
    shift = -norm.running_mean.double() * scale
    return scale, shift if norm.bias is None else shift + norm.bias.detach().double()


def spread_difference(before: Any, after: Any) -> float:
    """The largest difference over the spread of the outputs.

    Raises:
        TypeError: one of them is no tensor.

    Example:
        >>> spread_difference(torch.tensor([0.0, 1.0, 2.0]), torch.tensor([0.0, 1.0, 2.5]))
        0.5
    """
    if not isinstance(before, Tensor) or not isinstance(after, Tensor):
        raise TypeError(f"it returns {type(before).__name__}, not a tensor")
    spread = before.float().std().clamp_min(torch.finfo(torch.float32).tiny)
    return float((before - after).float().abs().max() / spread)


def _has_statistics(norm: Any) -> bool:
    return getattr(norm, "running_var", None) is not None and not norm.training


def kind_of(module: nn.Module) -> str:
    """The class of a module with where it stands.

    Example:
        >>> kind_of(nn.BatchNorm2d(3))
        'torch.nn.modules.batchnorm.BatchNorm2d'
    """
    return f"{type(module).__module__}.{type(module).__qualname__}"


def _memory(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()

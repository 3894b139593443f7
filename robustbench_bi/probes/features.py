"""What a layer of a network puts out, as maps over the picture: by forward hooks, without a change to the network."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from robustbench_bi.errors import InputError
from robustbench_bi.ground.registry import unknown_name
from robustbench_bi.models.inference import run_network
from robustbench_bi.probes.subjects import Subject

THIRD_STAGES = ("layer3", "stages.2")
"""What the third stage is called: in ResNets of ours, torchvision's and timm's, and in timm's newer networks."""

REDUCTIONS = ("mean", "max", "norm", "pca")
# Tokens before those of the picture: class, distillation and register tokens.
_MOST_EXTRA_TOKENS = 16


def choose_layer(subject: Subject, image: Tensor, name: str | None = None) -> str:
    """Return the name of a layer that puts out maps; without a name, the last block of the third stage.

    The third stage is the module called `layer3`, or `stages.2`, at any depth but only once; its last block is the last
    entry of that sequence, or of its `blocks`.

    Args:
        subject: the network.
        image: uint8 (1, 3, S, S), to try the layer on.
        name: as in `network.named_modules()`.

    Raises:
        UnknownNameError: the network has no such module.
        InputError: the module puts out no maps, or there is no third stage; the message lists modules that do, or says
            that none does.

    Example:
        >>> from robustbench_bi.data import open_data
        >>> from robustbench_bi.probes.subjects import open_subjects
        >>> dataset, (subject,) = open_subjects(["resnet50"], open_data("demo", limit=1), look_inside=True)
        >>> choose_layer(subject, torch.zeros(1, 3, 64, 64, dtype=torch.uint8))
        'layer3.5'
    """
    names = _layers(subject.network)
    chosen = _last_block_of_third_stage(subject.network) if name is None else name
    if chosen is None or (name is None and chosen not in names):
        raise InputError(
            f"{subject.label} has no stage {' or '.join(THIRD_STAGES)} to take the default layer from; choose one with "
            f"--layer, such as {_candidates(subject, image)}"
        )
    if chosen not in names:
        raise unknown_name(f"layer of {subject.label}:", chosen, names)
    try:
        layer_maps(subject, image, chosen)
    except InputError as error:
        raise InputError(f"{error}; choose another --layer, such as {_candidates(subject, image)}") from None
    return chosen


def _last_block_of_third_stage(network: nn.Module) -> str | None:
    modules = dict(network.named_modules())
    for stage in THIRD_STAGES:
        found = [name for name in modules if f".{name}".endswith(f".{stage}")]
        if len(found) == 1:
            name = f"{found[0]}.blocks" if f"{found[0]}.blocks" in modules else found[0]
            blocks = [block for block, _ in modules[name].named_children()]
            return f"{name}.{blocks[-1]}" if isinstance(modules[name], nn.Sequential | nn.ModuleList) else name
    return None


def _candidates(subject: Subject, image: Tensor) -> str:
    """In each part of the network, for each size of maps, the module that puts them out last, as text.

    Raises:
        InputError: there is none.
    """
    with _recording(subject.network, _layers(subject.network), _side_of_maps) as recorded:
        run_network(subject, image)
    last = {(name.partition(".")[0], side): name for name, side in recorded.items() if side}
    if not last:
        raise InputError(
            f"no layer of {subject.label} exposes feature maps (a network from a file runs as a whole); heat "
            "maps need a network that is built in PyTorch"
        )
    return ", ".join(f"{name} ({side}×{side})" for (_, side), name in last.items())


def _layers(network: nn.Module) -> list[str]:
    """The names of the modules that can be looked into, which those of TorchScript cannot."""
    modules = network.named_modules()
    return [name for name, module in modules if name and not isinstance(module, torch.jit.ScriptModule)]


def _side_of_maps(output: Any) -> int:
    maps = as_maps(output)
    return 0 if maps is None else maps.shape[2]


def layer_maps(subject: Subject, images: Tensor, layer: str) -> Tensor:
    """Run the network and return what one of its layers puts out.

    Args:
        subject: the network; not changed.
        images: uint8 (B, 3, S, S), on any device.
        layer: name of a module. Where it runs several times in a pass, its last output is taken.

    Returns:
        float32 (B, C, h, w), on the network's device.

    Raises:
        InputError: the layer is not run, or puts out no maps; see `as_maps`.
        ModelOutputError: the network fails.

    Example:
        >>> from robustbench_bi.data import open_data
        >>> from robustbench_bi.probes.subjects import open_subjects
        >>> dataset, (subject,) = open_subjects(["resnet50"], open_data("demo", limit=1), look_inside=True)
        >>> layer_maps(subject, torch.zeros(2, 3, 64, 64, dtype=torch.uint8), "layer2").shape
        torch.Size([2, 128, 8, 8])
    """
    with _recording(subject.network, [layer], _copy_of_maps) as recorded:
        run_network(subject, images)
    if layer not in recorded:
        raise InputError(f"{subject.label} does not run its layer {layer!r}")
    maps = recorded[layer]
    if not isinstance(maps, Tensor):
        raise InputError(f"layer {layer!r} of {subject.label} must output maps over the image, but outputs {maps}")
    return maps


def _copy_of_maps(output: Any) -> Tensor | str:
    """The maps, safe from later layers that work in place; or in words what came instead."""
    maps = as_maps(output)
    if maps is not None:
        return maps.detach().float().clone()
    return f"shape {tuple(output.shape)}" if isinstance(output, Tensor) else type(output).__name__


def as_maps(output: Any) -> Tensor | None:
    """What a layer puts out as maps (B, C, h, h) of at least 2×2 positions, or None where it is none.

    Pictures are square, and so are maps of them. A shape (B, h, h, C) is taken for channels last, and of (B, N, C) the
    last h·h tokens for the picture's, after at most 16 others. Of a tuple or list the first entry counts.

    Example:
        >>> [tuple(as_maps(torch.zeros(shape)).shape) for shape in [(2, 8, 5, 5), (2, 5, 5, 8), (2, 1 + 25, 8)]]
        [(2, 8, 5, 5), (2, 8, 5, 5), (2, 8, 5, 5)]
    """
    if isinstance(output, tuple | list) and output:
        output = output[0]
    if not isinstance(output, Tensor) or not output.is_floating_point():
        return None
    maps = None
    if output.ndim == 4:
        channels_last = output.shape[1] == output.shape[2] != output.shape[3]
        maps = output.permute(0, 3, 1, 2) if channels_last else output
    elif output.ndim == 3:
        side = math.isqrt(output.shape[1])
        extra = output.shape[1] - side**2
        if extra <= _MOST_EXTRA_TOKENS:
            maps = output[:, extra:].mT.reshape(len(output), -1, side, side)
    return maps if maps is not None and maps.shape[2] == maps.shape[3] > 1 else None


@contextmanager
def _recording(network: nn.Module, names: Iterable[str], keep: Callable[[Any], Any]) -> Iterator[dict[str, Any]]:
    """Meanwhile each named module leaves `keep` of its output in the dict, in the order in which they finish."""
    recorded: dict[str, Any] = {}

    def record(name: str, _: nn.Module, __: Any, output: Any) -> None:
        recorded.pop(name, None)
        recorded[name] = keep(output)

    handles = [network.get_submodule(name).register_forward_hook(partial(record, name)) for name in names]
    try:
        yield recorded
    finally:
        for handle in handles:
            handle.remove()


def reduce_maps(features: Tensor, reduction: str, reference: Tensor) -> Tensor:
    """One map of many: what the channels say together at each position.

    Args:
        features: float (B, C, h, w).
        reduction: "mean" or "max" of the absolute activations over channels, their Euclidean "norm", or "pca", the
            score on the first principal component of the reference's channel vectors, pictures taken one by one.
        reference: float (B, C, h, w), the same pictures clean; only "pca" looks at it. Its sign is that by which the
            reference's scores rise with the mean of its absolute activations.

    Returns:
        (B, h, w): float32, or float64 for "pca".

    Raises:
        UnknownNameError: no such reduction.

    Example:
        >>> features = torch.tensor([3.0, -4.0]).view(1, 2, 1, 1)
        >>> [reduce_maps(features, name, features).item() for name in ("mean", "max", "norm")]
        [3.5, 4.0, 5.0]
    """
    if reduction == "mean":
        return features.abs().mean(dim=1)
    if reduction == "max":
        return features.abs().amax(dim=1)
    if reduction == "norm":
        norms: Tensor = torch.linalg.vector_norm(features, dim=1)
        return norms
    if reduction == "pca":
        return _first_component(features, reference)
    raise unknown_name("reduction", reduction, REDUCTIONS)


def _first_component(features: Tensor, reference: Tensor) -> Tensor:
    known = reference.flatten(2).double()
    centred = _centred(known)
    # There are fewer positions than channels, so the small matrix of products between positions is decomposed.
    _, vectors = torch.linalg.eigh(centred.mT @ centred)
    direction = torch.nn.functional.normalize(centred @ vectors[:, :, -1:], dim=1)
    strength = known.abs().mean(dim=1, keepdim=True)
    rising = (direction.mT @ centred * _centred(strength)).sum(dim=2, keepdim=True)
    direction = torch.where(rising < 0, -direction, direction)
    scores: Tensor = direction.mT @ (features.flatten(2).double() - known.mean(dim=2, keepdim=True))
    return scores.view(len(features), *features.shape[2:])


def correlation(first: Tensor, second: Tensor) -> Tensor:
    """Pearson's correlation of maps over their positions.

    Args:
        first: (B, h, w), any real dtype.
        second: likewise.

    Returns:
        float64 (B,), from -1 to 1; NaN where a map is constant.

    Example:
        >>> ramp = torch.arange(4.0).view(1, 2, 2)
        >>> round(correlation(ramp, 3 - 2 * ramp).item(), 6), correlation(ramp, torch.ones(1, 2, 2)).item()
        (-1.0, nan)
    """
    first, second = (_centred(maps.flatten(1).double()) for maps in (first, second))
    scale = torch.linalg.vector_norm(first, dim=1) * torch.linalg.vector_norm(second, dim=1)
    ratio: Tensor = (first * second).sum(dim=1) / scale
    return ratio.clamp(-1, 1)


def _centred(maps: Tensor) -> Tensor:
    """Deviations from the mean over the last axis; exactly 0 where they are no more than float32's rounding."""
    deviations = maps - maps.mean(dim=-1, keepdim=True)
    spread, size = (torch.linalg.vector_norm(values, dim=-1, keepdim=True) for values in (deviations, maps))
    return deviations.where(spread > 1e-6 * size, 0.0)

"""A network made ready for many forward passes: folded, in the form that a processor likes, perhaps compiled."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from robustbench_bi.models.batch_size import LARGEST, images_at_once
from robustbench_bi.models.folding import TOLERANCE, fold, spread_difference
from robustbench_bi.models.fusing import fuse
from robustbench_bi.models.in_parts import InParts, InThreads, in_threads, shallow_copy
from robustbench_bi.models.independence import SAYS, depends_on, two_pictures
from robustbench_bi.models.inference import autocast, full_precision, is_known
from robustbench_bi.models.packing import pack

TOLERANCES = {"fp32": TOLERANCE, "bf16": 0.2, "fp16": 0.05}
"""Of the largest difference of an output, over the spread of the outputs, where a network is compiled."""
MANY = 1 << 30
"""Images of a batch whose size is not known."""


@dataclass(frozen=True)
class ForwardPass:
    """A network as it is asked, and what was done to it.

    Attributes:
        network: maps a batch to logits.
        how: "folded" or "compiled", which change last bits of logits; None where it is the network as it came.
        about: for `run.json`: batch norms that were folded and left, and why; the memory format where it is not the one
            that the network's name stands for, the images at once where they are fewer than a batch, how many layers
            with dynamic filters were fused with the batch norms that were left, how many convolutions were packed, and
            how many threads take parts of a batch each. Like the device, the batch size and the number of threads,
            these five can change the order of sums, no more, and are no identity. And what answers depend on beside
            their image, see `depends_on`.
    """

    network: nn.Module
    how: str | None = None
    about: Mapping[str, Any] = field(default_factory=dict)


class Compiled(nn.Module):
    """A compiled network that is compiled once, since whatever it is asked comes to it in the same form.

    Its batches are always of one size, in one memory format, and held by one tensor. Compiled code is of these, of the
    number of threads, and of what is switched on around it; where one of them changed, torch would compile anew.

    Args:
        network: in evaluation mode.
        size: of the batches; a shorter one is filled up with black pictures, whose answers are dropped.
        image: (1, C, H, W), as the network takes it.
    """

    def __init__(self, network: nn.Module, size: int, image: Tensor) -> None:
        super().__init__()
        # Frozen: weights are constants, laid out as the processor likes them.
        self.compiled = torch.compile(network, dynamic=False, options={"freezing": True})
        self.batch = image.new_zeros(size, *image.shape[1:]).contiguous(memory_format=_layout(image))

    def forward(self, images: Tensor) -> Tensor:
        """(B, C, H, W) to (B, K)."""
        return torch.cat([self._answers(part) for part in torch.split(images, len(self.batch))])

    def _answers(self, images: Tensor) -> Tensor:
        self.batch[: len(images)] = images
        self.batch[len(images) :] = 0
        answers: Tensor = self.compiled(self.batch)[: len(images)]
        return answers


def forward_pass(
    network: nn.Module,
    image: Tensor,
    name: str,
    compiled_for: int | None = None,
    precision: str = "fp32",
    batch_size: int | None = None,
) -> ForwardPass:
    """Fold a network, find the form in which it takes images fastest, and compile it.

    Args:
        network: in evaluation mode; it stays as it is. Where nothing is folded, the result shares its weights.
        image: (1, C, H, W), as the network takes it.
        name: of the network, for messages.
        compiled_for: the size of batches to compile it for; None to leave it uncompiled. A network that does not
            compile, or not to the same function, is run without, and a line says so.
        precision: of the forward passes.
        batch_size: the most images that it will be given, where that is known.

    Example:
        >>> block = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)).eval()
        >>> made = forward_pass(block, torch.randn(1, 3, 8, 8), "block")
        >>> made.how, made.about
        ('folded', {'folded': 1, 'left': 0, 'memory_format': 'channels last', 'packed': 1})
    """
    folded = fold(network, image)
    about: dict[str, Any] = {"folded": folded.count, "left": folded.left}
    if folded.reason:
        about["reason"] = folded.reason
    about |= _dependence(network, image, name)
    most = compiled_for or batch_size or MANY
    parts, divisible = _in_parts(folded.network, image, most)
    if parts.layout != _layout(image):
        about["memory_format"] = "channels last"
    if parts.size < most < MANY:
        about["at_once"] = parts.size
    if compiled_for is not None:
        try:
            return ForwardPass(_compiled(parts, image, precision), "compiled", {**about, "compiled": True})
        except Exception as error:  # what torch cannot compile it says in many ways
            reason = next(iter(str(error).strip().splitlines()), type(error).__name__)[:200]
            logging.getLogger(__name__).warning("%s cannot be compiled and runs uncompiled: %s", name, reason)
            about |= {"compiled": False, "not_compiled": reason}
    # Autocast knows nothing of packed layers, and is of one thread.
    if precision == "fp32" and (folded.count or is_known(name)):
        parts, quicker = _quickened(parts, image, bool(folded.count), divisible)
        about |= quicker
    return ForwardPass(parts, "folded" if folded.count else None, about)


def _dependence(network: nn.Module, image: Tensor, name: str) -> dict[str, str]:
    """What else than their image answers depend on, for `ForwardPass.about`, and said."""
    try:
        with full_precision():
            found = depends_on(network, image)
    except Exception:  # what fails says so when it is tried out
        return {}
    if not found:
        return {}
    logging.getLogger(__name__).warning("%s %s; its results depend on that, too", name, SAYS[found])
    return {"depends_on": found}


def _quickened(parts: InParts, image: Tensor, ours: bool, divisible: bool) -> tuple[InParts, dict[str, Any]]:
    """The network with packed convolutions, asked in several threads; and what was done, for `ForwardPass.about`.

    Args:
        parts: the network in parts.
        image: (1, C, H, W), as the network takes it.
        ours: whether the network is a copy already, and may be changed.
        divisible: whether batches may be divided.
    """
    if image.device.type != "cpu":
        return parts, {}
    try:
        copied = parts if ours else InParts(shallow_copy(parts.network), parts.size, parts.layout)
    except Exception:  # it does not let itself be copied, in any way
        return parts, {}
    pictures = two_pictures(image).contiguous(memory_format=parts.layout)
    fused = fuse(copied.network, pictures) if ours else 0
    about = {"fused": fused} if fused else {}
    about["packed"] = pack(copied.network, pictures, min(parts.size, LARGEST["cpu"]))
    quick = in_threads(copied, pictures) if divisible else copied
    if isinstance(quick, InThreads):
        about["in_threads"] = len(quick.copies)
    # Without any use, a copy only stands between a user and the network.
    return (quick, about) if ours or any(about.values()) else (parts, {})


def _layout(image: Tensor) -> torch.memory_format:
    last = image.is_contiguous(memory_format=torch.channels_last) and not image.is_contiguous()
    return torch.channels_last if last else torch.contiguous_format


def _in_parts(network: nn.Module, image: Tensor, most: int) -> tuple[InParts, bool]:
    """The network in the form in which a processor is fastest, where it gives the same answers in that.

    And whether its batches may be divided.

    On a CPU that is few images at once, and channels last where there are convolutions. But a network may depend on
    what else is in a batch, or be written for one memory format; then it gets batches as they come.
    """
    as_they_come = InParts(network, most, _layout(image))
    at_once = images_at_once(network, image)
    if at_once is None:
        return as_they_come, False
    convolves = any(isinstance(module, nn.Conv2d) for module in network.modules())
    layouts = [torch.channels_last, _layout(image)] if convolves else [_layout(image)]
    pictures = two_pictures(image)
    for layout in dict.fromkeys(layouts):
        try:
            with torch.inference_mode(), full_precision():
                difference = spread_difference(network(pictures.clone()), InParts(network, 1, layout)(pictures.clone()))
        except Exception:  # what fails as it comes, too, says so when it is tried out
            continue
        if difference <= TOLERANCE:
            return InParts(network, min(at_once, most), layout), True
    return as_they_come, False


def _compiled(parts: InParts, image: Tensor, precision: str) -> Compiled:
    """The network compiled, by a first pass as all others will be, and found to be the same function.

    Raises:
        Exception: whatever torch says; or there is nothing to compile, or another function came out.
    """
    network = parts.network
    scripted = any(isinstance(module, torch.jit.ScriptModule) for module in network.modules())
    if scripted or getattr(network, "own_precision", False):
        raise TypeError("the file is compiled already")
    compiled = Compiled(network, parts.size, image.contiguous(memory_format=parts.layout))
    with torch.inference_mode(), full_precision(), autocast(image.device, precision):
        difference = spread_difference(parts(image), compiled(image))
    if not difference <= TOLERANCES[precision]:
        raise ValueError(f"compiling changes the outputs by {difference:.1e} of their spread")
    return compiled

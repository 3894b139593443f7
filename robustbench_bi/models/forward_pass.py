"""A network made ready for many forward passes: folded, and compiled where that is asked for."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from robustbench_bi.models.folding import TOLERANCE, fold, spread_difference
from robustbench_bi.models.inference import autocast, full_precision

TOLERANCES = {"fp32": TOLERANCE, "bf16": 0.2, "fp16": 0.05}
"""Of the largest difference of an output, over the spread of the outputs, where a network is compiled."""


@dataclass(frozen=True)
class ForwardPass:
    """A network as it is asked, and what was done to it.

    Attributes:
        network: maps a batch to logits.
        how: "folded" or "compiled", which change last bits of logits; None where it is the network as it came.
        about: for `run.json`: batch norms that were folded and left, and why.
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
        last = image.is_contiguous(memory_format=torch.channels_last) and not image.is_contiguous()
        self.batch = image.new_zeros(size, *image.shape[1:])
        self.batch = self.batch.contiguous(memory_format=torch.channels_last if last else torch.contiguous_format)

    def forward(self, images: Tensor) -> Tensor:
        """(B, C, H, W) to (B, K)."""
        return torch.cat([self._answers(part) for part in torch.split(images, len(self.batch))])

    def _answers(self, images: Tensor) -> Tensor:
        self.batch[: len(images)] = images
        self.batch[len(images) :] = 0
        answers: Tensor = self.compiled(self.batch)[: len(images)]
        return answers


def forward_pass(
    network: nn.Module, image: Tensor, name: str, compiled_for: int | None = None, precision: str = "fp32"
) -> ForwardPass:
    """Fold a network, and compile it.

    Args:
        network: in evaluation mode; it stays as it is.
        image: (1, C, H, W), as the network takes it.
        name: of the network, for messages.
        compiled_for: the size of batches to compile it for; None to leave it uncompiled. A network that does not
            compile, or not to the same function, is run without, and a line says so.
        precision: of the forward passes.

    Example:
        >>> block = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)).eval()
        >>> made = forward_pass(block, torch.randn(1, 3, 8, 8), "block")
        >>> made.how, made.about
        ('folded', {'folded': 1, 'left': 0})
    """
    folded = fold(network, image)
    about: dict[str, Any] = {"folded": folded.count, "left": folded.left}
    if folded.reason:
        about["reason"] = folded.reason
    how = "folded" if folded.count else None
    if compiled_for is None:
        return ForwardPass(folded.network, how, about)
    try:
        compiled = _compiled(folded.network, image, compiled_for, precision)
    except Exception as error:  # what torch cannot compile it says in many ways
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)[:200]
        logging.getLogger(__name__).warning("%s cannot be compiled and runs uncompiled: %s", name, reason)
        return ForwardPass(folded.network, how, {**about, "compiled": False, "not_compiled": reason})
    return ForwardPass(compiled, "compiled", {**about, "compiled": True})


def _compiled(network: nn.Module, image: Tensor, size: int, precision: str) -> Compiled:
    """The network compiled, by a first pass as all others will be, and found to be the same function.

    Raises:
        Exception: whatever torch says; or there is nothing to compile, or another function came out.
    """
    scripted = any(isinstance(module, torch.jit.ScriptModule) for module in network.modules())
    if scripted or getattr(network, "own_precision", False):
        raise TypeError("the file is compiled already")
    compiled = Compiled(network, size, image)
    with torch.inference_mode(), full_precision(), autocast(image.device, precision):
        difference = spread_difference(network(image), compiled(image))
    if not difference <= TOLERANCES[precision]:
        raise ValueError(f"compiling changes the outputs by {difference:.1e} of their spread")
    return compiled

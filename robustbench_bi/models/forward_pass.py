"""A network made ready for many forward passes: folded, and compiled where that is asked for."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from robustbench_bi.models.folding import fold
from robustbench_bi.models.sources.scores import Batches


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
    """A compiled network that is asked about batches of one size, so that it is compiled once.

    Args:
        network: in evaluation mode.
        size: of the batches; a shorter one is filled up.
    """

    def __init__(self, network: nn.Module, size: int) -> None:
        super().__init__()
        # Frozen: weights are constants, laid out as the processor likes them.
        self.compiled = torch.compile(network, options={"freezing": True})
        self.batches = Batches(size)

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) to (B, K)."""
        return self.batches.run(self.compiled, images)


def forward_pass(network: nn.Module, images: Tensor, name: str, compiled_for: int | None = None) -> ForwardPass:
    """Fold a network, and compile it.

    Args:
        network: in evaluation mode; it stays as it is.
        images: a batch as the network takes it.
        name: of the network, for messages.
        compiled_for: the size of batches to compile it for; None to leave it uncompiled. A network that does not
            compile is run without, and a line says so.

    Example:
        >>> block = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)).eval()
        >>> made = forward_pass(block, torch.randn(1, 3, 8, 8), "block")
        >>> made.how, made.about
        ('folded', {'folded': 1, 'left': 0})
    """
    folded = fold(network, images)
    about: dict[str, Any] = {"folded": folded.count, "left": folded.left}
    if folded.reason:
        about["reason"] = folded.reason
    how = "folded" if folded.count else None
    if compiled_for is None:
        return ForwardPass(folded.network, how, about)
    try:
        compiled = Compiled(folded.network, compiled_for)
        with torch.inference_mode():
            compiled(images)
    except Exception as error:  # what torch cannot compile it says in many ways
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)[:200]
        logging.getLogger(__name__).warning("%s does not compile and runs without: %s", name, reason)
        return ForwardPass(folded.network, how, {**about, "compiled": False, "not_compiled": reason})
    return ForwardPass(compiled, "compiled", {**about, "compiled": True})

"""A network that is given its batches in parts: one after another, or on a CPU several at once, each in a thread."""

from __future__ import annotations

import copy
import functools
import logging
from typing import Any

import torch
from torch import Tensor, nn

from robustbench_bi.models.batch_size import FEWEST, images_in_caches
from robustbench_bi.models.folding import TOLERANCE, spread_difference
from robustbench_bi.models.fusing import FusedBottleneck, FusedConv2d, FusedLayer
from robustbench_bi.models.packing import PackedConv2d
from robustbench_bi.ops.share_out import share_out, torch_threads


class InParts(nn.Module):
    """A network that is given its batches in parts that fit into a processor's caches, in one memory format.

    Args:
        network: in evaluation mode.
        size: of the parts.
        layout: of the images.
    """

    def __init__(self, network: nn.Module, size: int, layout: torch.memory_format) -> None:
        super().__init__()
        self.network, self.size, self.layout = network, size, layout

    def forward(self, images: Tensor) -> Any:
        """(B, C, H, W) to what the network makes of it; (B, K) of a classifier."""
        return _joined([self._answers(self.network, part) for part in torch.split(images, self.size)])

    def _answers(self, network: nn.Module, images: Tensor) -> Any:
        return network(images.contiguous(memory_format=self.layout))


class InThreads(InParts):
    """The same, with as many parts at once as torch has threads, whose operators then have one thread each.

    Threads that share out each operator wait for the slowest of them after each; these wait once a batch. Every thread
    has a copy of the network, with the same weights but whatever else it may write down while it is asked.

    Args:
        parts: the network in parts, which are asked for one after another where torch has a single thread.
        threads: copies.
        fitting: the most images of a part that fit into the caches of one thread.
        fewest: images of a part that are worth a thread.
    """

    def __init__(self, parts: InParts, threads: int, fitting: int, fewest: int) -> None:
        super().__init__(parts.network, parts.size, parts.layout)
        self.fitting, self.fewest = max(fitting, fewest), fewest
        # In a list, so that the layers of the copies do not count as layers of this one.
        self.copies = [parts.network, *(shallow_copy(parts.network) for _ in range(threads - 1))]

    def forward(self, images: Tensor) -> Any:
        """As `InParts.forward`."""
        threads = min(torch.get_num_threads(), len(self.copies), len(images) // self.fewest)
        if threads < 2:
            return super().forward(images)
        # Each thread gets equally many, so that none waits for another at the end.
        rounds = min(-(-len(images) // (threads * self.fitting)), len(images) // (threads * self.fewest))
        parts = torch.split(images, -(-len(images) // (threads * rounds)))
        free, answers = list(self.copies), [None] * len(parts)
        states = torch.is_inference_mode_enabled(), torch.is_grad_enabled()

        def ask(place: int) -> None:
            network = free.pop()
            # Both are of a thread, and the others have not what this one has.
            with torch.inference_mode(states[0]), torch.set_grad_enabled(states[1]):
                answers[place] = self._answers(network, parts[place])
            free.append(network)

        with torch_threads(1):
            share_out([functools.partial(ask, place) for place in range(len(parts))], threads)
        return _joined(answers)


def in_threads(parts: InParts, images: Tensor) -> InParts:
    """Let the threads of a CPU take parts of a batch each, where the network stays the same function.

    Args:
        parts: the network in parts; what it makes of an image does not depend on the others of a batch.
        images: two, as the network takes them, to try it on.

    Returns:
        The network in threads; `parts` where torch has a single thread, or where answers differ.

    Example:
        >>> parts = InParts(nn.Sequential(nn.Flatten(), nn.Linear(12, 4)).eval(), 16, torch.contiguous_format)
        >>> shared, images = in_threads(parts, torch.randn(2, 3, 2, 2)), torch.randn(64, 3, 2, 2)
        >>> torch.allclose(shared(images), parts(images), atol=1e-6)
        True
    """
    threads = torch.get_num_threads()
    if threads < 2:
        return parts
    try:
        with torch.inference_mode():
            # Of convolutions that are not packed, torch has slower ones of its own for few images and one thread.
            fewest = FEWEST if any(isinstance(module, nn.Conv2d) for module in parts.network.modules()) else 1
            fitting = images_in_caches(parts.network, images[:1])
            # Their kernels fetch from memory ahead of time, so that more images cost them little and save calls.
            fitting *= 2 if any(isinstance(module, FusedBottleneck) for module in parts.network.modules()) else 1
            shared = InThreads(parts, threads, fitting, fewest)
            enough = torch.cat([images * (1 + place) for place in range(fewest)])
            whole = parts.network(enough.contiguous(memory_format=parts.layout))
            difference = spread_difference(whole, shared(enough))
    except Exception as error:  # a network may not let itself be copied; then it has no copies
        logging.getLogger(__name__).debug("parts run one after another: %s", error)
        return parts
    return shared if difference <= TOLERANCE else parts


def shallow_copy(network: nn.Module) -> nn.Module:
    """A network with modules of its own, which has its parameters, and the weights that were packed, from another.

    Example:
        >>> first = nn.Linear(2, 3)
        >>> shallow_copy(first).weight is first.weight
        True
    """
    shared: list[Any] = [*network.parameters()]
    shared += [module.weight for module in network.modules() if isinstance(module, PackedConv2d)]
    shared += [module.weights for module in network.modules() if isinstance(module, FusedConv2d | FusedLayer)]
    return copy.deepcopy(network, {id(weights): weights for weights in shared})


def _joined(answers: list[Any]) -> Any:
    return answers[0] if len(answers) == 1 else torch.cat(answers)

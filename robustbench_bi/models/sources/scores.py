"""What files of networks put out: which output is the class scores, whether these are probabilities, fixed batches."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from robustbench_bi.errors import InputError
from robustbench_bi.ground.sizes import pair
from robustbench_bi.models.independence import BATCH, SAYS, depends_on

SMALLEST = torch.finfo(torch.float32).tiny
TRIED = 2
"""Images that a file is tried on."""


@dataclass(frozen=True)
class Batches:
    """Runs a file that takes batches of one size only.

    Attributes:
        size: of its batches; None for any.
    """

    size: int | None = None

    def run(self, network: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
        """What the network gives for images; the last batch is filled up with black ones, whose answers are dropped.

        Example:
            >>> Batches(4).run(lambda part: part.sum((1, 2, 3)) * len(part), torch.ones(6, 3, 2, 2)).tolist()
            [48.0, 48.0, 48.0, 48.0, 48.0, 48.0]
        """
        if self.size is None:
            return network(images)
        parts = []
        for part in torch.split(images, self.size):
            missing = self.size - len(part)
            filled = torch.cat([part, part.new_zeros(missing, *part.shape[1:])]) if missing else part
            parts.append(network(filled)[: len(part)])
        return torch.cat(parts)


def settle_output(path: Path, outputs_of: Callable[[Tensor], Mapping[str, Any]], size: Any) -> tuple[Tensor, str]:
    """Try a file on two noise images, and find the one output that is class scores.

    Args:
        path: of the file, for messages.
        outputs_of: its outputs by name.
        size: of the images.

    Returns:
        The scores (2, K), and the name of the output.

    Raises:
        InputError: it fails, or not exactly one of its outputs has a row of scores for each image; or these depend on
            more than the image, as those of a network do that was exported in training mode.
    """
    images = torch.randn(TRIED, 3, *pair(size), generator=torch.Generator().manual_seed(0))
    try:
        outputs = dict(outputs_of(images))
    except InputError:
        raise
    except Exception as error:  # a file may fail in any way
        lines = str(error).strip().splitlines() or [type(error).__name__]
        # TorchScript says first where something failed, and last what did.
        reason = (lines[-1] if isinstance(error, torch.jit.Error) or "TorchScript" in lines[0] else lines[0])[:200]
        height, width = pair(size)
        raise InputError(
            f"{path} failed on two images of {height}×{width} pixels: {reason}. If it takes another size, give "
            "--input-size"
        ) from error
    fitting = {name: value for name, value in outputs.items() if _is_scores(value)}
    if len(fitting) != 1:
        shapes = ", ".join(f"{name} {tuple(getattr(value, 'shape', ()))}" for name, value in outputs.items())
        raise InputError(
            f"{path} must have one output with a row of class scores per image; for {TRIED} images it returned {shapes}"
        )
    ((name, scores),) = fitting.items()
    _check_independence(path, lambda images: outputs_of(images)[name], images[:1])
    return scores, name


def _check_independence(path: Path, scores_of: Callable[[Tensor], Tensor], image: Tensor) -> None:
    """Refuse a file that answers an image by more than the image.

    Raises:
        InputError: it does.
    """
    found = depends_on(scores_of, image)
    if found:
        single = ", or for batches of one image" if found == BATCH else ""
        raise InputError(f"{path} {SAYS[found]}; export it again after eval(){single}")


def looks_like_probabilities(scores: Tensor) -> bool:
    """Whether rows are probabilities: none negative, and each adds up to 1.

    Example:
        >>> looks_like_probabilities(torch.tensor([[0.25, 0.75]])), looks_like_probabilities(torch.tensor([[0.5, 2.0]]))
        (True, False)
    """
    rows = scores.float()
    return bool((rows >= 0).all() and ((rows.sum(1) - 1).abs() < 1e-2).all())


def as_logits(probabilities: Tensor) -> Tensor:
    """Logits whose softmax the probabilities are: their logarithm; of 0, that of the smallest number."""
    return probabilities.float().clamp_min(SMALLEST).log()


def _is_scores(value: Any) -> bool:
    return isinstance(value, Tensor) and value.ndim == 2 and len(value) == TRIED and value.shape[1] > 1

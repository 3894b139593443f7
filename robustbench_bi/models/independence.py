"""Whether a network's answer to an image depends on that image alone: not on chance, nor on the rest of its batch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from robustbench_bi.models.folding import TOLERANCE, spread_difference

CHANCE, BATCH = "chance", "batch"
SAYS = {
    CHANCE: "answers the same image differently each time, as with dropout in training mode",
    BATCH: "answers an image differently beside others, as with batch norms in training mode or dynamic quantisation",
}
"""What a network does whose answers depend on that, after its name."""


def two_pictures(image: Tensor) -> Tensor:
    """An image (1, C, H, W), and a mirrored one of a quarter of its contrast: together their statistics are others.

    Example:
        >>> two_pictures(torch.tensor([[[[4.0, 8.0]]]])).flatten().tolist()
        [4.0, 8.0, 2.0, 1.0]
    """
    return torch.cat([image, image.flip(3) / 4])


def depends_on(ask: Callable[[Tensor], Any], image: Tensor) -> str:
    """What else than the image an answer depends on: `CHANCE`, `BATCH`, or nothing, "".

    A network is asked about two pictures twice, and about the paler one in both places: statistics of the batch, the
    range of its numbers and the place of the picture are then others. Differences up to `TOLERANCE` are rounding.

    Args:
        ask: maps two images (2, C, H, W) to their answers (2, K).
        image: (1, C, H, W), as the network takes it.

    Example:
        >>> image = torch.randn(1, 3, 4, 4)
        >>> means = lambda images: images.mean((2, 3))
        >>> depends_on(means, image), depends_on(lambda images: means(images) / images.std(), image)
        ('', 'batch')
    """
    with torch.inference_mode():
        pictures = two_pictures(image)
        # Copies, since a network may write into what it is given.
        answers, again = ask(pictures.clone()), ask(pictures.clone())
        if spread_difference(answers, again) > TOLERANCE:
            return CHANCE
        elsewhere = ask(pictures[[1, 1]])[:1]
        changed = spread_difference(answers, torch.cat([answers[:1], elsewhere])) > TOLERANCE
        return BATCH if changed else ""

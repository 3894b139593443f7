"""Real Fourier basis vectors, and images with one of them added (Yin et al., NeurIPS 2019).

The paper is "A Fourier Perspective on Model Robustness in Computer Vision".
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from robustbench_bi.ops.random_bits import random_words

PUBLISHED_NORMS = {32: 4.0, 224: 15.7}
"""The norms of the paper, by image side: CIFAR-10 and ImageNet."""

# The highest word of the random counter; that of a corruption is below 256.
_STREAM = 2**16

Frequency = tuple[int, int]


def default_norm(side: int) -> float:
    """The norm for images of a side: the power law through the paper's 4 at 32 pixels and 15.7 at 224.

    Example:
        >>> [round(default_norm(side), 2) for side in (32, 64, 224)]
        [4.0, 6.51, 15.7]
    """
    (small, weak), (large, strong) = PUBLISHED_NORMS.items()
    return weak * math.pow(side / small, math.log(strong / weak) / math.log(large / small))


def frequencies(side: int, *, step: int = 1, radius: float | None = None) -> list[Frequency]:
    """The frequencies of a map, each once: a real basis vector holds (v, h) and its mirror image (-v, -h).

    Args:
        side: of the square image, in pixels.
        step: take every so many-th frequency along each axis, counted from 0.
        radius: only those of at most this many cycles per image, along any direction; None for all.

    Returns:
        (vertical, horizontal) in cycles per image, each within ± side / 2, sorted from low to high.

    Example:
        >>> frequencies(4, radius=1)
        [(0, 0), (0, 1), (1, 0)]
        >>> len(frequencies(32)), len(frequencies(33))
        (514, 545)
    """
    lowest, highest = -((side - 1) // 2), side // 2
    own_mirror = {0, side / 2}
    found = [
        (vertical, horizontal)
        for vertical in range(0, highest + 1, step)
        for horizontal in range(lowest - lowest % step, highest + 1, step)
        if horizontal >= (0 if vertical in own_mirror else lowest)
        and (radius is None or math.hypot(vertical, horizontal) <= radius)
    ]
    return sorted(found, key=lambda pair: (math.hypot(*pair), pair))


def fourier_basis(side: int, vertical: int, horizontal: int) -> Tensor:
    """A real vector of the Fourier basis, as in the authors' code (google-research, frequency_analysis).

    With θ = 2π (v·row + h·column) / side it is (cos θ + sin θ) / side. Its spectrum holds this frequency and its mirror
    image, or only the one that is its own mirror image (0, and half the side).

    Args:
        side: in pixels.
        vertical: v, cycles per image, any integer.
        horizontal: h, likewise.

    Returns:
        float32 (side, side), of Euclidean norm 1.

    Example:
        >>> fourier_basis(2, 0, 1).tolist()
        [[0.5, -0.5], [0.5, -0.5]]
    """
    place = torch.arange(side)
    # Whole cycles are taken off while the numbers are integers, so that the angle is exact.
    angle = (vertical * place[:, None] + horizontal * place).remainder(side).double().mul_(2 * math.pi / side)
    return ((angle.cos() + angle.sin()) / side).float()


def add_frequency(images: Tensor, ids: Tensor, vertical: int, horizontal: int, *, norm: float, seed: int = 0) -> Tensor:
    """Add a basis vector to each channel of each image, with random signs.

    The paper adds r·v·U to each channel, with r = ±1 drawn anew for each image and channel and the norm v for pixels in
    [0, 1]. Here the sign is a bit of Philox keyed by the seed, the image id and the frequency, so neither batch, order
    nor device matters. What leaves [0, 1] is clipped, so a bright or dark image gets less than the norm, and pixels are
    rounded to the 8 bits of an image file.

    Args:
        images: uint8 (B, 3, S, S).
        ids: int64 (B,), on the device of the images.
        vertical: cycles per image.
        horizontal: likewise.
        norm: of what is added to a channel, for pixels in [0, 1].
        seed: 0 to 2**64 - 1.

    Returns:
        uint8 (B, 3, S, S).

    Example:
        >>> grey = torch.full((1, 3, 32, 32), 100, dtype=torch.uint8)
        >>> moved = add_frequency(grey, torch.tensor([0]), 0, 0, norm=32 * 10 / 255).float() - 100
        >>> moved.abs().unique().tolist(), moved[0, :, 0, 0].tolist()
        ([10.0], [-10.0, -10.0, 10.0])
    """
    side = images.shape[-1]
    number = vertical % side * side + horizontal % side
    words = random_words(ids, 1, start=number, last=_STREAM, key=(seed % 2**32, seed // 2**32))
    signs = 1 - 2 * (words[:, :3] & 1)
    added = 255 * norm * fourier_basis(side, vertical, horizontal).to(images.device)
    return (images + signs[:, :, None, None] * added).round_().clamp_(0, 255).to(torch.uint8)

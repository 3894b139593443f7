"""Random crops and flips of a batch. Their random numbers are an argument: a picture's crop depends on nothing else."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F

from robustbench_bi.training.recipe import Recipe

NUMBERS = 5
"""Uniform numbers that one picture needs: flip, down, across, and for an inception crop area and aspect."""


def augment(images: torch.Tensor, numbers: torch.Tensor, recipe: Recipe, side: int) -> torch.Tensor:
    """Crop and mirror each picture of a batch.

    Args:
        images: uint8 (B, 3, H, H), any device. H = `side`, but for the inception crop, which resizes.
        numbers: (B, 5) on the CPU, uniform in [0, 1).
        recipe: its `crop`, `shift` and `flip`.
        side: of the result, in pixels.

    Returns:
        uint8 (B, 3, side, side), on the device of `images`.

    Example:
        >>> batch = torch.arange(2 * 3 * 4 * 4, dtype=torch.uint8).view(2, 3, 4, 4)
        >>> numbers = torch.tensor([[0.7, 0.5, 0.5, 0.0, 0.0], [0.3, 0.5, 0.5, 0.0, 0.0]])
        >>> flipped = augment(batch, numbers, Recipe(crop="shift", shift=2), 4)
        >>> torch.equal(flipped[0], batch[0]), torch.equal(flipped[1], batch[1].flip(-1))
        (True, True)
    """
    if recipe.crop == "inception":
        images = _inception_crop(images, numbers[:, 1:], side)
    elif recipe.crop == "shift" and recipe.shift:
        images = _shift(images, numbers[:, 1:3], recipe.shift)
    if not recipe.flip:
        return images
    mirrored = (numbers[:, 0] < 0.5).to(images.device).view(-1, 1, 1, 1)
    return torch.where(mirrored, images.flip(-1), images)


def _shift(images: torch.Tensor, place: torch.Tensor, reach: int) -> torch.Tensor:
    """Move each picture by -reach … reach pixels down and across; what comes into view is black."""
    height, width = images.shape[-2:]
    padded = F.pad(images, (reach, reach, reach, reach))
    corners = (place * (2 * reach + 1)).long().tolist()
    moved = [
        picture[:, top : top + height, left : left + width]
        for picture, (top, left) in zip(padded, corners, strict=True)
    ]
    return torch.stack(moved)


def _inception_crop(images: torch.Tensor, numbers: torch.Tensor, side: int) -> torch.Tensor:
    """A box of 8 to 100 % of the area and an aspect of 3/4 to 4/3, resized bilinearly with antialiasing.

    Where a drawn box is longer than the picture, its long side is cut; torchvision draws again instead.
    """
    whole = images.shape[-1]
    down, across, area, aspect = numbers.unbind(1)
    stretch = torch.exp(math.log(4 / 3) * (2 * aspect - 1))
    surface = (0.08 + 0.92 * area) * whole * whole
    heights = (surface / stretch).sqrt().round().clamp(1, whole).long()
    widths = (surface * stretch).sqrt().round().clamp(1, whole).long()
    tops = (down * (whole - heights + 1)).long()
    lefts = (across * (whole - widths + 1)).long()
    boxes = torch.stack([tops, lefts, heights, widths], dim=1).tolist()
    crops = [
        F.interpolate(
            picture[None, :, top : top + height, left : left + width].float(),
            (side, side),
            mode="bilinear",
            antialias=True,
        )
        for picture, (top, left, height, width) in zip(images, boxes, strict=True)
    ]
    return torch.cat(crops).round_().clamp_(0, 255).to(torch.uint8)

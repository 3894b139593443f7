"""Random crops and flips. Their random numbers are an argument: a picture's crop depends on nothing else."""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image

from robustbench_bi.training.recipe import Recipe

Box = tuple[int, int, int, int]
"""Left, top, right and bottom in pixels, the last two exclusive, as Pillow has them."""

TRIES = 10
NUMBERS = 5
"""Uniform numbers that one picture needs: flip, down, across, and for an inception crop area and aspect."""


def crop_and_flip(images: torch.Tensor, numbers: torch.Tensor, recipe: Recipe, side: int) -> torch.Tensor:
    """Crop and mirror each picture of a batch whose pictures have one size.

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
        >>> flipped = crop_and_flip(batch, numbers, Recipe(crop="shift", shift=2), 4)
        >>> torch.equal(flipped[0], batch[0]), torch.equal(flipped[1], batch[1].flip(-1))
        (True, True)
    """
    if recipe.crop == "inception":
        images = _inception_crop(images, numbers[:, 1:], side)
    elif recipe.crop == "shift" and recipe.shift:
        images = _shift(images, numbers[:, 1:3], recipe.shift)
    return flip(images, numbers) if recipe.flip else images


def flip(images: torch.Tensor, numbers: torch.Tensor) -> torch.Tensor:
    """Mirror the pictures whose first number is below a half, left to right."""
    mirrored = (numbers[:, 0] < 0.5).to(images.device).view(-1, 1, 1, 1)
    return torch.where(mirrored, images.flip(-1), images)


def inception_crop(
    picture: Image.Image, numbers: NDArray[np.float64], again: np.random.Generator, side: int
) -> NDArray[np.uint8]:
    """Cut a random box out of a whole picture and resize it, as torchvision's `RandomResizedCrop` does.

    Args:
        picture: RGB, of any size.
        numbers: five, uniform in [0, 1), as in `crop_and_flip`; they choose the first box.
        again: draws the next ones while a box is longer than the picture.
        side: of the result, in pixels.

    Returns:
        uint8 (3, side, side), resized bilinearly with antialiasing.

    Example:
        >>> picture = Image.new("RGB", (500, 375), "red")
        >>> inception_crop(picture, np.full(5, 0.5), np.random.default_rng(0), 224).shape
        (3, 224, 224)
    """
    box = inception_box(picture.width, picture.height, numbers, again)
    cut = picture.crop(box).resize((side, side), Image.Resampling.BILINEAR)
    return np.asarray(cut).transpose(2, 0, 1)


def inception_box(width: int, height: int, numbers: NDArray[np.float64], again: np.random.Generator) -> Box:
    """A box of 8 to 100 % of a picture's area and an aspect of 3/4 to 4/3, somewhere in it.

    After ten boxes that are longer than the picture it is the largest one in its centre whose aspect is in the range.
    """
    for _ in range(TRIES):
        _, down, across, area, aspect = numbers
        stretch = math.exp(math.log(4 / 3) * (2 * aspect - 1))
        surface = (0.08 + 0.92 * area) * width * height
        wide, high = round(math.sqrt(surface * stretch)), round(math.sqrt(surface / stretch))
        if 0 < wide <= width and 0 < high <= height:
            left, top = int(across * (width - wide + 1)), int(down * (height - high + 1))
            return left, top, left + wide, top + high
        numbers = again.random(NUMBERS)
    wide, high = min(width, round(height * 4 / 3)), min(height, round(width * 4 / 3))
    left, top = (width - wide) // 2, (height - high) // 2
    return left, top, left + wide, top + high


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
    """`inception_crop` for a batch of squares. A box that is longer than the square is cut here, not drawn again."""
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

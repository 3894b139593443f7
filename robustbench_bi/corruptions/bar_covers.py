"""What ImageNet-C-bar and CIFAR-10-C-bar (Mintun et al., NeurIPS 2021) lay over a picture in grey: squares, and lines.

Each takes uint8 images (B, 3, H, W), random draws and the constants of a severity, and returns new uint8 images of the
same shape and device. Source: facebookresearch/augmentation-corruption, imagenet_c_bar; what is drawn there for an
image is drawn here, from the same distributions. Lengths that are shares of the side count the shorter one.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

from robustbench_bi.corruptions.series import root, sine

if TYPE_CHECKING:
    from torch import Tensor

    from robustbench_bi.corruptions.draws import Draws

GREY = 128
# The side of a square, as a share of the side of the picture.
SMALLEST_SQUARE, LARGEST_SQUARE = 0.1, 0.25


def checkerboard_cutout(images: Tensor, draws: Draws, *, fraction: float) -> Tensor:
    """Put grey in place of a random part of the squares of one colour of a turned checkerboard.

    Draws: as `checkerboard_draws`.

    Args:
        images: uint8 (B, 3, H, W).
        draws: the random variates.
        fraction: of the squares of that colour which are cut out.

    Returns:
        uint8 (B, 3, H, W).

    Example:
        >>> from robustbench_bi.corruptions.apply import corrupt
        >>> black = torch.zeros(1, 3, 64, 64, dtype=torch.uint8)
        >>> corrupt(black, "checkerboard_cutout", 3).unique().tolist()
        [0, 128]
    """
    height, width = images.shape[-2:]
    board, cut = checkerboard_draws(draws, height, width, fraction)
    cosine, sinus, square = (part[:, None, None] for part in board.unbind(1))
    y = torch.arange(height, dtype=torch.float32, device=images.device)[:, None]
    x = torch.arange(width, dtype=torch.float32, device=images.device)
    rows = ((cosine * y + sinus * x) / square).floor().to(torch.int64)
    columns = ((cosine * x - sinus * y) / square).floor().to(torch.int64)
    side, reach = cut.shape[1], cut.shape[1] // 2
    squares = ((rows + reach) * side + columns + reach).flatten(1)
    grey = cut.flatten(1).gather(1, squares).view(rows.shape) & ((rows + columns) % 2 == 0)
    return images.masked_fill(grey[:, None], GREY)


def checkerboard_draws(draws: Draws, height: int, width: int, fraction: float) -> tuple[Tensor, Tensor]:
    """Return what is drawn for a checkerboard, whose squares meet in the corner of the picture.

    Draws: uniform (2,): the angle and the side of a square; then 16 bits for each of as many squares as may be needed.

    Returns:
        Cosine and sine of the angle and the side of a square in pixels, float32 (B, 3); and whether a square is cut
        out if it has the right colour, bool (B, 2 n, 2 n), where square (n, n) touches the corner.
    """
    angle, square = draws.uniform(2).unbind(1)
    side = min(height, width)
    reach = math.ceil(math.hypot(height, width) / (SMALLEST_SQUARE * side)) + 1
    cut = draws.bits16(2 * reach, 2 * reach) < round(fraction * 65536)
    size = (square * (LARGEST_SQUARE - SMALLEST_SQUARE) + SMALLEST_SQUARE) * side
    return torch.stack([sine(angle + 0.25), sine(angle), size], dim=1), cut


def lines(images: Tensor, draws: Draws, *, density: float) -> Tensor:
    """Draw grey lines, one pixel wide with soft edges, through random places, each as long as the side twice.

    A pixel gets grey in so far as its distance from the line is below 1, as by scikit-image's `line_aa`; after each
    line it is a whole grey level again.

    Draws: as `line_ends`.

    Args:
        images: uint8 (B, 3, H, W).
        draws: the random variates.
        density: lines for each pixel of the side.

    Returns:
        uint8 (B, 3, H, W).

    Example:
        >>> from robustbench_bi.corruptions.apply import corrupt
        >>> white = torch.full((1, 3, 64, 64), 255, dtype=torch.uint8)
        >>> int(corrupt(white, "lines", 3).min())
        128
    """
    height, width = images.shape[-2:]
    ends = line_ends(draws, height, width, density)
    y = torch.arange(height, dtype=torch.float32, device=images.device)[:, None]
    x = torch.arange(width, dtype=torch.float32, device=images.device)
    levels = images.to(torch.float32)
    for line in range(ends.shape[1]):
        top, left, bottom, right = (end[:, None, None] for end in ends[:, line].unbind(1))
        down, across = bottom - top, right - left
        length = root(down * down + across * across)
        cover = (1 - ((x - left) * down - (y - top) * across).abs() / length).clamp(min=0)
        along_width = across.abs() >= down.abs()
        place, first, last = (torch.where(along_width, *two) for two in ((x, y), (left, top), (right, bottom)))
        inside = (place >= torch.minimum(first, last)) & (place <= torch.maximum(first, last))
        cover = torch.where(inside, cover, 0)[:, None]
        levels = (levels + cover * (GREY - levels)).floor()
    return levels.to(torch.uint8)


def line_ends(draws: Draws, height: int, width: int, density: float) -> Tensor:
    """Return where the lines of a picture begin and end, in whole pixels.

    Draws: uniform (2,): the mean angle, and how much of the circle the angles of the lines take up, a tenth to all of
    it; then uniform (n, 3): the row and the column of the middle of each of the n lines, and its angle.

    Returns:
        float32 (B, n, 4): row and column of the one end, then of the other.
    """
    side = min(height, width)
    angle, variation = draws.uniform(2).unbind(1)
    drawn = draws.uniform(int(density * side), 3)
    turns = angle[:, None] + (variation * 0.9 + 0.1)[:, None] * (drawn[..., 2] - 0.5)
    down, across = sine(turns) * side, sine(turns + 0.25) * side
    y, x = drawn[..., 0] * height, drawn[..., 1] * width
    return torch.stack([y - down, x - across, y + down, x + across], dim=2).trunc()

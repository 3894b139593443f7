"""What CIFAR-10-C-bar (Mintun et al., NeurIPS 2021) reads by cubic splines: a turning camera, and a lens's colours.

Each takes uint8 images (B, 3, H, W), random draws and the constants of a severity, and returns new uint8 images of the
same shape and device. Source: facebookresearch/augmentation-corruption, imagenet_c_bar, which calls SciPy.
"""

from __future__ import annotations

import functools
import math
from typing import TYPE_CHECKING

import torch
from torch.nn import functional as F

from robustbench_bi.corruptions import filters
from robustbench_bi.corruptions.digital import ROUNDING_ERROR

if TYPE_CHECKING:
    from torch import Tensor

    from robustbench_bi.corruptions.draws import Draws

TURNS = 21
# Beyond its border a picture is mirrored about its last pixel, as far as splines reach.
BORDER = 2
# Sums of splines that miss a half by less than this are halves; see `filters.truncate`.
TIE = 1e-9


def circular_motion_blur(images: Tensor, draws: Draws, *, angle: float) -> Tensor:
    """Average the picture over turns about its middle, as a camera that is turned during the exposure does.

    There are 21 turns, read by cubic splines, black beyond the border, and weighted by a Gaussian of half the angle.

    Args:
        images: uint8 (B, 3, H, W).
        draws: not used.
        angle: of the outermost turns to both sides, in degrees.

    Returns:
        uint8 (B, 3, H, W).

    Example:
        >>> from robustbench_bi.corruptions.apply import corrupt
        >>> white = torch.full((1, 3, 64, 64), 255, dtype=torch.uint8)
        >>> blurred = corrupt(white, "circular_motion_blur", 5)
        >>> int(blurred[0, 0, 32, 32]), bool(blurred[0, 0, 0, 0] < 255)
        (255, True)
    """
    height, width = images.shape[-2:]
    rows, columns = (spline_matrix(side) for side in (height, width))
    splines = filters.separable(images.double(), rows, columns)
    padded = F.pad(splines, (BORDER, BORDER, BORDER, BORDER), mode="reflect").flatten(2)
    down = (torch.arange(height, dtype=torch.float64, device=images.device) - (height - 1) / 2)[:, None]
    across = torch.arange(width, dtype=torch.float64, device=images.device) - (width - 1) / 2
    total = images.new_zeros(images.shape, dtype=torch.float64)
    for cosine, sinus, weight in turns_about_the_middle(angle):
        y = down * cosine + across * sinus + (height - 1) / 2
        x = across * cosine - down * sinus + (width - 1) / 2
        inside = (y >= 0) & (y <= height - 1) & (x >= 0) & (x <= width - 1)
        top, left = y.floor().clamp(0, height - 1), x.floor().clamp(0, width - 1)
        first = top.long() * (width + 2 * BORDER) + left.long() + (BORDER - 1) * (width + 2 * BORDER + 1)
        value = torch.zeros_like(total)
        for row, down_weight in enumerate(spline_weights(y - top)):
            line = torch.zeros_like(total)
            for column, across_weight in enumerate(spline_weights(x - left)):
                places = (first + row * (width + 2 * BORDER) + column).flatten()
                line += padded.index_select(2, places).view(images.shape) * across_weight
            value += line * down_weight
        total += torch.where(inside, value, 0) * weight
    return total.add_(ROUNDING_ERROR).clamp_(0, 255).to(torch.uint8)


def turns_about_the_middle(angle: float) -> list[tuple[float, float, float]]:
    """Return cosine, sine and weight of each turn; the weights sum to 1.

    Example:
        >>> turns = turns_about_the_middle(9.0)
        >>> turns[10][:2], round(turns[10][2] / turns[0][2], 2)
        ((1.0, 0.0), 7.39)
    """
    shares = [2 * number / (TURNS - 1) - 1 for number in range(TURNS)]
    weights = [math.exp(-2 * share**2) for share in shares]
    angles = [math.radians(share * angle) for share in shares]
    return [(math.cos(a), math.sin(a), weight / sum(weights)) for a, weight in zip(angles, weights, strict=True)]


def spline_weights(share: Tensor) -> list[Tensor]:
    """Return the weights of the four cubic B-splines about a place: before two, at, after, and after two.

    Args:
        share: by how much the place is after the second, 0 to 1.

    Example:
        >>> [float(weight * 6) for weight in spline_weights(torch.tensor(0.0))]
        [1.0, 4.0, 1.0, 0.0]
    """
    rest = 1 - share
    first, last = rest * rest * rest / 6, share * share * share / 6
    return [first, (share * share * (share - 2) * 3 + 4) / 6, (rest * rest * (rest - 2) * 3 + 4) / 6, last]


@functools.lru_cache(maxsize=4)
def spline_matrix(side: int) -> Tensor:
    """Return the matrix that turns a line of pixels into weights of the cubic B-splines that pass through them.

    The line is mirrored about its ends, as `scipy.ndimage.spline_filter` does.

    Returns:
        float64 (side, side) on the CPU, cached: do not write into it.

    Example:
        >>> (spline_matrix(3) @ torch.ones(3, dtype=torch.float64)).round(decimals=3)
        tensor([1., 1., 1.], dtype=torch.float64)
    """
    values = torch.zeros(side, side, dtype=torch.float64)
    place = torch.arange(side)
    values[place, place] = 4 / 6
    for step in (-1, 1):
        beside = (place + step).abs()
        beside = torch.where(beside >= side, 2 * (side - 1) - beside, beside)
        values.index_put_((place, beside), torch.tensor(1 / 6, dtype=torch.float64), accumulate=True)
    inverse: Tensor = torch.linalg.inv_ex(values).inverse
    return inverse


def transverse_chromatic_aberration(images: Tensor, draws: Draws, *, zoom: float) -> Tensor:
    """Magnify one channel, another half as much, and smooth all three.

    A channel is read by cubic B-splines whose weights are the pixels themselves, as published: that smooths it.

    Draws: as `magnification_steps`.

    Args:
        images: uint8 (B, 3, H, W).
        draws: the random variates.
        zoom: by how much the side grows; only the middle is shown.

    Returns:
        uint8 (B, 3, H, W).

    Example:
        >>> from robustbench_bi.corruptions.apply import corrupt
        >>> ramp = torch.arange(0, 256, 4, dtype=torch.uint8).expand(1, 3, 64, 64)
        >>> red, green, blue = corrupt(ramp, "transverse_chromatic_aberration", 5)[0]
        >>> torch.equal(red, green), torch.equal(green, blue)
        (False, False)
    """
    height, width = images.shape[-2:]
    result = torch.empty_like(images)
    steps = magnification_steps(draws)
    for step in range(3):
        rows, columns = (magnified(side, 1 + zoom * step / 2) for side in (height, width))
        chosen = steps == step
        planes = images[chosen].double()
        for axis, (places, weights) in ((1, rows), (2, columns)):
            planes = _weighted(planes, axis, places.to(images.device), weights.to(images.device))
        result[chosen] = planes.add_(0.5 + TIE).to(torch.uint8)
    return result


def magnification_steps(draws: Draws) -> Tensor:
    """Return by how many halves of the zoom each channel is magnified: int64 (B, 3), 0, 1 and 2 in a random order.

    Draws: uniform (3,), whose ranks they are.
    """
    return draws.uniform(3).argsort(dim=1, stable=True)


@functools.lru_cache(maxsize=32)
def magnified(side: int, zoom: float) -> tuple[Tensor, Tensor]:
    """Return which pixels of a line each pixel of the middle of the magnified line is made of, and their weights.

    Returns:
        int64 (4, side), and float64 (4, side), on the CPU, cached: do not write into them.

    Example:
        >>> places, weights = magnified(4, 1.5)
        >>> places.tolist(), (weights[:, 0] * 6).round(decimals=2).tolist()
        ([[1, 0, 0, 1], [0, 1, 1, 2], [1, 2, 2, 3], [2, 3, 3, 2]], [0.06, 2.49, 3.23, 0.22])
    """
    length = round(side * zoom)
    place = (torch.arange(side, dtype=torch.float64) + (length - side) // 2) * ((side - 1) / (length - 1))
    first = place.floor().clamp(max=side - 1)
    places = first.long() + torch.arange(-1, 3)[:, None]
    places = places.abs()
    places = torch.where(places >= side, 2 * (side - 1) - places, places)
    return places, torch.stack(spline_weights(place - first))


def _weighted(planes: Tensor, axis: int, places: Tensor, weights: Tensor) -> Tensor:
    """The sum of four pixels along an axis of planes (N, H, W)."""
    weights = weights[:, :, None] if axis == 1 else weights[:, None]
    total = torch.zeros_like(planes)
    for place, weight in zip(places, weights, strict=True):
        total = total + planes.index_select(axis, place) * weight
    return total

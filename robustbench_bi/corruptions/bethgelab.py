"""The package `imagecorruptions` (bethgelab, version 1.1.2), where it is not the code that made ImageNet-C.

At side 224 that is in elastic_transform, frost and snow, and at about one side in five in pixelate. The table
"imagecorruptions" takes these functions, and everything else from the code and the constants of "imagenet-c": with
those the package corrupts images of any size. Its motion_blur replaces ImageMagick's, as ours does in every table.

On photographs of side 224, elastic_transform changes a byte by 6, 8, 9, 11 and 12 grey levels on average at severities
1 to 5, where "imagenet-c" changes it by 30, 38, 14, 14 and 15. With the same draws, snow is 0.02 to 0.17 grey levels
brighter than that of "imagenet-c", and frost 0.03 to 0.15 darker.

Each function takes uint8 images (B, 3, H, W), random draws and the constants of a severity, and returns new uint8
images of the same shape and device. Given the package's own draws they are the package's images, for any H and W: at
most one byte in ten thousand is off, by one grey level.
"""

from __future__ import annotations

import functools
import math
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from robustbench_bi.corruptions import digital
from robustbench_bi.corruptions.filters import centre_crop, directional_steps, gaussian_matrix, separable, to_unit
from robustbench_bi.corruptions.weather import LUMA, TEXTURES, texture

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from robustbench_bi.corruptions.draws import Draws

# Of the elastic field: standard deviation of its Gaussian as a share of each side, largest value as one of the height.
ELASTIC_SIGMA = 0.01
ELASTIC_REACH = 0.005


def elastic_transform(images: Tensor, draws: Draws, *, alpha: float) -> Tensor:
    """Displace every pixel by a smooth random field, which grows with the image.

    The field is uniform noise, smoothed by a Gaussian (borders mirrored, cut at three sigma), times alpha. Unlike in
    the published code no affine map comes before it, and the severities differ in alpha alone. The noise goes up to
    0.005 of the height in both directions, also where the image is wider than high; the Gaussian's standard deviation
    is 0.01 of the height down the image and 0.01 of the width across.

    Draws: uniform (H, W) twice, in pixels, the displacement to the right first.

    Args:
        images: uint8 (B, 3, H, W).
        draws: the random variates.
        alpha: factor of the smoothed noise.

    Returns:
        uint8 (B, 3, H, W).

    Example:
        >>> from robustbench_bi.corruptions.draws import Draws
        >>> ramp = torch.arange(0, 256, 8, dtype=torch.uint8).expand(1, 3, 32, 32)
        >>> draws = Draws(torch.tensor([0]), seed=0, stream=13, severity=5)
        >>> torch.equal(elastic_transform(ramp, draws, alpha=30), ramp)
        False
    """
    height, width = images.shape[-2:]
    rows, columns = (
        gaussian_matrix(side, side * ELASTIC_SIGMA, truncate=3, mode="reflect") for side in (height, width)
    )
    reach = height * ELASTIC_REACH
    # The package rounds the field to float32, and then goes on in float64.
    x, y = (
        separable(draws.uniform(height, width, low=-reach, high=reach).double(), rows, columns).mul_(alpha).float()
        for _ in range(2)
    )
    across = x.double().add_(torch.arange(width, device=x.device))
    down = y.double().add_(torch.arange(height, device=y.device)[:, None])
    # For `grid_sample` -1 and 1 are the edges of the outer pixels; mirroring there doubles the border, as in SciPy.
    places = torch.stack([(across * 2 + 1) / width - 1, (down * 2 + 1) / height - 1], dim=-1)
    unit = to_unit(images, torch.float32).double()
    moved = F.grid_sample(unit, places, padding_mode="reflection", align_corners=False)
    return moved.float().mul_(255).to(torch.uint8)


def frost(images: Tensor, draws: Draws, *, image_weight: float, frost_weight: float, texture_scale: float) -> Tensor:
    """Add a random part of a photographed frosted window, somewhat enlarged.

    The textures are enlarged by `texture_scale`, bicubic, and a texture smaller than the image first just enough to
    cover it. The published code takes them as they are.

    Draws: the texture, integers (B,) below 5; then the top and the left of the part, uniform (B,) each, scaled to the
    H' - H and W' - W places of an H' × W' texture (the last possible place is never taken, as in the package).

    Args:
        images: uint8 (B, 3, H, W).
        draws: the random variates.
        image_weight: weight of the image.
        frost_weight: weight of the texture.
        texture_scale: more than 1.

    Returns:
        uint8 (B, 3, H, W).

    Raises:
        DataError: the textures are not installed.

    Example:
        >>> from robustbench_bi.corruptions.draws import Draws
        >>> black = torch.zeros(1, 3, 64, 64, dtype=torch.uint8)
        >>> draws = Draws(torch.tensor([0]), seed=0, stream=9, severity=1)
        >>> 0 < int(frost(black, draws, image_weight=1, frost_weight=0.4, texture_scale=1.1).max()) <= 0.4 * 255
        True
    """
    height, width = images.shape[-2:]
    numbers = draws.integers(0, len(TEXTURES)).tolist()
    tops, lefts = draws.uniform().tolist(), draws.uniform().tolist()
    parts = []
    for number, top, left in zip(numbers, tops, lefts, strict=True):
        scale = enlargement(number, height, width) * texture_scale
        frosted = enlarged(number, scale, images.device)
        y, x = int(top * (frosted.shape[1] - height)), int(left * (frosted.shape[2] - width))
        parts.append(frosted[:, y : y + height, x : x + width])
    ice = torch.stack(parts).double().mul_(frost_weight)
    return images.double().mul_(image_weight).add_(ice).clamp_(0, 255).to(torch.uint8)


def enlargement(number: int, height: int, width: int) -> float:
    """Return how many times a texture must be enlarged to cover height and width, at least 1."""
    sides = texture(number).shape[1:]
    return max(1.0, height / sides[0], width / sides[1])


@functools.lru_cache(maxsize=8)
def enlarged(number: int, scale: float, device: torch.device) -> Tensor:
    """Return a texture, uint8 (3, H', W'), resized as cv2.resize does with INTER_CUBIC.

    Where OpenCV has Intel's library, as on x86, one byte in fifty thousand is off by one. Elsewhere OpenCV rounds the
    weights to 11 bits, and one byte in twenty is.
    """
    own = texture(number)[None].to(device, torch.float64)
    size = [math.ceil(side * scale) for side in own.shape[2:]]
    large = F.interpolate(own, size, mode="bicubic", align_corners=False)[0]
    return large.round_().clamp_(0, 255).to(torch.uint8)


def pixelate(images: Tensor, draws: Draws, *, scale: float) -> Tensor:
    """Shrink images to int(side * scale) with Pillow's box filter and enlarge them again with its nearest pixel.

    The published code enlarges with the box filter too. Both repeat pixels, and differ where an output pixel lies
    between two of them: never at side 224, but at about one side in five, in up to a sixth of the bytes.

    Args:
        images: uint8 (B, 3, H, W).
        draws: not used.
        scale: new side as a share of the old, 0 to 1.

    Returns:
        uint8 (B, 3, H, W).

    Example:
        >>> from robustbench_bi.corruptions.draws import Draws
        >>> ramp = torch.arange(0, 240, 6, dtype=torch.uint8).expand(1, 3, 40, 40)
        >>> pixelate(ramp, Draws(torch.tensor([0]), seed=0, stream=14, severity=3), scale=0.4)[0, 0, 0, :10].tolist()
        [6, 6, 21, 21, 21, 36, 36, 36, 51, 51]
    """
    boxes = digital.pixelate(images, draws, scale=scale)
    rows, columns = (_block_middles(side, scale, images.device) for side in images.shape[-2:])
    return boxes.index_select(2, rows).index_select(3, columns)


@functools.lru_cache(maxsize=64)
def _block_middles(side: int, scale: float, device: torch.device) -> Tensor:
    """For each pixel of a line, int64 (side,), the pixel in the middle of its block, where both ways agree."""
    middles = (nearest_blocks(side, scale) + 0.5) * (side / int(side * scale))
    return torch.from_numpy(middles.astype(np.int64)).to(device)


def nearest_blocks(side: int, scale: float) -> NDArray[np.int64]:
    """Return the block of each pixel of a line, (side,), as Pillow finds the nearest pixel of the smaller line.

    It goes along the line step by step, and the rounding errors of these sums decide between two pixels.
    """
    step = int(side * scale) / side
    return np.add.accumulate(np.array([0.5 * step] + [step] * (side - 1))).astype(np.int64)


def snow(
    images: Tensor,
    draws: Draws,
    *,
    mean: float,
    std: float,
    zoom: float,
    threshold: float,
    blur_radius: int,
    blur_sigma: float,
    image_weight: float,
) -> Tensor:
    """Whiten the picture and lay streaks over it: normal noise, magnified, cut off below, blurred along a direction.

    Unlike in the published code the layer is blurred at its full precision, and rounded only then. It is also blurred
    as a whole, with the few rows and columns by which the magnification exceeds the picture, before its top left part
    is taken. The layer is added a second time turned by 180 degrees.

    Draws: normal (h, w), for the h × w pixels of the layer that the magnification keeps; then the direction of the
    blur, uniform (B,), in degrees. Layers are blurred one after the other.

    Args:
        images: uint8 (B, 3, H, W).
        draws: the random variates.
        mean: of the noise, where 1 is white.
        std: of the noise, likewise.
        zoom: magnification of the noise.
        threshold: noise below it becomes 0.
        blur_radius: half the length of the streaks, in pixels; they must be shorter than H and W.
        blur_sigma: standard deviation of the half Gaussian along them, in pixels.
        image_weight: weight of the picture against its whitened copy.

    Returns:
        uint8 (B, 3, H, W).

    Example:
        >>> from robustbench_bi.corruptions.apply import severity_constants
        >>> from robustbench_bi.corruptions.draws import Draws
        >>> black = torch.zeros(1, 3, 64, 64, dtype=torch.uint8)
        >>> draws = Draws(torch.tensor([0]), seed=0, stream=8, severity=1)
        >>> bool((snow(black, draws, **severity_constants("snow", 1, "imagecorruptions")) >= 25).all())
        True
    """
    height, width = images.shape[-2:]
    crop = [centre_crop(side, zoom) for side in (height, width)]
    noise = draws.normal(*(part.stop - part.start for part in crop)).double() * std + mean
    layer = _magnified(noise, zoom)
    layer = torch.where(layer < threshold, 0.0, layer).clamp_(0, 1)
    blurred = _streaks(layer, draws.uniform(low=-135.0, high=-45.0), radius=blur_radius, sigma=blur_sigma)
    flakes = to_unit(blurred.mul_(255).round_().to(torch.uint8)[:, None, :height, :width], torch.float64)

    unit = to_unit(images, torch.float32)
    red, green, blue = (unit[:, channel, None] * weight for channel, weight in enumerate(LUMA))
    white = torch.maximum(unit, red.add_(green).add_(blue).mul_(1.5).add_(0.5)).mul_(1 - image_weight)
    picture = unit.mul_(image_weight).add_(white).double()
    return picture.add_(flakes).add_(flakes.flip(-2, -1)).clamp_(0, 1).mul_(255).to(torch.uint8)


def _magnified(layers: Tensor, zoom: float) -> Tensor:
    """Magnify float64 (B, h, w) as `scipy.ndimage.zoom` of order 1: first and last pixel in place, linear between."""
    sides = layers.shape[1:]
    magnified = [round(side * zoom) for side in sides]
    layers = F.interpolate(layers[:, None], magnified, mode="bilinear", align_corners=True)[:, 0]
    for dimension, (side, count) in enumerate(zip(sides, magnified, strict=True), start=1):
        # At some sides rounding takes the last pixel out of SciPy's range, and it becomes a zero.
        if (count - 1) * ((side - 1) / (count - 1)) > side - 1:
            layers.select(dimension, -1).zero_()
    return layers


def _streaks(layers: Tensor, degrees: Tensor, *, radius: int, sigma: float) -> Tensor:
    """Blur float64 (B, h, w) along a direction for each, as `filters.directional_blur` does with grey levels."""
    height, width = layers.shape[1:]
    reach = 2 * radius
    weights = half_gaussian(reach + 1, sigma).tolist()
    down, right = directional_steps(degrees, reach + 1)
    padded = F.pad(layers[:, None], [reach] * 4, mode="replicate")[:, 0]
    blurred = torch.zeros_like(layers)
    for image, source, rows, columns in zip(blurred, padded, down.tolist(), right.tolist(), strict=True):
        for weight, row, column in zip(weights, rows, columns, strict=True):
            y, x = reach + row, reach + column
            image.add_(source[y : y + height, x : x + width], alpha=weight)
    return blurred


def half_gaussian(count: int, sigma: float) -> Tensor:
    """Return exp(-i² / 2 sigma²) for i from 0 to count - 1, float64 (count,), which sums to one."""
    weights = torch.exp(-0.5 * (torch.arange(count, dtype=torch.float64) / sigma) ** 2)
    return weights / weights.sum()

"""The weather of ImageNet-C: snow, frost, fog, brightness; and spatter of its four validation corruptions.

Each takes uint8 images (B, 3, H, W), random draws and the constants of a severity, and returns new uint8 images of the
same shape and device. Source: hendrycks/robustness, ImageNet-C/create_c.

Arithmetic keeps the precision and the order of the published code, step by step, because the truncation at its end
shows every rounding error.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from robustbench_bi.corruptions.digital import hsv_to_rgb, rgb_to_hsv
from robustbench_bi.corruptions.droplets import relief
from robustbench_bi.corruptions.filters import (
    DirectionalBlur,
    directional_blur,
    gaussian,
    separable,
    to_unit,
    zoom_matrix,
)
from robustbench_bi.corruptions.original import frost_texture_folder
from robustbench_bi.corruptions.plasma import plasma

if TYPE_CHECKING:
    from robustbench_bi.corruptions.draws import Draws

# The published code lists six textures but draws among the first five; the second and the third are the same picture.
TEXTURES = ("frost1.png", "frost2.png", "frost3.png", "frost4.jpg", "frost5.jpg")
# Weights of ITU-R BT.601 as OpenCV's float conversion to grey has them.
LUMA = (0.299, 0.587, 0.114)
WATER = (175, 238, 238)
MUD = (63, 42, 20)


def snow(
    images: Tensor,
    draws: Draws,
    directional_blur: DirectionalBlur = directional_blur,
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

    As published, the layer is magnified about its centre, truncated to uint8, blurred as uint8 and added a second time
    turned by 180 degrees. `imagecorruptions` differs: it neither centres the layer nor truncates it before the blur,
    which makes its snow up to 0.2 grey levels brighter at side 224. The blur is its stand-in for ImageMagick's.

    Draws: normal (h, w), for the h × w pixels of the layer that the magnification keeps; then the direction of the
    blur, uniform (B,), in degrees. Layers are blurred one after the other.

    Args:
        images: uint8 (B, 3, H, W).
        draws: the random variates.
        directional_blur: `filters.directional_blur`, or a twin of it.
        mean: of the noise, where 1 is white.
        std: of the noise, likewise.
        zoom: magnification of the noise.
        threshold: noise below it becomes 0.
        blur_radius: half the length of the streaks, in pixels.
        blur_sigma: standard deviation of the half Gaussian along them, in pixels.
        image_weight: weight of the picture against its whitened copy.

    Returns:
        uint8 (B, 3, H, W).

    Example:
        >>> from robustbench_bi.corruptions.apply import corrupt
        >>> black = np.zeros((64, 64, 3), dtype=np.uint8)
        >>> bool((corrupt(black, "snow", 1, table="tiny-imagenet-c") >= 25).all())
        True
    """
    height, width = images.shape[-2:]
    rows, columns = zoom_matrix(height, zoom), zoom_matrix(width, zoom)
    layer = separable(draws.normal(rows.shape[1], columns.shape[1]).double() * std + mean, rows, columns)
    layer = torch.where(layer < threshold, 0.0, layer).clamp_(0, 1).mul_(255).to(torch.uint8)
    degrees = draws.uniform(low=-135.0, high=-45.0)
    streaks = directional_blur(layer[:, None], degrees, radius=blur_radius, sigma=blur_sigma, rounded=True)
    flakes = to_unit(streaks, torch.float64)

    unit = to_unit(images, torch.float32)
    red, green, blue = (unit[:, channel, None] * weight for channel, weight in enumerate(LUMA))
    white = torch.maximum(unit, red.add_(green).add_(blue).mul_(1.5).add_(0.5)).mul_(1 - image_weight)
    picture = unit.mul_(image_weight).add_(white).double()
    return picture.add_(flakes).add_(flakes.flip(-2, -1)).clamp_(0, 1).mul_(255).to(torch.uint8)


def frost(images: Tensor, draws: Draws, *, image_weight: float, frost_weight: float, texture_scale: float) -> Tensor:
    """Add a random part of a photographed frosted window.

    The textures are those of the `imagecorruptions` wheel, which themselves come from the published code, as RGB. A
    texture smaller than the image is enlarged just enough to cover it (the published code stops there;
    `imagecorruptions` always enlarges by another 1.1).

    Draws: the texture, integers (B,) below 5; then the top and the left of the part, uniform (B,) each, scaled to the
    H' - H and W' - W places of an H' × W' texture (the last possible place is never taken, as published).

    Args:
        images: uint8 (B, 3, H, W).
        draws: the random variates.
        image_weight: weight of the image.
        frost_weight: weight of the texture.
        texture_scale: the textures are resized by it, bilinear.

    Returns:
        uint8 (B, 3, H, W).

    Raises:
        DataError: the textures are not installed.

    Example:
        >>> from robustbench_bi.corruptions.apply import corrupt
        >>> black = np.zeros((2, 64, 64, 3), dtype=np.uint8)
        >>> first, second = corrupt(black, "frost", 3, table="tiny-imagenet-c")
        >>> bool((first == second).all()), bool(first.max() <= 0.45 * 255)
        (False, True)
    """
    height, width = images.shape[-2:]
    numbers = draws.integers(0, len(TEXTURES)).tolist()
    tops, lefts = draws.uniform().tolist(), draws.uniform().tolist()
    parts = []
    for number, top, left in zip(numbers, tops, lefts, strict=True):
        scale = texture_scale_over(number, texture_scale, height, width)
        frosted = resized_texture(number, scale, images.device)
        y, x = int(top * (frosted.shape[1] - height)), int(left * (frosted.shape[2] - width))
        parts.append(frosted[:, y : y + height, x : x + width])
    ice = torch.stack(parts).double().mul_(frost_weight)
    return images.double().mul_(image_weight).add_(ice).clamp_(0, 255).to(torch.uint8)


def texture_scale_over(number: int, scale: float, height: int, width: int) -> float:
    """Return the scale by which a frost texture is resized, or more where it would not cover height and width.

    Example:
        >>> texture_scale_over(0, 0.2, 32, 32), texture_scale_over(0, 1, 1200, 32)
        (0.2, 2.0)
    """
    sides = texture(number).shape[1:]
    return max(scale, height / sides[0], width / sides[1])


@functools.cache
def texture(number: int) -> Tensor:
    """Return a frost texture as it was photographed: uint8 (3, H', W') on the CPU, RGB; do not write into it."""
    with Image.open(frost_texture_folder() / TEXTURES[number]) as file:
        return torch.from_numpy(np.array(file.convert("RGB"))).movedim(-1, 0).contiguous()


@functools.lru_cache(maxsize=16)
def resized_texture(number: int, scale: float, device: torch.device) -> Tensor:
    """Return a texture as cv2.resize does it by default: bilinear, no antialiasing, weights of 11 bits.

    Args:
        number: of the texture, 0 to 4.
        scale: of its sides.
        device: of the result.

    Returns:
        uint8 (3, H', W'). It is cached: do not write into it.

    Raises:
        DataError: the textures are not installed.

    Example:
        >>> resized_texture(0, 0.2, torch.device("cpu")).shape
        torch.Size([3, 120, 180])
    """
    own = texture(number)
    if scale == 1:
        return own.to(device)
    own = own.to(torch.int32)
    (top, bottom), (above, below) = neighbours(own.shape[1], scale)
    (left, right), (before, after) = neighbours(own.shape[2], scale)
    rows = (own[..., left] * before + own[..., right] * after) >> 4
    quarters: Tensor = ((rows[:, top] * above[:, None]) >> 16) + ((rows[:, bottom] * below[:, None]) >> 16)
    return ((quarters + 2) >> 2).to(device, torch.uint8)


def neighbours(side: int, scale: float) -> tuple[Tensor, Tensor]:
    """Return between which two pixels each of the n pixels of a resized line lies, int64 (2, n), and their weights.

    The weights are int32 (2, n), in units of 1/2048.

    Example:
        >>> [part.tolist() for part in neighbours(2, 2)]
        [[[0, 0, 0, 0], [1, 1, 1, 1]], [[2048, 1536, 512, 0], [0, 512, 1536, 2048]]]
    """
    centre = ((torch.arange(round(side * scale), dtype=torch.float64) + 0.5) / scale - 0.5).clamp(0, side - 1)
    first = centre.floor().long().clamp(max=side - 2)
    share = centre - first
    return torch.stack([first, first + 1]), (torch.stack([1 - share, share]) * 2048).round().to(torch.int32)


def fog(images: Tensor, draws: Draws, *, intensity: float, wibble_decay: float) -> Tensor:
    """Add a fractal cloud and scale back to the brightest value that the image had.

    The cloud (`plasma.plasma`, which says what is drawn) has the next power of two as its side, as published for the
    sides of the four tables: 256 for 224, 512 for 299, 64 for 64, 32 for 32.

    Args:
        images: uint8 (B, 3, H, W).
        draws: the random variates.
        intensity: of the densest fog, where 1 is white.
        wibble_decay: the greater, the smoother the cloud.

    Returns:
        uint8 (B, 3, H, W).

    Example:
        >>> from robustbench_bi.corruptions.apply import corrupt
        >>> image = np.full((64, 64, 3), 100, dtype=np.uint8)
        >>> foggy = corrupt(image, "fog", 1, table="tiny-imagenet-c")
        >>> 49 <= int(foggy.min()) < int(foggy.max()) <= 100
        True
    """
    height, width = images.shape[-2:]
    cloud = plasma(draws, 1 << (max(height, width) - 1).bit_length(), wibble_decay)[:, None, :height, :width]
    unit = to_unit(images, torch.float64)
    brightest = to_unit(images.amax(dim=(1, 2, 3), keepdim=True), torch.float64)
    foggy = unit.add_(cloud.mul_(intensity)).mul_(brightest).div_(brightest + intensity)
    return foggy.clamp_(0, 1).mul_(255).to(torch.uint8)


def brightness(images: Tensor, draws: Draws, *, offset: float) -> Tensor:
    """Add to the value of HSV, which scales all three channels of a pixel alike.

    The published code goes to HSV and back with scikit-image. The value V of a pixel is its greatest channel, and a new
    value V' makes every channel c into c V' / V, so that a table of 256 × 256 results holds all there is. Only where
    c V' / V is a whole number, and c neither the greatest nor the least channel, do the rounding errors of the hue
    decide over a byte; those few pixels take the detour.

    Args:
        images: uint8 (B, 3, H, W).
        draws: not used.
        offset: added to the value, where 1 is white.

    Returns:
        uint8 (B, 3, H, W).

    Example:
        >>> from robustbench_bi.corruptions.apply import corrupt
        >>> image = np.full((32, 32, 3), (200, 100, 0), dtype=np.uint8)
        >>> corrupt(image, "brightness", 3)[0, 0]
        array([255, 127,   0], dtype=uint8)
    """
    least, value = images.amin(dim=1, keepdim=True), images.amax(dim=1, keepdim=True)
    entries = (value.to(torch.int32) * 256 + images).flatten()
    table, whole = brightened(offset, images.device)
    result = table.index_select(0, entries).view(images.shape)
    doubtful = whole.index_select(0, entries).view(images.shape) & (images > least) & (images < value)
    pixels = doubtful.any(dim=1)
    colours = to_unit(images.movedim(1, -1)[pixels], torch.float64)
    hue, saturation, lightness = rgb_to_hsv(colours[..., None, None])
    detour = hsv_to_rgb(hue, saturation, lightness.add_(offset).clamp_(0, 1))
    result.movedim(1, -1)[pixels] = detour[..., 0, 0].clamp_(0, 1).mul_(255).to(torch.uint8)
    return result


@functools.lru_cache(maxsize=64)
def brightened(offset: float, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return the new level of a channel, at [256 * value + channel]: uint8; and whether it is a whole number: bool."""
    unit = torch.arange(256, dtype=torch.float64) / 255
    value, channel = unit[:, None], unit[None]
    saturation = torch.where(value > 0, (value - channel) / value, 0.0)
    levels = ((value + offset).clamp(0, 1) * (1 - saturation)).clamp(0, 1).mul(255).flatten()
    return levels.to(torch.uint8).to(device), ((levels - levels.round()).abs() < 1e-9).to(device)


def spatter(
    images: Tensor,
    draws: Draws,
    *,
    mean: float,
    std: float,
    sigma: float,
    threshold: float,
    strength: float,
    mud: int,
) -> Tensor:
    """Spatter the lens with water (severities 1 to 3) or mud (4 and 5).

    The liquid is smoothed normal noise above a threshold. Water adds light where its relief (`droplets.relief`) shines,
    the brightest spot of an image at full strength; an image without any water stays as it is, where the published code
    divides zero by zero. Mud covers the image.

    Draws: normal (H, W).

    Args:
        images: uint8 (B, 3, H, W).
        draws: the random variates.
        mean: of the noise.
        std: of the noise.
        sigma: standard deviation of the Gaussian that smooths the noise, in pixels.
        threshold: less than this is no liquid.
        strength: of the water, where 1 is the full colour; for mud, the standard deviation, in pixels, of the Gaussian
            that smooths its outline.
        mud: 0 for water, 1 for mud.

    Returns:
        uint8 (B, 3, H, W).

    Example:
        >>> from robustbench_bi.corruptions.apply import corrupt
        >>> grey = np.full((64, 64, 3), 100, dtype=np.uint8)
        >>> wet, muddy = (corrupt(grey, "spatter", severity) for severity in (1, 5))
        >>> int(wet.min()), int(muddy.max())
        (100, 100)
    """
    height, width = images.shape[-2:]
    liquid = gaussian(draws.normal(height, width).double() * std + mean, sigma)
    unit = to_unit(images, torch.float32)
    if mud:
        cover = gaussian((liquid > threshold).double(), strength).to(torch.float32)
        cover = torch.where(cover < 0.8, 0.0, cover)[:, None]
        return unit.mul_(1 - cover).add_(_colour(MUD, cover) * cover).clamp_(0, 1).mul_(255).to(torch.uint8)
    # Levels above 1 wrap around, as in the published conversion to uint8.
    levels = torch.where(liquid < threshold, 0.0, liquid * 255).to(torch.int32).bitwise_and_(255).to(torch.uint8)
    shine = levels.float() * relief(levels)
    brightest = shine.amax(dim=(1, 2), keepdim=True)
    water = (shine / torch.where(brightest > 0, brightest, 1.0) * strength)[:, None]
    return unit.add_(water * _colour(WATER, water)).clamp_(0, 1).mul_(255).to(torch.uint8)


def _colour(levels: tuple[int, int, int], like: Tensor) -> Tensor:
    """A colour as (3, 1, 1), where 1 is white."""
    return torch.tensor([level / 255 for level in levels], dtype=like.dtype, device=like.device).view(3, 1, 1)

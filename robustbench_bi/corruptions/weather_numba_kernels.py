"""CPU twins of the corruptions in `weather`: the same names and arguments, for a few images in one thread.

Every step of the arithmetic has the precision and, but for sums in float64, the order that it has in the definition. So
the bytes are the same.
"""

from __future__ import annotations

import functools
import math
from typing import TYPE_CHECKING, Any

import numba
import numpy as np
import torch

from robustbench_bi.corruptions import filters, filters_numba_kernels, weather
from robustbench_bi.corruptions.droplets_numba_kernels import relief
from robustbench_bi.corruptions.filters import UNIT_HIGH, UNIT_LOW
from robustbench_bi.corruptions.fog_numba_kernels import fog
from robustbench_bi.corruptions.hsv_numba_kernels import brightness

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from robustbench_bi.corruptions.draws import Draws

__all__ = ["brightness", "fog", "frost", "snow", "spatter"]

_NEXT = np.uint64(1)
_RED, _GREEN, _BLUE = (np.float32(weight) for weight in weather.LUMA)


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
    """Twin of `weather.snow`."""
    height, width = images.shape[-2:]
    noise = draws.normal(math.ceil(height / zoom), math.ceil(width / zoom)).numpy()
    rows, columns = _zoom_places(height, zoom), _zoom_places(width, zoom)
    layers = np.empty((len(images), 1, height, width), dtype=np.uint8)
    _magnify(noise, *rows, *columns, float(mean), float(std), float(threshold), layers)
    degrees = draws.uniform(low=-135.0, high=-45.0)
    streaks = filters_numba_kernels.directional_blur(
        layers, degrees, radius=blur_radius, sigma=blur_sigma, rounded=True
    )
    result = torch.empty_like(images)
    weights = np.float32(image_weight), np.float32(1 - image_weight)
    add_flakes(images.numpy(), streaks, *weights, result.numpy())
    return result


@functools.lru_cache(maxsize=64)
def _zoom_places(side: int, zoom: float) -> tuple[NDArray[np.uint64], NDArray[np.float64]]:
    lefts, shares = filters.zoom_places(side, zoom)
    # An unsigned number as an index spares numba the question whether it counts from the end.
    return lefts.numpy().astype(np.uint64), shares.numpy()


@numba.njit(nogil=True, cache=True)
def _magnify(
    noise: Any, tops: Any, downs: Any, lefts: Any, rights: Any, mean: float, std: float, threshold: float, layers: Any
) -> None:
    """Layers of snow, uint8 (B, 1, H, W), from noise (B, h, w) and the places and shares of `filters.zoom_places`."""
    row = np.empty(noise.shape[2])
    for number in range(len(noise)):
        for y in range(len(tops)):
            above, below = noise[number, tops[y]], noise[number, tops[y] + _NEXT]
            down, up = downs[y], 1 - downs[y]
            for x in range(len(row)):
                row[x] = (above[x] * std + mean) * up + (below[x] * std + mean) * down
            target = layers[number, 0, y]
            for x in range(len(lefts)):
                level = row[lefts[x]] * (1 - rights[x]) + row[lefts[x] + _NEXT] * rights[x]
                target[x] = np.uint8(0 if level < threshold else min(max(level, 0.0), 1.0) * 255)


@numba.njit(nogil=True, cache=True)
def add_flakes(images: Any, streaks: Any, image_weight: Any, white_weight: Any, result: Any) -> None:
    """Whiten images and add streaks, uint8 (B, 1, H, W), as they are and turned around."""
    count, channels, height, width = images.shape
    unit, white = np.empty((channels, width), np.float32), np.empty(width, np.float32)
    flakes = np.empty((height, width))
    for number in range(count):
        for y in range(height):
            row, target = streaks[number, 0, y], flakes[y]
            for x in range(width):
                target[x] = _unit(row[x])
        for y in range(height):
            for channel in range(channels):
                row, target = images[number, channel, y], unit[channel]
                for x in range(width):
                    target[x] = _unit_of_32_bits(row[x])
            red, green, blue = unit
            for x in range(width):
                grey = red[x] * _RED + green[x] * _GREEN + blue[x] * _BLUE
                white[x] = grey * np.float32(1.5) + np.float32(0.5)
            ahead, turned = flakes[y], flakes[height - 1 - y][::-1]
            for channel in range(channels):
                row, target = unit[channel], result[number, channel, y]
                for x in range(width):
                    picture = row[x] * image_weight + max(row[x], white[x]) * white_weight
                    level = np.float64(picture) + ahead[x] + turned[x]
                    target[x] = np.uint8(min(max(level, 0.0), 1.0) * 255)


@numba.njit(nogil=True, cache=True)
def _unit(level: Any) -> Any:
    """A grey level divided by 255."""
    return level * UNIT_HIGH + level * UNIT_LOW


@numba.njit(nogil=True, cache=True)
def _unit_of_32_bits(level: Any) -> Any:
    """The same in float32."""
    return np.float32(level) * np.float32(UNIT_HIGH) + np.float32(level) * np.float32(UNIT_LOW)


def frost(images: Tensor, draws: Draws, *, image_weight: float, frost_weight: float, texture_scale: float) -> Tensor:
    """Twin of `weather.frost`."""
    height, width = images.shape[-2:]
    numbers = draws.integers(0, len(weather.TEXTURES)).numpy()
    tops, lefts = draws.uniform().numpy(), draws.uniform().numpy()
    choices = range(len(weather.TEXTURES))
    scales = [weather.texture_scale_over(number, texture_scale, height, width) for number in choices]
    result, weights = torch.empty_like(images), (float(image_weight), float(frost_weight))
    if max(scales) == texture_scale:
        textures = tuple(weather.resized_texture(number, scales[number], images.device).numpy() for number in choices)
        _freeze(images.numpy(), textures, numbers, tops, lefts, *weights, result.numpy())
        return result
    # Images of many sizes would each want textures of their own, of which they need but a part.
    for image, target, number, top, left in zip(images.numpy(), result.numpy(), numbers, tops, lefts, strict=True):
        part = _part(int(number), scales[number], float(top), float(left), height, width)
        mix(image, part, 0, 0, *weights, target)
    return result


@numba.njit(nogil=True, cache=True)
def _freeze(
    images: Any,
    textures: Any,
    numbers: Any,
    tops: Any,
    lefts: Any,
    image_weight: float,
    frost_weight: float,
    result: Any,
) -> None:
    height, width = images.shape[2:]
    for place in range(len(images)):
        texture = textures[numbers[place]]
        top = int(np.float64(tops[place]) * (texture.shape[1] - height))
        left = int(np.float64(lefts[place]) * (texture.shape[2] - width))
        mix(images[place], texture, top, left, image_weight, frost_weight, result[place])


def _part(number: int, scale: float, top: float, left: float, height: int, width: int) -> NDArray[np.uint8]:
    """A part, uint8 (3, height, width), of a texture that is resized by scale; top and left are shares of the rest."""
    texture = weather.texture(number).numpy()
    lines = []
    for side, share, length in ((texture.shape[1], top, height), (texture.shape[2], left, width)):
        start = int(share * (round(side * scale) - length))
        lines += [values[:, start : start + length].contiguous().numpy() for values in weather.neighbours(side, scale)]
    part = np.empty((3, height, width), dtype=np.uint8)
    _interpolate(texture, *lines, part)
    return part


@numba.njit(nogil=True, cache=True)
def _interpolate(texture: Any, rows: Any, row_weights: Any, columns: Any, column_weights: Any, part: Any) -> None:
    """The arithmetic of `weather.resized_texture`, for what `weather.neighbours` returns of some rows and columns."""
    channels, height, width = part.shape
    lefts, before, after = columns[0], column_weights[0], column_weights[1]
    # The last two rows of the texture, resized; the next row of the part mostly lies between the same two.
    lines, kept = np.empty((2, width), np.int32), np.empty(2, np.int64)
    for channel in range(channels):
        kept[:] = -1
        for y in range(height):
            for row in rows[:, y]:
                if kept[row % 2] != row:
                    kept[row % 2], source, line = row, texture[channel, row], lines[row % 2]
                    for x in range(width):
                        left = np.uint64(lefts[x])
                        line[x] = (source[left] * before[x] + source[left + np.uint64(1)] * after[x]) >> 4
            upper, lower, target = lines[rows[0, y] % 2], lines[rows[1, y] % 2], part[channel, y]
            above, below = row_weights[0, y], row_weights[1, y]
            for x in range(width):
                quarters = np.int32(np.int32(upper[x] * above) >> 16) + np.int32(np.int32(lower[x] * below) >> 16)
                target[x] = np.int32(quarters + 2) >> 2


@numba.njit(nogil=True, cache=True)
def mix(image: Any, texture: Any, top: int, left: int, image_weight: float, frost_weight: float, result: Any) -> None:
    """Add to an image the part of a texture that begins at top and left; uint8 (3, H, W) and (3, H', W')."""
    channels, height, width = image.shape
    for channel in range(channels):
        for y in range(height):
            row, ice, target = image[channel, y], texture[channel, top + y, left:], result[channel, y]
            for x in range(width):
                level = np.float64(row[x]) * image_weight + np.float64(ice[x]) * frost_weight
                target[x] = np.uint8(min(max(level, 0.0), 255.0))


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
    """Twin of `weather.spatter`."""
    noise = draws.normal(*images.shape[-2:]).numpy()
    result = torch.empty_like(images)
    colour = _colour(weather.MUD if mud else weather.WATER)
    # One at a time: the liquid has 64 bits a pixel, since in float32 errors would move pixels over the threshold.
    for image, own, target in zip(images.numpy()[:, None], noise[:, None], result.numpy()[:, None], strict=True):
        liquid = filters_numba_kernels.gaussian(own, sigma)
        levels = np.empty(liquid.shape, dtype=np.uint8)
        pour = _spot if mud else _cut_off
        pour(liquid.ravel(), float(std), float(mean), float(threshold), levels.ravel())
        if mud:
            _cover(image, filters_numba_kernels.gaussian(levels, strength), colour, target)
        else:
            _wet(image, levels, relief(levels), np.float32(strength), colour, target)
    return result


@numba.njit(nogil=True, cache=True)
def _spot(liquid: Any, std: float, mean: float, threshold: float, spots: Any) -> None:
    """One where there is enough of the liquid, else zero."""
    for place in range(len(liquid)):
        spots[place] = liquid[place] * std + mean > threshold


@numba.njit(nogil=True, cache=True)
def _cut_off(liquid: Any, std: float, mean: float, threshold: float, levels: Any) -> None:
    """Levels of the liquid, where there is enough of it; those above 1 wrap around."""
    for place in range(len(liquid)):
        level = liquid[place] * std + mean
        levels[place] = np.uint8(np.int32(level * 255 if level >= threshold else 0.0))


def _colour(levels: tuple[int, int, int]) -> NDArray[np.float32]:
    return np.array([level / 255 for level in levels], dtype=np.float32)


@numba.njit(nogil=True, cache=True)
def _cover(images: Any, covers: Any, colour: Any, result: Any) -> None:
    """Blend images with a colour as far as float64 (B, H, W) covers them."""
    count, channels, height, width = images.shape
    cover = np.empty(width, np.float32)
    for number in range(count):
        for y in range(height):
            row = covers[number, y]
            for x in range(width):
                share = np.float32(row[x])
                cover[x] = share if share >= np.float32(0.8) else np.float32(0)
            for channel in range(channels):
                row, target, shade = images[number, channel, y], result[number, channel, y], colour[channel]
                for x in range(width):
                    level = _unit_of_32_bits(row[x]) * (np.float32(1) - cover[x]) + cover[x] * shade
                    target[x] = np.uint8(min(max(level, np.float32(0)), np.float32(1)) * np.float32(255))


@numba.njit(nogil=True, cache=True)
def _wet(images: Any, levels: Any, reflections: Any, strength: Any, colour: Any, result: Any) -> None:
    """Add to images the light of drops with these levels and reflections, both uint8 (B, H, W)."""
    count, channels, height, width = images.shape
    water = np.empty(width, np.float32)
    for number in range(count):
        brightest: Any = 0
        for y in range(height):
            level, reflection = levels[number, y], reflections[number, y]
            for x in range(width):
                brightest = max(brightest, np.int64(level[x]) * np.int64(reflection[x]))
        divisor = np.float32(max(brightest, 1))
        for y in range(height):
            level, reflection = levels[number, y], reflections[number, y]
            for x in range(width):
                water[x] = np.float32(level[x]) * np.float32(reflection[x]) / divisor * strength
            for channel in range(channels):
                row, target, shade = images[number, channel, y], result[number, channel, y], colour[channel]
                for x in range(width):
                    light = _unit_of_32_bits(row[x]) + water[x] * shade
                    target[x] = np.uint8(min(max(light, np.float32(0)), np.float32(1)) * np.float32(255))

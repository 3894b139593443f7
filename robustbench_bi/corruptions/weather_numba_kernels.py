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
from robustbench_bi.corruptions.plasma_numba_kernels import plasma

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from robustbench_bi.corruptions.draws import Draws

_RED, _GREEN, _BLUE = (np.float32(weight) for weight in weather.LUMA)
# 1/255 in two parts: a level times the first is exact, so the sum of both products is the correctly rounded quotient.
_HIGH = float(np.float32(1 / 255))
_LOW = (1 - 255 * _HIGH) / 255


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
def _zoom_places(side: int, zoom: float) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    lefts, shares = filters.zoom_places(side, zoom)
    return lefts.numpy(), shares.numpy()


@numba.njit(nogil=True, cache=True)
def _magnify(
    noise: Any, tops: Any, downs: Any, lefts: Any, rights: Any, mean: float, std: float, threshold: float, layers: Any
) -> None:
    """Layers of snow, uint8 (B, 1, H, W), from noise (B, h, w) and the places and shares of `filters.zoom_places`."""
    row = np.empty(noise.shape[2])
    for number in range(len(noise)):
        for y in range(len(tops)):
            above, below = noise[number, tops[y]], noise[number, tops[y] + 1]
            down, up = downs[y], 1 - downs[y]
            for x in range(len(row)):
                row[x] = (above[x] * std + mean) * up + (below[x] * std + mean) * down
            target = layers[number, 0, y]
            for x in range(len(lefts)):
                level = row[lefts[x]] * (1 - rights[x]) + row[lefts[x] + 1] * rights[x]
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
                    target[x] = np.float32(row[x]) / np.float32(255)
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
    return level * _HIGH + level * _LOW


def frost(images: Tensor, draws: Draws, *, image_weight: float, frost_weight: float, texture_scale: float) -> Tensor:
    """Twin of `weather.frost`."""
    height, width = images.shape[-2:]
    numbers = draws.integers(0, len(weather.TEXTURES)).numpy()
    tops, lefts = draws.uniform().numpy(), draws.uniform().numpy()
    textures = tuple(
        weather.texture_over(number, texture_scale, height, width, images.device).numpy()
        for number in range(len(weather.TEXTURES))
    )
    result = torch.empty_like(images)
    weights = float(image_weight), float(frost_weight)
    _freeze(images.numpy(), textures, numbers, tops, lefts, *weights, result.numpy())
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


def fog(images: Tensor, draws: Draws, *, intensity: float, wibble_decay: float) -> Tensor:
    """Twin of `weather.fog`."""
    side = 1 << (max(images.shape[-2:]) - 1).bit_length()
    steps = draws.uniform(side**2 - 1, low=-1.0, high=1.0).numpy()
    result = torch.empty_like(images)
    _thicken(images.numpy(), steps, side, float(wibble_decay), float(intensity), result.numpy())
    return result


@numba.njit(nogil=True, cache=True)
def _thicken(images: Any, steps: Any, side: int, wibble_decay: float, intensity: float, result: Any) -> None:
    count, channels, height, width = images.shape
    cloud, haze = np.empty((side, side)), np.empty(width)
    for number in range(count):
        plasma(steps[number], wibble_decay, cloud)
        brightest = _greatest(images[number]) / 255
        for y in range(height):
            density = cloud[y]
            for x in range(width):
                haze[x] = density[x] * intensity
            for channel in range(channels):
                row, target = images[number, channel, y], result[number, channel, y]
                for x in range(width):
                    level = (_unit(row[x]) + haze[x]) * brightest / (brightest + intensity)
                    target[x] = np.uint8(min(max(level, 0.0), 1.0) * 255)


@numba.njit(nogil=True, cache=True)
def _greatest(image: Any) -> Any:
    """Row by row: NumPy's maximum looks at one level at a time here."""
    levels = image[0, 0].copy()
    for channel in range(image.shape[0]):
        for y in range(image.shape[1]):
            row = image[channel, y]
            for x in range(len(row)):
                levels[x] = max(levels[x], row[x])
    return levels.max()


def brightness(images: Tensor, draws: Draws, *, offset: float) -> Tensor:
    """Twin of `weather.brightness`."""
    table, whole = (part.view(256, 256).numpy() for part in weather.brightened(offset, torch.device("cpu")))
    result = torch.empty_like(images)
    _brighten(images.numpy(), table, whole, float(offset), result.numpy())
    return result


@numba.njit(nogil=True, cache=True)
def _brighten(images: Any, table: Any, whole: Any, offset: float, result: Any) -> None:
    count, _, height, width = images.shape
    for number in range(count):
        for y in range(height):
            reds, greens, blues = images[number, 0, y], images[number, 1, y], images[number, 2, y]
            new_reds, new_greens, new_blues = result[number, 0, y], result[number, 1, y], result[number, 2, y]
            for x in range(width):
                red, green, blue = reds[x], greens[x], blues[x]
                value, least = max(red, green, blue), min(red, green, blue)
                levels = table[value]
                new_reds[x], new_greens[x], new_blues[x] = levels[red], levels[green], levels[blue]
                middle = red ^ green ^ blue ^ value ^ least
                if whole[value, middle] and least < middle and middle < value:
                    level = _middle_level(red, green, blue, offset)
                    if red == middle:
                        new_reds[x] = level
                    elif green == middle:
                        new_greens[x] = level
                    else:
                        new_blues[x] = level


@numba.njit(nogil=True, cache=True)
def _middle_level(red: Any, green: Any, blue: Any, offset: float) -> Any:
    """The new level of the channel between the greatest and the least, by way of the hue; all three differ."""
    red, green, blue = _unit(red), _unit(green), _unit(blue)
    value = max(red, green, blue)
    spread = value - min(red, green, blue)
    if blue == value:
        ahead, leader = red - green, 4.0
    elif green == value:
        ahead, leader = blue - red, 2.0
    else:
        ahead, leader = green - blue, 0.0
    hue = (ahead / spread + leader) / 6
    sixths = (hue + 1 if hue < 0 else hue) * 6
    sector = math.floor(sixths)
    fraction = sixths - sector
    # In every other sector of the colour circle the middle channel falls, and in those between it rises.
    share = fraction if sector % 2 == 1 else 1 - fraction
    level = (1 - share * (spread / value)) * min(max(value + offset, 0.0), 1.0)
    return np.uint8(min(max(level, 0.0), 1.0) * 255)


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
    # In float32, errors would move pixels over the threshold.
    liquid = filters_numba_kernels.gaussian(draws.normal(*images.shape[-2:]).numpy(), sigma)
    liquid *= std
    liquid += mean
    result = torch.empty_like(images)
    if mud:
        cover = filters_numba_kernels.gaussian((liquid > threshold).view(np.uint8), strength)
        _cover(images.numpy(), cover, _colour(weather.MUD), result.numpy())
    else:
        levels = np.empty(liquid.shape, dtype=np.uint8)
        _cut_off(liquid.ravel(), float(threshold), levels.ravel())
        _wet(images.numpy(), levels, relief(levels), np.float32(strength), _colour(weather.WATER), result.numpy())
    return result


@numba.njit(nogil=True, cache=True)
def _cut_off(liquid: Any, threshold: float, levels: Any) -> None:
    """Levels of liquid, where there is enough of it; those above 1 wrap around."""
    for place in range(len(liquid)):
        level = liquid[place] if liquid[place] >= threshold else 0.0
        levels[place] = np.uint8(np.int32(level * 255))


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
                    level = np.float32(row[x]) / np.float32(255) * (np.float32(1) - cover[x]) + cover[x] * shade
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
                    light = np.float32(row[x]) / np.float32(255) + water[x] * shade
                    target[x] = np.uint8(min(max(light, np.float32(0)), np.float32(1)) * np.float32(255))

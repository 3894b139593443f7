"""CPU twins of the variants in `bethgelab`: the same names and arguments, for a few images in one thread.

The bytes are the same, but for a few of the elastic transform.
"""

from __future__ import annotations

import functools
import math
from typing import TYPE_CHECKING, Any

import numba
import numpy as np
import torch

from robustbench_bi.corruptions import (
    bethgelab,
    digital_numba_kernels,
    elastic_numba_kernels,
    weather,
    weather_numba_kernels,
)
from robustbench_bi.corruptions.filters import directional_steps, gaussian_taps

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from robustbench_bi.corruptions.draws import Draws

# The inverse of an affine map that moves nothing.
_IDENTITY = np.array([[1, 0], [0, 1], [0, 0]], dtype=np.float32)


def elastic_transform(images: Tensor, draws: Draws, *, alpha: float) -> Tensor:
    """Twin of `bethgelab.elastic_transform`: one or two bytes in 10,000 are one grey level off."""
    height, width = images.shape[-2:]
    rows, columns = (
        gaussian_taps(side * bethgelab.ELASTIC_SIGMA, truncate=3).float().numpy() for side in (height, width)
    )
    reach = height * bethgelab.ELASTIC_REACH
    fields = [draws.uniform(height, width, low=-reach, high=reach).numpy() for _ in range(2)]
    across, down = np.empty_like(fields[0]), np.empty_like(fields[1])
    for field, smooth in zip(fields, (across, down), strict=True):
        elastic_numba_kernels.convolve(field, rows, columns, smooth)
    result = torch.empty_like(images)
    inverses = np.broadcast_to(_IDENTITY, (len(images), 3, 2)).copy()
    elastic_numba_kernels.warp(images.numpy(), inverses, across, down, np.float32(alpha), result.numpy())
    return result


def frost(images: Tensor, draws: Draws, *, image_weight: float, frost_weight: float, texture_scale: float) -> Tensor:
    """Twin of `bethgelab.frost`."""
    height, width = images.shape[-2:]
    numbers = draws.integers(0, len(weather.TEXTURES)).tolist()
    tops, lefts = draws.uniform().tolist(), draws.uniform().tolist()
    result = torch.empty_like(images)
    for image, target, number, top, left in zip(images.numpy(), result.numpy(), numbers, tops, lefts, strict=True):
        scale = bethgelab.enlargement(number, height, width) * texture_scale
        large_height, large_width = (math.ceil(side * scale) for side in weather.texture(number).shape[1:])
        y, x = int(top * (large_height - height)), int(left * (large_width - width))
        if scale == texture_scale:
            texture = bethgelab.enlarged(number, scale, torch.device("cpu")).numpy()
        else:
            # Images of many sizes would each want a texture of their own, of which they need but a part.
            texture = _part(number, slice(y, y + height), slice(x, x + width), large_height, large_width)
            y, x = 0, 0
        weather_numba_kernels.mix(image, texture, y, x, float(image_weight), float(frost_weight), target)
    return result


def _part(number: int, rows: slice, columns: slice, large_height: int, large_width: int) -> NDArray[np.uint8]:
    """A part of a texture that is enlarged to a height and a width, as `bethgelab.enlarged` does it."""
    texture = weather.texture(number).numpy()
    part = np.empty((3, rows.stop - rows.start, columns.stop - columns.start), dtype=np.uint8)
    down = _cubic_taps(texture.shape[1], large_height, rows)
    across = _cubic_taps(texture.shape[2], large_width, columns)
    _interpolate(texture, *down, *across, part)
    return part


def _cubic_taps(side: int, large: int, part: slice) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The four pixels (4, n) that each pixel of a part of an enlarged line lies between, and their weights."""
    places = (np.arange(part.start, part.stop) + 0.5) * (side / large) - 0.5
    first = np.floor(places).astype(np.int64)
    share = places - first
    sources = np.clip(first + np.arange(-1, 3)[:, None], 0, side - 1)
    distances = np.abs(share - np.arange(-1, 3)[:, None])
    near = (1.25 * distances - 2.25) * distances**2 + 1
    far = -0.75 * (((distances - 5) * distances + 8) * distances - 4)
    return sources, np.where(distances <= 1, near, far)


@numba.njit(nogil=True, cache=True)
def _interpolate(texture: Any, rows: Any, row_weights: Any, columns: Any, column_weights: Any, part: Any) -> None:
    """Interpolate along the rows, as many as are needed, and then between them."""
    channels, height, width = part.shape
    top = rows[0, 0]
    narrow = np.empty((rows[3, height - 1] - top + 1, width))
    for channel in range(channels):
        for source in range(len(narrow)):
            row, target = texture[channel, top + source], narrow[source]
            for x in range(width):
                before = row[columns[0, x]] * column_weights[0, x] + row[columns[1, x]] * column_weights[1, x]
                after = row[columns[2, x]] * column_weights[2, x] + row[columns[3, x]] * column_weights[3, x]
                target[x] = before + after
        for y in range(height):
            first, second = narrow[rows[0, y] - top], narrow[rows[1, y] - top]
            third, fourth = narrow[rows[2, y] - top], narrow[rows[3, y] - top]
            one, two, three, four = row_weights[:, y]
            target = part[channel, y]
            for x in range(width):
                level = first[x] * one + second[x] * two + third[x] * three + fourth[x] * four
                target[x] = np.uint8(np.rint(min(max(level, 0.0), 255.0)))


def pixelate(images: Tensor, draws: Draws, *, scale: float) -> Tensor:
    """Twin of `bethgelab.pixelate`."""
    result = torch.empty_like(images)
    rows, columns = (_windows(side, scale) for side in images.shape[-2:])
    digital_numba_kernels.repeat_boxes(images.flatten(2).numpy(), *rows, *columns, result.numpy())
    return result


@functools.lru_cache(maxsize=64)
def _windows(side: int, scale: float) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Those of `digital.pixelate`, but each pixel's own as Pillow finds the nearest."""
    bounds, weights, _ = digital_numba_kernels.box_windows(side, int(side * scale))
    return bounds, weights, bethgelab.nearest_blocks(side, scale).astype(np.uint32)


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
    """Twin of `bethgelab.snow`."""
    height, width = images.shape[-2:]
    noise = draws.normal(math.ceil(height / zoom), math.ceil(width / zoom)).numpy()
    rows, columns = (_zoom_places(length, zoom) for length in noise.shape[1:])
    weights = bethgelab.half_gaussian(2 * blur_radius + 1, blur_sigma).numpy()
    down, right = (steps.numpy() for steps in directional_steps(draws.uniform(low=-135.0, high=-45.0), len(weights)))
    streaks = np.empty((len(images), 1, height, width), dtype=np.uint8)
    _blur_layers(noise, *rows, *columns, float(mean), float(std), float(threshold), weights, down, right, streaks)
    result = torch.empty_like(images)
    shares = np.float32(image_weight), np.float32(1 - image_weight)
    weather_numba_kernels.add_flakes(images.numpy(), streaks, *shares, result.numpy())
    return result


@functools.lru_cache(maxsize=64)
def _zoom_places(length: int, zoom: float) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
    """For each pixel of a magnified line, the first of two pixels between which it lies, and the weights of both."""
    count = round(length * zoom)
    places = np.arange(count, dtype=np.float64) * ((length - 1) / (count - 1))
    first = np.minimum(places.astype(np.int64), length - 2)
    after: NDArray[np.float64] = places - first
    # See `bethgelab.magnified` for the zero at the end.
    inside = (places <= length - 1).astype(np.float64)
    return first, (1 - after) * inside, after * inside


@numba.njit(nogil=True, cache=True)
def _blur_layers(
    noise: Any,
    tops: Any,
    above: Any,
    below: Any,
    lefts: Any,
    before: Any,
    after: Any,
    mean: float,
    std: float,
    threshold: float,
    weights: Any,
    down: Any,
    right: Any,
    streaks: Any,
) -> None:
    """Magnify noise (B, h, w) into a padded layer, cut it off, and add it up shifted, for the streaks of each image.

    Args:
        noise: float32 (B, h, w).
        tops: of `_zoom_places`, as `above`, `below`; and for the columns `lefts`, `before`, `after`.
        weights: float64 (N,) of an odd number of steps; `down` and `right`, int64 (B, N), say where they look.
        streaks: uint8 (B, 1, H, W), grey levels.
    """
    count, _, height, width = streaks.shape
    reach = len(weights) - 1
    layer_height, padded_width = len(tops), len(lefts) + 2 * reach
    padded = np.empty((layer_height + 2 * reach, padded_width))
    line, sums = np.empty(noise.shape[2]), np.empty(width)
    for number in range(count):
        for y in range(layer_height):
            upper, lower, row = noise[number, tops[y]], noise[number, tops[y] + 1], padded[reach + y]
            for x in range(len(line)):
                line[x] = (upper[x] * std + mean) * above[y] + (lower[x] * std + mean) * below[y]
            for x in range(len(lefts)):
                level = line[lefts[x]] * before[x] + line[lefts[x] + 1] * after[x]
                row[reach + x] = 0.0 if level < threshold else min(max(level, 0.0), 1.0)
            for x in range(reach):
                row[x] = row[reach]
                row[padded_width - 1 - x] = row[padded_width - 1 - reach]
        for y in range(reach):
            for x in range(padded_width):
                padded[y, x] = padded[reach, x]
                padded[layer_height + reach + y, x] = padded[layer_height + reach - 1, x]
        for y in range(height):
            centre, target = padded[reach + y, reach:], streaks[number, 0, y]
            for x in range(width):
                sums[x] = weights[0] * centre[x]
            for step in range(1, reach, 2):
                nearer = padded[reach + y + down[number, step], reach + right[number, step] :]
                farther = padded[reach + y + down[number, step + 1], reach + right[number, step + 1] :]
                first, second = weights[step], weights[step + 1]
                for x in range(width):
                    sums[x] = sums[x] + first * nearer[x] + second * farther[x]
            for x in range(width):
                target[x] = np.uint8(np.rint(sums[x] * 255))

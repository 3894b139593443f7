"""The CPU twin of `digital.elastic_transform`, for a few images in one thread.

Between the affine map and the displacement an image is kept in fixed point, the three channels of a pixel in one word:
so a corner of a bilinear mean is one read, in memory that fits a core's cache.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import numba
import numpy as np
import scipy.fft
import torch

from robustbench_bi.corruptions import digital, filters

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from robustbench_bi.corruptions.draws import Draws

_TRUNCATE = 3
# A wider Gaussian is faster by cosine transforms. No image is so small that a narrower one is reflected twice.
_LARGEST_RADIUS = 15
# A channel has 8 bits and this fraction, whose rounding changes about one byte in 20,000.
_FRACTION_BITS = np.uint64(13)
_NO_BITS, _CHANNEL_BITS, _TWO_CHANNELS = np.uint64(0), np.uint64(21), np.uint64(42)
_CHANNEL = np.uint64((1 << 21) - 1)
_LEVEL = np.float32(2.0 ** -int(_FRACTION_BITS))
_ZERO, _HALF, _ONE = np.float32(0), np.float32(0.5), np.float32(1)
_ROUNDING_ERROR = np.float32(digital.ROUNDING_ERROR)


def elastic_transform(images: Tensor, draws: Draws, *, alpha: float, sigma: float, affine: float) -> Tensor:
    """Twin of `digital.elastic_transform`: of photographs, one byte in 10,000 is off, by one grey level.

    Only where a map has nearly no inverse and reads from ten thousand pixels away do the two see different places.
    """
    height, width = images.shape[2:]
    moves = draws.uniform(3, 2, low=-affine, high=affine)
    if alpha == 0:
        across = down = np.zeros((len(images), height, width), np.float32)
    else:
        fields = [draws.uniform(height, width, low=-1, high=1).numpy() for _ in range(2)]
        across, down = (_smooth(field, sigma) for field in fields)
    result = torch.empty_like(images)
    maps = digital.inverse_maps(moves, height, width).numpy()
    warp(images.numpy(), maps, across, down, np.float32(alpha), result.numpy())
    return result


def _smooth(fields: NDArray[np.float32], sigma: float) -> NDArray[np.float32]:
    """Smooth fields (B, H, W) with a Gaussian cut at three sigma, the border mirrored with its last pixel doubled."""
    result = np.empty_like(fields)
    taps = _taps(sigma)
    if len(taps) <= _LARGEST_RADIUS + 1:
        convolve(fields, taps, taps, result)
        return result
    gains = [_gains(side, sigma) for side in fields.shape[1:]]
    # One at a time, so that a field's bits cannot depend on its batch.
    for field, smooth in zip(fields, result, strict=True):
        waves = scipy.fft.dctn(field, workers=1)
        waves *= gains[0][:, None]
        waves *= gains[1]
        smooth[:] = scipy.fft.idctn(waves, workers=1, overwrite_x=True)
    return result


@functools.lru_cache(maxsize=16)
def _taps(sigma: float) -> NDArray[np.float32]:
    return filters.gaussian_taps(sigma, truncate=_TRUNCATE).float().numpy()


@functools.lru_cache(maxsize=16)
def _gains(side: int, sigma: float) -> NDArray[np.float32]:
    """What the Gaussian leaves of each cosine of a line, (side,): between such borders they are its eigenvectors."""
    # The matrix itself is not cached: of a line of 4,000 pixels it has 128 MB.
    matrix = filters.gaussian_matrix.__wrapped__(side, sigma, truncate=_TRUNCATE, mode="reflect")
    gains: NDArray[np.float64] = scipy.fft.dctn(matrix.numpy(), norm="ortho").diagonal()
    return gains.astype(np.float32)


@numba.njit(nogil=True, cache=True)
def convolve(fields: Any, rows: Any, columns: Any, result: Any) -> None:
    """Smooth down the columns into one padded row, and along that row into the result.

    Args:
        fields: float32 (B, H, W); the border is mirrored with its last pixel doubled.
        rows: one half of the symmetric kernel down the image, from its centre, float32.
        columns: that of the one across it.
        result: float32 (B, H, W).
    """
    count, height, width = fields.shape
    radius = len(columns) - 1
    padded = np.empty(width + 2 * radius, np.float32)
    row = padded[radius : radius + width]
    for number in range(count):
        field = fields[number]
        for y in range(height):
            centre, sums = field[y], result[number, y]
            for x in range(width):
                row[x] = rows[0] * centre[x]
            for distance in range(1, len(rows)):
                tap = rows[distance]
                above = field[max(y - distance, distance - 1 - y)]
                below = field[min(y + distance, 2 * height - 1 - y - distance)]
                for x in range(width):
                    row[x] += tap * (above[x] + below[x])
            for x in range(radius):
                padded[radius - 1 - x] = row[x]
                padded[radius + width + x] = row[width - 1 - x]
            for x in range(width):
                sums[x] = columns[0] * row[x]
            for distance in range(1, radius + 1):
                tap, left, right = columns[distance], padded[radius - distance :], padded[radius + distance :]
                for x in range(width):
                    sums[x] += tap * (left[x] + right[x])


@numba.njit(nogil=True, cache=True)
def warp(images: Any, inverses: Any, across: Any, down: Any, alpha: Any, result: Any) -> None:
    """Move each image by its affine map, then by its displacements (B, H, W), alpha times as long.

    Args:
        images: uint8 (B, 3, H, W).
        inverses: float32 (B, 3, 2), of the affine maps.
        across: displacements along x, `down` those along y, float32 (B, H, W).
        alpha: float32.
        result: uint8 (B, 3, H, W).
    """
    count, _, height, width = images.shape
    pixels, moved = np.empty(height * width, np.uint64), np.empty(height * width, np.uint64)
    places = np.empty((2, width), np.float32)
    levels = np.empty((3, width), np.float32)
    sources, shares = np.empty(width, np.int32), np.empty((2, width), np.float32)
    corners = np.empty((4, width), np.uint64)
    for number in range(count):
        _pack(images[number], pixels)
        inverse = inverses[number]
        for y in range(height):
            for x in range(width):
                for axis in range(2):
                    place = inverse[0, axis] * np.float32(x) + inverse[1, axis] * np.float32(y)
                    places[axis, x] = place + inverse[2, axis]
            _read(pixels, height, places, _ZERO, sources, shares, corners, levels)
            words = moved[y * width : (y + 1) * width]
            for x in range(width):
                red, green = np.uint64(levels[0, x] + _HALF), np.uint64(levels[1, x] + _HALF)
                words[x] = red | green << _CHANNEL_BITS | np.uint64(levels[2, x] + _HALF) << _TWO_CHANNELS
        for y in range(height):
            for x in range(width):
                places[0, x] = np.float32(x) + alpha * across[number, y, x]
                places[1, x] = np.float32(y) + alpha * down[number, y, x]
            _read(moved, height, places, _HALF, sources, shares, corners, levels)
            for channel in range(3):
                row = result[number, channel, y]
                for x in range(width):
                    row[x] = np.int32(levels[channel, x] * _LEVEL + _ROUNDING_ERROR)


@numba.njit(nogil=True, cache=True)
def _pack(image: Any, pixels: Any) -> None:
    red, green, blue = image[0].ravel(), image[1].ravel(), image[2].ravel()
    for place in range(len(pixels)):
        word = np.uint64(red[place]) | np.uint64(green[place]) << _CHANNEL_BITS
        pixels[place] = (word | np.uint64(blue[place]) << _TWO_CHANNELS) << _FRACTION_BITS


@numba.njit(nogil=True, cache=True)
def _read(
    pixels: Any, height: int, places: Any, border: Any, sources: Any, shares: Any, corners: Any, levels: Any
) -> None:
    """Read a row of bilinear means, levels (3, W), at places (2, W), x and y, that may lie anywhere.

    Args:
        pixels: (H * W,), three channels in a word.
        height: H.
        places: float32 (2, W).
        border: how far beyond the centres of the outer pixels the mirror stands: 0, or 0.5, which doubles them.
        sources: scratch, int32 (W,), the upper left of four corners.
        shares: scratch, float32 (2, W), of the right corners and of the lower ones.
        corners: scratch, uint64 (4, W).
        levels: float32 (3, W), in units of the fraction.
    """
    width = places.shape[1]
    for x in range(width):
        source_x, source_y = _mirror(places[0, x], width, border), _mirror(places[1, x], height, border)
        left, top = min(np.int32(source_x), np.int32(width - 2)), min(np.int32(source_y), np.int32(height - 2))
        sources[x] = top * np.int32(width) + left
        # Between its centre and the mirror the outer pixel counts alone.
        shares[0, x] = min(source_x - np.float32(left), _ONE)
        shares[1, x] = min(source_y - np.float32(top), _ONE)
    below = pixels[width:]
    for x in range(width):
        source = np.uint64(sources[x])
        corners[0, x], corners[1, x] = pixels[source], pixels[source + np.uint64(1)]
        corners[2, x], corners[3, x] = below[source], below[source + np.uint64(1)]
    for x in range(width):
        one, two, three, four = corners[0, x], corners[1, x], corners[2, x], corners[3, x]
        right, lower = shares[0, x], shares[1, x]
        levels[0, x] = _mean(one, two, three, four, _NO_BITS, right, lower)
        levels[1, x] = _mean(one, two, three, four, _CHANNEL_BITS, right, lower)
        levels[2, x] = _mean(one, two, three, four, _TWO_CHANNELS, right, lower)


@numba.njit(nogil=True, cache=True)
def _mirror(place: Any, side: int, border: Any) -> Any:
    """Mirror a place into [0, side - 1 + border]; infinite ones and NaN, of a map that cannot be inverted, give 0."""
    period = np.float32(2) * (np.float32(side - 1) + np.float32(2) * border)
    far = abs(place + border)
    far -= np.floor(far * (_ONE / period)) * period
    near = min(far, period - far) - border
    return near if near > _ZERO else _ZERO


@numba.njit(nogil=True, cache=True)
def _mean(one: Any, two: Any, three: Any, four: Any, bits: Any, right: Any, lower: Any) -> Any:
    """The bilinear mean of the channel that begins at these bits; where all four corners are the same it is exact."""
    first, second, third, fourth = _level(one >> bits), _level(two >> bits), _level(three >> bits), _level(four >> bits)
    upper = first + (second - first) * right
    return upper + (third + (fourth - third) * right - upper) * lower


@numba.njit(nogil=True, cache=True)
def _level(word: Any) -> Any:
    return np.float32(np.int32(word & _CHANNEL))

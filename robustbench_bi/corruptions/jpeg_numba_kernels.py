"""CPU twin of `jpeg`: the butterflies of jfdctint and jidctint, for many blocks at once.

To Numba the sum of two int32 is an int64. Casting each sum back to int32 lets a vector hold twice as many. Colours are
mixed in float32, which holds their sums exactly: they are whole and below 2**24.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numba
import numpy as np
import torch
from numpy import float32, int32

from robustbench_bi.corruptions.jpeg import quantisation_steps

if TYPE_CHECKING:
    from torch import Tensor

# So many blocks are transformed at once: their numbers, 16 KiB, stay in the first-level cache. They are kept by column,
# row and block, these being the distances of two rows and of two columns.
_BLOCKS = 64
_ROW, _COLUMN = _BLOCKS, 8 * _BLOCKS
# Colours in units of 2**-16, and what is added before the fraction is cut off.
_TO_LUMINANCE = (float32(19595), float32(38470), float32(7471), float32(1 << 15))
_TO_BLUENESS = (float32(-11059), float32(-21709), float32(32768), float32((128 << 16) + (1 << 15) - 1))
_TO_REDNESS = (float32(32768), float32(-27439), float32(-5329), float32((128 << 16) + (1 << 15) - 1))
_HALF = float32(1 << 15)
_RED_OF_REDNESS, _BLUE_OF_BLUENESS = float32(91881), float32(116130)
_GREEN_OF_REDNESS, _GREEN_OF_BLUENESS = float32(-46802), float32(-22554)
# Added to a float32 and taken off again, it leaves the nearest integer.
_ROUNDER = float32(3 << 22)


def jpeg_round_trip(images: Tensor, *, quality: int = 85) -> Tensor:
    """Twin of `jpeg.jpeg_round_trip`, byte for byte, for images at least 5 pixels wide."""
    steps = quantisation_steps(quality).numpy().astype(np.float32)
    decoded = torch.empty_like(images)
    _round_trip(images.numpy(), _factors(steps), steps, decoded.numpy())
    return decoded


def _factors(steps: Any) -> Any:
    """Slightly more than 1 / (8 * step), as in the definition; 2**-20 exceeds the rounding errors of float32."""
    return (1 + float32(2.0**-20)) / 8 / steps


@numba.njit(nogil=True, cache=True)
def _round_trip(images: Any, factors: Any, steps: Any, decoded: Any) -> None:
    height, width = images.shape[2:]
    # Planes are (row in its block, plane, block row, column), so that one row of all blocks lies in one piece.
    luminance = np.empty((8, 1, (height + 7) // 8, (width + 7) // 8 * 8), np.uint8)
    chroma = np.empty((8, 2, (height + 15) // 16, (width + 15) // 16 * 8), np.uint8)
    rows = np.empty((2, 2, 2 * chroma.shape[3]), np.int32)
    doubled = np.empty((2, 2 * chroma.shape[3]), np.float32)
    numbers = np.empty(64 * _BLOCKS, np.int32)
    for image in range(len(images)):
        _encode_colours(images[image], luminance, chroma, rows)
        _code_blocks(luminance.reshape(8, -1).view(np.int32), factors[0], steps[0], numbers)
        _code_blocks(chroma.reshape(8, -1).view(np.int32), factors[1], steps[1], numbers)
        _decode_colours(luminance, chroma, rows[0, 0], doubled, decoded[image])


@numba.njit(nogil=True, cache=True)
def _encode_colours(image: Any, luminance: Any, chroma: Any, rows: Any) -> None:
    height, width = image.shape[1:]
    for y in range(height):
        block, row, odd = y >> 3, y & 7, y & 1
        for x in range(width):
            red, green, blue = float32(image[0, y, x]), float32(image[1, y, x]), float32(image[2, y, x])
            luminance[row, 0, block, x] = _mix(red, green, blue, _TO_LUMINANCE)
            rows[0, odd, x] = _mix(red, green, blue, _TO_BLUENESS)
            rows[1, odd, x] = _mix(red, green, blue, _TO_REDNESS)
        _fill(luminance[row, 0, block], width)
        if odd or y == height - 1:
            for plane in range(2):
                _halve(rows[plane, 0], rows[plane, odd], width, chroma[y >> 1 & 7, plane, y >> 4])
    _fill_last_blocks(luminance, height)
    _fill_last_blocks(chroma, (height + 1) // 2)


@numba.njit(nogil=True, cache=True)
def _mix(red: Any, green: Any, blue: Any, weights: Any) -> Any:
    return int32(red * weights[0] + green * weights[1] + blue * weights[2] + weights[3]) >> 16


@numba.njit(nogil=True, cache=True)
def _halve(upper: Any, lower: Any, width: int, halved: Any) -> None:
    """Means of squares of four; halves go down in even columns and up in odd ones."""
    _fill(upper, width)
    _fill(lower, width)
    for x in range(len(halved)):
        left, right = int32(upper[2 * x] + lower[2 * x]), int32(upper[2 * x + 1] + lower[2 * x + 1])
        halved[x] = int32(left + right + 1 + (x & 1)) >> 2


@numba.njit(nogil=True, cache=True)
def _fill_last_blocks(planes: Any, height: int) -> None:
    """Repeat the last row down to the end of its blocks."""
    last = (height - 1) & 7
    for row in range(last + 1, 8):
        for plane in range(planes.shape[1]):
            for x in range(planes.shape[3]):
                planes[row, plane, -1, x] = planes[last, plane, -1, x]


@numba.njit(nogil=True, cache=True)
def _fill(line: Any, width: int) -> None:
    for x in range(width, len(line)):
        line[x] = line[width - 1]


@numba.njit(nogil=True, cache=True)
def _code_blocks(words: Any, factors: Any, steps: Any, numbers: Any) -> None:
    """Transform, quantise and transform back. `words` is int32 (8, 2 * blocks), in each word four samples of a row."""
    blocks = words.shape[1] // 2
    for first in range(0, blocks, _BLOCKS):
        count = min(_BLOCKS, blocks - first)
        for row in range(8):
            _rows_forward(words[row, 2 * first :], count, numbers[row * _ROW :])
        for column in range(8):
            _columns(numbers[column * _COLUMN :], count, factors[:, column], steps[:, column])
        for row in range(8):
            _rows_back(numbers[row * _ROW :], count, words[row, 2 * first :])


@numba.njit(nogil=True, cache=True)
def _rows_forward(words: Any, count: int, numbers: Any) -> None:
    for block in range(count):
        left, right = words[2 * block], words[2 * block + 1]
        _store(numbers, block, _COLUMN, _forward(_bytes(left) + _bytes(right), 11))


@numba.njit(nogil=True, cache=True)
def _columns(numbers: Any, count: int, factors: Any, steps: Any) -> None:
    for block in range(count):
        frequencies = _forward(_load(numbers, block, _ROW), 15)
        _store(numbers, block, _ROW, _inverse(_quantise(frequencies, factors, steps), 11))


@numba.njit(nogil=True, cache=True)
def _rows_back(numbers: Any, count: int, words: Any) -> None:
    for block in range(count):
        s0, s1, s2, s3, s4, s5, s6, s7 = _inverse(_load(numbers, block, _COLUMN), 18)
        words[2 * block] = _word(s0, s1, s2, s3)
        words[2 * block + 1] = _word(s4, s5, s6, s7)


@numba.njit(nogil=True, cache=True)
def _load(numbers: Any, block: int, stride: int) -> Any:
    return (
        numbers[block],
        numbers[block + stride],
        numbers[block + 2 * stride],
        numbers[block + 3 * stride],
        numbers[block + 4 * stride],
        numbers[block + 5 * stride],
        numbers[block + 6 * stride],
        numbers[block + 7 * stride],
    )


@numba.njit(nogil=True, cache=True)
def _store(numbers: Any, block: int, stride: int, values: Any) -> None:
    v0, v1, v2, v3, v4, v5, v6, v7 = values
    numbers[block] = v0
    numbers[block + stride] = v1
    numbers[block + 2 * stride] = v2
    numbers[block + 3 * stride] = v3
    numbers[block + 4 * stride] = v4
    numbers[block + 5 * stride] = v5
    numbers[block + 6 * stride] = v6
    numbers[block + 7 * stride] = v7


@numba.njit(nogil=True, cache=True)
def _bytes(word: Any) -> Any:
    """Four samples, less 128."""
    return (
        int32((word & 255) - 128),
        int32((word >> 8 & 255) - 128),
        int32((word >> 16 & 255) - 128),
        int32((word >> 24 & 255) - 128),
    )


@numba.njit(nogil=True, cache=True)
def _word(s0: Any, s1: Any, s2: Any, s3: Any) -> Any:
    return int32(_byte(s0) | _byte(s1) << 8 | _byte(s2) << 16 | _byte(s3) << 24)


@numba.njit(nogil=True, cache=True)
def _byte(sample: Any) -> Any:
    return min(max(int32(sample + 128), int32(0)), int32(255))


@numba.njit(nogil=True, cache=True)
def _quantise(f: Any, factors: Any, steps: Any) -> Any:
    return (
        _multiple(f[0], factors[0], steps[0]),
        _multiple(f[1], factors[1], steps[1]),
        _multiple(f[2], factors[2], steps[2]),
        _multiple(f[3], factors[3], steps[3]),
        _multiple(f[4], factors[4], steps[4]),
        _multiple(f[5], factors[5], steps[5]),
        _multiple(f[6], factors[6], steps[6]),
        _multiple(f[7], factors[7], steps[7]),
    )


@numba.njit(nogil=True, cache=True)
def _multiple(frequency: Any, factor: Any, step: Any) -> Any:
    """The nearest multiple of a step, for the scale of 8 that `_forward` leaves; ties go away from zero."""
    return int32((float32(frequency) * factor + _ROUNDER - _ROUNDER) * step)


@numba.njit(nogil=True, cache=True)
def _forward(samples: Any, bits: int) -> Any:
    """Frequencies of eight samples, times 2**(13 - bits)."""
    x0, x1, x2, x3, x4, x5, x6, x7 = samples
    s0, s1, s2, s3 = int32(x0 + x7), int32(x1 + x6), int32(x2 + x5), int32(x3 + x4)
    d0, d1, d2, d3 = int32(x0 - x7), int32(x1 - x6), int32(x2 - x5), int32(x3 - x4)
    ends, middle, difference, inner = int32(s0 + s3), int32(s1 + s2), int32(s0 - s3), int32(s1 - s2)
    turned = int32((difference + inner) * 4433)
    f7, f5, f3, f1 = _rotate(d3, d2, d1, d0)
    return (
        _descale(int32((ends + middle) << 13), bits),
        _descale(f1, bits),
        _descale(int32(turned + difference * 6270), bits),
        _descale(f3, bits),
        _descale(int32((ends - middle) << 13), bits),
        _descale(f5, bits),
        _descale(int32(turned - inner * 15137), bits),
        _descale(f7, bits),
    )


@numba.njit(nogil=True, cache=True)
def _inverse(frequencies: Any, bits: int) -> Any:
    """Eight samples of frequencies, times 2**(13 - bits)."""
    f0, f1, f2, f3, f4, f5, f6, f7 = frequencies
    turned = int32((f2 + f6) * 4433)
    outer, inner = int32(turned + f2 * 6270), int32(turned - f6 * 15137)
    total, difference = int32((f0 + f4) << 13), int32((f0 - f4) << 13)
    s0, s1, s2, s3 = int32(total + outer), int32(difference + inner), int32(difference - inner), int32(total - outer)
    d3, d2, d1, d0 = _rotate(f7, f5, f3, f1)
    return (
        _descale(int32(s0 + d0), bits),
        _descale(int32(s1 + d1), bits),
        _descale(int32(s2 + d2), bits),
        _descale(int32(s3 + d3), bits),
        _descale(int32(s3 - d3), bits),
        _descale(int32(s2 - d2), bits),
        _descale(int32(s1 - d1), bits),
        _descale(int32(s0 - d0), bits),
    )


@numba.njit(nogil=True, cache=True)
def _rotate(a: Any, b: Any, c: Any, d: Any) -> Any:
    """The odd half of either transform, in units of 2**-13."""
    turned = int32((a + b + c + d) * 9633)
    ad, bc = int32((a + d) * -7373), int32((b + c) * -20995)
    ac, bd = int32((a + c) * -16069 + turned), int32((b + d) * -3196 + turned)
    return (
        int32(a * 2446 + ad + ac),
        int32(b * 16819 + bc + bd),
        int32(c * 25172 + bc + ac),
        int32(d * 12299 + ad + bd),
    )


@numba.njit(nogil=True, cache=True)
def _descale(value: Any, bits: int) -> Any:
    return int32(int32(value + (1 << bits - 1)) >> bits)


@numba.njit(nogil=True, cache=True)
def _decode_colours(luminance: Any, chroma: Any, sums: Any, doubled: Any, image: Any) -> None:
    height, width = image.shape[1:]
    for y in range(height):
        near = y >> 1
        far = min(max(near + 2 * (y & 1) - 1, 0), (height - 1) >> 1)
        for plane in range(2):
            upper, lower = chroma[near & 7, plane, near >> 3], chroma[far & 7, plane, far >> 3]
            _double(upper, lower, (width + 1) // 2, sums, doubled[plane])
        block, row = y >> 3, y & 7
        for x in range(width):
            level, blueness, redness = int32(luminance[row, 0, block, x]), doubled[0, x], doubled[1, x]
            green = redness * _GREEN_OF_REDNESS + blueness * _GREEN_OF_BLUENESS
            image[0, y, x] = _level(level, redness * _RED_OF_REDNESS)
            image[1, y, x] = _level(level, green)
            image[2, y, x] = _level(level, blueness * _BLUE_OF_BLUENESS)


@numba.njit(nogil=True, cache=True)
def _double(near: Any, far: Any, width: int, sums: Any, doubled: Any) -> None:
    """A row of twice the width, weighted 9 : 3 : 3 : 1; halves go up on the left and down on the right."""
    for x in range(width):
        sums[x + 1] = int32(near[x]) * 3 + far[x]
    sums[0] = sums[1]
    sums[width + 1] = sums[width]
    for x in range(width):
        middle = int32(sums[x + 1] * 3 + 8 - (128 << 4))
        doubled[2 * x] = int32(middle + sums[x]) >> 4
        doubled[2 * x + 1] = int32(middle - 1 + sums[x + 2]) >> 4


@numba.njit(nogil=True, cache=True)
def _level(luminance: Any, shift: Any) -> Any:
    return min(max(int32(luminance + (int32(shift + _HALF) >> 16)), int32(0)), int32(255))

"""CPU twins of the corruptions in `digital`: the same names and arguments, for a few images in one thread.

The bytes are the same, but for a few of the elastic transform.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import numba
import numpy as np
import torch

from robustbench_bi.corruptions import digital
from robustbench_bi.corruptions.elastic_numba_kernels import elastic_transform
from robustbench_bi.corruptions.hsv_numba_kernels import saturate
from robustbench_bi.corruptions.jpeg_numba_kernels import jpeg_round_trip

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from robustbench_bi.corruptions.draws import Draws

__all__ = ["contrast", "elastic_transform", "jpeg_compression", "pixelate", "saturate"]

# Levels are lines in units of 2**-22: the greatest, 255, is then less than 2**31.
_LINE_BITS = 22
# So many levels sum to less than 2**31.
_SUMMED = 1 << 12
# A window of up to 8,224 pixels sums to less than 2**21.
_SUM_BITS = 21
_SUM = (1 << _SUM_BITS) - 1
# About so many pixels are summed at once: their running sums, 8 KiB, stay in the first-level cache.
_PIXELS = 1024


def contrast(images: Tensor, draws: Draws, *, factor: float) -> Tensor:
    """Twin of `digital.contrast`, byte for byte."""
    result = torch.empty_like(images)
    _shrink_contrast(images.flatten(0, 1).flatten(1).numpy(), float(factor), result.flatten(0, 1).flatten(1).numpy())
    return result


@numba.njit(nogil=True, cache=True)
def _shrink_contrast(planes: Any, factor: float, result: Any) -> None:
    """Look each level up, or compute it in whole numbers where that gives all 256 levels of the table.

    A vector holds many whole numbers, but cannot look up.
    """
    levels, table, line = np.arange(256).astype(np.uint8), np.empty(256, np.uint8), np.empty(256, np.uint8)
    shares = np.arange(256) / 255
    slope = np.int32(factor * (1 << _LINE_BITS))
    for number in range(len(planes)):
        mean = _sum(planes[number]) / (255 * planes.shape[1])
        for level in range(256):
            table[level] = min(max((shares[level] - mean) * factor + mean, 0.0), 1.0) * 255
        # A little more than the line's beginning makes good for the fraction that the slope has lost.
        start = np.int32((mean - mean * factor) * 255 * (1 << _LINE_BITS) + 128)
        _follow_line(levels, slope, start, line)
        if np.array_equal(line, table):
            _follow_line(planes[number], slope, start, result[number])
        else:
            _look_up(planes[number], table, result[number])


@numba.njit(nogil=True, cache=True)
def _sum(levels: Any) -> int:
    """In pieces that int32 can hold."""
    total = 0
    for first in range(0, len(levels), _SUMMED):
        piece = np.int32(0)
        for level in levels[first : first + _SUMMED]:
            piece = np.int32(piece + level)
        total += int(piece)
    return total


@numba.njit(nogil=True, cache=True)
def _follow_line(levels: Any, slope: Any, start: Any, result: Any) -> None:
    for place in range(len(levels)):
        result[place] = np.int32(np.int32(levels[place]) * slope + start) >> _LINE_BITS


@numba.njit(nogil=True, cache=True)
def _look_up(levels: Any, table: Any, result: Any) -> None:
    for place in range(len(levels)):
        result[place] = table[levels[place]]


def pixelate(images: Tensor, draws: Draws, *, scale: float) -> Tensor:
    """Twin of `digital.pixelate`, byte for byte; a window must not be longer than 8,224 pixels."""
    result = torch.empty_like(images)
    rows, columns = (box_windows(side, int(side * scale)) for side in images.shape[2:])
    repeat_boxes(images.flatten(2).numpy(), *rows, *columns, result.numpy())
    return result


@functools.lru_cache(maxsize=64)
def box_windows(side: int, small_side: int) -> tuple[NDArray[np.uint32], NDArray[np.int32], NDArray[np.uint32]]:
    """Return where each window's pixels begin and end (small_side, 2), its weight, and each pixel's window (side,)."""
    begins, lengths, weights = digital.box_bounds(side, small_side)
    places = digital.nearest_places(small_side, side, torch.device("cpu"))
    # An unsigned index cannot count from the end, which the kernel then need not ask.
    bounds = torch.stack([begins, begins + lengths], dim=1).numpy().astype(np.uint32)
    return bounds, weights.numpy(), places.numpy().astype(np.uint32)


@numba.njit(nogil=True, cache=True)
def repeat_boxes(
    images: Any,
    row_bounds: Any,
    row_weights: Any,
    row_windows: Any,
    column_bounds: Any,
    column_weights: Any,
    column_windows: Any,
    result: Any,
) -> None:
    """Replace each pixel by the mean of its window, in images (B, 3, H * W) and a result (B, 3, H, W).

    For rows and for columns it takes what `box_windows` returns.
    """
    count, channels, height, width = result.shape
    small_width = len(column_weights)
    # A few rows are narrowed as if they were one, so that the loops are long where the images are small.
    rows = min(height, max(1, _PIXELS // width))
    bounds, weights = _repeat_windows(column_bounds, column_weights, rows, width)
    running, sums = np.zeros(rows * width + 1, np.int64), np.empty(rows * small_width, np.int64)
    narrow = np.empty((channels, height, small_width), np.uint8)
    scratch = np.empty(small_width, np.int32), np.empty(small_width, np.int32), np.empty(width, np.int32)
    for number in range(count):
        small = narrow.reshape(channels, -1)
        for first in range(0, height, rows):
            pixels = images[number, :, first * width : (first + rows) * width]
            _narrow(pixels, bounds, weights, running, sums, small[:, first * small_width :][:, : len(sums)])
        _enlarge(narrow, row_bounds, row_weights, row_windows, column_windows, scratch, result[number])


@numba.njit(nogil=True, cache=True)
def _repeat_windows(bounds: Any, weights: Any, rows: int, width: int) -> Any:
    """The windows of one row for several that follow each other: their bounds, now (2, windows), and weights."""
    small = len(weights)
    all_bounds, all_weights = np.empty((2, rows * small), np.uint32), np.empty(rows * small, np.int32)
    for row in range(rows):
        for x in range(small):
            all_bounds[0, row * small + x] = bounds[x, 0] + row * width
            all_bounds[1, row * small + x] = bounds[x, 1] + row * width
            all_weights[row * small + x] = weights[x]
    return all_bounds, all_weights


@numba.njit(nogil=True, cache=True)
def _narrow(pixels: Any, bounds: Any, weights: Any, running: Any, sums: Any, narrow: Any) -> None:
    """Means of windows of consecutive pixels, the sum of a window being the difference of two running sums.

    The three channels share a word, so that one addition serves them all.
    """
    reds, greens, blues = pixels
    for x in range(len(reds)):
        running[x + 1] = np.int64(reds[x]) | np.int64(greens[x]) << _SUM_BITS | np.int64(blues[x]) << 2 * _SUM_BITS
    total = np.int64(0)
    for x in range(1, len(reds) + 1):
        total += running[x]
        running[x] = total
    begins, ends = bounds
    new_reds, new_greens, new_blues = narrow
    for x in range(len(new_reds)):
        sums[x] = running[ends[x]] - running[begins[x]]
    for x in range(len(new_reds)):
        new_reds[x] = _mean(sums[x] & _SUM, weights[x])
        new_greens[x] = _mean(sums[x] >> _SUM_BITS & _SUM, weights[x])
        new_blues[x] = _mean(sums[x] >> 2 * _SUM_BITS, weights[x])


@numba.njit(nogil=True, cache=True)
def _enlarge(
    narrow: Any, row_bounds: Any, row_weights: Any, row_windows: Any, column_windows: Any, scratch: Any, result: Any
) -> None:
    """Means of windows of rows, each mean repeated down and along its window."""
    sums, words, pixels = scratch
    reds, greens, blues = result
    for y in range(len(row_windows)):
        window = row_windows[y]
        if y == 0 or window != row_windows[y - 1]:
            words[:] = 0
            for channel in range(len(narrow)):
                sums[:] = 0
                for source in range(row_bounds[window, 0], row_bounds[window, 1]):
                    levels = narrow[channel, source]
                    for x in range(len(sums)):
                        sums[x] += levels[x]
                for x in range(len(sums)):
                    words[x] |= _mean(sums[x], row_weights[window]) << 8 * channel
            for x in range(len(pixels)):
                pixels[x] = words[column_windows[x]]
        red, green, blue = reds[y], greens[y], blues[y]
        for x in range(len(pixels)):
            red[x], green[x], blue[x] = pixels[x], pixels[x] >> 8, pixels[x] >> 16


@numba.njit(nogil=True, cache=True)
def _mean(total: Any, weight: Any) -> Any:
    """In int32, of which a vector holds many."""
    return np.int32(np.int32(np.int32(total) * weight + (1 << 21)) >> 22)


def jpeg_compression(images: Tensor, draws: Draws, *, quality: int) -> Tensor:
    """Twin of `digital.jpeg_compression`, byte for byte."""
    return jpeg_round_trip(images, quality=quality)

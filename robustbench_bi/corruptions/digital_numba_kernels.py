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

# A window of up to 8,224 pixels sums to less than 2**21.
_SUM_BITS = 21
_SUM = (1 << _SUM_BITS) - 1


def contrast(images: Tensor, draws: Draws, *, factor: float) -> Tensor:
    """Twin of `digital.contrast`, byte for byte."""
    result = torch.empty_like(images)
    _shrink_contrast(images.flatten(0, 1).numpy(), float(factor), result.flatten(0, 1).numpy())
    return result


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _shrink_contrast(planes: Any, factor: float, result: Any) -> None:
    count, height, width = planes.shape
    table = np.empty(256, np.uint8)
    for number in range(count):
        total = 0
        for y in range(height):
            for x in range(width):
                total += planes[number, y, x]
        mean = total / (255 * height * width)
        for level in range(256):
            table[level] = min(max((level / 255 - mean) * factor + mean, 0.0), 1.0) * 255
        for y in range(height):
            for x in range(width):
                result[number, y, x] = table[planes[number, y, x]]


def pixelate(images: Tensor, draws: Draws, *, scale: float) -> Tensor:
    """Twin of `digital.pixelate`, byte for byte; a window must not be longer than 8,224 pixels."""
    result = torch.empty_like(images)
    rows, columns = (box_windows(side, int(side * scale)) for side in images.shape[2:])
    repeat_boxes(images.numpy(), *rows, *columns, result.numpy())
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
    """Replace each pixel by the mean of its window; for rows and for columns, what `box_windows` returns."""
    count, channels, height, width = images.shape
    small_width = len(column_weights)
    pixels, sums = np.empty(width, np.int64), np.empty(small_width, np.int64)
    narrow, means = np.empty((channels, height, small_width), np.uint8), np.empty(small_width, np.int32)
    for number in range(count):
        for y in range(height):
            red, green, blue = images[number, 0, y], images[number, 1, y], images[number, 2, y]
            # The three channels share a word, so that one addition serves them all.
            for x in range(width):
                pixels[x] = np.int64(red[x]) | np.int64(green[x]) << _SUM_BITS | np.int64(blue[x]) << 2 * _SUM_BITS
            for x in range(small_width):
                total = 0
                for source in range(column_bounds[x, 0], column_bounds[x, 1]):
                    total += pixels[source]
                sums[x] = total
            for x in range(small_width):
                narrow[0, y, x] = _mean(sums[x] & _SUM, column_weights[x])
                narrow[1, y, x] = _mean(sums[x] >> _SUM_BITS & _SUM, column_weights[x])
                narrow[2, y, x] = _mean(sums[x] >> 2 * _SUM_BITS, column_weights[x])
        for channel in range(channels):
            plane = result[number, channel]
            for y in range(height):
                window, row = row_windows[y], plane[y]
                if y > 0 and window == row_windows[y - 1]:
                    above = plane[y - 1]
                    for x in range(width):
                        row[x] = above[x]
                    continue
                for x in range(small_width):
                    means[x] = 0
                for source in range(row_bounds[window, 0], row_bounds[window, 1]):
                    for x in range(small_width):
                        means[x] += narrow[channel, source, x]
                for x in range(small_width):
                    means[x] = _mean(means[x], row_weights[window])
                for x in range(width):
                    row[x] = means[column_windows[x]]


@numba.njit(nogil=True, cache=True)
def _mean(total: int, weight: int) -> int:
    return (total * weight + (1 << 21)) >> 22


def jpeg_compression(images: Tensor, draws: Draws, *, quality: int) -> Tensor:
    """Twin of `digital.jpeg_compression`, byte for byte."""
    return jpeg_round_trip(images, quality=quality)

"""CPU twins of the squares and lines in `bar_covers`, with its operations in their order: so the bytes are the same."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numba
import numpy as np
import torch

from robustbench_bi.corruptions import bar_covers

if TYPE_CHECKING:
    from torch import Tensor

    from robustbench_bi.corruptions.draws import Draws

_GREY, _ONE = np.float32(bar_covers.GREY), np.float32(1)
_LEVEL = np.uint8(bar_covers.GREY)


def checkerboard_cutout(images: Tensor, draws: Draws, *, fraction: float) -> Tensor:
    """Twin of `bar_covers.checkerboard_cutout`."""
    result = torch.empty_like(images)
    board, cut = bar_covers.checkerboard_draws(draws, images.shape[2], images.shape[3], fraction)
    _cut_out(images.numpy(), board.numpy(), cut.numpy(), result.numpy())
    return result


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _cut_out(images: Any, boards: Any, cut: Any, result: Any) -> None:
    count, channels, height, width = images.shape
    reach = cut.shape[1] // 2
    squares, grey = np.empty((2, width), np.int32), np.empty(width, np.uint8)
    for number in range(count):
        cosine, sinus, square = boards[number]
        for y in range(height):
            down = np.float32(y)
            for x in range(width):
                across = np.float32(x)
                squares[0, x] = np.int32(np.floor((cosine * down + sinus * across) / square))
                squares[1, x] = np.int32(np.floor((cosine * across - sinus * down) / square))
            for x in range(width):
                row, column = np.int64(squares[0, x]), np.int64(squares[1, x])
                even = (row + column) & 1 == 0
                grey[x] = even and cut[number, np.uint64(row + reach), np.uint64(column + reach)]
            for channel in range(channels):
                source, target = images[number, channel, y], result[number, channel, y]
                for x in range(width):
                    target[x] = _LEVEL if grey[x] else source[x]


def lines(images: Tensor, draws: Draws, *, density: float) -> Tensor:
    """Twin of `bar_covers.lines`: each line touches only the pixels near it."""
    result = images.clone()
    ends = bar_covers.line_ends(draws, images.shape[2], images.shape[3], density)
    _draw(ends.numpy(), result.numpy())
    return result


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _draw(ends: Any, result: Any) -> None:
    for number in range(len(ends)):
        for line in range(ends.shape[1]):
            top, left, bottom, right = ends[number, line]
            if abs(right - left) >= abs(bottom - top):
                _draw_along(result[number], left, top, right, bottom)
            else:
                _draw_along(result[number].transpose(0, 2, 1), top, left, bottom, right)


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _draw_along(planes: Any, left: Any, top: Any, right: Any, bottom: Any) -> None:
    """Draw one line that is longer in x than in y."""
    channels, height, width = planes.shape
    down, across = bottom - top, right - left
    length = np.float32(np.sqrt(np.float64(down * down + across * across)))
    begin: Any = max(np.int64(min(left, right)), 0)
    end: Any = min(np.int64(max(left, right)), width - 1)
    for x in range(begin, end + 1):
        passed = (np.float32(x) - left) * down
        middle = np.float64(top) + np.float64(passed) / np.float64(across)
        first: Any = max(np.int64(np.floor(middle)) - 1, 0)
        last: Any = min(np.int64(np.floor(middle)) + 2, height - 1)
        for y in range(first, last + 1):
            cover = _ONE - abs(passed - (np.float32(y) - top) * across) / length
            if cover > 0:
                for channel in range(channels):
                    level = np.float32(planes[channel, y, x])
                    planes[channel, y, x] = np.uint8(level + cover * (_GREY - level))

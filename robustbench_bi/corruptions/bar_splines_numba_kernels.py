"""CPU twins of what `bar_splines` reads by cubic splines."""

from __future__ import annotations

import functools
import math
from typing import TYPE_CHECKING, Any

import numba
import numpy as np
import torch

from robustbench_bi.corruptions import bar_splines, digital

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from robustbench_bi.corruptions.draws import Draws

_ROUNDING_ERROR = np.float32(digital.ROUNDING_ERROR)
_BORDER = bar_splines.BORDER
# The pole of the recursive filter that makes splines of pixels, and after how many pixels it has died away.
_POLE, _HORIZON = np.float32(math.sqrt(3) - 2), 16
_GAIN, _LAST = np.float32(6), np.float32((math.sqrt(3) - 2) / ((math.sqrt(3) - 2) ** 2 - 1))
_ONE, _TWO, _THREE, _FOUR, _SIXTH = (np.float32(number) for number in (1, 2, 3, 4, 1 / 6))
_HALF = 0.5 + bar_splines.TIE


def circular_motion_blur(images: Tensor, draws: Draws, *, angle: float) -> Tensor:
    """Twin of `bar_splines.circular_motion_blur` in float32: of photographs, few bytes are off, by one grey level."""
    result = torch.empty_like(images)
    _average(images.numpy(), _turns(angle), result.numpy())
    return result


@functools.lru_cache(maxsize=16)
def _turns(angle: float) -> NDArray[np.float64]:
    return np.array(bar_splines.turns_about_the_middle(angle))


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _average(images: Any, turns: Any, result: Any) -> None:
    count, channels, height, width = images.shape
    splines = np.empty((height + 2 * _BORDER, width + 2 * _BORDER, 3), np.float32)
    total = np.empty((width, 3), np.float32)
    sources, shares = np.empty(width, np.int32), np.empty((2, width), np.float32)
    for number in range(count):
        _splines(images[number], splines)
        for y in range(height):
            total[:] = 0
            for turn in range(len(turns)):
                cosine, sinus, weight = turns[turn]
                down = y - (height - 1) / 2
                first, last = width, -1
                for x in range(width):
                    across = x - (width - 1) / 2
                    row = down * cosine + across * sinus + (height - 1) / 2
                    column = across * cosine - down * sinus + (width - 1) / 2
                    if row >= 0 and row <= height - 1 and column >= 0 and column <= width - 1:
                        first, last = min(first, x), x
                    top, left = np.floor(row), np.floor(column)
                    shares[0, x], shares[1, x] = row - top, column - left
                    sources[x] = (np.int32(top) + _BORDER - 1) * (width + 2 * _BORDER) + np.int32(left) + _BORDER - 1
                _add(splines, sources, shares, first, last, np.float32(weight), total)
            for channel in range(channels):
                target = result[number, channel, y]
                for x in range(width):
                    level = total[x, channel] + _ROUNDING_ERROR
                    target[x] = np.uint8(min(max(level, np.float32(0)), np.float32(255)))


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _add(splines: Any, sources: Any, shares: Any, first: int, last: int, weight: Any, total: Any) -> None:
    """Add one turn of a row of pixels: the columns from first to last, which lie within the picture."""
    width = splines.shape[1]
    pixels = splines.reshape(-1, 3)
    for x in range(first, last + 1):
        place = np.uint64(sources[x])
        lower, right = shares[0, x], shares[1, x]
        upper, left = _ONE - lower, _ONE - right
        one, four = left * left * left * _SIXTH, right * right * right * _SIXTH
        two = (right * right * (right - _TWO) * _THREE + _FOUR) * _SIXTH
        three = (left * left * (left - _TWO) * _THREE + _FOUR) * _SIXTH
        rows = (
            upper * upper * upper * _SIXTH * weight,
            (lower * lower * (lower - _TWO) * _THREE + _FOUR) * _SIXTH * weight,
            (upper * upper * (upper - _TWO) * _THREE + _FOUR) * _SIXTH * weight,
            lower * lower * lower * _SIXTH * weight,
        )
        for row in range(4):
            begin = place + np.uint64(row * width)
            for channel in range(3):
                line = pixels[begin, channel] * one + pixels[begin + np.uint64(1), channel] * two
                line += pixels[begin + np.uint64(2), channel] * three + pixels[begin + np.uint64(3), channel] * four
                total[x, channel] += line * rows[row]


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _splines(image: Any, splines: Any) -> None:
    """Weights of cubic B-splines through the pixels, (H + 4, W + 4, 3); the picture is mirrored about its ends."""
    channels, height, width = image.shape
    inner = splines[_BORDER : height + _BORDER, _BORDER : width + _BORDER]
    for y in range(height):
        for x in range(width):
            for channel in range(channels):
                inner[y, x, channel] = image[channel, y, x]
    for y in range(height):
        _filter(inner[y])
    for x in range(width):
        _filter(inner[:, x])
    for y in range(_BORDER):
        for x in range(_BORDER, width + _BORDER):
            for channel in range(3):
                splines[_BORDER - 1 - y, x, channel] = splines[_BORDER + 1 + y, x, channel]
                splines[height + _BORDER + y, x, channel] = splines[height + _BORDER - 2 - y, x, channel]
    for y in range(height + 2 * _BORDER):
        for x in range(_BORDER):
            for channel in range(3):
                splines[y, _BORDER - 1 - x, channel] = splines[y, _BORDER + 1 + x, channel]
                splines[y, width + _BORDER + x, channel] = splines[y, width + _BORDER - 2 - x, channel]


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _filter(line: Any) -> None:
    """Turn a line of pixels, (n, 3), into weights of splines in place: once forwards, once backwards."""
    count = len(line)
    for channel in range(3):
        start, power = np.float32(0), _ONE
        for place in range(min(_HORIZON, count)):
            start += line[place, channel] * power
            power *= _POLE
        line[0, channel] = start * _GAIN
    for place in range(1, count):
        for channel in range(3):
            line[place, channel] = line[place, channel] * _GAIN + line[place - 1, channel] * _POLE
    for channel in range(3):
        line[count - 1, channel] = (line[count - 1, channel] + line[count - 2, channel] * _POLE) * _LAST
    for place in range(count - 2, -1, -1):
        for channel in range(3):
            line[place, channel] = (line[place + 1, channel] - line[place, channel]) * _POLE


def transverse_chromatic_aberration(images: Tensor, draws: Draws, *, zoom: float) -> Tensor:
    """Twin of `bar_splines.transverse_chromatic_aberration`, byte for byte."""
    result = torch.empty_like(images)
    steps = bar_splines.magnification_steps(draws).numpy()
    lines = [_magnified(side, zoom) for side in images.shape[-2:]]
    _magnify(images.numpy(), steps, *lines[0], *lines[1], result.numpy())
    return result


@functools.lru_cache(maxsize=16)
def _magnified(side: int, zoom: float) -> tuple[NDArray[np.uint32], NDArray[np.float64]]:
    """Which pixels the pixels of a line are made of, and with what weights, for three magnifications: (3, 4, side)."""
    places, weights = zip(*(bar_splines.magnified(side, 1 + zoom * step / 2) for step in range(3)), strict=True)
    return torch.stack(places).numpy().astype(np.uint32), torch.stack(weights).numpy()


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _magnify(images: Any, steps: Any, tops: Any, downs: Any, lefts: Any, acrosses: Any, result: Any) -> None:
    count, channels, height, width = images.shape
    row = np.empty(width)
    for number in range(count):
        for channel in range(channels):
            plane, step = images[number, channel], steps[number, channel]
            place, weight, down = lefts[step], acrosses[step], downs[step]
            for y in range(height):
                one, two, three, four = (
                    plane[tops[step, 0, y]],
                    plane[tops[step, 1, y]],
                    plane[tops[step, 2, y]],
                    plane[tops[step, 3, y]],
                )
                for x in range(width):
                    total = one[x] * down[0, y] + two[x] * down[1, y]
                    row[x] = total + three[x] * down[2, y] + four[x] * down[3, y]
                target = result[number, channel, y]
                for x in range(width):
                    total = row[place[0, x]] * weight[0, x] + row[place[1, x]] * weight[1, x]
                    total = total + row[place[2, x]] * weight[2, x] + row[place[3, x]] * weight[3, x]
                    target[x] = np.uint8(total + _HALF)

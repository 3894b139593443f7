"""CPU twin of `weather.fog`. Its clouds are made row by row, with the additions of `plasma` in their order."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numba
import numpy as np
import torch

from robustbench_bi.corruptions.filters import UNIT_HIGH, UNIT_LOW
from robustbench_bi.corruptions.plasma import FIRST_AMPLITUDE

if TYPE_CHECKING:
    from torch import Tensor

    from robustbench_bi.corruptions.draws import Draws

_HALF, _FAR = np.float32(0.5), np.float32(0.4999)
"""From halfway between two levels: the four rounding errors of `_blend`, each at most 1.6e-5, do not reach a level."""


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
    haze = np.empty(width, np.float32)
    for number in range(count):
        heights = _heights(steps[number], side, wibble_decay)
        least, greatest = _range(heights)
        brightest = _greatest(images[number]) / 255
        share = brightest / (brightest + intensity)
        part = 255 * share * intensity / (greatest - least)
        for y in range(height):
            cloud = heights[y, :width]
            for x in range(width):
                haze[x] = (cloud[x] - least) * part
            for channel in range(channels):
                row, target = images[number, channel, y], result[number, channel, y]
                if _blend(row, haze, np.float32(share), target):
                    _blend_exactly(row, cloud, least, greatest, brightest, intensity, target)


@numba.njit(nogil=True, cache=True)
def _blend(row: Any, haze: Any, share: Any, result: Any) -> bool:
    """Add fog to a row, and return whether that may be wrong: a level is next to a whole number.

    In float32 and without a division this takes a third of the time, and about one row in 20 has to be done again.
    """
    close = np.int32(0)
    for x in range(len(row)):
        level = np.float32(row[x]) * share + haze[x]
        whole = np.floor(level)
        close = np.int32(close + np.int32(abs(level - whole - _HALF) > _FAR))
        result[x] = np.uint8(whole)
    return bool(close > 0)


@numba.njit(nogil=True, cache=True)
def _blend_exactly(
    row: Any, cloud: Any, least: float, greatest: float, brightest: float, intensity: float, result: Any
) -> None:
    """Add fog to a row in the steps of `weather.fog`."""
    for x in range(len(row)):
        haze = (cloud[x] - least) / (greatest - least) * intensity
        level = (row[x] * UNIT_HIGH + row[x] * UNIT_LOW + haze) * brightest / (brightest + intensity)
        result[x] = np.uint8(min(max(level, 0.0), 1.0) * 255)


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


@numba.njit(nogil=True, cache=True)
def _range(heights: Any) -> tuple[float, float]:
    """The least and the greatest height: column by column, because a processor compares many columns at once."""
    lows, highs = heights[0].copy(), heights[0].copy()
    for y in range(1, len(heights)):
        row = heights[y]
        for x in range(len(row)):
            lows[x] = min(lows[x], row[x])
            highs[x] = max(highs[x], row[x])
    return lows.min(), highs.max()


@numba.njit(nogil=True, cache=True)
def _heights(steps: Any, side: int, wibble_decay: float) -> Any:
    """The height map of `plasma.plasma` before it is scaled, bit for bit: float64 (side + 1, side + 1).

    The first row and column are repeated at the end.
    """
    heights = np.zeros((2, 2))
    used, count, amplitude = 0, 1, FIRST_AMPLITUDE
    while count < side:
        following = used + 3 * count**2
        heights = _refined(heights, steps[used:following].reshape(3, count, count), amplitude)
        used, count, amplitude = following, 2 * count, amplitude / wibble_decay
    return heights


@numba.njit(nogil=True, cache=True)
def _refined(corners: Any, steps: Any, amplitude: float) -> Any:
    """One round, from float64 (n + 1, n + 1) to (2 n + 1, 2 n + 1), with steps float32 (3, n, n)."""
    count = steps.shape[1]
    # Here the last row and column are repeated at the beginning.
    middles = np.empty((count + 1, count + 1))
    for y in range(count):
        up, down, middle, step = corners[y], corners[y + 1], middles[y + 1], steps[0, y]
        for x in range(count):
            neighbours = (up[x] + down[x]) + (up[x + 1] + down[x + 1])
            middle[x + 1] = neighbours / 4 + np.float64(step[x]) * amplitude * amplitude
        middle[0] = middle[count]
    for x in range(count + 1):
        middles[0, x] = middles[count, x]
    refined = np.empty((2 * count + 1, 2 * count + 1))
    for y in range(count):
        up, down, before, middle = corners[y], corners[y + 1], middles[y], middles[y + 1]
        even, odd, across, along = refined[2 * y], refined[2 * y + 1], steps[1, y], steps[2, y]
        for x in range(count):
            neighbours = (middle[x + 1] + before[x + 1]) + (up[x] + up[x + 1])
            even[2 * x] = up[x]
            even[2 * x + 1] = neighbours / 4 + np.float64(across[x]) * amplitude * amplitude
        for x in range(count):
            neighbours = (middle[x + 1] + middle[x]) + (up[x] + down[x])
            odd[2 * x] = neighbours / 4 + np.float64(along[x]) * amplitude * amplitude
            odd[2 * x + 1] = middle[x + 1]
        even[2 * count], odd[2 * count] = even[0], odd[0]
    for x in range(2 * count + 1):
        refined[2 * count, x] = refined[0, x]
    return refined

"""CPU twin of `plasma`: one fractal cloud, row by row, with the additions of the definition in their order."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numba
import numpy as np

from robustbench_bi.corruptions.plasma import _FIRST_AMPLITUDE

if TYPE_CHECKING:
    from numpy.typing import NDArray


def plasma(steps: NDArray[np.float32], side: int, wibble_decay: float) -> NDArray[np.float64]:
    """Return one height map, bit for bit as `plasma.plasma` does.

    Args:
        steps: the random variates of this map, float32 (side² - 1,) in [-1, 1].
        side: a power of two, in pixels.
        wibble_decay: the greater, the smoother.

    Returns:
        float64 (side, side), from 0 to 1.

    Example:
        >>> plasma(np.array([-0.5, 0.0, 0.0], dtype=np.float32), 2, 2.0)
        array([[1. , 0.5],
               [0.5, 0. ]])
    """
    heights = _heights(steps, side, _FIRST_AMPLITUDE, float(wibble_decay))
    scaled = np.empty((side, side))
    _scale(heights, heights.min(), heights.max(), scaled)
    return scaled


@numba.njit(nogil=True, cache=True)
def _heights(steps: Any, side: int, amplitude: float, wibble_decay: float) -> Any:
    """The map before it is scaled, float64 (side + 1, side + 1): the first row and column are repeated at the end."""
    heights = np.zeros((2, 2))
    used, count = 0, 1
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


@numba.njit(nogil=True, cache=True)
def _scale(heights: Any, least: float, greatest: float, scaled: Any) -> None:
    for y in range(len(scaled)):
        row, target = heights[y], scaled[y]
        for x in range(len(target)):
            target[x] = (row[x] - least) / (greatest - least)

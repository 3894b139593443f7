"""CPU twins of the filters in `filters`: sums over contiguous rows, one plane of an image after the other.

Sums run in a fixed order and without fused multiply-adds, so they are the same on every machine. Images are NumPy
arrays whose last two dimensions are (H, W); scratch is a few rows of one plane.

A filter adds to each pixel the weighted differences of the others to it. So flat regions and even slopes, where a level
lies on or next to a whole number, come out exact, and truncation shows no rounding errors there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numba
import numpy as np
import torch
from torch.nn import functional as F

from robustbench_bi.corruptions import filters
from robustbench_bi.corruptions.filters import DIRECTIONAL_BITS, HALF_A_LEVEL

if TYPE_CHECKING:
    from numpy.typing import NDArray

_ONE, _TWO, _THREE = np.uint64(1), np.uint64(2), np.uint64(3)
# Rows that are smoothed down the columns at once: long loops, whose sums still lie in the nearest cache.
_ROWS = 4


def gaussian(planes: NDArray[Any], sigma: float) -> NDArray[np.float64]:
    """Smooth planes as `filters.gaussian` does.

    Args:
        planes: uint8 or float32 (N, H, W).
        sigma: standard deviation in pixels.

    Returns:
        float64 (N, H, W).

    Example:
        >>> gaussian(np.array([[[0, 0, 90, 0]]], dtype=np.uint8), 0.5).round()
        array([[[ 0., 10., 71., 10.]]])
    """
    result = np.empty(planes.shape)
    _smooth(planes, _taps(sigma, torch.float64), False, result)
    return result


def gaussian_levels(planes: NDArray[np.uint8], sigma: float) -> NDArray[np.uint8]:
    """Smooth grey levels, uint8 (N, H, W), and truncate them to uint8, as `filters.truncate` does.

    A narrow kernel is summed in float64: its second weight is so small that float32 would lose it beside a grey level.

    Example:
        >>> gaussian_levels(np.array([[[0, 0, 90, 0]]], dtype=np.uint8), 0.5)
        array([[[ 0,  9, 70,  9]]], dtype=uint8)
    """
    result = np.empty_like(planes)
    _smooth(planes, _taps(sigma, torch.float64 if sigma < 1 else torch.float32), True, result)
    return result


def _taps(sigma: float, dtype: torch.dtype) -> NDArray[Any]:
    """Half of the kernel, in the precision of the sums; behind the middle, filled up to a multiple of four."""
    taps = filters.gaussian_taps(sigma)
    return F.pad(taps, (0, (1 - len(taps)) % 4)).to(dtype).numpy()


@numba.njit(nogil=True, cache=True)
def _smooth(planes: Any, taps: Any, truncate: bool, result: Any) -> None:
    """Smooth a few rows down the columns, and then each of them along the row; the border is repeated."""
    count, height, width = planes.shape
    radius = len(taps) - 1
    levels = np.empty((height + 2 * radius, width), taps.dtype)
    column, row = levels.ravel(), np.empty(width + 2 * radius, taps.dtype)
    twice, sums = np.empty(_ROWS * width, taps.dtype), np.empty(_ROWS * width, taps.dtype)
    smoothed, double, total = row[radius : radius + width], np.empty(width, taps.dtype), np.empty(width, taps.dtype)
    # In the precision of the sums: beside these numbers of 64 bits, everything would be taken in 64.
    error, black, white = np.array([1e-9, 0, 255]).astype(taps.dtype)
    for number in range(count):
        for y in range(height + 2 * radius):
            for x in range(width):
                levels[y, x] = planes[number, min(max(y - radius, 0), height - 1), x]
        for top in range(0, height, _ROWS):
            rows, start = min(_ROWS, height - top), (top + radius) * width
            centres = column[start : start + rows * width]
            for place in range(rows * width):
                twice[place] = centres[place] + centres[place]
                sums[place] = 0
            for near in range(1, radius, 4):
                _add_fours(column, start, near, width, taps, twice, sums[: rows * width])
            for y in range(rows):
                centre, change = centres[y * width : (y + 1) * width], sums[y * width : (y + 1) * width]
                for x in range(width):
                    smoothed[x] = centre[x] + change[x]
                    double[x] = smoothed[x] + smoothed[x]
                    total[x] = 0
                for x in range(radius):
                    row[x] = smoothed[0]
                    row[radius + width + x] = smoothed[width - 1]
                for near in range(1, radius, 4):
                    _add_fours(row, radius, near, 1, taps, double, total)
                target = result[number, top + y]
                if truncate:
                    for x in range(width):
                        level = np.floor(smoothed[x] - centre[x] + total[x] + error)
                        target[x] = min(max(centre[x] + level, black), white)
                else:
                    for x in range(width):
                        target[x] = smoothed[x] + total[x]


@numba.njit(nogil=True, cache=True)
def _add_fours(levels: Any, start: int, near: int, step: int, taps: Any, twice: Any, sums: Any) -> None:
    """Add four pixels before and four after each, from the nearest on, less as much of the pixel itself.

    As numbers without a sign, places cannot count from the end; then the processor is given many at once.
    """
    by = np.uint64(step)
    before, after = np.uint64(start - near * step), np.uint64(start + near * step)
    first, second, third, fourth = taps[near], taps[near + 1], taps[near + 2], taps[near + 3]
    for x in range(np.uint64(len(sums))):
        left, right, own = before + x, after + x, twice[x]
        inner = first * (levels[left] + levels[right] - own)
        inner += second * (levels[left - by] + levels[right + by] - own)
        outer = third * (levels[left - by - by] + levels[right + by + by] - own)
        outer += fourth * (levels[left - by - by - by] + levels[right + by + by + by] - own)
        sums[x] = sums[x] + inner + outer


def directional_blur(
    images: NDArray[np.uint8], degrees: torch.Tensor, *, radius: int, sigma: float, rounded: bool
) -> NDArray[np.uint8]:
    """Blur each image along its own direction, byte for byte as `filters.directional_blur` does.

    Args:
        images: uint8 (B, C, H, W).
        degrees: (B,), 0 looks to the right, 90 down.
        radius: half the number of taps.
        sigma: in pixels.
        rounded: to the nearest grey level; otherwise the fraction is cut off.

    Returns:
        uint8 (B, C, H, W).

    Example:
        >>> spot = np.array([[[[0, 0, 90, 0]]]], dtype=np.uint8)
        >>> directional_blur(spot, torch.tensor([0.0]), radius=1, sigma=100.0, rounded=True)
        array([[[[30, 30, 30,  0]]]], dtype=uint8)
    """
    result = np.empty_like(images)
    height, width = images.shape[2:]
    weights = filters.half_gaussian(2 * radius + 1, sigma)
    # NumPy, unlike torch, keeps Python's lock over such short work, and hands it to no other thread each time.
    down, right = (steps.numpy() for steps in filters.directional_steps(degrees, len(weights) + 1))
    # Where a shift reaches the side of the image the blur stops; the last step fills up an even number.
    lost = np.logical_or.accumulate((abs(down) >= height) | (abs(right) >= width), axis=1)
    kept = np.where(lost, 0, np.append(weights.numpy(), 0)).astype(np.int32)
    rounding = np.int32(HALF_A_LEVEL if rounded else 0)
    _shift_and_add(images, kept, np.where(lost, 0, down), np.where(lost, 0, right), rounding, result)
    return result


@numba.njit(nogil=True, cache=True)
def _shift_and_add(images: Any, all_weights: Any, down: Any, right: Any, rounding: Any, result: Any) -> None:
    """Pad each plane by what its steps need, then add shifted rows, two at a time; there is an even number."""
    count, channels, height, width = images.shape
    sums = np.empty(width, np.int32)
    for number in range(count):
        weights, below, across = all_weights[number], down[number], right[number]
        top, left = max(0, -below.min()), max(0, -across.min())
        padded = np.empty((top + height + max(0, below.max()), left + width + max(0, across.max())), np.uint8)
        for channel in range(channels):
            for y in range(padded.shape[0]):
                row, inside = images[number, channel, min(max(y - top, 0), height - 1)], padded[y, left : left + width]
                for x in range(width):
                    inside[x] = row[x]
                padded[y, :left], padded[y, left + width :] = row[0], row[width - 1]
            for y in range(height):
                sums[:] = rounding
                for tap in range(0, len(weights), 2):
                    first, second = weights[tap], weights[tap + 1]
                    row = padded[top + y + below[tap], left + across[tap] :]
                    following = padded[top + y + below[tap + 1], left + across[tap + 1] :]
                    for x in range(width):
                        sums[x] += first * np.int32(row[x]) + second * np.int32(following[x])
                target = result[number, channel, y]
                for x in range(width):
                    target[x] = sums[x] >> DIRECTIONAL_BITS


def correlate_levels(planes: NDArray[np.uint8], disk: torch.Tensor) -> NDArray[np.uint8]:
    """Slide a disk over grey levels and truncate: `filters.truncate(filters.correlate(...))`.

    The flat inside of a disk is a box in each of its rows, and a box is the difference of two running sums: whole
    numbers, so that their sum is exact. What is left are the few pixels of the disk's edge.

    Args:
        planes: uint8 (N, H, W).
        disk: float64 (K, K), K odd and K // 2 less than H and W, the same turned upside down or left to right; see
            `filters.disk_kernel`.

    Returns:
        uint8 (N, H, W).

    Example:
        >>> spot = np.zeros((1, 20, 20), dtype=np.uint8)
        >>> spot[0, 9, 9] = 150
        >>> correlate_levels(spot, filters.disk_kernel(3, 0.1))[0, 9, 4:15]
        array([0, 0, 5, 5, 5, 5, 5, 5, 5, 0, 0], dtype=uint8)
    """
    radius = len(disk) // 2
    quarter = disk[radius:, radius:].numpy()
    flat = float(quarter[0, 0])
    # Weights that differ by so little are those of the inside, and so small ones are none: no sum shows it.
    insides = (abs(quarter - flat) < 4e-9).cumprod(axis=1).sum(axis=1)
    edge = np.where(quarter < 1e-12, 0, quarter).astype(np.float32)
    # The middle row is folded with itself, and so is the middle column.
    edge[0] /= 2
    edge[:, 0] /= 2
    result, count = np.empty_like(planes), int(4 * insides.sum() - 2 * insides[0] - 2 * (insides > 0).sum() + 1)
    # Running sums may overflow: only their differences count, which add up to at most this.
    whole = np.dtype(np.int16 if 255 * count <= np.iinfo(np.int16).max else np.int32)
    _correlate(planes, insides, count, whole, flat, edge, float(disk.sum() - 1), result)
    return result


@numba.njit(nogil=True, cache=True)
def _correlate(
    planes: Any, insides: Any, boxes: int, whole: Any, flat: float, edge: Any, excess: float, result: Any
) -> None:
    """Fold the rows above and below, then the columns before and after, so that a quarter of the disk is left.

    Args:
        insides: how many of a row's pixels from the middle on are inside; all weigh `flat`.
        boxes: how many pixels of the disk that are.
        whole: type of whole numbers that holds as many differences of two levels.
        edge: weights of the quarter, used beyond the inside.
        excess: what the weights sum to, less one.
    """
    count, height, width = planes.shape
    radius = len(edge) - 1
    # Steps are taken in fours, the last ones perhaps with a weight of zero.
    weights = np.zeros((radius + 1, radius + 4), np.float32)
    weights[:, : radius + 1] = edge
    margin = radius + weights.shape[1] - edge.shape[1]
    length = width + 2 * margin
    levels, folded = np.empty((height, length), np.float32), np.empty(length, np.float32)
    running = np.zeros((height, length + 1), whole)
    nothing, padded = np.zeros(length + 1, whole), np.zeros(length, np.uint8)
    inner, outer, fourfold = np.empty(width, whole), np.empty(width, np.float32), np.empty(width, np.float32)
    for number in range(count):
        plane = planes[number]
        for y in range(height):
            _mirror(plane[y], radius, margin, padded)
            total, row, sums = 0, levels[y], running[y]
            for x in range(length):
                row[x] = padded[x]
            for x in range(length):
                total += padded[x]
                sums[x + 1] = total
        for y in range(height):
            centre = plane[y]
            # A loop for each width of number, which a vector then holds more of.
            for x in range(width):
                inner[x] = -np.int32(boxes) * np.int32(centre[x])
            for x in range(width):
                fourfold[x] = np.float32(4) * np.float32(centre[x])
            outer[:] = 0
            for distance in range(radius + 1):
                up, down = abs(y - distance), height - 1 - abs(height - 1 - y - distance)
                inside = insides[distance]
                if inside > 0:
                    above, below = running[up], running[down] if distance > 0 else nothing
                    _add_box(above, below, np.uint64(margin - inside + 1), np.uint64(margin + inside), inner)
                reach = radius
                while reach >= inside and edge[distance, reach] == 0:
                    reach -= 1
                if reach < inside:
                    continue
                above_levels, below_levels = levels[up], levels[down]
                for x in range(length):
                    folded[x] = above_levels[x] + below_levels[x]
                for step in range(inside, reach + 1, 4):
                    _add_steps(
                        folded,
                        np.uint64(margin - step),
                        np.uint64(margin + step),
                        weights[distance, step:],
                        fourfold,
                        outer,
                    )
            target = result[number, y]
            for x in range(width):
                change = flat * inner[x] + outer[x] + excess * centre[x] + 1e-9
                target[x] = min(max(centre[x] + np.floor(change), 0.0), 255.0)


@numba.njit(nogil=True, cache=True)
def _mirror(row: Any, radius: int, margin: int, padded: Any) -> None:
    """Put a row behind a margin and mirror it, as far as the radius, about its first and its last pixel."""
    width = len(row)
    middle = padded[margin : margin + width]
    for x in range(width):
        middle[x] = row[x]
    for x in range(1, radius + 1):
        padded[margin - x], padded[margin + width - 1 + x] = row[x], row[width - 1 - x]


@numba.njit(nogil=True, cache=True)
def _add_box(above: Any, below: Any, left: Any, right: Any, sums: Any) -> None:
    """Add a row of the flat inside, above and below, by running sums."""
    for x in range(np.uint64(len(sums))):
        sums[x] += above[right + x] - above[left + x] + below[right + x] - below[left + x]


@numba.njit(nogil=True, cache=True)
def _add_steps(folded: Any, left: Any, right: Any, weights: Any, fourfold: Any, sums: Any) -> None:
    """Add four columns to the left and to the right, each less its share of the centre, one after the other.

    As numbers without a sign, the columns cannot count from the end; then the processor is given many at once.
    """
    first, second, third, fourth = weights[0], weights[1], weights[2], weights[3]
    for x in range(np.uint64(len(sums))):
        total = sums[x] + first * (folded[left + x] + folded[right + x] - fourfold[x])
        total += second * (folded[left + x - _ONE] + folded[right + x + _ONE] - fourfold[x])
        total += third * (folded[left + x - _TWO] + folded[right + x + _TWO] - fourfold[x])
        sums[x] = total + fourth * (folded[left + x - _THREE] + folded[right + x + _THREE] - fourfold[x])

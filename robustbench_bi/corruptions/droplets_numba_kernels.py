"""CPU twin of `droplets`: the relief of water drops, one image after the other.

All levels, gradients, distances and sums are whole numbers, small enough that float32 holds them exactly.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numba
import numpy as np

from robustbench_bi.corruptions import droplets

if TYPE_CHECKING:
    from numpy.typing import NDArray

_WEAK, _STRONG = np.float32(droplets._WEAK), np.float32(droplets._STRONG)
# tan(22.5°) and tan(67.5°). A product with the second may be rounded, but for no two gradients up to a comparison.
_FLAT, _STEEP = (np.float32((droplets._TAN_22 + full) / 32768) for full in (0, 65536))
_SIDE, _DIAGONAL, _KNIGHT = (np.float32(cost) for cost in (droplets._SIDE, droplets._DIAGONAL, droplets._KNIGHT))
_FAR = np.float32(droplets._FARTHEST * droplets._SIDE)
# Columns on either side of a row of distances; `_spread` looks so far.
_MARGIN = 16
# Whether a pixel belongs to an edge.
_NO, _PERHAPS, _YES = 0, 1, 2


def relief(liquid: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return how strongly each pixel of a layer of liquid reflects, as `droplets.relief` does.

    Args:
        liquid: uint8 (B, H, W), 0 where there is none.

    Returns:
        uint8 (B, H, W).

    Example:
        >>> drop = np.zeros((1, 12, 12), dtype=np.uint8)
        >>> drop[0, 4:8, 4:8] = 200
        >>> relief(drop)[0, 5].tolist()
        [32, 32, 0, 0, 0, 0, 42, 127, 212, 255, 244, 244]
    """
    result = np.empty_like(liquid)
    for levels, reflection in zip(liquid, result, strict=True):
        depth = _depth(_distance(_edges(levels)))
        _emboss(depth, _equaliser(depth), reflection)
    return result


@numba.njit(nogil=True, cache=True)
def _edges(levels: Any) -> Any:
    """Canny edges of uint8 (H, W): uint8 (H + 2, W + 2), `_YES` on edges; nothing is on the border."""
    height, width = levels.shape
    gradient = np.zeros((height + 2, width + 2), np.float32)
    dx, dy = np.empty((height, width), np.float32), np.empty((height, width), np.float32)
    sums, differences = np.empty(width + 2, np.float32), np.empty(width + 2, np.float32)
    for y in range(height):
        above, row, below = levels[max(y - 1, 0)], levels[y], levels[min(y + 1, height - 1)]
        for x in range(width):
            ends = np.float32(above[x]) + np.float32(below[x])
            sums[x + 1] = ends + np.float32(row[x]) + np.float32(row[x])
            differences[x + 1] = np.float32(below[x]) - np.float32(above[x])
        sums[0], sums[width + 1] = sums[1], sums[width]
        differences[0], differences[width + 1] = differences[1], differences[width]
        across, down, total = dx[y], dy[y], gradient[y + 1, 1:]
        for x in range(width):
            across[x] = sums[x + 2] - sums[x]
            down[x] = differences[x] + differences[x + 1] + differences[x + 1] + differences[x + 2]
            total[x] = abs(across[x]) + abs(down[x])
    marks = np.zeros((height + 2, width + 2), np.uint8)
    for y in range(height):
        _mark(gradient[y], gradient[y + 1], gradient[y + 2], dx[y], dy[y], marks[y + 1, 1:])
    _grow(marks)
    return marks


@numba.njit(nogil=True, cache=True)
def _mark(above: Any, row: Any, below: Any, dx: Any, dy: Any, marks: Any) -> None:
    """Mark the pixels of one row whose gradient is the greatest of the three along its direction."""
    for x in range(len(dx)):
        gradient, left, right, up, down = row[x + 1], row[x], row[x + 2], above[x + 1], below[x + 1]
        upper_left, upper_right, lower_left, lower_right = above[x], above[x + 2], below[x], below[x + 2]
        falling = (dx[x] < 0) == (dy[x] < 0)
        first, second = (upper_left, lower_right) if falling else (upper_right, lower_left)
        diagonal = (gradient > first) & (gradient > second)
        steep = abs(dy[x]) > abs(dx[x]) * _STEEP
        flat = abs(dy[x]) < abs(dx[x]) * _FLAT
        upright = (gradient > up) & (gradient >= down)
        level = (gradient > left) & (gradient >= right)
        along = (level & flat) | (upright & steep) | (diagonal & ~(flat | steep))
        weak = along & (gradient > _WEAK)
        marks[x] = np.uint8(weak) + np.uint8(weak & (gradient > _STRONG))


@numba.njit(nogil=True, cache=True)
def _grow(marks: Any) -> None:
    """Turn `_PERHAPS` into `_YES` wherever the two are connected, over sides and corners."""
    pixels, width = marks.ravel(), marks.shape[1]
    waiting = np.empty(len(pixels), np.int32)
    count = 0
    for pixel in range(len(pixels)):
        if pixels[pixel] == _YES:
            waiting[count] = pixel
            count += 1
    while count > 0:
        count -= 1
        centre = np.int64(waiting[count])
        for middle in (centre - width, centre, centre + width):
            for neighbour in (middle - 1, middle, middle + 1):
                if pixels[neighbour] == _PERHAPS:
                    pixels[neighbour] = _YES
                    waiting[count] = neighbour
                    count += 1


@numba.njit(nogil=True, cache=True)
def _distance(marks: Any) -> Any:
    """Distance to the nearest edge, at most `_FAR`, by one pass down and one up: float32 (H + 4, W + 2 * _MARGIN)."""
    height, width = marks.shape[0] - 2, marks.shape[1] - 2
    distance = np.full((height + 4, width + 2 * _MARGIN), _FAR, np.float32)
    scratch = np.full((2, width + 2 * _MARGIN), _FAR, np.float32)
    for y in range(height):
        row, edge = distance[y + 2, _MARGIN:], marks[y + 1, 1:]
        for x in range(width):
            row[x] = np.float32(0) if edge[x] == _YES else _FAR
    for y in range(2, height + 2):
        _relax(distance[y], distance[y - 1], distance[y - 2], scratch)
    for y in range(height + 1, 1, -1):
        _relax(distance[y], distance[y + 1], distance[y + 2], scratch)
    return distance


@numba.njit(nogil=True, cache=True)
def _relax(row: Any, next_row: Any, second_row: Any, scratch: Any) -> None:
    """Lower the distances of one row to those by way of the two rows beside it, and then along the row."""
    centre, near, far = row[_MARGIN:], next_row[_MARGIN - 2 :], second_row[_MARGIN - 1 :]
    for x in range(len(row) - 2 * _MARGIN):
        side = near[x + 2] + _SIDE
        diagonal = min(near[x + 1], near[x + 3]) + _DIAGONAL
        knight = min(near[x], near[x + 4], far[x], far[x + 2]) + _KNIGHT
        centre[x] = min(centre[x], side, diagonal, knight)
    # Step by step a pixel would have to wait for the one before; so each time the whole row reaches twice as far.
    first, second = scratch[0], scratch[1]
    _spread(row, first, 1)
    _spread(first, second, 2)
    _spread(second, first, 4)
    _spread(first, second, 8)
    _spread(second, row, 16)


@numba.njit(nogil=True, cache=True)
def _spread(row: Any, lowered: Any, reach: int) -> None:
    """Lower the distances of one row to those by way of the pixels so many columns away."""
    left, centre, right, target = row[_MARGIN - reach :], row[_MARGIN:], row[_MARGIN + reach :], lowered[_MARGIN:]
    cost = np.float32(reach) * _SIDE
    for x in range(len(row) - 2 * _MARGIN):
        target[x] = min(centre[x], min(left[x], right[x]) + cost)


@numba.njit(nogil=True, cache=True)
def _depth(distance: Any) -> Any:
    """Mean distance over 3 × 3 pixels, the border mirrored, in whole pixels: uint8 (H, W)."""
    height, width = distance.shape[0] - 4, distance.shape[1] - 2 * _MARGIN
    depth = np.empty((height, width), np.uint8)
    sums = np.empty(width + 2, np.float32)
    for y in range(height):
        row = distance[y + 2, _MARGIN:]
        above, below = distance[abs(y - 1) + 2, _MARGIN:], distance[height + 1 - abs(height - 2 - y), _MARGIN:]
        for x in range(width):
            sums[x + 1] = above[x] + row[x] + below[x]
        sums[0], sums[width + 1] = sums[2], sums[width - 1]
        target = depth[y]
        for x in range(width):
            target[x] = np.uint8((sums[x] + sums[x + 1] + sums[x + 2]) / (np.float32(9) * _SIDE))
    return depth


@numba.njit(nogil=True, cache=True)
def _equaliser(levels: Any) -> Any:
    """The levels, float32 (256,), that spread the histogram of uint8 (H, W) evenly."""
    # Four counts in turn, since one more pixel of a level has to wait until the last one is counted.
    counts, pixels = np.zeros((4, 256), np.int64), levels.ravel()
    for place in range(len(pixels)):
        counts[place & 3, pixels[place]] += 1
    histogram = counts.sum(axis=0)
    lowest = 0
    while histogram[lowest] == 0:
        lowest += 1
    table = np.full(256, lowest, np.float32)
    spread = levels.size - histogram[lowest]
    if spread > 0:
        scale = np.float32(255) / np.float32(spread)
        above = 0
        table[lowest] = 0
        for level in range(lowest + 1, 256):
            above += histogram[level]
            table[level] = np.rint(np.float32(above) * scale)
    return table


@numba.njit(nogil=True, cache=True)
def _emboss(levels: Any, table: Any, result: Any) -> None:
    """Light a surface from one corner, given as uint8 (H, W) and the height of each level, and smooth the picture."""
    height, width = levels.shape
    surface = np.empty((height + 2, width + 2), np.float32)
    lit = np.empty((height + 2, width + 2), np.float32)
    sums = np.empty(width + 2, np.float32)
    for y in range(height):
        for x in range(width):
            surface[y + 1, x + 1] = table[levels[y, x]]
    _mirror(surface)
    for y in range(height):
        above, row, below, target = surface[y], surface[y + 1], surface[y + 2], lit[y + 1]
        for x in range(width):
            falling = below[x + 2] - above[x]
            slope = falling + falling + below[x + 1] - above[x + 1] + row[x + 2] - row[x] + row[x + 1]
            target[x + 1] = min(max(slope, np.float32(0)), np.float32(255))
    _mirror(lit)
    for y in range(height):
        above, row, below, target = lit[y], lit[y + 1], lit[y + 2], result[y]
        for x in range(width + 2):
            sums[x] = above[x] + row[x] + below[x]
        for x in range(width):
            target[x] = np.uint8((sums[x] + sums[x + 1] + sums[x + 2] + np.float32(4)) / np.float32(9))


@numba.njit(nogil=True, cache=True)
def _mirror(padded: Any) -> None:
    """Fill the border, one pixel wide, with what lies on the other side of the pixel beside it."""
    height, width = padded.shape
    for y in range(1, height - 1):
        padded[y, 0], padded[y, width - 1] = padded[y, 2], padded[y, width - 3]
    for x in range(width):
        padded[0, x], padded[height - 1, x] = padded[2, x], padded[height - 3, x]

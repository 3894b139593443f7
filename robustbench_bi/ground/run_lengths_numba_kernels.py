"""Loops over the runs of masks, in one thread each."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np

from robustbench_bi.ground.kept_numba_kernels import keep

keep()

# COCO draws polygons on a grid that is five times as fine as the pixels.
_FINE = 5


@numba.njit(nogil=True, cache=True)
def crossings(points: Any, height: Any, width: Any) -> Any:
    """Where, in column-major order, the outline of a polygon passes the centres of columns: inside and outside change.

    An outline is a chain of points of the fine grid, one for each step along the longer axis of an edge. A column is
    passed where the chain steps over its centre, at the first pixel whose centre lies on or below the step.
    """
    corners = len(points)
    across, down = np.empty(corners + 1, np.int64), np.empty(corners + 1, np.int64)
    length = 0
    for number in range(corners + 1):
        across[number] = int(_FINE * points[number % corners, 0] + 0.5)
        down[number] = int(_FINE * points[number % corners, 1] + 0.5)
        if number:
            length += max(abs(across[number] - across[number - 1]), abs(down[number] - down[number - 1])) + 1
    found, count = np.empty(length, np.int64), 0
    started, before_x, before_y = False, 0, 0
    for number in range(corners):
        x, y, end_x, end_y = across[number], down[number], across[number + 1], down[number + 1]
        wide, high = abs(end_x - x), abs(end_y - y)
        if wide == 0 and high == 0:
            continue
        level = wide >= high
        # A slope is always taken from the end that comes first, so that an edge has the same points both ways.
        turned = x > end_x if level else y > end_y
        if turned:
            x, y, end_x, end_y = end_x, end_y, x, y
        slope = (end_y - y) / wide if level else (end_x - x) / high
        for step in range((wide if level else high) + 1):
            along = (wide if level else high) - step if turned else step
            here_x = x + along if level else int(x + slope * along + 0.5)
            here_y = int(y + slope * along + 0.5) if level else y + along
            if started and here_x != before_x:
                column = ((here_x if here_x < before_x else here_x - 1) + 0.5) / _FINE - 0.5
                if np.floor(column) == column and 0 <= column <= width - 1:
                    row = (min(here_y, before_y) + 0.5) / _FINE - 0.5
                    found[count] = int(column) * height + int(np.ceil(min(max(row, 0.0), float(height))))
                    count += 1
            started, before_x, before_y = True, here_x, here_y
    return found[:count]


@numba.njit(nogil=True, cache=True)
def pack(runs: Any) -> Any:
    """Each run, from the third on less the one before the last, in groups of five bits, the lowest first."""
    text, count = np.empty(13 * len(runs), np.uint8), 0
    for number in range(len(runs)):
        rest = runs[number] - (runs[number - 2] if number > 2 else 0)
        more = True
        while more:
            bits = rest & 0x1F
            rest >>= 5
            more = rest != (-1 if bits & 0x10 else 0)
            text[count] = 48 + (bits | 0x20 if more else bits)
            count += 1
    return text[:count]


@numba.njit(nogil=True, cache=True)
def unpack(text: Any) -> Any:
    """The inverse of `pack`; a negative run where the text is none."""
    runs, count, place = np.empty(max(len(text), 1), np.int64), 0, 0
    if len(text) == 0:
        runs[0] = -1
        return runs[:1]
    while place < len(text):
        value, shift, more = np.int64(0), 0, True
        while more:
            bits = np.int64(text[place]) - 48 if place < len(text) else np.int64(-1)
            if bits < 0 or bits > 63 or shift > 55:
                runs[0] = -1
                return runs[:1]
            place += 1
            value |= (bits & 0x1F) << shift
            shift += 5
            more = bits & 0x20 != 0
            if not more and bits & 0x10:
                value |= np.int64(-1) << shift
        if count > 2:
            value += runs[count - 2]
        runs[count] = value
        count += 1
    return runs[:count]


@numba.njit(nogil=True, cache=True)
def shared(first: Any, second: Any) -> Any:
    """The pixels inside two masks of one picture."""
    total, here, own, other = 0, 0, 0, 0
    own_end = first[0] if len(first) else 0
    other_end = second[0] if len(second) else 0
    while own < len(first) and other < len(second):
        end = min(own_end, other_end)
        if own % 2 and other % 2:
            total += end - here
        here = end
        if own_end == end:
            own += 1
            if own < len(first):
                own_end += first[own]
        if other_end == end:
            other += 1
            if other < len(second):
                other_end += second[other]
    return total

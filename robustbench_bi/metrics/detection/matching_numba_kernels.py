"""Which detection finds which object, in one thread."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np

from robustbench_bi.ground.kept_numba_kernels import keep
from robustbench_bi.ground.run_lengths_numba_kernels import shared

keep()


@numba.njit(nogil=True, cache=True)
def box_overlaps(found: Any, objects: Any, crowd: Any, found_start: Any, object_start: Any, starts: Any) -> Any:
    """Intersection over union of boxes; of a crowd's box, the share of the detection that lies inside.

    Args:
        found, objects: boxes (·, 4) of x, y, width, height, in groups of one image and category.
        crowd: of the objects.
        found_start, object_start: where the groups begin, (G + 1,).
        starts: where the overlaps of a group begin: a row a detection, a column an object.
    """
    overlaps = np.zeros(starts[-1])
    for group in range(len(starts) - 1):
        width_of_row = object_start[group + 1] - object_start[group]
        for own in range(found_start[group], found_start[group + 1]):
            for other in range(object_start[group], object_start[group + 1]):
                a, b = found[own], objects[other]
                width = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])
                height = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1])
                if width <= 0 or height <= 0:
                    continue
                both, area = width * height, a[2] * a[3]
                union = area if crowd[other] else area + b[2] * b[3] - both
                place = (own - found_start[group]) * width_of_row + other - object_start[group]
                overlaps[starts[group] + place] = both / union
    return overlaps


@numba.njit(nogil=True, cache=True)
def mask_overlaps(
    found: Any,
    found_at: Any,
    objects: Any,
    object_at: Any,
    crowd: Any,
    found_start: Any,
    object_start: Any,
    starts: Any,
) -> Any:
    """As `box_overlaps`, of masks: runs one after the other, with the places where each mask's begin."""
    overlaps = np.zeros(starts[-1])
    for group in range(len(starts) - 1):
        width_of_row = object_start[group + 1] - object_start[group]
        for own in range(found_start[group], found_start[group + 1]):
            mine = found[found_at[own] : found_at[own + 1]]
            area = mine[1::2].sum()
            for other in range(object_start[group], object_start[group + 1]):
                theirs = objects[object_at[other] : object_at[other + 1]]
                both = shared(mine, theirs)
                union = area if crowd[other] else area + theirs[1::2].sum() - both
                place = (own - found_start[group]) * width_of_row + other - object_start[group]
                overlaps[starts[group] + place] = both / union if union > 0 else 0.0
    return overlaps


@numba.njit(nogil=True, cache=True)
def match(
    overlaps: Any,
    starts: Any,
    found_start: Any,
    object_start: Any,
    found_outside: Any,
    ignored: Any,
    any_number: Any,
    thresholds: Any,
) -> Any:
    """Give each detection, best first, the object that it overlaps most, at each threshold.

    An object is given once, a crowd or a difficult one any number of times. An ignored one is given only where no other
    is left.

    Args:
        overlaps, starts: as `box_overlaps` has them.
        found_start, object_start: where the groups begin, (G + 1,).
        found_outside: whether a detection is of another size than is counted.
        ignored: whether an object is not to be found: a crowd, difficult, or of another size.
        any_number: whether an object is a crowd or difficult.
        thresholds: the least overlaps.

    Returns:
        For each detection a bit a threshold: those where it finds an object, and those where it is left out.
    """
    hits, left_out = np.zeros(found_start[-1], np.uint16), np.zeros(found_start[-1], np.uint16)
    for group in range(len(starts) - 1):
        first, count = object_start[group], object_start[group + 1] - object_start[group]
        order, counted = np.empty(count, np.int64), 0
        for wanted in (False, True):
            for number in range(count):
                if ignored[first + number] == wanted:
                    order[counted] = number
                    counted += 1
        for bit in range(len(thresholds)):
            taken = np.zeros(count, np.bool_)
            for own in range(found_start[group], found_start[group + 1]):
                best, least = -1, min(thresholds[bit], 1 - 1e-10)
                row = starts[group] + (own - found_start[group]) * count
                for number in order:
                    if taken[number] and not any_number[first + number]:
                        continue
                    if best >= 0 and not ignored[first + best] and ignored[first + number]:
                        break
                    if overlaps[row + number] >= least:
                        best, least = number, overlaps[row + number]
                mark = np.uint16(1 << bit)
                if best >= 0:
                    taken[best] = True
                if best >= 0 and not ignored[first + best]:
                    hits[own] |= mark
                elif best >= 0 or found_outside[own]:
                    left_out[own] |= mark
    return hits, left_out

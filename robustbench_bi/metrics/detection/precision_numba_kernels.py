"""Average precision under weightings of the images, in one thread."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np

from robustbench_bi.ground.kept_numba_kernels import keep

keep()

NUMBERS = 4
_EPSILON = np.finfo(np.float64).eps


@numba.njit(nogil=True, cache=True)
def events_of(hits: Any, left_out: Any, starts: Any, thresholds: Any) -> Any:
    """What moves precision, by threshold and category: the places of the detections that hit or are left out.

    Returns:
        Twice the place, and 1 more for a hit; and where the events of a threshold and category begin.
    """
    categories = len(starts) - 1
    begins = np.zeros(thresholds * categories + 1, np.int64)
    count = 0
    for place in range(len(hits)):
        marks = hits[place] | left_out[place]
        while marks:
            count += marks & 1
            marks >>= 1
    events = np.empty(count, np.int32)
    count = 0
    for bit in range(thresholds):
        for category in range(categories):
            for place in range(starts[category], starts[category + 1]):
                hit = (hits[place] >> bit) & 1
                if hit or (left_out[place] >> bit) & 1:
                    events[count] = 2 * place + hit
                    count += 1
            begins[bit * categories + category + 1] = count
    return events, begins


@numba.njit(nogil=True, cache=True)
def weigh(image: Any, starts: Any, weights: Any) -> Any:
    """The summed weight of the images of each category's objects: (R, K) of weights (R, n)."""
    sums = np.zeros((len(weights), len(starts) - 1))
    for repeat in range(len(weights)):
        own = weights[repeat]
        for category in range(len(starts) - 1):
            total = 0.0
            for place in range(starts[category], starts[category + 1]):
                total += own[image[place]]
            sums[repeat, category] = total
    return sums


@numba.njit(nogil=True, cache=True)
def accumulate(
    image: Any, starts: Any, events: Any, begins: Any, objects: Any, weights: Any, recalls: Any, by_category: Any
) -> Any:
    """Mean precision over recalls, at all thresholds, at the first and at the sixth, and mean recall.

    Args:
        image: int32 (D,), of each detection, by category, the best first.
        starts: where a category's begin, (K + 1,).
        events, begins: from `events_of`.
        objects: the weight of all objects of each category, (R, K).
        weights: of the images, (R, n).
        recalls: increasing, at which precision is read.
        by_category: whether each category is told by itself.

    Returns:
        (R, 4), or (R, K, 4) by category; NaN where there is no object. A category without one enters no mean.
    """
    categories, thresholds = len(starts) - 1, (len(begins) - 1) // (len(starts) - 1)
    longest, most = 0, 0
    for category in range(categories):
        longest = max(longest, starts[category + 1] - starts[category])
    for part in range(len(begins) - 1):
        most = max(most, begins[part + 1] - begins[part])
    total, right, precision = np.empty(longest), np.empty(most), np.empty(most)
    result = np.full((len(weights), categories if by_category else 1, NUMBERS), np.nan)
    for repeat in range(len(weights)):
        own = weights[repeat]
        sums, counted = np.zeros(NUMBERS), 0
        for category in range(categories):
            wanted = objects[repeat, category]
            if wanted <= 0:
                continue
            first, summed = starts[category], 0.0
            for place in range(first, starts[category + 1]):
                summed += own[image[place]]
                total[place - first] = summed
            numbers = np.zeros(NUMBERS)
            for bit in range(thresholds):
                hit, passed, length = 0.0, 0.0, 0
                part = bit * categories + category
                for number in range(begins[part], begins[part + 1]):
                    place = events[number] >> 1
                    if events[number] & 1:
                        hit += own[image[place]]
                        right[length] = hit
                        precision[length] = hit / (total[place - first] - passed + _EPSILON)
                        length += 1
                    else:
                        passed += own[image[place]]
                mean, best, reading = 0.0, 0.0, len(recalls) - 1
                while length and reading >= 0 and recalls[reading] > hit / wanted:
                    reading -= 1
                for number in range(length - 1, -1, -1):
                    best = max(best, precision[number])
                    before = right[number - 1] / wanted if number else -1.0
                    while reading >= 0 and recalls[reading] > before:
                        mean += best
                        reading -= 1
                mean /= len(recalls)
                numbers[0] += mean / thresholds
                numbers[1] += mean if bit == 0 else 0.0
                numbers[2] += mean if bit == 5 else 0.0
                numbers[3] += hit / wanted / thresholds
            counted += 1
            sums += numbers
            if by_category:
                result[repeat, category] = numbers
        if not by_category and counted:
            result[repeat, 0] = sums / counted
    return result

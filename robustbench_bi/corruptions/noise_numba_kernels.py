"""CPU twins of the noises in `noise`, byte for byte: the same names and arguments, for a few images in one thread."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import numba
import numpy as np
import torch

from robustbench_bi.corruptions.noise import shot_patterns

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from robustbench_bi.corruptions.draws import Draws

# So many values of noise are looked up at once; they stay in the first-level cache.
_CHUNK = 1024


def gaussian_noise(images: Tensor, draws: Draws, *, std: float) -> Tensor:
    """Twin of `noise.gaussian_noise`."""
    return _normal_noise(images, draws, 255 * std, in_proportion=False)


def speckle_noise(images: Tensor, draws: Draws, *, std: float) -> Tensor:
    """Twin of `noise.speckle_noise`."""
    return _normal_noise(images, draws, std, in_proportion=True)


def _normal_noise(images: Tensor, draws: Draws, std: float, *, in_proportion: bool) -> Tensor:
    result = torch.empty_like(images)
    ranks, table = draws.normal_ranks(*images.shape[1:])
    _add(images.flatten(1).numpy(), ranks, table, std, in_proportion, result.flatten(1).numpy())
    return result


@numba.njit(nogil=True, cache=True)
def _add(images: Any, ranks: Any, table: Any, std: float, in_proportion: bool, result: Any) -> None:
    """Add noise as it is, or in proportion to the levels, some values at a time."""
    scale, white, noise = np.float32(std), np.float32(255), np.empty(_CHUNK, np.float32)
    for number in range(len(images)):
        for first in range(0, images.shape[1], _CHUNK):
            levels, target = images[number, first : first + _CHUNK], result[number, first : first + _CHUNK]
            _look_up(table, ranks[number, first : first + _CHUNK], noise)
            if in_proportion:
                for place in range(len(levels)):
                    level = (noise[place] * scale + np.float32(1)) * np.float32(levels[place])
                    target[place] = min(max(level, np.float32(0)), white)
            else:
                for place in range(len(levels)):
                    target[place] = min(max(noise[place] * scale + np.float32(levels[place]), np.float32(0)), white)


@numba.njit(nogil=True, cache=True)
def _look_up(table: Any, ranks: Any, values: Any) -> None:
    """In a loop of its own, so that what follows is done for many values at once."""
    for place in range(len(ranks)):
        values[place] = table[ranks[place]]


def impulse_noise(images: Tensor, draws: Draws, *, amount: float) -> Tensor:
    """Twin of `noise.impulse_noise`."""
    result = torch.empty_like(images)
    bits = draws.halves(*images.shape[1:])
    _replace(images.flatten(1).numpy(), bits, round(amount * 65536), result.flatten(1).numpy())
    return result


@numba.njit(nogil=True, cache=True)
def _replace(images: Any, bits: Any, threshold: int, result: Any) -> None:
    hit, salt = np.int32(threshold), np.int32(threshold // 2)
    for number in range(len(images)):
        levels, own, target = images[number], bits[number], result[number]
        for place in range(len(levels)):
            level = levels[place] if own[place] >= hit else np.uint8(0)
            target[place] = level if own[place] >= salt else np.uint8(255)


def shot_noise(images: Tensor, draws: Draws, *, photons: int) -> Tensor:
    """Twin of `noise.shot_noise`: of a grey level, nearly all groups of 256 patterns have one or two results."""
    result = torch.empty_like(images)
    bits = draws.halves(*images.shape[1:])
    _count(images.flatten(1).numpy(), bits, *_shot_tables(photons), result.flatten(1).numpy())
    return result


@numba.njit(nogil=True, cache=True)
def _count(images: Any, bits: Any, groups: Any, patterns: Any, starts: Any, outcomes: Any, result: Any) -> None:
    """In loops of their own: what is known of a group, its first or last result, and the search where it has more."""
    found, eight, low = np.empty(_CHUNK, np.uint32), np.uint32(8), np.uint32(255)
    for number in range(len(images)):
        for first in range(0, images.shape[1], _CHUNK):
            levels, own = images[number, first : first + _CHUNK], bits[number, first : first + _CHUNK]
            target = result[number, first : first + _CHUNK]
            for place in range(len(levels)):
                found[place] = groups[np.uint32(levels[place]) << eight | np.uint32(own[place]) >> eight]
            for place in range(len(levels)):
                second = np.uint32(own[place]) & low >= found[place] & low
                target[place] = found[place] >> np.uint32(16) if second else found[place] >> eight
            for place in range(len(levels)):
                if found[place] >> np.uint32(24):
                    level, pattern = np.uint32(levels[place]), np.uint32(own[place])
                    count = np.uint32(starts[level, pattern >> eight])
                    while pattern >= patterns[level, count]:
                        count += np.uint32(1)
                    target[place] = outcomes[count]


# Room for the five severities of a table of constants.
@functools.lru_cache(maxsize=5)
def _shot_tables(
    photons: int,
) -> tuple[NDArray[np.uint32], NDArray[np.uint32], NDArray[np.uint16], NDArray[np.uint8]]:
    """For each grey level and group of 256 patterns that share their upper bits, where counts change.

    Returns:
        uint32 (65536,), of each group from the lowest bits: the pattern from which on it has its last result, this
        group's first and last result, and whether there are others between them; uint32 (256, counts), the patterns up
        to which each count goes; uint16 (256, 256), the count of each group's first pattern; and the level of a count.
    """
    patterns, outcomes = (table.numpy() for table in shot_patterns(photons))
    firsts = np.arange(0, 65536, 256)
    starts = np.stack([np.searchsorted(own, firsts, side="right") for own in patterns])
    ends = np.stack([np.searchsorted(own, firsts + 255, side="right") for own in patterns])
    change = np.minimum(np.take_along_axis(patterns, starts, 1) - firsts, 255)
    more = (ends - starts > 1).astype(np.int64)
    groups = change | outcomes[starts].astype(np.int64) << 8 | outcomes[ends].astype(np.int64) << 16 | more << 24
    return groups.astype(np.uint32).ravel(), patterns.astype(np.uint32), starts.astype(np.uint16), outcomes

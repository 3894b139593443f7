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

# A search for a Poisson count starts where the upper ones of its 16 random bits say.
_GUIDE_BITS = 10


def gaussian_noise(images: Tensor, draws: Draws, *, std: float) -> Tensor:
    """Twin of `noise.gaussian_noise`."""
    result = torch.empty_like(images)
    _add(images.numpy().ravel(), draws.normal(*images.shape[1:]).numpy().ravel(), 255 * std, result.numpy().ravel())
    return result


@numba.njit(nogil=True, cache=True)
def _add(levels: Any, noise: Any, std: float, result: Any) -> None:
    scale, white = np.float32(std), np.float32(255)
    for place in range(len(levels)):
        result[place] = min(max(noise[place] * scale + np.float32(levels[place]), np.float32(0)), white)


def speckle_noise(images: Tensor, draws: Draws, *, std: float) -> Tensor:
    """Twin of `noise.speckle_noise`."""
    result = torch.empty_like(images)
    _scale(images.numpy().ravel(), draws.normal(*images.shape[1:]).numpy().ravel(), std, result.numpy().ravel())
    return result


@numba.njit(nogil=True, cache=True)
def _scale(levels: Any, noise: Any, std: float, result: Any) -> None:
    scale, white = np.float32(std), np.float32(255)
    for place in range(len(levels)):
        level = (noise[place] * scale + np.float32(1)) * np.float32(levels[place])
        result[place] = min(max(level, np.float32(0)), white)


def impulse_noise(images: Tensor, draws: Draws, *, amount: float) -> Tensor:
    """Twin of `noise.impulse_noise`."""
    result = torch.empty_like(images)
    threshold = round(amount * 65536)
    _replace(images.numpy().ravel(), draws.bits16(*images.shape[1:]).numpy().ravel(), threshold, result.numpy().ravel())
    return result


@numba.njit(nogil=True, cache=True)
def _replace(levels: Any, bits: Any, threshold: int, result: Any) -> None:
    hit, salt = np.int32(threshold), np.int32(threshold // 2)
    for place in range(len(levels)):
        level = levels[place] if bits[place] >= hit else np.uint8(0)
        result[place] = level if bits[place] >= salt else np.uint8(255)


def shot_noise(images: Tensor, draws: Draws, *, photons: int) -> Tensor:
    """Twin of `noise.shot_noise`: a search among the few counts of a grey level, in place of its 65,536 results."""
    result = torch.empty_like(images)
    bits = draws.bits16(*images.shape[1:]).numpy().ravel()
    _count(images.numpy().ravel(), bits, *_shot_tables(photons), result.numpy().ravel())
    return result


@numba.njit(nogil=True, cache=True)
def _count(levels: Any, bits: Any, patterns: Any, guide: Any, outcomes: Any, result: Any) -> None:
    for place in range(len(levels)):
        level, pattern = np.uint32(levels[place]), np.uint32(bits[place])
        count = np.uint32(guide[level, pattern >> np.uint32(16 - _GUIDE_BITS)])
        while pattern >= patterns[level, count]:
            count += np.uint32(1)
        result[place] = outcomes[count]


# Room for the five severities of a table of constants.
@functools.lru_cache(maxsize=5)
def _shot_tables(photons: int) -> tuple[NDArray[np.uint32], NDArray[np.uint16], NDArray[np.uint8]]:
    """The patterns up to which each count goes, the count of the first of each group of patterns, and its level."""
    patterns, outcomes = shot_patterns(photons)
    groups = np.arange(0, 65536, 65536 >> _GUIDE_BITS)
    guide = [np.searchsorted(own, groups, side="right") for own in patterns.numpy()]
    return patterns.numpy().astype(np.uint32), np.stack(guide).astype(np.uint16), outcomes.numpy()

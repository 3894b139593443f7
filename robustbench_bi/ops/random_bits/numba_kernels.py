"""Philox 4x32-10 on the CPU: one pass in registers, several counters at once."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import numba
import numpy as np
import torch
from torch import Tensor

from robustbench_bi.ops.random_bits.reference import KEY_INCREMENTS, MASK, MULTIPLIERS, ROUNDS

if TYPE_CHECKING:
    from numpy.typing import NDArray

_LOW = np.uint64(MASK)
_HALF = np.uint64(32)
_FIRST, _SECOND = (np.uint64(multiplier) for multiplier in MULTIPLIERS)


def random_words(ids: Tensor, blocks: int, *, start: int, last: int, key: tuple[int, int]) -> Tensor:
    """Twin of `reference.random_words`, bit for bit."""
    # In pairs, the first in the low half: a vector is stored more quickly so.
    pairs = np.empty((len(ids), 2 * blocks), np.uint64)
    _fill(ids.numpy().view(np.uint64), np.uint64(start), np.uint64(last), _round_keys(key), pairs)
    return torch.from_numpy(pairs.view(np.int32))


@functools.lru_cache(maxsize=64)
def _round_keys(key: tuple[int, int]) -> NDArray[np.uint64]:
    keys = [
        [part + number * step & MASK for part, step in zip(key, KEY_INCREMENTS, strict=True)]
        for number in range(ROUNDS)
    ]
    return np.array(keys, np.uint64)


@numba.njit(nogil=True, cache=True)
def _fill(ids: Any, start: Any, last: Any, keys: Any, pairs: Any) -> None:
    """A word lives in the low half of 64 bits; what the upper half holds is cut off where the word is multiplied."""
    for number in range(len(ids)):
        low, high = ids[number] & _LOW, ids[number] >> _HALF
        for block in range(pairs.shape[1] // 2):
            first, second, third, fourth = start + np.uint64(block), low, high, last
            for step in range(ROUNDS):
                left, right = (first & _LOW) * _FIRST, (third & _LOW) * _SECOND
                first, second = (right >> _HALF) ^ second ^ keys[step, 0], right
                third, fourth = (left >> _HALF) ^ fourth ^ keys[step, 1], left
            pairs[number, 2 * block] = first & _LOW | second << _HALF
            pairs[number, 2 * block + 1] = third & _LOW | fourth << _HALF

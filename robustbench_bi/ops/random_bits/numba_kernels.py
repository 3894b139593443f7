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
    words = np.empty((len(ids), 4 * blocks), np.int32)
    _fill(ids.numpy().view(np.uint64), np.uint64(start), np.uint64(last), _round_keys(key), words)
    return torch.from_numpy(words)


@functools.lru_cache(maxsize=64)
def _round_keys(key: tuple[int, int]) -> NDArray[np.uint64]:
    keys = [
        [part + number * step & MASK for part, step in zip(key, KEY_INCREMENTS, strict=True)]
        for number in range(ROUNDS)
    ]
    return np.array(keys, np.uint64)


@numba.njit(nogil=True, cache=True)
def _fill(ids: Any, start: Any, last: Any, keys: Any, words: Any) -> None:
    count = words.shape[1] // 4
    for number in range(len(ids)):
        low, high = ids[number] & _LOW, ids[number] >> _HALF
        for block in range(count):
            first, second, third, fourth = (start + np.uint64(block)) & _LOW, low, high, last
            for step in range(ROUNDS):
                left, right = first * _FIRST, third * _SECOND
                first, second = (right >> _HALF) ^ second ^ keys[step, 0], right & _LOW
                third, fourth = (left >> _HALF) ^ fourth ^ keys[step, 1], left & _LOW
            words[number, 4 * block] = first
            words[number, 4 * block + 1] = second
            words[number, 4 * block + 2] = third
            words[number, 4 * block + 3] = fourth

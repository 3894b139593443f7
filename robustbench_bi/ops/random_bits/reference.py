"""Philox 4x32-10 in plain torch: the definition that every kernel must match bit for bit."""

from __future__ import annotations

import torch
from torch import Tensor

ROUNDS = 10
MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
KEY_INCREMENTS = (0x9E3779B9, 0xBB67AE85)
MASK = 0xFFFFFFFF

Words = tuple[Tensor, Tensor, Tensor, Tensor]


def random_words(ids: Tensor, blocks: int, *, start: int, last: int, key: tuple[int, int]) -> Tensor:
    """Return int32 (B, 4 * blocks); arguments as in `random_bits.random_words`."""
    position = torch.arange(start, start + blocks, device=ids.device)[None]
    low, high = (ids & MASK)[:, None], ((ids >> 32) & MASK)[:, None]
    counter = position, low, high, torch.full((1, 1), last, dtype=torch.int64, device=ids.device)
    result = torch.empty(len(ids), blocks, 4, dtype=torch.int32, device=ids.device)
    for number, word in enumerate(philox(counter, key)):
        result[..., number] = word
    return result.flatten(1)


def philox(counter: Words, key: tuple[int, int]) -> Words:
    """Return the four 32-bit words that Philox 4x32-10 gives for each counter.

    Counter and result are int64 tensors that broadcast against each other, words in [0, 2**32), the least significant
    first; so are the two integers of the key.

    torch has no unsigned 32-bit arithmetic, so a word lives in the low half of an int64. A product wraps modulo 2**64,
    which keeps both its halves intact. Only the words that are multiplied next are masked; the other two carry a whole
    product and are masked once, at the end. Counter words keep their own small shapes until they have mixed, so the
    first two rounds of a batch cost next to nothing; after four, every word has the common shape.
    """
    first, second, third, fourth = counter
    for number in range(ROUNDS):
        keys = [(part + number * increment) & MASK for part, increment in zip(key, KEY_INCREMENTS, strict=True)]
        low, high = first * MULTIPLIERS[0], third * MULTIPLIERS[1]
        first, second, third, fourth = _mix(high, second, keys[0]), high, _mix(low, fourth, keys[1]), low
    return first, second & MASK, third, fourth & MASK


def _mix(product: Tensor, word: Tensor, key: int) -> Tensor:
    """Upper half of the product, xor the word, xor the round key: 32 bits."""
    upper = product >> 32
    upper = upper.bitwise_xor_(word) if upper.shape == word.shape else upper ^ word
    return upper.bitwise_xor_(key).bitwise_and_(MASK)

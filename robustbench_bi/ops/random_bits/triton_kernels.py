"""Philox 4x32-10 on the GPU: a program takes some counters of one id and keeps every round in registers."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from robustbench_bi.ops.random_bits import reference

_BLOCK = 256
_ROUNDS = tl.constexpr(reference.ROUNDS)
_FIRST_MULTIPLIER, _SECOND_MULTIPLIER = (tl.constexpr(number) for number in reference.MULTIPLIERS)
_FIRST_INCREMENT, _SECOND_INCREMENT = (tl.constexpr(number) for number in reference.KEY_INCREMENTS)


def random_words(ids: Tensor, blocks: int, *, start: int, last: int, key: tuple[int, int]) -> Tensor:
    """Twin of `reference.random_words`, bit for bit."""
    words = torch.empty(len(ids), 4 * blocks, dtype=torch.int32, device=ids.device)
    if words.numel():
        grid = (triton.cdiv(blocks, _BLOCK), len(ids))
        # Integers have no fused multiply-add; but Triton warns of its default.
        _fill[grid](ids.contiguous(), words, blocks, start, last, *key, BLOCK=_BLOCK, enable_fp_fusion=False)
    return words


@triton.jit
def _fill(
    ids: tl.tensor,
    words: tl.tensor,
    blocks: tl.tensor,
    start: tl.tensor,
    last: tl.tensor,
    first_key: tl.tensor,
    second_key: tl.tensor,
    BLOCK: tl.constexpr,
) -> None:
    image = tl.program_id(1)
    block = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    # Numbers above 2**31 come as 64 bits; a sum with zeros of 64 bits makes them tensors, whatever their value.
    zero = tl.zeros([BLOCK], tl.int64)
    identifier = zero + tl.load(ids + image)
    first, second = (zero + start + block).to(tl.uint32), identifier.to(tl.uint32)
    third, fourth = (identifier >> 32).to(tl.uint32), (zero + last).to(tl.uint32)
    left_key, right_key = (zero + first_key).to(tl.uint32), (zero + second_key).to(tl.uint32)
    left_multiplier = (zero + _FIRST_MULTIPLIER).to(tl.uint32)
    right_multiplier = (zero + _SECOND_MULTIPLIER).to(tl.uint32)
    for _ in tl.static_range(_ROUNDS):
        upper_left, upper_right = tl.umulhi(left_multiplier, first), tl.umulhi(right_multiplier, third)
        lower_left, lower_right = left_multiplier * first, right_multiplier * third
        first, second = upper_right ^ second ^ left_key, lower_right
        third, fourth = upper_left ^ fourth ^ right_key, lower_left
        left_key += (zero + _FIRST_INCREMENT).to(tl.uint32)
        right_key += (zero + _SECOND_INCREMENT).to(tl.uint32)
    here = words + image.to(tl.int64) * 4 * blocks + 4 * block
    inside = block < blocks
    tl.store(here, first.to(tl.int32, bitcast=True), mask=inside)
    tl.store(here + 1, second.to(tl.int32, bitcast=True), mask=inside)
    tl.store(here + 2, third.to(tl.int32, bitcast=True), mask=inside)
    tl.store(here + 3, fourth.to(tl.int32, bitcast=True), mask=inside)

"""GPU twin of `filters.directional_blur`, which plain torch can only run image by image and tap by tap."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from robustbench_bi.corruptions import filters

_BLOCK = 512


def directional_blur(images: Tensor, degrees: Tensor, *, radius: int, sigma: float, rounded: bool) -> Tensor:
    """Twin of `filters.directional_blur`, byte for byte."""
    count, channels, height, width = images.shape
    weights = filters.half_gaussian(2 * radius + 1, sigma)
    down, right = filters.directional_steps(degrees, len(weights))
    # Where a shift reaches the side of the image the blur stops.
    lost = ((down.abs() >= height) | (right.abs() >= width)).cumsum(dim=1) > 0
    steps = torch.stack([torch.where(lost, 0, weights), down, right], dim=-1).to(images.device, torch.int32)
    blurred = torch.empty_like(images)
    rounding = filters.HALF_A_LEVEL if rounded else 0
    grid = (triton.cdiv(height * width, _BLOCK), channels, count)
    # Integers have no fused multiply-add; but Triton warns of its default.
    _shift_and_add[grid](
        *(images.contiguous(), steps, blurred, height, width, len(weights), rounding),
        BITS=filters.DIRECTIONAL_BITS,
        BLOCK=_BLOCK,
        enable_fp_fusion=False,
    )
    return blurred


@triton.jit
def _shift_and_add(
    images: tl.tensor,
    steps: tl.tensor,
    blurred: tl.tensor,
    height: tl.tensor,
    width: tl.tensor,
    taps: tl.tensor,
    rounding: tl.tensor,
    BITS: tl.constexpr,
    BLOCK: tl.constexpr,
) -> None:
    image, plane = tl.program_id(2), tl.program_id(2) * tl.num_programs(1) + tl.program_id(1)
    place = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = place < height * width
    y, x = place // width, place % width
    start = plane.to(tl.int64) * height * width
    sums = tl.zeros([BLOCK], tl.int32) + rounding
    for tap in range(taps):
        step = steps + (image * taps + tap) * 3
        weight, down, right = tl.load(step), tl.load(step + 1), tl.load(step + 2)
        row = tl.minimum(tl.maximum(y + down, 0), height - 1)
        column = tl.minimum(tl.maximum(x + right, 0), width - 1)
        sums += weight * tl.load(images + start + row * width + column, mask=inside, other=0).to(tl.int32)
    tl.store(blurred + start + place, (sums >> BITS).to(tl.uint8), mask=inside)

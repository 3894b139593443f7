"""GPU twins of the blurs in `blur` that plain torch is slow at: the same names and arguments."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import torch
import triton
import triton.language as tl

from robustbench_bi.corruptions import blur
from robustbench_bi.corruptions.filters import to_unit
from robustbench_bi.corruptions.filters_triton_kernels import directional_blur

if TYPE_CHECKING:
    from torch import Tensor

    from robustbench_bi.corruptions.draws import Draws

_BLOCK = 512

motion_blur = partial(blur.motion_blur, directional_blur=directional_blur)


def zoom_blur(images: Tensor, draws: Draws, *, zoom_stop: float, zoom_step: float) -> Tensor:
    """Twin of `blur.zoom_blur`: all layers of a pixel in one program, interpolated in float32."""
    count, channels, height, width = images.shape
    (tops, down), (lefts, across) = (
        (places.to(images.device, torch.int32), shares.to(images.device))
        for places, shares in blur.zoom_layers(height, width, zoom_stop, zoom_step)
    )
    result = torch.empty_like(images)
    grid = (triton.cdiv(height * width, _BLOCK), count * channels)
    # A fused multiply-add would round once where the other backends round twice.
    _zoom[grid](
        *(to_unit(images, torch.float32), tops, down, lefts, across, result, height, width, len(tops)),
        BLOCK=_BLOCK,
        enable_fp_fusion=False,
    )
    return result


@triton.jit
def _zoom(
    unit: tl.tensor,
    tops: tl.tensor,
    down: tl.tensor,
    lefts: tl.tensor,
    across: tl.tensor,
    result: tl.tensor,
    height: tl.tensor,
    width: tl.tensor,
    layers: tl.tensor,
    BLOCK: tl.constexpr,
) -> None:
    place = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = place < height * width
    y, x = place // width, place % width
    start = tl.program_id(1).to(tl.int64) * height * width
    sums = tl.zeros([BLOCK], tl.float32)
    for layer in range(layers):
        corner = unit + start
        corner += tl.load(tops + layer * height + y, mask=inside, other=0) * width
        corner += tl.load(lefts + layer * width + x, mask=inside, other=0)
        vertical = tl.load(down + layer * height + y, mask=inside, other=0.0)
        horizontal = tl.load(across + layer * width + x, mask=inside, other=0.0)
        left, right = tl.load(corner, mask=inside, other=0.0), tl.load(corner + 1, mask=inside, other=0.0)
        left += vertical * (tl.load(corner + width, mask=inside, other=0.0) - left)
        right += vertical * (tl.load(corner + width + 1, mask=inside, other=0.0) - right)
        sums += left + horizontal * (right - left)
    total = sums + tl.load(unit + start + place, mask=inside, other=0.0)
    mean = tl.div_rn(total, tl.zeros([BLOCK], tl.float32) + (layers + 1))
    tl.store(result + start + place, (tl.minimum(mean, 1.0) * 255.0).to(tl.uint8), mask=inside)

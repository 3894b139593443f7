"""The dynamic filter on the CPU: arguments and results of the compiled loops in `loops_numba_kernels`.

The loops take float32, and bfloat16 as int16, for NumPy has no such type. Where the channels of all tensors come last,
in groups of whole vectors, they work on the tensors as they are. Else the loops turn one image at a time, and beyond
the results there is one copy of an image for each thread; float16, and tensors of both layouts, are copied as a whole.

The work is cut into units of some images, or of some rows of one, which the threads take in turn. The cuts are the same
for any number of threads, so that their number changes no bit of a result.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from robustbench_bi.ops.dynamic_filter.layer_numba_kernels import layer as layer_loops
from robustbench_bi.ops.dynamic_filter.loops_numba_kernels import (
    Taps,
    backward_planes,
    correlate,
    gather,
    gather_planes,
)
from robustbench_bi.ops.dynamic_filter.vectors_numba_kernels import WIDTH
from robustbench_bi.ops.neighbourhoods import reflected
from robustbench_bi.ops.share_out import share_out

_UNIT = 2**17
"""How many numbers of images, filters and outputs a thread takes on at once, about."""

Geometry = tuple[int, int, int, str]
"""Kernel size, stride, dilation, and what lies outside the image."""
Layout = tuple[int, int, int]
"""Groups, the channels of each, and these filled up to whole vectors."""
Unit = tuple[int, int, int, int]
"""The first and the end of some images, and of some rows in them."""


def forward(
    x: Tensor,
    spatial: Tensor,
    channel: Tensor | None,
    kernel_size: int,
    stride: int,
    dilation: int,
    combine: str,
    padding: str = "zeros",
) -> Tensor:
    """Twin of `reference.forward` for float32 and narrower types, and at least one pixel."""
    layout = _layout(x, spatial, kernel_size)
    last = _are_last(layout, x, spatial)
    output = _like(x, last, (*x.shape[:2], *spatial.shape[2:]))
    taps = _axes(output.shape[2:], x.shape[2:], (kernel_size, stride, dilation, padding), layout, False)
    given = _array(x, last), _array(spatial, last), _factors(channel, layout), combine == "mul", _array(output, last)
    if last:
        call = functools.partial(gather, *given, *taps, layout[0], spatial.shape[1])
    else:
        call = functools.partial(gather_planes, *given, *taps, layout)
    share_out([functools.partial(call, unit) for unit in _units(x, spatial, output.shape[2] if last else 1)])
    return output.to(x.dtype)


def layer(
    x: Tensor,
    spatial: Tensor,
    context: Tensor | None,
    gain: float,
    channel: Tensor | None,
    channel_scale: Tensor | None,
    scale: Tensor,
    shift: Tensor,
    static: Tensor | None,
    rectified: bool,
    kernel_size: int,
    stride: int,
    combine: str,
) -> Tensor:
    """A dynamic filter with what surrounds it in a network, for inference; all tensors are float32.

    The spatial filter is `spatial` + `context`, then FilterNorm where a gain is given; the channel filter is FilterNorm
    of `channel`. With y what `dynamic_filter` makes of them, the result is max(0, scale · y + shift + static).

    Args:
        x: (B, C, H, W) with the channels last; C/G is a multiple of 16.
        spatial: (B, G·K·K, Ho, Wo), the channels last.
        context: (B, G·K·K); None adds nothing.
        gain: FilterNorm's scale of the spatial filter; 0 leaves that as it is.
        channel: (B, K·K·C), or None.
        channel_scale: (K·K·C,), FilterNorm's learned scales; None without a channel filter.
        scale, shift: (C,).
        static: (B, C, Ho, Wo), the channels last, which becomes the result; None adds nothing.
        rectified: whether what is below zero becomes zero.
        kernel_size, stride, combine: as in `dynamic_filter`.

    Returns:
        (B, C, Ho, Wo), the channels last.
    """
    layout = _layout(x, spatial, kernel_size)
    output = _like(x, True, (*x.shape[:2], *spatial.shape[2:])) if static is None else static
    taps = _axes(output.shape[2:], x.shape[2:], (kernel_size, stride, 1, "zeros"), layout, False)
    call = functools.partial(
        layer_loops,
        _array(x, True),
        _array(spatial, True),
        (x.new_empty(len(x), 0) if context is None else context).numpy(),
        np.float32(gain),
        None if channel is None else channel.numpy(),
        None if channel_scale is None else channel_scale.numpy(),
        combine == "mul",
        scale.numpy(),
        shift.numpy(),
        static is not None,
        rectified,
        _array(output, True),
        *taps,
        layout[0],
    )
    # A single thread has nobody to share with, and each call costs some microseconds.
    alone = [(0, len(x), 0, output.shape[2])]
    units = alone if torch.get_num_threads() == 1 else _units(x, spatial, output.shape[2])

    def work(unit: Unit) -> None:
        call(unit, None if channel is None else torch.empty(1, channel.shape[1]).numpy())

    share_out([functools.partial(work, unit) for unit in units])
    return output


def backward(
    gradient: Tensor,
    x: Tensor,
    spatial: Tensor,
    channel: Tensor | None,
    kernel_size: int,
    stride: int,
    dilation: int,
    combine: str,
    padding: str = "zeros",
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Twin of `reference.backward` for float32 and narrower types, and at least one pixel."""
    layout = _layout(x, spatial, kernel_size)
    last = _are_last(layout, gradient, x, spatial)
    to_x, to_spatial = _like(x, last, x.shape), _like(spatial, last, spatial.shape)
    geometry, sides = (kernel_size, stride, dilation, padding), (x.shape[2:], gradient.shape[2:])
    to_pixels, to_positions = _axes(*sides, geometry, layout, True), _axes(*sides[::-1], geometry, layout, False)
    errors, pixels, weights = (_array(tensor, last) for tensor in (gradient, x, spatial))
    filters = weights, _factors(channel, layout), combine == "mul"
    results = _array(to_x, last), _array(to_spatial, last)
    units = _units(x, spatial, gradient.shape[2] if last else 1)
    # Each band of rows has a sum of its own, and these are added in their order, whichever thread made them.
    bands = sorted({top for _, _, top, _ in units})
    sums = np.zeros((len(bands), len(x), 0 if channel is None else kernel_size**2 * layout[0] * layout[2]), np.float32)
    if last:
        call = functools.partial(gather, errors, *filters, results[0], *to_pixels, layout[0], 0)
        calls = [functools.partial(call, unit) for unit in _units(x, spatial, x.shape[2])]
        call = functools.partial(correlate, errors, pixels, *filters, results[1])
        own = [sums[bands.index(top)] for _, _, top, _ in units]
        calls += [
            functools.partial(call, band, *to_positions, layout[0], u) for band, u in zip(own, units, strict=True)
        ]
    else:
        given = errors, pixels, *filters, *results, sums[0], to_pixels, to_positions, layout
        call = functools.partial(backward_planes, *given)
        calls = [functools.partial(call, unit) for unit in units]
    share_out(calls)
    to_channel = None if channel is None else _channel_gradient(channel, sums, layout)
    return to_x.to(x.dtype), to_spatial.to(x.dtype), to_channel


def _layout(x: Tensor, spatial: Tensor, kernel_size: int) -> Layout:
    groups = spatial.shape[1] // kernel_size**2
    count = x.shape[1] // groups
    return groups, count, -(-count // WIDTH) * WIDTH


def _are_last(layout: Layout, *tensors: Tensor) -> bool:
    """Whether `gather` and `correlate` can work on tensors as they are."""
    return layout[1] == layout[2] and all(
        tensor.dtype in (torch.float32, torch.bfloat16) and tensor.is_contiguous(memory_format=torch.channels_last)
        for tensor in tensors
    )


def _like(tensor: Tensor, last: bool, shape: tuple[int, ...]) -> Tensor:
    """An unfilled tensor that a kernel can write."""
    dtype = torch.bfloat16 if tensor.dtype == torch.bfloat16 else torch.float32
    return torch.empty(shape, dtype=dtype, memory_format=torch.channels_last if last else torch.contiguous_format)


def _array(tensor: Tensor, last: bool) -> NDArray[Any]:
    """(B, C, H, W) as a kernel takes it, (B, H·W·C) or (B, C·H·W); the same memory where that is possible."""
    tensor = tensor.detach()
    if tensor.dtype not in (torch.float32, torch.bfloat16):
        tensor = tensor.float()
    ordered = tensor.permute(0, 2, 3, 1) if last else tensor.contiguous()
    bits = ordered.view(torch.int16) if tensor.dtype == torch.bfloat16 else ordered
    return bits.numpy().reshape(len(tensor), tensor.shape[1:].numel())


def _factors(channel: Tensor | None, layout: Layout) -> NDArray[np.float32] | None:
    """A channel filter as float32 (B, K·K·C), the channels last and each group filled up."""
    if channel is None:
        return None
    groups, count, lanes = layout
    batch, taps = len(channel), channel.shape[2:].numel()
    # Torch begins an array where a vector may, so that none lies across two lines of the cache.
    factors = torch.zeros(batch, taps, groups, lanes).numpy()
    factors[..., :count] = _array(channel.float(), False).reshape(batch, groups, count, taps).transpose(0, 3, 1, 2)
    return factors.reshape(batch, taps * groups * lanes)


def _channel_gradient(channel: Tensor, sums: NDArray[np.float32], layout: Layout) -> Tensor:
    """The reverse, for the sums of some bands of rows."""
    groups, count, lanes = layout
    by_tap = sums.sum(0).reshape(len(channel), channel.shape[2:].numel(), groups, lanes)[..., :count]
    by_channel = np.ascontiguousarray(by_tap.transpose(0, 2, 3, 1))
    return torch.from_numpy(by_channel).view(channel.shape).to(channel.dtype)


def _units(x: Tensor, spatial: Tensor, height: int) -> list[Unit]:
    """What a thread takes on at once: some images, or some of the `height` rows of one."""
    batch = len(x)
    image = (2 * x.numel() + spatial.numel()) // batch
    if image <= _UNIT:
        count = _UNIT // image
        return [(start, min(start + count, batch), 0, height) for start in range(0, batch, count)]
    step = max(1, height * _UNIT // image)
    tops = range(0, height, step)
    return [(image, image + 1, top, min(top + step, height)) for image in range(batch) for top in tops]


@functools.lru_cache(maxsize=128)
def _axes(
    targets: tuple[int, ...],
    sources: tuple[int, ...],
    geometry: Geometry,
    layout: Layout,
    transposed: bool,
) -> tuple[Taps, Taps]:
    """Where the taps of the target's rows and of its columns meet the source; sizes are height and width.

    The filter is that of the target's own position or, transposed, of the one that a tap comes from.
    """
    (groups, _, lanes), kernel_size = layout, geometry[0]
    pixel = groups * lanes
    column = pixel, groups * kernel_size**2 * transposed, 1, pixel
    row = sources[1] * column[0], sources[1] * column[1], kernel_size, kernel_size * pixel
    return (
        _taps(targets[0], sources[0], geometry, transposed, row),
        _taps(targets[1], sources[1], geometry, transposed, column),
    )


def _taps(targets: int, sources: int, geometry: Geometry, transposed: bool, steps: tuple[int, int, int, int]) -> Taps:
    """Where the taps of rows (or columns) meet.

    The steps are how far the next row of the source lies in the source and in the spatial filter, and the next tap in
    the spatial and in the channel filter.
    """
    kernel_size, stride, dilation, padding = geometry
    source_step, position_step, tap_step, factor_step = steps
    positions, taps = np.indices((sources if transposed else targets, kernel_size)).reshape(2, -1)
    met = stride * positions + (taps - kernel_size // 2) * dilation
    pixels = targets if transposed else sources
    if padding == "reflect":
        met = reflected(met, pixels)
    inside = (met >= 0) & (met < pixels)
    positions, taps, met = positions[inside], taps[inside], met[inside]
    target, source = (met, positions) if transposed else (positions, met)
    counts = np.bincount(target, minlength=targets)
    # A pixel that is mirrored may be met more than once by one tap.
    order = np.lexsort((taps, target))
    places = np.arange(len(order)) - np.repeat(np.cumsum(counts) - counts, counts)
    offsets = np.zeros((targets, max(kernel_size, counts.max(initial=0)), 3), np.int64)
    led = np.stack([source * source_step, source * position_step + taps * tap_step, taps * factor_step], axis=1)
    offsets[target[order], places] = led[order]
    side_by_side = stride == dilation == 1 and kernel_size > 1 and not transposed
    border = kernel_size // 2
    return Taps(offsets, counts, kernel_size, (border, targets - border) if side_by_side else (0, 0))

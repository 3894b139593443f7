"""The dynamic filter on the CPU, forward and backward.

The kernels take the channels last: the channels of a group share one filter value, and there they are neighbours in
memory, 16 of which are one vector. A sum stays in registers over all taps. Arrays are float32, or bfloat16 as int16.
Images whose channels come first are turned one by one, and only an image for each thread is held twice; so are those
with groups of a number of channels that 16 does not divide, which are filled up with zeros.

Whatever the stride and dilation, the rows that the taps of a position meet are the same along its row, and the columns
the same along its column. Both are worked out beforehand, as offsets into the arrays; so one kernel computes the output
(each position from the pixels that it meets) and the gradient of the image (each pixel from the positions that meet
it). The work is cut the same way for any number of threads, and their number changes no bit of a result.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import numba
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from robustbench_bi.ops.dynamic_filter.vectors_numba_kernels import (
    WIDTH,
    load,
    number,
    put,
    store,
    total,
    transpose,
    zeros,
)
from robustbench_bi.ops.threads import share_out

_UNIT = 2**17
"""How many numbers of images, filters and outputs a thread takes on at once, about."""

Geometry = tuple[int, int, int]
"""Kernel size, stride and dilation."""
Layout = tuple[int, int, int]
"""Groups, the channels of each, and these filled up to whole vectors."""
Unit = tuple[int, int, int, int]
"""The first and the end of some images, and of some rows in them."""


class _Taps(NamedTuple):
    """For each row (or column) of the target, the taps that meet one of the source: the first `counts` of its K.

    `offsets` is int64 (rows, K, 3): into the source, the spatial filter and the channel filter.
    """

    offsets: NDArray[np.int64]
    counts: NDArray[np.int64]


def forward(
    x: Tensor, spatial: Tensor, channel: Tensor | None, kernel_size: int, stride: int, dilation: int, combine: str
) -> Tensor:
    """Twin of `reference.forward` for float32 and narrower types."""
    layout = _layout(x, spatial, kernel_size)
    last = _are_last(layout, x, spatial)
    output = _like(x, last, (*x.shape[:2], *spatial.shape[2:]))
    taps = _axes(output.shape[2:], x.shape[2:], (kernel_size, stride, dilation), layout, False)
    given = _array(x, last), _array(spatial, last), _factors(channel, layout), combine == "mul", _array(output, last)
    if last:
        call = functools.partial(_gather, *given, *taps, layout[0], spatial.shape[1])
    else:
        call = functools.partial(_gather_planes, *given, *taps, layout)
    share_out([functools.partial(call, unit) for unit in _units(x, spatial, output.shape[2] if last else 1)])
    return output.to(x.dtype)


def backward(
    gradient: Tensor,
    x: Tensor,
    spatial: Tensor,
    channel: Tensor | None,
    kernel_size: int,
    stride: int,
    dilation: int,
    combine: str,
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Twin of `reference.backward` for float32 and narrower types."""
    layout = _layout(x, spatial, kernel_size)
    last = _are_last(layout, gradient, x, spatial)
    to_x, to_spatial = _like(x, last, x.shape), _like(spatial, last, spatial.shape)
    geometry, sides = (kernel_size, stride, dilation), (x.shape[2:], gradient.shape[2:])
    back, forth = _axes(*sides, geometry, layout, True), _axes(*sides[::-1], geometry, layout, False)
    errors, pixels, weights = (_array(tensor, last) for tensor in (gradient, x, spatial))
    filters = weights, _factors(channel, layout), combine == "mul"
    results = _array(to_x, last), _array(to_spatial, last)
    units = _units(x, spatial, gradient.shape[2] if last else 1)
    # Each band of rows has a sum of its own, and these are added in their order, whichever thread made them.
    bands = sorted({top for _, _, top, _ in units}) or [0]
    sums = np.zeros((len(bands), len(x), 0 if channel is None else kernel_size**2 * layout[0] * layout[2]), np.float32)
    if last:
        gather = functools.partial(_gather, errors, *filters, results[0], *back, layout[0], 0)
        calls = [functools.partial(gather, unit) for unit in _units(x, spatial, x.shape[2])]
        correlate = functools.partial(_correlate, errors, pixels, *filters, results[1])
        calls += [functools.partial(correlate, sums[bands.index(unit[2])], *forth, layout[0], unit) for unit in units]
    else:
        call = functools.partial(_backward_planes, errors, pixels, *filters, *results, sums[0], back, forth, layout)
        calls = [functools.partial(call, unit) for unit in units]
    share_out(calls)
    to_channel = None if channel is None else _channel_gradient(channel, sums, layout)
    return to_x.to(x.dtype), to_spatial.to(x.dtype), to_channel


def _layout(x: Tensor, spatial: Tensor, kernel_size: int) -> Layout:
    groups = spatial.shape[1] // kernel_size**2
    count = x.shape[1] // groups
    return groups, count, -(-count // WIDTH) * WIDTH


def _are_last(layout: Layout, *tensors: Tensor) -> bool:
    """Whether `_gather` and `_correlate` can work on tensors as they are."""
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
    factors = np.zeros((batch, taps, groups, lanes), np.float32)
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
    if not x.numel():
        return []
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
) -> tuple[_Taps, _Taps]:
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


def _taps(targets: int, sources: int, geometry: Geometry, transposed: bool, steps: tuple[int, int, int, int]) -> _Taps:
    """Where the taps of rows (or columns) meet.

    The steps are how far the next row of the source lies in the source and in the spatial filter, and the next tap in
    the spatial and in the channel filter.
    """
    kernel_size, stride, dilation = geometry
    target, taps = np.arange(targets)[:, None], np.arange(kernel_size)
    reach = (taps - kernel_size // 2) * dilation
    met = (target - reach) // stride if transposed else stride * target + reach
    valid = (met >= 0) & (met < sources)
    if transposed:
        valid &= stride * met + reach == target
    order = np.argsort(~valid, axis=1, kind="stable")
    met, taps = np.take_along_axis(met, order, 1), taps[order]
    source, position, tap, factor = steps
    offsets = np.stack([met * source, met * position + taps * tap, taps * factor], axis=2)
    return _Taps(offsets, valid.sum(1))


@numba.njit(nogil=True, cache=True)
def _gather(
    source: Any,
    spatial: Any,
    channel: Any,
    product: Any,
    target: Any,
    rows: Any,
    columns: Any,
    groups: Any,
    filters: Any,
    unit: Any,
) -> None:
    first, end, top, bottom = unit
    width, size = len(columns.counts), rows.offsets.shape[1]
    pixel = target.shape[1] // (len(rows.counts) * width)
    lanes = pixel // groups
    for image in range(first, end):
        pixels, weights, output = source[image], spatial[image], target[image]
        for row in range(top, bottom):
            for column in range(width):
                position = row * width + column
                for group in range(groups):
                    own = position * filters + group * size * size
                    for lane in range(group * lanes, (group + 1) * lanes, WIDTH):
                        value = zeros()
                        for u in range(rows.counts[row]):
                            pixel_row = rows.offsets[row, u, 0] + lane
                            weight_row = rows.offsets[row, u, 1] + own
                            factor_row = rows.offsets[row, u, 2] + lane
                            for v in range(columns.counts[column]):
                                met = load(pixels, pixel_row + columns.offsets[column, v, 0])
                                weight = number(weights, weight_row + columns.offsets[column, v, 1])
                                if channel is None:
                                    value += weight * met
                                elif product:
                                    factor = load(channel[image], factor_row + columns.offsets[column, v, 2])
                                    value += weight * factor * met
                                else:
                                    factor = load(channel[image], factor_row + columns.offsets[column, v, 2])
                                    value += (weight + factor) * met
                        store(output, position * pixel + lane, value)


@numba.njit(nogil=True, cache=True)
def _correlate(
    gradient: Any,
    source: Any,
    spatial: Any,
    channel: Any,
    product: Any,
    to_spatial: Any,
    to_channel: Any,
    rows: Any,
    columns: Any,
    groups: Any,
    unit: Any,
) -> None:
    first, end, top, bottom = unit
    width, size = len(columns.counts), rows.offsets.shape[1]
    pixel = gradient.shape[1] // (len(rows.counts) * width)
    lanes = pixel // groups
    for image in range(first, end):
        errors, pixels, weights, output = gradient[image], source[image], spatial[image], to_spatial[image]
        for row in range(top, bottom):
            for column in range(width):
                position = row * width + column
                for group in range(groups):
                    own = (position * groups + group) * size * size
                    output[own : own + size * size] = 0
                    for u in range(rows.counts[row]):
                        for v in range(columns.counts[column]):
                            start = rows.offsets[row, u, 0] + columns.offsets[column, v, 0]
                            weight = own + rows.offsets[row, u, 1] + columns.offsets[column, v, 1]
                            value = zeros()
                            for lane in range(group * lanes, (group + 1) * lanes, WIDTH):
                                met = load(errors, position * pixel + lane) * load(pixels, start + lane)
                                if channel is None:
                                    value += met
                                else:
                                    factor = rows.offsets[row, u, 2] + columns.offsets[column, v, 2] + lane
                                    share = met
                                    if product:
                                        share = number(weights, weight) * met
                                        met = met * load(channel[image], factor)
                                    value += met
                                    store(to_channel[image], factor, load(to_channel[image], factor) + share)
                            put(output, weight, total(value))


@numba.njit(nogil=True, cache=True)
def _turn(
    source: Any, first: Any, source_step: Any, lines: Any, columns: Any, target: Any, start: Any, target_step: Any
) -> None:
    if lines < WIDTH or columns < WIDTH:
        for line in range(lines):
            for column in range(columns):
                value = number(source, first + line * source_step + column)
                put(target, start + column * target_step + line, value)
        return
    # The last block overlaps the one before, so that all are whole.
    for block in range(0, lines, WIDTH):
        line = min(block, lines - WIDTH)
        for other in range(0, columns, WIDTH):
            column = min(other, columns - WIDTH)
            here, there = first + line * source_step + column, start + column * target_step + line
            transpose(source, here, source_step, target, there, target_step)


@numba.njit(nogil=True, cache=True)
def _channels_last(planes: Any, layout: Any) -> Any:
    """(C·H·W) as (1, H·W·C), float32, with each group filled up by zeros."""
    groups, count, lanes = layout
    area = len(planes) // (groups * count)
    values = np.empty((1, area * groups * lanes), np.float32)
    if count < lanes:
        values[:] = 0
    for group in range(groups):
        _turn(planes, group * count * area, area, count, area, values[0], group * lanes, groups * lanes)
    return values


@numba.njit(nogil=True, cache=True)
def _channels_first(values: Any, layout: Any, planes: Any) -> None:
    """The reverse."""
    groups, count, lanes = layout
    area = len(planes) // (groups * count)
    for group in range(groups):
        _turn(values[0], group * lanes, groups * lanes, area, count, planes, group * count * area, area)


@numba.njit(nogil=True, cache=True)
def _gather_planes(
    source: Any, spatial: Any, channel: Any, product: Any, target: Any, rows: Any, columns: Any, layout: Any, unit: Any
) -> None:
    """`_gather` for the output, of images whose channels come first."""
    groups, height, area = layout[0], len(rows.counts), len(rows.counts) * len(columns.counts)
    filters = spatial.shape[1] // area
    as_one = (1, filters, filters)
    result = np.empty((1, area * groups * layout[2]), np.float32)
    for image in range(unit[0], unit[1]):
        pixels, weights = _channels_last(source[image], layout), _channels_last(spatial[image], as_one)
        factors = None if channel is None else channel[image : image + 1]
        _gather(pixels, weights, factors, product, result, rows, columns, groups, filters, (0, 1, 0, height))
        _channels_first(result, layout, target[image])


@numba.njit(nogil=True, cache=True)
def _backward_planes(
    gradient: Any,
    source: Any,
    spatial: Any,
    channel: Any,
    product: Any,
    to_source: Any,
    to_spatial: Any,
    to_channel: Any,
    back: Any,
    forth: Any,
    layout: Any,
    unit: Any,
) -> None:
    """`_gather` for the gradient of the image, and `_correlate`, of images whose channels come first."""
    groups, height, area = layout[0], len(forth[0].counts), len(forth[0].counts) * len(forth[1].counts)
    filters = spatial.shape[1] // area
    as_one = (1, filters, filters)
    for image in range(unit[0], unit[1]):
        errors, pixels = _channels_last(gradient[image], layout), _channels_last(source[image], layout)
        weights = _channels_last(spatial[image], as_one)
        factors = None if channel is None else channel[image : image + 1]
        to_weights, own = np.empty_like(weights), to_channel[image : image + 1]
        every = (0, 1, 0, height)
        _correlate(errors, pixels, weights, factors, product, to_weights, own, forth[0], forth[1], groups, every)
        _channels_first(to_weights, as_one, to_spatial[image])
        every = (0, 1, 0, len(back[0].counts))
        _gather(errors, weights, factors, product, pixels, back[0], back[1], groups, 0, every)
        _channels_first(pixels, layout, to_source[image])

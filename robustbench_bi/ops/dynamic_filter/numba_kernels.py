"""The dynamic filter on the CPU, forward and backward.

The kernels take the channels last: the channels of a group share one filter value, and there they are neighbours in
memory, 16 of which are one vector. A sum stays in registers over all taps. They read and write float32 and bfloat16.
Images of another layout or type are converted before, some of a large batch at a time; so are groups of a number of
channels that 16 does not divide, which are filled up with zeros.

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

from robustbench_bi.ops.dynamic_filter.reference import memory_format
from robustbench_bi.ops.dynamic_filter.vectors_numba_kernels import WIDTH, load, number, put, store, total, zeros
from robustbench_bi.ops.threads import share_out

_UNIT = 2**17
"""How many numbers of images, filters and outputs a thread takes on at once, about."""
_CONVERTED = 2**20
"""How many numbers are converted at once, and held twice meanwhile."""

Geometry = tuple[int, int, int]
"""Kernel size, stride and dilation."""
Layout = tuple[int, int]
"""Groups, and numbers in each: whole vectors of a group's channels, or the filters of all groups as one."""
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
    shape = (*x.shape[:2], *spatial.shape[2:])
    output = torch.empty(shape, dtype=x.dtype, memory_format=memory_format(x))
    channels, filters = _layouts(x, spatial, kernel_size)
    rows, columns = _axes(shape[2:], x.shape[2:], (kernel_size, stride, dilation), channels, filters, False)
    for images in _chunks(x, spatial, channels, filters):
        pixels, weights = _plain(x[images], channels), _plain(spatial[images], filters)
        factors = None if channel is None else _plain(channel[images], channels)
        result = _room(output[images], channels)
        given = pixels, weights, factors, combine == "mul"
        gather = functools.partial(_gather, *given, _array(result), rows, columns, channels[0], filters[1])
        share_out([functools.partial(gather, unit) for unit in _units(len(result), shape[2], pixels, weights)])
        _put(result, output[images], channels)
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
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Twin of `reference.backward` for float32 and narrower types."""
    to_x, to_spatial = _unfilled(x), _unfilled(spatial)
    to_channel = None if channel is None else _unfilled(channel)
    channels, filters = _layouts(x, spatial, kernel_size)
    geometry, sides = (kernel_size, stride, dilation), (x.shape[2:], gradient.shape[2:])
    back = _axes(*sides, geometry, channels, filters, True)
    forth = _axes(*sides[::-1], geometry, channels, filters, False)
    for images in _chunks(x, spatial, channels, filters):
        errors, pixels = _plain(gradient[images], channels), _plain(x[images], channels)
        weights = _plain(spatial[images], filters)
        factors = None if channel is None else _plain(channel[images], channels)
        given = weights, factors, combine == "mul"
        to_pixels, to_weights = _room(to_x[images], channels), _room(to_spatial[images], filters)
        gather = functools.partial(_gather, errors, *given, _array(to_pixels), *back, channels[0], 0)
        calls = [functools.partial(gather, unit) for unit in _units(len(errors), x.shape[2], pixels, weights)]
        units = _units(len(errors), gradient.shape[2], pixels, weights)
        # Each band of rows has a sum of its own, and these are added in their order, whichever thread made them.
        bands = sorted({top for _, _, top, _ in units})
        sums = np.zeros((len(bands), len(errors), kernel_size**2 * channels[0] * channels[1]), np.float32)
        correlate = functools.partial(_correlate, errors, pixels, *given, _array(to_weights))
        for unit in units:
            own = None if channel is None else sums[bands.index(unit[2])]
            calls.append(functools.partial(correlate, own, *forth, channels[0], unit))
        share_out(calls)
        _put(to_pixels, to_x[images], channels)
        _put(to_weights, to_spatial[images], filters)
        if to_channel is not None:
            by_tap = torch.from_numpy(sums.sum(0)).view(len(errors), kernel_size, kernel_size, -1)
            _put(by_tap, to_channel[images], channels)
    return to_x, to_spatial, to_channel


def _layouts(x: Tensor, spatial: Tensor, kernel_size: int) -> tuple[Layout, Layout]:
    """Of channels, a group filled up to whole vectors, and of filters."""
    groups = spatial.shape[1] // kernel_size**2
    return (groups, -(-(x.shape[1] // groups) // WIDTH) * WIDTH), (1, spatial.shape[1])


def _unfilled(tensor: Tensor) -> Tensor:
    """Room for the gradient of a tensor; what no kernel will fill is zero."""
    make = torch.empty_like if len(tensor) else torch.zeros_like
    return make(tensor, memory_format=memory_format(tensor))


def _chunks(x: Tensor, spatial: Tensor, channels: Layout, filters: Layout) -> list[slice]:
    """Images whose tensors are converted at once; all, if none has to be."""
    if not x.numel():
        return []
    if _is_plain(x.permute(0, 2, 3, 1), channels) and _is_plain(spatial.permute(0, 2, 3, 1), filters):
        return [slice(0, len(x))]
    count = max(1, _CONVERTED * len(x) // (2 * x.numel() + spatial.numel()))
    return [slice(start, start + count) for start in range(0, len(x), count)]


def _units(batch: int, height: int, pixels: NDArray[Any], weights: NDArray[Any]) -> list[Unit]:
    """What a thread takes on at once: some images, or some rows of one."""
    image = 2 * pixels.shape[1] + weights.shape[1]
    if image <= _UNIT:
        count = _UNIT // image
        return [(start, min(start + count, batch), 0, height) for start in range(0, batch, count)]
    step = max(1, height * _UNIT // image)
    tops = range(0, height, step)
    return [(image, image + 1, top, min(top + step, height)) for image in range(batch) for top in tops]


def _is_plain(part: Tensor, layout: Layout) -> bool:
    """Whether a kernel can work on (B, H, W, C) as it is."""
    readable = part.dtype in (torch.float32, torch.bfloat16)
    return readable and part.shape[-1] == layout[0] * layout[1] and part.is_contiguous()


def _plain(images: Tensor, layout: Layout) -> NDArray[Any]:
    """(B, C, H, W) as a kernel takes it, (B, H · W · groups · lanes); the same memory where that is possible."""
    plain = _room(images, layout)
    part = images.detach().permute(0, 2, 3, 1)
    if plain.data_ptr() != part.data_ptr():
        (groups, lanes), (*shape, channels) = layout, part.shape
        plain = plain.view(*shape, groups, lanes)
        plain[..., : channels // groups].copy_(part.view(*shape, groups, channels // groups))
        plain[..., channels // groups :].zero_()
    return _array(plain)


def _room(images: Tensor, layout: Layout) -> Tensor:
    """Room for (B, C, H, W) in the order (B, H, W, groups · lanes): its own where that is possible."""
    part = images.detach().permute(0, 2, 3, 1)
    if _is_plain(part, layout):
        return part
    dtype = torch.bfloat16 if images.dtype == torch.bfloat16 else torch.float32
    return torch.empty(*part.shape[:3], layout[0] * layout[1], dtype=dtype)


def _put(result: Tensor, images: Tensor, layout: Layout) -> None:
    """Write (B, H, W, groups · lanes) to (B, C, H, W), unless it is there."""
    part = images.permute(0, 2, 3, 1)
    if result.data_ptr() != part.data_ptr():
        (groups, lanes), (*shape, channels) = layout, part.shape
        used = result.view(*shape, groups, lanes)[..., : channels // groups]
        part.view(*shape, groups, channels // groups).copy_(used)


def _array(plain: Tensor) -> NDArray[Any]:
    """(B, …) as an array of two dimensions, bfloat16 as its bits."""
    numbers = plain.view(torch.int16) if plain.dtype == torch.bfloat16 else plain
    return numbers.numpy().reshape(len(plain), -1)


@functools.lru_cache(maxsize=128)
def _axes(
    targets: tuple[int, ...],
    sources: tuple[int, ...],
    geometry: Geometry,
    channels: Layout,
    filters: Layout,
    transposed: bool,
) -> tuple[_Taps, _Taps]:
    """Where the taps of the target's rows and of its columns meet the source.

    The filter is that of the target's own position or, transposed, of the one that a tap comes from.

    Args:
        targets: height and width.
        sources: height and width.
    """
    pixel = channels[0] * channels[1]
    column = pixel, filters[1] * transposed, 1, pixel
    row = sources[1] * column[0], sources[1] * column[1], geometry[0], geometry[0] * pixel
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
        factors = weights if channel is None else channel[image]
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
                                    value += weight * load(factors, factor_row + columns.offsets[column, v, 2]) * met
                                else:
                                    value += (weight + load(factors, factor_row + columns.offsets[column, v, 2])) * met
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

"""The compiled loops of the dynamic filter on the CPU; `numba_kernels` prepares their arguments and shares them out.

Two loops do the work. They take the channels last: the channels of a group share one filter value, and there they are
neighbours in memory, 16 of which are one vector (`vectors_numba_kernels`).

`gather` goes over the pixels of a target, over four vectors of their channels at a time, and innermost over the taps:
the sums of weight · source over all taps stay in registers and are written once. There are four, because an addition
has to wait for the one before, and meanwhile the other sums go on. The output gathers the pixels that its filter
meets. The gradient of the image gathers, the other way round, the errors of all positions whose filters meet a pixel.

`correlate` makes the gradients of the filters. It goes over the positions, their taps, and innermost over the channels
of a group: the sum of error · pixel over them is the gradient of one value of the spatial filter.

Where the taps lead is no arithmetic of theirs. Whatever the stride and dilation, a tap meets the same row from all of a
row and the same column from all of a column; so its place in an array is a sum of two table entries, one for the row
and one for the column, and taps outside the image are not in the tables (`Taps`).

Images whose channels come first, or whose groups are not whole vectors, go through the same loops one at a time:
`gather_planes` and `backward_planes` turn an image, and fill its groups up by zeros. Beyond their arguments they hold
one such image of each argument and result; `gather` and `correlate` hold nothing.

Arguments that several share:
    spatial: float32 or bfloat16 as int16, (B, Ho·Wo·G·K·K); with planes, (B, G·K·K·Ho·Wo).
    channel: float32 (B, K·K·G·lanes), or None.
    product: whether `spatial` and `channel` are multiplied, else added.
    rows, columns: the taps of the target's rows and columns.
    unit: the first and the end of some images, and of some rows in them.
    layout: the groups, the channels of each, and its lanes: these filled up to whole vectors.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray

from robustbench_bi.ops.dynamic_filter.vectors_numba_kernels import (
    WIDTH,
    load,
    number,
    put,
    store,
    total,
    turn,
    zeros,
)


class Taps(NamedTuple):
    """For each row (or column) of a target, its taps that meet one of the source.

    Attributes:
        offsets: int64 (rows, K, 3), how far into the source, the spatial filter and the channel filter a tap leads;
            (rows, more, 3) where a pixel is mirrored, and met by more.
        counts: int64 (rows,), how many of them there are; they come first.
        kernel_size: K.
    """

    offsets: NDArray[np.int64]
    counts: NDArray[np.int64]
    kernel_size: int


@numba.njit(nogil=True, cache=True)
def gather(
    source: Any,
    spatial: Any,
    channel: Any,
    product: Any,
    target: Any,
    rows: Any,
    columns: Any,
    groups: Any,
    filter_step: Any,
    unit: Any,
) -> None:
    """Sum up over the taps of each pixel of `target`.

    `filter_step` is how far the filter of the target's next pixel lies in `spatial`; it is 0 where the tables lead to
    filters of the source's pixels.
    """
    first, end, top, bottom = unit
    width, size = len(columns.counts), rows.kernel_size
    pixel = target.shape[1] // (len(rows.counts) * width)
    lanes, filters, last = pixel // groups, size * size, pixel - WIDTH
    for image in range(first, end):
        pixels, weights, output = source[image], spatial[image], target[image]
        for row in range(top, bottom):
            for column in range(width):
                start, own = (row * width + column) * pixel, (row * width + column) * filter_step
                for a in range(0, pixel, 4 * WIDTH):
                    # Where fewer than four vectors are left, the last one is summed up more than once.
                    b, c, d = min(a + WIDTH, last), min(a + 2 * WIDTH, last), min(a + 3 * WIDTH, last)
                    of_a, of_b = own + a // lanes * filters, own + b // lanes * filters
                    of_c, of_d = own + c // lanes * filters, own + d // lanes * filters
                    sum_a, sum_b, sum_c, sum_d = zeros(), zeros(), zeros(), zeros()
                    for u in range(rows.counts[row]):
                        for v in range(columns.counts[column]):
                            met = rows.offsets[row, u, 0] + columns.offsets[column, v, 0]
                            tap = rows.offsets[row, u, 1] + columns.offsets[column, v, 1]
                            factor = rows.offsets[row, u, 2] + columns.offsets[column, v, 2]
                            sum_a += _share(pixels, weights, channel, image, product, met + a, tap + of_a, factor + a)
                            sum_b += _share(pixels, weights, channel, image, product, met + b, tap + of_b, factor + b)
                            sum_c += _share(pixels, weights, channel, image, product, met + c, tap + of_c, factor + c)
                            sum_d += _share(pixels, weights, channel, image, product, met + d, tap + of_d, factor + d)
                    store(output, start + d, sum_d)
                    store(output, start + c, sum_c)
                    store(output, start + b, sum_b)
                    store(output, start + a, sum_a)


@numba.njit(nogil=True, cache=True)
def _share(pixels: Any, weights: Any, channel: Any, image: Any, product: Any, met: Any, tap: Any, factor: Any) -> Any:
    """What a tap adds to the sums of a vector."""
    pixel, weight = load(pixels, met), number(weights, tap)
    if channel is None:
        return weight * pixel
    of_channel = load(channel[image], factor)
    return weight * of_channel * pixel if product else (weight + of_channel) * pixel


@numba.njit(nogil=True, cache=True)
def correlate(
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
    """Write the gradient of the spatial filter, and add that of the channel filter to `to_channel`."""
    first, end, top, bottom = unit
    width, size = len(columns.counts), rows.kernel_size
    pixel = gradient.shape[1] // (len(rows.counts) * width)
    lanes = pixel // groups
    for image in range(first, end):
        errors, pixels, weights, output = gradient[image], source[image], spatial[image], to_spatial[image]
        for row in range(top, bottom):
            for column in range(width):
                position = row * width + column
                for group in range(groups):
                    own = (position * groups + group) * size * size
                    # Taps outside the image have no gradient, and the loops below do not come to them.
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
def gather_planes(
    source: Any, spatial: Any, channel: Any, product: Any, target: Any, rows: Any, columns: Any, layout: Any, unit: Any
) -> None:
    """`gather` for the output, of images whose channels come first."""
    groups, height, area = layout[0], len(rows.counts), len(rows.counts) * len(columns.counts)
    filters = spatial.shape[1] // area
    as_one = (1, filters, filters)
    result = np.empty((1, area * groups * layout[2]), np.float32)
    for image in range(unit[0], unit[1]):
        pixels, weights = _channels_last(source[image], layout), _channels_last(spatial[image], as_one)
        factors = None if channel is None else channel[image : image + 1]
        gather(pixels, weights, factors, product, result, rows, columns, groups, filters, (0, 1, 0, height))
        _channels_first(result, layout, target[image])


@numba.njit(nogil=True, cache=True)
def backward_planes(
    gradient: Any,
    source: Any,
    spatial: Any,
    channel: Any,
    product: Any,
    to_source: Any,
    to_spatial: Any,
    to_channel: Any,
    to_pixels: Any,
    to_positions: Any,
    layout: Any,
    unit: Any,
) -> None:
    """`correlate`, and `gather` for the gradient of the image, of images whose channels come first.

    `to_pixels` are the taps of the image's rows and columns, `to_positions` those of the output's.
    """
    groups, height, area = layout[0], len(to_positions[0].counts), gradient.shape[1] // (layout[0] * layout[1])
    filters = spatial.shape[1] // area
    as_one = (1, filters, filters)
    for image in range(unit[0], unit[1]):
        errors, pixels = _channels_last(gradient[image], layout), _channels_last(source[image], layout)
        weights = _channels_last(spatial[image], as_one)
        factors = None if channel is None else channel[image : image + 1]
        to_weights, to_factors = np.empty_like(weights), to_channel[image : image + 1]
        rows, columns = to_positions
        every = (0, 1, 0, height)
        correlate(errors, pixels, weights, factors, product, to_weights, to_factors, rows, columns, groups, every)
        _channels_first(to_weights, as_one, to_spatial[image])
        rows, columns = to_pixels
        every = (0, 1, 0, len(rows.counts))
        # The pixels are done with; their place takes their gradient.
        gather(errors, weights, factors, product, pixels, rows, columns, groups, 0, every)
        _channels_first(pixels, layout, to_source[image])


@numba.njit(nogil=True, cache=True)
def _channels_last(planes: Any, layout: Any) -> Any:
    """(C·H·W) as float32 (1, H·W·G·lanes), with each group filled up by zeros."""
    groups, count, lanes = layout
    area = len(planes) // (groups * count)
    values = np.empty((1, area * groups * lanes), np.float32)
    if count < lanes:
        values[:] = 0
    for group in range(groups):
        turn(planes, group * count * area, area, count, area, values[0], group * lanes, groups * lanes)
    return values


@numba.njit(nogil=True, cache=True)
def _channels_first(values: Any, layout: Any, planes: Any) -> None:
    """The reverse, into `planes`."""
    groups, count, lanes = layout
    area = len(planes) // (groups * count)
    for group in range(groups):
        turn(values[0], group * lanes, groups * lanes, area, count, planes, group * count * area, area)

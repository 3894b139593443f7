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
        inside: the first and the end of the rows that meet K pixels side by side, each one pixel after the row before,
            with taps of their own.
    """

    offsets: NDArray[np.int64]
    counts: NDArray[np.int64]
    kernel_size: int
    inside: tuple[int, int]


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
    band = top, bottom
    for image in range(first, end):
        pixels, weights, output = source[image], spatial[image], target[image]
        _gather_image(pixels, weights, channel, image, product, output, rows, columns, groups, filter_step, band)


@numba.njit(nogil=True, cache=True)
def _gather_image(
    pixels: Any,
    weights: Any,
    channel: Any,
    image: Any,
    product: Any,
    output: Any,
    rows: Any,
    columns: Any,
    groups: Any,
    filter_step: Any,
    band: Any,
) -> None:
    """The same for a band of rows of one image.

    The channel filters of all images are given: of one that may be None, numba would look at each vector whether it is.
    """
    width = len(columns.counts)
    pixel = len(output) // (len(rows.counts) * width)
    for row in range(band[0], band[1]):
        places = row, row * width * pixel, row * width * filter_step
        gather_row(pixels, weights, channel, image, product, output, pixel, rows, columns, groups, filter_step, places)


@numba.njit(nogil=True, cache=True)
def gather_row(
    pixels: Any,
    weights: Any,
    channel: Any,
    image: Any,
    product: Any,
    output: Any,
    pixel: Any,
    rows: Any,
    columns: Any,
    groups: Any,
    filter_step: Any,
    places: Any,
) -> None:
    """Sum up over the taps of each pixel of a row of one image.

    `places` are the row, and where it lies in `output` and its filters in `weights`.
    """
    row, start, own = places
    width = len(columns.counts)
    first, end = columns.inside
    blocks = max(0, end - first) // 4 * 4
    inside = row, start, own, first, first + blocks
    _gather_fours(pixels, weights, channel, image, product, output, pixel, rows, columns, groups, filter_step, inside)
    lanes, filters, last = pixel // groups, rows.kernel_size**2, pixel - WIDTH
    for column in range(width):
        if first <= column < first + blocks:
            continue
        here, of_column = start + column * pixel, own + column * filter_step
        for a in range(0, pixel, 4 * WIDTH):
            # Where fewer than four vectors are left, the last one is summed up more than once.
            b, c, d = min(a + WIDTH, last), min(a + 2 * WIDTH, last), min(a + 3 * WIDTH, last)
            of_a, of_b = of_column + a // lanes * filters, of_column + b // lanes * filters
            of_c, of_d = of_column + c // lanes * filters, of_column + d // lanes * filters
            sum_a, sum_b, sum_c, sum_d = zeros(), zeros(), zeros(), zeros()
            for u in range(rows.counts[row]):
                for v in range(columns.counts[column]):
                    met = rows.offsets[row, u, 0] + columns.offsets[column, v, 0]
                    tap = rows.offsets[row, u, 1] + columns.offsets[column, v, 1]
                    factor = rows.offsets[row, u, 2] + columns.offsets[column, v, 2]
                    sum_a += _share(load(pixels, met + a), weights, channel, image, product, tap + of_a, factor + a)
                    sum_b += _share(load(pixels, met + b), weights, channel, image, product, tap + of_b, factor + b)
                    sum_c += _share(load(pixels, met + c), weights, channel, image, product, tap + of_c, factor + c)
                    sum_d += _share(load(pixels, met + d), weights, channel, image, product, tap + of_d, factor + d)
            store(output, here + d, sum_d)
            store(output, here + c, sum_c)
            store(output, here + b, sum_b)
            store(output, here + a, sum_a)


@numba.njit(nogil=True, cache=True)
def _gather_fours(
    pixels: Any,
    weights: Any,
    channel: Any,
    image: Any,
    product: Any,
    output: Any,
    pixel: Any,
    rows: Any,
    columns: Any,
    groups: Any,
    step: Any,
    places: Any,
) -> None:
    """The same for columns inside of an image, four at a time: each pixel is loaded once for all that meet it.

    `places` are the row, where it lies in `output` and its filters in `weights`, and the first and the end of columns.
    """
    row, start, own, first_column, end = places
    size, lanes = rows.kernel_size, pixel // groups
    for column in range(first_column, end, 4):
        for a in range(0, pixel, WIDTH):
            of_a = own + column * step + a // lanes * size * size
            sum_a, sum_b, sum_c, sum_d = zeros(), zeros(), zeros(), zeros()
            for u in range(rows.counts[row]):
                met = rows.offsets[row, u, 0] + columns.offsets[column, 0, 0] + a
                first = rows.offsets[row, u, 1] + of_a
                second, third, fourth = first + step - 1, first + 2 * step - 2, first + 3 * step - 3
                factor = rows.offsets[row, u, 2] + a
                # The columns begin one after another...
                at = load(pixels, met)
                sum_a += _share(at, weights, channel, image, product, first, factor)
                at = load(pixels, met + pixel)
                sum_a += _share(at, weights, channel, image, product, first + 1, factor + pixel)
                sum_b += _share(at, weights, channel, image, product, second + 1, factor)
                at = load(pixels, met + 2 * pixel)
                sum_a += _share(at, weights, channel, image, product, first + 2, factor + 2 * pixel)
                sum_b += _share(at, weights, channel, image, product, second + 2, factor + pixel)
                sum_c += _share(at, weights, channel, image, product, third + 2, factor)
                for v in range(3, size):
                    at, of_v = load(pixels, met + v * pixel), factor + v * pixel
                    sum_a += _share(at, weights, channel, image, product, first + v, of_v)
                    sum_b += _share(at, weights, channel, image, product, second + v, of_v - pixel)
                    sum_c += _share(at, weights, channel, image, product, third + v, of_v - 2 * pixel)
                    sum_d += _share(at, weights, channel, image, product, fourth + v, of_v - 3 * pixel)
                # ...and end so.
                last, of_last = met + size * pixel, factor + (size - 1) * pixel
                at = load(pixels, last)
                sum_b += _share(at, weights, channel, image, product, second + size, of_last)
                sum_c += _share(at, weights, channel, image, product, third + size, of_last - pixel)
                sum_d += _share(at, weights, channel, image, product, fourth + size, of_last - 2 * pixel)
                at = load(pixels, last + pixel)
                sum_c += _share(at, weights, channel, image, product, third + size + 1, of_last)
                sum_d += _share(at, weights, channel, image, product, fourth + size + 1, of_last - pixel)
                at = load(pixels, last + 2 * pixel)
                sum_d += _share(at, weights, channel, image, product, fourth + size + 2, of_last)
            here = start + column * pixel + a
            store(output, here, sum_a)
            store(output, here + pixel, sum_b)
            store(output, here + 2 * pixel, sum_c)
            store(output, here + 3 * pixel, sum_d)


@numba.njit(nogil=True, cache=True)
def _share(pixel: Any, weights: Any, channel: Any, image: Any, product: Any, tap: Any, factor: Any) -> Any:
    """What a tap adds to the sums of a vector."""
    weight = number(weights, tap)
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
    for image in range(first, end):
        errors, pixels, weights, output = gradient[image], source[image], spatial[image], to_spatial[image]
        band = top, bottom
        _correlate_image(
            errors, pixels, weights, channel, image, product, output, to_channel[image], rows, columns, groups, band
        )


@numba.njit(nogil=True, cache=True)
def _correlate_image(
    errors: Any,
    pixels: Any,
    weights: Any,
    channel: Any,
    image: Any,
    product: Any,
    output: Any,
    to_factors: Any,
    rows: Any,
    columns: Any,
    groups: Any,
    band: Any,
) -> None:
    """The same for a band of rows of one image."""
    width, size = len(columns.counts), rows.kernel_size
    pixel = len(errors) // (len(rows.counts) * width)
    lanes = pixel // groups
    for row in range(band[0], band[1]):
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
                                store(to_factors, factor, load(to_factors, factor) + share)
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
        pixels, weights = _channels_last(source[image], layout)[0], _channels_last(spatial[image], as_one)[0]
        _gather_image(pixels, weights, channel, image, product, result[0], rows, columns, groups, filters, (0, height))
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
        to_weights, to_factors = np.empty_like(weights), to_channel[image]
        rows, columns = to_positions
        given, band = (errors[0], pixels[0], weights[0]), (0, height)
        _correlate_image(*given, channel, image, product, to_weights[0], to_factors, rows, columns, groups, band)
        _channels_first(to_weights, as_one, to_spatial[image])
        rows, columns = to_pixels
        band = 0, len(rows.counts)
        # The pixels are done with; their place takes their gradient.
        _gather_image(errors[0], weights[0], channel, image, product, pixels[0], rows, columns, groups, 0, band)
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

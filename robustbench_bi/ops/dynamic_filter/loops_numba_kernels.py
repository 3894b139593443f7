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
    product: True where `spatial` and `channel` are multiplied, None where they are added.
    rows, columns: the taps of the target's rows and columns.
    unit: the first and the end of some images, and of some rows in them.
    size: as many things as a row of a filter has taps; nothing where no taps are `Taps.inside`.
    layout: the groups, the channels of each, and its lanes: these filled up to whole vectors.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numba
import numpy as np
from numba import types
from numba.extending import overload
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
    size: Any,
    unit: Any,
) -> None:
    """Sum up over the taps of each pixel of `target`.

    `filter_step` is how far the filter of the target's next pixel lies in `spatial`; it is 0 where the tables lead to
    filters of the source's pixels.
    """
    first, end, top, bottom = unit
    band = top, bottom
    for image in range(first, end):
        given = source[image], spatial[image], of_image(channel, image)
        _gather_image(*given, product, target[image], rows, columns, groups, filter_step, size, band)


@numba.njit(nogil=True, cache=True)
def _gather_image(
    pixels: Any,
    weights: Any,
    channel: Any,
    product: Any,
    output: Any,
    rows: Any,
    columns: Any,
    groups: Any,
    filter_step: Any,
    size: Any,
    band: Any,
) -> None:
    """The same for a band of rows of one image."""
    width = len(columns.counts)
    pixel = len(output) // (len(rows.counts) * width)
    for row in range(band[0], band[1]):
        places = row, row * width * pixel, row * width * filter_step
        gather_row(pixels, weights, channel, product, output, pixel, rows, columns, groups, filter_step, size, places)


@numba.njit(nogil=True, cache=True)
def gather_row(
    pixels: Any,
    weights: Any,
    channel: Any,
    product: Any,
    output: Any,
    pixel: Any,
    rows: Any,
    columns: Any,
    groups: Any,
    filter_step: Any,
    size: Any,
    places: Any,
) -> None:
    """Sum up over the taps of each pixel of a row of one image.

    Where `weights` is None, the filter is that of the channels alone, the same at all pixels. `places` are the row, and
    where it lies in `output` and its filters in `weights`.
    """
    row, start, own = places
    width = len(columns.counts)
    first, end = columns.inside
    blocks = max(0, end - first) // 4 * 4 if len(size) else 0
    inside = row, start, own, first, first + blocks
    _gather_fours(pixels, weights, channel, product, output, pixel, rows, columns, groups, filter_step, size, inside)
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
                    sum_a += _weight(weights, channel, product, tap + of_a, factor + a) * load(pixels, met + a)
                    sum_b += _weight(weights, channel, product, tap + of_b, factor + b) * load(pixels, met + b)
                    sum_c += _weight(weights, channel, product, tap + of_c, factor + c) * load(pixels, met + c)
                    sum_d += _weight(weights, channel, product, tap + of_d, factor + d) * load(pixels, met + d)
            store(output, here + d, sum_d)
            store(output, here + c, sum_c)
            store(output, here + b, sum_b)
            store(output, here + a, sum_a)


@numba.njit(nogil=True, cache=True)
def _gather_fours(
    pixels: Any,
    weights: Any,
    channel: Any,
    product: Any,
    output: Any,
    pixel: Any,
    rows: Any,
    columns: Any,
    groups: Any,
    step: Any,
    size: Any,
    places: Any,
) -> None:
    """The same for columns inside of an image, four at a time: each pixel is loaded once for all that meet it.

    For that the compiler has to write the loop over a row's taps out, and so to know how many there are.

    `places` are the row, where it lies in `output` and its filters in `weights`, and the first and the end of columns.
    """
    row, start, own, first_column, end = places
    filters, lanes = len(size) ** 2, pixel // groups
    for column in range(first_column, end, 4):
        for a in range(0, pixel, WIDTH):
            sum_a, sum_b, sum_c, sum_d = zeros(), zeros(), zeros(), zeros()
            for u in range(rows.counts[row]):
                met = rows.offsets[row, u, 0] + columns.offsets[column, 0, 0] + a
                tap_a = rows.offsets[row, u, 1] + own + column * step + a // lanes * filters
                tap_b, tap_c, tap_d = tap_a + step, tap_a + 2 * step, tap_a + 3 * step
                of_row = rows.offsets[row, u, 2] + a
                for v in range(len(size)):
                    factor = of_row + v * pixel
                    weight = _weight(weights, channel, product, tap_a + v, factor)
                    sum_a += weight * load(pixels, met + v * pixel)
                    weight = _weight(weights, channel, product, tap_b + v, factor)
                    sum_b += weight * load(pixels, met + (v + 1) * pixel)
                    weight = _weight(weights, channel, product, tap_c + v, factor)
                    sum_c += weight * load(pixels, met + (v + 2) * pixel)
                    weight = _weight(weights, channel, product, tap_d + v, factor)
                    sum_d += weight * load(pixels, met + (v + 3) * pixel)
            here = start + column * pixel + a
            store(output, here, sum_a)
            store(output, here + pixel, sum_b)
            store(output, here + 2 * pixel, sum_c)
            store(output, here + 3 * pixel, sum_d)


def of_image(channel: Any, image: Any) -> Any:
    """Return the channel filter of an image, or None where there is none; in compiled code."""


def _weight(weights: Any, channel: Any, product: Any, tap: Any, factor: Any) -> Any:
    """Return what a vector of pixels is multiplied by at a tap; in compiled code."""


# Which of them there are is known from the types; in a loop that asked, each vector would wait for the answer.
@overload(of_image)
def _of_image(channel, image):  # type: ignore[no-untyped-def]
    if channel == types.none:
        return lambda channel, image: None
    return lambda channel, image: channel[image]


@overload(_weight)
def _weight_of_types(weights, channel, product, tap, factor):  # type: ignore[no-untyped-def]
    if weights == types.none:
        return lambda weights, channel, product, tap, factor: load(channel, factor)
    if channel == types.none:
        return lambda weights, channel, product, tap, factor: number(weights, tap)
    if product == types.none:
        return lambda weights, channel, product, tap, factor: number(weights, tap) + load(channel, factor)
    return lambda weights, channel, product, tap, factor: number(weights, tap) * load(channel, factor)


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
        factors, band = of_image(channel, image), (top, bottom)
        _correlate_image(
            errors, pixels, weights, factors, product, output, to_channel[image], rows, columns, groups, band
        )


@numba.njit(nogil=True, cache=True)
def _correlate_image(
    errors: Any,
    pixels: Any,
    weights: Any,
    channel: Any,
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
                                if product is not None:
                                    share = number(weights, weight) * met
                                    met = met * load(channel, factor)
                                value += met
                                store(to_factors, factor, load(to_factors, factor) + share)
                        put(output, weight, total(value))


@numba.njit(nogil=True, cache=True)
def gather_planes(
    source: Any,
    spatial: Any,
    channel: Any,
    product: Any,
    target: Any,
    rows: Any,
    columns: Any,
    layout: Any,
    size: Any,
    unit: Any,
) -> None:
    """`gather` for the output, of images whose channels come first."""
    groups, height, area = layout[0], len(rows.counts), len(rows.counts) * len(columns.counts)
    filters = spatial.shape[1] // area
    as_one = (1, filters, filters)
    result = np.empty((1, area * groups * layout[2]), np.float32)
    for image in range(unit[0], unit[1]):
        pixels, weights = _channels_last(source[image], layout)[0], _channels_last(spatial[image], as_one)[0]
        given, band = (pixels, weights, of_image(channel, image)), (0, height)
        _gather_image(*given, product, result[0], rows, columns, groups, filters, size, band)
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
        factors, band = of_image(channel, image), (0, height)
        given = errors[0], pixels[0], weights[0], factors, product
        _correlate_image(*given, to_weights[0], to_factors, rows, columns, groups, band)
        _channels_first(to_weights, as_one, to_spatial[image])
        rows, columns = to_pixels
        band = 0, len(rows.counts)
        # The pixels are done with; their place takes their gradient.
        _gather_image(errors[0], weights[0], factors, product, pixels[0], rows, columns, groups, 0, (), band)
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

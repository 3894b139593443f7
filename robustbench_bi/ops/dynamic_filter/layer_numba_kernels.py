"""The compiled loops of a whole layer: its filters made, standardised and applied, and what follows in a network.

They go through an image in bands of some rows, and do all of a band's work before the next. So a position's filters,
which are many more numbers than its channels, never leave the caches: in memory there are only the map that filters are
made from, the layer's input and its output.

Arrays are float32. Empty ones stand for what a layer has not.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray

from robustbench_bi.ops.dynamic_filter.loops_numba_kernels import Taps, gather_row, of_image
from robustbench_bi.ops.dynamic_filter.pointwise_numba_kernels import pointwise
from robustbench_bi.ops.dynamic_filter.vectors_numba_kernels import WIDTH, at_least, load, store, total, zeros

_BAND = 56
"""Pixels of a band, at most: enough that it is worth loading a matrix for them, and few enough for the caches."""

_LINE = 16
"""Numbers in a line of the cache, on whose borders vectors should begin."""

Numbers = NDArray[np.float32]


class LayerWeights(NamedTuple):
    """What of a layer is the same for all images.

    A matrix has a row for each number of the pixels that it is given; the order is that of `in_stripes`.

    Attributes:
        depthwise: (Δ·Δ·C',), the channels of a tap one after another: a depthwise convolution in front of the matrices.
        hidden, hidden_shift: a matrix and what is added then, with a ReLU behind.
        filters: the matrix that makes a position's filters, filled up to a multiple of 16.
        gain: FilterNorm's scale of the spatial filters, whose mean over the taps is zero already; 0 for no FilterNorm.
        channel_scale: (K·K·C,), FilterNorm's learned scales of the channel filter.
        static: the matrices of groups of C/S channels, one after another, each (taps · C/S, C/S): a convolution whose
            result is added.
        scale, shift: (C,), a batch norm.
        least: what lies below becomes it: 0 for a ReLU, -inf for none.
        last, last_shift: a matrix that the result goes through and what is added then, the shortcut too; then a ReLU.
    """

    depthwise: Numbers
    hidden: Numbers
    hidden_shift: Numbers
    filters: Numbers
    gain: np.float32
    channel_scale: Numbers
    static: Numbers
    scale: Numbers
    shift: Numbers
    least: np.float32
    last: Numbers
    last_shift: Numbers


MATRICES = ("hidden", "filters", "static", "last")


class Places(NamedTuple):
    """Where the positions of a layer's output meet what it is given.

    Attributes:
        rows, columns, size: the taps of the dynamic filter.
        base_rows, base_columns, base_size: those of the depthwise convolution; of a single pixel if there is none.
        groups: channels of a group share filters.
        static: height and width of the input, and stride, kernel size and groups of the static branch.
        here: (1,), a zero: no jump.
    """

    rows: Taps
    columns: Taps
    size: tuple[None, ...]
    base_rows: Taps
    base_columns: Taps
    base_size: tuple[None, ...]
    groups: int
    static: tuple[int, int, int, int, int]
    here: NDArray[np.int64]


@numba.njit(nogil=True, cache=True)
def layer(
    source: Any,
    base: Any,
    context: Any,
    channel: Any,
    product: Any,
    shortcut: Any,
    target: Any,
    weights: Any,
    places: Any,
    unit: Any,
    factors: Any,
) -> None:
    """Write the rows of a unit; see `numba_kernels.layer`.

    Arrays have an axis for images and one for everything else. `factors` is room for the channel filter of an image,
    (1, K·K·C), or None without one; `context` may be of one image for all.
    """
    width, pixel, step = len(places.columns.counts), len(weights.scale), context.shape[1]
    band, row_of_sums = max(1, _BAND // width), width * pixel
    filters, sums = _room(band * width * step), _room(row_of_sums)
    middle, outputs = _room(band * row_of_sums * (len(weights.last) > 0)), len(weights.last_shift)
    begin = np.int64(0)
    for image in range(unit[0], unit[1]):
        if factors is not None:
            standardise_channels(channel[image], weights.channel_scale, places.rows.kernel_size**2, factors[0])
        pixels, output, shift = source[image], target[image], context[image % len(context)]
        for top in range(unit[2], unit[3], band):
            bottom, start = min(top + band, unit[3]), top * row_of_sums
            make_filters(base[image], shift, weights, places, top, bottom, filters)
            statics = make_statics(pixels, weights, places, top, bottom)
            for row in range(top, bottom):
                own = (row - top) * row_of_sums
                where = row, 0, (row - top) * width * step
                options = product, sums, pixel, places.rows, places.columns, places.groups, step, places.size, where
                gather_row(pixels, filters, of_image(factors, 0), *options)
                if outputs:
                    finish_sums(sums, weights, statics, own, middle, own)
                else:
                    finish_sums(sums, weights, statics, own, output, start + own)
            if outputs:
                count, to = (bottom - top) * width, (top * width * outputs, outputs)
                further = weights.last, weights.last_shift, shortcut[image], np.float32(0)
                pointwise(middle, (begin, pixel), count, places.here, pixel, *further, output, to)


@numba.njit(nogil=True, cache=True)
def make_filters(base: Any, shift: Any, weights: Any, places: Any, top: Any, bottom: Any, filters: Any) -> None:
    """Make the filters of a band of rows, and standardise them: FilterNorm without learned scales."""
    rows, columns, size = places.base_rows, places.base_columns, places.base_size
    width, hidden, step = len(columns.counts), len(weights.hidden_shift), len(shift)
    count, none, begin = (bottom - top) * width, np.float32(-np.inf), np.int64(0)
    depth = len(weights.hidden) // hidden if hidden else len(weights.filters) // step
    source, first = base, (rows.offsets[top, 0, 0], columns.offsets[min(1, width - 1), 0, 0])
    strides = first[1], rows.offsets[min(1, len(rows.counts) - 1), 0, 0]
    if len(weights.depthwise):
        source, first = _room(count * depth), (begin, depth)
        for row in range(top, bottom):
            where = row, (row - top) * width * depth, 0
            gather_row(base, None, weights.depthwise, True, source, depth, rows, columns, 1, 0, size, where)
    elif strides[1] != width * strides[0]:
        # Positions that lie apart are brought together.
        source, first = _room(count * depth), (begin, depth)
        for row in range(top, bottom):
            for column in range(width):
                given = rows.offsets[row, 0, 0] + columns.offsets[column, 0, 0]
                _copy(base, given, source, ((row - top) * width + column) * depth, depth)
    if hidden:
        made = _room(count * hidden)
        rectified = weights.hidden, weights.hidden_shift, None, np.float32(0)
        pointwise(source, first, count, places.here, depth, *rectified, made, (begin, hidden))
        source, first, depth = made, (begin, hidden), hidden
    pointwise(source, first, count, places.here, depth, weights.filters, shift, None, none, filters, (begin, step))
    if weights.gain:
        taps = places.rows.kernel_size**2
        for own in range(0, count * step, step):
            # What fills a filter up is zero.
            squares = zeros()
            for tap in range(own, own + step, WIDTH):
                squares += load(filters, tap) * load(filters, tap)
            deviation = np.sqrt(total(squares) / np.float32(taps - 1)) + np.float32(1e-10)
            factor = weights.gain / deviation
            for tap in range(own, own + step, WIDTH):
                store(filters, tap, load(filters, tap) * factor)


@numba.njit(nogil=True, cache=True)
def standardise_channels(channel: Any, scale: Any, taps: Any, factors: Any) -> None:
    """FilterNorm of the channel branch, with its learned scales."""
    count = len(channel) // taps
    share, freedom = np.float32(1 / taps), np.float32(taps - 1)
    deviations = _room(WIDTH)
    for place in range(0, count, WIDTH):
        mean = zeros()
        for tap in range(place, len(channel), count):
            mean += load(channel, tap) * share
        squares = zeros()
        for tap in range(place, len(channel), count):
            centred = load(channel, tap) + mean * np.float32(-1)
            squares += centred * centred
        store(deviations, 0, squares)
        for number in range(WIDTH):
            deviations[number] = np.float32(1) / (np.sqrt(deviations[number] / freedom) + np.float32(1e-10))
        for tap in range(place, len(channel), count):
            centred = load(channel, tap) + mean * np.float32(-1)
            store(factors, tap, centred * load(deviations, 0) * load(scale, tap))


@numba.njit(nogil=True, cache=True)
def make_statics(pixels: Any, weights: Any, places: Any, top: Any, bottom: Any) -> Any:
    """The static branch of a band of rows, a convolution of groups of channels, with the batch norm's shift."""
    width, pixel = len(places.columns.counts), len(weights.scale)
    if len(weights.static) == 0:
        return _room(0)
    height, columns, stride, size, groups = places.static
    border, line = size // 2, (columns + size - 1) * pixel
    rows = (bottom - top - 1) * stride + size
    # Rows with zeros around them, so that a tap of all positions of a row is a row of pixels, too.
    given, statics = _room(rows * line), _room((bottom - top) * width * pixel)
    for row in range(rows):
        own, to = top * stride - border + row, row * line
        if own < 0 or own >= height:
            _clear(given, to, line)
            continue
        _clear(given, to, border * pixel)
        _copy(pixels, own * columns * pixel, given, to + border * pixel, columns * pixel)
        _clear(given, to + (border + columns) * pixel, border * pixel)
    jumps, count = np.empty(size * size, np.int64), pixel // groups
    for tap in range(size * size):
        jumps[tap] = tap // size * line + tap % size * pixel
    numbers, least = len(weights.static) // groups, np.float32(-np.inf)
    for row in range(bottom - top):
        for group in range(groups):
            matrix = weights.static[group * numbers : (group + 1) * numbers]
            shift = weights.shift[group * count : (group + 1) * count]
            first = row * stride * line + group * count, stride * pixel
            to = row * width * pixel + group * count, pixel
            pointwise(given, first, width, jumps, count, matrix, shift, None, least, statics, to)
    return statics


@numba.njit(nogil=True, cache=True)
def finish_sums(sums: Any, weights: Any, added: Any, start: Any, output: Any, to: Any) -> None:
    """Scale a row's sums, add the shift or what has it already, and cut off what is below the least, but keep NaN."""
    pixel = len(weights.scale)
    for vector in range(0, pixel, WIDTH):
        scale, shift = load(weights.scale, vector), load(weights.shift, vector)
        if len(added):
            for place in range(vector, len(sums), pixel):
                value = load(sums, place) * scale + load(added, start + place)
                store(output, to + place, at_least(value, weights.least))
        else:
            for place in range(vector, len(sums), pixel):
                store(output, to + place, at_least(load(sums, place) * scale + shift, weights.least))


@numba.njit(nogil=True, cache=True)
def _copy(source: Any, start: Any, target: Any, to: Any, count: Any) -> None:
    """Copy so many numbers, a multiple of 16."""
    for place in range(0, count, WIDTH):
        store(target, to + place, load(source, start + place))


@numba.njit(nogil=True, cache=True)
def _clear(target: Any, to: Any, count: Any) -> None:
    for place in range(0, count, WIDTH):
        store(target, to + place, zeros())


@numba.njit(nogil=True, cache=True)
def _room(count: Any) -> Any:
    """So many numbers, unfilled, which begin where a line of the cache does."""
    values = np.empty(count + _LINE, np.float32)
    skipped = -(values.ctypes.data // 4) % _LINE
    return values[skipped : skipped + count]

"""The compiled loops of a whole layer: its filters finished, applied, and what follows in a network, row after row.

A row's filters and sums stay in the caches; in memory there are only the layer's input, its filters as a convolution
left them, and its output.

Arguments that several share:
    filters: float32, filters one after another, each with its taps one after another.
    channel: float32 (K·K·C,), or for several images (B, K·K·C), the channels of a tap one after another.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np

from robustbench_bi.ops.dynamic_filter.loops_numba_kernels import gather_row

_LINE = 16
"""Numbers in a line of the cache, on whose borders vectors should begin."""


@numba.njit(nogil=True, cache=True)
def layer(
    source: Any,
    spatial: Any,
    context: Any,
    gain: Any,
    channel: Any,
    channel_scale: Any,
    product: Any,
    scale: Any,
    shift: Any,
    added: Any,
    rectified: Any,
    target: Any,
    rows: Any,
    columns: Any,
    groups: Any,
    unit: Any,
    factors: Any,
) -> None:
    """Write the rows of a unit; see `numba_kernels.layer`.

    `added` is whether `target` holds what is to be added, and `gain` 0 where spatial filters are not standardised.
    `factors` is room for the channel filter of an image, (1, K·K·C), or None without one.
    """
    first, end, top, bottom = unit
    width, taps = len(columns.counts), rows.kernel_size**2
    step, pixel = groups * taps, target.shape[1] // (len(rows.counts) * width)
    filters, sums = _row(width * step), _row(width * pixel)
    for image in range(first, end):
        if factors is not None:
            standardise_channels(channel[image], channel_scale, taps, factors[0])
        pixels, output = source[image], target[image]
        for row in range(top, bottom):
            start, end_of_row = row * len(filters), (row + 1) * len(filters)
            finish_filters(spatial[image, start:end_of_row], context[image], gain, taps, filters)
            places = row, 0, 0
            gather_row(pixels, filters, factors, 0, product, sums, pixel, rows, columns, groups, step, places)
            finish_sums(sums, scale, shift, added, rectified, output[row * len(sums) : (row + 1) * len(sums)])


@numba.njit(nogil=True, cache=True)
def finish_filters(spatial: Any, context: Any, gain: Any, taps: Any, filters: Any) -> None:
    """Add what an image adds to each of its filters, and standardise them: FilterNorm without learned scales."""
    count = len(context)
    # Indices that begin at zero, of arrays of their own, become vector instructions.
    if count == 0:
        for tap in range(len(filters)):
            filters[tap] = spatial[tap]
    else:
        for own in range(0, len(filters), count):
            target, source = filters[own : own + count], spatial[own : own + count]
            for tap in range(count):
                target[tap] = source[tap] + context[tap]
    if gain == 0:
        return
    for own in range(0, len(filters), taps):
        target = filters[own : own + taps]
        mean = np.float32(0)
        for tap in range(taps):
            mean += target[tap]
        mean /= np.float32(taps)
        squares = np.float32(0)
        for tap in range(taps):
            target[tap] -= mean
            squares += target[tap] * target[tap]
        factor = gain / (np.sqrt(squares / np.float32(taps - 1)) + np.float32(1e-10))
        for tap in range(taps):
            target[tap] *= factor


@numba.njit(nogil=True, cache=True)
def standardise_channels(channel: Any, scale: Any, taps: Any, factors: Any) -> None:
    """FilterNorm of the channel branch, with its learned scales."""
    count = len(channel) // taps
    mean, squares = np.zeros(count, np.float32), np.zeros(count, np.float32)
    for tap in range(taps):
        given = channel[tap * count : (tap + 1) * count]
        for place in range(count):
            mean[place] += given[place]
    mean /= np.float32(taps)
    for tap in range(taps):
        given = channel[tap * count : (tap + 1) * count]
        for place in range(count):
            squares[place] += (given[place] - mean[place]) ** 2
    factor = np.float32(1) / (np.sqrt(squares / np.float32(taps - 1)) + np.float32(1e-10))
    for tap in range(taps):
        given, own = channel[tap * count : (tap + 1) * count], scale[tap * count : (tap + 1) * count]
        target = factors[tap * count : (tap + 1) * count]
        for place in range(count):
            target[place] = (given[place] - mean[place]) * factor[place] * own[place]


@numba.njit(nogil=True, cache=True)
def finish_sums(sums: Any, scale: Any, shift: Any, added: Any, rectified: Any, output: Any) -> None:
    """Scale and shift a row's sums, add what stands in the output, and cut off what is below zero, but keep NaN."""
    pixel, least = len(scale), np.float32(0 if rectified else -np.inf)
    for own in range(0, len(sums), pixel):
        given, target = sums[own : own + pixel], output[own : own + pixel]
        if added:
            for place in range(pixel):
                value = given[place] * scale[place] + shift[place] + target[place]
                target[place] = least if value < least else value
        else:
            for place in range(pixel):
                value = given[place] * scale[place] + shift[place]
                target[place] = least if value < least else value


@numba.njit(nogil=True, cache=True)
def _row(count: Any) -> Any:
    """So many numbers, unfilled, which begin where a line of the cache does."""
    values = np.empty(count + _LINE, np.float32)
    skipped = -(values.ctypes.data // 4) % _LINE
    return values[skipped : skipped + count]

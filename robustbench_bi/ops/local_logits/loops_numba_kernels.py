"""The compiled loops of the local logits on the CPU; `numba_kernels` prepares their arguments and shares them out.

A vector holds 16 neighbouring columns of one channel (`vectors_numba_kernels`), so that the sum over the channels of a
group needs no sum across a vector: its groups are small, of eight channels or one. For that, the lines of a group's
queries and keys are copied to where every vector can be read, with a border of zeros or of mirrored pixels. This copy
of one group is all that the loops hold beyond their arguments, and for gradients one of its logits' errors.

Which key row a tap meets is a table entry, and where it meets none there is no work. Columns are shifted vectors.

Arguments that several share:
    query, key, logits: float32, or bfloat16 as int16, (B, C·H·W); the logits (B, G·K·K·H·W).
    taps: where taps of rows and columns meet.
    sizes: height, width, channels of a group, K, dilation.
    steps: how far the next channel and the next pixel lie in the queries, the keys and the logits.
    unit: the first and the end of some groups, counted through all images.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray

from robustbench_bi.ops.dynamic_filter.vectors_numba_kernels import WIDTH, load, number, put, store, turn, zeros


class Taps(NamedTuple):
    """Where the taps of an image meet it.

    Attributes:
        rows: int64 (H, K), the key row that a tap of a row meets; -1 for none.
        columns: int64 (W + 2·reach,), the key column at each place of a line with its border; -1 for none.
        positions: int64 (H, more, 2), for each key row the rows whose taps meet it, and these taps.
        counts: int64 (H,), how many of them there are; they come first.
    """

    rows: NDArray[np.int64]
    columns: NDArray[np.int64]
    positions: NDArray[np.int64]
    counts: NDArray[np.int64]


@numba.njit(nogil=True, cache=True)
def multiply(query: Any, key: Any, logits: Any, taps: Any, sizes: Any, steps: Any, unit: Any) -> None:
    """Write the logits of some groups."""
    height, width, count, kernel_size, dilation = sizes
    reach = kernel_size // 2 * dilation
    lanes = -(-width // WIDTH) * WIDTH
    length = lanes + 2 * reach
    queries = np.zeros(count * height * lanes, np.float32)
    keys = np.zeros(count * height * length, np.float32)
    products = np.empty(kernel_size * kernel_size * lanes, np.float32)
    groups = query.shape[1] // (count * height * width)
    for index in range(unit[0], unit[1]):
        image, group = index // groups, index % groups
        _read(query[image], steps[0], group * count, sizes, queries, lanes, 0)
        _read_with_border(key[image], steps[1], group * count, sizes, taps.columns, keys, length)
        for row in range(height):
            for u in range(kernel_size):
                met = taps.rows[row, u]
                for v in range(kernel_size):
                    line = (u * kernel_size + v) * lanes
                    for lane in range(0, lanes, WIDTH):
                        value = zeros()
                        if met >= 0:
                            own, other = row * lanes + lane, met * length + lane + v * dilation
                            for channel in range(count):
                                value += load(queries, channel * height * lanes + own) * load(
                                    keys, channel * height * length + other
                                )
                        store(products, line + lane, value)
            first = group * kernel_size * kernel_size
            _write(products, lanes, kernel_size * kernel_size, width, logits[image], steps[2], first, row * width)


@numba.njit(nogil=True, cache=True)
def multiply_back(
    gradient: Any,
    query: Any,
    key: Any,
    to_query: Any,
    to_key: Any,
    taps: Any,
    sizes: Any,
    steps: Any,
    unit: Any,
) -> None:
    """Write the gradients of the queries and keys of some groups.

    That of a query gathers the keys of its taps. That of a key gathers, the other way round, the queries of all
    positions whose taps meet it; the border takes part as if it were pixels, and is then added to those it mirrors.
    """
    height, width, count, kernel_size, dilation = sizes
    reach = kernel_size // 2 * dilation
    lanes = -(-width // WIDTH) * WIDTH
    outer = -(-(width + 2 * reach) // WIDTH) * WIDTH
    length = max(lanes + 2 * reach, outer)
    # A key's tap may come from as far as 2·reach to the left.
    wide = length + 2 * reach
    queries = np.zeros(count * height * wide, np.float32)
    errors = np.zeros(kernel_size * kernel_size * height * wide, np.float32)
    keys = np.zeros(count * height * length, np.float32)
    line = np.empty((count, outer), np.float32)
    sums = np.empty((count, lanes), np.float32)
    groups = query.shape[1] // (count * height * width)
    all_taps = (height, width, kernel_size * kernel_size, kernel_size, dilation)
    for index in range(unit[0], unit[1]):
        image, group = index // groups, index % groups
        _read(query[image], steps[0], group * count, sizes, queries, wide, 2 * reach)
        _read(gradient[image], steps[2], group * kernel_size * kernel_size, all_taps, errors, wide, 2 * reach)
        _read_with_border(key[image], steps[1], group * count, sizes, taps.columns, keys, length)
        for row in range(height):
            for channel in range(count):
                for lane in range(0, lanes, WIDTH):
                    value = zeros()
                    for u in range(kernel_size):
                        met = taps.rows[row, u]
                        if met >= 0:
                            other = (channel * height + met) * length + lane
                            own = (u * kernel_size * height + row) * wide + 2 * reach + lane
                            for v in range(kernel_size):
                                value += load(errors, own + v * height * wide) * load(keys, other + v * dilation)
                    store(sums[channel], lane, value)
            _write(sums.reshape(-1), lanes, count, width, to_query[image], steps[0], group * count, row * width)
        for row in range(height):
            for channel in range(count):
                for lane in range(0, outer, WIDTH):
                    value = zeros()
                    for entry in range(taps.counts[row]):
                        position, u = taps.positions[row, entry, 0], taps.positions[row, entry, 1]
                        other = (channel * height + position) * wide + 2 * reach + lane
                        own = (u * kernel_size * height + position) * wide + 2 * reach + lane
                        for v in range(kernel_size):
                            value += load(errors, own + v * (height * wide - dilation)) * load(
                                queries, other - v * dilation
                            )
                    store(line[channel], lane, value)
                sums[channel] = 0
                for place in range(width + 2 * reach):
                    column = taps.columns[place]
                    if column >= 0:
                        sums[channel, column] += line[channel, place]
            _write(sums.reshape(-1), lanes, count, width, to_key[image], steps[1], group * count, row * width)


@numba.njit(nogil=True, cache=True)
def _read(values: Any, steps: Any, first: Any, sizes: Any, lines: Any, length: Any, start: Any) -> None:
    """Copy the lines of `sizes[2]` channels from `first` on to `lines`, which lie `length` apart."""
    height, width, count = sizes[0], sizes[1], sizes[2]
    for row in range(height):
        origin = first * steps[0] + row * width * steps[1]
        if steps[1] > 1:
            turn(values, origin, steps[1], width, count, lines, row * length + start, height * length)
        else:
            for channel in range(count):
                _copy(values, origin + channel * steps[0], lines, (channel * height + row) * length + start, width)


@numba.njit(nogil=True, cache=True)
def _read_with_border(values: Any, steps: Any, first: Any, sizes: Any, columns: Any, lines: Any, length: Any) -> None:
    """`_read`, with a border to the left and right."""
    reach = (len(columns) - sizes[1]) // 2
    _read(values, steps, first, sizes, lines, length, reach)
    for line in range(sizes[2] * sizes[0]):
        for place in range(reach):
            for outside in (place, len(columns) - 1 - place):
                if columns[outside] >= 0:
                    lines[line * length + outside] = lines[line * length + reach + columns[outside]]


@numba.njit(nogil=True, cache=True)
def _write(lines: Any, length: Any, count: Any, width: Any, values: Any, steps: Any, first: Any, pixel: Any) -> None:
    """Copy a line of each of `count` channels, `length` apart, to the channels from `first` on, at `pixel`."""
    start = first * steps[0] + pixel * steps[1]
    if steps[1] > 1:
        turn(lines, 0, length, count, width, values, start, steps[1])
    else:
        for channel in range(count):
            _copy(lines, channel * length, values, start + channel * steps[0], width)


@numba.njit(nogil=True, cache=True)
def _copy(source: Any, first: Any, target: Any, start: Any, count: Any) -> None:
    whole = count // WIDTH * WIDTH
    for lane in range(0, whole, WIDTH):
        store(target, start + lane, load(source, first + lane))
    for lane in range(whole, count):
        put(target, start + lane, number(source, first + lane))

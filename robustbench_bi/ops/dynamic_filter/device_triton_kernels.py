"""The programs that run on the GPU; `triton_kernels` launches them.

What bounds them is memory: a filter of K·K values is read for every position and group, and serves a few channels
only. The arithmetic fits beside that, but not a load for each product. So a program makes four rows of results at once
and keeps them in registers: a row of pixels that it loads for one of them is a tap of its neighbours as well, and with
K = 7 ten rows are loaded in place of twenty-eight. The loop over the rows is unrolled: which tap of which result a row
is, is settled at compile time, and `tl.where(down == index, …)` becomes the choice of a register. The loop over the
columns is not, to keep the code short.

A tile is rows × groups × channels × columns, or channels-last rows × columns × groups × channels. Its groups and its
channels are powers of two that divide theirs, so that only the sides of the image need masks; an odd number of channels
is right but slow. What differs within a tile is added last, to a pointer that is one number, which leaves the least
arithmetic to the threads.

The arguments are the tensors; the groups, the channels that share a filter, and the size of the image; the options of
the operator; whether channels come last in memory, in the images and in `spatial`; and the size of the tile.
"""

from __future__ import annotations

import triton
import triton.language as tl

ROWS = tl.constexpr(4)
"""Rows of results in a tile."""

STRIP = tl.constexpr(16)
"""Rows that `filter_to_channel` adds up in one program."""


@triton.jit
def filter_image(
    x: tl.tensor,
    spatial: tl.tensor,
    channel: tl.tensor,
    output: tl.tensor,
    groups: tl.tensor,
    shared: tl.tensor,
    height: tl.tensor,
    width: tl.tensor,
    KERNEL: tl.constexpr,
    STRIDE: tl.constexpr,
    DILATION: tl.constexpr,
    COMBINE: tl.constexpr,
    LAST: tl.constexpr,
    SPATIAL_LAST: tl.constexpr,
    GROUPS: tl.constexpr,
    CHANNELS: tl.constexpr,
    COLUMNS: tl.constexpr,
) -> None:
    """The result, (B, C, Ho, Wo)."""
    taps: tl.constexpr = KERNEL * KERNEL
    half: tl.constexpr = KERNEL // 2 * DILATION
    span: tl.constexpr = (ROWS - 1) * STRIDE + 2 * half + 1
    rows, columns, channels, filters = tl.cdiv(height, STRIDE), tl.cdiv(width, STRIDE), groups * shared, groups * taps
    image, group, lane, row, column = _start(rows, columns, shared, ROWS, GROUPS, CHANNELS, COLUMNS)
    several, lanes, zero, down, across = _tile(shared, GROUPS, CHANNELS, COLUMNS, LAST)
    x_lane, x_row, x_column = _steps(channels, height, width, LAST)
    tap_step, row_step, column_step = _steps(filters, rows, columns, SPATIAL_LAST)
    # What differs within a tile is added last, to a pointer that is one number.
    top, left = row * STRIDE - half, column * STRIDE - half
    x += image * channels * height * width + (lane * x_lane + top * x_row + left * x_column)
    pixels = lanes * x_lane + across * STRIDE * x_column
    spatial += image * filters * rows * columns + (group * taps * tap_step + row * row_step + column * column_step)
    positions = several * taps * tap_step + across * column_step
    first_factor = (image * channels + lane) * taps
    # Rows below the last read its filters again and are not stored.
    last = rows - 1 - row
    total = tl.zeros_like(down + lanes + across).to(tl.float32)
    for right in range(KERNEL):
        pixel = left + right * DILATION + across * STRIDE
        met_column = (column + across < columns) & (pixel >= 0) & (pixel < width)
        for step in tl.static_range(span):
            met = met_column & (zero + top + step >= 0) & (zero + top + step < height)
            place = step * x_row + right * DILATION * x_column
            values = tl.load(x + place + pixels, mask=met, other=0.0).to(tl.float32)
            for index in tl.static_range(ROWS):
                if (
                    ((step - index * STRIDE) % DILATION == 0)
                    & (step >= index * STRIDE)
                    & (step - index * STRIDE <= 2 * half)
                ):
                    tap = (step - index * STRIDE) // DILATION * KERNEL
                    places = spatial + (tl.minimum(index, last) * row_step + right * tap_step) + positions
                    weight = tl.load(places + tap * tap_step, mask=met, other=0.0).to(tl.float32)
                    if COMBINE != "alone":
                        factor = tl.load(channel + (first_factor + right) + lanes * taps + tap).to(tl.float32)
                        weight = weight * factor if COMBINE == "mul" else weight + factor
                    total = tl.where(down == index, total + values * weight, total)
    x_lane, x_row, x_column = _steps(channels, rows, columns, LAST)
    output += image * channels * rows * columns + (lane * x_lane + row * x_row + column * x_column)
    inside = (row + down < rows) & (column + across < columns)
    tl.store(output + (lanes * x_lane + down * x_row + across * x_column), total, mask=inside)


@triton.jit
def filter_to_x(
    gradient: tl.tensor,
    spatial: tl.tensor,
    channel: tl.tensor,
    to_x: tl.tensor,
    groups: tl.tensor,
    shared: tl.tensor,
    height: tl.tensor,
    width: tl.tensor,
    KERNEL: tl.constexpr,
    STRIDE: tl.constexpr,
    DILATION: tl.constexpr,
    COMBINE: tl.constexpr,
    LAST: tl.constexpr,
    SPATIAL_LAST: tl.constexpr,
    GROUPS: tl.constexpr,
    CHANNELS: tl.constexpr,
    COLUMNS: tl.constexpr,
    PHASE: tl.constexpr,
) -> None:
    """The gradient of x, for the rows that are `PHASE` modulo the stride."""
    taps: tl.constexpr = KERNEL * KERNEL
    half: tl.constexpr = KERNEL // 2 * DILATION
    # A pixel is read by the positions `first + n` rows from its own, through the taps `reach - n * STRIDE` pixels down.
    first: tl.constexpr = -((half - PHASE) // STRIDE)
    reach: tl.constexpr = PHASE + half - first * STRIDE
    span: tl.constexpr = ROWS + reach // STRIDE
    rows, columns, channels, filters = tl.cdiv(height, STRIDE), tl.cdiv(width, STRIDE), groups * shared, groups * taps
    image, group, lane, row, column = _start(rows, columns, shared, ROWS, GROUPS, CHANNELS, COLUMNS)
    several, lanes, zero, down, across = _tile(shared, GROUPS, CHANNELS, COLUMNS, LAST)
    x_lane, x_row, x_column = _steps(channels, rows, columns, LAST)
    tap_step, row_step, column_step = _steps(filters, rows, columns, SPATIAL_LAST)
    phase, top = tl.program_id(2), row + first
    gradient += image * channels * rows * columns + (lane * x_lane + top * x_row + column * x_column)
    errors = lanes * x_lane + across * x_column
    spatial += image * filters * rows * columns + (group * taps * tap_step + top * row_step + column * column_step)
    positions = several * taps * tap_step + across * column_step
    first_factor = (image * channels + lane) * taps
    total = tl.zeros_like(down + lanes + across).to(tl.float32)
    for right in range(KERNEL):
        pixel = phase + half - right * DILATION
        shift, pixels = pixel // STRIDE, (column + across) * STRIDE + pixel
        met_column = (pixels >= 0) & (pixels < columns * STRIDE) & (pixels % STRIDE == 0)
        for step in tl.static_range(span):
            met = met_column & (zero + top + step >= 0) & (zero + top + step < rows)
            place = step * x_row + shift * x_column
            values = tl.load(gradient + place + errors, mask=met, other=0.0).to(tl.float32)
            places = spatial + (step * row_step + shift * column_step + right * tap_step) + positions
            for index in tl.static_range(ROWS):
                if (
                    ((reach - (step - index) * STRIDE) % DILATION == 0)
                    & (reach >= (step - index) * STRIDE)
                    & (reach - (step - index) * STRIDE <= 2 * half)
                ):
                    tap = (reach - (step - index) * STRIDE) // DILATION * KERNEL
                    weight = tl.load(places + tap * tap_step, mask=met, other=0.0).to(tl.float32)
                    if COMBINE != "alone":
                        factor = tl.load(channel + (first_factor + right) + lanes * taps + tap).to(tl.float32)
                        weight = weight * factor if COMBINE == "mul" else weight + factor
                    total = tl.where(down == index, total + values * weight, total)
    x_lane, x_row, x_column = _steps(channels, height, width, LAST)
    top, left = row * STRIDE + PHASE, column * STRIDE + phase
    to_x += image * channels * height * width + (lane * x_lane + top * x_row + left * x_column)
    inside = (top + down * STRIDE < height) & (left + across * STRIDE < width)
    tl.store(to_x + (lanes * x_lane + down * STRIDE * x_row + across * STRIDE * x_column), total, mask=inside)


@triton.jit
def filter_to_spatial(
    gradient: tl.tensor,
    x: tl.tensor,
    channel: tl.tensor,
    sums: tl.tensor,
    groups: tl.tensor,
    shared: tl.tensor,
    height: tl.tensor,
    width: tl.tensor,
    KERNEL: tl.constexpr,
    STRIDE: tl.constexpr,
    DILATION: tl.constexpr,
    COMBINE: tl.constexpr,
    LAST: tl.constexpr,
    SPATIAL_LAST: tl.constexpr,
    GROUPS: tl.constexpr,
    CHANNELS: tl.constexpr,
    COLUMNS: tl.constexpr,
) -> None:
    """The gradient of spatial, (B, blocks of channels, G·K·K, Ho, Wo), without the sum over the blocks."""
    taps: tl.constexpr = KERNEL * KERNEL
    half: tl.constexpr = KERNEL // 2 * DILATION
    span: tl.constexpr = (ROWS - 1) * STRIDE + 2 * half + 1
    rows, columns, channels, filters = tl.cdiv(height, STRIDE), tl.cdiv(width, STRIDE), groups * shared, groups * taps
    image, group, lane, row, column = _start(rows, columns, shared, ROWS, GROUPS, CHANNELS, COLUMNS)
    several, lanes, zero, down, across = _tile(shared, GROUPS, CHANNELS, COLUMNS, LAST)
    x_lane, x_row, x_column = _steps(channels, rows, columns, LAST)
    gradient += image * channels * rows * columns + (lane * x_lane + row * x_row + column * x_column)
    inside = (row + down < rows) & (column + across < columns)
    errors = tl.load(gradient + (lanes * x_lane + down * x_row + across * x_column), mask=inside, other=0.0)
    x_lane, x_row, x_column = _steps(channels, height, width, LAST)
    top, left = row * STRIDE - half, column * STRIDE - half
    x += image * channels * height * width + (lane * x_lane + top * x_row + left * x_column)
    pixels = lanes * x_lane + across * STRIDE * x_column
    part = image * (shared // CHANNELS) + tl.program_id(1) % (shared // CHANNELS)
    sums += part * filters * rows * columns + (group * taps * rows + row) * columns + column
    first_factor = (image * channels + lane) * taps
    for right in range(KERNEL):
        pixel = left + right * DILATION + across * STRIDE
        met_column = (column + across < columns) & (pixel >= 0) & (pixel < width)
        for step in tl.static_range(span):
            met = met_column & (zero + top + step >= 0) & (zero + top + step < height)
            place = step * x_row + right * DILATION * x_column
            values = tl.load(x + place + pixels, mask=met, other=0.0).to(tl.float32)
            for index in tl.static_range(ROWS):
                if (
                    ((step - index * STRIDE) % DILATION == 0)
                    & (step >= index * STRIDE)
                    & (step - index * STRIDE <= 2 * half)
                ):
                    tap = (step - index * STRIDE) // DILATION * KERNEL + right
                    product = values * tl.sum(
                        tl.where(down == index, errors.to(tl.float32), 0.0), axis=0, keep_dims=True
                    )
                    if COMBINE == "mul":
                        product *= tl.load(channel + (first_factor + tap) + lanes * taps).to(tl.float32)
                    result = tl.where(met, tl.sum(product, axis=3 if LAST else 2, keep_dims=True), 0.0)
                    place = (tap * rows + index) * columns
                    used = (zero + row + index < rows) & (column + across < columns)
                    tl.store(sums + place + (several * taps * rows * columns + across), result, mask=used)


@triton.jit
def filter_to_channel(
    gradient: tl.tensor,
    x: tl.tensor,
    spatial: tl.tensor,
    sums: tl.tensor,
    groups: tl.tensor,
    shared: tl.tensor,
    height: tl.tensor,
    width: tl.tensor,
    KERNEL: tl.constexpr,
    STRIDE: tl.constexpr,
    DILATION: tl.constexpr,
    COMBINE: tl.constexpr,
    LAST: tl.constexpr,
    SPATIAL_LAST: tl.constexpr,
    GROUPS: tl.constexpr,
    CHANNELS: tl.constexpr,
    COLUMNS: tl.constexpr,
) -> None:
    """The gradient of channel, (B, strips of rows, C, K, K), without the sum over the strips."""
    taps: tl.constexpr = KERNEL * KERNEL
    half: tl.constexpr = KERNEL // 2 * DILATION
    rows, columns, channels, filters = tl.cdiv(height, STRIDE), tl.cdiv(width, STRIDE), groups * shared, groups * taps
    image, group, lane, row, _ = _start(rows, 1, shared, STRIP, GROUPS, CHANNELS, COLUMNS)
    several, lanes, zero, _, across = _tile(shared, GROUPS, CHANNELS, COLUMNS, LAST)
    x_lane, x_row, x_column = _steps(channels, height, width, LAST)
    error_lane, error_row, error_column = _steps(channels, rows, columns, LAST)
    tap_step, row_step, column_step = _steps(filters, rows, columns, SPATIAL_LAST)
    x += image * channels * height * width + lane * x_lane
    pixels = lanes * x_lane + across * STRIDE * x_column
    gradient += image * channels * rows * columns + lane * error_lane
    errors = lanes * error_lane + across * error_column
    spatial += image * filters * rows * columns + group * taps * tap_step
    positions = several * taps * tap_step + across * column_step
    sums += (tl.program_id(0).to(tl.int64) * channels + lane) * taps
    for tap in range(taps):
        lower, right = tap // KERNEL * DILATION - half, tap % KERNEL * DILATION - half
        total = tl.zeros_like(lanes + across).to(tl.float32)
        for y in range(row, tl.minimum(row + STRIP, rows)):
            for left in range(0, columns, COLUMNS):
                pixel = (left + across) * STRIDE + right
                met = (left + across < columns) & (pixel >= 0) & (pixel < width)
                met = met & (zero + y * STRIDE + lower >= 0) & (zero + y * STRIDE + lower < height)
                place = (y * STRIDE + lower) * x_row + (left * STRIDE + right) * x_column
                product = tl.load(x + place + pixels, mask=met, other=0.0).to(tl.float32)
                place = y * error_row + left * error_column
                product *= tl.load(gradient + place + errors, mask=met, other=0.0).to(tl.float32)
                if COMBINE == "mul":
                    place = tap * tap_step + y * row_step + left * column_step
                    product *= tl.load(spatial + place + positions, mask=met, other=0.0).to(tl.float32)
                total += product
        result = tl.sum(total, axis=1 if LAST else 3, keep_dims=True)
        tl.store(sums + tap + lanes * taps, result)


@triton.jit
def _start(
    rows: tl.tensor,
    columns: tl.tensor,
    shared: tl.tensor,
    LINES: tl.constexpr,
    GROUPS: tl.constexpr,
    CHANNELS: tl.constexpr,
    COLUMNS: tl.constexpr,
) -> tl.tensor:
    """The image of a program, in 64 bits, and its first group, channel, row and column."""
    across, blocks = tl.cdiv(columns, COLUMNS), shared // CHANNELS
    tiles = tl.cdiv(rows, LINES) * across
    image, tile = (tl.program_id(0) // tiles).to(tl.int64), tl.program_id(0) % tiles
    group = tl.program_id(1) // blocks * GROUPS
    return (
        image,
        group,
        group * shared + tl.program_id(1) % blocks * CHANNELS,
        tile // across * LINES,
        tile % across * COLUMNS,
    )


@triton.jit
def _tile(
    shared: tl.tensor, GROUPS: tl.constexpr, CHANNELS: tl.constexpr, COLUMNS: tl.constexpr, LAST: tl.constexpr
) -> tl.tensor:
    """The groups, channels, rows and columns of a tile, counted from its first, and a zero.

    In the interpreter a comparison of numbers is no mask; one of tensors of one element is, hence the zero.
    """
    group, lane, across = tl.arange(0, GROUPS), tl.arange(0, CHANNELS), tl.arange(0, COLUMNS)
    if LAST:
        group, lane, across = group[None, None, :, None], lane[None, None, None, :], across[None, :, None, None]
    else:
        group, lane, across = group[None, :, None, None], lane[None, None, :, None], across[None, None, None, :]
    zero, down = tl.arange(0, 1)[:, None, None, None], tl.arange(0, ROWS)[:, None, None, None]
    return group, group * shared + lane, zero, down, across


@triton.jit
def _steps(channels: tl.tensor, height: tl.tensor, width: tl.tensor, LAST: tl.constexpr) -> tl.tensor:
    """How far apart neighbouring channels, rows and columns are in memory."""
    if LAST:
        channel, row, column = 1, width * channels, channels
    else:
        channel, row, column = height * width, width, 1
    return channel, row, column

"""Pixels times a matrix, as a 1×1 convolution has it, for kernels that go on with the result while it is in the caches.

A block of the result, some pixels by one or two vectors of their channels, stays in registers while the sums over the
channels of the source are made; so each number of the matrix that is loaded serves all pixels of the block, and each of
a pixel all its vectors. The multiplications then keep a processor busy, not the loads.
"""

from __future__ import annotations

from typing import Any

import llvmlite.binding as llvm  # type: ignore[import-untyped]
import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic
from numpy.typing import NDArray

from robustbench_bi.ops.dynamic_filter.vectors_numba_kernels import (
    FUSED,
    NUMBER,
    REGISTER,
    WIDTH,
    address,
    load,
    not_below,
    read,
    repeated,
    store,
    write,
    zeros,
)

_ROOMY = llvm.get_host_cpu_features().get("avx512f", False)
"""Whether the processor has 32 registers of a whole vector each; in others, half as many numbers find room."""
_PIXELS, _VECTORS = (7, 2) if _ROOMY else (6, 1)
_STRIPE = _VECTORS * WIDTH
_TOGETHER = 112
"""Pixels that a matrix is loaded for, at most."""
SMALL = 1 << 16
"""Numbers of a matrix that stays in a core's cache beside what it is multiplied with."""


def in_stripes(matrix: NDArray[np.float32]) -> NDArray[np.float32]:
    """Bring a matrix (depth, width) into the order in which `pointwise` reads it.

    Its columns in stripes of as many as a block has, one after another, each row after row.

    Example:
        >>> in_stripes(np.eye(32, dtype=np.float32)).shape
        (1024,)
    """
    stripes = [matrix[:, start : start + _STRIPE].ravel() for start in range(0, matrix.shape[1], _STRIPE)]
    return np.concatenate(stripes)


@numba.njit(nogil=True, cache=True)
def pointwise(
    source: Any,
    first: Any,
    count: Any,
    jumps: Any,
    depth: Any,
    matrix: Any,
    shift: Any,
    added: Any,
    least: Any,
    target: Any,
    to: Any,
) -> None:
    """Write max(least, pixel · matrix + shift + added) for some pixels, but keep NaN.

    Args:
        source: float32 numbers.
        first: where the first pixel lies in it, and how far the next from it.
        count: of pixels.
        jumps: int64 (parts,), how far from a pixel the parts of its numbers lie: 0 for a 1×1 convolution, and more for
            others, which take their taps' pixels for one.
        depth: numbers of a part.
        matrix: float32 (parts · depth · width,) as `in_stripes` makes it; width is a multiple of 16.
        shift: float32 (width,).
        added: None, or an array in the form of `target` that is not the same one.
        least: float32; -inf leaves results as they are.
        target: float32 numbers.
        to: where the first result lies in it, and how far the next from it.
    """
    width = len(shift)
    # A large matrix is read once for all pixels; beside a small one, it pays to finish pixels one after another.
    together = count if len(matrix) > SMALL else _PIXELS
    for start in range(0, count, together):
        end = min(start + together, count)
        for channel in range(0, width, _STRIPE):
            wide = min(_STRIPE, width - channel)
            rows = channel * depth * len(jumps), wide
            if count < _PIXELS:
                for pixel in range(start, end):
                    for vector in range(0, wide, WIDTH):
                        at = (rows[0] + vector, wide), (channel + vector, pixel)
                        _block(1, 1, source, first, jumps, depth, matrix, shift, added, least, target, to, at)
                continue
            for block in range(start, end, _PIXELS):
                # The last block overlaps the one before, so that all are whole.
                at = rows, (channel, min(block, count - _PIXELS))
                if wide == _STRIPE:
                    _block(_PIXELS, _VECTORS, source, first, jumps, depth, matrix, shift, added, least, target, to, at)
                else:
                    _block(_PIXELS, 1, source, first, jumps, depth, matrix, shift, added, least, target, to, at)


@numba.njit(nogil=True, cache=True)
def convolve(source: Any, matrix: Any, shift: Any, least: Any, width: Any, target: Any, sums: Any, unit: Any) -> None:
    """A 1×1 convolution and what `pointwise` does then, of a unit's rows; and their sums over the pixels.

    Args:
        source: float32 (B, H·W·C), the channels last.
        matrix, shift, least: as in `pointwise`.
        width: of the images.
        target: float32 (B, H·W·K).
        sums: float32 (B, K), to which the sums are added; (B, 0) for none.
        unit: the first and the end of some images, and of some rows in them.
    """
    outputs, here = len(shift), np.zeros(1, np.int64)
    depth = len(matrix) // outputs
    for image in range(unit[0], unit[1]):
        pixels, output = source[image], target[image]
        for start in range(unit[2] * width, unit[3] * width, _TOGETHER):
            end = min(start + _TOGETHER, unit[3] * width)
            first, to = (start * depth, depth), (start * outputs, outputs)
            pointwise(pixels, first, end - start, here, depth, matrix, shift, None, least, output, to)
            for vector in range(0, sums.shape[1], WIDTH):
                # The pixels are in the caches still. Sums of sums round less.
                value = zeros()
                for pixel in range(start * outputs, end * outputs, outputs):
                    value += load(output, pixel + vector)
                store(sums[image], vector, load(sums[image], vector) + value)


@intrinsic(prefer_literal=True)
def _block(
    _: Any,
    pixels: Any,
    vectors: Any,
    source: Any,
    first: Any,
    jumps: Any,
    depth: Any,
    matrix: Any,
    shift: Any,
    added: Any,
    least: Any,
    target: Any,
    to: Any,
    at: Any,
) -> Any:
    """`pointwise` for so many pixels and vectors, which are constants.

    `at` are two pairs: where the first row of the matrix lies for these, and how far the next from it; and the first
    channel and the first pixel.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        _, _, given, first, leaps, depth, numbers, shifts, addends, least, results, to, at = arguments
        rows, begin = (cgutils.unpack_tuple(builder, pair) for pair in cgutils.unpack_tuple(builder, at))
        intp, count = depth.type, pixels.literal_value
        offsets = [intp(WIDTH * vector) for vector in range(vectors.literal_value)]
        sources = _in_steps(builder, cgutils.unpack_tuple(builder, first), begin[1], count)
        targets = _in_steps(builder, cgutils.unpack_tuple(builder, to), begin[1], count)
        targets = [builder.add(place, begin[0]) for place in targets]
        sums = [[cgutils.alloca_once(builder, REGISTER) for _ in offsets] for _ in sources]
        for vector, offset in enumerate(offsets):
            start = read(context, builder, shift, shifts, builder.add(begin[0], offset), REGISTER)
            for own, place in zip(sums, targets, strict=True):
                value = start
                if added != types.none:
                    further = read(context, builder, added, addends, builder.add(place, offset), REGISTER)
                    value = builder.fadd(start, further)
                builder.store(value, own[vector])
        parts = builder.extract_value(context.make_array(jumps)(context, builder, leaps).shape, 0)
        with cgutils.for_range(builder, parts, intp=intp) as part:
            jump = builder.load(address(context, builder, jumps, leaps, part.index, intp))
            with cgutils.for_range(builder, depth, intp=intp) as loop:
                # What the pixels after these need comes from memory meanwhile, one line after another.
                coming = _line_of_next(builder, targets[0], to, count, loop.index)
                _fetch(builder, address(context, builder, target, results, coming, NUMBER), 1)
                if added != types.none:
                    _fetch(builder, address(context, builder, added, addends, coming, NUMBER), 0)
                coming = _line_of_next(builder, sources[0], first, count, loop.index)
                _fetch(builder, address(context, builder, source, given, coming, NUMBER), 0)
                row = builder.add(builder.mul(part.index, depth), loop.index)
                row = builder.add(rows[0], builder.mul(row, rows[1]))
                weights = [
                    read(context, builder, matrix, numbers, builder.add(row, offset), REGISTER) for offset in offsets
                ]
                here = builder.add(jump, loop.index)
                for own, place in zip(sums, sources, strict=True):
                    number = read(context, builder, source, given, builder.add(place, here), NUMBER)
                    spread = repeated(builder, number)
                    for register, weight in zip(own, weights, strict=True):
                        product = builder.fmul(spread, weight, flags=FUSED)
                        builder.store(builder.fadd(builder.load(register), product, flags=FUSED), register)
        for own, place in zip(sums, targets, strict=True):
            for register, offset in zip(own, offsets, strict=True):
                value = not_below(builder, builder.load(register), least)
                write(context, builder, target, results, builder.add(place, offset), value)
        return context.get_dummy_value()

    pair = types.UniTuple(types.intp, 2)
    given = source, pair, jumps, types.intp, matrix, shift, added, types.float32, target, pair, types.UniTuple(pair, 2)
    return types.void(pixels, vectors, *given), generate


def _in_steps(builder: Any, pair: Any, first: Any, count: int) -> list[Any]:
    """The code of where so many pixels lie, of which the first has a number; the pair is an origin and a step."""
    numbers = [builder.add(first, first.type(number)) for number in range(count)]
    return [builder.add(pair[0], builder.mul(number, pair[1])) for number in numbers]


def _line_of_next(builder: Any, place: Any, pair: Any, count: int, number: Any) -> Any:
    """The code of where a line of the next pixels lies: first come the first lines of all, then the second ones.

    Args:
        builder: of the code.
        place: of the first pixel of these.
        pair: an origin and a step.
        count: of these pixels, and of the next.
        number: of the line.
    """
    pixels, step = number.type(count), cgutils.unpack_tuple(builder, pair)[1]
    ahead = builder.mul(builder.add(pixels, builder.urem(number, pixels)), step)
    return builder.add(builder.add(place, ahead), builder.mul(builder.udiv(number, pixels), number.type(WIDTH)))


def _fetch(builder: Any, place: Any, writing: int) -> None:
    """The code that begins to bring a line into the caches, for reading or for writing."""
    number, pointer = ir.IntType(32), ir.IntType(8).as_pointer()
    kind = ir.FunctionType(ir.VoidType(), [pointer, number, number, number])
    function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0i8")
    builder.call(function, [builder.bitcast(place, pointer), number(writing), number(3), number(1)])

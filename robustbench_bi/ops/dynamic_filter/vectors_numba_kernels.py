"""Vectors of 16 float32 for numba kernels: numbers that are loaded, added and multiplied all at once.

Numba keeps arrays in memory, and LLVM cannot tell whether two of them overlap; so a loop that adds to an array reads
and writes it again each time. A vector is a local variable: it stays in a register (on older processors in a few), and
a kernel that sums up in vectors runs two to five times as fast.

`a + b` and `a * b` take vectors and float32 numbers. A product that is added may be fused with the addition, which
rounds once instead of twice. Arrays are contiguous and float32, or int16 that holds the bits of bfloat16: NumPy has no
such type. Indices are not checked.

Numba's cache of the kernels that call these does not see a change here: touch the files beside this one after one.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import numba
from llvmlite import ir  # type: ignore[import-untyped]
from numba import types
from numba.extending import intrinsic, models, overload, register_model

WIDTH = 16

NUMBER, _INT, _HALF = ir.FloatType(), ir.IntType(32), ir.IntType(16)
REGISTER = ir.VectorType(NUMBER, WIDTH)
FUSED = ("contract",)


class _Vector(types.Type):  # type: ignore[misc]
    def __init__(self) -> None:
        super().__init__("Vector")


@register_model(_Vector)
class _VectorModel(models.PrimitiveModel):  # type: ignore[misc]
    def __init__(self, manager: Any, type_: Any) -> None:
        super().__init__(manager, type_, REGISTER)


_VECTOR = _Vector()


@intrinsic
def zeros(_: Any) -> Any:
    """Return a vector of zeros: `zeros()`."""
    return _VECTOR(), lambda context, builder, signature, arguments: ir.Constant(REGISTER, None)


@intrinsic
def load(_: Any, array: Any, start: Any) -> Any:
    """Return the 16 numbers of an array from `start` on: `load(array, start)`."""
    return _VECTOR(array, types.intp), _reading(REGISTER)


@intrinsic
def number(_: Any, array: Any, index: Any) -> Any:
    """Return one number of an array: `number(array, index)`."""
    return types.float32(array, types.intp), _reading(NUMBER)


@intrinsic
def store(_: Any, array: Any, start: Any, vector: Any) -> Any:
    """Write a vector to an array from `start` on, rounded to its type: `store(array, start, vector)`."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array, index, vector = arguments
        write(context, builder, signature.args[0], array, index, vector)
        return context.get_dummy_value()

    return types.void(array, types.intp, _VECTOR), generate


@intrinsic
def put(_: Any, array: Any, index: Any, value: Any) -> Any:
    """Write one number to an array, rounded to its type: `put(array, index, value)`."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array, index, value = arguments
        write(context, builder, signature.args[0], array, index, value)
        return context.get_dummy_value()

    return types.void(array, types.intp, types.float32), generate


@intrinsic
def transpose(_: Any, source: Any, first: Any, source_step: Any, target: Any, start: Any, target_step: Any) -> Any:
    """Copy a block of 16 lines of 16 numbers so that lines become columns.

    `transpose(source, first, source_step, target, start, target_step)`, where the steps lead to the next line.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        source, first, source_step, target, start, target_step = arguments
        lines = []
        for _ in range(WIDTH):
            lines.append(read(context, builder, signature.args[0], source, first, REGISTER))
            first = builder.add(first, source_step)
        for bit in (1, 2, 4, 8):
            # Blocks of `bit` numbers beside the diagonal change places.
            for upper in (line for line in range(WIDTH) if not line & bit):
                pair = lines[upper], lines[upper | bit]
                below = [WIDTH + (lane ^ bit) if lane & bit else lane for lane in range(WIDTH)]
                above = [WIDTH + lane if lane & bit else lane ^ bit for lane in range(WIDTH)]
                lines[upper], lines[upper | bit] = (_shuffle(builder, *pair, order) for order in (below, above))
        for line in lines:
            write(context, builder, signature.args[3], target, start, line)
            start = builder.add(start, target_step)
        return context.get_dummy_value()

    return types.void(source, *[types.intp] * 2, target, *[types.intp] * 2), generate


@intrinsic
def total(_: Any, vector: Any) -> Any:
    """Return the sum of a vector, added up in pairs: `total(vector)`."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        (rest,) = arguments
        width = WIDTH
        while width > 1:
            width //= 2
            halves = list(range(width)), list(range(width, 2 * width))
            rest = builder.fadd(*(_shuffle(builder, rest, rest, lanes) for lanes in halves))
        return builder.extract_element(rest, ir.Constant(_INT, 0))

    return types.float32(_VECTOR), generate


@intrinsic
def at_least(_: Any, vector: Any, least: Any) -> Any:
    """Return a vector whose numbers below `least` are it; NaN stays: `at_least(vector, least)`."""
    return _VECTOR(_VECTOR, types.float32), lambda context, builder, signature, arguments: not_below(
        builder, *arguments
    )


@intrinsic
def _plus(_: Any, left: Any, right: Any) -> Any:
    return _VECTOR(left, right), _elementwise("fadd")


@intrinsic
def _times(_: Any, left: Any, right: Any) -> Any:
    return _VECTOR(left, right), _elementwise("fmul")


@overload(operator.add)
@overload(operator.iadd)
def _add(left, right):  # type: ignore[no-untyped-def]
    def implementation(left, right):  # type: ignore[no-untyped-def]
        return _plus(left, right)

    return implementation if _VECTOR in (left, right) else None


@overload(operator.mul)
def _multiply(left, right):  # type: ignore[no-untyped-def]
    def implementation(left, right):  # type: ignore[no-untyped-def]
        return _times(left, right)

    return implementation if _VECTOR in (left, right) else None


def _elementwise(instruction: str) -> Callable[..., Any]:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        vectors = [
            value if type_ == _VECTOR else repeated(builder, context.cast(builder, value, type_, types.float32))
            for value, type_ in zip(arguments, signature.args, strict=True)
        ]
        return getattr(builder, instruction)(*vectors, flags=FUSED)

    return generate


def repeated(builder: Any, value: Any) -> Any:
    """The code of a vector of one number."""
    nothing = ir.Constant(REGISTER, ir.Undefined)
    first = builder.insert_element(nothing, value, ir.Constant(_INT, 0))
    return _shuffle(builder, first, nothing, [0] * WIDTH)


def not_below(builder: Any, vector: Any, least: Any) -> Any:
    """The code of `at_least`."""
    spread = repeated(builder, least)
    return builder.select(builder.fcmp_ordered("<", vector, spread), spread, vector)


def _shuffle(builder: Any, left: Any, right: Any, lanes: list[int]) -> Any:
    return builder.shuffle_vector(left, right, ir.Constant(ir.VectorType(_INT, len(lanes)), lanes))


def _reading(wanted: Any) -> Callable[..., Any]:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array, index = arguments
        return read(context, builder, signature.args[0], array, index, wanted)

    return generate


def read(context: Any, builder: Any, type_: Any, array: Any, index: Any, wanted: Any) -> Any:
    """The code that reads one or 16 numbers as float32; the upper half of a float32 is a bfloat16."""
    if type_.dtype == types.float32:
        return builder.load(address(context, builder, type_, array, index, wanted), align=4)
    bits, half = _of_shape(_INT, wanted), _of_shape(_HALF, wanted)
    upper = builder.load(address(context, builder, type_, array, index, half), align=2)
    return builder.bitcast(builder.shl(builder.zext(upper, bits), _constant(bits, 16)), wanted)


def write(context: Any, builder: Any, type_: Any, array: Any, index: Any, value: Any) -> None:
    """The code that writes one or 16 numbers, to bfloat16 rounded to the nearest, from halfway to the even."""
    if type_.dtype == types.float32:
        builder.store(value, address(context, builder, type_, array, index, value.type), align=4)
        return
    bits, half = _of_shape(_INT, value.type), _of_shape(_HALF, value.type)
    whole = builder.bitcast(value, bits)
    odd = builder.and_(builder.lshr(whole, _constant(bits, 16)), _constant(bits, 1))
    rounded = builder.add(builder.add(whole, _constant(bits, 0x7FFF)), odd)
    not_a_number = builder.fcmp_unordered("uno", value, value)
    kept = builder.select(not_a_number, _constant(bits, 0x7FC00000), rounded)
    upper = builder.trunc(builder.lshr(kept, _constant(bits, 16)), half)
    builder.store(upper, address(context, builder, type_, array, index, half), align=2)


def _of_shape(element: Any, like: Any) -> Any:
    return ir.VectorType(element, WIDTH) if isinstance(like, ir.VectorType) else element


def _constant(type_: Any, value: int) -> Any:
    return ir.Constant(type_, [value] * WIDTH if isinstance(type_, ir.VectorType) else value)


def address(context: Any, builder: Any, type_: Any, array: Any, index: Any, wanted: Any) -> Any:
    """The code of where something wanted lies in an array."""
    data = context.make_array(type_)(context, builder, array).data
    return builder.bitcast(builder.gep(data, [index]), wanted.as_pointer())


@numba.njit(nogil=True, cache=True)
def turn(
    source: Any, first: Any, source_step: Any, lines: Any, columns: Any, target: Any, start: Any, target_step: Any
) -> None:
    """Copy lines that begin at `first` and lie `source_step` apart to the columns of lines of `target`, likewise."""
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

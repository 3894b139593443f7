"""Conditions on sizes that torch.export states as text: calculated here, since torch would run the text as Python.

At sizes that do not meet them, an exported network may give other numbers than the one that it was made from.
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor, nn

from robustbench_bi.errors import InputError

OPERATORS: dict[type, Callable[..., Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.USub: operator.neg,
    ast.Not: operator.not_,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}
FUNCTIONS: dict[str, Callable[..., Any]] = {
    "torch.sym_max": max,
    "torch.sym_min": min,
    "torch.sym_int": int,
    "torch.sym_float": float,
    "torch.sym_not": operator.not_,
}


class Conditional(nn.Module):
    """A network that is asked only about batches whose sizes meet its conditions.

    Args:
        network: takes one batch.
        conditions: as torch.export writes them.
        path: of the file, for messages.
    """

    def __init__(self, network: nn.Module, conditions: Sequence[str], path: object) -> None:
        super().__init__()
        self.network, self.conditions, self.path = network, tuple(conditions), path
        self.met: set[tuple[int, ...]] = set()

    def forward(self, images: Tensor) -> Any:
        """As the network.

        Raises:
            InputError: the sizes do not meet a condition.
        """
        shape = tuple(images.shape)
        if shape not in self.met:
            broken = next((text for text in self.conditions if not holds(text, shape)), None)
            if broken is not None:
                raise InputError(
                    f"{self.path} was exported for other sizes than {' × '.join(map(str, shape))}: its condition "
                    f"{broken[:80]} is not met. Export it again for images of this size"
                )
            self.met.add(shape)
        return self.network(images)


def holds(condition: str, shape: Sequence[int]) -> bool:
    """Whether the sizes of a batch meet a condition.

    Args:
        condition: a comparison of numbers, and of sizes, such as L['x'].size()[2].
        shape: of the batch, the only input.

    Raises:
        InputError: it holds anything else.

    Example:
        >>> holds("(L['x'].size()[2] // 4) % 7 == 0", (1, 3, 56, 56)), holds("torch.sym_max(1, 2) != 2", ())
        (True, False)
    """
    try:
        return bool(_value(ast.parse(condition.strip(), mode="eval").body, shape))
    except (ArithmeticError, LookupError, RecursionError, SyntaxError, TypeError, ValueError) as error:
        raise InputError(
            f"the file states {condition[:80]!r}, which is no condition on sizes; it was not run"
        ) from error


def _value(node: ast.AST, shape: Sequence[int]) -> Any:
    match node:
        case ast.Constant(value=bool() | int() | float() as number):
            return number
        case ast.Subscript(
            value=ast.Call(
                func=ast.Attribute(value=ast.Subscript(value=ast.Name(id="L")), attr="size"), args=[], keywords=[]
            ),
            slice=ast.Constant(value=int() as place),
        ):
            return shape[place]
        case ast.BinOp(left=left, op=op, right=right):
            return OPERATORS[type(op)](_value(left, shape), _value(right, shape))
        case ast.UnaryOp(op=op, operand=operand):
            return OPERATORS[type(op)](_value(operand, shape))
        case ast.Compare(left=left, ops=[op], comparators=[right]):
            return OPERATORS[type(op)](_value(left, shape), _value(right, shape))
        case ast.BoolOp(op=op, values=values):
            found = [_value(value, shape) for value in values]
            return all(found) if isinstance(op, ast.And) else any(found)
        case ast.Call(func=ast.Attribute() as function, args=arguments, keywords=[]):
            return FUNCTIONS[ast.unparse(function)](*(_value(argument, shape) for argument in arguments))
    raise TypeError(f"{type(node).__name__} is no part of a condition")

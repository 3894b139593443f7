"""The options of `eval`, made from the fields of its request; other commands that run networks pick from them."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from robustbench_bi.commands import completion, early
from robustbench_bi.commands.endings import remember_out
from robustbench_bi.commands.options import JSON, QUIET, Decorator, numbers
from robustbench_bi.data.request import DataRequest
from robustbench_bi.evaluation.request import PREPROCESSING, EvalRequest
from robustbench_bi.ground.declared import Option, declaration_of


def declared_option(field: dataclasses.Field[Any], several: bool = False) -> Decorator | None:
    """The option that a field of a request declares; None where it has none.

    Args:
        field: of a request.
        several: whether the command does for several values what a request does for one.
    """
    option = declaration_of(field).option
    if option is None:
        return None
    required = field.default is dataclasses.MISSING
    default = option.shown if option.shown is not None else None if required else field.default
    # Names of corruptions depend on the data, which are read first.
    given: dict[str, Any] = {"help": option.help or None, "is_eager": field.name == "data"}
    if option.kind == "flag":
        given |= {"is_flag": True}
    elif option.multiple or several:
        given |= {"multiple": True, "required": required, "default": None if default is None else [default]}
        given |= {"show_default": default is not None}
    else:
        given |= {"type": _type_of(option), "default": default, "show_default": default is not None}
    if option.metavar is not None:
        given["metavar"] = option.metavar
    if option.complete:
        given["shell_complete"] = getattr(completion, option.complete)
    if field.name in early.DECLARED:
        given["callback"] = early.DECLARED[field.name]
    if option.kind == "numbers":
        given["callback"] = numbers
    if field.name == "out":
        given["callback"] = remember_out
    if field.name == "data" and not several:
        given["callback"] = early.a_source
    return click.option(f"--{(option.name or field.name).replace('_', '-')}", field.name, **given)


class IntegerOrWord(click.IntRange):
    """An integer of at least so much, or one word."""

    def __init__(self, word: str, least: int | None) -> None:
        super().__init__(least)
        self.word = word

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The word as it is, and all else as click does."""
        return value if value == self.word else super().convert(value, param, ctx)


def _type_of(option: Option) -> Any:
    if option.choices:
        return click.Choice(option.choices)
    if option.word:
        return IntegerOrWord(option.word, option.least)
    if option.kind == "integer":
        return int if option.least is None else click.IntRange(option.least)
    return {"text": str, "numbers": str, "path": click.Path(path_type=Path)}[option.kind]


def _declared_options() -> dict[str, Decorator]:
    """The options of an evaluation, first those that say which networks, on which images, under what."""
    order = dict.fromkeys([*FIRST, *_DECLARED])
    options = {name: declared_option(_DECLARED[name]) for name in order}
    return {name: option for name, option in options.items() if option is not None}


FIRST = ("models", "weights", "data", "classes", "limit", "suite")
_DECLARED = {field.name: field for request in (EvalRequest, DataRequest) for field in dataclasses.fields(request)}
EVAL_OPTIONS: dict[str, Decorator] = {**_declared_options(), "quiet": QUIET, "as_json": JSON}
SEVERAL: dict[str, Decorator] = {"data": declared_option(_DECLARED["data"], several=True) or EVAL_OPTIONS["data"]}
WITH_COMMAS = frozenset(
    name for name, field in _DECLARED.items() if (option := declaration_of(field).option) and option.commas
)

FOR_DETECTION = ("images_root",)
"""Options that `eval` has no use for."""

FOR_CLASSIFICATION = frozenset(
    {
        *("models", "weights", "data", "fit", "corrupt_size", "no_resize", "compile", "adapt"),
        *PREPROCESSING,
        *(field.name for field in dataclasses.fields(DataRequest)),
    }
    - {"limit", "images_root"}
)
"""Options that `detect` has no use for, or words of its own."""

RUNNING = ("limit", "seed", "device", "batch_size", "compile", "workers", "precision", "classes", "skip_broken")


def eval_options(names: Sequence[str], several: bool = False) -> Decorator:
    """Options of `eval` for a command, in the order in which `eval` shows them.

    Args:
        names: keys of EVAL_OPTIONS.
        several: whether the command takes several data sets.
    """
    options = {**EVAL_OPTIONS, **(SEVERAL if several else {})}

    def add(command: Any) -> Any:
        # What is applied last is shown first.
        for name in reversed([name for name in options if name in names]):
            command = options[name](command)
        return command

    return add

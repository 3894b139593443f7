"""Networks in files of torch.export. What such a file could make torch run is looked for first, and refused."""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from torch import nn

from robustbench_bi.errors import BivoRobustError, WeightsError
from robustbench_bi.ground.sizes import size_of
from robustbench_bi.models.sources.compiled_file import FileNetwork, check_format, without_warnings
from robustbench_bi.models.sources.finish import file_of
from robustbench_bi.models.sources.size_conditions import Conditional

REFUSED_ENTRIES = ("aotinductor", "custom_obj")
"""Compiled libraries and objects of classes, which loading would run or make."""

OPERATORS = re.compile(r"#?torch\.ops\.\w+(\.\w+)+|(_operator|math)\.\w+|torch\.sym_\w+")
"""What the nodes of a graph may call."""

NAMES = re.compile(
    r"[suz]\d+|\d+\w*|Add|Mul|Rational|Max|Min|Mod|PythonMod|FloorDiv|CeilDiv|CleanDiv|ModularIndexing|"
    r"Eq|Ne|Lt|Le|Gt|Ge|Equality|Unequality|(Strict)?(LessThan|GreaterThan)|And|Or|Not|"
    r"True|False|oo|int_oo|zoo|Where|Piecewise|Identity|Pow|Abs|ToFloat|TruncToInt|FloorToInt|CeilToInt|RoundToInt|"
    r"IntTrueDiv|FloatTrueDiv|IsNonOverlappingAndDenseIndicator|Integer|Symbol|positive|integer"
)
"""The words of a size's formula: torch has sympy evaluate its text, as Python would."""


def build(name: str, num_classes: int | None, weights: str | Path | None, options: Mapping[str, Any]) -> nn.Module:
    """Open a file of `torch.export.save`.

    Args:
        name: the path.
        num_classes: None, or the file's number of classes.
        weights: None; the file brings its own.
        options: `input_size`, of images, where the file does not state it.

    Raises:
        InputError: the file is not a classifier of single images, or is in training mode.
        WeightsError: the file is missing or broken, or holds more than a graph and its weights; or weights are named
            beside it.
    """
    path = file_of("export", name, weights, options)
    try:
        check_harmless(path)
        with _plain_weights_only(), without_warnings():
            program = torch.export.load(str(path))
            network = Conditional(_module(program), getattr(program, "_guards_code", ()), path)
    except BivoRobustError:
        raise
    except Exception as error:  # a broken file can make the reader fail in any way
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)[:200]
        raise WeightsError(f"torch {torch.__version__} cannot read {path} as a torch.export file: {reason}") from error
    batch, size = _input_shape(program)
    size = options.get("input_size") if size is None else size
    return FileNetwork.settled("export", path, network, num_classes, batch=batch, size=size)


def check_harmless(path: Path) -> None:
    """Look through a file for what torch would run while it loads it.

    Raises:
        WeightsError: there is something, or it is no such file.
    """
    check_format(path, "a torch.export file")
    with zipfile.ZipFile(path) as archive:
        for entry in archive.namelist():
            if any(part in entry for part in REFUSED_ENTRIES):
                raise WeightsError(
                    f"{path} contains {entry}, which is more than a graph and its weights; it was not run"
                )
            if entry.endswith(".json"):
                _check_graph(json.loads(archive.read(entry)), path)


def _check_graph(content: Any, path: Path) -> None:
    """Refuse calls of anything but operators, and formulas with other words than those of sizes."""
    for key, value in _entries(content):
        if key == "nodes" and isinstance(value, list):
            for node in value:
                target = node.get("target") if isinstance(node, dict) else None
                if isinstance(target, str) and not OPERATORS.fullmatch(target):
                    raise WeightsError(f"{path} calls {target!r}, which is not an operator; it was not run")
        if key == "expr_str" and isinstance(value, str):
            formula = re.sub(r"'(\w+)'", r"\1", value)  # a symbol's name
            strange = [word for word in re.findall(r"\w+", formula) if not NAMES.fullmatch(word)]
            if strange or re.search(r"[^\w\s()+\-*/%,.<>=!&|~]", formula):
                raise WeightsError(f"{path} has the size {value[:80]!r}, which is not a formula; it was not evaluated")


def _entries(content: Any) -> Iterator[tuple[str, Any]]:
    todo = [content]
    while todo:
        here = todo.pop()
        if isinstance(here, dict):
            yield from here.items()
            todo.extend(here.values())
        elif isinstance(here, list):
            todo.extend(here)


@contextmanager
def _plain_weights_only() -> Iterator[None]:
    """Where reading its tensors safely fails, torch.export reads the pickle as it is, and that runs code."""
    load = torch.load

    def safely(*arguments: Any, **options: Any) -> Any:
        return load(*arguments, **{**options, "weights_only": True})

    with patch.object(torch, "load", safely):
        yield


def _module(program: Any) -> nn.Module:
    """The program as a module; its guards are text that would be run as Python, so `Conditional` calculates them."""
    try:
        network: nn.Module = program.module(check_guards=False)
    except TypeError:  # before guards
        network = program.module()
    return network


def _input_shape(program: Any) -> tuple[int | None, Any]:
    """The batch and the size of images that a program is fixed to, None where it is free."""
    user = set(program.graph_signature.user_inputs)
    shapes = [
        node.meta["val"].shape
        for node in program.graph.nodes
        if node.op == "placeholder" and node.name in user and hasattr(node.meta.get("val"), "shape")
    ]
    if len(shapes) != 1 or len(shapes[0]) != 4:
        found = ", ".join(str(tuple(shape)) for shape in shapes)
        raise WeightsError(f"the program must take one batch of images (B, 3, H, W); it takes {found or 'none'}")
    batch, _, *sides = shapes[0]
    size = size_of([int(side) for side in sides]) if all(isinstance(side, int) for side in sides) else None
    return batch if isinstance(batch, int) else None, size

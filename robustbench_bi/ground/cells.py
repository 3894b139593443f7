"""Cells: a corruption at a severity; and how far work over cells has come."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from robustbench_bi.errors import InputError
from robustbench_bi.ground.checks import check_integer

Cell = tuple[str, int]

CLEAN: Cell = ("none", 0)
SEVERITIES = (1, 2, 3, 4, 5)
# In published tables, this severity of a corruption stands for its mean over the five.
MEAN = 0
# Corruptions of ImageNet-C-bar and CIFAR-10-C-bar by the spelling of their published folders and files.
PUBLISHED_SPELLINGS = {
    "cocentric_sine_waves": "concentric_sine_waves",
    "transverse_chromatic_abberation": "transverse_chromatic_aberration",
}


@dataclass(frozen=True)
class Progress:
    """Progress of a long job over images, after each step.

    Attributes:
        label: the step just finished, in words: "fog severity 3".
        unit: what the steps are, in the plural: "cells", "frequencies".
        steps_done: steps that are finished, those of earlier starts included.
        steps_total: steps in all.
        images: images done since this start, counted once for each step that they take part in.
        images_total: images to do in this start.
    """

    label: str
    unit: str
    steps_done: int
    steps_total: int
    images: int
    images_total: int


def parse_severities(severities: str | int | Iterable[int]) -> tuple[int, ...]:
    """Read severities from "1-5", "1,3,5", an integer or several; sorted, each once.

    Raises:
        InputError: anything else, or a severity outside 1 to 5.

    Example:
        >>> parse_severities("1-3,5")
        (1, 2, 3, 5)
    """
    if isinstance(severities, int):
        severities = [severities]
    if isinstance(severities, str):
        parts = [re.fullmatch(r"\s*(\d+)(?:\s*-\s*(\d+))?\s*", part) for part in severities.split(",")]
        if not all(parts):
            raise InputError(f'severities must look like "1-5" or "1,3,5", got {severities!r}')
        ranges = [(int(part[1]), int(part[2] or part[1])) for part in parts if part]
        # The ends are checked as they stand: a range is written out only when it is short.
        severities = [n for first, last in ranges for n in (range(first, last + 1) if last <= 5 else (first, last))]
    try:
        chosen = list(severities)
    except TypeError:
        raise InputError(f'severities must look like "1-5" or "1,3,5", got {severities!r}') from None
    for severity in chosen:
        check_integer("severity", severity, 1, 5)
    if not chosen:
        raise InputError('severities must name at least one from 1 to 5, as in "1-5" or "1,3,5"')
    return tuple(sorted(set(chosen)))


def cell_label(cell: Cell) -> str:
    """A cell in words.

    Example:
        >>> cell_label(("fog", 3)), cell_label(("fog", 0)), cell_label(("none", 0))
        ('fog severity 3', 'fog', 'clean')
    """
    corruption, severity = cell
    if cell == CLEAN:
        return "clean"
    return corruption if severity == MEAN else f"{corruption} severity {severity}"


def cells_by_corruption(cells: Iterable[Cell]) -> dict[str, list[Cell]]:
    """The cells of each corruption, in the given order, without clean."""
    grouped: dict[str, list[Cell]] = {}
    for cell in cells:
        if cell != CLEAN:
            grouped.setdefault(cell[0], []).append(cell)
    return grouped

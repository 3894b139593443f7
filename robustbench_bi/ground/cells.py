"""Cells: a corruption at a severity; and how far work over cells has come."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from robustbench_bi.errors import InputError

if TYPE_CHECKING:
    pass

CLEAN = ("none", 0)


Cell = tuple[str, int]


@dataclass(frozen=True)
class CellProgress:
    """Where long work over cells and blocks of images stands, after each cell-block.

    Attributes:
        cell: the one just finished.
        cells_done: cell-blocks that are finished, those of earlier starts included.
        cells_total: cell-blocks in all.
        images: images done since this start, counted once for each cell and model.
        images_total: images to do in this start.
    """

    cell: Cell
    cells_done: int
    cells_total: int
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
        if isinstance(severity, bool) or not isinstance(severity, int) or not 1 <= severity <= 5:
            raise InputError(f"severity must be an integer from 1 to 5, got {severity!r}")
    if not chosen:
        raise InputError('severities must name at least one from 1 to 5, as in "1-5" or "1,3,5"')
    return tuple(sorted(set(chosen)))

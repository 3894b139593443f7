"""The counts that the Bi-volution paper prints, and how far those of our networks lie from them.

The figures are in `paper_tables.toml`, with the network that each row is here.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

from robustbench_bi.errors import InputError
from robustbench_bi.models import MODELS
from robustbench_bi.models.profile import RULE, profile

TABLES = (1, 3, 4)
PAPER_SIZE = 224
"""Side in pixels of the images that the paper counts for."""

COLUMNS = (
    "table", "architecture", "model", "parameters", "macs", "paper_parameters", "paper_macs", "paper_top1",
    "parameters_beyond", "macs_beyond", "note",
)  # fmt: skip


@dataclass(frozen=True)
class PaperRow:
    """A row of one of the paper's tables.

    Attributes:
        table: its number.
        architecture: as printed; the ablations of Tables 3 and 4 are all of depth 50.
        top1: accuracy on ImageNet in percent.
        model: the row of `MODELS` or `VARIANTS` that it is.
        parameters: in millions; None in Table 3, which has no counts.
        macs: what the paper calls FLOPs, in thousand millions; None in Table 3.
        note: why its counts differ.
    """

    table: int
    architecture: str
    top1: float
    model: str
    parameters: float | None = None
    macs: float | None = None
    note: str = ""


@cache
def paper_table(number: int) -> tuple[PaperRow, ...]:
    """The rows of Table 1, 3 or 4, in the paper's order.

    Raises:
        InputError: there is no such table here.

    Example:
        >>> [row.macs for row in paper_table(1) if row.model == "rednet50"]
        [2.7]
    """
    if number not in TABLES:
        raise InputError(f"table must be one of {', '.join(map(str, TABLES))}, got {number!r}")
    content = tomllib.loads(resources.files(__package__).joinpath("paper_tables.toml").read_text(encoding="utf-8"))
    notes = {"": "", **content["notes"]}
    return tuple(
        PaperRow(table=number, **{**row, "note": notes[row.get("note", "")]}) for row in content[f"table{number}"]
    )


def beyond_rounding(value: float, printed: float) -> float:
    """How far a value lies outside what rounds to a printed one of one decimal; signed, and 0 inside.

    Example:
        >>> beyond_rounding(15.5408, 15.5), round(beyond_rounding(13.8583, 13.2), 4)
        (0.0, 0.6083)
    """
    difference = value - printed
    return max(0.0, difference - 0.05) + min(0.0, difference + 0.05)


def compare_with_paper(
    models: Sequence[str] = (), table: int | None = None, size: int = PAPER_SIZE
) -> list[dict[str, Any]]:
    """Count networks, beside what the paper prints for them.

    Args:
        models: names as for `create_model`; none for every row of the table.
        table: 1 or 4; None is Table 1, and for a named model the first of the two that has it.
        size: side of the images in pixels; operations are compared at 224 only.

    Returns:
        For each row a dict of `COLUMNS`: our counts, the printed ones (`paper_parameters` in millions, `paper_macs`
        in thousand millions, `paper_top1` in percent), and by how much ours lie beyond their rounding
        (`parameters_beyond`, `macs_beyond`, in the same units). What there is not is None.

    Raises:
        InputError: the table has no counts, or a network cannot take the size.
        UnknownNameError: there is no such model.

    Example:
        >>> row, = compare_with_paper(["rednet101"], size=64)
        >>> row["paper_parameters"], round(row["parameters_beyond"], 3), row["macs_beyond"]
        (25.6, 0.003, None)
    """
    if table not in (None, 1, 4):
        raise InputError(f"table must be 1 or 4, the ones with counts, got {table!r}")
    if not models:
        return [_compared(row, row.model, size) for row in paper_table(table or 1)]
    numbers = (1, 4) if table is None else (table,)
    rows = {row.model: row for number in reversed(numbers) for row in paper_table(number)}
    return [_compared(rows.get(_row_name(name)), name, size) for name in models]


def as_text(rows: Sequence[Mapping[str, Any]]) -> tuple[list[str], list[list[str]], list[str]]:
    """The result of `compare_with_paper` for a person: column titles, cells, and the lines below the table.

    A count inside the paper's rounding has a tick; for others there stands by how much it lies outside.

    Example:
        >>> titles, cells, lines = as_text(compare_with_paper(["rednet38"], size=64))
        >>> cells[0][1:5]
        ['rednet38', '12.387', '12.4', '✓']
    """
    titles = ["architecture", "model", "params", "paper", "off by", "MACs", "paper", "off by", "see"]
    numbers: dict[str, int] = {}
    cells = []
    for row in rows:
        number = row["note"] and numbers.setdefault(row["note"], len(numbers) + 1)
        counted = [
            *_count_cells(row["parameters"], 1e6, row["paper_parameters"], row["parameters_beyond"]),
            *_count_cells(row["macs"], 1e9, row["paper_macs"], row["macs_beyond"]),
        ]
        cells.append([row["architecture"] or "", row["model"], *counted, str(number or "")])
    lines = [f"[{number}] {note}" for note, number in numbers.items()]
    return titles, cells, [*_totals(rows), RULE, *lines]


def _count_cells(count: int | None, unit: float, printed: float | None, beyond: float | None) -> list[str]:
    shown = "" if count is None else f"{count / unit:.3f}"
    off = "" if beyond is None else f"{beyond:+.3f}" if beyond else "✓"
    return [shown, "" if printed is None else f"{printed:.1f}", off]


def _totals(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """What the columns of the paper are, and how many of our counts are the printed ones."""
    tables = " and ".join(f"Table {number}" for number in sorted({row["table"] for row in rows if row["table"]}))
    parts = []
    for name, what in (("parameters_beyond", "parameters"), ("macs_beyond", "MACs")):
        beyond = [row[name] for row in rows if row[name] is not None]
        if beyond:
            parts.append(f"{what} of {beyond.count(0.0)} of {len(beyond)} rows")
    if not parts:
        return []
    return [
        f"Paper: Hu et al., AAAI 2022, {tables}, whose FLOPs are MACs at {PAPER_SIZE} pixels. "
        f"Off by: distance to the nearest value that rounds to the printed one; ✓ matches ({', '.join(parts)})."
    ]


def _row_name(name: str) -> str:
    return MODELS[name].name if name in MODELS else name


def _compared(row: PaperRow | None, model: str, size: int) -> dict[str, Any]:
    compared: dict[str, Any] = {**dict.fromkeys(COLUMNS), **profile(model, size), "model": model}
    if row is not None:
        compared.update(
            table=row.table,
            architecture=row.architecture,
            paper_parameters=row.parameters,
            paper_macs=row.macs,
            paper_top1=row.top1,
            parameters_beyond=_beyond(compared["parameters"], 1e6, row.parameters),
            macs_beyond=_beyond(compared["macs"], 1e9, row.macs if size == PAPER_SIZE else None),
            note=row.note or None,
        )
    return compared


def _beyond(count: int | None, unit: float, printed: float | None) -> float | None:
    return None if count is None or printed is None else beyond_rounding(count / unit, printed)

"""Which pictures are shown, and in which order: the filters and the orders, each a row with its rule."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from robustbench_bi.errors import InputError
from robustbench_bi.ground.cells import CLEAN, Cell, cells_by_corruption
from robustbench_bi.ground.registry import Table
from robustbench_bi.reports.view.album import Album
from robustbench_bi.reports.view.columns import CellColumns

Needs = Literal["", "clean", "beside", "several"]


@dataclass(frozen=True)
class Choice:
    """A row of `FILTERS` or `ORDERS`.

    Attributes:
        name: as in addresses.
        code: "module:function", `Query, Album` → bool (n,) of a filter, or float (n,) of an order: largest first.
        words: as it is shown.
        needs: what it takes: answers on clean images, a second model, or several runs.
    """

    name: str
    code: str
    words: str
    needs: Needs = ""

    def offered(self, album: Album) -> bool:
        """Whether the runs have what it takes."""
        return album.has_clean if self.needs == "clean" else not self.needs or len(album.runs) > 1


_HERE = "robustbench_bi.reports.view.choices"

FILTERS = Table(
    "filter",
    [
        Choice("all", f"{_HERE}:everything", "all images"),
        Choice("right-to-wrong", f"{_HERE}:right_to_wrong", "right → wrong", "clean"),
        Choice("wrong-to-right", f"{_HERE}:wrong_to_right", "wrong → right", "clean"),
        Choice("wrong", f"{_HERE}:wrong", "wrong answers"),
        Choice("right", f"{_HERE}:right", "right answers"),
        Choice("only-first", f"{_HERE}:only_first", "only this model is right", "beside"),
        Choice("only-beside", f"{_HERE}:only_beside", "only the second model is right", "beside"),
        Choice("differ", f"{_HERE}:differ", "the two models answer differently", "beside"),
    ],
)
ORDERS = Table(
    "order",
    [
        Choice("loss", f"{_HERE}:loss", "loss, largest first"),
        Choice("wrong-confidence", f"{_HERE}:wrong_confidence", "most confident wrong answers first"),
        Choice("disagreement", f"{_HERE}:disagreement", "models disagree most first", "several"),
        Choice("data", f"{_HERE}:as_listed", "order of the data"),
    ],
)


@dataclass(frozen=True)
class Query:
    """What a page asks for.

    Attributes:
        model: number of the run whose answers are sorted and filtered.
        beside: number of a second run, or None.
        cell: corruption and severity.
        show: a row of `FILTERS`.
        sort: a row of `ORDERS`.
        label, answer: class numbers that the label, or the answer of the model, must be; None for any.
        name: what the name of the image must contain, in upper or lower case.
    """

    model: int
    beside: int | None
    cell: Cell
    show: str = "all"
    sort: str = "loss"
    label: int | None = None
    answer: int | None = None
    name: str = ""


def query_of(album: Album, asked: Mapping[str, str]) -> Query:
    """The query of an address; what it leaves out has the first value.

    Raises:
        InputError: a value is none of those that there are.
        UnknownNameError: likewise, of a filter or an order.
    """
    model = number_of(asked, "model", len(album.runs)) or 0
    beside = number_of(asked, "beside", len(album.runs))
    show, sort = FILTERS[asked.get("show", "all")], ORDERS[asked.get("sort", "loss")]
    for choice in (show, sort):
        if not choice.offered(album) or (choice.needs == "beside" and beside is None):
            raise InputError(f"{choice.name} needs {_NEEDS[choice.needs]}")
    classes = len(album.class_names)
    return Query(
        model,
        beside,
        cell_of(album, asked),
        show.name,
        sort.name,
        number_of(asked, "label", classes),
        number_of(asked, "answer", classes),
        asked.get("name", ""),
    )


_NEEDS = {"clean": "answers on clean images", "beside": "a second model", "several": "several runs"}


def cell_of(album: Album, asked: Mapping[str, str]) -> Cell:
    """The cell of an address; where it names none, the first corruption at the middle one of its severities.

    Raises:
        InputError: the runs do not hold it.
    """
    if "corruption" not in asked:
        return first_cell(album)
    severity = number_of(asked, "severity", 6) or 0
    cell = (asked["corruption"], severity)
    if cell not in album.cells:
        raise InputError(f"these runs do not hold {cell[0]} at severity {cell[1]}")
    return cell


def first_cell(album: Album) -> Cell:
    """What a page opens with: the first corruption at the middle one of its severities; clean where there is none."""
    corruptions = list(cells_by_corruption(album.cells).values())
    return middle_cell(corruptions[0]) if corruptions else CLEAN


def middle_cell(cells: Sequence[Cell]) -> Cell:
    """A corruption at the middle one of its severities, of two the lower.

    Example:
        >>> middle_cell([("fog", 1), ("fog", 5)])
        ('fog', 1)
    """
    return sorted(cells)[(len(cells) - 1) // 2]


def number_of(asked: Mapping[str, str], name: str, below: int) -> int | None:
    """An integer from 0 to below a bound in an address; None where it is left out or empty.

    Raises:
        InputError: it is another text.
    """
    text = asked.get(name, "")
    if not text:
        return None
    if not (text.isascii() and text.isdigit()) or len(text) > 18 or int(text) >= below:
        raise InputError(f"{name} must be an integer from 0 to {below - 1}, got {text!r}")
    return int(text)


def chosen(album: Album, query: Query) -> NDArray[np.int64]:
    """The positions of the pictures that a query asks for, in its order; equal ones in the order of the data."""
    kept: NDArray[np.bool_] = FILTERS.load(query.show)(query, album)
    if query.label is not None:
        kept = kept & (album.labels == query.label)
    if query.answer is not None:
        kept = kept & (_columns(query, album).prediction == query.answer)
    if query.name:
        kept = kept & (np.char.find(album.folded_names, query.name.casefold()) >= 0)
    places = np.flatnonzero(kept)
    keys: NDArray[np.floating] = ORDERS.load(query.sort)(query, album)[places]
    return places[np.argsort(-keys, kind="stable")]


def _columns(query: Query, album: Album) -> CellColumns:
    return album.columns[query.model].cell(query.cell)


def _beside(query: Query, album: Album) -> CellColumns:
    return album.columns[query.model if query.beside is None else query.beside].cell(query.cell)


def everything(query: Query, album: Album) -> NDArray[np.bool_]:
    """All pictures."""
    return np.ones(len(album), dtype=np.bool_)


def right(query: Query, album: Album) -> NDArray[np.bool_]:
    """The model's answer in the cell counts as right."""
    return _columns(query, album).right


def wrong(query: Query, album: Album) -> NDArray[np.bool_]:
    """It counts as wrong."""
    return ~right(query, album)


def right_to_wrong(query: Query, album: Album) -> NDArray[np.bool_]:
    """The model is right on the clean picture, and wrong in the cell."""
    return album.columns[query.model].cell(CLEAN).right & wrong(query, album)


def wrong_to_right(query: Query, album: Album) -> NDArray[np.bool_]:
    """The model is wrong on the clean picture, and right in the cell."""
    return ~album.columns[query.model].cell(CLEAN).right & right(query, album)


def only_first(query: Query, album: Album) -> NDArray[np.bool_]:
    """The model is right in the cell, and the one beside it is wrong there."""
    return right(query, album) & ~_beside(query, album).right


def only_beside(query: Query, album: Album) -> NDArray[np.bool_]:
    """The model is wrong in the cell, and the one beside it is right there."""
    return wrong(query, album) & _beside(query, album).right


def differ(query: Query, album: Album) -> NDArray[np.bool_]:
    """The two models give different answers in the cell, right or wrong."""
    answers: NDArray[np.bool_] = _columns(query, album).prediction != _beside(query, album).prediction
    return answers


def loss(query: Query, album: Album) -> NDArray[np.floating]:
    """The model's loss in the cell."""
    return _columns(query, album).loss


def wrong_confidence(query: Query, album: Album) -> NDArray[np.floating]:
    """The confidence of a wrong answer; right answers come after all wrong ones, the least sure of them first."""
    columns = _columns(query, album)
    return np.where(columns.right, -columns.confidence, columns.confidence)


def disagreement(query: Query, album: Album) -> NDArray[np.floating]:
    """How many different answers all models give in the cell; of as many, how far their losses are apart."""
    cells = [columns.cell(query.cell) for columns in album.columns]
    answers = np.sort(np.stack([own.prediction for own in cells]), axis=0)
    different = 1 + (np.diff(answers, axis=0) != 0).sum(axis=0)
    losses = np.stack([own.loss for own in cells]).astype(np.float64)
    apart = losses.max(axis=0) - losses.min(axis=0)
    keys: NDArray[np.floating] = different + apart / (1 + apart)
    return keys


def as_listed(query: Query, album: Album) -> NDArray[np.floating]:
    """The order of the data."""
    return np.zeros(len(album))

"""The records of a run of classifiers by cell: the columns of one cell or one image in it, never the whole table."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from robustbench_bi.errors import DataError
from robustbench_bi.ground.cells import Cell
from robustbench_bi.runs.records import cell_file

if TYPE_CHECKING:
    from robustbench_bi.runs.run import Run

KEPT_BYTES = 24 * 2**20
"""Columns of a run that stay in memory: 30 cells of 50,000 images."""


@dataclass(frozen=True, eq=False)
class CellColumns:
    """What the records of a cell hold of some images, in their order; see `docs/records.md`.

    Attributes:
        prediction, rank: int32 (n,).
        confidence, loss: float32 (n,).
    """

    prediction: NDArray[np.int32]
    rank: NDArray[np.int32]
    confidence: NDArray[np.float32]
    loss: NDArray[np.float32]

    @property
    def right(self) -> NDArray[np.bool_]:
        """Whether the answer counts as right, bool (n,)."""
        return self.rank < 1


NAMES = tuple(field.name for field in fields(CellColumns))
_ROW_BYTES = 16


@dataclass(frozen=True)
class Place:
    """Where the record of an image stands: a file in the run's folder, and the row in it, from 0."""

    file: str
    row: int


class RunColumns:
    """The records of one run, read when they are asked for.

    Args:
        run: a run of classifiers.
        image_ids: int64 (n,), of all its images in order; every file is checked to hold these.
    """

    def __init__(self, run: Run, image_ids: NDArray[np.int64]) -> None:
        self.run = run
        self.image_ids = image_ids
        self._block_size = int(run.config["block_size"])
        kept = max(2, KEPT_BYTES // max(1, len(image_ids) * _ROW_BYTES))
        self.cell: Callable[[Cell], CellColumns] = lru_cache(kept)(self._cell)
        self._block: Callable[[Cell, int], CellColumns] = lru_cache(kept)(self._read_block)

    def image(self, cell: Cell, place: int) -> CellColumns:
        """The columns of a single image, n = 1; one file is read.

        Args:
            cell: of the run.
            place: of the image, from 0.
        """
        block, row = divmod(place, self._block_size)
        columns = self._block(cell, block)
        return CellColumns(**{name: getattr(columns, name)[row : row + 1] for name in NAMES})

    def place(self, cell: Cell, place: int) -> Place:
        """Where the record of an image stands."""
        block, row = divmod(place, self._block_size)
        path = cell_file(self.run.directory, cell, block)
        return Place(path.relative_to(self.run.directory).as_posix(), row)

    def _cell(self, cell: Cell) -> CellColumns:
        blocks = [self._read_block(cell, number) for number, _ in self.run.blocks()]
        return CellColumns(**{name: np.concatenate([getattr(one, name) for one in blocks]) for name in NAMES})

    def _read_block(self, cell: Cell, number: int) -> CellColumns:
        table: Any = self.run.read_block(cell, number)
        first = number * self._block_size
        expected = self.image_ids[first : first + self._block_size]
        if not np.array_equal(table["image_id"].to_numpy(), expected):
            path = cell_file(self.run.directory, cell, number)
            raise DataError(f"{path} is damaged (it lists other images); run the same eval command again to repair it")
        return CellColumns(**{name: table[name].to_numpy() for name in NAMES})

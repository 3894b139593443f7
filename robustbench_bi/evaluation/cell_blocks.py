"""The work of an evaluation as a list: a cell of a block of images, for the models whose images are cut alike."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from robustbench_bi.ground.cells import Cell
from robustbench_bi.runs.records import cell_file
from robustbench_bi.runs.run import Run

if TYPE_CHECKING:
    from robustbench_bi.data.preprocess import Cut, Preprocessing
    from robustbench_bi.evaluation.detectors import DetectorSubject
    from robustbench_bi.evaluation.networks import Subject


@dataclass(frozen=True)
class Candidate:
    """A network ready to run, and the run that it fills."""

    subject: Subject | DetectorSubject
    run: Run


@dataclass(frozen=True)
class CellBlock:
    """A cell-block to fill: its number and size, its cell, how images are cut, and the models that it is for."""

    block: int
    rows: int
    cell: Cell
    preprocessing: Preprocessing | None
    candidates: list[Candidate]

    @property
    def images(self) -> int:
        """Images to classify, counted once for each model."""
        return self.rows * len(self.candidates)

    def file(self, candidate: Candidate) -> Path:
        """Where the records of a model go."""
        return cell_file(candidate.run.directory, self.cell, self.block)

    def lacking(self) -> CellBlock:
        """The same for the models that lack it."""
        return replace(
            self, candidates=[c for c in self.candidates if not c.run.has_whole(self.cell, self.block, self.rows)]
        )


def cell_blocks_of(candidates: Sequence[Candidate]) -> Iterator[CellBlock]:
    """Every cell-block in the order of work, with the candidates that share its images."""
    for block, rows in candidates[0].run.blocks():
        for group in _by_cut(candidates):
            for cell in candidates[0].subject.config.cells:
                yield CellBlock(block, rows, cell, group[0].subject.preprocessing, group)


def there_already(cell_blocks: Sequence[CellBlock]) -> set[int]:
    """Numbers of the cell_blocks whose files are all there, whole or not: one look at each folder, which is cheap."""
    folders = {cell_block.file(candidate).parent for cell_block in cell_blocks for candidate in cell_block.candidates}
    files = {path for folder in folders for path in folder.glob("*.parquet")}
    return {
        number
        for number, cell_block in enumerate(cell_blocks)
        if files.issuperset(map(cell_block.file, cell_block.candidates))
    }


def _by_cut(candidates: Sequence[Candidate]) -> Iterator[list[Candidate]]:
    """Group candidates whose images are cut in the same way."""
    groups: dict[Cut | None, list[Candidate]] = {}
    for candidate in candidates:
        groups.setdefault(candidate.subject.cut, []).append(candidate)
    yield from groups.values()

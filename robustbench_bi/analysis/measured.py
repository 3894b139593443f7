"""Finished runs as numbers that can be resampled, and what is said of such numbers, whatever the task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pandas as pd

from robustbench_bi.analysis.groups import Group, weight_matrix
from robustbench_bi.errors import RunMismatchError
from robustbench_bi.ground.cells import Cell
from robustbench_bi.metrics.intervals import Grid
from robustbench_bi.metrics.statistics import Statistic
from robustbench_bi.runs.run import Run
from robustbench_bi.tasks import Measure, Task, task_of


@dataclass(frozen=True, eq=False)
class Measurements:
    """A frame of a task's numbers, and the sentences that belong to it.

    Attributes:
        frame: the numbers.
        task: what the runs were asked; its measures name the columns.
        caption: what they are of, and how their intervals were made.
        notes: what was left out or differs, or must be read with care, a sentence each.
        header: what was evaluated, to stand above the numbers.
        intervals: how the interval of each number was made, number → method.
        further: the measures beyond those of the task that were chosen and that the frame has.
        primary_caption: the caption of what shows the task's primary number alone, as figures do.
    """

    frame: pd.DataFrame
    task: Task
    caption: str = ""
    notes: tuple[str, ...] = ()
    header: str = ""
    intervals: Mapping[str, str] = field(default_factory=dict)
    further: tuple[Measure, ...] = ()
    primary_caption: str = ""


@dataclass(frozen=True, eq=False)
class Measured:
    """The records of a finished run, laid out as images × cells.

    Attributes:
        task: what the run was asked.
        records: `Run.records()`.
        grid: its images and cells.
    """

    task: Task
    records: pd.DataFrame
    grid: Grid

    @property
    def n(self) -> int:
        """The images."""
        return len(self.grid.image_ids)

    def statistic(self, groups: Sequence[Group], measure: Measure | None = None) -> Statistic:
        """A measure of each group of cells, the primary one by default."""
        name = (measure or self.task.primary).name
        weights = weight_matrix(groups, self.grid.cells)
        statistic: Statistic = self.task.load("statistic")(name, self.records, self.grid, weights)
        return statistic

    def same_answers(self, other: Measured, cells: Sequence[Cell]) -> bool:
        """Whether two runs answer alike, in every one of these cells and to every image."""
        answers = [name for name, dtype in self.task.load("COLUMNS").items() if not dtype.startswith("float")]
        order = ["corruption", "severity", *answers]
        own, others = (_chosen(found.records, cells)[order].sort_values(order) for found in (self, other))
        return len(own) == len(others) and bool((own.to_numpy() == others.to_numpy()).all())

    def errors(self, groups: Sequence[Group]) -> Statistic:
        """The top-1 error of each group, of a task that has "corruption_error"."""
        weights = weight_matrix(groups, self.grid.cells)
        statistic: Statistic = self.task.load("error")(self.records, self.grid, weights)
        return statistic


_KEPT = "_measured"


def records_of(run: Run, cells: Sequence[Cell]) -> pd.DataFrame:
    """The records of those of these cells that a run has."""
    records = run.records()
    return records if set(run.cell_names) <= set(cells) else _chosen(records, cells)


def _chosen(records: pd.DataFrame, cells: Sequence[Cell]) -> pd.DataFrame:
    """The records of these cells."""
    pairs = zip(records["corruption"].astype(str), records["severity"], strict=True)
    wanted = set(cells)
    return records[[cell in wanted for cell in pairs]].astype({"corruption": "str"})


def shared_cells(runs: Sequence[Run]) -> list[Cell]:
    """The cells that all of these runs have: means of several runs that stand beside each other are over these.

    Raises:
        RunMismatchError: there is none.
    """
    shared = [cell for cell in runs[0].cell_names if all(cell in run.cell_names for run in runs)]
    if not shared:
        names = ", ".join(run.directory.name for run in runs)
        raise RunMismatchError(f"runs shown together must share a cell, but {names} share none")
    return shared


def measured(run: Run, cells: Sequence[Cell] | None = None) -> Measured:
    """Lay the records of a run out.

    Args:
        run: a finished run.
        cells: those of the run that are wanted; all by default.

    Raises:
        RunMismatchError: the run is not finished.
        DataError: the records do not hold what the task wants of every image in every cell.
    """
    found = _all_measured(run)
    if cells is None or set(found.grid.cells) <= set(cells):
        return found
    own = [cell for cell in found.grid.cells if cell in cells]
    records = _chosen(found.records, own).astype({"corruption": "category"}).reset_index(drop=True)
    return _laid_out(run, records, own)


def _all_measured(run: Run) -> Measured:
    # Kept with the run, as its records are: every table of a report starts from it.
    kept = vars(run)
    if _KEPT not in kept:
        kept[_KEPT] = _laid_out(run, run.records(), run.cell_names)
    found: Measured = kept[_KEPT]
    return found


def _laid_out(run: Run, records: pd.DataFrame, cells: Sequence[Cell]) -> Measured:
    task = run.task
    truth = (run.truth,) if task.keeps_truth else ()
    return Measured(task, records, task.load("arrange")(records, run.images, cells, *truth))


def common_task(runs: Sequence[Run]) -> Task:
    """The task of several runs whose numbers are shown together.

    Raises:
        RunMismatchError: they have different ones.
    """
    names = list(dict.fromkeys(task_of(run.config).name for run in runs))
    if len(names) != 1:
        raise RunMismatchError(f"runs shown together must have the same task, got {', '.join(names)}")
    return task_of(runs[0].config)

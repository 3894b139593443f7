"""Tasks: what a network is asked about an image, and what is kept and said of its answer.

Loop, resume, sharing and file formats are the same for every task, and so are the ways from records to reports. What
differs stands in the task's module, and everything that needs it takes it from the row. A new task is its module, its
row, and its functions in `metrics`; `robustbench_bi.tasks.classification` is an example. A task's module has:

- `COLUMNS`: the columns of a record file and their dtypes. An image may have any number of rows in it, also none.
- `try_out(asked, images)`, which fails where a network does not fit; `ask(asked, images, image_ids, labels, place)` →
  these columns, or a function of no arguments that gives them: what can be done while the network is asked again.
- `MEASURES`: the numbers that the records give, `Measure`s. The first is the primary one, which comparisons, the gate
  and figures are about. It is in percent, from 0 to 100, and the higher the better.
- `FURTHER`, where there are such: measures that are shown where they are chosen. A record column that older runs may
  lack stands in `LATER_COLUMNS`.
- `PAIRED`, where there are such: measures of two runs, with `paired_statistic(measure, own, other, weights)` of two
  pairs of records and grid.
- `PAIRING`: how two runs are told apart, a key of `metrics.pairing.PAIRINGS`: "scores" where the primary number is a
  mean of per-image scores, else "bootstrap".
- `EXTRAS`: which parts of a report the task has beyond those that its measures give; see `Task.has`.
- `arrange(records, images, cells)` → `Grid`: the images and cells of a run, checked. `records` is `Run.records()`,
  `images` a function that returns `Run.images()`, `cells` those of the configuration. Where an image has any number of
  rows, only the images' list says which images there are, and only the configuration which cells.
- `statistic(measure, records, grid, weights)` → `Statistic`: the S numbers of a measure, by its name, each a weighted
  sum over the grid's cells; `weights` is (C, S). The intervals come from it.
- `cells(records, images, names)` → the frame of `Run.cells()`: a row a cell with corruption, severity, n (images) and a
  column for each measure, or for what else is wanted of a cell. `images` is `Run.images()`, `names` the run's cells.
- `KEEPS_TRUTH`, where it is true: a run has a `truth.parquet`, and `arrange` and `cells` take the function `Run.truth`
  as a last argument.
- `remarks(records)`, where there is one: sentences on the records that a summary must not leave out.
- `keep(records, grid)` → `Kept`: what a baseline of the gate keeps of a run, enough to compute the primary number again
  from any weighting of the images.
- `pack(kept)` → what is written of it in the baseline's file, as JSON: fields of the whole, and fields of each cell.
- `unpack(contents, n)` → the `Kept` of a baseline's file of n images, which raises ValueError where it is not sound.

Example:
    >>> task_of({}).name
    'classification'
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

from robustbench_bi.ground.registry import Table

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

    from robustbench_bi.metrics.statistics import Floats, Statistic


@dataclass(frozen=True)
class Measure:
    """A number that a task's records give, and how reports show it.

    Attributes:
        name: its column in frames.
        short: what it is called in headings, axes and sentences.
        words: the same in full.
        unit: "%" where it is in percent, another unit, or empty.
        decimals: digits after the point in tables.
        better: whether a higher or a lower value is better.
        proportion: whether it is a percentage of images, so that a single cell has Wilson's interval.
        chance: "module:function", the records of one cell → by how much the number overstates the truth by chance
            alone, at most and at least. The lower end of its interval is lowered by the first, the upper one by the
            second. Empty where a number has no such part.
        first: whether it stands among the first numbers of a report page, below the primary one.
        compared: whether comparisons show it too, after the primary one, where the runs have it.
        rows: the groups of cells that have it: "all", "corrupted" where it is a change from clean, or "severities"
            where it is of all cells of a severity together.
        column: the record column that it needs, where older runs lack that.

    Example:
        >>> Measure("top1", "top-1", "top-1 accuracy", "%").heading
        'top-1 %'
    """

    name: str
    short: str
    words: str
    unit: str = ""
    decimals: int = 1
    better: Literal["higher", "lower"] = "higher"
    proportion: bool = False
    chance: str = ""
    first: bool = False
    compared: bool = False
    rows: Literal["all", "corrupted", "severities"] = "all"
    column: str = ""

    @property
    def heading(self) -> str:
        """The heading of its column: only percent is written beside the name."""
        return f"{self.short} %" if self.unit == "%" and not self.short.endswith("%") else self.short

    @property
    def title(self) -> str:
        """`short` at the beginning of a sentence."""
        return self.short[:1].upper() + self.short[1:]

    def load_chance(self) -> Callable[..., tuple[float, float]]:
        """Import and return the function that `chance` names."""
        module, _, function = self.chance.partition(":")
        loaded: Callable[..., tuple[float, float]] = getattr(importlib.import_module(module), function)
        return loaded


class Kept(Protocol):
    """What a baseline keeps of a run, beside its images and cells."""

    @property
    def labels(self) -> NDArray[np.integer[Any]]:
        """(n,), what two runs on the same images must agree in."""

    def statistic(self, places: Sequence[int], weights: Floats) -> Statistic:
        """The primary number as weighted sums over some of the cells, by their places; `weights` is (places, S)."""


@dataclass(frozen=True)
class Task:
    """A row of `TASKS`.

    Attributes:
        name: as in a run's configuration.
        code: its module. The docstring of `robustbench_bi.tasks` says what is in it.
        summary: one line.
    """

    name: str
    code: str
    summary: str

    def load(self, name: str) -> Any:
        """Import and return a function or a constant of the task's module."""
        return getattr(importlib.import_module(self.code), name)

    @property
    def measures(self) -> tuple[Measure, ...]:
        """The numbers that its records give, the primary one first."""
        measures: tuple[Measure, ...] = self.load("MEASURES")
        return measures

    @property
    def primary(self) -> Measure:
        """The number that comparisons, the gate and figures are about."""
        return self.measures[0]

    @property
    def further(self) -> tuple[Measure, ...]:
        """Numbers that are shown where they are chosen."""
        return tuple(self._found("FURTHER", ()))

    @property
    def paired(self) -> tuple[Measure, ...]:
        """Numbers of two runs."""
        return tuple(self._found("PAIRED", ()))

    @property
    def later_columns(self) -> Mapping[str, str]:
        """Columns of records that older runs lack, and their dtypes."""
        return dict(self._found("LATER_COLUMNS", {}))

    def _found(self, name: str, otherwise: Any) -> Any:
        return getattr(importlib.import_module(self.code), name, otherwise)

    @property
    def keeps_truth(self) -> bool:
        """Whether its runs keep the truth once, in a file of its own."""
        return bool(self._found("KEEPS_TRUTH", False))

    def remarks(self, records: pd.DataFrame) -> list[str]:
        """Sentences on the records of a run that its summary must not leave out."""
        found = self._found("remarks", None)
        return [] if found is None else list(found(records))

    def has(self, extra: str) -> bool:
        """Whether a report of this task has a part that not every task has.

        Args:
            extra: "corruption_error", for mCE and all that is relative to AlexNet's top-1 errors: the module has
                `error(records, grid, weights)`, the error's statistic; "reliability", for accuracy by confidence: the
                records have `confidence` and `rank`, one row an image; "answers", for each network's answer beside an
                example picture: they have `label` and `prediction` too; "mean_performance", for the primary number's
                mean over corruptions as a share of its clean value, the mPC and rPC of detectors.
        """
        return extra in self.load("EXTRAS")


TASKS = Table(
    "task",
    [
        Task(
            "classification",
            "robustbench_bi.tasks.classification",
            "one label an image; a network scores every class",
        ),
        Task(
            "detection",
            "robustbench_bi.tasks.detection",
            "any number of objects in an image; a network gives boxes, and perhaps masks",
        ),
    ],
)

DEFAULT = "classification"
"""The task of a run that names none: runs of before there were others."""


def task_of(config: Mapping[str, Any]) -> Task:
    """The task of a run, from its configuration.

    Raises:
        UnknownNameError: this version does not know it.
    """
    return TASKS[config.get("task", DEFAULT)]

"""What a report is made from: runs, and the frames of its page and tables, each made when it is first asked for."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import pandas as pd

from robustbench_bi.analysis.captions import run_labels
from robustbench_bi.analysis.chosen_comparison import chosen_comparison
from robustbench_bi.analysis.comparison import Comparison, comparison_frame
from robustbench_bi.analysis.drops import drops_frame
from robustbench_bi.analysis.measured import Measurements, common_task, shared_cells
from robustbench_bi.analysis.reliability import reliability_frame
from robustbench_bi.analysis.result import Result
from robustbench_bi.analysis.summary import cells_frame, summaries_frame
from robustbench_bi.metrics.intervals import Resampling
from robustbench_bi.metrics.rows import METRICS
from robustbench_bi.runs.run import Run
from robustbench_bi.tasks import Task
from robustbench_bi.tasks.chosen import ALL


@dataclass(frozen=True, eq=False)
class Report:
    """One run or several, and their frames.

    Where there are several, the others are compared with the first, and must be of the same images and settings.

    Attributes:
        runs: finished runs, at least one; the baseline is the first.
        resampling: of the intervals.
        metrics: names of further metrics that the summaries have, and of those of two networks; or "all".
        baseline_named: whether the user chose the baseline; else it is said that it is the first run.

    Raises:
        RunMismatchError: on first use of a frame: a run is not finished, or two cannot be compared.
    """

    runs: Sequence[Run]
    resampling: Resampling
    baseline_named: bool = False
    metrics: Sequence[str] | str = ()

    @property
    def baseline_words(self) -> str:
        """How the baseline was chosen."""
        return "as chosen" if self.baseline_named else "the first run"

    @cached_property
    def task(self) -> Task:
        """What all runs were asked."""
        return common_task(self.runs)

    @cached_property
    def models(self) -> list[str]:
        """The labels of the runs."""
        return run_labels(self.runs)

    @cached_property
    def bars(self) -> Comparison | None:
        """`comparison_frame` of the bars of Fig. 3 and the means, over the cells of all runs; None with one run."""
        return self._compared("bars") if self.runs[1:] else None

    @cached_property
    def corruptions(self) -> Comparison:
        """`comparison_frame` of each corruption, over the cells of all runs."""
        return self._compared("corruptions")

    def _compared(self, rows: Literal["bars", "corruptions"]) -> Comparison:
        """Means beside each other are over the same cells, also of runs that share more with the baseline."""
        baseline, *others = self.runs
        return comparison_frame(others, baseline, rows, self.resampling, cells=shared_cells(self.runs))

    @cached_property
    def compared_cells(self) -> Comparison:
        """`comparison_frame` of each cell."""
        return comparison_frame(self.runs[1:], self.runs[0], "cells", self.resampling)

    @cached_property
    def summaries(self) -> Measurements:
        """`summaries_frame` of the runs."""
        names = self.metrics
        if names != ALL and self.runs[1:]:
            names = [name for name in names if METRICS[name].name not in self._paired]
        return summaries_frame(self.runs, self.resampling, names)

    @property
    def _paired(self) -> list[str]:
        """The chosen metrics that are of two networks."""
        wanted = self.metrics if self.metrics == ALL else {METRICS[name].name for name in self.metrics}
        return [measure.name for measure in self.task.paired if wanted == ALL or measure.name in wanted]

    @cached_property
    def paired(self) -> pd.DataFrame:
        """`chosen_comparison` of the metrics of two networks: of each run and the baseline; empty with one run."""
        if not self._paired or not self.runs[1:]:
            return pd.DataFrame()
        return chosen_comparison(self.runs[1:], self.runs[0], self._paired, self.resampling).frame

    @cached_property
    def cells(self) -> Measurements:
        """`cells_frame` of the runs."""
        return cells_frame(self.runs, self.resampling)

    @cached_property
    def reliability(self) -> Result | None:
        """`reliability_frame` of the runs; None where their task has none."""
        return reliability_frame(self.runs, self.resampling) if self.task.has("reliability") else None

    @cached_property
    def drops(self) -> Measurements:
        """`drops_frame` of the runs."""
        return drops_frame(self.runs, self.resampling)

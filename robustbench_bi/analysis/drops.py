"""The cells in which runs lose most of what they reach on clean images."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from robustbench_bi.analysis.captions import run_labels
from robustbench_bi.analysis.groups import cell_groups
from robustbench_bi.analysis.measured import Measurements, common_task, measured
from robustbench_bi.ground.cells import CLEAN, Cell
from robustbench_bi.metrics.intervals import Resampling, image_interval
from robustbench_bi.metrics.statistics import Statistic, changes_from_first, chosen
from robustbench_bi.runs.run import Run
from robustbench_bi.tasks import Measure


def drops_frame(runs: Sequence[Run], resampling: Resampling | None = None, number: int = 5) -> Measurements:
    """The cells in which runs lose most of their clean top-1, or of their task's primary number; paired by image.

    They are picked because they look worst, so the true drops are, on the whole, a little smaller than these.

    Args:
        runs: finished runs of one task; those without clean or without corrupted cells are passed over.
        resampling: of the intervals.
        number: cells picked for each run; shown are all that were picked for one of them.

    Returns:
        A row for each cell and run, the largest mean drop first: model, corruption, severity, n, clean_top1, top1
        (percent), delta, delta_low, delta_high (points).
    """
    resampling = resampling or Resampling()
    task = common_task(runs)
    losses: dict[str, tuple[Statistic, list[Cell]]] = {}
    picked: set[Cell] = set()
    for label, run in zip(run_labels(runs), runs, strict=True):
        found = measured(run)
        cells = [cell for cell in found.grid.cells if cell != CLEAN]
        if not cells or len(cells) == len(found.grid.cells):
            continue
        values = found.statistic(cell_groups([CLEAN, *cells]))
        losses[label] = values, cells
        picked |= {cells[place] for place in np.argsort(values.value()[1:], kind="stable")[:number]}
    if not losses:
        return Measurements(pd.DataFrame(columns=_columns(task.primary)), task)
    frames = [_drops(label, *loss, picked, resampling, task.primary) for label, loss in losses.items()]
    joined = pd.concat(frames, ignore_index=True)
    order = joined.groupby(["corruption", "severity"])["delta"].transform("mean")
    return Measurements(joined.iloc[np.argsort(order, kind="stable")].reset_index(drop=True), task)


def _columns(measure: Measure) -> list[str]:
    name = measure.name
    return ["model", "corruption", "severity", "n", f"clean_{name}", name, "delta", "delta_low", "delta_high"]


def _drops(
    label: str,
    values: Statistic,
    cells: Sequence[Cell],
    picked: set[Cell],
    resampling: Resampling,
    measure: Measure,
) -> pd.DataFrame:
    """The rows of one run, from its numbers on clean images and in each cell."""
    places = [place for place, cell in enumerate(cells) if cell in picked]
    changes = chosen(changes_from_first(values), places)
    clean, delta = values.value()[0], changes.value()
    ends = image_interval(changes, resampling)
    columns = (label, *zip(*(cells[place] for place in places), strict=True), values.n, clean, clean + delta, delta)
    return pd.DataFrame(dict(zip(_columns(measure), (*columns, *ends), strict=True)))

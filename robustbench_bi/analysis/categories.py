"""Detectors class by class: the average precision of each, clean and under corruption."""

from __future__ import annotations

import numpy as np
import pandas as pd

from robustbench_bi.analysis.groups import Group, summary_groups, weighted
from robustbench_bi.errors import InputError
from robustbench_bi.metrics.naming import mpc_name
from robustbench_bi.runs.run import Run


def categories_frame(run: Run) -> pd.DataFrame:
    """AP of each class of a run of a detector: on clean pictures, in each category of corruptions, and in the mean.

    It has no intervals: of many classes a set holds few objects.

    Args:
        run: a finished run whose task is detection.

    Returns:
        A row a class, in the order of their numbers: name, objects (to be found in one cell), and a column each for
        clean, the categories of corruptions, and their mean under the name that it may have (mPC by the protocol),
        percent; NaN where there is no object of the class.

    Raises:
        InputError: the run is of another task.
        RunMismatchError: the run is not finished.
    """
    if not run.task.has("mean_performance"):
        raise InputError(f"{run.directory} is for {run.task.name}; AP by class is only for detectors")
    cells, values = run.cell_names, run.categories()
    of_class = dict(iter(values.groupby("name", sort=False, observed=True)))
    shown = [group for group in summary_groups(cells) if group.kind in ("clean", "category", "mean")]
    titles = [mpc_name(run.config, cells) if group.kind == "mean" else group.name for group in shown]
    rows = []
    for name, own in of_class.items():
        by_cell = dict(zip(cells, own["AP"].to_numpy(), strict=True))
        numbers = {title: _mean(group, by_cell) for title, group in zip(titles, shown, strict=True)}
        rows.append({"name": str(name), "objects": int(own["objects"].iloc[0]), **numbers})
    return pd.DataFrame(rows)


def _mean(group: Group, by_cell: dict[tuple[str, int], float]) -> float:
    # The same objects are in every cell, so a class is undefined in all of them or in none.
    return float(np.float64(weighted(group, by_cell)))

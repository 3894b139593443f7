"""The leaderboard of several evaluations: a row a model, a column a data set, in each place the mean."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from robustbench_bi.analysis.captions import describe_means, describe_outside, interval_methods
from robustbench_bi.analysis.described import header
from robustbench_bi.analysis.groups import Group, corruption_groups
from robustbench_bi.analysis.measured import common_task, measured
from robustbench_bi.analysis.summary import summary_frame
from robustbench_bi.errors import InputError
from robustbench_bi.ground.cells import CLEAN
from robustbench_bi.metrics.intervals import Resampling, image_interval
from robustbench_bi.runs.run import Run
from robustbench_bi.tasks import Task


@dataclass(frozen=True, eq=False)
class Leaderboard:
    """Means of several models on several data sets.

    Attributes:
        frame: a row a model and data set, see `leaderboard_frame`.
        task: what all networks were asked.
        models: labels of the rows, in order.
        data: names of the columns, in order; one that failed has no row in the frame.
        caption: what the numbers are, each network with what tells it apart, and how the intervals were made.
    """

    frame: pd.DataFrame
    task: Task
    models: tuple[str, ...]
    data: tuple[str, ...]
    caption: str = ""


def leaderboard_frame(
    found: Mapping[str, Sequence[Run]],
    models: Sequence[str],
    data: Sequence[str] | None = None,
    resampling: Resampling | None = None,
) -> Leaderboard:
    """The mean of each model on each data set, with its interval.

    It is the row "mean" of the run's summary: over those of ImageNet-C's corruptions that the run has. A run that has
    none of them has its mean over all its corruptions here, and one without any its clean images.

    Args:
        found: finished runs of each data set, one for each model, in their order.
        models: labels of the models.
        data: all data sets, in order, where some have no runs.
        resampling: of the intervals.

    Returns:
        A row a model and data set: model, data, mean (what it is over), n, the task's primary number with _low and
        _high, and run (the folder).

    Raises:
        InputError: there is no run.
        RunMismatchError: a run is not finished, or they are of several tasks.
    """
    everything = [run for runs in found.values() for run in runs]
    if not everything:
        raise InputError("a leaderboard needs at least one finished run, got none")
    task, resampling = common_task(everything), resampling or Resampling()
    rows = [
        {"model": model, "data": name, **_mean(run, resampling), "run": str(run.directory)}
        for name, runs in found.items()
        for model, run in zip(models, runs, strict=True)
    ]
    frame = pd.DataFrame(rows)
    means = ", ".join(dict.fromkeys(str(name) for name in frame["mean"]))
    counts = "; ".join(f"{name}: n = {int(own['n'].iloc[0]):,}" for name, own in frame.groupby("data", sort=False))
    words = task.primary.words[:1].upper() + task.primary.words[1:]
    networks = header(everything, [label for runs in found.values() for label, _ in zip(models, runs, strict=True)])
    failed = [name for name in data or () if name not in found]
    missing = f" There is no result for {', '.join(failed)}." if failed else ""
    outside = "".join(f" {sentence}" for sentence in describe_outside(everything[0].cell_names))
    caption = (
        f"{words} in percent, {means}. {_severities(everything)}{outside} Networks: {networks}. Images: {counts}."
        f"{missing} {_intervals(resampling, task)}"
    )
    return Leaderboard(frame, task, tuple(models), tuple(data or found), caption)


def _severities(runs: Sequence[Run]) -> str:
    """A sentence on the severities that the means are over."""
    found = {tuple(sorted({severity for _, severity in run.cell_names} - {CLEAN[1]})) for run in runs}
    return describe_means(found.pop()) if len(found) == 1 else "Means over the severities of each run."


def _intervals(resampling: Resampling, task: Task) -> str:
    methods = interval_methods(resampling, task)
    single = f"; {methods['single cells']} (single cells)" if "single cells" in methods else ""
    return f"{resampling.confidence * 100:g} % intervals over images: {methods[task.primary.short]}{single}."


def _mean(run: Run, resampling: Resampling) -> dict[str, Any]:
    """What the mean of a run is over, its images, and the mean with its interval."""
    summary = summary_frame(run, resampling)
    frame, name = summary.frame, summary.task.primary.name
    columns = [name, f"{name}_low", f"{name}_high"]
    groups = corruption_groups(run.cell_names)
    for kind in ("mean", *(["corruption"] if len(groups) == 1 else []), *(["clean"] if not groups else [])):
        own = frame[frame["kind"] == kind]
        if len(own):
            values = own[columns].iloc[0].tolist()
            return {"mean": own["name"].iloc[0], "n": int(own["n"].iloc[0]), **dict(zip(columns, values, strict=True))}
    weights = {cell: weight / len(groups) for group in groups for cell, weight in group.weights.items()}
    statistic = measured(run).statistic([Group("mean", "mean", weights)])
    low, high = image_interval(statistic, resampling)
    values = [float(np.asarray(one)[0]) for one in (statistic.value(), low, high)]
    label = f"mean of {len(groups)} corruptions"
    return {"mean": label, "n": int(frame["n"].iloc[0]), **dict(zip(columns, values, strict=True))}

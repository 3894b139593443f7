"""Summaries of one run or several: what `eval` prints, and what figures are drawn from.

Accuracies are in percent, their differences in points.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from robustbench_bi.analysis.captions import (
    describe_data,
    describe_errors,
    describe_halves,
    describe_intervals,
    describe_means,
    describe_outside,
    interval_methods,
    joined_captions,
    run_labels,
    shared_words,
)
from robustbench_bi.analysis.cautions import cautions, empty_top5
from robustbench_bi.analysis.described import header
from robustbench_bi.analysis.further import further_columns
from robustbench_bi.analysis.groups import (
    Group,
    cell_groups,
    error_groups,
    mean_error_groups,
    mean_errors_beside,
    summary_groups,
    weighted,
)
from robustbench_bi.analysis.measured import Measured, Measurements, common_task, measured, shared_cells
from robustbench_bi.data.sources import named_source
from robustbench_bi.ground.cells import CLEAN, Cell
from robustbench_bi.metrics.bounded import wilson_interval
from robustbench_bi.metrics.intervals import Resampling, image_interval
from robustbench_bi.metrics.naming import mce_name, mpc_name
from robustbench_bi.metrics.robustness import corruption_error_weights
from robustbench_bi.metrics.statistics import ImageMeans, SharesOfFirst, Statistic, changes_from_first, joined
from robustbench_bi.runs.run import Run
from robustbench_bi.tasks import Measure
from robustbench_bi.tasks.chosen import chosen_measures


def summary_frame(
    run: Run,
    resampling: Resampling | None = None,
    metrics: Sequence[str] | str = (),
    cells: Sequence[Cell] | None = None,
) -> Measurements:
    """The summary of a run with intervals.

    A mean weighs severities equally within a corruption, and corruptions equally within a category. Intervals have the
    image as their unit; `interval_methods` names them, and `docs/statistics.md` defines each.

    Args:
        run: a finished run.
        resampling: of the intervals.
        metrics: names of further metrics, or "all": those of the task that are shown where they are chosen.
        cells: those of the run that count; all by default.

    Returns:
        One row each for clean, the mean over ImageNet-C's corruptions, every category and corruption, mCE and relative
        mCE, as far as there are cells and the protocol allows a name; and for the plain mean error of ImageNet-C-bar
        and of CIFAR-10-C-bar, where all of their corruptions are:

        - kind: "clean", "mean", "category", "corruption", "mce", "relative_mce" or "mean_error"; name: the row's label
        - n: images; cells: cells in the mean
        - a column for each measure of the run's task. Of classification, for each metric of images: top1, top5,
          expected_calibration_error (percent), negative_log_likelihood (nats)
        - delta: the task's primary number (top-1) minus its clean value, paired by image; absent (NaN) where the run
          has no clean cell
        - relative, of detection: the primary number as a share of its clean value, in percent; rPC in the row of mPC
        - corruption_error: CE of a corruption, or the row's mCE or mean error, in percent; NaN where there is none
        - a column for each further metric. right_under_all has rows of its own, kind "severity"; what is undefined is
          NaN, as the confidence of wrong answers is where a cell has none
        - mean_error, where there is an mCE: in its row, the plain mean of the errors that it normalises, in percent
        - each of these with _low and _high, the ends of its interval; those of a calibration error are lowered by what
          the number overstates the truth, since it is biased upwards

        Its notes warn of a network that is no better than chance, and say which further metrics the run cannot give.

    Raises:
        UnknownNameError, InputError: a metric cannot be chosen.
        DataError: the records do not hold every image once in every cell, or hold values that are not finite.
    """
    resampling = resampling or Resampling()
    found = measured(run, cells)
    further = [own for own in chosen_measures(found.task, metrics) if own not in found.task.measures]
    groups = summary_groups(found.grid.cells)
    if found.task.has("mean_performance"):
        groups = [_named_for_detection(group, run.config, found) for group in groups]
    columns: dict[str, tuple[list[Group], Statistic]] = {
        measure.name: (groups, found.statistic(groups, measure)) for measure in found.task.measures
    }
    if groups[0].kind == "clean":
        columns["delta"] = groups[1:], changes_from_first(columns[found.task.primary.name][1])
        if found.task.has("mean_performance"):
            columns["relative"] = groups[1:], SharesOfFirst(columns[found.task.primary.name][1])
    errors = _error_groups(run.config, found)
    if found.task.has("corruption_error"):
        columns["corruption_error"] = errors, found.errors(errors)
    if beside := mean_errors_beside(errors, found.grid.cells):
        columns["mean_error"] = beside, found.errors(beside)

    more, cannot = further_columns(further, groups, found, run.name)
    columns |= more

    frame = _estimates(columns, resampling)
    sizes = {(group.kind, group.name): group.size for own, _ in columns.values() for group in own}
    frame.insert(2, "n", found.n)
    frame.insert(3, "cells", [sizes[kind, name] for kind, name in zip(frame["kind"], frame["name"], strict=True)])
    shown = [*found.task.measures, *(measure for measure in further if measure.name in more)]
    _lower_by_chance(frame, found, groups, shown)
    kinds = {group.kind for group in errors}
    told = (
        describe_data(run.config, found.n),
        describe_means(sorted({severity for _, severity in found.grid.cells} - {CLEAN[1]})),
        *describe_outside(found.grid.cells),
    )
    methods = describe_intervals(resampling, found.task, kinds, shown, found.n)
    of_primary = describe_intervals(resampling, found.task, (), [found.task.primary], found.n, changes=False)
    return Measurements(
        frame,
        found.task,
        " ".join((*told, methods, *describe_errors(errors, found.grid.cells))),
        (*found.task.remarks(found.records), *cautions([run], resampling.confidence), *empty_top5([run]), *cannot),
        header([run], [run.name]),
        interval_methods(resampling, found.task, kinds, shown, found.n),
        tuple(measure for measure in shown if measure not in found.task.measures),
        " ".join((*told, of_primary)),
    )


def _named_for_detection(group: Group, config: Mapping[str, Any], found: Measured) -> Group:
    """The mean over corruptions under the name that it may have: mPC only by the protocol."""
    return replace(group, name=mpc_name(config, found.grid.cells)) if group.kind == "mean" else group


def _lower_by_chance(
    frame: pd.DataFrame, found: Measured, groups: Sequence[Group], measures: Sequence[Measure]
) -> None:
    """Lower the ends of what is biased by as much as the bias may be, and keep the number within them; in percent."""
    # In a cell each image has one record, so its id says nothing more than its place.
    numbers = found.records.drop(columns=["corruption", "severity", "image_id"])
    for measure in (measure for measure in measures if measure.chance):
        chance, name = measure.load_chance(), measure.name
        of_cells = (found.grid.records_of(numbers, place) for place in range(len(found.grid.cells)))
        biases = {cell: chance(own) for cell, own in zip(found.grid.cells, of_cells, strict=True)}
        for place, end in enumerate(("low", "high")):
            bias = {(group.kind, group.name): weighted(group, _parts(biases, place)) for group in groups}
            lowered = [bias.get(key, np.nan) for key in zip(frame["kind"], frame["name"], strict=True)]
            frame[f"{name}_{end}"] -= lowered
        frame[f"{name}_low"] = frame[f"{name}_low"].clip(lower=0)
        frame[f"{name}_high"] = frame[f"{name}_high"].clip(lower=frame[name], upper=100)


def _parts(pairs: Mapping[Cell, tuple[float, float]], place: int) -> dict[Cell, float]:
    return {cell: pair[place] for cell, pair in pairs.items()}


def _error_groups(config: Mapping[str, Any], found: Measured) -> list[Group]:
    """CE of each corruption, mCE and relative mCE where AlexNet's errors apply; and plain mean errors."""
    cells = found.grid.cells
    if not found.task.has("corruption_error"):
        return []
    source, _ = named_source(str(config["data"]))
    settings = {**config, "n": found.n}
    name = mce_name(settings, cells, applies=source.mce_applies, part_of_imagenet=source.part_of_imagenet)
    plain = mean_error_groups(cells)
    if name is None:
        return plain
    weights = corruption_error_weights(cells)
    return [
        *(Group("corruption", corruption, own) for corruption, own in weights.items()),
        *error_groups(cells, name),
        *plain,
    ]


def _estimates(columns: Mapping[str, tuple[list[Group], Statistic]], resampling: Resampling) -> pd.DataFrame:
    """A frame of kind, name, and of each column with its interval; what is resampled is resampled together."""
    means = {column: own for column, (_, own) in columns.items() if isinstance(own, ImageMeans)}
    others = [own for column, (_, own) in columns.items() if column not in means]
    of_others = image_interval(joined(others), resampling) if others else (np.empty(0), np.empty(0))
    frames = []
    start = 0
    for column, (groups, statistic) in columns.items():
        if column in means:
            low, high = image_interval(means[column], resampling)
        else:
            low, high = (ends[start : start + len(groups)] for ends in of_others)
            start += len(groups)
        values = {column: statistic.value(), f"{column}_low": low, f"{column}_high": high}
        index = pd.MultiIndex.from_tuples([(group.kind, group.name) for group in groups], names=["kind", "name"])
        frames.append(pd.DataFrame(values, index=index))
    return pd.concat(frames, axis=1, sort=False).reset_index()


def cells_frame(runs: Sequence[Run], resampling: Resampling | None = None) -> Measurements:
    """Every cell of every run with the interval of the task's primary number: Wilson's for top-1.

    Args:
        runs: finished runs of one task.
        resampling: of proportions, only its confidence is used.

    Returns:
        A frame with model, the columns of `Run.cells()`, and _low and _high of the primary number. Of classification:
        model, corruption, severity, n, top1, top5, loss, top1_low and top1_high.

    Raises:
        RunMismatchError: a run is not finished, or they are of several tasks.
    """
    resampling = resampling or Resampling()
    task = common_task(runs)
    name = task.primary.name
    frames = []
    data: dict[str, list[str]] = {}
    for label, run in zip(run_labels(runs), runs, strict=True):
        frame = run.cells()
        n = int(frame["n"].iloc[0])
        frame.insert(0, "model", label)
        if task.primary.proportion:
            ends = wilson_interval(frame[name].to_numpy(), n, resampling.confidence)
        else:
            cells = [(str(c), int(s)) for c, s in zip(frame["corruption"], frame["severity"], strict=True)]
            ends = image_interval(measured(run).statistic(cell_groups(cells)), resampling)
        frame[f"{name}_low"], frame[f"{name}_high"] = ends
        frames.append(frame)
        data.setdefault(describe_data(run.config, n), []).append(label)
    of_cells = f"{resampling.confidence * 100:g} % intervals: Wilson."
    intervals = of_cells if task.primary.proportion else f"{describe_halves(resampling)}."
    return Measurements(
        pd.concat(frames, ignore_index=True),
        task,
        f"{joined_captions(data)} {intervals}",
        cautions(runs, resampling.confidence),
        header(runs, run_labels(runs)),
    )


def summaries_frame(
    runs: Sequence[Run], resampling: Resampling | None = None, metrics: Sequence[str] | str = ()
) -> Measurements:
    """The summaries of several runs, one below the other, over the cells that all of them have.

    So no mean stands beside one over other cells. The caption says where a run has more.

    Args:
        runs: finished runs of one task, at least one.
        resampling: of the intervals.
        metrics: as for `summary_frame`.

    Returns:
        `summary_frame` of each, with the column model in front. Its caption names the runs where they differ in data.

    Raises:
        RunMismatchError: a run is not finished, or they are of several tasks, or share no cell.
    """
    task, shared = common_task(runs), shared_cells(runs)
    frames: list[pd.DataFrame] = []
    captions: dict[str, list[str]] = {}
    of_primary: dict[str, list[str]] = {}
    cannot: list[str] = []
    further: tuple[Measure, ...] = ()
    for label, run in zip(run_labels(runs), runs, strict=True):
        summary = summary_frame(run, resampling, metrics, shared)
        further = max(further, summary.further, key=len)
        cannot += [note for note in summary.notes if note.startswith(f"{run.name} has no ")]
        frames.append(summary.frame)
        summary.frame.insert(0, "model", label)
        captions.setdefault(summary.caption, []).append(label)
        of_primary.setdefault(summary.primary_caption, []).append(label)
    resampling = resampling or Resampling()
    return Measurements(
        pd.concat(frames, ignore_index=True),
        task,
        joined_captions(captions) + shared_words(runs, shared),
        (*cautions(runs, resampling.confidence), *empty_top5(runs), *cannot),
        header(runs, run_labels(runs)),
        interval_methods(resampling, task, {kind for own in frames for kind in own["kind"]}),
        further,
        joined_captions(of_primary) + shared_words(runs, shared),
    )

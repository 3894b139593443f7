"""The numbers that were chosen, of runs against a baseline: their differences, and numbers that are of two runs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from robustbench_bi.analysis.captions import run_labels
from robustbench_bi.analysis.further import missing_words
from robustbench_bi.analysis.groups import Group, bar_groups, corruption_groups, severity_groups, weight_matrix
from robustbench_bi.analysis.measured import Measured, measured
from robustbench_bi.analysis.result import Result
from robustbench_bi.ground.cells import CLEAN
from robustbench_bi.metrics.intervals import Resampling, image_interval
from robustbench_bi.metrics.paired import check_paired, paired_t_test
from robustbench_bi.metrics.pairing import agreeing
from robustbench_bi.metrics.statistics import ImageMeans
from robustbench_bi.runs.run import Run
from robustbench_bi.tasks import Measure
from robustbench_bi.tasks.chosen import chosen_measures


def chosen_comparison(
    runs: Sequence[Run], baseline: Run, metrics: Sequence[str] | str, resampling: Resampling | None = None
) -> Result:
    """Chosen numbers of runs beside a baseline's, on clean images, on the mean over corruptions, and by severity.

    Args:
        runs: finished runs that can be compared with the baseline, see `comparison_frame`.
        baseline: the run to compare with.
        metrics: names, or "all" for all that are shown where they are chosen; of two runs, too.
        resampling: of the intervals.

    Returns:
        A row for each run, metric and group of cells: model, baseline, metric, kind, name, n, cells, baseline_value,
        value, delta, delta_low, delta_high, p_value (a paired t-test over images). A metric of two runs has value,
        value_low and value_high alone. Its caption says how intervals and p are made, its notes which numbers a run
        cannot give.

    Raises:
        UnknownNameError, InputError: a metric cannot be chosen.
        RunMismatchError: the runs differ in images or labels.
    """
    resampling = resampling or Resampling()
    *labels, baseline_label = run_labels([*runs, baseline])
    of_baseline = measured(baseline)
    chosen = chosen_measures(of_baseline.task, metrics, paired=True)
    frames, notes = [pd.DataFrame()], []
    for label, run in zip(labels, runs, strict=True):
        found = measured(run)
        check_paired(found.grid, of_baseline.grid, label, baseline_label)
        for measure in chosen:
            lacking = [
                missing_words(measure, one, name) for one, name in ((found, label), (of_baseline, baseline_label))
            ]
            if any(lacking):
                notes += [words for words in lacking if words]
                continue
            frame = _rows(measure, found, of_baseline, resampling)
            frame.insert(0, "model", label)
            frame.insert(1, "baseline", baseline_label)
            frames.append(frame)
    return Result(pd.concat(frames, ignore_index=True), _caption(chosen, resampling), tuple(dict.fromkeys(notes)))


def _caption(chosen: Sequence[Measure], resampling: Resampling) -> str:
    words = (
        f"{resampling.confidence * 100:g} % intervals and p are paired by image and hold for each row by itself; p is "
        "not corrected for the number of rows."
    )
    biased = [measure.short for measure in chosen if measure.chance]
    if not biased:
        return words
    verb = "overstates" if len(biased) == 1 else "overstate"
    return f"{words} With few images, {', '.join(biased)} {verb} the error; Δ is not corrected for this."


def _groups(measure: Measure, found: Measured, other: Measured) -> list[Group]:
    """The groups of cells that two runs share and that the measure has: clean, and the mean or each corruption."""
    shared = [cell for cell in other.grid.cells if cell in found.grid.cells]
    if measure.rows == "severities":
        return severity_groups(shared)
    means = [group for group in bar_groups(shared) if group.kind in ("clean", "mean")]
    groups = means if any(group.kind == "mean" for group in means) else [*means, *corruption_groups(shared)]
    return [group for group in groups if measure.rows == "all" or CLEAN not in group.weights]


def _rows(measure: Measure, found: Measured, other: Measured, resampling: Resampling) -> pd.DataFrame:
    groups = _groups(measure, found, other)
    columns = {
        "metric": measure.name,
        "kind": [group.kind for group in groups],
        "name": [group.name for group in groups],
        "n": found.n,
        "cells": [group.size for group in groups],
    }
    if measure in found.task.paired:
        weights = weight_matrix(groups, found.grid.cells)
        pair = (found.records, found.grid), (other.records, other.grid)
        statistic = found.task.load("paired_statistic")(measure.name, *pair, weights)
        low, high = image_interval(statistic, resampling)
        return pd.DataFrame({**columns, "value": statistic.value(), "value_low": low, "value_high": high})
    own, others = found.statistic(groups, measure), other.statistic(groups, measure)
    difference = own.minus(others)
    value, p_values = difference.value(), np.full(len(groups), np.nan)
    low, high = image_interval(difference, resampling)
    if isinstance(difference, ImageMeans):
        p_values = paired_t_test(difference.scores)
        low, high = agreeing((low, high), value, p_values, resampling.confidence)
    numbers = {"baseline_value": others.value(), "value": own.value(), "delta": value}
    return pd.DataFrame({**columns, **numbers, "delta_low": low, "delta_high": high, "p_value": p_values})

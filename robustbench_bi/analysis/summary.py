"""Frames of one run or several: what `eval` prints, and what figures are drawn from.

Accuracies are in percent, their differences in points. `frame.attrs["caption"]` says what the numbers are of and how
the intervals were made; figures and Markdown files print it below.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from robustbench_bi.analysis.captions import (
    _joined_captions,
    describe_data,
    describe_intervals,
    describe_means,
    run_labels,
)
from robustbench_bi.analysis.groups import (
    Group,
    error_groups,
    mean_error_groups,
    summary_groups,
    weight_matrix,
    weighted,
)
from robustbench_bi.metrics import METRICS, load_scores
from robustbench_bi.metrics.calibration import calibrated_level
from robustbench_bi.metrics.intervals import (
    Floats,
    Grid,
    Resampling,
    arrange,
    bootstrap_interval,
    image_scores,
    wilson_interval,
)
from robustbench_bi.metrics.naming import mce_name
from robustbench_bi.metrics.robustness import corruption_error_weights
from robustbench_bi.runs.records import Run

PROPORTIONS = ("top1", "top5")


def summary_frame(run: Run, resampling: Resampling | None = None) -> pd.DataFrame:
    """The summary of a run with intervals.

    A mean weighs severities equally within a corruption, and corruptions equally within a category. Intervals are
    percentile bootstraps over images; the accuracy of a single cell has Wilson's interval instead.

    Args:
        run: a finished run.
        resampling: of the intervals.

    Returns:
        One row each for clean, the mean over ImageNet-C's corruptions, every category and corruption, mCE and relative
        mCE, as far as there are cells and the protocol allows a name; and for the plain mean error of ImageNet-C-bar
        and of CIFAR-10-C-bar, where all of their corruptions are:

        - kind: "clean", "mean", "category", "corruption", "mce", "relative_mce" or "mean_error"; name: the row's label
        - n: images; cells: cells in the mean
        - top1, top5, expected_calibration_error (percent), negative_log_likelihood (nats): a column for each metric of
          images
        - delta: top-1 minus clean top-1, paired by image; absent (NaN) where the run has no clean cell
        - corruption_error: CE of a corruption, or the row's mCE or mean error, in percent; NaN where there is none
        - each of these with _low and _high, the ends of its interval; the lower end of a calibration error is lowered
          by the error that a calibrated network would show, since the estimate is biased upwards by up to that

    Raises:
        DataError: the records do not hold every image once in every cell, or hold values that are not finite.
    """
    resampling = resampling or Resampling()
    records = run.records()
    grid = arrange(records)
    n = len(grid.image_ids)
    groups = summary_groups(grid.cells)
    weights = weight_matrix(groups, grid.cells)
    columns = {
        metric.name: (groups, image_scores(records, grid, load_scores(metric.name), weights))
        for metric in METRICS
        if metric.of == "images"
    }
    top1 = columns["top1"][1]
    if groups[0].kind == "clean":
        columns["delta"] = groups[1:], top1[:, 1:] - top1[:, :1]
    errors = _error_groups(run.config, n, grid.cells)
    errors_of_images = image_scores(records, grid, _error_scores, weight_matrix(errors, grid.cells))
    columns["corruption_error"] = errors, errors_of_images

    frame = _estimates(columns, n, resampling)
    sizes = {(group.kind, group.name): group.size for group in [*groups, *errors]}
    frame.insert(2, "n", n)
    frame.insert(3, "cells", [sizes[kind, name] for kind, name in zip(frame["kind"], frame["name"], strict=True)])
    for metric_name in PROPORTIONS:
        # Where every image scores alike a bootstrap has no width, which would claim too much.
        alike = (frame[f"{metric_name}_low"] == frame[f"{metric_name}_high"]) & frame[metric_name].isin([0.0, 100.0])
        single = ((frame["cells"] == 1) | alike) & frame[metric_name].notna()
        low, high = wilson_interval(frame.loc[single, metric_name].to_numpy(), n, resampling.confidence)
        frame.loc[single, f"{metric_name}_low"], frame.loc[single, f"{metric_name}_high"] = low, high
    _lower_calibration_ends(frame, records, grid, groups)
    sentences = (describe_data(run.config, n), describe_means(run.config["severities"]), describe_intervals(resampling))
    frame.attrs["caption"] = " ".join(sentences)
    return frame


def _lower_calibration_ends(frame: pd.DataFrame, records: pd.DataFrame, grid: Grid, groups: Sequence[Group]) -> None:
    """Lower the lower ends of calibration errors by the part that may be bias: what a calibrated network would show."""
    confidence = records[["confidence"]]
    levels = {cell: calibrated_level(confidence.take(grid.rows[:, place])) for place, cell in enumerate(grid.cells)}
    bias = {(group.kind, group.name): weighted(group, levels) for group in groups}
    lowered = [bias.get(key, np.nan) for key in zip(frame["kind"], frame["name"], strict=True)]
    column = "expected_calibration_error_low"
    frame[column] = (frame[column] - lowered).clip(lower=0)


def _error_scores(records: pd.DataFrame) -> Floats:
    return 100.0 - load_scores("top1")(records)


def _error_groups(config: Mapping[str, Any], n: int, cells: Sequence[tuple[str, int]]) -> list[Group]:
    """CE of each corruption, mCE and relative mCE where AlexNet's errors apply; and plain mean errors."""
    name = mce_name({**config, "n": n}, cells)
    plain = mean_error_groups(cells)
    if name is None:
        return plain
    weights = corruption_error_weights(cells)
    return [
        *(Group("corruption", corruption, own) for corruption, own in weights.items()),
        *error_groups(cells, name),
        *plain,
    ]


def _estimates(columns: Mapping[str, tuple[list[Group], Floats]], n: int, resampling: Resampling) -> pd.DataFrame:
    """A frame of kind, name, and of each column with its interval; all are resampled together."""
    low, high = bootstrap_interval(np.hstack([scores for _, scores in columns.values()]), resampling)
    frames = []
    start = 0
    for column, (groups, scores) in columns.items():
        end = start + len(groups)
        values = {column: scores.mean(axis=0), f"{column}_low": low[start:end], f"{column}_high": high[start:end]}
        index = pd.MultiIndex.from_tuples([(group.kind, group.name) for group in groups], names=["kind", "name"])
        frames.append(pd.DataFrame(values, index=index))
        start = end
    return pd.concat(frames, axis=1, sort=False).reset_index()


def cells_frame(runs: Sequence[Run], resampling: Resampling | None = None) -> pd.DataFrame:
    """Every cell of every run with Wilson's interval.

    Args:
        runs: finished runs.
        resampling: only its confidence is used.

    Returns:
        A frame with model, corruption, severity, n, top1, top5, loss, top1_low and top1_high.
    """
    confidence = (resampling or Resampling()).confidence
    frames = []
    data: dict[str, list[str]] = {}
    for label, run in zip(run_labels(runs), runs, strict=True):
        frame = run.cells()
        n = int(frame["n"].iloc[0])
        frame.insert(0, "model", label)
        frame["top1_low"], frame["top1_high"] = wilson_interval(frame["top1"].to_numpy(), n, confidence)
        frames.append(frame)
        data.setdefault(describe_data(run.config, n), []).append(label)
    joined = pd.concat(frames, ignore_index=True)
    sentences = [text if len(data) == 1 else f"{', '.join(models)}: {text}" for text, models in data.items()]
    joined.attrs["caption"] = f"{' '.join(sentences)} {confidence * 100:g} % intervals: Wilson."
    return joined


def summaries_frame(runs: Sequence[Run], resampling: Resampling | None = None) -> pd.DataFrame:
    """The summaries of several runs, one below the other.

    Args:
        runs: finished runs, at least one.
        resampling: of the intervals.

    Returns:
        `summary_frame` of each, with the column model in front. Its caption names the runs where they differ in data.
    """
    frames = []
    captions: dict[str, list[str]] = {}
    for label, run in zip(run_labels(runs), runs, strict=True):
        frame = summary_frame(run, resampling)
        frame.insert(0, "model", label)
        frames.append(frame)
        captions.setdefault(frame.attrs["caption"], []).append(label)
    joined = pd.concat(frames, ignore_index=True)
    joined.attrs["caption"] = _joined_captions(captions)
    return joined

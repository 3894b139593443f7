"""Runs against a baseline run, paired by image."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import pandas as pd

from robustbench_bi.analysis.captions import describe_data, describe_means, run_labels
from robustbench_bi.analysis.groups import Group, bar_groups, cell_groups, corruption_groups, weight_matrix
from robustbench_bi.errors import InputError, RunMismatchError
from robustbench_bi.ground.cells import CLEAN, Cell, cell_label
from robustbench_bi.metrics import load_scores
from robustbench_bi.metrics.intervals import Floats, Grid, Resampling, arrange, bootstrap_interval, image_scores
from robustbench_bi.metrics.paired import check_paired, holm, mcnemar, paired_t_test
from robustbench_bi.runs.run import Run

ROWS: dict[str, Callable[[Iterable[Cell]], list[Group]]] = {
    "bars": bar_groups,
    "corruptions": corruption_groups,
    "cells": cell_groups,
}
# Where these differ, the same image id is not the same picture.
MUST_AGREE = {
    "listing_hash": "the list of images",
    "num_classes": "the number of classes",
    "table": "the table of constants",
    "jpeg": "the JPEG quality",
    "generator": "the generator of the corruptions",
    "pixel_version": "the version of the corruptions",
    "seed": "the seed",
}
# Of these, a user may ask to compare across: other pictures, but of the same images.
ACROSS = ("table", "jpeg", "generator", "seed")
# Published files do not depend on these.
_OF_MADE_PICTURES = ("table", "seed", "pixel_version")
# Where these differ, the models may be compared, and the report says so.
MAY_DIFFER = ("input_size", "resize_size", "interpolation", "precision")


def comparison_frame(
    runs: Sequence[Run],
    baseline: Run,
    rows: Literal["bars", "corruptions", "cells"] = "bars",
    resampling: Resampling | None = None,
    across: Sequence[str] = (),
) -> pd.DataFrame:
    """Δ top-1 of runs over a baseline, with paired intervals and tests.

    Intervals are percentile bootstraps of the difference, over images. The p-value of a single cell is McNemar's
    (mid-p). That of a mean over cells is from a paired t-test with the image as the unit, because McNemar's test would
    count an image several times.

    Args:
        runs: finished runs, at least one.
        baseline: the run to compare with.
        rows: "bars" for clean, the bars of Fig. 3 of the Bi-volution paper and the means; or each corruption; or each
            cell.
        resampling: of the intervals.
        across: settings that make other pictures of the same images, and may differ all the same: "generator", "seed",
            "table" or "jpeg". The pairing by image holds; the corruptions are other ones.

    Returns:
        A row for each run and group of cells that the run shares with the baseline: model, baseline, kind, name, n,
        cells, baseline_top1, top1 (percent), delta, delta_low, delta_high (points), p_value, test ("McNemar" or
        "paired t"), p_holm (corrected over all rows of the frame). Its `attrs` hold "caption" and "tests", sentences on
        what the numbers are, and "notes", a list of what was not compared and which settings differ.

    Raises:
        InputError: no runs, or an unknown kind of rows.
        RunMismatchError: the runs differ in images, labels or settings, or share no cell.
    """
    if not runs:
        raise InputError("a comparison needs at least one run beside the baseline, got none")
    if rows not in ROWS:
        raise InputError(f"rows must be one of {', '.join(ROWS)}, got {rows!r}")
    resampling = resampling or Resampling()
    *labels, baseline_label = run_labels([*runs, baseline])
    baseline_records = baseline.records()
    baseline_grid = arrange(baseline_records)
    frames, notes = [], []
    severities: set[tuple[int, ...]] = set()
    for label, run in zip(labels, runs, strict=True):
        notes += check_settings(run.config, baseline.config, label, baseline_label, across)
        records = run.records()
        grid = arrange(records)
        check_paired(grid, baseline_grid, label, baseline_label)
        shared = [cell for cell in baseline_grid.cells if cell in grid.cells]
        if not set(shared) - {CLEAN}:
            raise RunMismatchError(
                f"{label} and {baseline_label} share no corrupted cell; evaluate them on the same corruptions"
            )
        notes += _unshared(grid, baseline_grid, label, baseline_label)
        severities.add(tuple(sorted({severity for _, severity in shared} - {CLEAN[1]})))
        groups = ROWS[rows](shared)
        own = _top1_of_images(records, grid, groups)
        other = _top1_of_images(baseline_records, baseline_grid, groups)
        frame = _compare(own, other, groups, resampling)
        frame.insert(0, "model", label)
        frame.insert(1, "baseline", baseline_label)
        frames.append(frame)
    joined = pd.concat(frames, ignore_index=True)
    joined["p_holm"] = holm(joined["p_value"])
    joined.attrs["caption"] = _describe_comparison(joined, baseline.config, severities, resampling)
    joined.attrs["tests"] = _describe_tests(joined["p_value"])
    joined.attrs["notes"] = notes
    return joined


def check_settings(
    config: Mapping[str, Any],
    baseline: Mapping[str, Any],
    name: str,
    baseline_name: str,
    across: Sequence[str] = (),
) -> list[str]:
    """Check that two configurations make the same pictures, but for the settings that are compared across.

    Returns:
        Notes on settings that may differ and do.

    Raises:
        InputError: `across` names a setting that is not one of `ACROSS`.
        RunMismatchError: a setting differs that makes other pictures; the message names it and both values.
    """
    unknown = [field for field in across if field not in ACROSS]
    if unknown:
        raise InputError(f"a comparison can be across {', '.join(ACROSS)}, got {unknown[0]!r}")
    free = {*across, *(_OF_MADE_PICTURES if config.get("generator") == "files" else ())}
    for field, words in MUST_AGREE.items():
        if config.get(field) != baseline.get(field) and field not in free:
            values = f"{_shown(config.get(field))} against {_shown(baseline.get(field))}"
            raise RunMismatchError(
                f"{name} and {baseline_name} cannot be compared: {words} ({field}) is {values}; "
                "evaluate both in the same way"
            )
    return [
        f"{field} of {name} is {config.get(field)}, of {baseline_name} {baseline.get(field)}"
        for field in (*MAY_DIFFER, *across)
        if config.get(field) != baseline.get(field)
    ]


def _shown(value: Any) -> str:
    text = str(value)
    return f"{text[:12]}…" if len(text) == 64 else text


def _unshared(grid: Grid, baseline: Grid, name: str, baseline_name: str) -> list[str]:
    """Notes on cells that only one of two runs has."""
    notes = []
    for holder, cells, others in ((name, grid.cells, baseline.cells), (baseline_name, baseline.cells, grid.cells)):
        only = [cell for cell in cells if cell not in others]
        if only:
            shown = ", ".join(cell_label(cell) for cell in only[:3]) + (", …" if len(only) > 3 else "")
            notes.append(f"{len(only)} cells are only in {holder} and are not compared: {shown}")
    return notes


def _top1_of_images(records: pd.DataFrame, grid: Grid, groups: Sequence[Group]) -> Floats:
    return image_scores(records, grid, load_scores("top1"), weight_matrix(groups, grid.cells))


def _compare(own: Floats, other: Floats, groups: Sequence[Group], resampling: Resampling) -> pd.DataFrame:
    """One row a group, from per-image top-1 scores (n, S) of a run and of the baseline."""
    differences = own - other
    low, high = bootstrap_interval(differences, resampling)
    single = np.array([group.size == 1 for group in groups])
    exact = mcnemar((differences < 0).sum(axis=0), (differences > 0).sum(axis=0))
    return pd.DataFrame(
        {
            "kind": [group.kind for group in groups],
            "name": [group.name for group in groups],
            "n": len(own),
            "cells": [group.size for group in groups],
            "baseline_top1": other.mean(axis=0),
            "top1": own.mean(axis=0),
            "delta": differences.mean(axis=0),
            "delta_low": low,
            "delta_high": high,
            "p_value": np.where(single, exact, paired_t_test(differences)),
            "test": np.where(single, "McNemar", "paired t"),
        }
    )


def _describe_tests(p_values: pd.Series) -> str:
    number = int(p_values.notna().sum())
    return (
        "p: McNemar's test (mid-p) for a single cell, paired t-test over images for a mean; "
        f"p (Holm) is corrected for the {number} tests of this table."
    )


def _describe_comparison(
    frame: pd.DataFrame, config: Mapping[str, Any], severities: set[tuple[int, ...]], resampling: Resampling
) -> str:
    means = "Means over the severities that each run shares with the baseline."
    if len(severities) == 1:
        means = describe_means(next(iter(severities)))
    return (
        f"Δ top-1 in points over {frame['baseline'].iloc[0]}, paired by image. "
        f"{describe_data(config, int(frame['n'].iloc[0]))} {means} {resampling.confidence * 100:g} % intervals: "
        f"percentile bootstrap over images ({resampling.repeats:,} resamples)."
    )

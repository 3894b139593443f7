"""Runs against a baseline run, paired by image."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from robustbench_bi.analysis.captions import describe_data, describe_halves, describe_means, run_labels
from robustbench_bi.analysis.cautions import cautions
from robustbench_bi.analysis.comparable import MUST_AGREE, WHERE_KNOWN, apart, check_across
from robustbench_bi.analysis.described import header
from robustbench_bi.analysis.groups import Group, bar_groups, cell_groups, corruption_groups, first_alike
from robustbench_bi.analysis.measured import measured
from robustbench_bi.errors import InputError, RunMismatchError
from robustbench_bi.ground.cells import CLEAN, Cell, cell_label
from robustbench_bi.ground.declared import declaration_of
from robustbench_bi.metrics.intervals import Grid, Resampling, image_interval
from robustbench_bi.metrics.paired import check_paired, holm
from robustbench_bi.metrics.pairing import PAIRINGS, Pairing, agreeing
from robustbench_bi.metrics.statistics import Statistic
from robustbench_bi.runs.identity import declared, fields_compared, value_of
from robustbench_bi.runs.run import Run
from robustbench_bi.tasks import Measure, Task

BESIDE_THE_GATE = "The gate's intervals are simultaneous, so they are wider."
"""Said where numbers of both are read, not in figures and papers."""

ROWS: dict[str, Callable[[Iterable[Cell]], list[Group]]] = {
    "bars": bar_groups,
    "corruptions": corruption_groups,
    "cells": cell_groups,
}


@dataclass(frozen=True, eq=False)
class Comparison:
    """What a comparison found, and the sentences that belong to it.

    Attributes:
        frame: a row for each run and group of cells; see `comparison_frame`.
        task: what the runs were asked.
        caption: what the numbers are, and how their intervals were made.
        tests: which tests the p-values are of, and for how many they are corrected.
        notes: what was not compared and which settings differ, a sentence each.
        header: what was evaluated, to stand above the numbers; the baseline first.
        measure: what is compared; None for the task's primary one.
    """

    frame: pd.DataFrame
    task: Task
    caption: str = ""
    tests: str = ""
    notes: tuple[str, ...] = ()
    header: str = ""
    measure: Measure | None = None

    @property
    def number(self) -> Measure:
        """What is compared."""
        return self.measure or self.task.primary


def comparison_frame(
    runs: Sequence[Run],
    baseline: Run,
    rows: Literal["bars", "corruptions", "cells"] = "bars",
    resampling: Resampling | None = None,
    across: Sequence[str] = (),
    cells: Sequence[Cell] | None = None,
    measure: Measure | None = None,
) -> Comparison:
    """Δ top-1 of runs against a baseline, or Δ of their task's primary number, with paired intervals and tests.

    The p-value of a single cell is McNemar's (mid-p). That of a mean over cells is from a paired t-test with the image
    as the unit, because McNemar's test would count an image several times. A task whose number is no mean of per-image
    scores has a test of its own; see `metrics.pairing`. Each interval is by itself at the confidence asked for, and
    excludes zero exactly where the p beside it is below 1 − confidence; p_holm is corrected for all tests of the frame,
    and they are not. Rows over the same cells are one test, which counts once. Two runs that give the same answer to
    every image in every cell differ by exactly 0, and so do the ends of the interval.

    Args:
        runs: finished runs, at least one.
        baseline: the run to compare with.
        rows: "bars" for clean, the bars of Fig. 3 of the Bi-volution paper and the means; or each corruption; or each
            cell.
        resampling: of the intervals.
        across: settings that make other pictures of the same images, and may differ all the same: "generator", "seed",
            "table" or "jpeg". The pairing by image holds; the corruptions are other ones. And "adapt", which makes
            other answers.
        cells: those that count, of the ones that a run shares with the baseline; all by default.
        measure: what is compared, of a task whose runs are paired by bootstrap; its primary number by default.

    Returns:
        A row for each run and group of cells that the run shares with the baseline: model, baseline, kind, name, n,
        cells, baseline_top1, top1 (percent), delta, delta_low, delta_high (points), p_value, test ("McNemar" or
        "paired t"), p_holm (corrected over all rows of the frame).

    Raises:
        InputError: no runs, or an unknown kind of rows.
        RunMismatchError: the runs differ in images, labels or settings, or share no cell.
    """
    if not runs:
        raise InputError("a comparison needs at least one run besides the baseline, got none")
    if rows not in ROWS:
        raise InputError(f"rows must be one of {', '.join(ROWS)}, got {rows!r}")
    resampling = resampling or Resampling()
    *labels, baseline_label = run_labels([*runs, baseline])
    of_baseline = measured(baseline)
    task = of_baseline.task
    pairing = PAIRINGS[task.load("PAIRING")]
    frames: list[pd.DataFrame] = []
    tests: list[int] = []
    notes: list[str] = []
    severities: set[tuple[int, ...]] = set()
    for label, run in zip(labels, runs, strict=True):
        notes += check_settings(run.config, baseline.config, label, baseline_label, across)
        found = measured(run)
        check_paired(found.grid, of_baseline.grid, label, baseline_label)
        shared = _shared(found.grid, of_baseline.grid, label, baseline_label)
        shared = [cell for cell in shared if cells is None or cell in cells]
        notes += _unshared(found.grid, of_baseline.grid, label, baseline_label)
        severities.add(tuple(sorted({severity for _, severity in shared} - {CLEAN[1]})))
        groups = ROWS[rows](shared)
        pair = found.statistic(groups, measure), of_baseline.statistic(groups, measure)
        frame = _compare(*pair, groups, measure or task.primary, pairing, resampling)
        if not frame["delta"].any() and found.same_answers(of_baseline, shared):
            frame[["delta_low", "delta_high"]] = 0.0
        frame.insert(0, "model", label)
        frame.insert(1, "baseline", baseline_label)
        frames.append(frame)
        tests += [len(tests) + place for place in first_alike(groups)]
    joined = pd.concat(frames, ignore_index=True)
    joined["p_holm"] = _corrected(joined["p_value"], np.array(tests))
    caption = _describe_comparison(joined, measure or task.primary, baseline.config, severities, resampling)
    everything = [baseline, *runs]
    return Comparison(
        joined,
        task,
        caption,
        _describe_tests(joined["p_value"], pairing, set(tests)),
        (*notes, *cautions(everything, resampling.confidence)),
        header(everything, [baseline_label, *labels]),
        measure,
    )


def further_comparisons(
    runs: Sequence[Run], baseline: Run, across: Sequence[str] = (), cells: Sequence[Cell] | None = None
) -> list[Comparison]:
    """`comparison_frame` of the bars, for each further number that the task compares and that runs have: AP of masks.

    Args:
        runs: finished runs; those without the number are passed over.
        baseline: the run to compare with.
        across: as for `comparison_frame`.
        cells: as for `comparison_frame`.

    Returns:
        One comparison a number; none where the baseline lacks it, or every run does.

    Raises:
        RunMismatchError: as `comparison_frame`.
    """
    found = []
    for measure in (own for own in baseline.task.measures if own.compared):
        having = [run for run in runs if _has(run, measure)]
        if having and _has(baseline, measure):
            found.append(comparison_frame(having, baseline, across=across, cells=cells, measure=measure))
    return found


def _has(run: Run, measure: Measure) -> bool:
    own = measured(run)
    return not np.isnan(own.statistic(bar_groups(own.grid.cells), measure).value()).all()


def settings_of(config: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a run that another one is compared by: what a baseline keeps of its configuration.

    What was added later and has its default is left out, so that the same run gives the same baseline as ever.
    """
    fields = {**MUST_AGREE, **WHERE_KNOWN, **fields_compared("noted"), **fields_compared("normalisation")}
    stated = [name for name, declared in fields.items() if name in config or not declared.added]
    return {"data": config.get("data"), **{name: value_of(config, name) for name in stated}}


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
        InputError: `across` names a setting that a comparison cannot be across.
        RunMismatchError: a setting differs that makes other pictures; the message names it and both values.
    """
    check_across(across)
    found = apart(config, baseline, across)
    if found is not None:
        # Settings of the network, not of its pictures, may differ on demand, in a gate too.
        of_network = [
            field for field, declaration in MUST_AGREE.items() if declaration.across and declaration.of_network
        ]
        allowed = [field for field in of_network if apart(config, baseline, [*across, field]) is None]
        advice = f", or compare them anyway with --across {allowed[0]}" if allowed else ""
        raise RunMismatchError(
            f"{name} and {baseline_name} cannot be compared: {name} was made {found[0]}, {baseline_name} {found[1]}; "
            f"evaluate both in the same way{advice}"
        )
    return differences(config, baseline, name, baseline_name, [*fields_compared("noted"), *across])


def differences(
    config: Mapping[str, Any], baseline: Mapping[str, Any], name: str, baseline_name: str, fields: Iterable[str]
) -> list[str]:
    """A note on each of these fields in which two configurations differ."""
    notes = []
    for field in fields:
        own, other = value_of(config, field), value_of(baseline, field)
        if own == other:
            continue
        declaration = declaration_of(declared()[field])
        if "{}" in declaration.words:
            notes.append(f"{name} was made {declaration.said_of(own)}, {baseline_name} {declaration.said_of(other)}")
        else:
            notes.append(f"{field.replace('_', ' ')} of {name} is {own}, of {baseline_name} {other}")
    return notes


def _shared(grid: Grid, baseline: Grid, name: str, baseline_name: str) -> list[Cell]:
    """The cells that two runs have in common, as many as a comparison needs."""
    shared = [cell for cell in baseline.cells if cell in grid.cells]
    if not set(shared) - {CLEAN}:
        raise RunMismatchError(
            f"{name} and {baseline_name} share no corrupted cell; evaluate them on the same corruptions"
        )
    return shared


def _unshared(grid: Grid, baseline: Grid, name: str, baseline_name: str) -> list[str]:
    """Notes on cells that only one of two runs has."""
    notes = []
    for holder, cells, others in ((name, grid.cells, baseline.cells), (baseline_name, baseline.cells, grid.cells)):
        only = [cell for cell in cells if cell not in others]
        if only:
            shown = ", ".join(cell_label(cell) for cell in only[:3]) + (", …" if len(only) > 3 else "")
            notes.append(f"{len(only)} cells are only in {holder} and are not compared: {shown}")
    return notes


def _compare(
    own: Statistic,
    other: Statistic,
    groups: Sequence[Group],
    measure: Measure,
    pairing: Pairing,
    resampling: Resampling,
) -> pd.DataFrame:
    """One row a group, from the numbers of a run and of the baseline."""
    difference = own.minus(other)
    p_values, tests = pairing.test(difference, np.array([group.size == 1 for group in groups]), resampling)
    ends = image_interval(difference, resampling)
    low, high = agreeing(ends, difference.value(), p_values, resampling.confidence)
    return pd.DataFrame(
        {
            "kind": [group.kind for group in groups],
            "name": [group.name for group in groups],
            "n": own.n,
            "cells": [group.size for group in groups],
            f"baseline_{measure.name}": other.value(),
            measure.name: own.value(),
            "delta": difference.value(),
            "delta_low": low,
            "delta_high": high,
            "p_value": p_values,
            "test": tests,
        }
    )


def _corrected(p_values: pd.Series, tests: NDArray[np.intp]) -> NDArray[np.float64]:
    """p-values by Holm's method, where rows of one test, whose first row `tests` has, count once."""
    once = np.where(tests == np.arange(len(tests)), p_values, np.nan)
    corrected: NDArray[np.float64] = holm(once)[tests]
    return corrected


def _describe_tests(p_values: pd.Series, pairing: Pairing, tests: set[int]) -> str:
    number = int(p_values.iloc[sorted(tests)].notna().sum())
    once = "" if len(tests) == len(p_values) else "; rows over the same cells are one test"
    corrected = f"corrected for the {number} tests of this table" if number > 1 else "the same for a single test"
    return f"p: {pairing.test_words}; each by itself (pointwise), as the intervals are. p (Holm) is {corrected}{once}."


def _describe_comparison(
    frame: pd.DataFrame,
    measure: Measure,
    config: Mapping[str, Any],
    severities: set[tuple[int, ...]],
    resampling: Resampling,
) -> str:
    means = "Means over the severities that each run shares with the baseline."
    if len(severities) == 1:
        means = describe_means(next(iter(severities)))
    intervals = describe_halves(resampling)
    if measure.proportion:
        intervals = f"{resampling.confidence * 100:g} % intervals over images: t with a worst and a best image added"
    return (
        f"Δ {measure.short} in points, compared with {frame['baseline'].iloc[0]}, paired by image. "
        f"{describe_data(config, int(frame['n'].iloc[0]))} {means} {intervals}; pointwise: each excludes 0 "
        f"if and only if p < {1 - resampling.confidence:.3g}."
    )

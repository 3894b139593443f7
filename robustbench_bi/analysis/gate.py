"""The gate: whether a run has become worse than a baseline, image by image.

A row (clean, the mean, a category, a corruption) regresses where its top-1, or its task's primary number, dropped by
more than a given number of points and its paired interval lies below zero. The unit is the image: an image's score in a
row is the mean of its outcomes over the row's cells, so cells that share an image are never taken for separate samples.

All rows are tested at once. So each interval is at 1 − (1 − confidence) / rows (Bonferroni), and together they hold at
the confidence that was asked for. Rows over the same cells are one test, which counts once. That far out a bootstrap
would rest on a handful of its resamples. The interval is Student's instead (`metrics.bounded`), and excludes zero
exactly where the paired t-test rejects. A bootstrap with enough resamples agrees with it, and it draws nothing at
random, so the same two runs always get the same verdict.
`metrics.pairing` says what stands in for it where a task's number is no mean of per-image scores. `docs/statistics.md`
has the gate's false alarms and its power.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from robustbench_bi.analysis.baseline import Outcomes
from robustbench_bi.analysis.captions import describe_data, describe_means
from robustbench_bi.analysis.comparison import check_settings, differences
from robustbench_bi.analysis.groups import first_alike, summary_groups, weight_matrix
from robustbench_bi.analysis.text import format_interval
from robustbench_bi.analysis.verdicts import HOLDS as HOLDS
from robustbench_bi.analysis.verdicts import REGRESSED as REGRESSED
from robustbench_bi.analysis.verdicts import UNPROVEN as UNPROVEN
from robustbench_bi.errors import InputError, RunMismatchError
from robustbench_bi.ground.cells import CLEAN, Cell, cell_label
from robustbench_bi.metrics.intervals import Resampling
from robustbench_bi.metrics.paired import check_paired
from robustbench_bi.metrics.pairing import PAIRINGS, agreeing
from robustbench_bi.runs.identity import fields_compared
from robustbench_bi.tasks import Task


@dataclass(frozen=True, eq=False)
class Gate:
    """What the gate found, and the sentences that belong to it.

    Attributes:
        frame: a row each for clean, the mean, every category and every corruption; see `gate_frame`.
        task: what the runs were asked; its primary measure is what is compared.
        headline: what was found, in a sentence or two.
        caption: what the numbers are, and how their intervals were made.
        notes: what was not compared or differs, a sentence each.
        header: what was evaluated, to stand above the rows.
    """

    frame: pd.DataFrame
    task: Task
    headline: str = ""
    caption: str = ""
    notes: tuple[str, ...] = ()
    header: str = ""

    @property
    def regressed(self) -> bool:
        """Whether any row did."""
        return REGRESSED in set(self.frame["verdict"])


def gate_frame(
    run: Outcomes,
    baseline: Outcomes,
    *,
    max_drop: float = 1.0,
    confidence: float = 0.95,
    skip_new_cells: bool = False,
    across: Sequence[str] = (),
) -> Gate:
    """Compare a run with a baseline, row by row.

    Args:
        run: of the new run, from `outcomes_of`.
        baseline: from `read_baseline`, or of another run.
        max_drop: points of top-1 that a row may lose, 0 to 100.
        confidence: of all intervals together, between 0 and 1.
        skip_new_cells: whether cells that the baseline lacks are left out; otherwise they are an error.
        across: settings of how networks are asked that may differ all the same: "adapt".

    Returns:
        A row each for clean, the mean over ImageNet-C's corruptions, every category and every corruption, as far as the
        baseline has them: kind, name, n, cells, baseline_top1, top1 (percent), delta, delta_low, delta_high (points),
        verdict. The verdict is "REGRESSED"; or "drop not proven", where the drop is too large but the interval reaches
        zero; or "holds".

    Raises:
        InputError: an option is out of range, or there are fewer than two images.
        RunMismatchError: the two differ in images, labels, settings or cells; the message says in what.

    Example:
        >>> from robustbench_bi.tasks.classification import Answers
        >>> def outcomes(wrong):
        ...     correct = np.ones((100, 2), dtype=bool)
        ...     correct[:wrong, 1] = False
        ...     settings = {"data": "demo", "input_size": 64, "generator": "files"}
        ...     cells = (("none", 0), ("fog", 1))
        ...     answers = Answers(np.zeros(100, dtype=int), correct)
        ...     return Outcomes({"name": "net"}, settings, np.arange(100), cells, answers)
        >>> gate_frame(outcomes(30), outcomes(10)).frame[["name", "delta", "verdict"]].values.tolist()[-1]
        ['fog', -20.0, 'REGRESSED']
    """
    task = baseline.task
    if not 0 <= max_drop <= 100:
        raise InputError(f"max-drop must be points of {task.primary.short} from 0 to 100, got {max_drop:g}")
    if not 0 < confidence < 1:
        raise InputError(f"confidence must be between 0 and 1, got {confidence:g}")
    notes = _check_comparable(run, baseline, skip_new_cells, across)
    n, cells = len(baseline.image_ids), baseline.cells
    if n < 2:
        raise InputError(f"a gate needs at least two images, got {n}")
    groups = summary_groups(cells)
    weights = weight_matrix(groups, cells)
    own = run.kept.statistic([run.cells.index(cell) for cell in cells], weights)
    other = baseline.kept.statistic(range(len(cells)), weights)
    change = own.minus(other)
    pairing = PAIRINGS[task.load("PAIRING")]
    # Of rows over the same cells, the last: a corruption, and not the mean that has it alone.
    counted = {first: place for place, first in enumerate(first_alike(groups))}.values()
    each, delta = 1 - (1 - confidence) / len(counted), change.value()
    # Every row by the paired t-test, also clean: McNemar's exact test has too few outcomes so far out.
    p_values, _ = pairing.test(change, np.zeros(len(groups), dtype=bool), Resampling())
    low, high = agreeing(pairing.interval(change, each), delta, p_values, each)
    if run.run.get("fingerprint") == baseline.run.get("fingerprint") and not delta.any():
        # The same run: that nothing differs is no estimate.
        low, high = np.zeros_like(delta), np.zeros_like(delta)
    # A sum of weights may miss a drop of exactly the allowed size by its last bits.
    dropped = np.round(-delta, 9) > max_drop
    frame = pd.DataFrame(
        {
            "kind": [group.kind for group in groups],
            "name": [group.name for group in groups],
            "n": n,
            "cells": [group.size for group in groups],
            f"baseline_{task.primary.name}": other.value(),
            task.primary.name: own.value(),
            "delta": delta,
            "delta_low": low,
            "delta_high": high,
            "verdict": np.select([dropped & (high < 0), dropped], [REGRESSED, UNPROVEN], HOLDS),
        }
    )
    caption = _caption(run, baseline, frame, pairing.interval_words, max_drop, confidence, len(counted))
    headline = _headline(frame.iloc[sorted(counted)], max_drop, len(frame))
    return Gate(frame, task, headline, caption, tuple(notes), _header(run, baseline))


def _check_comparable(run: Outcomes, baseline: Outcomes, skip_new_cells: bool, across: Sequence[str]) -> list[str]:
    """Check that both are of the same pictures in the same cells; returns what may differ and does."""
    own, other = ({**one.settings, "n": len(one.image_ids)} for one in (run, baseline))
    if own.get("data") != other.get("data"):
        own["runtime"] = {"source": run.described.get("data", "")}  # its folder's name, which says more than "a folder"
    may = [name for name, declared in fields_compared("must agree").items() if declared.of_network]
    if unknown := [name for name in across if name not in may]:
        raise InputError(f"a gate can be across {', '.join(may)}, got {unknown[0]!r}")
    notes = differences(own, other, "the run", "the baseline", across)
    if differ := [one for one in check_settings(own, other, "the run", "the baseline", across) if one not in notes]:
        # Two networks may be compared across these; a gate that passes must mean that nothing but the network changed.
        raise RunMismatchError(f"the run and the baseline cannot be compared: {'; '.join(differ)}")
    check_paired(run.grid, baseline.grid)
    missing = [cell for cell in baseline.cells if cell not in run.cells]
    if missing:
        raise RunMismatchError(
            f"the run lacks {len(missing)} of the baseline's {len(baseline.cells)} cells: {_some(missing)}; "
            "evaluate it with the same --suite and --severities"
        )
    # These belong to the network, which is what is compared.
    normalisation = fields_compared("normalisation")
    notes += differences(run.settings, baseline.settings, "the run", "the baseline", normalisation)
    new = [cell for cell in run.cells if cell not in baseline.cells]
    if new and not skip_new_cells:
        raise RunMismatchError(
            f"the run has {len(new)} cells that the baseline lacks: {_some(new)}; "
            "save a new baseline, or leave them out with --skip-new-cells"
        )
    if new:
        notes.append(f"{len(new)} cells that the baseline lacks are not compared: {_some(new)}")
    return notes


def _some(cells: Sequence[Cell]) -> str:
    return ", ".join(cell_label(cell) for cell in cells[:3]) + (", …" if len(cells) > 3 else "")


def _headline(frame: pd.DataFrame, max_drop: float, shown: int) -> str:
    regressed, unproven = ([*frame.loc[frame["verdict"] == verdict, "name"]] for verdict in (REGRESSED, UNPROVEN))
    rows, limit = _count(len(frame), "row"), _count(max_drop, "point")
    if len(frame) < shown:
        rows += " (rows over the same cells count once)"
    text = f"No regression in {rows}."
    if regressed:
        text = f"Regression: {len(regressed)} of {rows} dropped by more than {limit}: {', '.join(regressed)}."
    if unproven:
        text += (
            f" {_count(len(unproven), 'row')} dropped by more than {limit}, but the sample is too small to confirm it."
        )
    return text


def _count(number: float, noun: str) -> str:
    return f"{number:,g} {noun}{'' if number == 1 else 's'}"


def _header(run: Outcomes, baseline: Outcomes) -> str:
    network = run.run["name"] + (f" ({run.described['model']})" if run.described else "")
    n = len(run.image_ids)
    return f"{network} on {_data(run)}, n = {n:,}, against the baseline {baseline.run['name']}"


def _data(run: Outcomes) -> str:
    """The images; a baseline's file does not know the name of their folder, but a run does."""
    return str(run.described.get("data") or run.settings.get("data"))


def _caption(
    run: Outcomes,
    baseline: Outcomes,
    frame: pd.DataFrame,
    intervals: str,
    max_drop: float,
    confidence: float,
    count: int,
) -> str:
    names = [f"{one.run['name']} ({one.run.get('fingerprint', '')[:12]})" for one in (run, baseline)]
    severities = sorted({severity for _, severity in baseline.cells} - {CLEAN[1]})
    each = 100 * (1 - (1 - confidence) / count)
    digits = 4 if each < 99.95 else 6  # never 100 %
    once = "" if count == len(frame) else f" Rows over the same cells are one test: {count} tests in {len(frame)} rows."
    data = describe_data({**baseline.settings, "data": _data(run)}, len(baseline.image_ids))
    text = (
        f"{names[0]} against the baseline {names[1]}, paired by image. "
        f"{data} {describe_means(severities)} Intervals: "
        f"{intervals}, together at {confidence * 100:g} % (Bonferroni: each of {count} at {each:.{digits}g} %), so "
        "wider than those of compare, which are pointwise. A row regresses if it drops by more than "
        f"{_count(max_drop, 'point')} and its interval lies entirely below zero.{once}"
    )
    half = ((frame["delta_high"] - frame["delta_low"]) / 2).to_numpy()
    if frame["delta"].any():
        widest = frame["name"].iloc[half.argmax()]
        text += (
            f" The widest is ±{format_interval(half.max())} points ({widest}); smaller drops there cannot be confirmed "
            f"with {_count(int(frame['n'].iloc[0]), 'image')}."
        )
    return text

"""Networks that are no better than chance: what reports must say of them, since relative numbers then mean nothing."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from robustbench_bi.analysis.captions import run_labels
from robustbench_bi.analysis.text import format_interval
from robustbench_bi.ground.cells import CLEAN
from robustbench_bi.metrics.bounded import wilson_interval
from robustbench_bi.runs.run import Run

CAUSES = (
    "Likely causes: classes in another order (--classes), another preprocessing (--mean, --std, --resize-size), or "
    "weights that were not loaded (--weights)"
)


def chance_notes(runs: Sequence[Run], confidence: float = 0.95) -> tuple[str, ...]:
    """A warning for each run whose clean accuracy is not above chance, 1 / number of classes.

    It is not above chance where its interval (Wilson's) reaches down to that. Networks without clean images, and tasks
    whose primary number is no share of images, have none.

    Args:
        runs: finished runs.
        confidence: of the interval.
    """
    labels = run_labels(runs)
    notes = [_note(run, label, confidence) for run, label in zip(runs, labels, strict=True)]
    return tuple(note for note in notes if note)


def _note(run: Run, label: str, confidence: float) -> str:
    measure, classes = run.task.primary, int(run.config["num_classes"])
    if not measure.proportion or CLEAN not in run.cell_names or classes < 2:
        return ""
    clean = run.cells().query(f"corruption == {CLEAN[0]!r}").iloc[0]
    value, chance = float(clean[measure.name]), 100 / classes
    low, high = (float(end[0]) for end in wilson_interval(np.array([value]), int(clean["n"]), confidence))
    if low > chance:
        return ""
    return (
        f"{label} is no better than chance on clean images: {measure.short} {format_interval(value, low, high)} %, "
        f"chance {chance:.3g} % (1 of {classes:,} classes). Its relative mCE, Δ and calibration say nothing about "
        f"robustness. {CAUSES}"
    )

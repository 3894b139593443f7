"""What reports must say of a network: it is no better than chance, or it returns probabilities in place of logits."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from robustbench_bi.analysis.captions import run_labels
from robustbench_bi.analysis.text import format_interval
from robustbench_bi.ground.cells import CLEAN
from robustbench_bi.metrics.bounded import wilson_interval
from robustbench_bi.runs.run import Run

CAUSES = (
    "Likely causes: classes in a different order (--classes), different preprocessing (--mean, --std, --resize-size), "
    "or weights that were not loaded (--weights)"
)

# Percent. A detector has no chance level; published ones reach 20 and more.
LEAST_AP = 1.0

TOP = 5
"""The highest scores among which top-5 looks for the label."""


def cautions(runs: Sequence[Run], confidence: float = 0.95) -> tuple[str, ...]:
    """A warning for each run whose numbers mislead.

    Clean accuracy is not above chance, 1 / number of classes, where its interval (Wilson's) reaches down to that or
    lies below it. If it is above, but no confidence exceeds the most that a softmax of probabilities can give,
    e / (e + classes − 1), the network seems to end in a softmax. A detector finds almost nothing where its clean AP is
    below 1 %. Networks without clean images have no warning.

    Args:
        runs: finished runs.
        confidence: of the interval.
    """
    labels = run_labels(runs)
    notes = [_note(run, label, confidence) for run, label in zip(runs, labels, strict=True)]
    return tuple(note for note in notes if note)


def empty_top5(runs: Sequence[Run]) -> tuple[str, ...]:
    """A sentence where top-5 is 100 % for any network, since no more than five classes compete."""
    scored = any(measure.name == "top5" for measure in runs[0].task.measures)
    fewest = min(int((run.config.get("answers") or {}).get("competing", run.config["num_classes"])) for run in runs)
    if not scored or fewest > TOP:
        return ()
    return (f"Top-5 is always 100 % with {fewest} classes, whatever the network answers",)


def _note(run: Run, label: str, confidence: float) -> str:
    measure, classes = run.task.primary, int(run.config["num_classes"])
    if CLEAN not in run.cell_names:
        return ""
    if run.task.has("mean_performance"):
        return _note_on_detector(run, label)
    if not measure.proportion or classes < 2:
        return ""
    clean = run.cells().query(f"corruption == {CLEAN[0]!r}").iloc[0]
    value, chance = float(clean[measure.name]), 100 / classes
    low, high = (float(end[0]) for end in wilson_interval(np.array([value]), int(clean["n"]), confidence))
    if low > chance:
        return _probabilities_note(run, label, classes)
    return (
        f"{label} is no better than chance on clean images: {measure.short} {format_interval(value, low, high)} %, "
        f"chance {chance:.3g} % (1 of {classes:,} classes). Therefore, any relative mCE, Δ and calibration say nothing "
        f"about robustness. {CAUSES}"
    )


def _note_on_detector(run: Run, label: str) -> str:
    """The warning of a detector, but where it found nothing at all, which its summary says already."""
    measure, cells = run.task.primary, run.cells()
    clean = float(cells.loc[cells["corruption"] == CLEAN[0], measure.name].iloc[0])
    if not clean < LEAST_AP or not len(run.records()):
        return ""
    return (
        f"{label} finds almost nothing on clean images: {measure.short} {clean:.2g} %. Its rPC and Δ say nothing about "
        "robustness, and rPC has no interval if a sample's clean AP may be 0. Likely causes: labels "
        "that are not indices into class_names, boxes that are not x1, y1, x2, y2 in pixels, or weights that were not "
        "loaded (--weights)"
    )


def _probabilities_note(run: Run, label: str, classes: int) -> str:
    most = float(np.e / (np.e + classes - 1))
    if run.records()["confidence"].max() > most * (1 + 1e-5):
        return ""
    return (
        f"{label} is never more confident than {100 * most:.3g} %, the limit for {classes:,} classes if a network "
        "returns probabilities instead of logits. If it ends in a softmax, remove it: its top-1 is right, but ECE, NLL "
        "and Brier score are wrong, as are all confidences"
    )

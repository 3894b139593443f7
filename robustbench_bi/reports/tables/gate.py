"""The rows of the gate as text."""

import pandas as pd

from robustbench_bi.analysis.gate import Gate
from robustbench_bi.analysis.text import format_interval


def display_gate(gate: Gate) -> pd.DataFrame:
    """The rows of `gate_frame` as text."""
    frame, measure = gate.frame, gate.task.primary
    shown = frame[["name"]].rename(columns={"name": "corruption"}).astype(str)
    shown["n"] = [f"{n:,}" for n in frame["n"]]
    shown["baseline %"] = [format_interval(value) for value in frame[f"baseline_{measure.name}"]]
    shown[measure.heading] = [format_interval(value) for value in frame[measure.name]]
    shown[f"Δ {measure.short}"] = _changes(frame)
    shown["verdict"] = frame["verdict"]
    return shown


def describe_rows(gate: Gate) -> list[str]:
    """Each row of `gate_frame` as a sentence.

    Example:
        >>> from robustbench_bi.tasks import TASKS
        >>> frame = pd.DataFrame({"name": ["fog"], "n": 500, "baseline_top1": 84.0, "top1": 80.9, "delta": -3.1,
        ...     "delta_low": -4.9, "delta_high": -1.3})
        >>> describe_rows(Gate(frame, TASKS["classification"]))
        ['fog: top-1 80.9 %, the baseline 84.0 %, Δ -3.10 [-4.90, -1.30] points, n = 500']
    """
    frame, measure = gate.frame, gate.task.primary
    baseline = frame[f"baseline_{measure.name}"]
    return [
        f"{name}: {measure.short} {format_interval(value)} %, the baseline {format_interval(before)} %, "
        f"Δ {change} points, n = {n:,}"
        for name, n, before, value, change in zip(
            frame["name"], frame["n"], baseline, frame[measure.name], _changes(frame), strict=True
        )
    ]


def _changes(frame: pd.DataFrame) -> list[str]:
    ends = zip(frame["delta"], frame["delta_low"], frame["delta_high"], strict=True)
    return [format_interval(*values, signed=True, decimals=2) for values in ends]

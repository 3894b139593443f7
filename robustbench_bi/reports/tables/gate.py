"""The rows of the gate as text."""

import pandas as pd

from robustbench_bi.analysis.text import format_interval


def display_gate(frame: pd.DataFrame) -> pd.DataFrame:
    """`gate_frame` as text."""
    shown = frame[["name"]].rename(columns={"name": "corruption"}).astype(str)
    shown["n"] = [f"{n:,}" for n in frame["n"]]
    shown["baseline %"] = [format_interval(value) for value in frame["baseline_top1"]]
    shown["top-1 %"] = [format_interval(value) for value in frame["top1"]]
    shown["Δ top-1"] = _changes(frame)
    shown["verdict"] = frame["verdict"]
    return shown


def describe_rows(frame: pd.DataFrame) -> list[str]:
    """Each row of `gate_frame` as a sentence.

    Example:
        >>> describe_rows(pd.DataFrame({"name": ["fog"], "n": 500, "baseline_top1": 84.0, "top1": 80.9, "delta": -3.1,
        ...     "delta_low": -4.9, "delta_high": -1.3}))
        ['fog: top-1 80.9 %, the baseline 84.0 %, Δ -3.10 [-4.90, -1.30] points, n = 500']
    """
    return [
        f"{name}: top-1 {top1:.1f} %, the baseline {baseline:.1f} %, Δ {change} points, n = {n:,}"
        for name, n, baseline, top1, change in zip(
            frame["name"], frame["n"], frame["baseline_top1"], frame["top1"], _changes(frame), strict=True
        )
    ]


def _changes(frame: pd.DataFrame) -> list[str]:
    ends = zip(frame["delta"], frame["delta_low"], frame["delta_high"], strict=True)
    return [format_interval(*values, signed=True, decimals=2) for values in ends]

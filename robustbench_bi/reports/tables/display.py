"""Frames as text: the tables that the terminal and Markdown files show."""

import math
from collections.abc import Mapping
from typing import Any

import pandas as pd

from robustbench_bi.analysis.comparison import Comparison
from robustbench_bi.analysis.measured import Measurements
from robustbench_bi.analysis.result import Result
from robustbench_bi.analysis.text import NO_VALUE, format_interval, format_p_value
from robustbench_bi.tasks import Task


def display_summary(summary: Measurements) -> pd.DataFrame:
    """`summary_frame`, or `score`, as text: a column for each quantity that has a value somewhere.

    Args:
        summary: one row a group of cells.

    Returns:
        A frame of strings.
    """
    frame = summary.frame
    first, *others = [
        (measure.name, measure.heading, False, measure.decimals)
        for measure in (*summary.task.measures, *summary.further)
    ]
    relative = ("relative", "of clean / rPC %", False, 1)
    errors = ("corruption_error", errors_heading(frame), False, 2)
    columns = (first, ("delta", "Δ to clean", True, 1), relative, *others, errors)
    names = [name for name in ("model", "name") if name in frame]
    shown = frame[names].rename(columns={"name": "corruption"}).astype(str)
    shown["n"] = [f"{n:,}" if pd.notna(n) else NO_VALUE for n in frame["n"]]
    for column, heading, signed, decimals in columns:
        if column in frame and frame[column].notna().any():
            shown[heading] = _with_interval(frame, column, signed, decimals)
    return shown


def errors_heading(frame: pd.DataFrame) -> str:
    """The heading of corruption errors in a `summary_frame`: with stars where published ones do not compare.

    Example:
        >>> errors_heading(pd.DataFrame({"kind": ["clean", "mce"], "name": ["clean", "mCE* (n=200)"]}))
        'CE* / mCE* %'
    """
    starred = frame.loc[frame["kind"] == "mce", "name"].str.contains("*", regex=False).any()
    return "CE* / mCE* %" if starred else "CE / mCE %"


def display_comparison(comparison: Comparison) -> pd.DataFrame:
    """`comparison_frame` as text.

    Args:
        comparison: one row a model and group of cells.

    Returns:
        A frame of strings, with the index of the comparison's.
    """
    frame, measure = comparison.frame, comparison.number
    shown = frame[["model", "name"]].rename(columns={"name": "corruption"}).astype(str)
    shown["n"] = [f"{n:,}" for n in frame["n"]]
    shown["baseline %"] = [format_interval(value) for value in frame[f"baseline_{measure.name}"]]
    shown[measure.heading] = [format_interval(value) for value in frame[measure.name]]
    shown[f"Δ {measure.short}"] = _with_interval(frame, "delta", True, 2)
    shown["p"] = [format_p_value(p) for p in frame["p_value"]]
    shown["p (Holm)"] = [format_p_value(p) for p in frame["p_holm"]]
    return shown


def display_chosen(chosen: Result, task: Task) -> pd.DataFrame:
    """`chosen_comparison` as text.

    Args:
        chosen: one row a model, metric and group of cells.
        task: what the runs were asked.

    Returns:
        A frame of strings.
    """
    measures = {measure.name: measure for measure in (*task.measures, *task.further, *task.paired)}

    def text(row: Mapping[Any, Any], column: str, signed: bool = False) -> str:
        ends = (row.get(f"{column}{end}", math.nan) for end in ("", "_low", "_high"))
        return format_interval(*ends, signed=signed, decimals=measures[row["metric"]].decimals)

    rows = [
        {
            "model": row["model"],
            "metric": measures[row["metric"]].heading,
            "corruption": row["name"],
            "baseline": text(row, "baseline_value"),
            "value": text(row, "value"),
            "Δ": text(row, "delta", signed=True),
            "p": format_p_value(row.get("p_value", math.nan)),
        }
        for row in chosen.frame.to_dict("records")
    ]
    return pd.DataFrame(rows)


def display_detection_scores(frame: pd.DataFrame) -> pd.DataFrame:
    """`score_detection` of one model and task as text: a row a metric, and the mean under the name that it may have.

    Args:
        frame: of `DetectionScores`.

    Returns:
        A frame of strings.
    """
    shown = frame[["metric"]].astype(str)
    shown["P %"] = [format_interval(value, decimals=2) for value in frame["P"]]
    defined = frame["mean"].notna()
    shown["mean"] = frame["name"].astype(str).where(defined, NO_VALUE)
    shown["mean %"] = [format_interval(value, decimals=2) for value in frame["mean"]]
    shown["mean / P %"] = [format_interval(value, decimals=2) for value in frame["relative"]]
    if set(frame.loc[defined, "name"]) == {"mPC"}:
        shown = shown.drop(columns="mean").rename(columns={"mean %": "mPC %", "mean / P %": "rPC %"})
    return shown


def _with_interval(frame: pd.DataFrame, column: str, signed: bool, decimals: int) -> list[str]:
    nothing = [math.nan] * len(frame)
    low, high = (frame.get(f"{column}_{end}", nothing) for end in ("low", "high"))
    return [
        format_interval(value, *ends, signed=signed, decimals=decimals)
        for value, *ends in zip(frame[column], low, high, strict=True)
    ]


def markdown_table(frame: pd.DataFrame) -> str:
    """A frame as a Markdown table; columns that start with a digit or sign are aligned right.

    Example:
        >>> print(markdown_table(pd.DataFrame({"name": ["fog"], "top-1": ["40.0"]})))
        | name | top-1 |
        | :--- | ----: |
        | fog | 40.0 |
    """
    numeric = [all(str(value)[:1] in "+-–<0123456789" for value in frame[column]) for column in frame]
    rows = [[_escaped(column) for column in frame], ["----:" if right else ":---" for right in numeric]]
    rows += [[_escaped(value) for value in row] for row in frame.itertuples(index=False)]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _escaped(value: object) -> str:
    return str(value).replace("|", "\\|").replace("*", "\\*").replace("\n", " ")

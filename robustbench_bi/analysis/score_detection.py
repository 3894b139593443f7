"""Scores of detectors from a table of average precision a cell, as papers publish them: P, mPC and rPC.

P is the average precision (AP) on clean images, mPC the plain mean over 15 corruptions at five severities, and rPC
their ratio (Michaelis et al. 2019). No images, hence no intervals.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from robustbench_bi.analysis.groups import summary_groups, weighted
from robustbench_bi.analysis.score import check_cells, missing_words, number_in, read_cell, read_table
from robustbench_bi.errors import DataError, UnknownNameError
from robustbench_bi.ground.cells import CLEAN, Cell, cell_label
from robustbench_bi.metrics.naming import mean_performance_name
from robustbench_bi.metrics.robustness import missing_cells

PRIMARY = "AP"
COLUMNS = (PRIMARY, "AP50", "AP75", "APs", "APm", "APl")
OF_MASKS = tuple(f"mask_{name}" for name in COLUMNS)
_EXPECTED = "corruption, severity and AP"


@dataclass(frozen=True, eq=False)
class DetectionScores:
    """What `score_detection` found, and the sentences that belong to it.

    Attributes:
        frame: one row a model, task and metric; the first of each is of AP.
        corruptions: one row a model, task and group of cells: clean, the mean, each category, each corruption.
        caption: what the numbers are.
        notes: what is missing, and what a number was taken for, a sentence each.
    """

    frame: pd.DataFrame
    corruptions: pd.DataFrame
    caption: str = (
        "Average precision as given, in percent, without intervals, which need per-image records. P is clean, "
        "mPC the mean over 15 corruptions at five severities, rPC = mPC / P."
    )
    notes: tuple[str, ...] = ()


# Corruption does not raise AP tenfold; a clean AP that is so much lower is a fraction beside percent.
_MOST_GAINED = 10


def is_of_detectors(path: str | Path) -> bool:
    """Whether a table holds average precision.

    Raises:
        DataError: it cannot be read, or holds top-1 accuracies too, so that it does not tell what it is of.
    """
    names = {str(name).lower() for name in read_table(Path(path))}
    of_detectors = bool(names & {"ap", f"mask_{PRIMARY}".lower()})
    if of_detectors and "top1" in names:
        raise DataError(f"{path} has both columns top1 and AP; keep top1 for classifiers, or AP for detectors")
    return of_detectors


def read_detection_cells(path: str | Path) -> pd.DataFrame:
    """Read a table of average precision, and check it.

    Args:
        path: CSV with the columns corruption, severity and AP, and where wanted model, task ("bbox" for boxes, "segm"
            for masks) and AP50, AP75, APs, APm, APl; others are passed over. Clean is corruption "clean" or "none". An
            empty severity means the mean over the five. The numbers of a model and task are fractions where none is
            above 1, else percent. −1, and an empty field beside an AP, is an undefined number. Columns of masks as in
            `Run.cells()`, mask_AP and so on, beside those of boxes or alone, are rows of the task segm, where there is
            no column task. An empty model or task is as none.

    Returns:
        A frame with model (the file's name where there is no such column), task, corruption, severity (0 for clean and
        for means), the columns of AP in percent (NaN where undefined), and `fractions`, whether they were given so.

    Raises:
        DataError: the file cannot be read, lacks a column, or a row is not as above, stands twice, or is of another
            unit than the others.
        UnknownNameError: a corruption is unknown.
    """
    path = Path(path)
    raw = read_table(path, _EXPECTED)
    known = {name.lower(): name for name in ("model", "task", "corruption", "severity", *COLUMNS, *OF_MASKS)}
    raw = raw.rename(columns={name: known.get(str(name).lower(), name) for name in raw})
    if PRIMARY not in raw and OF_MASKS[0] in raw and "task" not in raw:
        raw = raw.rename(columns=dict(zip(OF_MASKS, COLUMNS, strict=True))).assign(task="segm")
    missing = [name for name in ("corruption", PRIMARY) if name not in raw]
    if missing or raw.columns.duplicated().any():
        raise DataError(
            f"{path} must have the columns {_EXPECTED}, each once, and for several detectors also model and task, "
            f"got {', '.join(raw.columns)}"
        )
    raw, rows = _a_task_a_row(raw), []
    for number, row in zip(raw.index + 1, raw.to_dict(orient="records"), strict=True):
        try:
            rows.append(_read_row({str(name): str(value).strip() for name, value in row.items()}))
        except (DataError, UnknownNameError) as error:
            raise type(error)(f"{path}, row {number}: {error}") from None
    cells = pd.DataFrame(rows, index=raw.index)
    for name, otherwise in (("task", "bbox"), ("model", path.stem)):
        cells.insert(0, name, raw[name].str.strip().replace("", otherwise) if name in raw else otherwise)
    parts = [
        _in_percent(f"{path}, {model} {task}", own)
        for (model, task), own in cells.groupby(["model", "task"], sort=False)
    ]
    return pd.concat(parts, ignore_index=True)


def _a_task_a_row(raw: pd.DataFrame) -> pd.DataFrame:
    """A table that has masks in columns of their own with these as rows of their own; rows keep their numbers."""
    of_masks = [name for name in OF_MASKS if name in raw]
    if "task" in raw or f"mask_{PRIMARY}" not in raw or not raw[of_masks].to_numpy().any():
        return raw
    boxes = raw.drop(columns=of_masks).assign(task="bbox")
    masks = raw.drop(columns=[name for name in COLUMNS if name in raw]).assign(task="segm")
    return pd.concat([boxes, masks.rename(columns={f"mask_{name}": name for name in COLUMNS})])


def _read_row(row: Mapping[str, str]) -> dict[str, object]:
    corruption, severity = read_cell(row["corruption"], row.get("severity", ""))
    values = {name: _read_ap(name, row[name]) for name in COLUMNS if name in row}
    return {"corruption": corruption, "severity": severity, **values}


def _read_ap(name: str, text: str) -> float:
    if not text and name != PRIMARY:
        return math.nan
    value = number_in(text)
    # pycocotools' value where there is nothing to find, as a fraction or times a hundred.
    if value in (-1, -100):
        return math.nan
    if value is None or not 0 <= value <= 100:
        raise DataError(f"{name} must be a number from 0 to 1, or in percent to 100, or -1 for undefined, got {text!r}")
    return value


def _in_percent(label: str, own: pd.DataFrame) -> pd.DataFrame:
    """The rows of a model and task in percent, checked.

    Raises:
        DataError: a cell stands twice, numbers are of two units, or an AP is above the AP50 beside it.
    """
    check_cells(label, own)
    columns = [name for name in COLUMNS if name in own]
    fractions = not (own[columns] > 1).to_numpy().any()
    if not fractions:
        _check_percent(label, own, columns)
    own = own.assign(fractions=fractions, **{name: own[name] * (100.0 if fractions else 1.0) for name in columns})
    # The least that published tables round to is a tenth of a percent.
    above = own[own[PRIMARY] > own.get("AP50", own[PRIMARY]) + 0.1]
    if len(above):
        row = above.iloc[0]
        cell = cell_label((str(row["corruption"]), int(row["severity"])))
        raise DataError(f"{label}: on {cell} AP {row[PRIMARY]:g} is above AP50 {row['AP50']:g}, which is impossible")
    return own


def _check_percent(label: str, own: pd.DataFrame, columns: list[str]) -> None:
    """Refuse numbers of which some look like fractions: all AP beside larger others, or all corrupted cells."""
    advice = "give all numbers as fractions, or all in percent"
    largest = {name: float(own[name].max()) for name in columns}
    if largest[PRIMARY] <= 1:
        other = max(largest, key=lambda name: largest[name])
        raise DataError(
            f"{label}: {PRIMARY} is at most {largest[PRIMARY]:g} and {other} up to {largest[other]:g}; {advice}"
        )
    is_clean = own["corruption"] == CLEAN[0]
    clean, corrupted = (float(own.loc[rows, PRIMARY].max()) for rows in (is_clean, ~is_clean))
    if corrupted <= 1:
        raise DataError(
            f"{label}: clean is {largest[PRIMARY]:g} and no corrupted cell is above {corrupted:g}; {advice}"
        )
    if corrupted > _MOST_GAINED * clean and clean <= 1:
        raise DataError(f"{label}: clean is {clean:g} and corrupted cells are up to {corrupted:g}; {advice}")


def score_detection(cells: pd.DataFrame) -> DetectionScores:
    """P, mPC and rPC of every model and task of a table.

    Args:
        cells: from `read_detection_cells`.

    Returns:
        A row for each model, task and metric: model, task, metric, name, cells (corrupted ones of the 15 × 5 that are
        there), P, mPC, rPC, mean, relative; in percent, NaN where undefined. `mean` is over the cells that there are
        and `relative` its ratio to P. mPC and rPC are the same where all 15 × 5 are there, and NaN otherwise; `name` is
        what the mean may be called.

    Example:
        >>> frame = pd.DataFrame({"model": "net", "task": "bbox", "corruption": ["none", "fog", "snow"],
        ...     "severity": [0, 1, 1], "AP": [40.0, 30.0, 10.0], "fractions": False})
        >>> score_detection(frame).frame[["name", "P", "mean", "relative"]].values.tolist()
        [['mPC* (over 2 of 15 corruptions, 2 of 10 cells)', 40.0, 20.0, 50.0]]
    """
    rows, groups, notes = [], [], []
    for (model, task), own in cells.groupby(["model", "task"], sort=False):
        head = {"model": str(model), "task": str(task)}
        values = {name: _defined(own, name) for name in COLUMNS if name in own}
        rows += [{**head, **_score(name, of_cells)} for name, of_cells in values.items()]
        groups += [{**head, **row} for row in _by_group(values)]
        notes += [f"{model} {task}: {remark}" for remark in _remarks(own, values)]
    return DetectionScores(pd.DataFrame(rows), pd.DataFrame(groups), notes=tuple(notes))


def _defined(own: pd.DataFrame, name: str) -> dict[Cell, float]:
    rows = zip(own["corruption"], own["severity"], own[name], strict=True)
    return {(str(corruption), int(severity)): float(value) for corruption, severity, value in rows if value == value}


def _score(metric: str, values: Mapping[Cell, float]) -> dict[str, object]:
    """One row of the result. Without any cell of the fifteen there is no mean."""
    mean = next((group for group in summary_groups(values) if group.kind == "mean"), None)
    clean = values.get(CLEAN, math.nan)
    over = math.nan if mean is None else weighted(mean, values)
    relative = 100.0 * over / clean if clean > 0 else math.nan
    name = mean_performance_name(values)
    published = (over, relative) if name == "mPC" else (math.nan, math.nan)
    return {
        "metric": metric,
        "name": name,
        "cells": 0 if mean is None else mean.size,
        "P": clean,
        "mPC": published[0],
        "rPC": published[1],
        "mean": over,
        "relative": relative,
    }


def _by_group(values: Mapping[str, Mapping[Cell, float]]) -> list[dict[str, object]]:
    """A row a group of cells, with each metric; a group of which a metric lacks a cell has none of it."""
    return [
        {
            "kind": group.kind,
            "name": group.name,
            "cells": group.size,
            **{
                metric: weighted(group, own) if set(group.weights) <= set(own) else np.nan
                for metric, own in values.items()
            },
        }
        for group in summary_groups(values[PRIMARY])
    ]


def _low(own: pd.DataFrame) -> list[str]:
    """In words, which corruptions of a table in percent might be fractions: none of their numbers is above 1."""
    largest = own[own["corruption"] != CLEAN[0]].groupby("corruption", sort=False)[PRIMARY].max()
    low = [str(name) for name in largest.index[largest <= 1]]
    return [f"{PRIMARY} is at most 1 in every cell of {', '.join(low)}, and was read as percent"] if low else []


def _remarks(own: pd.DataFrame, values: Mapping[str, Mapping[Cell, float]]) -> list[str]:
    """What was taken for what, and what is missing, in words."""
    remarks = ["no number is above 1, so all were read as fractions"] if own["fractions"].any() else _low(own)
    if CLEAN not in values[PRIMARY]:
        what = "row" if CLEAN[0] not in set(own["corruption"]) else "AP"
        remarks.append(f"no clean {what}, so there is no P and no rPC")
    missing = missing_cells(values[PRIMARY])
    if missing:
        remarks.append(f"missing from the 15 × 5 cells: {missing_words(missing)}")
    remarks += [
        f"{name} is undefined in {len(own) - len(of_cells)} of {len(own)} cells, which are left out of means"
        for name, of_cells in values.items()
        if len(of_cells) < len(own)
    ]
    return remarks

"""Scores from a table of accuracies, as papers and leaderboards publish them: no images, hence no intervals."""

import math
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from robustbench_bi.analysis.groups import Group, error_groups, mean_errors_beside, summary_groups, weighted
from robustbench_bi.analysis.measured import Measurements
from robustbench_bi.corruptions import CORRUPTIONS
from robustbench_bi.data.sources import SOURCES
from robustbench_bi.errors import DataError, UnknownNameError
from robustbench_bi.ground.cells import CLEAN, MEAN, SEVERITIES, Cell, cell_label, cells_by_corruption
from robustbench_bi.metrics.naming import PUBLISHED_IMAGES, coverage, qualify
from robustbench_bi.metrics.robustness import benchmark_corruptions, corruption_error_weights, missing_cells
from robustbench_bi.tasks import TASKS

_NORMALISER = "alexnet"


def read_cells(path: str | Path) -> pd.DataFrame:
    """Read a table of accuracies, and check it.

    Args:
        path: CSV with the columns corruption, severity and top1 (percent), and where wanted model, n (images a cell)
            and data (as `export` writes it); others are passed over. Clean is corruption "clean" or "none". An empty
            severity, or no such column, means the mean over the five severities.

    Returns:
        A frame with model (the file's name where there is no such column), corruption, severity (0 for clean and for
        means), top1, n (NaN where it is not told) and data (empty where it is not told).

    Raises:
        DataError: the file cannot be read, lacks a column, or a row is not as above, stands twice, or looks like a
            fraction from 0 to 1.
        UnknownNameError: a corruption is unknown.
    """
    path = Path(path)
    raw = read_table(path)
    missing = [name for name in ("corruption", "top1") if name not in raw]
    if missing:
        raise DataError(
            f"{path} must have the columns corruption, severity and top1 (AP for detectors; also model, if there are "
            f"several), separated by commas, got {', '.join(raw.columns)}; missing: {', '.join(missing)}"
        )
    rows = []
    for number, row in enumerate(raw.to_dict(orient="records"), start=1):
        try:
            rows.append(_read_row({str(name): str(value).strip() for name, value in row.items()}))
        except (DataError, UnknownNameError) as error:
            raise type(error)(f"{path}, row {number}: {error}") from None
    cells = pd.DataFrame(rows)
    cells["model"] = raw["model"].str.strip() if "model" in raw else path.stem
    for model, own in cells.groupby("model", sort=False):
        _check_model(f"{path}, {model}", own)
    cells["data"] = raw["data"].str.strip() if "data" in raw else ""
    return cells[["model", "corruption", "severity", "top1", "n", "data"]]


def read_table(path: Path, expected: str = "corruption, severity, and top1 or AP") -> pd.DataFrame:
    """A CSV file as text, its headings without spaces around them.

    Raises:
        DataError: it cannot be read, has no rows, or has a column twice.
    """
    try:
        with warnings.catch_warnings():
            # Rows longer than the header are cut with no more than this warning.
            warnings.simplefilter("error", pd.errors.ParserWarning)
            own: dict[str, Any] = {"dtype": str, "keep_default_na": False, "encoding": "utf-8-sig"}
            raw: pd.DataFrame = pd.read_csv(path, index_col=False, **own)
            # Pandas gives the second of two equal headings another name.
            headings = pd.read_csv(path, header=None, nrows=1, **own).iloc[0].str.strip()
    except FileNotFoundError:
        raise DataError(f"no table at {path}; expected a CSV file with {expected}") from None
    except (OSError, ValueError, pd.errors.ParserWarning) as error:
        why = str(error).strip().rstrip(".")
        raise DataError(f"{path} cannot be read as CSV: {why}; commas must separate its columns") from error
    raw.columns = raw.columns.str.strip()
    twice = headings[headings.duplicated() & (headings != "")].tolist()
    if twice:
        raise DataError(f"{path} has the column {twice[0]} twice; keep one of them")
    if not len(raw):
        raise DataError(f"{path} holds no rows; expected {expected}")
    return raw


def _read_row(row: Mapping[str, str]) -> dict[str, object]:
    corruption, severity = read_cell(row["corruption"], row.get("severity", ""))
    top1 = number_in(row["top1"])
    if top1 is None or not 0 <= top1 <= 100:
        raise DataError(f"top1 must be a number from 0 to 100, in percent, got {row['top1']!r}")
    n = number_in(row.get("n", "")) if row.get("n") else math.nan
    if n is None or n <= 0:
        raise DataError(f"n must be the number of images, at least 1, got {row['n']!r}")
    return {"corruption": corruption, "severity": severity, "top1": top1, "n": n}


def read_cell(corruption: str, severity: str) -> Cell:
    """The cell of a row, as `read_cells` says.

    Raises:
        DataError: there is no such severity.
        UnknownNameError: there is no such corruption.
    """
    if corruption in ("clean", CLEAN[0]):
        if severity and number_in(severity) != CLEAN[1]:
            raise DataError(f"clean has no severity; leave it empty or 0, got {severity!r}")
        return CLEAN
    name = CORRUPTIONS[corruption].name
    if not severity:
        return name, MEAN
    value = number_in(severity)
    if value not in SEVERITIES:
        raise DataError(f"severity must be an integer from 1 to 5, or empty for the mean of all five, got {severity!r}")
    return name, int(value)


def number_in(text: str) -> float | None:
    """A finite number as it is written; None where it is none."""
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _check_model(label: str, own: pd.DataFrame) -> None:
    """Check what only shows across the rows of a model."""
    check_cells(label, own)
    largest = float(own["top1"].max())
    if largest <= 1:
        raise DataError(
            f"{label}: top1 must be in percent, from 0 to 100, but the largest value is {largest:g}, "
            "which looks like fractions; multiply by 100"
        )


def check_cells(label: str, own: pd.DataFrame) -> None:
    """Check that each cell has one row, and no corruption both its mean and single severities.

    Raises:
        DataError: it is not so; the message begins with the label.
    """
    cells: list[Cell] = []
    for corruption, severity in zip(own["corruption"], own["severity"], strict=True):
        cell = (str(corruption), int(severity))
        if cell in cells:
            raise DataError(f"{label}: {cell_label(cell)} appears twice; each cell must have one row")
        cells.append(cell)
    for corruption, group in cells_by_corruption(cells).items():
        if (corruption, MEAN) in group and len(group) > 1:
            raise DataError(f"{label}: {corruption} has both a mean and single severities; keep one of them")


def score(cells: pd.DataFrame, normaliser: pd.DataFrame | None = None) -> Measurements:
    """Means, corruption errors, mCE and relative mCE of every model of a table.

    Args:
        cells: from `read_cells`.
        normaliser: from `read_cells`, the network to divide by: one model, or several of which one is AlexNet. By
            default AlexNet's published errors on ImageNet-C.

    Returns:
        A row for each model and each of clean, the mean over ImageNet-C's corruptions, categories, corruptions, mCE and
        relative mCE: model, kind, name, n (NaN where the table does not tell), cells, top1, delta (to clean),
        corruption_error, and in the row of mCE mean_error, the plain mean of the errors that it normalises. mCE bears a
        qualified name unless all 15 corruptions are there at five severities, over 50,000 images where the table tells
        n, relative to AlexNet. Its notes list what is missing.

    Raises:
        DataError: the normaliser holds several models, none of them AlexNet.

    Example:
        >>> frame = pd.DataFrame({"model": "net", "corruption": ["none", "fog", "snow"], "severity": 0, "n": math.nan,
        ...     "top1": [76.0, 45.8, 32.5]})
        >>> score(frame).frame[["name", "top1"]].dropna().values.tolist()[:2]
        [['clean', 76.0], ['mean (2 of 15)', 39.15]]
    """
    divisors, reference = (None, "AlexNet") if normaliser is None else _one_normaliser(normaliser)
    frames, notes = [], []
    for model, own in cells.groupby("model", sort=False):
        frame, remarks = _score_model(own, divisors, reference)
        frame.insert(0, "model", str(model))
        frames.append(frame)
        notes += [f"{model}: {remark}" for remark in remarks]
    joined = pd.concat(frames, ignore_index=True)
    if joined["n"].notna().all():
        joined["n"] = joined["n"].astype(int)
    source = "AlexNet's published errors on ImageNet-C" if divisors is None else f"the errors of {reference} as given"
    caption = "Accuracies as given, in percent, without intervals, which need per-image records." + (
        f" Corruption errors are relative to {source}." if joined["corruption_error"].notna().any() else ""
    )
    return Measurements(joined, TASKS["classification"], caption, tuple(notes))


def _one_normaliser(normaliser: pd.DataFrame) -> tuple[dict[Cell, float], str]:
    """Errors of the network to divide by, and its name."""
    models = list(normaliser["model"].unique())
    chosen = models if len(models) == 1 else [name for name in models if str(name).lower() == _NORMALISER]
    if len(chosen) != 1:
        raise DataError(f"a normaliser must be one model, or contain one named AlexNet, got {', '.join(models)}")
    return _errors(normaliser[normaliser["model"] == chosen[0]]), str(chosen[0])


def _errors(own: pd.DataFrame) -> dict[Cell, float]:
    rows = zip(own["corruption"], own["severity"], own["top1"], strict=True)
    return {(str(corruption), int(severity)): 100.0 - float(top1) for corruption, severity, top1 in rows}


def _score_model(
    own: pd.DataFrame, divisors: Mapping[Cell, float] | None, reference: str
) -> tuple[pd.DataFrame, list[str]]:
    errors = _errors(own)
    top1 = {cell: 100.0 - error for cell, error in errors.items()}
    sizes = own["n"].dropna().unique()
    foreign = [] if divisors is not None else _without_errors_of_alexnet(own)
    reasons = coverage(errors, divisors)
    if len(sizes) and (len(sizes) > 1 or sizes[0] != PUBLISHED_IMAGES):
        reasons.append("n=" + "-".join(f"{size:,.0f}" for size in sorted({sizes.min(), sizes.max()})))
    if _NORMALISER not in reference.lower():
        reasons.append(f"relative to {reference}")
    of_corruptions = {} if foreign else corruption_error_weights(errors, divisors)
    corruption_errors = {
        name: sum(weight * errors[cell] for cell, weight in weights.items()) for name, weights in of_corruptions.items()
    }
    rows = []
    for group in summary_groups(errors):
        value = weighted(group, top1)
        delta = math.nan if group.kind == "clean" else value - top1.get(CLEAN, math.nan)
        rows.append(_row(group, value, delta, corruption_errors.get(group.name, math.nan)))
    normalised = [] if foreign else error_groups(errors, qualify(reasons), divisors)
    rows += [_row(group, math.nan, math.nan, weighted(group, errors)) for group in normalised]
    frame = pd.DataFrame(rows)
    for group in mean_errors_beside(normalised, errors):
        frame.loc[frame["kind"] == group.kind, "mean_error"] = weighted(group, errors)
    frame.insert(2, "n", sizes[0] if len(sizes) == 1 else math.nan)
    if foreign:
        return frame, [f"no corruption errors: AlexNet's errors on ImageNet-C do not apply to {', '.join(foreign)}"]
    return frame, _remarks(errors, corruption_errors)


def _without_errors_of_alexnet(own: pd.DataFrame) -> list[str]:
    """Of the data that a table names, those that AlexNet's published errors do not apply to."""
    named = sorted(set(own["data"])) if "data" in own else []
    kinds = {name: name.partition(":")[0] for name in named}
    return [name for name, kind in kinds.items() if kind in SOURCES and not SOURCES[kind].mce_applies]


def _row(group: Group, top1: float, delta: float, corruption_error: float) -> dict[str, object]:
    return {
        "kind": group.kind,
        "name": group.name,
        "cells": group.size,
        "top1": top1,
        "delta": delta,
        "corruption_error": corruption_error,
    }


def _remarks(errors: Mapping[Cell, float], corruption_errors: Mapping[str, float]) -> list[str]:
    """What is missing in a table, in words."""
    remarks = []
    if CLEAN not in errors:
        remarks.append("no clean row, so there is no difference to clean and no relative mCE")
    missing = missing_cells(errors)
    if missing:
        remarks.append(f"missing from ImageNet-C: {missing_words(missing)}")
    unknown = [name for name in cells_by_corruption(errors) if name not in corruption_errors]
    if unknown:
        remarks.append(f"no corruption error, because the normaliser lacks cells of: {', '.join(unknown)}")
    return remarks


def missing_words(missing: Sequence[Cell]) -> str:
    """What `missing_cells` names, in words: corruptions that lack the same severities together.

    Example:
        >>> missing_words([("fog", 0), ("snow", 2), ("snow", 4), ("frost", 2), ("frost", 4), ("pixelate", 3)])
        'fog; severities 2, 4 of snow, frost; pixelate severity 3'
    """
    lacking: dict[tuple[int, ...], list[str]] = {}
    for corruption, cells in cells_by_corruption(missing).items():
        lacking.setdefault(tuple(severity for _, severity in cells), []).append(corruption)
    parts = []
    for severities, corruptions in lacking.items():
        of = "every corruption" if len(corruptions) == len(benchmark_corruptions()) else ", ".join(corruptions)
        if severities == (MEAN,):
            parts.append(of)
        elif len(corruptions) == 1:
            parts.append(", ".join(cell_label((of, severity)) for severity in severities))
        else:
            word = "severity" if len(severities) == 1 else "severities"
            parts.append(f"{word} {', '.join(map(str, severities))} of {of}")
    return "; ".join(parts)

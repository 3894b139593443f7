"""Rows as in timm's tables of results (results/results-imagenet.csv of its repository)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from robustbench_bi.analysis.captions import run_labels
from robustbench_bi.analysis.summary import summary_frame
from robustbench_bi.analysis.text import rounded
from robustbench_bi.reports.exports.checks import need_classifiers, need_clean
from robustbench_bi.runs.run import Run


def as_timm_rows(runs: Sequence[Run]) -> str:
    """A row for each run with timm's columns, of clean images, and behind them top-1 under corruption.

    Args:
        runs: finished runs of classifiers with clean images.

    Returns:
        CSV with model, img_size, top1, top1_err, top5, top5_err (percent), param_count (millions), crop_pct,
        interpolation, and of the mean over ImageNet-C's corruptions corrupted_top1, corrupted_top1_err and which of
        them, corrupted_mean_of; then images, and the ends of the 95 % intervals of both, top1_low, top1_high,
        corrupted_top1_low and corrupted_top1_high. Empty where a run has none of them, and where a number is not known.

    Raises:
        InputError: a run is of detection, or has no clean images.
    """
    need_classifiers(runs, "timm")
    rows = [{"model": label, **_row(run)} for label, run in zip(run_labels(runs), runs, strict=True)]
    text: str = pd.DataFrame(rows).to_csv(index=False, lineterminator="\n")
    return text


def _row(run: Run) -> dict[str, Any]:
    need_clean(run, "timm")
    config, summary = run.config, summary_frame(run).frame.set_index("kind")
    clean, parameters = summary.loc["clean"], config["runtime"].get("parameters")
    row = {
        "img_size": config["input_size"],
        "top1": rounded(clean["top1"], 3),
        "top1_err": rounded(100 - clean["top1"], 3),
        "top5": rounded(clean["top5"], 3),
        "top5_err": rounded(100 - clean["top5"], 3),
        "param_count": round(parameters / 1e6, 2) if parameters else None,
        "crop_pct": round(config["input_size"] / config["resize_size"], 3) if config["resize_size"] else None,
        "interpolation": config["interpolation"],
    }
    mean = summary.loc["mean"] if "mean" in summary.index else None
    top1 = None if mean is None else rounded(mean["top1"], 3)
    error = None if mean is None else rounded(100 - mean["top1"], 3)
    return row | {
        "corrupted_top1": top1,
        "corrupted_top1_err": error,
        "corrupted_mean_of": None if mean is None else mean["name"],
        "images": config["n"],
        **_ends("top1", clean),
        **_ends("corrupted_top1", mean),
    }


def _ends(name: str, row: Any) -> dict[str, float | None]:
    return {f"{name}_{end}": None if row is None else rounded(row[f"top1_{end}"], 3) for end in ("low", "high")}

"""Plain tables and names with numbers, which any program reads."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from robustbench_bi.analysis.captions import run_labels
from robustbench_bi.analysis.described import data_name
from robustbench_bi.analysis.summary import cells_frame, summary_frame
from robustbench_bi.ground.cells import CLEAN
from robustbench_bi.runs.run import Run
from robustbench_bi.tasks.chosen import ALL


def as_csv(runs: Sequence[Run]) -> str:
    """All cells of all runs: `cells_frame`, with the data and the fingerprint of each run.

    Args:
        runs: finished runs of one task.

    Returns:
        CSV with the columns model, data, fingerprint, corruption, severity, n, and the numbers of the task; of
        classification top1, top5 (percent), loss (nats), top1_low and top1_high (the 95 % interval).
    """
    frame = cells_frame(runs).frame
    labels = run_labels(runs)
    of_run = dict(zip(labels, runs, strict=True))
    frame.insert(1, "data", [data_name(of_run[label].config) for label in frame["model"]])
    frame.insert(2, "fingerprint", [of_run[label].config["fingerprint"] for label in frame["model"]])
    text: str = frame.to_csv(index=False, float_format="%.10g", lineterminator="\n")
    return text


def as_flat_json(runs: Sequence[Run]) -> str:
    """The numbers of the runs by names with slashes: `top1/fog/3`, `top1/clean`, `flip_rate/mean`, `mce`; and `n`.

    The ends of a 95 % interval have the number's name with `/low` and `/high`. Names of several runs begin with the
    model's. What is not defined is left out; so is an mCE that is not by the protocol of ImageNet-C, for its name would
    hide that.

    Args:
        runs: finished runs of one task.

    Returns:
        A JSON object, names to numbers.
    """
    numbers: dict[str, float] = {}
    for label, run in zip(run_labels(runs), runs, strict=True):
        start = f"{label}/" if len(runs) > 1 else ""
        numbers |= {f"{start}{name}": value for name, value in _numbers(run).items() if math.isfinite(value)}
    return json.dumps(numbers, indent=1, ensure_ascii=False) + "\n"


def _numbers(run: Run) -> dict[str, float]:
    numbers: dict[str, float] = {"n": float(run.config["n"])}

    def add(name: str, row: Mapping[Any, Any], column: str) -> None:
        ends = {f"{name}/{end}": row.get(f"{column}_{end}", math.nan) for end in ("low", "high")}
        numbers.update({name: float(row[column]), **{end: float(value) for end, value in ends.items()}})

    cells = cells_frame([run]).frame
    columns = [name for name in run.cells().columns if name not in ("corruption", "severity", "n")]
    for row in cells.to_dict("records"):
        cell = "clean" if (row["corruption"], row["severity"]) == CLEAN else f"{row['corruption']}/{row['severity']}"
        for column in columns:
            add(f"{column}/{cell}", row, column)
    summary = summary_frame(run, metrics=ALL)
    measures = [measure.name for measure in (*summary.task.measures, *summary.further)]
    for row in summary.frame.to_dict("records"):
        if row["kind"] in ("clean", "mean"):
            for name in measures:
                add(f"{name}/{row['kind']}", row, name)
        elif row["kind"] == "severity":
            add(f"right_under_all/{row['name'].split()[1]}", row, "right_under_all")
        elif row["name"] in ("mCE", "relative mCE"):
            add(row["kind"], row, "corruption_error")
    return numbers

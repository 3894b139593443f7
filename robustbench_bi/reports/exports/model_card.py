"""Metadata of a Hugging Face model card: the `model-index` of its YAML header."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from robustbench_bi.analysis.captions import run_labels
from robustbench_bi.analysis.described import data_name
from robustbench_bi.analysis.groups import SCORES
from robustbench_bi.analysis.summary import summary_frame
from robustbench_bi.analysis.text import rounded
from robustbench_bi.ground.cells import CLEAN
from robustbench_bi.metrics.naming import PUBLISHED_IMAGES
from robustbench_bi.reports.exports.checks import need_classifiers
from robustbench_bi.runs.run import Run

_TASK = {"type": "image-classification", "name": "Image Classification"}
_DIGITS = 3


def as_model_card(runs: Sequence[Run]) -> str:
    """Accuracies in percent of every cell, their mean, and mCE under the name that it may have.

    A cell is a result with the corruption as `config` and the severity as `split` of its data set.

    Args:
        runs: finished runs of classifiers.

    Returns:
        A YAML header between two lines of three dashes.

    Raises:
        InputError: a run is of detection.
    """
    import yaml

    need_classifiers(runs, "model-card")
    index = [{"name": label, "results": _results(run)} for label, run in zip(run_labels(runs), runs, strict=True)]
    text: str = yaml.safe_dump({"model-index": index}, sort_keys=False, allow_unicode=True, width=120)
    return f"---\n{text}---\n"


def _results(run: Run) -> list[dict[str, Any]]:
    of_cells = []
    for row in run.cells().to_dict("records"):
        cell = (str(row["corruption"]), int(row["severity"]))
        metrics = [_metric("accuracy", row["top1"], "top-1 (%)"), _metric("accuracy", row["top5"], "top-5 (%)")]
        part = {} if cell == CLEAN else {"config": cell[0], "split": f"severity-{cell[1]}"}
        of_cells.append(_result(_data(run.config, cell == CLEAN) | part, metrics))
    return [*of_cells, *_means(run)]


def _means(run: Run) -> list[dict[str, Any]]:
    """The mean over corruptions, and what is one number of corruption errors."""
    frame = summary_frame(run).frame
    found = []
    for row in frame[frame["kind"].isin(["mean", *SCORES])].to_dict("records"):
        scored = row["kind"] in SCORES
        kind = row["kind"] if scored else "accuracy"
        name = f"{row['name']} (%)" if scored else f"top-1, {row['name']} (%)"
        found.append(_metric(kind, row["corruption_error" if scored else "top1"], name))
    return [_result(_data(run.config, clean=False), found)] if found else []


def _metric(kind: str, value: float, name: str) -> dict[str, Any]:
    return {"type": kind, "value": rounded(value, _DIGITS), "name": name}


def _result(data: Mapping[str, str], metrics: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    return {"task": dict(_TASK), "dataset": dict(data), "metrics": [dict(metric) for metric in metrics]}


def _data(config: Mapping[str, Any], clean: bool) -> dict[str, str]:
    """The data set of a result: what it is called on the Hub, as far as it is known, and in words.

    Of ImageNet it is called only where there are as many images as in its validation set: a few of them, or photographs
    of one's own of its classes, are another data set.
    """
    whole = config["class_set"] == "imagenet-1k" and config["data"] == "folder" and config["n"] == PUBLISHED_IMAGES
    kind = "imagenet-1k" if whole else str(config["data"])
    name = f"{data_name(config)}, {config['n']:,} images"
    if clean:
        return {"type": kind, "name": name}
    if config["generator"] == "files":
        return {"type": kind, "name": f"{name}, stored corrupted files"}
    made = f"corrupted by bivo-robust with the constants of {config['table']}"
    return {"type": f"{kind}-corrupted", "name": f"{name}, {made}"}

"""Predictions as ImageNet-X reads them (github.com/facebookresearch/imagenetx)."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from robustbench_bi.errors import InputError
from robustbench_bi.ground.cells import CLEAN
from robustbench_bi.reports.exports.checks import need_classifiers, need_clean, need_one
from robustbench_bi.runs.run import Run


def as_predictions(runs: Sequence[Run]) -> str:
    """The prediction on each clean picture.

    Args:
        runs: one finished run on pictures of ImageNet's validation set, with clean ones.

    Returns:
        CSV with file_name (without its folder), predicted_class (0 to 999) and predicted_probability.

    Raises:
        InputError: there are several runs, or it is of other classes or has no clean pictures.
        DataError: the run does not hold the names of its pictures.
    """
    run = need_one(runs, "imagenet-x")
    need_classifiers(runs, "imagenet-x")
    need_clean(run, "imagenet-x")
    if run.config["class_set"] != "imagenet-1k":
        raise InputError(f"imagenet-x is for images of ImageNet's 1,000 classes, but {run.name} has other classes")
    records = run.records(names=True)
    clean = records[records["corruption"] == CLEAN[0]]
    table = {
        "file_name": [str(name).rsplit("/", 1)[-1] for name in clean["name"]],
        "predicted_class": clean["prediction"],
        "predicted_probability": clean["confidence"].astype(float).round(7),
    }
    text: str = pd.DataFrame(table).to_csv(index=False, lineterminator="\n")
    return text

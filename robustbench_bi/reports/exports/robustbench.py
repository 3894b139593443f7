"""An entry of RobustBench's leaderboard of common corruptions, of a run on its 5,000 pictures."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd

import robustbench_bi.metrics
from robustbench_bi.analysis.text import rounded
from robustbench_bi.errors import InputError
from robustbench_bi.ground.cells import CLEAN, SEVERITIES
from robustbench_bi.metrics.naming import departures
from robustbench_bi.metrics.robustness import benchmark_corruptions, cell_errors
from robustbench_bi.reports.exports.checks import need_classifiers, need_clean, need_one
from robustbench_bi.runs.run import Run

PICTURES = 5000
NAMES = "1f7d0bdb93c332b850911832011aaa2ce1512c406b44d81e7d4a6877c78502a0"
"""SHA-256 of the sorted file names, a line each, in helper_files/imagenet_test_image_ids.txt of RobustBench."""
_OWN = (
    "Corruptions made by bivo-robust with the constants of ImageNet-C; RobustBench reads the published files of "
    "ImageNet-C."
)


def as_robustbench_entry(runs: Sequence[Run]) -> str:
    """The fields of an entry, as model_info/imagenet/corruptions/*.json of RobustBench has them.

    Its mCE is not that of ImageNet-C: the normaliser is AlexNet on the same 5,000 pictures.

    Args:
        runs: one finished run of all 15 corruptions at five severities and clean, on RobustBench's pictures.

    Returns:
        A JSON object; what only its author knows is null. A footnote says where the corrupted pictures are not the
        published ones, or not made or counted as these are.

    Raises:
        InputError: the run is of other pictures, or lacks cells.
    """
    run = need_one(runs, "robustbench")
    need_classifiers(runs, "robustbench")
    need_clean(run, "robustbench")
    _check_pictures(run)
    errors = cell_errors(run.cells())
    cells = [(name, severity) for name in benchmark_corruptions() for severity in SEVERITIES]
    lacking = [cell for cell in cells if cell not in errors]
    if lacking:
        raise InputError(
            f"robustbench needs 15 corruptions at five severities, but {run.name} lacks {len(lacking)} of 75 cells, "
            f"the first is {lacking[0][0]} severity {lacking[0][1]}"
        )
    of_corruption = {name: sum(errors[name, severity] for severity in SEVERITIES) / 5 for name, _ in cells}
    ratios = [100 * of_corruption[name] / error for name, error in _alexnet_errors().items()]
    entry = {
        "link": None,
        "name": run.name,
        "authors": None,
        "additional_data": None,
        "number_forward_passes": 1,
        "dataset": "imagenet",
        "venue": None,
        "architecture": None,
        "eps": None,
        "clean_acc": _percent(100 - errors[CLEAN]),
        "reported": None,
        "corruptions_acc": _percent(100 - sum(of_corruption.values()) / len(of_corruption)),
        "corruptions_mce": _percent(sum(ratios) / len(ratios)),
        "footnote": _footnote(run.config),
    }
    return json.dumps(entry, indent=2, ensure_ascii=False) + "\n"


def _footnote(config: Mapping[str, Any]) -> str | None:
    """What keeps an entry from being one of the published files; None where nothing does."""
    found = [] if config["generator"] == "files" else [_OWN]
    if reasons := departures(config):
        found.append(f"Not as in ImageNet-C: {', '.join(reasons)}.")
    return " ".join(found) or None


def _percent(value: float) -> str:
    return str(rounded(value, 2))


def _check_pictures(run: Run) -> None:
    """Refuse a run on other pictures than RobustBench's.

    Raises:
        InputError: it is.
    """
    names = run.images().get("name", pd.Series(dtype=str))
    files = sorted(str(name).rsplit("/", 1)[-1] for name in names)
    if hashlib.sha256("\n".join(files).encode()).hexdigest() != NAMES:
        raise InputError(
            f"robustbench is only for RobustBench's {PICTURES:,} images, but {run.name} is of {run.config['n']:,} "
            "others; evaluate with --images imagenet_test_image_ids.txt, a file of RobustBench's repository"
        )
    if run.config["table"] != "imagenet-c":
        raise InputError(f"robustbench needs the constants of imagenet-c, but {run.name} has {run.config['table']}'s")


@cache
def _alexnet_errors() -> dict[str, float]:
    path = Path(robustbench_bi.metrics.__file__).with_name("alexnet_robustbench.csv")
    table = pd.read_csv(path, comment="#", index_col="corruption")
    return {str(name): float(error) for name, error in table["mean_error"].items()}

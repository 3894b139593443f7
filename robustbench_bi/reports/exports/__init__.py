"""What other programs read of finished runs: a table of forms, one function each, runs → text.

Example:
    >>> EXPORTS["csv"].summary
    'one table of all cells of all runs'
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from robustbench_bi.ground.registry import Table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from robustbench_bi.runs.run import Run


@dataclass(frozen=True)
class Export:
    """A row of `EXPORTS`.

    Attributes:
        name: what is typed.
        code: the function, finished runs → text.
        summary: one line.
        to_do: what must be filled in or known by who uses it; empty where nothing.
    """

    name: str
    code: str
    summary: str
    to_do: str = ""


_HERE = "robustbench_bi.reports.exports"

EXPORTS = Table(
    "format",
    [
        Export("csv", f"{_HERE}.plain:as_csv", "one table of all cells of all runs"),
        Export("json", f"{_HERE}.plain:as_flat_json", "one flat set of names and numbers, for MLflow and W&B"),
        Export("timm", f"{_HERE}.timm_rows:as_timm_rows", "rows as in timm's tables of results"),
        Export(
            "model-card",
            f"{_HERE}.model_card:as_model_card",
            "metadata of a Hugging Face model card",
            "Put it at the top of README.md of the model's repository.",
        ),
        Export(
            "robustbench",
            f"{_HERE}.robustbench:as_robustbench_entry",
            "a RobustBench entry, from a run on its 5,000 images",
            "Fill in what is null: link, authors, venue, architecture and additional_data.",
        ),
        Export(
            "imagenet-x",
            f"{_HERE}.imagenet_x:as_predictions",
            "predictions on clean images, as ImageNet-X reads them",
        ),
    ],
)


def export_runs(runs: Sequence[Run], form: str, out: Path) -> Path:
    """Write finished runs to a file in a form that another program reads.

    Args:
        runs: finished runs of classifiers, at least one.
        form: a row of `EXPORTS`.
        out: the file.

    Returns:
        The path of the file.

    Raises:
        UnknownNameError: there is no such form.
        InputError: the runs do not have what it needs.
        RunMismatchError: a run is not finished.
        DataError: records are damaged, or the file cannot be written.
    """
    from robustbench_bi.errors import InputError
    from robustbench_bi.ground.atomic import replacing

    if not runs:
        raise InputError("an export needs at least one run, got none")
    text: str = EXPORTS.load(form)(runs)
    with replacing(out) as partial:
        partial.write_text(text, encoding="utf-8", newline="\n")
    return out

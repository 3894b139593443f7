"""What several exports ask of a run."""

from __future__ import annotations

from collections.abc import Sequence

from robustbench_bi.errors import InputError
from robustbench_bi.ground.cells import CLEAN
from robustbench_bi.runs.run import Run


def need_classifiers(runs: Sequence[Run], form: str) -> None:
    """Refuse runs of another task than classification.

    Raises:
        InputError: one is.
    """
    for run in runs:
        if run.task.name != "classification":
            raise InputError(
                f"{form} is for classifiers, but {run.name} is of {run.task.name}; use --format csv or json"
            )


def need_clean(run: Run, form: str) -> None:
    """Refuse a run without clean images.

    Raises:
        InputError: it has none.
    """
    if CLEAN not in run.cell_names:
        raise InputError(f"{form} needs clean images, but {run.name} has none; evaluate it with --clean PATH")


def need_one(runs: Sequence[Run], form: str) -> Run:
    """The run, where there is one.

    Raises:
        InputError: there are several.
    """
    if len(runs) != 1:
        raise InputError(f"{form} takes one run, got {len(runs)}; export each run to its own file")
    return runs[0]

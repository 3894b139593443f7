"""Baselines of the gate: what a run's primary number is made of, image by image, as one small file for a repository.

The file is JSON. Of classification, the counts of every cell can be read in it, and a change of it in a review; one bit
an image and cell, whether the image was right, is packed beside each count. It holds no weights and nothing that is
executed, and it carries its own checksum. The checksum finds damage and careless edits; it is no signature.
"""

import hashlib
import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robustbench_bi.analysis.comparison import settings_of
from robustbench_bi.analysis.described import data_name, describe_model
from robustbench_bi.analysis.measured import measured
from robustbench_bi.analysis.verdicts import check_baseline_file
from robustbench_bi.errors import BivoRobustError, DataError
from robustbench_bi.ground.atomic import replacing
from robustbench_bi.ground.cells import Cell
from robustbench_bi.metrics.intervals import Grid, grid_of
from robustbench_bi.runs.run import Run
from robustbench_bi.tasks import Kept, Task, task_of
from robustbench_bi.tasks.packing import pack, unpack

FORMAT = "bivo-robust baseline"
SCHEMA = 1


@dataclass(frozen=True, eq=False)
class Outcomes:
    """What the gate needs of a run: its primary number, image by image, and what the run was of.

    Attributes:
        run: the model's "name" and the run's "fingerprint", for the reader.
        settings: `settings_of` the run's configuration; the model and its weights are not among them.
        image_ids: int64 (n,), increasing.
        cells: the C cells.
        kept: what the task keeps; of classification, the labels and which images are right in which cell.
        described: of a run, its "model" and "data" in words, for the reader; a baseline's file does not keep them.
    """

    run: Mapping[str, str]
    settings: Mapping[str, Any]
    image_ids: NDArray[np.int64]
    cells: tuple[Cell, ...]
    kept: Kept
    described: Mapping[str, str] = field(default_factory=dict)

    @property
    def task(self) -> Task:
        """What the run was asked."""
        return task_of(self.settings)

    @property
    def grid(self) -> Grid:
        """The images and cells."""
        return grid_of(self.image_ids, self.kept.labels, self.cells)


def outcomes_of(run: Run) -> Outcomes:
    """Read what the gate needs of a finished run.

    Raises:
        RunMismatchError: the run is not finished.
        DataError: a record file is damaged, or the records do not hold what the task wants of every image and cell.
    """
    found = measured(run)
    return Outcomes(
        run={"name": run.name, "fingerprint": str(run.config["fingerprint"])},
        settings=settings_of(run.config),
        image_ids=found.grid.image_ids,
        cells=found.grid.cells,
        kept=found.task.load("keep")(found.records, found.grid),
        described={"model": describe_model(run.config, run.name), "data": data_name(run.config)},
    )


def write_baseline(outcomes: Outcomes, path: Path) -> None:
    """Write a baseline; the same run gives the same file.

    Raises:
        DataError: it cannot be written.
    """
    of_all, of_cells = outcomes.task.load("pack")(outcomes.kept)
    contents = {
        "format": FORMAT,
        "schema": SCHEMA,
        "run": dict(outcomes.run),
        "settings": dict(outcomes.settings),
        "n": len(outcomes.image_ids),
        # Ids are positions in a listing, so their steps are mostly alike and pack to almost nothing.
        "image_id_steps": pack(np.diff(outcomes.image_ids, prepend=0).astype("<i8")),
        **of_all,
        "cells": [
            {"corruption": name, "severity": severity, **own}
            for (name, severity), own in zip(outcomes.cells, of_cells, strict=True)
        ],
    }
    text = json.dumps({**contents, "checksum": _checksum(contents)}, indent=1)
    with replacing(path) as partial:
        partial.write_text(text + "\n", encoding="utf-8")


def read_baseline(path: Path) -> Outcomes:
    """Read a baseline, and check that it is whole.

    Raises:
        DataError: there is no such file, or it is not a baseline, of another schema, damaged or changed by hand.

    Example:
        >>> read_baseline(Path("b.json"))
        Traceback (most recent call last):
        ...
        robustbench_bi.errors.DataError: no baseline at b.json; make one with: bivo-robust gate RUN --save b.json
    """
    check_baseline_file(path)
    try:
        contents = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path} cannot be read as a baseline ({error}); save it again with gate --save") from error
    if not isinstance(contents, dict) or contents.get("format") != FORMAT:
        raise DataError(f"{path} is not a baseline; expected a file that gate --save wrote")
    if contents.get("schema") != SCHEMA:
        raise DataError(
            f"{path} has baseline schema {contents.get('schema')}; this version reads {SCHEMA}. "
            "Save it again with gate --save"
        )
    if contents.pop("checksum", None) != _checksum(contents):
        raise DataError(f"{path} was changed after it was saved: its checksum does not match. Save it again")
    try:
        return _parse(contents)
    except BivoRobustError:
        raise
    except (KeyError, TypeError, ValueError, OverflowError, zlib.error) as error:
        raise DataError(f"{path} is not a valid baseline ({error!r}); save it again with gate --save") from error


def _parse(contents: Mapping[str, Any]) -> Outcomes:
    """The outcomes of a file whose checksum fits.

    Raises:
        KeyError, TypeError, ValueError, OverflowError, zlib.error: it was made by another program, and wrongly.
    """
    n = int(contents["n"])
    ids = np.cumsum(unpack(contents["image_id_steps"], n, "<i8"))
    cells = tuple((str(cell["corruption"]), int(cell["severity"])) for cell in contents["cells"])
    if n < 1 or (np.diff(ids) <= 0).any() or not cells or len(set(cells)) < len(cells):
        raise ValueError("images and cells must be there, each once")
    # Fields that were added after it was saved are absent, and read as their defaults where they are compared.
    settings = dict(contents["settings"])
    return Outcomes(
        run={"name": str(contents["run"]["name"]), "fingerprint": str(contents["run"]["fingerprint"])},
        settings=settings,
        image_ids=ids.astype(np.int64),
        cells=cells,
        kept=task_of(settings).load("unpack")(contents, n),
    )


def _checksum(contents: Mapping[str, Any]) -> str:
    """SHA-256 of the contents, however the file is laid out."""
    return hashlib.sha256(json.dumps(contents, sort_keys=True, separators=(",", ":")).encode()).hexdigest()

"""Baselines of the gate: which images of a run were right in which cell, as one small file for a repository.

The file is JSON: the counts of every cell can be read in it, and a change of it in a review. One bit an image and cell
is packed beside each count. It holds no weights and nothing that is executed, and it carries its own checksum. The
checksum finds damage and careless edits; it is no signature.
"""

import base64
import hashlib
import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robustbench_bi.analysis.comparison import MAY_DIFFER, MUST_AGREE
from robustbench_bi.errors import DataError
from robustbench_bi.ground.atomic import replacing
from robustbench_bi.ground.cells import Cell
from robustbench_bi.metrics import load_scores
from robustbench_bi.metrics.intervals import Grid, arrange
from robustbench_bi.runs.run import Run

FORMAT = "bivo-robust baseline"
SCHEMA = 1
NORMALISATION = ("mean", "std")
SETTINGS = ("data", *MUST_AGREE, *MAY_DIFFER, *NORMALISATION)


@dataclass(frozen=True, eq=False)
class Outcomes:
    """Which images of a run are right in which cell, and what the run was of.

    Attributes:
        run: the model's "name" and the run's "fingerprint", for the reader.
        settings: the fields `SETTINGS` of the run's configuration; the model and its weights are not among them.
        image_ids: int64 (n,), increasing.
        labels: int32 (n,).
        cells: the C cells.
        correct: bool (n, C), whether the label scores highest.
    """

    run: Mapping[str, str]
    settings: Mapping[str, Any]
    image_ids: NDArray[np.int64]
    labels: NDArray[np.integer]
    cells: tuple[Cell, ...]
    correct: NDArray[np.bool_]

    @property
    def grid(self) -> Grid:
        """The images and cells, without rows of records."""
        return Grid(self.image_ids, self.labels, self.cells, np.empty((len(self.image_ids), 0), dtype=np.int64))


def outcomes_of(run: Run) -> Outcomes:
    """Read what the gate needs of a finished run.

    Raises:
        RunMismatchError: the run is not finished.
        DataError: a record file is damaged, or the records do not hold every image once in every cell.
    """
    records = run.records()
    grid = arrange(records)
    correct = load_scores("top1")(records) > 0
    return Outcomes(
        run={"name": run.name, "fingerprint": str(run.config["fingerprint"])},
        settings={field: run.config.get(field) for field in SETTINGS},
        image_ids=grid.image_ids,
        labels=grid.labels,
        cells=grid.cells,
        correct=correct[grid.rows],
    )


def write_baseline(outcomes: Outcomes, path: Path) -> None:
    """Write a baseline; the same run gives the same file.

    Raises:
        DataError: it cannot be written.
    """
    n = len(outcomes.image_ids)
    contents = {
        "format": FORMAT,
        "schema": SCHEMA,
        "run": dict(outcomes.run),
        "settings": dict(outcomes.settings),
        "n": n,
        # Ids are positions in a listing, so their steps are mostly alike and pack to almost nothing.
        "image_id_steps": _pack(np.diff(outcomes.image_ids, prepend=0).astype("<i8")),
        "labels": _pack(outcomes.labels.astype("<i4")),
        "cells": [
            {"corruption": name, "severity": severity, "correct": int(right.sum()), "images": _pack(np.packbits(right))}
            for (name, severity), right in zip(outcomes.cells, outcomes.correct.T, strict=True)
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
    try:
        contents = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DataError(f"no baseline at {path}; make one with: bivo-robust gate RUN --save {path}") from None
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
        raise DataError(f"{path} was changed after it was saved: its checksum does not fit. Save it again")
    try:
        return _parse(contents)
    except (KeyError, TypeError, ValueError, OverflowError, zlib.error) as error:
        raise DataError(f"{path} is not a sound baseline ({error!r}); save it again with gate --save") from error


def _parse(contents: Mapping[str, Any]) -> Outcomes:
    """The outcomes of a file whose checksum fits.

    Raises:
        KeyError, TypeError, ValueError, OverflowError, zlib.error: it was made by another program, and wrongly.
    """
    n = int(contents["n"])
    ids = np.cumsum(_unpack(contents["image_id_steps"], n, "<i8"))
    cells = tuple((str(cell["corruption"]), int(cell["severity"])) for cell in contents["cells"])
    if n < 1 or (np.diff(ids) <= 0).any() or not cells or len(set(cells)) < len(cells):
        raise ValueError("images and cells must be there, each once")
    correct = np.empty((n, len(cells)), dtype=np.bool_)
    for place, cell in enumerate(contents["cells"]):
        correct[:, place] = np.unpackbits(_unpack(cell["images"], (n + 7) // 8, "u1"), count=n)
        if correct[:, place].sum() != cell["correct"]:
            raise ValueError(f"{cell['correct']} correct images, but their bits give {correct[:, place].sum()}")
    return Outcomes(
        run={"name": str(contents["run"]["name"]), "fingerprint": str(contents["run"]["fingerprint"])},
        settings={field: contents["settings"][field] for field in SETTINGS},
        image_ids=ids.astype(np.int64),
        labels=_unpack(contents["labels"], n, "<i4"),
        cells=cells,
        correct=correct,
    )


def _pack(array: NDArray[Any]) -> str:
    return base64.b64encode(zlib.compress(array.tobytes(), 9)).decode("ascii")


def _unpack(text: str, count: int, dtype: str) -> NDArray[Any]:
    """The array of `count` numbers; never more memory than these need, whatever the text says."""
    size = count * np.dtype(dtype).itemsize
    raw = zlib.decompressobj().decompress(base64.b64decode(text, validate=True), size + 1)
    if len(raw) != size:
        raise ValueError(f"expected {size} packed bytes, got {'more' if len(raw) > size else len(raw)}")
    return np.frombuffer(raw, dtype=dtype)


def _checksum(contents: Mapping[str, Any]) -> str:
    """SHA-256 of the contents, however the file is laid out."""
    return hashlib.sha256(json.dumps(contents, sort_keys=True, separators=(",", ":")).encode()).hexdigest()

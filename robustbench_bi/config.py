"""The configuration of an evaluation: which fields make a run what it is, and which only describe how it ran.

The fingerprint is the SHA-256 of the identity fields; it names the run's folder. Runtime fields are written down
beside them and do not enter it, so another batch size or device continues the same run.
"""

from __future__ import annotations

import dataclasses
import datetime
import hashlib
import json
import platform
import re
import shlex
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from robustbench_bi.corruptions import PIXEL_VERSION, resolve_table
from robustbench_bi.errors import DataError, InputError
from robustbench_bi.models.weights import source_hash, weights_hash
from robustbench_bi.records import CLEAN, RECORD_SCHEMA, Cell

if TYPE_CHECKING:
    from torch import nn

    from robustbench_bi.data import Dataset
    from robustbench_bi.data.preprocess import Preprocessing

PRECISIONS = ("fp32", "bf16", "fp16")
GENERATORS = ("bivo-robust", "imagecorruptions", "files")
BLOCK_SIZE = 2048
# Published files were saved as JPEG of quality 85 (make_imagenet_c.py and its variants in hendrycks/robustness). Those
# of 64 pixels were too, but images of that size rarely come from JPEG files, so there the round trip is on demand.
JPEG_TABLES = ("imagenet-c", "imagenet-c-299")


def identity(**options: Any) -> Any:
    """A field that changes what is measured: it enters the fingerprint."""
    return dataclasses.field(metadata={"role": "identity"}, **options)


def runtime(**options: Any) -> Any:
    """A field that changes only how it is computed or shown: recorded, not part of the fingerprint."""
    return dataclasses.field(metadata={"role": "runtime"}, **options)


@dataclass(frozen=True)
class EvalConfig:
    """Everything that determines one run of one model.

    Attributes:
        model: the model's name and options, as `create_model` reports them, and the hash of a user's own code.
        weights_hash: SHA-256 of the state dict.
        data: the kind of source ("demo", "folder", "imagenet-c", …); where it lies is a runtime field.
        listing_hash: SHA-256 of the evaluated images' listing.
        n: images a cell.
        num_classes: classes of the data.
        class_set: "imagenet-1k" where these are ImageNet's 1000, else "other".
        corruptions: names, in table order.
        severities: integers from 1 to 5.
        table: the table of severity constants.
        jpeg: quality of the JPEG round trip after a corruption, or None.
        generator: who makes the corrupted pixels: "bivo-robust", "imagecorruptions", or "files" (published).
        pixel_version: of the code that makes the corrupted pixels.
        seed: keys every random draw, together with corruption, severity and image id.
        input_size, resize_size: pixels; interpolation, mean, std: as in `Preprocessing`.
        precision: of the forward pass: "fp32", "bf16" or "fp16".
        clean: whether the clean cell is part of the run (a folder of published files may lack it).
        block_size: images a record file.
        record_schema: version of the record columns.
        name: the model as the user typed it.
        source: the data source as the user typed it.
        device, batch_size, workers: as chosen.
        broken: images left out because they cannot be decoded, as {image_id, path, reason}.
        command: the command line or call to repeat the run.
        versions: of Python and of the libraries that make numbers.
        started: time of the first start, ISO 8601, UTC.
    """

    model: dict[str, Any] = identity()
    weights_hash: str = identity()
    data: str = identity()
    listing_hash: str = identity()
    n: int = identity()
    num_classes: int = identity()
    class_set: str = identity()
    corruptions: tuple[str, ...] = identity()
    severities: tuple[int, ...] = identity()
    table: str = identity()
    jpeg: int | None = identity()
    generator: str = identity()
    pixel_version: int = identity()
    seed: int = identity()
    input_size: int = identity()
    resize_size: int = identity()
    interpolation: str = identity()
    mean: tuple[float, ...] = identity()
    std: tuple[float, ...] = identity()
    precision: str = identity()
    clean: bool = identity()
    block_size: int = identity(default=BLOCK_SIZE)
    record_schema: int = identity(default=RECORD_SCHEMA)
    name: str = runtime(default="")
    source: str = runtime(default="")
    device: str = runtime(default="cpu")
    batch_size: int = runtime(default=0)
    workers: int = runtime(default=0)
    broken: tuple[dict[str, Any], ...] = runtime(default=())
    command: str = runtime(default="")
    versions: dict[str, str] = runtime(default_factory=dict)
    started: str = runtime(default="")

    @property
    def fingerprint(self) -> str:
        """SHA-256 (hex) of the identity fields."""
        text = json.dumps(self._fields("identity"), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()

    @property
    def folder(self) -> str:
        """Name of the run's folder: the model's name and the first twelve digits of the fingerprint."""
        name = re.sub(r"[^A-Za-z0-9._-]+", "-", self.name).strip("-.") or "model"
        return f"{name}-{self.fingerprint[:12]}"

    @property
    def cells(self) -> list[Cell]:
        """Clean first, then each corruption at each severity."""
        corrupted = [(corruption, severity) for corruption in self.corruptions for severity in self.severities]
        return [CLEAN, *corrupted] if self.clean else corrupted

    def as_json(self) -> dict[str, Any]:
        """What `run.json` holds."""
        return {
            "fingerprint": self.fingerprint,
            **self._fields("identity"),
            "cells": [list(cell) for cell in self.cells],
            "runtime": self._fields("runtime"),
        }

    def _fields(self, role: str) -> dict[str, Any]:
        return {
            field.name: getattr(self, field.name)
            for field in dataclasses.fields(self)
            if field.metadata.get("role") == role
        }


def parse_severities(severities: str | int | Iterable[int]) -> tuple[int, ...]:
    """Read severities from "1-5", "1,3,5", an integer or several; sorted, each once.

    Raises:
        InputError: anything else, or a severity outside 1 to 5.

    Example:
        >>> parse_severities("1-3,5")
        (1, 2, 3, 5)
    """
    if isinstance(severities, int):
        severities = [severities]
    if isinstance(severities, str):
        parts = [re.fullmatch(r"\s*(\d+)(?:\s*-\s*(\d+))?\s*", part) for part in severities.split(",")]
        if not all(parts):
            raise InputError(f'severities must look like "1-5" or "1,3,5", got {severities!r}')
        ranges = [(int(part[1]), int(part[2] or part[1])) for part in parts if part]
        # The ends are checked as they stand: a range is written out only when it is short.
        severities = [n for first, last in ranges for n in (range(first, last + 1) if last <= 5 else (first, last))]
    try:
        chosen = list(severities)
    except TypeError:
        raise InputError(f'severities must look like "1-5" or "1,3,5", got {severities!r}') from None
    for severity in chosen:
        if isinstance(severity, bool) or not isinstance(severity, int) or not 1 <= severity <= 5:
            raise InputError(f"severity must be an integer from 1 to 5, got {severity!r}")
    if not chosen:
        raise InputError('severities must name at least one from 1 to 5, as in "1-5" or "1,3,5"')
    return tuple(sorted(set(chosen)))


def configure_run(
    name: str,
    network: nn.Module,
    prepared: Preprocessing,
    dataset: Dataset,
    *,
    source: str,
    corruptions: tuple[str, ...],
    severities: tuple[int, ...],
    table: str,
    jpeg: int | str | None,
    generator: str,
    **fields: Any,
) -> EvalConfig:
    """The configuration of one model on one dataset, with "auto" settled and what cannot be done refused.

    Args:
        name: the model as the user typed it.
        network: the model, with its weights.
        prepared: its preprocessing on this dataset.
        dataset: the images.
        source: the data source as the user typed it.
        corruptions: names.
        severities: 1 to 5.
        table: a table of constants, or "auto".
        jpeg: a quality, None, "none" or "auto".
        generator: "bivo-robust" or "imagecorruptions"; a source of published files overrides it.
        **fields: the other fields of `EvalConfig`, as they are.

    Raises:
        InputError: an option is out of range, or two contradict each other.
        DataError: the source holds files, but not of all the cells asked for.
    """
    stored = dataset.stored_cells
    if stored is not None:
        _check_stored(dataset, source, [(c, severity) for c in corruptions for severity in severities])
        generator = "files"
        # Published files do not depend on these, and their names are not part of what is measured.
        table, fields["seed"] = "auto", 0
        prepared = dataclasses.replace(prepared, resize_size=prepared.input_size)
    if generator == "imagecorruptions" and resolve_table(table, 224) != "imagenet-c":
        raise InputError(f"imagecorruptions has the constants of imagenet-c only, got table {table!r}")
    constants = "imagenet-c" if generator == "imagecorruptions" else resolve_table(table, prepared.input_size)
    return EvalConfig(
        model={**getattr(network, "identity", {"name": name}), "source": source_hash(network)},
        weights_hash=weights_hash(network),
        data=dataset.kind,
        listing_hash=dataset.listing_hash,
        n=len(dataset),
        num_classes=dataset.num_classes,
        class_set=dataset.class_set,
        corruptions=corruptions,
        severities=severities,
        table=constants,
        jpeg=None if stored is not None else _jpeg_quality(jpeg, constants),
        generator=generator,
        input_size=prepared.input_size,
        resize_size=prepared.resize_size,
        interpolation=prepared.interpolation,
        mean=prepared.mean,
        std=prepared.std,
        pixel_version=PIXEL_VERSION,
        clean=stored is None or CLEAN in stored,
        name=name,
        source=source,
        command=_command(),
        versions=installed_versions(),
        started=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        **fields,
    )


def _check_stored(dataset: Dataset, source: str, wanted: list[Cell]) -> None:
    missing = [cell for cell in wanted if cell not in (dataset.stored_cells or ())]
    if missing:
        raise DataError(
            f"{source} lacks {len(missing)} of the {len(wanted)} cells asked for, the first is "
            f"{missing[0][0]} severity {missing[0][1]}. Choose others with --suite and --severities"
        )


def _jpeg_quality(jpeg: int | str | None, table: str) -> int | None:
    if jpeg == "auto":
        return 85 if table in JPEG_TABLES else None
    if jpeg is None or jpeg == "none":
        return None
    if isinstance(jpeg, bool) or not re.fullmatch(r"[0-9]+", str(jpeg)) or not 1 <= int(jpeg) <= 100:
        raise InputError(f"jpeg must be a quality from 1 to 100, 'none' or 'auto', got {jpeg!r}")
    return int(jpeg)


def _command() -> str:
    """The command line that started this process, where it is ours."""
    program = Path(sys.argv[0])
    ours = program.name == "bivo-robust" or program.parts[-2:] == ("robustbench_bi", "__main__.py")
    return shlex.join(["bivo-robust", *sys.argv[1:]]) if ours else "rb.evaluate(…)"


def installed_versions() -> dict[str, str]:
    """Versions of Python and of the libraries that make numbers."""
    packages = ("bivo-robust", "torch", "torchvision", "timm", "numpy", "scipy", "pillow")
    return {"python": platform.python_version(), **{name: version(name) for name in packages}}

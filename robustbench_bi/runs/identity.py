"""The configuration of an evaluation: which fields make a run what it is, and which only describe how it ran.

The fingerprint is the SHA-256 of the identity fields; it names the run's folder. Runtime fields are written down
beside them and do not enter it, so another batch size or device continues the same run.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import platform
import re
from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from robustbench_bi.ground.cells import CLEAN, Cell
from robustbench_bi.runs.records import RECORD_SCHEMA

if TYPE_CHECKING:
    pass

PRECISIONS = ("fp32", "bf16", "fp16")
GENERATORS = ("bivo-robust", "imagecorruptions", "files")
BLOCK_SIZE = 2048


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


def installed_versions() -> dict[str, str]:
    """Versions of Python and of the libraries that make numbers."""
    packages = ("bivo-robust", "torch", "torchvision", "timm", "numpy", "scipy", "pillow")
    return {"python": platform.python_version(), **{name: version(name) for name in packages}}

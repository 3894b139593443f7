"""The configuration of a run: which fields make it what it is, and which only describe how it ran.

The fingerprint is the SHA-256 of the identity fields; it names the run's folder. Recorded fields are written down
beside them and do not enter it, so another batch size or device continues the same run.

A run's identity may grow: a field that is added later is declared so (see `Declaration.added`), and then old runs are
as if they had its default. Run folders and saved baselines keep their fingerprints and stay comparable.
"""

from __future__ import annotations

import hashlib
import json
import platform
import re
from collections.abc import Mapping
from dataclasses import Field, dataclass, fields
from functools import cache
from typing import TYPE_CHECKING, Any

from robustbench_bi.corruptions.pixels import Pixels
from robustbench_bi.ground.cells import CLEAN, Cell
from robustbench_bi.ground.declared import Declaration, declaration_of, identity, recorded
from robustbench_bi.runs.settings import Settings

if TYPE_CHECKING:
    from robustbench_bi.data.preprocess import Preprocessing

BLOCK_SIZE = 2048
RECORD_SCHEMA = 1
"""Part of every fingerprint, so it stays; how record files are laid out is `LAYOUT`."""
LAYOUT = 3
"""Of record files: 1 has the columns of the task alone; 2 has corruption and severity in front, and counts images; 3
has the later columns of the task too, `robustbench_bi.tasks.classification.LATER_COLUMNS`."""


@dataclass(frozen=True, kw_only=True)
class OfTheImages:
    """What a run's images are.

    Attributes:
        data: the kind of source ("demo", "folder", "imagenet-c", …); where it lies is a recorded field.
        listing_hash: SHA-256 of the evaluated images' listing.
        content_hash: of what is in a sample of their files; empty where the listing tells, and in older runs.
        n: images a cell.
        num_classes: classes of the data.
        class_set: "imagenet-1k" where these are ImageNet's 1000, else "other".
        class_space: "restricted" where only the classes of the set compete, "full" where all do; None where that is no
            question.
        answers: which classes compete and count, where it is not the label among all: `Answers.described`.
        border: pixels that are cut off on each side of a picture before anything else.
        clean_hash: of the clean images that were paired with stored ones.
        left_out: why images were left out -> how many.
        truth_hash: SHA-256 of the objects in them, where the task is detection.
        objects, object_classes: how many they are, and of how many classes.
    """

    data: str = identity()
    listing_hash: str = identity(compared="must agree", words="on other images")
    content_hash: str = identity(
        default="",
        compared="where known",
        words="on other images with the same names",
        without="on its own",
        added=True,
    )
    n: int = identity()
    num_classes: int = identity(compared="must agree", words="with {} classes")
    class_set: str = identity()
    class_space: str | None = identity(
        default=None,
        compared="must agree",
        words="with the {} class space",
        without="with the class space of the data",
        added=True,
    )
    answers: dict[str, Any] | None = identity(
        default=None, compared="must agree", words="with other competing or accepted classes", added=True
    )
    border: int = identity(default=0, compared="must agree", words="with {} pixels of border cut off", added=True)
    clean_hash: str = identity(default="", compared="noted", added=True)
    left_out: dict[str, int] | None = identity(default=None, compared="noted", added=True)
    truth_hash: str = identity(default="", compared="must agree", words="with other annotations", added=True)
    objects: int = identity(default=0, compared="must agree", words="with {} objects", added=True)
    object_classes: int = identity(default=0, compared="must agree", words="with objects of {} classes", added=True)


@dataclass(frozen=True, kw_only=True)
class EvalConfig(Settings, OfTheImages):
    """Everything that determines one run of one model, settled, and what is recorded of how it ran.

    Attributes:
        model: the model's name and options, as `create_model` reports them, and the hash of a user's own code.
        weights_hash: SHA-256 of the state dict.
        corruptions: names, in table order.
        clean: whether the clean cell is part of the run (a folder of published files may lack it).
        block_size: images a record file.
        record_schema: version of the record columns.
        adapt_batch, adapt_order: where networks adapt to batches: images a batch, and the order that they are taken in.
        forward: what was done to the network that changes last bits of its logits: "folded" (batch norms into the
            layers before them) or "compiled"; None for the network as it came, as in all runs from before this was.
        forward_pass: what was done in detail.
        name: the model as the user typed it.
        parameters: of the network, all of them; 0 in a run of before they were counted.
        source: the data source as the user typed it.
        data_request: the source with its options, as `DataRequest.as_json` writes it.
        requested: the options that were given, by their long names; `eval --config` reads them again.
        started_in: the folder that relative paths were typed in.
        stored_side: of stored corrupted files of one side; None for others.
        layout: of the record files, see `LAYOUT`.
        remarks: what else a reader of the numbers should know of the images, a sentence each.
        broken: images left out because they cannot be decoded, as {image_id, path, reason}.
        command: the command line or call to repeat the run.
        versions: of Python and of the libraries that make numbers.
        started: time of the first start, ISO 8601, UTC.
    """

    model: dict[str, Any] = identity()
    weights_hash: str = identity()
    corruptions: tuple[str, ...] = identity()
    clean: bool = identity()
    block_size: int = identity(default=BLOCK_SIZE)
    record_schema: int = identity(default=RECORD_SCHEMA)
    adapt_batch: int | None = identity(
        default=None, compared="must agree", words="with batches of {} images to adapt to", part_of="adapt", added=True
    )
    adapt_order: str | None = identity(
        default=None, compared="must agree", words="in the order {}", part_of="adapt", added=True
    )
    forward: str | None = identity(
        default=None,
        compared="normalisation",
        words="with the network {}",
        without="with the network unmodified",
        added=True,
    )
    name: str = recorded(default="")
    parameters: int = recorded(default=0)
    source: str = recorded(default="")
    data_request: Mapping[str, Any] = recorded(default_factory=dict)
    requested: Mapping[str, Any] = recorded(default_factory=dict)
    started_in: str = recorded(default="")
    stored_side: int | None = recorded(default=None)
    layout: int = recorded(default=LAYOUT)
    forward_pass: Mapping[str, Any] = recorded(default_factory=dict)
    remarks: tuple[str, ...] = recorded(default=())
    broken: tuple[dict[str, Any], ...] = recorded(default=())
    command: str = recorded(default="")
    versions: dict[str, str] = recorded(default_factory=dict)
    started: str = recorded(default="")

    @property
    def identity(self) -> dict[str, Any]:
        """The identity fields, but for later additions that have their default."""
        return {
            field.name: getattr(self, field.name)
            for field in fields(self)
            if declaration_of(field).role == "identity"
            and not (declaration_of(field).added and getattr(self, field.name) == field.default)
        }

    @property
    def fingerprint(self) -> str:
        """SHA-256 (hex) of the identity fields."""
        return fingerprint_of(self.identity)

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

    @property
    def pixels(self) -> Pixels:
        """How the corrupted pixels are made; published files are read instead."""
        return pixels_of({"table": self.table, "jpeg": self.jpeg, "generator": self.generator, "seed": self.seed})

    def as_json(self) -> dict[str, Any]:
        """What `run.json` holds."""
        runtime = {
            field.name: getattr(self, field.name) for field in fields(self) if declaration_of(field).role == "recorded"
        }
        cells = [list(cell) for cell in self.cells]
        return {"fingerprint": self.fingerprint, **self.identity, "cells": cells, "runtime": runtime}


def fingerprint_of(config: Mapping[str, Any]) -> str:
    """SHA-256 (hex) of the identity fields in a configuration, which may be one that a file holds."""
    own = {name: value for name, value in config.items() if name not in _BESIDE_IDENTITY}
    return hashlib.sha256(json.dumps(own, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


_BESIDE_IDENTITY = ("fingerprint", "cells", "runtime")


def pixels_of(config: Mapping[str, Any]) -> Pixels:
    """How the corrupted pixels of a run were made, from its configuration."""
    return Pixels(config["table"], config["jpeg"], config["generator"], config["seed"])


def cut_of(config: Mapping[str, Any]) -> Preprocessing:
    """How the images of a run were cut before they were corrupted.

    Example:
        >>> cut_of({"input_size": 384, "resize_size": 256, "interpolation": "bicubic", "corrupt_size": 224}).cut
        (224, 256, 'bilinear')
    """
    from robustbench_bi.data.preprocess import Preprocessing

    side, fitted = config["input_size"], config.get("corrupt_size")
    interpolation = config["interpolation"] if fitted is None else "bilinear"
    no_resize = bool(config.get("no_resize"))
    named = {name: config[name] for name in ("crop_mode", "cut_as") if config.get(name) is not None}
    return Preprocessing(fitted or side, config["resize_size"], interpolation, no_resize=no_resize, **named)


@cache
def declared() -> Mapping[str, Field[Any]]:
    """The fields of a run's configuration by name; `declaration_of` tells what each is."""
    return {field.name: field for field in fields(EvalConfig)}


@cache
def fields_compared(compared: str) -> Mapping[str, Declaration]:
    """The fields that a comparison treats in one way, see `Declaration.compared`.

    Example:
        >>> list(fields_compared("normalisation"))
        ['mean', 'std', 'forward']
    """
    declarations = {name: declaration_of(field) for name, field in declared().items()}
    return {name: own for name, own in declarations.items() if own.compared == compared}


def value_of(config: Mapping[str, Any], name: str) -> Any:
    """A field of a run's configuration; where an older run lacks one that was added later, its default.

    Example:
        >>> value_of({}, "task"), value_of({"seed": 3}, "seed")
        ('classification', 3)
    """
    field = declared().get(name)
    later = field is not None and declaration_of(field).added
    return config.get(name, field.default if field is not None and later else None)


def differing(found: Mapping[str, Any], expected: Mapping[str, Any]) -> list[str]:
    """The names of the fields in which two identities differ; the one home of "is this the same work?".

    Args:
        found: as it was read from a file.
        expected: as it is needed. Compared as JSON, since that is how the other was kept.

    Example:
        >>> differing({"seed": 0, "mean": [0.5]}, {"seed": 1, "mean": (0.5,)})
        ['seed']
    """
    plain = json.loads(json.dumps(dict(expected)))
    return [
        name
        for name in dict.fromkeys([*plain, *(name for name in found if name in declared())])
        if value_of(found, name) != value_of(plain, name)
    ]


def installed_versions() -> dict[str, str]:
    """Versions of Python and of the libraries that make numbers."""
    from importlib.metadata import version

    packages = ("bivo-robust", "torch", "torchvision", "timm", "numpy", "scipy", "pillow")
    return {"python": platform.python_version(), **{name: version(name) for name in packages}}

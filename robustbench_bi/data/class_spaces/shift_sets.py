"""The classes of published sets that hold only some of ImageNet's: ImageNet-A, ImageNet-R and ObjectNet."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from robustbench_bi.data.class_spaces.answers import Answers, sets_of_classes
from robustbench_bi.data.class_spaces.imagenet import imagenet_classes

if TYPE_CHECKING:
    from robustbench_bi.data.dataset import Dataset

DESCRIPTION = "bivo-robust.json"
"""What a folder of corrupted images that `corrupt` wrote says of itself."""

WITH_SOME_CLASSES = {"imagenet-a": "ImageNet-A", "imagenet-r": "ImageNet-R"}


@cache
def classes_of(source: str) -> tuple[int, ...]:
    """The class numbers of ImageNet-A or ImageNet-R, increasing.

    Example:
        >>> len(classes_of("imagenet-a")), classes_of("imagenet-r")[:3]
        (200, (1, 2, 4))
    """
    known = imagenet_classes()
    return tuple(sorted(known[wnid][0] for wnid in _lines(f"{source.replace('-', '_')}.txt")))


@cache
def objectnet_folders() -> dict[str, tuple[int, ...]]:
    """ObjectNet's folders that are among ImageNet's classes -> the numbers of these classes, which no two share.

    Example:
        >>> objectnet_folders()["alarm_clock"], len(objectnet_folders())
        ((409, 530), 113)
    """
    rows = (line.split("\t") for line in _lines("objectnet.tsv"))
    return {folder: tuple(int(number) for number in numbers.split(",")) for folder, numbers in rows}


def look_alike(labels: set[int]) -> str | None:
    """The source whose classes are exactly these of ImageNet's; None where there is none."""
    return next((source for source in WITH_SOME_CLASSES if labels == set(classes_of(source))), None)


def written_from(root: Path) -> str:
    """The kind of source from which `corrupt` wrote a folder; empty where it was written by others.

    Example:
        >>> written_from(Path("nowhere"))
        ''
    """
    return str(_written(root, "runtime").get("source", "")).partition(":")[0]


def how_written(root: Path) -> str:
    """How `corrupt` made the images of a folder, a sentence without its full stop; empty where others wrote it.

    Example:
        >>> how_written(Path("nowhere"))
        ''
    """
    made = _written(root, "identity")
    if not {"table", "jpeg", "seed"} <= made.keys():
        return ""
    jpeg = f"JPEG {made['jpeg']}" if made["jpeg"] else "no JPEG"
    return f"bivo-robust made these files: constants of {made['table']}, {jpeg}, seed {made['seed']}"


def _written(root: Path, part: str) -> dict[str, Any]:
    """A part of what a folder that `corrupt` wrote says of itself; empty where it says nothing."""
    try:
        found = json.loads((root / DESCRIPTION).read_bytes())[part]
    except (OSError, ValueError, TypeError, KeyError):
        return {}
    return found if isinstance(found, dict) else {}


def answers_of(source: str, folders: list[str]) -> Answers | None:
    """Which answers compete and count by the protocol of a set; None where it is the label among all classes.

    Args:
        source: a row of `SOURCES`.
        folders: the class folder of each image.
    """
    if source in WITH_SOME_CLASSES:
        return Answers(np.array(classes_of(source), dtype=np.int32))
    if source != "objectnet":
        return None
    known = objectnet_folders()
    competing = np.array(sorted(number for numbers in known.values() for number in numbers), dtype=np.int32)
    return Answers(competing, sets_of_classes([known[folder] for folder in folders]))


def with_protocol(dataset: Dataset, source: str) -> Dataset:
    """Images by the protocol of the set that they come from: which answers compete and count.

    Args:
        dataset: named "<class folder>/<image>".
        source: a row of `SOURCES`.
    """
    answers = answers_of(source, [name.partition("/")[0] for name in dataset.names()])
    return dataset if answers is None else replace(dataset, answers=answers, class_space="restricted")


def _lines(name: str) -> list[str]:
    text = files("robustbench_bi.data.class_spaces").joinpath(name).read_text(encoding="utf-8")
    return [line for line in text.splitlines() if not line.startswith("#")]

"""What images a user asked for, in one object: it opens them, and is written down so that they can be opened again."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from robustbench_bi.data import SOURCES, Dataset, Split, expand_user, find_source, open_data
from robustbench_bi.data.containers.folders import existing_folder
from robustbench_bi.data.download import is_at_hand
from robustbench_bi.errors import DataError
from robustbench_bi.ground.checks import check_integer
from robustbench_bi.ground.declared import Option, requested


@dataclass(frozen=True)
class DataRequest:
    """A data source with its options.

    Attributes:
        source: as `bivo-robust list data` has it, or the path of a folder of class folders.
        classes: a class file, for sources made of class folders.
        limit: take this many images, chosen by a hash of their ids; None for all.

    Raises:
        InputError: an option is out of range.

    Example:
        >>> len(DataRequest("demo", limit=8).open())
        8
    """

    source: str = requested(default="demo")
    classes: str | None = requested(
        default=None, option=Option("Tab-separated file: class number, folder name, label.", "path")
    )
    limit: int | None = requested(
        default=None, option=Option("Evaluate a fixed random subset of N images.", "integer", "N", least=1)
    )

    def __post_init__(self) -> None:
        object.__setattr__(self, "source", str(self.source))
        object.__setattr__(self, "classes", None if self.classes is None else str(self.classes))
        if self.limit is not None:
            check_integer("limit", self.limit, 1)

    def open(self, split: Split = "evaluation", *, fetch: bool = True) -> Dataset:
        """Open the images; they are listed but not yet decoded.

        Args:
            split: "evaluation" or "training".
            fetch: whether a public data set is downloaded where it is missing.

        Raises:
            UnknownNameError, InputError, DataError: as `open_data`.
        """
        if not fetch and not is_at_hand(self.source):
            raise DataError(f"{self.source} is not on this machine")
        return open_data(self.source, split=split, limit=self.limit, classes=self.classes)

    def check_source(self) -> None:
        """Refuse a source that is not there, before the libraries are imported that read it.

        Raises:
            UnknownNameError, InputError: as `open_data`.
            DataError: a folder of images is not there.
        """
        row, path = find_source(self.source)
        if row.name == "folder" and path is not None:
            existing_folder(path)

    def found_from(self, folder: str) -> DataRequest:
        """The same, with relative paths that lead nowhere from here taken from another folder.

        Example:
            >>> DataRequest("demo", classes="classes.tsv").found_from("/data").classes
            'classes.tsv'
        """
        prefix, _, path = self.source.partition(":")
        if prefix in SOURCES:
            source = f"{prefix}:{found_path(folder, path)}" if path else self.source
        else:
            source = found_path(folder, self.source) or self.source
        return replace(self, source=source, classes=found_path(folder, self.classes))

    def as_json(self) -> dict[str, Any]:
        """The fields that differ from their defaults, and the source."""
        stated = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value for name, value in stated.items() if name == "source" or value is not None}

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> DataRequest:
        """The request that `as_json` wrote; an option that this version does not know is an error."""
        return cls(**stored)


def found_path(folder: str, path: str | None) -> str | None:
    """A path, or where it lies in a folder if it is only there.

    Example:
        >>> found_path("/data", "absent.tsv"), found_path("/data", None)
        ('absent.tsv', None)
    """
    if not path or not folder or _exists(path):
        return path
    elsewhere = str(Path(folder, path))
    return elsewhere if _exists(elsewhere) else path


def _exists(path: str) -> bool:
    return os.path.exists(expand_user(path))  # noqa: PTH110 - pathlib's raises where a name is too long

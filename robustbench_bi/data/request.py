"""What images a user asked for, in one object: it opens them, and is written down so that they can be opened again."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from robustbench_bi.data import SOURCES, Dataset, Split, check_takes, expand_user, find_source, open_data
from robustbench_bi.data.containers.folders import existing_folder
from robustbench_bi.data.containers.shards import matching
from robustbench_bi.data.download import is_at_hand
from robustbench_bi.data.selection import CLASS_SPACES, ClassSpace
from robustbench_bi.errors import DataError
from robustbench_bi.ground.cells import Cell
from robustbench_bi.ground.checks import check_integer
from robustbench_bi.ground.declared import Option, requested

PATHS = ("classes", "labels", "images", "clean", "images_root")


@dataclass(frozen=True)
class DataRequest:
    """A data source with its options.

    Attributes:
        source: as in `bivo-robust list data`, or the path of a folder of class folders.
        classes: a class file, for sources made of class folders.
        limit: take this many images, chosen by a hash of their ids; None for all.
        labels: a file of the labels of images, for those in no class folders; or ReaL's real.json.
        class_space: "restricted" where only the classes of the set compete, "full" where all of the network's do.
        images: a file that names the images to take.
        clean: a source of clean images to pair with stored corrupted ones, by name.
        common_images: where cells do not hold the same images, take those that all share.
        images_root: the folder of the pictures, for sources whose labels may lie apart from them.

    Raises:
        InputError: an option is out of range.

    Example:
        >>> len(DataRequest("demo", limit=8).open())
        8
    """

    source: str = requested(default="demo")
    classes: str | None = requested(
        default=None,
        option=Option(
            "Tab-separated file: class number, folder name, label; or folders alone; or imagenet-1k.", "path"
        ),
    )
    limit: int | None = requested(
        default=None, option=Option("Evaluate a fixed random subset of N images.", "integer", "N", least=1)
    )
    labels: str | None = requested(
        default=None,
        option=Option("Labels of images without class folders: a table, a list, or ReaL's real.json.", "path", "FILE"),
    )
    class_space: ClassSpace | None = requested(
        default=None,
        option=Option(
            "Whether only the data's classes compete, or all of the network's.  [default: the data set's protocol]",
            choices=CLASS_SPACES,
        ),
    )
    images: str | None = requested(
        default=None, option=Option("Use only the images named in FILE, one per line.", "path", "FILE")
    )
    clean: str | None = requested(
        default=None,
        option=Option(
            "Clean images to pair with stored corrupted ones, by name.", metavar="SOURCE", complete="sources"
        ),
    )
    common_images: bool = requested(
        default=False,
        option=Option("If cells hold different images, use those that all share.", "flag"),
    )

    images_root: str | None = requested(
        default=None, option=Option("The folder of the images, if they are not beside their labels.", "path")
    )

    def __post_init__(self) -> None:
        for name in ("source", *PATHS):
            value = getattr(self, name)
            object.__setattr__(self, name, None if value is None else str(value))
        if self.limit is not None:
            check_integer("limit", self.limit, 1)

    def open(
        self, split: Split = "evaluation", *, fetch: bool = True, cells: Collection[Cell] | None = None
    ) -> Dataset:
        """Open the images; they are listed but not yet decoded.

        Args:
            split: "evaluation" or "training".
            fetch: whether a public data set is downloaded where it is missing.
            cells: the stored cells that will be read; None: all.

        Raises:
            UnknownNameError, InputError, DataError: as `open_data`.
        """
        if not fetch and not is_at_hand(self.source):
            raise DataError(f"{self.source} is not on this machine")
        stated = {own.name: getattr(self, own.name) for own in fields(self)}
        return open_data(stated.pop("source"), split=split, cells=cells, **stated)

    def check_source(self, pictures: bool = False) -> None:
        """Refuse files that are not there, before the libraries are imported that read them.

        Args:
            pictures: whether a single image file will do.

        Raises:
            UnknownNameError, InputError: as `open_data`.
            DataError: the images, or a file beside them, are not there.
        """
        row, path = find_source(self.source)
        check_takes(row, classes=self.classes, images_root=self.images_root, common_images=self.common_images)
        if row.pattern_of and path is not None:
            matching(path, row.pattern_of)
        elif row.name == "folder" and path is not None and not (pictures and _exists(path)):
            existing_folder(path)
        elif row.path == "required" and path is not None and not _exists(path):
            raise DataError(f"there is no file or folder {path}, which {self.source} needs")
        for name in ("labels", "images", "classes", "images_root"):
            file = getattr(self, name)
            if file is not None and not (_exists(file) or (name, file) == ("classes", "imagenet-1k")):
                raise DataError(f"there is no file {file}, given for {name.replace('_', '-')}")
        if self.clean is not None:
            DataRequest(self.clean).check_source()

    def found_from(self, folder: str) -> DataRequest:
        """The same, with relative paths that lead nowhere from here taken from another folder.

        Example:
            >>> DataRequest("demo", classes="classes.tsv").found_from("/data").classes
            'classes.tsv'
        """
        found: dict[str, Any] = {name: found_path(folder, getattr(self, name)) for name in PATHS if name != "clean"}
        clean = None if self.clean is None else _source_from(folder, self.clean)
        return replace(self, source=_source_from(folder, self.source), clean=clean, **found)

    def moved_to(self, place: str) -> DataRequest:
        """The same images in another place: a path, which keeps the kind of source, or a source with its path.

        Example:
            >>> DataRequest("imagenet-c:/old", limit=5).moved_to("/new").source
            'imagenet-c:/new'
            >>> DataRequest("photos").moved_to("/new").source, DataRequest("photos").moved_to("parquet:/new").source
            ('/new', 'parquet:/new')
        """
        kind, named = self.source.partition(":")[0], place.partition(":")[0]
        keeps_kind = kind in SOURCES and named not in SOURCES
        return replace(self, source=f"{kind}:{place}" if keeps_kind else place)

    def as_json(self) -> dict[str, Any]:
        """The fields that differ from their defaults, and the source."""
        stated = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value for name, value in stated.items() if name == "source" or value not in (None, False)}

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> DataRequest:
        """The request that `as_json` wrote; an option that this version does not know is an error."""
        return cls(**stored)


def _source_from(folder: str, source: str) -> str:
    prefix, _, path = source.partition(":")
    if prefix in SOURCES:
        return f"{prefix}:{found_path(folder, path)}" if path else source
    return found_path(folder, source) or source


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

"""Labelled images: a table of sources, and the `Dataset` that each of them opens.

A source hands out uint8 images of one side, (B, 3, S, S), which is what an image file holds. Corruptions and
normalisation come later, so one decoded block serves every cell and every model.

Example:
    >>> SOURCES["cifar-10"].path
    'optional'
    >>> list(SOURCES.names)
    ['demo', 'folder', 'imagenet-c', 'cifar-10', 'cifar-10-c', 'imagenette']
"""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from robustbench_bi.data.containers.folders import expand_user as expand_user
from robustbench_bi.data.dataset import Broken as Broken
from robustbench_bi.data.dataset import Dataset as Dataset
from robustbench_bi.data.dataset import Split as Split
from robustbench_bi.data.dataset import splitmix64 as splitmix64
from robustbench_bi.data.sources import SOURCES as SOURCES
from robustbench_bi.data.sources import Source as Source
from robustbench_bi.data.sources import named_source as named_source
from robustbench_bi.errors import InputError, UnknownNameError
from robustbench_bi.ground.cells import CLEAN as CLEAN
from robustbench_bi.ground.cells import Cell as Cell
from robustbench_bi.ground.exports import exported

if TYPE_CHECKING:
    from robustbench_bi.data.pictures import open_pictures, picture_preprocessing, read_cells
    from robustbench_bi.data.preprocess import Preprocessing, fit_images, normalise, preprocessing_of
    from robustbench_bi.data.request import DataRequest
    from robustbench_bi.data.sources.cifar import CLASS_NAMES as CIFAR_10_CLASSES


def open_data(
    source: str | Path, *, split: Split = "evaluation", limit: int | None = None, classes: str | Path | None = None
) -> Dataset:
    """Open a data source by the name that the command line takes.

    Args:
        source: a row of `SOURCES`, with `:PATH` where it takes one, or the path of a folder of class folders.
        split: "evaluation", or "training" where the source has one.
        limit: at most this many images, see `Dataset.limited`.
        classes: a tab-separated file of class number, folder name and label, for sources made of class folders.

    Returns:
        The dataset; its images are listed but not yet decoded.

    Raises:
        UnknownNameError: no such source.
        InputError: a path where none belongs, none where one is needed, or an argument out of range.
        DataError: the data are missing, incomplete or do not fit the class file.

    Example:
        >>> open_data("cifar-10-c")
        Traceback (most recent call last):
        ...
        robustbench_bi.errors.InputError: cifar-10-c needs a path: cifar-10-c:PATH
    """
    if split not in ("evaluation", "training"):
        raise InputError(f"split must be 'evaluation' or 'training', got {split!r}")
    row, path = _parse(str(source))
    if split == "training" and not row.training:
        raise InputError(f"{row.name} has no training split: it is for evaluation only")
    if classes is not None and not row.class_file:
        takers = " and ".join(row.name for row in SOURCES if row.class_file)
        raise InputError(f"a class file goes with class folders ({takers}), not with {row.name}")
    opener = SOURCES.load(row.name)
    dataset: Dataset = opener(path, split=split, classes=None if classes is None else expand_user(classes))
    dataset = replace(dataset, name=str(source))
    return dataset if limit is None else dataset.limited(limit)


def _parse(source: str) -> tuple[Source, str | None]:
    """As `named_source`, but a path must be given where the row says so, and a mistyped name is no folder."""
    if not source:
        raise InputError(f"data must be a folder or one of {', '.join(SOURCES.names)}, got an empty text")
    row, path = named_source(source)
    prefix, colon, _ = source.partition(":")
    if prefix == row.name:
        if row.path == "none" and colon:
            raise InputError(f"{prefix} takes no path, got {source!r}")
        if row.path == "required" and not path:
            raise InputError(f"{prefix} needs a path: {prefix}:PATH")
        return row, path
    written_as_path = "/" in prefix or "\\" in prefix or (colon and len(prefix) == 1)
    if not written_as_path and not os.path.exists(expand_user(source)):  # noqa: PTH110 - pathlib's may raise
        try:
            SOURCES[prefix]
        except UnknownNameError as error:
            raise UnknownNameError(f"{error} There is no folder {source!r} either.") from None
    return row, path


_HOMES = {
    "CIFAR_10_CLASSES": "robustbench_bi.data.sources.cifar:CLASS_NAMES",
    "DataRequest": "robustbench_bi.data.request",
    "Preprocessing": "robustbench_bi.data.preprocess",
    "fit_images": "robustbench_bi.data.preprocess",
    "normalise": "robustbench_bi.data.preprocess",
    "open_pictures": "robustbench_bi.data.pictures",
    "picture_preprocessing": "robustbench_bi.data.pictures",
    "preprocessing_of": "robustbench_bi.data.preprocess",
    "read_cells": "robustbench_bi.data.pictures",
}

__all__ = [
    "CIFAR_10_CLASSES",
    "CLEAN",
    "SOURCES",
    "Cell",
    "DataRequest",
    "Dataset",
    "Preprocessing",
    "Source",
    "Split",
    "fit_images",
    "normalise",
    "open_data",
    "open_pictures",
    "picture_preprocessing",
    "preprocessing_of",
    "read_cells",
]


def __getattr__(name: str) -> Any:
    return exported(__name__, _HOMES, name)


def __dir__() -> list[str]:
    return sorted(__all__)

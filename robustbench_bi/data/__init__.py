"""Labelled images: a table of sources, and the `Dataset` that each of them opens.

A source hands out uint8 images of one side, (B, 3, S, S), which is what an image file holds. Corruptions and
normalisation come later, so one decoded block serves every cell and every model.

Example:
    >>> SOURCES["cifar-10"].path
    'optional'
    >>> list(SOURCES.names[:6])
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
from robustbench_bi.data.labels.text import is_real
from robustbench_bi.data.selection import (
    CLASS_SPACES,
    ClassSpace,
    is_tiny_imagenet,
    open_with_labels,
    part_of_tiny_imagenet,
    refuse_imagenet_o,
    refuse_look_alike,
    with_class_space,
    with_clean,
    with_common_images,
    with_images,
    with_missing_classes,
)
from robustbench_bi.data.sources import SOURCES as SOURCES
from robustbench_bi.data.sources import Source as Source
from robustbench_bi.data.sources import named_source as named_source
from robustbench_bi.errors import DataError, InputError, UnknownNameError
from robustbench_bi.ground.cells import CLEAN as CLEAN
from robustbench_bi.ground.cells import Cell as Cell
from robustbench_bi.ground.exports import exported
from robustbench_bi.ground.registry import SHOWN_BY, nearest

if TYPE_CHECKING:
    from collections.abc import Collection

    from robustbench_bi.data.pictures import open_pictures, picture_preprocessing, read_cells
    from robustbench_bi.data.preprocess import Preprocessing, fit_images, normalise, preprocessing_of
    from robustbench_bi.data.request import DataRequest
    from robustbench_bi.data.sources.cifar import CLASS_NAMES as CIFAR_10_CLASSES


def open_data(
    source: str | Path,
    *,
    split: Split = "evaluation",
    limit: int | None = None,
    classes: str | Path | None = None,
    labels: str | Path | None = None,
    class_space: ClassSpace | None = None,
    images: str | Path | None = None,
    clean: str | Path | None = None,
    common_images: bool = False,
    images_root: str | Path | None = None,
    cells: Collection[Cell] | None = None,
) -> Dataset:
    """Open a data source by the name that the command line takes.

    Args:
        source: a row of `SOURCES`, with `:PATH` where it takes one, or the path of a folder of class folders.
        split: "evaluation", or "training" where the source has one.
        limit: at most this many images, see `Dataset.limited`.
        classes: a tab-separated file of class number, folder name and label, for sources made of class folders; a bare
            list of folders in class order; or "imagenet-1k", where folders are numbers of ImageNet's classes.
        labels: a file of the labels of images, for those that lie in no class folders; or ReaL's real.json. Where the
            source is stored corrupted images, whose class folders say theirs, it is of the clean ones.
        class_space: "restricted" where only the classes of the set compete, "full" where all of a network's do; None:
            as the source's protocol says.
        images: a file that names the images to take, one a line.
        clean: a source of clean images to pair with stored corrupted ones, by name.
        common_images: where cells do not hold the same images, take those that all share.

        images_root: the folder of the pictures, for sources whose labels may lie apart from them.
        cells: the stored cells that will be read; None: all. Where the others hold other images, they do not count.

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
    if class_space not in (None, *CLASS_SPACES):
        raise InputError(f"class_space must be {' or '.join(CLASS_SPACES)}, got {class_space!r}")
    row, path = find_source(str(source))
    check_takes(row, split=split, classes=classes, images_root=images_root, common_images=common_images)
    class_file = None if classes is None else expand_user(classes)
    label_file = None if labels is None else expand_user(labels)
    of_clean = label_file is not None and clean is not None and not row.files
    if label_file is None or (of_clean and not is_real(label_file)):
        dataset: Dataset = SOURCES.load(row.name)(path, split=split, classes=class_file)
    else:
        dataset = open_with_labels(row, path, label_file, class_file)
    if images_root is not None and dataset.at is not None:
        dataset = dataset.at(expand_user(images_root))
    typed = named_source(str(source))[0] is row
    written = _how_written(dataset, path)
    remarks = (written, *dataset.remarks) if written else dataset.remarks
    dataset = replace(dataset, name=str(source) if typed else f"{row.name}:{path}", remarks=remarks)
    if dataset.unshared and not common_images and cells is not None and dataset.narrowed is not None:
        dataset = replace(dataset.narrowed(cells), name=dataset.name)
    undecided = class_space is None and classes is None and dataset.class_space is None
    if row.name in ("folder", "imagenet-c") and split == "evaluation" and undecided:
        refuse_look_alike(dataset)
    dataset = with_common_images(with_class_space(with_missing_classes(dataset), class_space), common_images)
    if images is not None:
        dataset = with_images(dataset, expand_user(images))
    if clean is not None:
        takes_classes = classes is not None and named_source(str(clean))[0].class_file
        partner = open_data(clean, classes=classes if takes_classes else None, images=images, labels=labels)
        dataset = with_clean(dataset, partner, common_images)
    return dataset if limit is None else dataset.limited(limit)


def _how_written(dataset: Dataset, path: str | None) -> str:
    from robustbench_bi.data.class_spaces.shift_sets import how_written  # numpy, once there are images

    return "" if path is None or dataset.stored_cells is None else how_written(Path(path))


def check_takes(
    row: Source,
    *,
    split: Split = "evaluation",
    classes: str | Path | None = None,
    images_root: str | Path | None = None,
    common_images: bool = False,
) -> None:
    """Refuse what a source does not take; nothing is read.

    Raises:
        InputError: it has no such split, takes no such file or folder, or has no cells that could differ.
    """
    if common_images and not row.stored:
        takers = ", ".join(other.name for other in SOURCES if other.stored)
        raise InputError(f"common_images goes with stored corrupted images ({takers}), not with {row.name}")
    if split == "training" and not row.training:
        advice = "; to train on it, unpack it into class folders in PATH/train and PATH/val" if row.pattern_of else ""
        raise InputError(f"{row.name} has no training split: it is for evaluation only{advice}")
    if classes is not None and not row.class_file:
        takers = ", ".join(other.name for other in SOURCES if other.class_file)
        raise InputError(f"a class file goes with class folders ({takers}), not with {row.name}")
    if images_root is not None and not row.images_root:
        takers = " and ".join(other.name for other in SOURCES if other.images_root)
        raise InputError(f"a folder of images (images_root) goes with {takers}, not with {row.name}")


def find_source(source: str) -> tuple[Source, str | None]:
    """As `named_source`, but a path must be given where the row says so, and a mistyped name is no folder.

    Raises:
        UnknownNameError: no such source.
        InputError: a path where none belongs, or none where one is needed.
    """
    if not source:
        raise InputError(f"data must be a folder or one of {', '.join(SOURCES.names)}, got an empty text")
    row, path = named_source(source)
    prefix, colon, _ = source.partition(":")
    refuse_imagenet_o(source)
    if prefix == row.name:
        if row.path == "none" and colon:
            raise InputError(f"{prefix} takes no path, got {source!r}")
        if row.path == "required" and not path:
            raise InputError(f"{prefix} needs a path: {prefix}:PATH")
        return row, path
    written_as_path = "/" in prefix or "\\" in prefix or (colon and len(prefix) == 1)
    there = os.path.exists(expand_user(source))  # noqa: PTH110 - pathlib's may raise
    if not written_as_path and not there and prefix not in SOURCES:
        advice = nearest(prefix, SOURCES.names, SHOWN_BY[SOURCES.kind])
        raise UnknownNameError(f"there is no folder and no data source {prefix!r}. {advice}")
    return _recognised(source) or (row, path)


def _recognised(folder: str) -> tuple[Source, str] | None:
    """Tiny-ImageNet where it is given as a plain folder: its validation pictures lie in no class folders.

    Raises:
        DataError: the folder is only a part of it.
    """
    if is_tiny_imagenet(folder):
        return SOURCES["tiny-imagenet"], folder
    whole = part_of_tiny_imagenet(folder)
    if whole is not None:
        raise DataError(f"{folder} is a part of Tiny-ImageNet; use tiny-imagenet:{whole}")
    return None


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

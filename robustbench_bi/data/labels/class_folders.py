"""From the names of class folders to the labels of their images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from robustbench_bi.data.class_spaces.imagenet import class_names, imagenet_classes
from robustbench_bi.errors import DataError

LARGEST_NUMBER = 99_999


def label_files(
    listing: Mapping[str, Sequence[str]], classes: Path | None
) -> tuple[list[str], NDArray[np.int32], tuple[str, ...]]:
    """Flatten a listing of class folders to relative paths, the label of each, and the names of all classes."""
    numbers, names = number_folders(list(listing), classes)
    files = [f"{folder}/{image}" for folder, images in listing.items() for image in images]
    return files, np.repeat(np.array(numbers, dtype=np.int32), [len(images) for images in listing.values()]), names


def number_folders(folders: Sequence[str], classes: Path | None) -> tuple[tuple[int, ...], tuple[str, ...]]:
    """The class number of each class folder, and the names of all classes.

    With a class file, its numbers. Without one, ImageNet's numbers if every folder is one of its 1000 wnids, also where
    only some are there; folders of other names are numbered from 0 in sorted order.

    Args:
        folders: names of the class folders, sorted.
        classes: a class file, see `read_classes`.

    Returns:
        Class numbers in the order of `folders`, and class names, index = class number.

    Raises:
        DataError: folders that the class file lacks, or a mixture of wnids and other names.

    Example:
        >>> number_folders(["cat", "dog"], None)
        ((0, 1), ('cat', 'dog'))
        >>> numbers, names = number_folders(["n02979186", "n03000684"], None)
        >>> numbers, names[491], len(names)
        ((482, 491), 'chain_saw', 1000)
    """
    if classes is not None:
        known = read_classes(classes)
        missing = [folder for folder in folders if folder not in known]
        if missing:
            raise DataError(f"{classes} lacks {_some(missing)} of the {len(folders)} class folders")
    else:
        known = imagenet_classes()
        missing = [folder for folder in folders if folder not in known]
        if len(missing) == len(folders):
            known = {folder: (number, folder) for number, folder in enumerate(folders)}
        elif missing:
            raise DataError(
                f"{len(folders) - len(missing)} class folders are named by ImageNet wnids, but not {_some(missing)}: "
                "rename or remove these, or give the class numbers of all folders by --classes FILE"
            )
    return tuple(known[folder][0] for folder in folders), class_names(known)


def read_classes(path: Path) -> dict[str, tuple[int, str]]:
    """Read a class file: a line has class number, folder name and label, with tabs between.

    Args:
        path: UTF-8 text. Empty lines are skipped; the class file may list more classes than there are folders.

    Returns:
        folder -> (class number, label).

    Raises:
        DataError: the file is missing, a line is malformed, or a number or a folder comes twice.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"cannot read the class file {path}: {getattr(error, 'strerror', None) or error}") from error
    known: dict[str, tuple[int, str]] = {}
    seen: dict[int, int] = {}
    for line_number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        where = f"{path}, line {line_number}"
        columns = [column.strip() for column in line.split("\t")]
        if len(columns) != 3 or not columns[1]:
            raise DataError(f"{where}: expected class number, folder name and label with tabs between, got {line!r}")
        text, folder, label = columns
        if not (text.isascii() and text.isdigit() and len(text) < 10 and int(text) <= LARGEST_NUMBER):
            raise DataError(f"{where}: a class number must be an integer from 0 to {LARGEST_NUMBER}, got {text!r}")
        number = int(text)
        if number in seen:
            raise DataError(f"{where}: class number {number} comes twice, first in line {seen[number]}")
        if folder in known:
            raise DataError(f"{where}: folder {folder} comes twice, first in line {seen[known[folder][0]]}")
        seen[number] = line_number
        known[folder] = (number, label or folder)
    if not known:
        raise DataError(f"{path} lists no classes; expected lines of class number, folder name and label")
    return known


def _some(names: Sequence[str]) -> str:
    """The first three of some names, and how many there are."""
    return f"{len(names)} ({', '.join(names[:3])}{', …' if len(names) > 3 else ''})"

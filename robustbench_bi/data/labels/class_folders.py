"""From the names of class folders to the labels of their images."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from robustbench_bi.data.class_spaces.imagenet import class_names, imagenet_classes
from robustbench_bi.errors import DataError

LARGEST_NUMBER = 99_999
IMAGENET = "imagenet-1k"
FOLDERS, LABELS = "class folders", "labels"
"""What messages call the names of classes: they are those of folders, or a file beside the images tells them."""


def label_files(
    listing: Mapping[str, Sequence[str]], classes: Path | None
) -> tuple[list[str], NDArray[np.int32], tuple[str, ...]]:
    """Flatten a listing of class folders to relative paths, the label of each, and the names of all classes."""
    numbers, names = number_folders(list(listing), classes)
    files = [f"{folder}/{image}" for folder, images in listing.items() for image in images]
    return files, np.repeat(np.array(numbers, dtype=np.int32), [len(images) for images in listing.values()]), names


def label_by_order(
    listing: Mapping[str, Sequence[str]], classes: Path | None
) -> tuple[list[str], NDArray[np.int32], tuple[str, ...]]:
    """As `label_files`, for Tiny-ImageNet: wnids are numbered from 0 in sorted order, not as ImageNet's."""
    files, labels, names = label_files(listing, classes)
    if classes is None:
        numbers = {number: place for place, number in enumerate(dict.fromkeys(labels.tolist()))}
        labels = np.array([numbers[number] for number in labels.tolist()], dtype=np.int32)
        names = tuple(names[number] for number in numbers)
    return files, labels, names


def number_folders(
    folders: Sequence[str], classes: Path | None, kind: str = FOLDERS
) -> tuple[tuple[int, ...], tuple[str, ...]]:
    """The class number of each class folder, and the names of all classes.

    With a class file, its numbers. Without one, ImageNet's numbers if every folder is one of its 1000 wnids, also where
    only some are there; the folder's own number where all are named by the numbers from 0 on; and folders of other
    names are numbered from 0 in sorted order.

    Args:
        folders: names of the class folders, sorted.
        classes: a class file, see `read_classes`.
        kind: `FOLDERS` or `LABELS`, for messages.

    Returns:
        Class numbers in the order of `folders`, and class names, index = class number.

    Raises:
        DataError: folders that the class file lacks, a mixture of wnids or numbers and other names, or numbers that are
            not those from 0 on.

    Example:
        >>> number_folders(["cat", "dog"], None)
        ((0, 1), ('cat', 'dog'))
        >>> number_folders(["0", "1", "10", "2", "3", "4", "5", "6", "7", "8", "9"], None)[0]
        (0, 1, 10, 2, 3, 4, 5, 6, 7, 8, 9)
        >>> numbers, names = number_folders(["n02979186", "n03000684"], None)
        >>> numbers, names[491], len(names)
        ((482, 491), 'chain_saw', 1000)
    """
    if classes is not None:
        known = known_classes(classes, folders)
        composed = {_composed(folder): own for folder, own in known.items()}
        known = {folder: composed[_composed(folder)] for folder in folders if _composed(folder) in composed} | known
        missing = [folder for folder in folders if folder not in known]
        if missing:
            raise DataError(f"{classes} lacks {some(missing)} of the {len(folders)} {kind}")
    else:
        known = imagenet_classes()
        missing = [folder for folder in folders if folder not in known]
        if len(missing) == len(folders):
            known = _numbered(folders, kind)
        elif missing:
            raise DataError(
                f"{len(folders) - len(missing)} {kind} are ImageNet wnids, but not {some(missing)}: rename or remove "
                f"these, or give the class numbers of all {kind} with --classes FILE"
            )
    named = imagenet_classes() if str(classes) == IMAGENET else known
    return tuple(known[folder][0] for folder in folders), class_names(named)


def known_classes(classes: Path, folders: Collection[str]) -> dict[str, tuple[int, str]]:
    """The classes that a user gave: a class file, a bare list of folders in class order, or "imagenet-1k".

    Folders that are numbers are taken by "imagenet-1k" for ImageNet's class numbers.

    Raises:
        DataError: as `read_classes`.
    """
    if str(classes) != IMAGENET:
        return read_classes(classes)
    imagenet = imagenet_classes()
    if not all(folder.isascii() and folder.isdigit() for folder in folders):
        return imagenet
    labels = dict(imagenet.values())
    return {folder: (int(folder), labels[int(folder)]) for folder in folders if int(folder) in labels}


def _numbered(folders: Sequence[str], kind: str) -> dict[str, tuple[int, str]]:
    """Folders by their own numbers, where all are numbers, else in sorted order."""
    numbers = {folder: int(folder) for folder in folders if folder.isascii() and folder.isdigit()}
    if not numbers:
        return {folder: (number, folder) for number, folder in enumerate(sorted(folders, key=_composed))}
    others = [folder for folder in folders if folder not in numbers]
    if others:
        raise DataError(
            f"{len(numbers)} {kind} are numbers, but not {some(others)}: give the class numbers of all {kind} with "
            "--classes FILE"
        )
    check_numbers(numbers.values(), f"the {kind} are" if kind == LABELS else f"the {kind} are named")
    return {folder: (number, folder) for folder, number in numbers.items()}


def _composed(name: str) -> str:
    """A name as most systems write it: macOS takes letters and their accents apart."""
    return unicodedata.normalize("NFC", name)


def check_numbers(numbers: Collection[int], what: str) -> None:
    """Refuse class numbers that are not exactly 0, 1, 2, …: then nobody can tell which class a number means.

    Args:
        numbers: each class once.
        what: the beginning of the message: "the class folders are named".

    Raises:
        DataError: they begin at another number, have gaps, or come twice.

    Example:
        >>> check_numbers([1, 2, 3], "the labels are")
        Traceback (most recent call last):
        ...
        robustbench_bi.errors.DataError: the labels are 1 to 3; class numbers must be 0 to 2 without gaps. Give the \
class numbers with --classes FILE, or --classes imagenet-1k where 0 to 999 are ImageNet's
    """
    if sorted(numbers) == list(range(len(numbers))):
        return
    span = f"{min(numbers)} to {max(numbers)}"
    gaps = "" if max(numbers) - min(numbers) + 1 == len(numbers) else f", but only {len(numbers)} of these"
    raise DataError(
        f"{what} {span}{gaps}; class numbers must be 0 to {len(numbers) - 1} without gaps. Give the class numbers with "
        "--classes FILE, or --classes imagenet-1k where 0 to 999 are ImageNet's"
    )


def read_classes(path: Path) -> dict[str, tuple[int, str]]:
    """Read a class file: a line has class number, folder name and label, with tabs between; or a folder name alone.

    Args:
        path: UTF-8 text. Empty lines are skipped; the class file may list more classes than there are folders. A bare
            list of folders, such as Tiny-ImageNet's wnids.txt, numbers them from 0 in its order.

    Returns:
        folder -> (class number, label).

    Raises:
        DataError: the file is missing, a line is malformed, or a number or a folder appears twice.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"cannot read the class file {path}: {getattr(error, 'strerror', None) or error}") from error
    with_marks = any(line.count(",") == 2 or re.match(r"\d+[,;]", line) for line in lines)
    if all(len(line.split()) <= 1 for line in lines) and not with_marks:
        lines = [f"{number}\t{line.strip()}\t" for number, line in enumerate(line for line in lines if line.strip())]
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
            raise DataError(f"{where}: class number {number} appears twice, first in line {seen[number]}")
        if folder in known:
            raise DataError(f"{where}: folder {folder} appears twice, first in line {seen[known[folder][0]]}")
        seen[number] = line_number
        known[folder] = (number, label or folder)
    if not known:
        raise DataError(f"{path} lists no classes; expected lines of class number, folder name and label")
    return known


def some(names: Sequence[str]) -> str:
    """The first three of some names, and how many there are."""
    return f"{len(names)} ({', '.join(names[:3])}{', …' if len(names) > 3 else ''})"

"""Files that say which class each image shows: tables of names and labels, lists of labels, and ReaL's lists.

What a file is, its content tells: two columns are names and labels, one column is a list in the order of the images'
names. The development kit's list of numbers is refused unless its `meta.mat` says which class a number is: it counts
classes in an order of its own, and read as class numbers it gives an accuracy of about 0 %.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from robustbench_bi.data.class_spaces.imagenet import imagenet_classes
from robustbench_bi.data.labels.class_folders import IMAGENET, known_classes, some
from robustbench_bi.data.labels.text import VALIDATION, numbered_lines
from robustbench_bi.errors import DataError

_NAME_HEADING = re.compile(r"(image|img|file)_?(name|path|file)?|path|name")
_ID_HEADING = re.compile(r"(image_?)?id")
_LABEL_HEADING = re.compile(r"labels?|class_?(id)?|wnid|target|category|predictionstring|y")
_WHOLE = re.compile(r"-?\d+")


@dataclass(frozen=True)
class LabelFile:
    """Labels as a file has them.

    Attributes:
        path: the file.
        named: name of an image → its label; empty for a list.
        listed: labels in the order of the images' names; empty for a table.
        column: the heading that the names have in a table, or its number.
    """

    path: Path
    named: Mapping[str, str]
    listed: Sequence[str] = ()
    column: str = "1"

    def labels_of(self, names: Sequence[str]) -> list[str]:
        """The label of each image of a container.

        Raises:
            DataError: an image has none, or there are more or fewer labels in a list than images.
        """
        if self.listed:
            if len(self.listed) != len(names):
                raise DataError(
                    f"{self.path} lists {len(self.listed)} labels in the order of the images' names, but there are "
                    f"{len(names)} images; give all of them, or a table of names and labels"
                )
            order = sorted(range(len(names)), key=lambda place: names[place].rpartition("/")[2])
            found = dict(zip(order, self.listed, strict=True))
            return [found[place] for place in range(len(names))]
        keys = _matched(names, self.named)
        missing = [name for name, key in zip(names, keys, strict=True) if key is None]
        if len(missing) == len(names):
            raise DataError(
                f"{self.path} names none of the {len(names)} images: it has names like {next(iter(self.named))}, the "
                f"data names like {names[0]}; names are taken from column {self.column}; to choose, let the first line "
                "name the columns: path and label"
            )
        if missing:
            raise DataError(
                f"{self.path} has no label for {some(missing)} of the {len(names)} images, or several files of that "
                "name in different folders"
            )
        return [self.named[key] for key in keys if key is not None]


def read_label_file(path: Path) -> LabelFile:
    """Read a table of names and labels, or a list of labels.

    Args:
        path: UTF-8 text with commas, tabs or blanks between a name and its label, with a line of headings or without;
            Kaggle's LOC_val_solution.csv; Caffe's val.txt; or labels alone, one a line.

    Raises:
        DataError: it cannot be read, a line is malformed, a name appears twice, or labels are numbers of the devkit.
    """
    lines = numbered_lines(path)
    if not lines:
        raise DataError(f"{path} is empty; expected lines of a name and a label")
    rows = [(number, _columns(line)) for number, line in lines]
    if all(len(columns) == 1 for _, columns in rows):
        return LabelFile(path, {}, _listed(path, [columns[0] for _, columns in rows]))
    name_at, label_at, headed = _headings(rows[0][1])
    named: dict[str, str] = {}
    seen: dict[str, int] = {}
    for number, columns in rows[1:] if headed else rows:
        if len(columns) <= max(name_at, label_at) or not columns[label_at]:
            raise DataError(f"{path}, line {number}: expected a name and a label, got {' '.join(columns)!r}")
        name = columns[name_at].replace("\\", "/").removeprefix("./")
        if name in seen:
            raise DataError(f"{path}, line {number}: {name} appears twice, first in line {seen[name]}")
        seen[name] = number
        named[name] = columns[label_at].split()[0]  # Kaggle's boxes come after the class
    return LabelFile(path, named, column=rows[0][1][name_at] if headed else str(name_at + 1))


def read_real(path: Path) -> list[tuple[int, ...]]:
    """ReaL's lists of classes, of which number i is that of ILSVRC2012_val_(i + 1).

    Raises:
        DataError: it cannot be read, or does not hold lists of ImageNet's class numbers.
    """
    try:
        lists = [tuple(int(number) for number in own) for own in json.loads(path.read_text(encoding="utf-8-sig"))]
    except (OSError, ValueError, TypeError) as error:
        raise DataError(f"{path} must be a JSON list with a list of class numbers for each image ({error})") from error
    if any(not 0 <= number < len(imagenet_classes()) for own in lists for number in own):
        raise DataError(f"{path} must hold ImageNet's class numbers, 0 to 999")
    return lists


def class_folders_of(labels: Sequence[str], names: Sequence[str], classes: Path | None, path: Path) -> list[str]:
    """The class folder that each image would lie in, from labels that are numbers, wnids or words.

    Args:
        labels: of each image.
        names: of each image; ImageNet's validation pictures are known by theirs.
        classes: as a user gave them.
        path: where the labels are from, for messages.

    Raises:
        DataError: some labels are numbers and others are not, or a number is out of range.
    """
    whole = [label for label in set(labels) if _WHOLE.fullmatch(label)]
    if not whole:
        return list(labels)
    others = sorted(set(labels) - set(whole))
    if others:
        raise DataError(f"{path}: all labels must be numbers, or none, but {whole[0]} is one and {others[0]} is none")
    folders = _folders_of_numbers(names, classes, set(map(int, whole)))
    outside = sorted(number for number in map(int, whole) if number not in folders)
    if outside:
        raise DataError(
            f"{path}: class numbers must be from {min(folders)} to {max(folders)}, got {outside[0]}"
            f"{'' if len(outside) == 1 else f' and {len(outside) - 1} others'}"
        )
    return [folders[int(label)] for label in labels]


def _folders_of_numbers(names: Sequence[str], classes: Path | None, numbers: set[int]) -> dict[int, str]:
    """Class number → class folder."""
    if classes is None and all(VALIDATION.search(name) for name in names):
        classes = Path(IMAGENET)
    if classes is None:
        return {number: str(number) for number in range(max(0, *numbers) + 1)}
    return {number: folder for folder, (number, _) in known_classes(classes, []).items()} | (
        {number: wnid for wnid, (number, _) in imagenet_classes().items()} if str(classes) == IMAGENET else {}
    )


def _columns(line: str) -> list[str]:
    delimiter = next((mark for mark in "\t,;" if mark in line), None)
    if delimiter is None:
        return line.rsplit(maxsplit=1) if len(line.split()) > 1 else [line.strip()]
    return [column.strip() for column in next(csv.reader([line], delimiter=delimiter))]


def _headings(first: Sequence[str]) -> tuple[int, int, bool]:
    """Where names and labels stand, and whether the first line says so.

    Names of files are taken before ids, which may be row numbers.

    Example:
        >>> _headings(["id", "path", "species"]), _headings(["ImageId", "PredictionString"])
        ((1, 2, True), (0, 1, True))
    """
    words = [word.lower() for word in first]
    of_names = [place for heading in (_NAME_HEADING, _ID_HEADING) for place in _places(heading, words)]
    name_at = next(iter(of_names), None)
    label_at = next((place for place in _places(_LABEL_HEADING, words) if place != name_at), None)
    if name_at is None and label_at is None:
        return 0, 1, False
    if label_at is None:
        usual = 1 if name_at == 0 else 0
        label_at = next((place for place in range(len(words)) if place not in of_names), usual)
    if name_at is None:
        name_at = 0 if label_at != 0 else 1
    return name_at, label_at, True


def _places(heading: re.Pattern[str], words: Sequence[str]) -> list[int]:
    return [place for place, word in enumerate(words) if heading.fullmatch(word)]


def _listed(path: Path, labels: list[str]) -> list[str]:
    """Labels without names: wnids or words, or the devkit's numbers with its table of classes."""
    if not all(_WHOLE.fullmatch(label) for label in labels):
        return labels
    table = path.parent / "meta.mat"
    if not table.is_file():
        raise DataError(
            f"{path} lists numbers without names. ImageNet's development kit counts classes in an order of its own, so "
            "read as class numbers they would give an accuracy of about 0 %. Put its meta.mat beside the file, or give "
            "a table of names and labels"
        )
    from scipy.io import loadmat

    try:
        rows = loadmat(table, squeeze_me=True)["synsets"]
        wnids = {int(row["ILSVRC2012_ID"]): str(row["WNID"]) for row in rows}
        return [wnids[int(label)] for label in labels]
    except (OSError, ValueError, KeyError, IndexError, TypeError, NotImplementedError) as error:
        raise DataError(f"{table} does not say which class each number of {path} is ({error!r})") from error


def _matched(names: Sequence[str], named: Mapping[str, str]) -> list[str | None]:
    """The key of each image among the names of a table: the same path, its end, or the file's name without suffix."""
    ends: dict[str, str | None] = {}
    for key in named:
        file = key.rpartition("/")[2]
        for end in {file, file.rpartition(".")[0] or file}:
            ends[end] = None if end in ends else key  # of two files of one name, neither is meant
    # A bare name may mean the same picture as a path to a file of that name, unless this is another image's.
    images = {*names}
    elsewhere = {key.rpartition("/")[2] for key in named if "/" in key and key not in images}
    found: list[str | None] = []
    for name in names:
        file = name.rpartition("/")[2]
        by_end = ends.get(file) or ends.get(file.rpartition(".")[0] or file)
        found.append(name if name in named and name not in elsewhere else by_end)
    return found

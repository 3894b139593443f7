"""Annotation files of PASCAL VOC's layout, an XML file a picture: read and checked, by rules where it leaves a choice.

The box of `xmin ymin xmax ymax` is of whole pixels counted from 1, the last one inside: its edges are xmin − 1,
ymin − 1, xmax and ymax. An object that is marked difficult need not be found, and detections of it count neither way,
as in VOC's own development kit. An object's area is that of its box, since VOC tells no other.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from robustbench_bi.data.labels.text import numbered_lines
from robustbench_bi.data.objects import Annotations, Objects
from robustbench_bi.errors import DataError

CLASSES = (
    *("aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow"),
    *("diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor"),
)
_CORNERS = ("xmin", "ymin", "xmax", "ymax")
_NO_MASK = ""


def read_list(file: Path) -> dict[int, str]:
    """The pictures that a file of ImageSets/Main lists: image id → name, by id.

    The id is the number that a name's digits make (2007_000027 is 2007000027), the same in whatever list a picture
    stands. Where a name has other characters, or two names make one number, it is the place among the sorted names.

    Raises:
        DataError: it cannot be read, is empty, or is a list of one class.
    """
    lines = numbered_lines(file)
    names = [line.strip() for _, line in lines]
    for number, line in lines:
        if len(line.split()) > 1:
            raise DataError(
                f"line {number} of {file} must be the name of one image, got {line.strip()!r}; lists of a single "
                "class have a second column: take that of a split, such as val.txt"
            )
    if not names:
        raise DataError(f"{file} lists no images")
    twice = next((name for name in names if names.count(name) > 1), None) if len(set(names)) < len(names) else None
    if twice is not None:
        raise DataError(f"{file} lists {twice} twice; each image must appear once")
    plain = all(re.fullmatch(r"[0-9]+(_[0-9]+)*", name) and len(name) < 19 for name in names)
    numbers = [int(name.replace("_", "")) for name in names] if plain else []
    if len(set(numbers)) < len(names):
        names, numbers = sorted(names), list(range(len(names)))
    return dict(sorted(zip(numbers, names, strict=True)))


def read_annotations(folder: Path, names: dict[int, str], *, least_side: float = 0.0) -> Annotations:
    """Read the annotations of pictures.

    Args:
        folder: of the XML files.
        names: image id → the picture's name, as `read_list` gives it.
        least_side: objects whose box has a shorter side are left out, as for training.

    Raises:
        DataError: a file cannot be read, or is inconsistent.
    """
    rows, sizes = [], {}
    for image_id, name in names.items():
        file = folder / f"{name}.xml"
        try:
            sizes[image_id], objects = _picture(_root(file))
        except DataError as error:
            raise DataError(f"{file}: {error}") from None
        rows += [(image_id, *row) for row in objects if min(row[3:5]) >= least_side]
    files = {image_id: f"{name}.jpg" for image_id, name in names.items()}
    return Annotations(CLASSES, files, Objects.of_rows(rows, sizes))


def _root(file: Path) -> ElementTree.Element:
    try:
        return ElementTree.parse(file).getroot()
    except OSError as error:
        raise DataError(f"it cannot be read ({error.strerror}); each listed image needs one") from error
    except ElementTree.ParseError as error:
        raise DataError(f"it is not XML, or is truncated ({error})") from error


def _picture(root: ElementTree.Element) -> tuple[tuple[int, int], list[tuple[Any, ...]]]:
    """Width and height of a picture, and of each object what `COLUMNS` holds after the image id."""
    width, height = (_number(root, f"size/{name}") for name in ("width", "height"))
    if not all(side.is_integer() and side > 0 for side in (width, height)):
        raise DataError(f"size must be whole pixels, got {width:g}×{height:g}")
    size = int(width), int(height)
    return size, [_object(entry, size, place) for place, entry in enumerate(root.findall("object"), start=1)]


def _object(entry: ElementTree.Element, size: tuple[int, int], place: int) -> tuple[Any, ...]:
    name = (entry.findtext("name") or "").strip()
    if name not in CLASSES:
        raise DataError(
            f"object {place} has the class {name!r}, which is not one of VOC's {len(CLASSES)}; other classes can be "
            "given in COCO's layout, as coco:PATH"
        )
    left, top, right, bottom = (_number(entry, f"bndbox/{corner}", place) for corner in _CORNERS)
    _check_box((left, top, right, bottom), size, place)
    difficult = (entry.findtext("difficult") or "0").strip()
    if difficult not in ("0", "1"):
        raise DataError(f"difficult of object {place} must be 0 or 1, got {difficult!r}")
    box = left - 1, top - 1, right - left + 1, bottom - top + 1
    return CLASSES.index(name), *box, box[2] * box[3], False, _NO_MASK, difficult == "1"


def _check_box(corners: Sequence[float], size: tuple[int, int], place: int) -> None:
    left, top, right, bottom = corners
    shown = f"the box {', '.join(f'{name} {value:g}' for name, value in zip(_CORNERS, corners, strict=True))}"
    if right < left or bottom < top:
        raise DataError(f"{shown} of object {place} has no area; its end lies before its beginning")
    # A box may begin at 0: some tools count from there, and what lies outside by a pixel is not refused.
    if min(left, top) < 0 or right > size[0] + 1 or bottom > size[1] + 1:
        raise DataError(f"{shown} of object {place} lies outside the image of {size[0]}×{size[1]}")


def _number(entry: ElementTree.Element, path: str, place: int | None = None) -> float:
    text = entry.findtext(path)
    shown = path.replace("/", " ") + ("" if place is None else f" of object {place}")
    try:
        value = float(text or "")
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise DataError(f"{shown} must be a number, got {text!r}")
    return value

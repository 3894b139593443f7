"""Annotation files of COCO's layout: read and checked, so that what cannot be scored is refused in one line."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from robustbench_bi.data.objects import Annotations, Objects
from robustbench_bi.errors import DataError
from robustbench_bi.ground.checks import is_integer, is_number
from robustbench_bi.ground.run_lengths import Runs, checked, of_polygons, of_text, to_text

_LARGEST_ID = 2**63 - 1
# Published boxes are rounded, and some count pixels from 1.
_OVERHANG = 2.0


def read_annotations(path: Path, *, least_side: float = 0.0) -> Annotations:
    """Read an annotation file.

    Args:
        path: JSON with `images`, `categories` and `annotations`, as in COCO's instances_val2017.json. A class number is
            the place of a category among the sorted ids.
        least_side: objects whose box has a shorter side are left out, as for training; 0 refuses boxes of no area.

    Raises:
        DataError: the file cannot be read, or is inconsistent; the message names the first entry that is.
    """
    stored = _load(path)
    try:
        names = _categories(stored["categories"])
        files, sizes = _images(stored["images"])
        numbers = {identifier: number for number, identifier in enumerate(names)}
        rows = _rows(stored["annotations"], numbers, sizes, least_side)
    except DataError as error:
        raise DataError(f"{path}: {error}") from None
    return Annotations(tuple(names.values()), files, Objects.of_rows(rows, sizes))


def _load(path: Path) -> Mapping[str, Any]:
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from error
    except ValueError as error:
        raise DataError(f"{path} is not valid JSON, or is truncated ({error})") from error
    missing = [
        name
        for name in ("images", "categories", "annotations")
        if not isinstance(stored, dict) or not isinstance(stored.get(name), list)
    ]
    if missing:
        raise DataError(f"{path} must hold the lists images, categories and annotations; missing: {', '.join(missing)}")
    return stored  # type: ignore[no-any-return]


def _entries(entries: Sequence[Any], what: str, keys: Iterable[str]) -> Iterable[tuple[int, Mapping[str, Any]]]:
    """The entries of a list with their ids, checked to be there once and to have some keys."""
    seen = set()
    for place, entry in enumerate(entries):
        missing = [key for key in ("id", *keys) if not isinstance(entry, dict) or key not in entry]
        if missing:
            raise DataError(f"{what} number {place + 1} must have {', '.join(missing)}")
        identifier = entry["id"]
        if not is_integer(identifier) or not 0 <= identifier <= _LARGEST_ID:
            raise DataError(f"the id of {what} number {place + 1} must be an integer of at least 0, got {identifier!r}")
        if identifier in seen:
            raise DataError(f"the {what} id {identifier} appears twice; each must appear once")
        seen.add(identifier)
        yield identifier, entry


def _categories(entries: Sequence[Any]) -> dict[int, str]:
    """Category id → name, by id."""
    names = {identifier: str(entry["name"]) for identifier, entry in _entries(entries, "category", ["name"])}
    if not names:
        raise DataError("there are no categories")
    twice = next((name for name in names.values() if list(names.values()).count(name) > 1), None)
    if twice is not None:
        raise DataError(f"two categories are named {twice!r}; networks are matched by name")
    return dict(sorted(names.items()))


def _images(entries: Sequence[Any]) -> tuple[dict[int, str], dict[int, tuple[int, int]]]:
    """Image id → the file's name, and → width and height."""
    files, sizes = {}, {}
    for identifier, entry in _entries(entries, "image", ["file_name", "width", "height"]):
        size = entry["width"], entry["height"]
        if not all(is_integer(side) and side > 0 for side in size):
            raise DataError(f"width and height of image {identifier} must be whole pixels, got {size[0]!r}×{size[1]!r}")
        if not isinstance(entry["file_name"], str) or not entry["file_name"]:
            raise DataError(f"file_name of image {identifier} must be text, got {entry['file_name']!r}")
        files[identifier], sizes[identifier] = entry["file_name"], size
    if not files:
        raise DataError("there are no images")
    return files, sizes


def _rows(
    entries: Sequence[Any],
    numbers: Mapping[int, int],
    sizes: Mapping[int, tuple[int, int]],
    least_side: float,
) -> list[tuple[Any, ...]]:
    rows = []
    for identifier, entry in _entries(entries, "annotation", ["image_id", "category_id", "bbox"]):
        image, category = entry["image_id"], entry["category_id"]
        for key, value, known in (("image_id", image, sizes), ("category_id", category, numbers)):
            if not is_integer(value) or value not in known:
                raise DataError(f"annotation {identifier} has the {key} {value!r}, which is not in the file")
        box = _box(entry["bbox"], identifier)
        if 0 <= min(box[2:]) < least_side:
            continue
        _check_place(box, sizes[image], identifier, image)
        width, height = sizes[image]
        mask = _mask(entry.get("segmentation"), height, width, identifier)
        area = entry.get("area", box[2] * box[3])
        if not is_number(area) or not math.isfinite(area) or area < 0:
            raise DataError(f"the area of annotation {identifier} must be a number of pixels, got {area!r}")
        crowd = entry.get("iscrowd", 0)
        if crowd not in (0, 1):
            raise DataError(f"iscrowd of annotation {identifier} must be 0 or 1, got {crowd!r}")
        rows.append((image, numbers[category], *box, float(area), bool(crowd), mask))
    return rows


def _box(values: Any, identifier: int) -> tuple[float, ...]:
    fits = isinstance(values, list) and len(values) == 4 and all(is_number(v) and math.isfinite(v) for v in values)
    if not fits:
        raise DataError(f"bbox of annotation {identifier} must be x, y, width, height in pixels, got {values!r}")
    return tuple(float(value) for value in values)


def _check_place(box: Sequence[float], size: tuple[int, int], identifier: int, image: int) -> None:
    left, top, width, height = box
    shown = f"bbox {[round(value, 2) for value in box]} of annotation {identifier}"
    if width <= 0 or height <= 0:
        raise DataError(f"{shown} has no area; its third and fourth number must be its width and height")
    beyond = max(-left, -top, left + width - size[0], top + height - size[1])
    if beyond > _OVERHANG:
        raise DataError(
            f"{shown} lies {beyond:g} pixels outside image {image} of {size[0]}×{size[1]}; boxes are x, y, width, "
            "height in pixels of the file"
        )


def _mask(stored: Any, height: int, width: int, identifier: int) -> str:
    """A mask as text, empty where there is none."""
    if not stored:
        return ""
    try:
        return to_text(_runs(stored, height, width))
    except DataError as error:
        raise DataError(f"segmentation of annotation {identifier}: {error}") from None


def _runs(stored: Any, height: int, width: int) -> Runs:
    if isinstance(stored, list):
        return of_polygons(stored, height, width)
    counts = stored.get("counts") if isinstance(stored, dict) else None
    if counts is None or list(stored.get("size", ())) != [height, width]:
        raise DataError(f"segmentation must be polygons, or counts with the size [{height}, {width}] of its image")
    return of_text(counts, height * width) if isinstance(counts, str) else checked(counts, height * width)

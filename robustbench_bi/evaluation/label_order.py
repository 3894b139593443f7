"""Whether the labels of a detector are the places in its class_names, and not counted from elsewhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robustbench_bi.errors import ModelOutputError
from robustbench_bi.metrics.detection.boxes import overlaps

_OVERLAP = 0.5
_AGREE = 0.1
_REPEAT = 0.7
_FURTHER = 5
_CLASSES = 3

Columns = Mapping[str, NDArray[Any]]


def check_labels(name: str, class_names: Sequence[str], found: Columns, wanted: Columns) -> None:
    """Refuse classes that are wrong in the same way again and again.

    Of the boxes that overlap an object by half or more, the one with the highest score says what its class is. Refused
    is where at most one object in ten is called what it is, and yet objects of a class are nearly always called the
    same: seven in ten of the further objects of a class, of which there are at least five, are called what most others
    of it are, and three classes or more are called differently. A detector that has learned little is not refused: it
    calls objects of a class this and that, or all objects alike.

    Args:
        name: of the detector.
        class_names: of the data.
        found: detections, with image_id, category, score, x1, y1, x2, y2.
        wanted: objects, with image_id, category, x, y, width, height, crowd, difficult.

    Raises:
        ModelOutputError: they are.
    """
    true, called = _called(found, wanted)
    if not len(true) or (true == called).mean() > _AGREE:
        return
    usual = {own: np.bincount(called[true == own]) for own in np.unique(true).tolist()}
    several = {own: counts for own, counts in usual.items() if counts.sum() > 1}
    further = sum(int(counts.sum()) - 1 for counts in several.values())
    alike = sum(int(counts.max()) - 1 for counts in several.values())
    names = {int(counts.argmax()) for counts in several.values()}
    if further < _FURTHER or alike < _REPEAT * further or len(names) < _CLASSES:
        return
    own, counts = max(several.items(), key=lambda item: int(item[1].max()))
    raise ModelOutputError(
        f"{name} finds {counts.sum()} objects of the class {class_names[own]!r} and calls {counts.max()} of them "
        f"{class_names[int(counts.argmax())]!r}, and mixes up other classes in the same way; a label must be the index "
        "of its name in class_names, counted from 0; a background label and unused ids need names too"
    )


def _called(found: Columns, wanted: Columns) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Of the objects that a box fits, the class and what the box of the highest score calls it."""
    pairs = []
    ends = np.stack([wanted["x"] + wanted["width"], wanted["y"] + wanted["height"]], axis=1)
    objects = np.hstack([np.stack([wanted["x"], wanted["y"]], axis=1), ends])
    boxes = np.stack([found[corner] for corner in ("x1", "y1", "x2", "y2")], axis=1)
    for place in np.flatnonzero(~(wanted["crowd"] | wanted["difficult"])):
        near = np.flatnonzero(found["image_id"] == wanted["image_id"][place])
        fits = near[overlaps(objects[place], boxes[near]) >= _OVERLAP]
        if len(fits):
            best = fits[np.argmax(found["score"][fits])]
            pairs.append((int(wanted["category"][place]), int(found["category"][best])))
    true, called = np.array(pairs, dtype=np.int64).reshape(-1, 2).T
    return true, called

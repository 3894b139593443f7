"""An example picture for the page of detectors: its objects and what each network finds, clean and corrupted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from robustbench_bi.ground.cells import CLEAN
from robustbench_bi.metrics.detection.boxes import overlaps
from robustbench_bi.reports.content import Report
from robustbench_bi.reports.page.pictures import OpenPictures, data_url, middle_cells
from robustbench_bi.runs.run import Run

_RIGHT_FROM = 0.5
_CORNERS = ["x1", "y1", "x2", "y2"]

Place = tuple[float, float, float, float]


@dataclass(frozen=True)
class Box:
    """A box in a picture: its corner and sides in pixels, its class, its score in percent, and whether it is right."""

    place: Place
    name: str
    score: float
    right: bool


@dataclass(frozen=True)
class Shown:
    """A picture on the page: its cell in words, a data URL, and what the network finds."""

    name: str
    url: str
    boxes: tuple[Box, ...]


@dataclass(frozen=True, eq=False)
class BoxExamples:
    """One image under every corruption.

    Attributes:
        image_id: of the image.
        severity: of its corruptions.
        width, height: of the picture, pixels.
        objects: the place of each object, and its class.
        models: for each model of the report its pictures, clean and corrupted.
    """

    image_id: int
    severity: int
    width: int
    height: int
    objects: tuple[tuple[Place, str], ...]
    models: tuple[tuple[Shown, ...], ...]


def box_examples(report: Report, open_pictures: OpenPictures) -> BoxExamples:
    """One image under every corruption of the first run, with what each model finds in it.

    The image is one with the median number of objects, of these the one with the smallest id. Of each model as many
    boxes are shown as there are objects, the surest first, so that nothing depends on a threshold of scores.

    Args:
        report: the runs.
        open_pictures: `pictures_of`, or what stands in for it.

    Raises:
        BivoRobustError: the pictures are not at hand.
    """
    first = report.runs[0]
    image_id = typical_picture(first)
    cells = middle_cells(first)
    pictures = open_pictures(first, [image_id], cells)
    objects = _objects(first.truth(), image_id)
    urls = {cell: data_url(pictures.cells[cell][0]) for cell in cells}
    height, width = pictures.cells[cells[0]][0].shape[:2]
    models = []
    for run in report.runs:
        records = run.records()
        own = records[records["image_id"] == image_id]
        shown = []
        for cell in [cell for cell in cells if cell in run.cell_names]:
            found = own[(own["corruption"] == cell[0]) & (own["severity"] == cell[1])]
            boxes = found_boxes(found, objects, pictures.class_names)
            shown.append(Shown("clean" if cell == CLEAN else cell[0], urls[cell], boxes))
        models.append(tuple(shown))
    corners, names = objects[["x", "y", "x2", "y2"]].to_numpy(), objects["name"].astype(str)
    places = tuple(zip(map(_place, corners), names, strict=True))
    return BoxExamples(image_id, cells[-1][1], width, height, places, tuple(models))


def typical_picture(run: Run) -> int:
    """The picture to show: of those with objects one with the median number, and of several the smallest id."""
    counts = _to_find(run.truth()).groupby("image_id").size().sort_index()
    if counts.empty:
        return int(run.images()["image_id"].min())
    median = np.sort(counts.to_numpy())[(len(counts) - 1) // 2]
    return int(counts.index[counts == median][0])


def _to_find(truth: pd.DataFrame) -> pd.DataFrame:
    return truth[~truth["crowd"] & ~truth["difficult"]]


def _objects(truth: pd.DataFrame, image_id: int) -> pd.DataFrame:
    """The objects of a picture that are to be found, with their far corner."""
    own = _to_find(truth[truth["image_id"] == image_id])
    return own.assign(x2=own["x"] + own["width"], y2=own["y"] + own["height"])


def found_boxes(found: pd.DataFrame, objects: pd.DataFrame, class_names: Sequence[str]) -> tuple[Box, ...]:
    """The surest detections, as many as there are objects.

    A box is right where it overlaps an object of its class by half, and no surer one has that object.
    """
    surest = found.sort_values("score", ascending=False, kind="stable").head(max(1, len(objects)))
    corners = objects[["x", "y", "x2", "y2"]].to_numpy()
    taken = np.zeros(len(objects), dtype=bool)
    boxes = []
    for row in surest.to_dict("records"):
        place: Any = np.array([row[name] for name in _CORNERS])
        overlap = np.where((objects["category"] == row["category"]) & ~taken, overlaps(place, corners), 0.0)
        right = bool(len(overlap)) and bool(overlap.max() >= _RIGHT_FROM)
        if right:
            taken[int(overlap.argmax())] = True
        boxes.append(Box(_place(place), class_names[row["category"]], 100 * row["score"], right))
    return tuple(boxes)


def _place(corners: NDArray[np.float64]) -> Place:
    """x, y, width and height of corners, to a tenth of a pixel."""
    left, top, right, bottom = (round(float(value), 1) for value in corners)
    return left, top, round(right - left, 1), round(bottom - top, 1)

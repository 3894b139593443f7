"""A task for tests alone: a network marks places in an image, and some of its marks hit.

An image has a number of targets, and a row for each target or mark: found, missed, or false. So it has any number of
rows, also none. The primary number is F1, the ratio of twice the hits to all targets and marks, over all images of a
cell: it is no mean of per-image scores, because an image counts by how much is in it.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch

from robustbench_bi.errors import DataError
from robustbench_bi.ground.registry import Table
from robustbench_bi.metrics.intervals import grid_of
from robustbench_bi.metrics.statistics import Difference, ImageMeans, Weighted
from robustbench_bi.tasks import TASKS, Measure, Task, packing

COLUMNS = {"image_id": "int64", "target": "bool", "mark": "bool"}
"""A row that is a target and a mark is a hit, a target alone is missed, a mark alone is false."""

MEASURES = (
    Measure("f1", "F1", "F1 of hits", "%"),
    Measure("marks", "marks", "marks an image", "marks", decimals=2, better="lower", first=True),
)
PAIRING = "bootstrap"
EXTRAS = ()

TASK = Task("counting", "counting_task", "targets in an image, and marks of which some hit")


def table_with_it():
    """The table of tasks with this one in it, to put in place of `robustbench_bi.tasks.TASKS`."""
    return Table("task", [*TASKS, TASK])


def try_out(asked, images):
    asked.network(asked.prepared(images))


def ask(asked, images, image_ids, labels, place):
    """An image has as many targets as its label says, up to three; the network says how many marks it makes."""
    with torch.inference_mode():
        made = asked.network(asked.prepared(images)).long().clamp(0, 4).tolist()
    rows = [
        (image_id, place_of < targets, place_of < marks)
        for image_id, targets, marks in zip(image_ids.tolist(), (labels % 4).tolist(), made, strict=True)
        for place_of in range(max(targets, marks))
    ]
    columns = zip(*rows, strict=True) if rows else ([], [], [])
    return {name: np.array(own, dtype=dtype) for (name, dtype), own in zip(COLUMNS.items(), columns, strict=True)}


def arrange(records, images, cells):
    listed = images().sort_values("image_id")
    image_ids = listed["image_id"].to_numpy(dtype=np.int64)
    unknown = np.setdiff1d(records["image_id"], image_ids)
    if len(unknown):
        raise DataError(f"image {unknown[0]} has records, but is not in the list of images; evaluate again")
    return grid_of(image_ids, np.zeros(len(image_ids), dtype=np.int32), tuple(cells))


def counts_of(records, image_ids, cells):
    """Hits, targets and marks of each image in each cell: int64 (3, n, C)."""
    images, size = np.searchsorted(image_ids, records["image_id"].to_numpy()), (len(image_ids), len(cells))
    codes = {cell: number for number, cell in enumerate(cells)}
    pairs = zip(records["corruption"].astype(str), records["severity"], strict=True)
    places = images * len(cells) + np.array([codes[name, int(severity)] for name, severity in pairs], dtype=np.int64)
    target, mark = records["target"].to_numpy(), records["mark"].to_numpy()
    sums = [np.bincount(places[chosen], minlength=size[0] * size[1]) for chosen in (target & mark, target, mark)]
    return np.array([each.reshape(size) for each in sums])


@dataclass(frozen=True, eq=False)
class F1:
    """F1 of each cell in percent, from the images' counts; 100 where there is nothing to find and nothing is marked.

    Attributes:
        counts: hits, targets and marks, (3, n, C).
    """

    counts: np.ndarray

    @property
    def n(self):
        return self.counts.shape[1]

    def value(self):
        return self.resampled(np.ones((1, self.n)))[0]

    def resampled(self, weights):
        hits, targets, marks = (weights @ each for each in self.counts)
        both = targets + marks
        return np.where(both > 0, 200.0 * hits / np.maximum(both, 1), 100.0)

    def minus(self, other):
        return Difference(self, other)


def statistic(measure, records, grid, weights):
    counts = counts_of(records, grid.image_ids, grid.cells)
    return ImageMeans(counts[2] @ weights) if measure == "marks" else Weighted(F1(counts), weights)


def cells(records, images, names):
    image_ids = images["image_id"].sort_values().to_numpy()
    counts = counts_of(records, image_ids, list(names))
    frame = pd.DataFrame(names, columns=["corruption", "severity"])
    return frame.assign(n=len(image_ids), f1=F1(counts).value(), marks=counts[2].mean(axis=0))


@dataclass(frozen=True, eq=False)
class Counts:
    """What a baseline keeps: three small numbers an image and cell."""

    counts: np.ndarray

    @property
    def labels(self):
        return np.zeros(self.counts.shape[1], dtype=np.int32)

    def statistic(self, places, weights):
        return Weighted(F1(self.counts[:, :, list(places)]), weights)


def keep(records, grid):
    return Counts(counts_of(records, grid.image_ids, grid.cells))


def pack(kept):
    shown = ("hits", "targets", "marks")
    of_cells = [
        {
            **{name: int(number) for name, number in zip(shown, own.sum(axis=1), strict=True)},
            "images": packing.pack(own.astype("<u2")),
        }
        for own in np.moveaxis(kept.counts, 2, 0)
    ]
    return {}, of_cells


def unpack(contents, n):
    own = [packing.unpack(cell["images"], 3 * n, "<u2").reshape(3, n) for cell in contents["cells"]]
    return Counts(np.moveaxis(np.array(own), 0, 2).astype(np.int64))

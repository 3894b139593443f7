"""Detections against the truth: which finds which object, at each threshold of overlap, for each size of object."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from robustbench_bi.ground.run_lengths import Runs, of_text

if TYPE_CHECKING:
    import pandas as pd

    from robustbench_bi.metrics.statistics import Floats

THRESHOLDS = np.linspace(0.5, 0.95, 10)
MOST_DETECTIONS = 100
"""Of an image and category; the best are counted."""
SIZES: Mapping[str, tuple[float, float]] = {
    "all": (0.0, 1e10),
    "small": (0.0, 32.0**2),
    "medium": (32.0**2, 96.0**2),
    "large": (96.0**2, 1e10),
}
"""Areas in pixels, both ends included."""
KINDS = ("box", "mask")

_KINDS_OF_OBJECTS: Mapping[str, Any] = {"area": np.float64, "crowd": np.bool_, "difficult": np.bool_}

Indices = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Masks:
    """Runs of several masks, one after the other; mask k has those from `starts[k]` to `starts[k + 1]`."""

    runs: Runs
    starts: Indices

    @classmethod
    def of(cls, texts: Sequence[str], sizes: Indices) -> Masks:
        """The masks of texts; `sizes` are the pixels of their pictures."""
        own = [of_text(text, int(size)) for text, size in zip(texts, sizes, strict=True)]
        starts = np.concatenate([[0], np.cumsum([len(runs) for runs in own], dtype=np.int64)])
        return cls(np.concatenate(own) if own else np.zeros(0, np.int64), starts.astype(np.int64))

    def areas(self) -> Floats:
        """The pixels of each."""
        inside = np.arange(len(self.runs)) - np.repeat(self.starts[:-1], np.diff(self.starts))
        numbers = np.repeat(np.arange(len(self.starts) - 1), np.diff(self.starts))
        weights = np.where(inside % 2 == 1, self.runs, 0).astype(np.float64)
        return np.bincount(numbers, weights=weights, minlength=len(self.starts) - 1).astype(np.float64)


@dataclass(frozen=True, eq=False)
class Truth:
    """The objects of a run's images, sorted by image and category.

    Attributes:
        image_ids: int64 (n,), increasing.
        pixels: int64 (n,), of each picture.
        categories: how many there are.
        image, category: int64 (M,), of each object: the place of its image, and its class number.
        boxes: (M, 4) of x, y, width, height.
        area: (M,), as annotated: the mask's, not the box's.
        crowd: bool (M,), whether it is a group of objects, which need not be found.
        difficult: bool (M,), whether it is one object that need not be found either.
        masks: text (M,), empty where there is none.
    """

    image_ids: Indices
    pixels: Indices
    categories: int
    image: Indices
    category: Indices
    boxes: Floats
    area: Floats
    crowd: NDArray[np.bool_]
    difficult: NDArray[np.bool_]
    masks: NDArray[np.object_]

    @classmethod
    def of(cls, truth: pd.DataFrame, images: pd.DataFrame, categories: int) -> Truth:
        """The truth of a run, from `Run.truth()` and `Run.images()`."""
        listed = images.sort_values("image_id")
        image_ids = listed["image_id"].to_numpy(dtype=np.int64)
        pixels = listed["width"].to_numpy(dtype=np.int64) * listed["height"].to_numpy(dtype=np.int64)
        own = truth.assign(difficult=truth.get("difficult", False))[truth["image_id"].isin(image_ids)]
        image, category = np.searchsorted(image_ids, own["image_id"]), own["category"].to_numpy(dtype=np.int64)
        order = np.lexsort((category, image))
        names = ("x", "y", "width", "height", "area", "crowd", "difficult", "mask")
        columns = {name: own[name].to_numpy()[order] for name in names}
        boxes = np.stack([columns[name] for name in ("x", "y", "width", "height")], axis=1).astype(np.float64)
        sorted_by = image[order].astype(np.int64), category[order]
        area, crowd, difficult = (columns[name].astype(kind) for name, kind in _KINDS_OF_OBJECTS.items())
        return cls(image_ids, pixels, categories, *sorted_by, boxes, area, crowd, difficult, columns["mask"])

    @property
    def has_masks(self) -> bool:
        """Whether each object has one."""
        return len(self.masks) > 0 and all(len(text) > 0 for text in self.masks)

    @cached_property
    def runs(self) -> Masks:
        """The masks of the objects."""
        return Masks.of(self.masks.tolist(), self.pixels[self.image])

    @property
    def any_number(self) -> NDArray[np.bool_]:
        """Whether any number of detections may find an object, and none needs to."""
        either: NDArray[np.bool_] = self.crowd | self.difficult
        return either

    def ignored(self, size: str) -> NDArray[np.bool_]:
        """Whether an object need not be found: it is a crowd, difficult, or of another size."""
        least, most = SIZES[size]
        ignored: NDArray[np.bool_] = self.any_number | (self.area < least) | (self.area > most)
        return ignored


@dataclass(frozen=True, eq=False)
class Matched:
    """The detections of a cell, by category and in it the best first, and what each finds.

    Attributes:
        image: int32 (D,), the place of its image.
        starts: int64 (K + 1,), where a category's begin.
        hits: uint16 (D,), a bit a threshold where it finds an object.
        left_out: uint16 (D,), a bit a threshold where it is neither right nor wrong.
    """

    image: NDArray[np.int32]
    starts: Indices
    hits: NDArray[np.uint16]
    left_out: NDArray[np.uint16]


class Cell:
    """The detections of one cell, laid out in groups of an image and category beside the objects.

    Args:
        records: image_id, category, score, x1, y1, x2, y2 and mask of each detection, in any order; of equal scores
            the one that stands first is better.
        truth: the objects.
        kind: "box" or "mask", by which they are matched.
    """

    def __init__(self, records: pd.DataFrame, truth: Truth, kind: str) -> None:
        image = np.searchsorted(truth.image_ids, records["image_id"].to_numpy())
        category, score = records["category"].to_numpy(dtype=np.int64), records["score"].to_numpy(dtype=np.float64)
        order = np.lexsort((-score, category, image))
        key = (image * truth.categories + category)[order]
        begins = np.flatnonzero(np.diff(key, prepend=-1))
        rank = np.arange(len(key)) - np.repeat(begins, np.diff(np.append(begins, len(key))))
        order = order[rank < MOST_DETECTIONS]
        self.truth, self.kind = truth, kind
        self.image, self.category, self.score = image[order], category[order], score[order]
        own = self.image * truth.categories + self.category
        theirs = truth.image * truth.categories + truth.category
        keys = np.union1d(own, theirs)
        self.found_start = np.searchsorted(own, np.append(keys, np.iinfo(np.int64).max))
        self.object_start = np.searchsorted(theirs, np.append(keys, np.iinfo(np.int64).max))
        self.starts = np.concatenate([[0], np.cumsum(np.diff(self.found_start) * np.diff(self.object_start))])
        self._overlap(records.iloc[order])

    def _overlap(self, records: pd.DataFrame) -> None:
        from robustbench_bi.metrics.detection.matching_numba_kernels import box_overlaps, mask_overlaps

        truth = self.truth
        groups = (self.found_start, self.object_start, self.starts)
        if self.kind == "box":
            left, top, right, bottom = (records[name].to_numpy(dtype=np.float64) for name in ("x1", "y1", "x2", "y2"))
            boxes = np.stack([left, top, right - left, bottom - top], axis=1)
            self.area = boxes[:, 2] * boxes[:, 3]
            self.overlaps = box_overlaps(boxes, truth.boxes, truth.crowd, *groups)
        else:
            masks = Masks.of(records["mask"].tolist(), truth.pixels[self.image])
            self.area = masks.areas()
            theirs = truth.runs
            own = (masks.runs, masks.starts, theirs.runs, theirs.starts)
            self.overlaps = mask_overlaps(*own, truth.crowd, *groups)

    def matched(self, size: str) -> Matched:
        """What each detection finds among the objects of a size."""
        from robustbench_bi.metrics.detection.matching_numba_kernels import match

        least, most = SIZES[size]
        outside = (self.area < least) | (self.area > most)
        sizes: tuple[Any, ...] = (outside, self.truth.ignored(size), self.truth.any_number, THRESHOLDS)
        hits, left_out = match(self.overlaps, self.starts, self.found_start, self.object_start, *sizes)
        # What no threshold counts moves nothing; of one size, that is most.
        counted = np.flatnonzero(left_out != 2 ** len(THRESHOLDS) - 1)
        order = counted[np.lexsort((-self.score[counted], self.category[counted]))]
        starts = np.searchsorted(self.category[order], np.arange(self.truth.categories + 1))
        return Matched(self.image[order].astype(np.int32), starts, hits[order], left_out[order])

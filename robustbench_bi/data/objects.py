"""The objects in pictures: a box each, its class, and where it is known its mask."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

COLUMNS = {
    "image_id": "int64",
    "category": "int64",
    "x": "float64",
    "y": "float64",
    "width": "float64",
    "height": "float64",
    "area": "float64",
    "crowd": "bool",
    "mask": "str",
    "difficult": "bool",
}
"""Of each object: its picture, its class number, the box's corner and sides in pixels, its area in pixels (the mask's
where there is one), whether it is a group that need not be found, its mask as run lengths, empty where unknown, and
whether it is so hard to see that it need not be found either."""

ADDED = ("difficult",)
"""Columns that are younger than the first runs: they enter the digest only where they say something."""


@dataclass(frozen=True, eq=False)
class Objects:
    """The objects of all pictures of a source.

    Attributes:
        columns: arrays of `COLUMNS`, sorted by picture.
        sizes: image id → width and height of the picture in pixels.
    """

    columns: Mapping[str, NDArray[Any]]
    sizes: Mapping[int, tuple[int, int]]

    @classmethod
    def of_rows(cls, rows: Sequence[tuple[Any, ...]], sizes: Mapping[int, tuple[int, int]]) -> Objects:
        """The objects of rows in the order of `COLUMNS`; the last may be left out, and then no object is difficult."""
        whole = [(*row, *(False,) * (len(COLUMNS) - len(row))) for row in sorted(rows, key=lambda row: row[0])]
        columns = zip(*whole, strict=True) if whole else [()] * len(COLUMNS)
        arrays = {
            name: np.array(own, dtype=object if kind == "str" else kind)
            for (name, kind), own in zip(COLUMNS.items(), columns, strict=True)
        }
        return cls(arrays, sizes)

    def __len__(self) -> int:
        return len(self.columns["image_id"])

    def of(self, image_ids: NDArray[np.int64]) -> Mapping[str, NDArray[Any]]:
        """The columns of the objects in some pictures."""
        chosen = np.isin(self.columns["image_id"], image_ids)
        return {name: values[chosen] for name, values in self.columns.items()}

    def sizes_of(self, image_ids: NDArray[np.int64]) -> NDArray[np.int32]:
        """Width and height of pictures, (n, 2)."""
        return np.array([self.sizes[image_id] for image_id in image_ids.tolist()], dtype=np.int32).reshape(-1, 2)

    def digest(self, image_ids: NDArray[np.int64]) -> str:
        """SHA-256, in hex, over all that is said of the objects in some pictures, and the sizes of these."""
        digest = hashlib.sha256(self.sizes_of(image_ids).astype("<i4").tobytes())
        for name, values in self.of(image_ids).items():
            if name in ADDED and not values.any():
                continue
            digest.update(name.encode())
            text = "\n".join(values.tolist()).encode() if name == "mask" else values.tobytes()
            digest.update(text)
        return digest.hexdigest()

    @cached_property
    def has_masks(self) -> bool:
        """Whether each object has a mask."""
        return len(self) > 0 and all(self.columns["mask"].tolist())


@dataclass(frozen=True, eq=False)
class Annotations:
    """What the annotations of a set of pictures hold.

    Attributes:
        class_names: by class number.
        files: image id → the picture's file.
        objects: of all pictures.
    """

    class_names: tuple[str, ...]
    files: Mapping[int, str]
    objects: Objects

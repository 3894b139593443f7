"""Masks as run lengths: a column-major list of runs, first of what is outside, then inside, in turns.

That is how COCO writes masks. Its text form packs the same list into printable characters, and its polygons stand for
the mask that `of_polygons` gives. The reference implementation is pycocotools; the tests hold these equal to it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from robustbench_bi.errors import DataError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

Runs = NDArray[np.int64]


def of_bitmap(mask: ArrayLike) -> Runs:
    """The runs of a mask.

    Args:
        mask: (H, W), true inside.

    Example:
        >>> of_bitmap([[0, 1], [0, 1]]).tolist(), of_bitmap([[1, 0]]).tolist()
        ([2, 2], [0, 1, 1])
    """
    flat = np.asarray(mask, dtype=bool).ravel(order="F")
    return of_changes(np.flatnonzero(np.diff(flat, prepend=False)), flat.size)


def to_bitmap(runs: Runs, height: int, width: int) -> NDArray[np.bool_]:
    """The mask (H, W) of runs.

    Example:
        >>> to_bitmap(np.array([2, 2]), 2, 2).astype(int).tolist()
        [[0, 1], [0, 1]]
    """
    inside = np.arange(len(runs)) % 2 == 1
    return np.repeat(inside, runs).reshape((height, width), order="F")


def of_changes(changes: NDArray[np.integer[Any]], size: int) -> Runs:
    """Runs from the increasing positions where outside and inside change."""
    return np.diff(np.concatenate([[0], changes, [size]])).astype(np.int64)


def changes_of(runs: Runs) -> Runs:
    """The positions where outside and inside change."""
    return np.cumsum(runs)[:-1]


def area(runs: Runs) -> int:
    """The pixels inside.

    Example:
        >>> area(np.array([2, 2]))
        2
    """
    return int(runs[1::2].sum())


def of_polygons(polygons: Sequence[Sequence[float]], height: int, width: int) -> Runs:
    """The runs of the union of polygons, pixel by pixel as COCO's own tools draw them.

    Args:
        polygons: each x1, y1, x2, y2, … in pixels, at least three points.
        height, width: of the picture.

    Raises:
        DataError: a polygon has fewer than three points, an odd number of coordinates, or one that is no number.

    Example:
        >>> area(of_polygons([[1, 1, 3, 1, 3, 3, 1, 3]], 4, 4))
        4
    """
    from robustbench_bi.ground.run_lengths_numba_kernels import crossings

    size = height * width
    parts = []
    for polygon in polygons:
        try:
            points = np.asarray(polygon, dtype=np.float64)
        except (TypeError, ValueError):
            points = np.full(1, np.nan)
        if points.ndim != 1 or len(points) < 6 or len(points) % 2 or not np.isfinite(points).all():
            raise DataError(f"a polygon must be x1, y1, x2, y2, … of at least three points, got {_described(points)}")
        places, times = np.unique(crossings(points.reshape(-1, 2), height, width), return_counts=True)
        parts.append(places[(times % 2 == 1) & (places < size)])
    return _union(parts, size)


def _described(points: NDArray[np.float64]) -> str:
    """In words what was given for a polygon that is none."""
    if points.ndim != 1 or not np.isfinite(points).all():
        return "no list of numbers"
    return f"{len(points)} numbers" if len(points) % 2 else f"{len(points) // 2} points"


def _union(parts: Sequence[NDArray[np.int64]], size: int) -> Runs:
    """The runs of what lies inside at least one of several masks, each given by its changes."""
    steps = [np.where(np.arange(len(part)) % 2 == 0, 1, -1) for part in parts]
    places, step = np.concatenate(parts), np.concatenate(steps)
    where, first = np.unique(places, return_inverse=True)
    depth = np.cumsum(np.bincount(first, weights=step, minlength=len(where)))
    inside = depth > 0
    return of_changes(where[np.diff(inside, prepend=False)], size)


def to_text(runs: Runs) -> str:
    """The text form of COCO.

    Example:
        >>> to_text(np.array([2, 2, 5]))
        '225'
    """
    from robustbench_bi.ground.run_lengths_numba_kernels import pack

    return str(pack(np.asarray(runs, dtype=np.int64)).tobytes().decode("ascii"))


def of_text(text: str, size: int) -> Runs:
    """The runs that `to_text` wrote.

    Args:
        text: COCO's compressed counts.
        size: pixels of the picture, which the runs must add up to.

    Raises:
        DataError: it is no such text, or of a picture of another size.

    Example:
        >>> of_text("225", 9).tolist()
        [2, 2, 5]
    """
    from robustbench_bi.ground.run_lengths_numba_kernels import unpack

    raw = np.frombuffer(text.encode("utf-8", "replace"), dtype=np.uint8)
    return checked(unpack(raw), size)


def checked(runs: Any, size: int) -> Runs:
    """Runs that add up to the pixels of a picture.

    Raises:
        DataError: they do not, or one is negative.
    """
    try:
        own = np.asarray(runs, dtype=np.int64)
    except (TypeError, ValueError, OverflowError):
        own = np.full(1, -1)
    if own.ndim != 1 or (own < 0).any() or own.sum() != size:
        raise DataError(f"the runs of a mask must be whole numbers that add up to the {size} pixels of its image")
    return own

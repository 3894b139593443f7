"""Images that cannot be decoded: found before the work begins, and refused or left out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from robustbench_bi.data.dataset import Dataset
from robustbench_bi.errors import DataError
from robustbench_bi.ground.cells import Cell

LISTED = 3


def without_broken(
    dataset: Dataset, cells: Sequence[Cell] | None, workers: int, skip: bool
) -> tuple[Dataset, tuple[dict[str, Any], ...]]:
    """Decode every image once before anything is written; stop at broken ones, or leave them out and list them.

    Raises:
        DataError: there are broken images and `skip` is false, or nothing but broken ones.
    """
    broken = dataset.find_broken(workers, cells)
    if not broken:
        return dataset, ()
    if not skip:
        shown = "; ".join(f"{as_text(image.path)} ({image.reason})" for image in broken[:LISTED])
        more = f" and {len(broken) - LISTED} more" if len(broken) > LISTED else ""
        raise DataError(
            f"{len(broken)} of {len(dataset)} images cannot be decoded: {shown}{more}. "
            "Repair them, or skip them with --skip-broken"
        )
    listed = tuple(
        {"image_id": int(image.image_id), "path": as_text(image.path), "reason": image.reason} for image in broken
    )
    return dataset.without([image.image_id for image in broken]), listed


def as_text(path: str) -> str:
    """A path or name that may hold bytes that are no text, as text.

    Example:
        >>> as_text("caf\\udce9.png")
        'caf\\\\xe9.png'
    """
    return path.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")

"""Which of a network's answers compete, and which of them count as right."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

NO_CLASS = -1


@dataclass(frozen=True, eq=False)
class Answers:
    """What a network may answer about the images of a source, where that is not one label among all classes.

    Attributes:
        competing: increasing numbers of the classes that compete: the others' outputs are left out before the softmax.
            None where all do.
        accepted: int32 (images, k), for each image id the classes that count as right, `NO_CLASS` where there are fewer
            than k. None where it is the label.
    """

    competing: NDArray[np.int32] | None = None
    accepted: NDArray[np.int32] | None = None

    def accepted_of(self, image_ids: NDArray[np.int64]) -> NDArray[np.int32] | None:
        """The classes that count for some images, (B, k)."""
        return None if self.accepted is None else self.accepted[image_ids]

    def described(self) -> dict[str, Any]:
        """What a run keeps of it, in JSON's types; equal where the answers count alike.

        Example:
            >>> Answers(np.array([3, 7], dtype=np.int32)).described()["competing"]
            2
        """
        described: dict[str, Any] = {}
        for name, own in (("competing", self.competing), ("accepted", self.accepted)):
            if own is not None:
                several = int((own != NO_CLASS).sum(axis=1).max()) if own.ndim == 2 else len(own)
                described |= {name: several, f"{name}_hash": hashlib.sha256(own.astype("<i4").tobytes()).hexdigest()}
        return described


def sets_of_classes(lists: list[tuple[int, ...]]) -> NDArray[np.int32]:
    """Lists of class numbers as rows of one array.

    Example:
        >>> sets_of_classes([(409, 530), (414,), ()]).tolist()
        [[409, 530], [414, -1], [-1, -1]]
    """
    most = max((len(own) for own in lists), default=0)
    rows = np.full((len(lists), max(1, most)), NO_CLASS, dtype=np.int32)
    for row, own in zip(rows, lists, strict=True):
        row[: len(own)] = own
    return rows

"""What every container of image files can do, and the simplest one: files in folders.

A container lists its files once, under names with forward slashes, and reads them by their positions in that list. So
the same pictures in another container have the same names, and whoever reads them need not know where they lie.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from robustbench_bi.data.containers.image_files import File, file_size, in_threads

Result = TypeVar("Result")
SIZING_THREADS = 8  # hide the latency of network file systems
_SIZED_AT_ONCE = 64


class Files(Protocol):
    """Image files of a container."""

    @property
    def names(self) -> Sequence[str]:
        """The path of each file inside the container."""

    def path(self, position: int) -> str:
        """Where a file lies, for messages."""

    def sizes(self, positions: NDArray[np.int64]) -> NDArray[np.int64]:
        """Their sizes in bytes; -1 for one that is not there."""

    def visit(
        self, positions: NDArray[np.int64], function: Callable[[int, File], Result], workers: int
    ) -> list[Result]:
        """`[function(row, file) for row, file …]` over the files at some positions, by several threads.

        Files are handed over as they are reached, so that memory never holds more than a few.

        Raises:
            DataError: the container cannot be read.
        """

    def taken(self, positions: Sequence[int]) -> Self:
        """The files at some positions, in that order, as a container of their own."""


@dataclass(frozen=True, eq=False)
class FolderFiles:
    """Files in a folder and the folders in it.

    Args:
        root: the folder.
        names: paths of files inside it.
    """

    root: str
    names: Sequence[str]

    def path(self, position: int) -> str:
        """The path of a file."""
        return f"{self.root}/{self.names[position]}"

    def sizes(self, positions: NDArray[np.int64]) -> NDArray[np.int64]:
        """Their sizes in bytes, following links."""
        # Paths stay text here: a full set has 3.75 million files, and pathlib would triple the time. A thread takes
        # many at once, for handing over one takes longer than a look at a file of this machine.
        parts = [
            positions[start : start + _SIZED_AT_ONCE].tolist() for start in range(0, len(positions), _SIZED_AT_ONCE)
        ]
        found = in_threads(lambda part: [file_size(self.path(one)) for one in part], parts, SIZING_THREADS)
        return np.array([size for part in found for size in part], dtype=np.int64)

    def visit(
        self, positions: NDArray[np.int64], function: Callable[[int, File], Result], workers: int
    ) -> list[Result]:
        """Call a function with the row and the path of each file."""
        return in_threads(lambda row: function(row, self.path(positions[row])), range(len(positions)), workers)

    def taken(self, positions: Sequence[int]) -> Self:
        """The files at some positions, in that order."""
        return replace(self, names=[self.names[position] for position in positions])

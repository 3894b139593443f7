"""A batch of pictures, clean and in each of several cells."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from robustbench_bi.corruptions.apply import corrupt, jpeg_round_trip
from robustbench_bi.ground.cells import CLEAN, Cell

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from numpy.typing import NDArray


def corrupted_cells(
    pictures: NDArray[np.uint8],
    cells: Iterable[Cell],
    *,
    ids: NDArray[np.int64],
    seed: int = 0,
    table: str = "auto",
    jpeg: int | None = None,
) -> Iterator[tuple[Cell, NDArray[np.uint8]]]:
    """Yield each cell with the pictures as `eval` makes them there.

    Args:
        pictures: uint8 (B, 3, H, W), with sides of at least 32 pixels.
        cells: corruptions and severities; `CLEAN` gives the pictures themselves.
        ids: B image ids, which key the random draws.
        seed: 0 to 2**64 - 1.
        table: the severity constants.
        jpeg: quality of the JPEG round trip after a corruption; None for none.

    Yields:
        The cell, and uint8 (B, 3, H, W).

    Raises:
        UnknownNameError, InputError: as `corrupt`.

    Example:
        >>> grey = np.full((2, 3, 32, 32), 100, dtype=np.uint8)
        >>> cells = corrupted_cells(grey, [CLEAN, ("brightness", 5)], ids=np.arange(2))
        >>> [(cell, int(corrupted.mean())) for cell, corrupted in cells]
        [(('none', 0), 100), (('brightness', 5), 176)]
    """
    clean = torch.from_numpy(np.ascontiguousarray(pictures))
    for cell in cells:
        if cell == CLEAN:
            yield cell, pictures
            continue
        corrupted = corrupt(clean, *cell, ids=ids, seed=seed, table=table)
        if jpeg is not None:
            corrupted = jpeg_round_trip(corrupted, quality=jpeg)
        yield cell, corrupted.numpy()

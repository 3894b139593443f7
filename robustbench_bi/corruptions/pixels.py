"""The pixels of a cell: how clean images become those of a corruption at a severity, wherever they are needed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from robustbench_bi.errors import InputError
from robustbench_bi.ground.cells import CLEAN, Cell

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

Batch = TypeVar("Batch", "Tensor", "NDArray[np.uint8]")

GENERATORS = ("bivo-robust", "imagecorruptions")


@dataclass(frozen=True)
class Pixels:
    """How the corrupted pixels of a run, a figure or a set of files are made.

    Attributes:
        table: of severity constants, as for `corrupt`; `imagecorruptions` has its own.
        jpeg: quality of the JPEG round trip after a corruption, 1 to 100; None for none.
        generator: "bivo-robust", or "imagecorruptions" to let that package make them, for comparison.
        seed: keys every random draw, 0 to 2**64 - 1.
    """

    table: str = "auto"
    jpeg: int | None = None
    generator: str = GENERATORS[0]
    seed: int = 0

    def of_cell(
        self,
        images: Batch,
        cell: Cell,
        ids: Sequence[int] | NDArray[np.integer[Any]] | Tensor,
        *,
        backend: str | None = None,
    ) -> Batch:
        """Corrupt a batch of clean images.

        A pixel depends on the recipe, the cell, the image and its id, and on nothing else.

        Args:
            images: uint8 (B, 3, H, W), a tensor on any device or an array, with sides of at least 32 pixels.
            cell: corruption and severity; `CLEAN` gives the images themselves.
            ids: B integers, which key the random draws.
            backend: as for `corrupt`; `imagecorruptions` has none.

        Returns:
            uint8 (B, 3, H, W), of the kind and on the device of the images.

        Raises:
            InputError: such pixels are made by nobody here, or as `corrupt`.
            UnknownNameError, BackendUnavailableError: as `corrupt`.
            DataError: `imagecorruptions` is not installed.

        Example:
            >>> import numpy as np
            >>> grey = np.full((2, 3, 32, 32), 100, dtype=np.uint8)
            >>> [int(Pixels().of_cell(grey, cell, [0, 1]).mean()) for cell in (CLEAN, ("brightness", 5))]
            [100, 176]
        """
        if self.generator not in GENERATORS:
            raise InputError(f"generator must be {' or '.join(GENERATORS)}, got {self.generator!r}")
        if cell == CLEAN:
            return images
        # When pixels are made, so that what only holds a recipe does without.
        import numpy as np
        import torch

        if isinstance(images, torch.Tensor):
            return self._corrupted(images, cell, ids, backend)
        made = self._corrupted(torch.from_numpy(np.ascontiguousarray(images)), cell, ids, backend)
        return made.numpy()

    def _corrupted(self, batch: Tensor, cell: Cell, ids: Any, backend: str | None) -> Tensor:
        from robustbench_bi.corruptions.apply import corrupt, jpeg_round_trip

        if self.generator == "imagecorruptions":
            from robustbench_bi.corruptions import original

            batch = original.corrupt(batch, *cell, seed=self.seed, ids=ids)
        else:
            batch = corrupt(batch, *cell, seed=self.seed, ids=ids, table=self.table, backend=backend)
        return batch if self.jpeg is None else jpeg_round_trip(batch, quality=self.jpeg, backend=backend)

"""The pixels that networks see: images of a block, read once, and each of its cells made from them batch by batch."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from robustbench_bi.data import Dataset
from robustbench_bi.data.preprocess import Cut, Preprocessing
from robustbench_bi.ground.cells import CLEAN, Cell
from robustbench_bi.ops.share_out import pool

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from robustbench_bi.runs.identity import EvalConfig

    Images = torch.Tensor | list[NDArray[np.uint8]]


class BlockReader:
    """Reads blocks of images, and keeps the clean ones of the last block on the device for its other cells.

    Args:
        dataset: the images.
        workers: threads that decode.
        device: where they are corrupted and classified; a block travels there once, not with each of its cells.
    """

    def __init__(self, dataset: Dataset, workers: int, device: torch.device | str) -> None:
        self.dataset = dataset
        self.workers = workers
        self.device = device
        self._kept: tuple[int, Cut | None] | None = None
        self._images: Images | None = None

    def read(self, block: int, rows: NDArray[np.int64], preprocessing: Preprocessing | None, cell: Cell) -> Images:
        """Images uint8 (B, 3, S, S) of a block: the stored ones of the cell, or the clean ones to make it from.

        Where pictures keep their sizes, which no preprocessing says, it is a list of (3, H, W).

        Raises:
            DataError: an image cannot be read.
        """
        stored = self.dataset.stored_cells is not None
        wanted = None if stored else (block, preprocessing.cut if preprocessing is not None else None)
        if self._images is None or wanted is None or self._kept != wanted:
            self._images = None  # so that the last block's memory is free before the next one is read
            images = self.dataset.read(rows, preprocessing, cell=cell if stored else CLEAN, workers=self.workers)
            self._images = images if isinstance(images, list) else torch.from_numpy(images).to(self.device)
            self._kept = wanted
        return self._images

    def batch(
        self, images: Images, cell: Cell, image_ids: NDArray[np.int64], config: EvalConfig
    ) -> torch.Tensor | list[torch.Tensor]:
        """A batch of what `read` gave, in a cell, on the device; after the JPEG round trip where there is one.

        Pictures of several sizes are made one by one, in several threads.
        """
        if isinstance(images, list):

            def made(place: int) -> torch.Tensor:
                one = torch.from_numpy(images[place])[None].to(config.device)
                return config.pixels.of_cell(one, cell, image_ids[place : place + 1])[0]

            threads = torch.get_num_threads()
            each = pool(threads).map if threads > 1 else map
            return list(each(made, range(len(images))))
        return images if self.dataset.stored_cells is not None else config.pixels.of_cell(images, cell, image_ids)

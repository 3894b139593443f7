"""The pictures that networks saw, made when they are asked for by the code that an evaluation makes them with."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from robustbench_bi.corruptions import PIXEL_VERSION
from robustbench_bi.errors import DataError
from robustbench_bi.ground.cells import CLEAN, Cell
from robustbench_bi.runs.identity import cut_of, pixels_of

if TYPE_CHECKING:
    from robustbench_bi.data import Dataset

KEPT_FILES = 512
KEPT_CLEAN = 64


class PictureMaker:
    """Makes the pictures of runs on the same images.

    Runs that cut and corrupt alike saw the same pictures, which are one `view` with a number of its own.

    Args:
        dataset: the images.
        configs: of the runs.
        checksums: uint32 (n,), of the files that the runs were evaluated on; None where these are not known.
    """

    def __init__(
        self, dataset: Dataset, configs: Sequence[Mapping[str, Any]], checksums: NDArray[np.uint32] | None = None
    ) -> None:
        self.dataset = dataset
        self.checksums = checksums
        self.configs = configs
        made = [(cut_of(config).cut, pixels_of(config)) for config in configs]
        self.views = [made.index(own) for own in made]
        self.refusal = self._why_not()
        # One at a time: numba compiles once, and no more than one picture's temporaries are in memory.
        self._lock = threading.Lock()
        self._clean: Callable[[int, int], NDArray[np.uint8]] = lru_cache(KEPT_CLEAN)(self._read_clean)
        self.png: Callable[[int, int, Cell], bytes] = lru_cache(KEPT_FILES)(self._png)

    @property
    def notes(self) -> list[str]:
        """What must be said of the pictures, in sentences."""
        if self.refusal:
            return [f"No images: {self.refusal}."]
        found = []
        devices = {str(config["runtime"].get("device", "cpu")) for config in self.configs} - {"cpu"}
        if devices and self.dataset.stored_cells is None:
            found.append(
                f"The networks saw images that were corrupted on {', '.join(sorted(devices))}; these are made on the "
                "CPU, and may differ by one grey level in a few of 100,000 bytes."
            )
        if any(config.get("corrupt_size") for config in self.configs):
            found.append("Images are shown at the size at which they were corrupted; the networks saw them resized.")
        if any(config.get("channels") == 1 for config in self.configs):
            found.append("Images are shown in colour; a network saw them in greyscale.")
        return found

    def picture(self, view: int, place: int, cell: Cell) -> NDArray[np.uint8]:
        """A picture as the networks of a view saw it, uint8 (H, W, 3).

        Args:
            view: a number of `views`.
            place: of the image, from 0.
            cell: of the run.

        Raises:
            DataError: it may not be shown, cannot be made as it was, or cannot be read.
        """
        if self.refusal:
            raise DataError(self.refusal)
        with self._lock:
            clean = self._clean(view, place) if self.dataset.stored_cells is None else None
            if clean is None:
                made = self.dataset.read([place], cut_of(self.configs[view]), cell)
            else:
                made = pixels_of(self.configs[view]).of_cell(clean, cell, self.dataset.image_ids[[place]])
        return np.ascontiguousarray(made[0].transpose(1, 2, 0))

    def _read_clean(self, view: int, place: int) -> NDArray[np.uint8]:
        self._check_unchanged(place)
        read: NDArray[np.uint8] = self.dataset.read([place], cut_of(self.configs[view]), CLEAN)
        return read

    def _check_unchanged(self, place: int) -> None:
        """Refuse a file that is another one now; one of another size was found when the images were opened."""
        if self.checksums is None or self.dataset.checksums is None:
            return
        image_ids = self.dataset.image_ids[[place]]
        if self.dataset.checksums(image_ids)[0] != self.checksums[place]:
            (name,) = self.dataset.taken([place]).names()
            raise DataError(
                f"{name} has changed since the run: its bytes differ, so its answers belong to another image"
            )

    def _png(self, view: int, place: int, cell: Cell) -> bytes:
        """The same as a file without loss."""
        stream = io.BytesIO()
        Image.fromarray(self.picture(view, place, cell)).save(stream, "PNG", compress_level=1)
        return stream.getvalue()

    def _why_not(self) -> str:
        """Why no picture is shown; empty where they are."""
        source = self.dataset.hidden_by
        if source is not None:
            return f"those of {source.name} are not shown: {source.hidden}"
        version = self.configs[0].get("pixel_version")
        if self.dataset.stored_cells is None and version != PIXEL_VERSION:
            return f"the run used version {version} of the corruptions, but this program makes version {PIXEL_VERSION}"
        return ""

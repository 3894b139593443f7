"""Whole pictures with objects, of whatever layout: read at their own size, which the annotations must have too."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from robustbench_bi.data.containers.files import SIZING_THREADS
from robustbench_bi.data.containers.image_files import checksum_in_words, file_size, in_threads, open_rgb, why_broken
from robustbench_bi.data.dataset import Broken, Dataset
from robustbench_bi.data.objects import Annotations
from robustbench_bi.errors import DataError
from robustbench_bi.ground.cells import Cell


@dataclass(frozen=True, eq=False)
class AnnotatedPictures:
    """Annotated pictures in a folder.

    Attributes:
        name: of the source, as it was asked for.
        annotations: what is known of each picture.
        root: the folder; or the error that says why there is none, raised when one is wanted.
    """

    name: str
    annotations: Annotations
    root: Path | DataError

    def dataset(self) -> Dataset:
        """The pictures as a data set."""
        image_ids = np.array(sorted(self.annotations.files), dtype=np.int64)
        return Dataset(
            name=self.name,
            image_ids=image_ids,
            labels=np.zeros(len(image_ids), dtype=np.int32),
            class_names=self.annotations.class_names,
            load=self.load,
            describe=self.describe,
            contents=self.contents,
            check=self.check,
            open_image=self.open,
            list_names=lambda image_ids: (self.annotations.files[image_id] for image_id in image_ids.tolist()),
            objects=self.annotations.objects,
            at=self.at,
        )

    def path(self, image_id: int) -> Path:
        """Where a picture lies."""
        if isinstance(self.root, DataError):
            raise self.root
        return self.root / self.annotations.files[image_id]

    def open(self, image_id: int) -> Image.Image:
        """A picture as PIL has it."""
        path = self.path(image_id)
        return open_rgb(path, str(path))

    def load(self, image_ids: NDArray[np.int64], _: Any, __: Cell, workers: int) -> list[NDArray[np.uint8]]:
        """Whole pictures, (3, H, W) each."""
        return in_threads(self.read, image_ids.tolist(), workers)

    def read(self, image_id: int) -> NDArray[np.uint8]:
        """A whole picture."""
        picture = self.open(image_id)
        if (why := self.other_size(image_id, picture)) is not None:
            raise DataError(f"{self.path(image_id)} {why}")
        return np.ascontiguousarray(np.asarray(picture).transpose(2, 0, 1))

    def describe(self, image_ids: NDArray[np.int64]) -> Iterator[str]:
        """Names and sizes of files; what is in the pictures has a hash of its own."""
        files = self.annotations.files
        return (f"{files[image_id]}\t{file_size(self.path(image_id))}" for image_id in image_ids.tolist())

    def contents(self, image_ids: NDArray[np.int64]) -> list[str]:
        """Checksums of files."""
        return in_threads(lambda image_id: checksum_in_words(self.path(image_id)), image_ids.tolist(), SIZING_THREADS)

    def check(self, image_ids: NDArray[np.int64], _: Collection[Cell], workers: int) -> list[Broken]:
        """Pictures that cannot be read, or are of another size than annotated."""
        found = in_threads(self.broken, image_ids.tolist(), workers)
        return [own for own in found if own is not None]

    def broken(self, image_id: int) -> Broken | None:
        """Why a picture cannot be used; None where it can."""
        path = self.path(image_id)
        why = why_broken(path)
        if why is None:
            with Image.open(path) as picture:
                why = self.other_size(image_id, picture)
        return None if why is None else Broken(image_id, str(path), why)

    def other_size(self, image_id: int, picture: Image.Image) -> str | None:
        """In words that a picture is of another size than the annotations say; None where it is not."""
        width, height = self.annotations.objects.sizes[image_id]
        same = picture.size == (width, height)
        return None if same else f"is {picture.width}×{picture.height}, and the annotations say {width}×{height}"

    def at(self, folder: Path) -> Dataset:
        """The same annotations with the pictures in another folder.

        Raises:
            DataError: the first of them is not there.
        """
        first = next(iter(self.annotations.files.values()))
        if not os.path.exists(folder / first):  # noqa: PTH110 - pathlib's raises where a name is too long
            raise DataError(f"{folder} does not hold {first}, the first image of {self.name}")
        return replace(self, root=folder).dataset()

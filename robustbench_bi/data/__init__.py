"""Labelled images: a table of sources, and the `Dataset` that each of them opens.

A source hands out uint8 images of one side, (B, 3, S, S), which is what an image file holds. Corruptions and
normalisation come later, so one decoded block serves every cell and every model.

Example:
    >>> SOURCES["cifar-10"].path
    'optional'
    >>> list(SOURCES.names)
    ['demo', 'folder', 'imagenet-c', 'cifar-10', 'cifar-10-c', 'imagenette']
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from robustbench_bi.errors import DataError, InputError, UnknownNameError
from robustbench_bi.ground.cells import CLEAN as CLEAN
from robustbench_bi.ground.cells import Cell as Cell
from robustbench_bi.ground.registry import Table

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

    import numpy as np
    from numpy.typing import ArrayLike, NDArray
    from PIL.Image import Image

    from robustbench_bi.data.preprocess import Preprocessing

Split = Literal["evaluation", "training"]


@dataclass(frozen=True)
class Source:
    """A row of `SOURCES`.

    Args:
        name: what is typed before the colon. A bare path is a `folder`.
        code: "module:function" of the opener, `(path: str | None, *, split, classes: Path | None) -> Dataset`.
        path: whether a path follows the colon: "none", "optional" or "required".
        summary: one line for `bivo-robust list data`.
        training: whether there is a training split.
        class_file: whether classes are folders, whose numbers a class file can give.
    """

    name: str
    code: str
    path: Literal["none", "optional", "required"]
    summary: str
    training: bool = True
    class_file: bool = False


SOURCES = Table(
    "data source",
    [
        Source(
            "demo",
            "robustbench_bi.data.sources.demo:open_demo",
            "none",
            "ten classes of shapes at 64×64, drawn by the program: 500 for evaluation, 10,000 for training",
        ),
        Source(
            "folder",
            "robustbench_bi.data.sources.folder:open_folder",
            "required",
            "a folder of class folders; the path alone is enough (its val and train are used where both exist)",
            class_file=True,
        ),
        Source(
            "imagenet-c",
            "robustbench_bi.data.sources.imagenet_c:open_imagenet_c",
            "required",
            "published corrupted files: PATH/<corruption>/<severity>/<class folder>/<image>",
            training=False,
            class_file=True,
        ),
        Source(
            "cifar-10",
            "robustbench_bi.data.sources.cifar:open_cifar10",
            "optional",
            "CIFAR-10 at 32×32, downloaded where PATH does not hold it",
        ),
        Source(
            "cifar-10-c",
            "robustbench_bi.data.sources.cifar:open_cifar10_c",
            "required",
            "published corrupted arrays: PATH/<corruption>.npy and PATH/labels.npy",
            training=False,
        ),
        Source(
            "imagenette",
            "robustbench_bi.data.sources.imagenette:open_imagenette",
            "optional",
            "ten ImageNet classes, short side 320, downloaded where PATH does not hold them",
        ),
    ],
)


@dataclass(frozen=True)
class Broken:
    """An image file that cannot be decoded."""

    image_id: int
    path: str
    reason: str


@dataclass(frozen=True, eq=False)
class Dataset:
    """The selected images of a source. Nothing is decoded before `read`.

    Args:
        name: the source as it was asked for.
        image_ids: int64 (n,), increasing: positions in the source's full sorted listing. They stay with an image under
            `limit` and `without`, and key its random bits.
        labels: int32 (n,), class numbers.
        class_names: index = class number.
        load: `(image_ids, preprocessing, cell, workers) -> uint8 (B, 3, S, S)` with S = `preprocessing.input_size`.
        describe: `(image_ids) -> one line for each image` that says what is read: path, size in bytes, label, or a
            checksum. The hash of a run is made from these lines.
        check: `(image_ids, cells, workers) -> broken images`, or None where an image cannot be broken.
        native_size: side of the stored images in pixels, None where files have sizes of their own.
        stored_cells: the cells that the source holds as files, or None where corruptions are made from clean images.
        open_image: `image_id -> the whole clean picture, RGB, in the size of its file`, for random crops; None where
            all have the `native_size`.
    """

    name: str
    image_ids: NDArray[np.int64]
    labels: NDArray[np.int32]
    class_names: tuple[str, ...]
    load: Callable[[NDArray[np.int64], Preprocessing, Cell, int], NDArray[np.uint8]]
    describe: Callable[[NDArray[np.int64]], Iterable[str]]
    check: Callable[[NDArray[np.int64], Collection[Cell], int], Iterable[Broken]] | None = None
    native_size: int | None = None
    stored_cells: frozenset[Cell] | None = None
    open_image: Callable[[int], Image] | None = None

    def __len__(self) -> int:
        return len(self.image_ids)

    @property
    def kind(self) -> str:
        """The row of `SOURCES` that it comes from."""
        prefix = self.name.partition(":")[0]
        return prefix if prefix in SOURCES else "folder"

    @property
    def num_classes(self) -> int:
        """The number of classes, also where only some of them have images."""
        return len(self.class_names)

    @property
    def class_set(self) -> Literal["imagenet-1k", "other"]:
        """Whether the classes are ImageNet's 1000, for which alone AlexNet's errors, and so an mCE, have a meaning."""
        from robustbench_bi.data.class_spaces.imagenet import class_names, imagenet_classes

        return "imagenet-1k" if self.class_names == class_names(imagenet_classes()) else "other"

    @cached_property
    def listing_hash(self) -> str:
        """SHA-256, in hex, over the lines of `describe` and the image ids.

        Files go in by name, size and label; their contents are not read. So a file that is replaced by another of the
        same name and the same size goes unnoticed.
        """
        digest = hashlib.sha256()
        for image_id, line in zip(self.image_ids.tolist(), self.describe(self.image_ids), strict=True):
            digest.update(f"{image_id}\t{line}\n".encode("utf-8", "surrogateescape"))
        return digest.hexdigest()

    def read(
        self, rows: ArrayLike, preprocessing: Preprocessing, cell: Cell = CLEAN, workers: int = 0
    ) -> NDArray[np.uint8]:
        """Decode images and bring them to the model's side.

        Args:
            rows: positions into `image_ids`, in any order.
            preprocessing: side, resize and interpolation; its mean and std are not used here.
            cell: a stored cell, or the clean images.
            workers: threads that decode; 0 decodes in the calling thread. The result is the same.

        Returns:
            uint8 (B, 3, S, S), RGB.

        Raises:
            DataError: the source has no such cell, or a file is missing, broken, or too small for its rule.
        """
        import numpy as np

        self._require_cell(cell)
        return self.load(self.image_ids[np.asarray(rows, dtype=np.int64)], preprocessing, cell, workers)

    def names(self) -> tuple[str, ...]:
        """The path of each image inside its source; what is no file is named by class and image id."""
        if self.native_size is None:
            return tuple(line.rsplit("\t", 2)[0] for line in self.describe(self.image_ids))
        labelled = zip(self.image_ids.tolist(), self.labels.tolist(), strict=True)
        return tuple(f"{self.class_names[label]}/{image_id:05d}" for image_id, label in labelled)

    def sizes(self) -> NDArray[np.int32] | None:
        """Width and height of each image, (n, 2), where they are known without decoding."""
        import numpy as np

        return None if self.native_size is None else np.full((len(self), 2), self.native_size, np.int32)

    def find_broken(self, workers: int = 0, cells: Collection[Cell] | None = None) -> tuple[Broken, ...]:
        """Decode every file and name those that cannot be.

        Args:
            workers: threads that decode.
            cells: the cells to go through; by default all that are stored, or the clean images. An image is broken
                when its file in any of these cells is.

        Returns:
            At most one `Broken` for each image, in the order of `image_ids`.
        """
        if self.check is None:
            return ()
        wanted = sorted(self.stored_cells or {CLEAN}) if cells is None else list(dict.fromkeys(cells))
        for cell in wanted:
            self._require_cell(cell)
        return tuple(self.check(self.image_ids, wanted, workers))

    def without(self, image_ids: ArrayLike) -> Dataset:
        """The same images but these; the other image ids stay as they are.

        Raises:
            DataError: nothing would be left.
        """
        import numpy as np

        return self._select(~np.isin(self.image_ids, np.asarray(image_ids, dtype=np.int64)))

    def limited(self, limit: int) -> Dataset:
        """A subset of `limit` images, or all where there are fewer.

        Taken are the images whose SplitMix64 hash of the image id is smallest, in listing order: so a smaller limit
        is a subset of a larger one, and no class is preferred.
        """
        import numpy as np

        if isinstance(limit, bool) or not isinstance(limit, int) or limit < 1:
            raise InputError(f"limit must be a positive integer, got {limit!r}")
        keep = np.zeros(len(self), dtype=bool)
        keep[np.argsort(splitmix64(self.image_ids), kind="stable")[:limit]] = True
        return self._select(keep)

    def _select(self, keep: NDArray[np.bool_]) -> Dataset:
        if not keep.any():
            raise DataError(f"{self.name}: no images are left")
        return replace(self, image_ids=self.image_ids[keep], labels=self.labels[keep])

    def _require_cell(self, cell: Cell) -> None:
        held = {CLEAN} if self.stored_cells is None else self.stored_cells
        if cell in held:
            return
        if self.stored_cells is None:
            raise DataError(f"{self.name} holds clean images only, got a request for {cell[0]} at severity {cell[1]}")
        names = ", ".join(sorted({name for name, _ in held}))
        raise DataError(f"{self.name} holds no files for {cell[0]} at severity {cell[1]}; it holds {names}")


def open_data(
    source: str | Path, *, split: Split = "evaluation", limit: int | None = None, classes: str | Path | None = None
) -> Dataset:
    """Open a data source by the name that the command line takes.

    Args:
        source: a row of `SOURCES`, with `:PATH` where it takes one, or the path of a folder of class folders.
        split: "evaluation", or "training" where the source has one.
        limit: at most this many images, see `Dataset.limited`.
        classes: a tab-separated file of class number, folder name and label, for sources made of class folders.

    Returns:
        The dataset; its images are listed but not yet decoded.

    Raises:
        UnknownNameError: no such source.
        InputError: a path where none belongs, none where one is needed, or an argument out of range.
        DataError: the data are missing, incomplete or do not fit the class file.

    Example:
        >>> open_data("cifar-10-c")
        Traceback (most recent call last):
        ...
        robustbench_bi.errors.InputError: cifar-10-c needs a path: cifar-10-c:PATH
    """
    if split not in ("evaluation", "training"):
        raise InputError(f"split must be 'evaluation' or 'training', got {split!r}")
    name, path = split_source(str(source))
    row = SOURCES[name]
    if split == "training" and not row.training:
        raise InputError(f"{name} has no training split: it is for evaluation only")
    if classes is not None and not row.class_file:
        takers = " and ".join(row.name for row in SOURCES if row.class_file)
        raise InputError(f"a class file goes with class folders ({takers}), not with {name}")
    opener = SOURCES.load(name)
    dataset: Dataset = opener(path, split=split, classes=None if classes is None else expand_user(classes))
    dataset = replace(dataset, name=str(source))
    return dataset if limit is None else dataset.limited(limit)


def split_source(source: str) -> tuple[str, str | None]:
    """Split "name:path" into a row of `SOURCES` and its path; what is no name is the path of a folder."""
    if not source:
        raise InputError(f"data must be a folder or one of {', '.join(SOURCES.names)}, got an empty text")
    prefix, colon, path = source.partition(":")
    if prefix in SOURCES:
        need = SOURCES[prefix].path
        if need == "none" and colon:
            raise InputError(f"{prefix} takes no path, got {source!r}")
        if need == "required" and not path:
            raise InputError(f"{prefix} needs a path: {prefix}:PATH")
        return prefix, path or None
    written_as_path = "/" in prefix or "\\" in prefix or (colon and len(prefix) == 1)
    if not written_as_path and not os.path.exists(expand_user(source)):  # noqa: PTH110 - pathlib's may raise
        try:
            SOURCES[prefix]
        except UnknownNameError as error:
            raise UnknownNameError(f"{error} There is no folder {source!r} either.") from None
    return "folder", source


def at_hand(source: str) -> bool:
    """Whether a source lies on this machine, or would have to be fetched first."""
    from robustbench_bi.data.download import data_root

    name, path = split_source(source)
    unpacked = {"cifar-10": "cifar-10-batches-py", "imagenette": "imagenette2-320"}.get(name)
    root = data_root(path)
    return unpacked is None or any((folder / unpacked).is_dir() for folder in (root, root.parent))


def expand_user(path: str | Path) -> Path:
    """Replace a leading ~; pathlib's own `expanduser` raises where the user is unknown, here the text stays."""
    return Path(os.path.expanduser(path))  # noqa: PTH111


def splitmix64(values: NDArray[np.int64]) -> NDArray[np.uint64]:
    """Finalised SplitMix64 of each value (Steele, Lea and Flood 2014): a fixed shuffle of the 64-bit integers.

    Example:
        >>> import numpy as np
        >>> hex(splitmix64(np.array([0]))[0])
        '0xe220a8397b1dcdaf'
    """
    import numpy as np

    mixed = values.astype(np.uint64) + np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))

"""The labelled images of a source: what is listed, and how it is read."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from functools import cache, cached_property
from typing import TYPE_CHECKING, Any, Literal

from robustbench_bi.data.sources import SOURCES, Source, named_source
from robustbench_bi.errors import DataError, InputError
from robustbench_bi.ground.cells import CLEAN, Cell
from robustbench_bi.ground.checks import is_integer

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping
    from pathlib import Path

    import numpy as np
    from numpy.typing import ArrayLike, NDArray
    from PIL.Image import Image

    from robustbench_bi.data.class_spaces.answers import Answers
    from robustbench_bi.data.objects import Objects
    from robustbench_bi.data.preprocess import Preprocessing

Split = Literal["evaluation", "training"]
SAMPLED_FILES = 1024
SAMPLED_IMAGES = 64
"""Whose contents tell data from others of the same names and sizes: so many files, but of at least so many images."""


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
        list_names: `(image_ids) -> the path of each image inside its source`, as listed, with forward slashes; None
            where images are no files of their own.
        border: pixels that are cut off on each side of a picture before anything else.
        class_space: "restricted" where only some classes compete and "full" where all do though the set has only some;
            None for every other set.
        answers: which answers compete and count; None where it is the label among all classes.
        left_out: why images are left out of the evaluation -> how many.
        left_out_names: their names, where these are known.
        held_classes: of how many classes the source has images, whatever was chosen of these; 0 where nobody counted.
        remarks: what else a reader of the numbers should know of the images, a sentence each, without its full stop.
        unshared: where stored cells do not hold the same images: how the first one differs, in words. Such images are
            in no cell of this dataset.
        narrowed: `(cells) -> the same source with these stored cells alone`, where others may hold other images.
        stored_side: `() -> the side of stored corrupted images`, from the first of them; None where there are none.
        checksums: `(image_ids) -> uint32 (B,), the CRC-32 of each file`, which tells it from another of its size; None
            where images are no files of their own, or several.
        contents: `(image_ids) -> the CRC-32 of each file of each image`, a line an image; None where `describe` tells
            what is in them.
        clean_hash: of the listing of the clean images that were paired with stored ones; empty where none were.
        made_from: the kind of source whose pictures were corrupted, of stored ones; empty where that is not known.
    """

    name: str
    image_ids: NDArray[np.int64]
    labels: NDArray[np.int32]
    class_names: tuple[str, ...]
    load: Callable[[NDArray[np.int64], Any, Cell, int], Any]
    describe: Callable[[NDArray[np.int64]], Iterable[str]]
    check: Callable[[NDArray[np.int64], Collection[Cell], int], Iterable[Broken]] | None = None
    native_size: int | None = None
    stored_cells: frozenset[Cell] | None = None
    open_image: Callable[[int], Image] | None = None
    list_names: Callable[[NDArray[np.int64]], Iterable[str]] | None = None
    border: int = 0
    class_space: Literal["restricted", "full"] | None = None
    answers: Answers | None = None
    left_out: Mapping[str, int] = field(default_factory=dict)
    left_out_names: frozenset[str] = frozenset()
    held_classes: int = 0
    remarks: tuple[str, ...] = ()
    unshared: str = ""
    stored_side: Callable[[], int] | None = None
    narrowed: Callable[[Collection[Cell]], Dataset] | None = None
    checksums: Callable[[NDArray[np.int64]], NDArray[np.uint32]] | None = None
    contents: Callable[[NDArray[np.int64]], Iterable[str]] | None = None
    clean_hash: str = ""
    made_from: str = ""
    objects: Objects | None = None
    at: Callable[[Path], Dataset] | None = None

    def __len__(self) -> int:
        return len(self.image_ids)

    @property
    def source(self) -> Source:
        """The row of `SOURCES` that it comes from."""
        return named_source(self.name)[0]

    @property
    def kind(self) -> str:
        """The name of that row."""
        return self.source.name

    @property
    def hidden_by(self) -> Source | None:
        """The row of `SOURCES` for whose sake its pictures are not drawn; None where they may be."""
        rows = [self.source] if self.made_from not in SOURCES else [self.source, SOURCES[self.made_from]]
        return next((row for row in rows if row.hidden), None)

    def check_shown(self) -> None:
        """Refuse to draw its pictures where they may not be shown.

        Raises:
            DataError: they may not.
        """
        if self.hidden_by is not None:
            self.hidden_by.check_shown()

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

        Files go in by name, size and label; for what is in them, see `content_hash`.
        """
        digest = hashlib.sha256()
        for image_id, line in zip(self.image_ids.tolist(), self.describe(self.image_ids), strict=True):
            digest.update(f"{image_id}\t{line}\n".encode("utf-8", "surrogateescape"))
        return digest.hexdigest()

    @cached_property
    def content_hash(self) -> str:
        """SHA-256, in hex, over the checksums of a fixed sample of files; empty where the listing tells contents.

        It tells data from others of the same names and sizes, as uncompressed pictures have. All files are read where
        they are no more than `SAMPLED_FILES`, and else those of the images that `limited` would take, in every cell.
        """
        if self.contents is None:
            return ""
        lines = "\n".join(self.contents(self.sampled_ids()))
        return hashlib.sha256(lines.encode()).hexdigest()

    def sampled_ids(self) -> NDArray[np.int64]:
        """The images whose contents `content_hash` is of."""
        count = max(SAMPLED_IMAGES, SAMPLED_FILES // max(1, len(self.stored_cells or ())))
        return self.limited(count).image_ids

    def names(self) -> tuple[str, ...]:
        """The name of each image, in the order of `image_ids`.

        Returns:
            The paths of files inside their source: "n01440764/ILSVRC2012_val_00000293.JPEG". Bytes that are no UTF-8
            are kept as Python has them from the file system (surrogateescape). Images that are no files of their own
            are named by class and image id.

        Example:
            >>> from robustbench_bi.data import open_data
            >>> open_data("demo", limit=2).names()
            ('ring/00196', 'triangle/00472')
        """
        if self.list_names is not None:
            return tuple(self.list_names(self.image_ids))
        labelled = zip(self.image_ids.tolist(), self.labels.tolist(), strict=True)
        return tuple(f"{self.class_names[label]}/{image_id:05d}" for image_id, label in labelled)

    def sizes(self) -> NDArray[np.int32] | None:
        """Width and height of each stored image in pixels, int32 (n, 2); None where that takes a look into files.

        Example:
            >>> from robustbench_bi.data import open_data
            >>> open_data("demo", limit=2).sizes().tolist()
            [[64, 64], [64, 64]]
        """
        import numpy as np

        if self.objects is not None:
            return self.objects.sizes_of(self.image_ids)
        return None if self.native_size is None else np.full((len(self), 2), self.native_size, dtype=np.int32)

    def read(self, rows: ArrayLike, preprocessing: Preprocessing | None, cell: Cell = CLEAN, workers: int = 0) -> Any:
        """Decode images and bring them to the model's side.

        Args:
            rows: positions into `image_ids`, in any order.
            preprocessing: side, resize and interpolation; its mean and std are not used here. None where pictures keep
                their sizes.
            cell: a stored cell, or the clean images.
            workers: threads that decode; 0 decodes in the calling thread. The result is the same.

        Returns:
            uint8 (B, 3, S, S), RGB; where pictures keep their sizes, a list of B arrays (3, H, W).

        Raises:
            DataError: the source has no such cell, or a file is missing, broken, or too small for its rule.
        """
        import numpy as np

        self._require_cell(cell)
        return self.load(self.image_ids[np.asarray(rows, dtype=np.int64)], preprocessing, cell, workers)

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

        if not is_integer(limit) or limit < 1:
            raise InputError(f"limit must be a positive integer, got {limit!r}")
        if limit >= len(self):
            return self
        keep = np.zeros(len(self), dtype=bool)
        keep[np.argsort(splitmix64(self.image_ids), kind="stable")[:limit]] = True
        return replace(self._select(keep), remarks=(f"Drawn at random from {len(self):,} images", *self.remarks))

    def taken(self, rows: ArrayLike) -> Dataset:
        """The images at some rows, in the order of their ids.

        Raises:
            DataError: there are none.
        """
        import numpy as np

        keep = np.zeros(len(self), dtype=bool)
        keep[np.asarray(rows, dtype=np.int64)] = True
        return self._select(keep)

    def paired_with(self, clean: Dataset, partners: NDArray[np.int64]) -> Dataset:
        """Stored corrupted images with clean ones of another source as their clean cell.

        Args:
            clean: the other source.
            partners: int64 (n,), for each image the id that it has there.
        """
        import numpy as np

        from robustbench_bi.data.preprocess import beside_stored, centre_crops

        partner_of = np.full(int(self.image_ids.max()) + 1, -1, dtype=np.int64)
        partner_of[self.image_ids] = partners
        before, check_before, side = self.load, self.check, cache(self.one_stored_side)

        def load(image_ids: NDArray[np.int64], preprocessing: Preprocessing, cell: Cell, workers: int) -> Any:
            if cell != CLEAN:
                return before(image_ids, preprocessing, cell, workers)
            if self.stored_side is None:
                return clean.load(partner_of[image_ids], preprocessing, cell, workers)
            images = clean.load(partner_of[image_ids], beside_stored(preprocessing, side()), cell, workers)
            return centre_crops(images, preprocessing.shape)

        def check(image_ids: NDArray[np.int64], cells: Collection[Cell], workers: int) -> list[Broken]:
            stored = [cell for cell in cells if cell != CLEAN]
            found = list(check_before(image_ids, stored, workers)) if check_before and stored else []
            if CLEAN in cells and clean.check is not None:
                own = dict(zip(partner_of[image_ids].tolist(), image_ids.tolist(), strict=True))
                of_clean = clean.check(partner_of[image_ids], [CLEAN], workers)
                found += [replace(one, image_id=own[one.image_id]) for one in of_clean]
            first = {one.image_id: one for one in reversed(found)}
            return [first[image_id] for image_id in sorted(first)]

        def contents(image_ids: NDArray[np.int64]) -> Iterable[str]:
            parts = (self.contents, image_ids), (clean.contents, partner_of[image_ids])
            lines = [list(own(ids)) for own, ids in parts if own is not None]
            return map(" ".join, zip(*lines, strict=True))

        digest = hashlib.sha256("\n".join(clean.describe(partners)).encode("utf-8", "surrogateescape")).hexdigest()
        return replace(
            self,
            load=load,
            check=check,
            contents=contents if self.contents or clean.contents else None,
            stored_cells=frozenset({*(self.stored_cells or ()), CLEAN}),
            clean_hash=digest,
        )

    def one_stored_side(self) -> int | None:
        """The side of stored corrupted images; None where there are none, or where they have sizes of their own."""
        try:
            return None if self.stored_side is None else self.stored_side()
        except DataError:
            return None

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

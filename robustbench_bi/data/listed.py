"""From files whose labels are known to a `Dataset`: one way for every container and every source of image files."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from robustbench_bi.data.containers.files import SIZING_THREADS, Files
from robustbench_bi.data.containers.image_files import broken_files, checksum, checksum_in_words, decode, open_rgb
from robustbench_bi.data.dataset import Broken, Dataset
from robustbench_bi.data.preprocess import Preprocessing, crop_image, cut_image
from robustbench_bi.errors import DataError
from robustbench_bi.ground.cells import CLEAN, Cell


@dataclass(frozen=True, eq=False)
class Labelled:
    """What is known of the images of a source, in the order of their ids.

    Attributes:
        names: "<class folder>/<file>" as a folder of class folders would have it, whatever holds the files.
        labels: int32 (n,), class numbers.
        class_names: index = class number.
    """

    names: Sequence[str]
    labels: NDArray[np.int32]
    class_names: tuple[str, ...]


def sort_labelled(
    folders: Sequence[str], files: Sequence[str], labels: Sequence[int] | NDArray[np.integer], names: tuple[str, ...]
) -> tuple[list[int], Labelled]:
    """The order that these files would have in class folders, and what is then known of them.

    Args:
        folders: the class folder of each file.
        files: the name of each in its class folder.
        labels: the class number of each.
        names: of the classes.

    Returns:
        Positions in the order of image ids, and the images in that order.

    Raises:
        DataError: two files would have one name.

    Example:
        >>> order, images = sort_labelled(["dog", "cat"], ["1.png", "2.png"], [1, 0], ("cat", "dog"))
        >>> order, images.names
        ([1, 0], ['cat/2.png', 'dog/1.png'])
    """
    keys = list(zip(folders, files, strict=True))
    order = sorted(range(len(keys)), key=keys.__getitem__)
    for before, after in itertools.pairwise(order):
        if keys[before] == keys[after]:
            raise DataError(f"two images are named {'/'.join(keys[after])}; names must be unique")
    chosen = np.asarray(labels, dtype=np.int32)[order]
    return order, Labelled(["/".join(keys[position]).lstrip("/") for position in order], chosen, names)


def clean_dataset(
    name: str, files: Files, images: Labelled, *, border: int = 0, native_size: int | None = None
) -> Dataset:
    """A dataset of clean pictures, which go through each network's own transform, or all have one side.

    Args:
        name: the source as it was asked for.
        files: in the order of the images.
        images: what is known of them.
        border: pixels that are cut off on each side before anything else.
        native_size: the side of all pictures; None where they have sizes of their own.
    """

    def without_border(image: Image.Image) -> Image.Image:
        return image.crop((border, border, image.width - border, image.height - border)) if border else image

    def cut(image: Image.Image, preprocessing: Preprocessing, path: str) -> NDArray[np.uint8]:
        _check_native(image, native_size, path)
        return cut_image(without_border(image), preprocessing, path)

    def load(image_ids: NDArray[np.int64], preprocessing: Preprocessing, _: Cell, workers: int) -> NDArray[np.uint8]:
        return decode(files, image_ids, preprocessing, workers, cut)

    def open_image(image_id: int) -> Image.Image:
        def opened(_: int, file: object) -> Image.Image:
            return without_border(open_rgb(file, files.path(image_id)))  # type: ignore[arg-type]

        return files.visit(np.array([image_id]), opened, 0)[0]

    def checksums(image_ids: NDArray[np.int64]) -> NDArray[np.uint32]:
        return np.array(files.visit(image_ids, lambda _, file: checksum(file), SIZING_THREADS), dtype=np.uint32)

    return _dataset(
        name,
        images,
        load=load,
        checksums=checksums,
        contents=partial(contents_of, [files]),
        describe=partial(_describe, files, images),
        check=lambda image_ids, _, workers: broken_files([files], image_ids, workers),
        open_image=open_image,
        native_size=native_size,
        border=border,
    )


def stored_dataset(
    name: str, cells: Mapping[Cell, Files], images: Labelled, *, native_size: int | None = None
) -> Dataset:
    """A dataset of stored corrupted pictures, which are cropped at most.

    Args:
        name: the source as it was asked for.
        cells: the files of each cell, all in the order of the images; clean ones may be among them.
        images: what is known of them.
        native_size: the side of all pictures, where a network sees them at that side alone.
    """

    def load(image_ids: NDArray[np.int64], preprocessing: Preprocessing, cell: Cell, workers: int) -> NDArray[np.uint8]:
        own = _cut_clean if cell == CLEAN else _cut_stored

        def cut(image: Image.Image, preprocessing: Preprocessing, path: str) -> NDArray[np.uint8]:
            _check_native(image, native_size, path)
            return own(image, preprocessing, path)

        return decode(cells[cell], image_ids, preprocessing, workers, cut)

    def describe(image_ids: NDArray[np.int64]) -> Iterator[str]:
        sizes = zip(*(files.sizes(image_ids) for files in cells.values()), strict=True)
        for image_id, own in zip(image_ids.tolist(), sizes, strict=True):
            held = " ".join(f"{cell[0]}/{cell[1]}:{size}" for cell, size in zip(cells, own, strict=True))
            yield f"{images.names[image_id]}\t{held}\t{images.labels[image_id]}"

    def check(image_ids: NDArray[np.int64], wanted: Collection[Cell], workers: int) -> list[Broken]:
        return broken_files([cells[cell] for cell in wanted], image_ids, workers)

    return _dataset(
        name,
        images,
        load=load,
        describe=describe,
        contents=partial(contents_of, list(cells.values())),
        check=check,
        native_size=native_size,
        stored_cells=frozenset(cells),
        stored_side=partial(native_side, next(iter(cells.values()))),
    )


def _dataset(name: str, images: Labelled, **own: Any) -> Dataset:
    """A dataset of images of which this is known, in the order of their ids."""
    return Dataset(
        name=name,
        image_ids=np.arange(len(images.names), dtype=np.int64),
        labels=images.labels,
        class_names=images.class_names,
        list_names=partial(_list_names, images),
        **own,
    )


def native_side(files: Files) -> int:
    """The side of the first picture, which all others must have.

    Raises:
        DataError: it cannot be read, or is no square.
    """
    path = files.path(0)
    width, height = files.visit(np.array([0]), lambda _, file: open_rgb(file, path).size, 0)[0]
    if width != height:
        raise DataError(f"the images of this source must be square and of one size, but {path} has {width}×{height}")
    return width


def _check_native(image: Image.Image, side: int | None, path: str) -> None:
    if side is not None and image.size != (side, side):
        raise DataError(
            f"the images of this source must all have {side}×{side} pixels, but {path} has {image.width}×{image.height}"
        )


def _cut_stored(image: Image.Image, preprocessing: Preprocessing, path: str) -> NDArray[np.uint8]:
    side = preprocessing.side
    if min(image.size) < side:
        raise DataError(
            f"stored files are never enlarged: the model takes {side}×{side} pixels, but {path} has "
            f"{image.width}×{image.height}; resize them with --fit, or choose a smaller input_size"
        )
    return crop_image(image, side, path)


def _cut_clean(image: Image.Image, preprocessing: Preprocessing, path: str) -> NDArray[np.uint8]:
    if image.width != image.height:
        raise DataError(
            f"clean files under none/0 must be cropped like their corrupted counterparts, but {path} has "
            f"{image.width}×{image.height} pixels; crop them first"
        )
    return _cut_stored(image, preprocessing, path)


def contents_of(containers: Sequence[Files], image_ids: NDArray[np.int64]) -> Iterator[str]:
    """The checksum of the file of each image in each container, a line an image; "-" for one that cannot be read."""

    def sums(files: Files) -> list[str]:
        return files.visit(image_ids, lambda _, file: checksum_in_words(file), SIZING_THREADS)

    return map(" ".join, zip(*map(sums, containers), strict=True))


def _describe(files: Files, images: Labelled, image_ids: NDArray[np.int64]) -> Iterator[str]:
    for image_id, size in zip(image_ids.tolist(), files.sizes(image_ids), strict=True):
        yield f"{images.names[image_id]}\t{size}\t{images.labels[image_id]}"


def _list_names(images: Labelled, image_ids: NDArray[np.int64]) -> Iterator[str]:
    return (images.names[image_id] for image_id in image_ids)

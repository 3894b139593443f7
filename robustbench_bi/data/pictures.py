"""Pictures to look at, where no label is needed: a file, a folder of image files, or any data source.

They are handed out as a `Dataset` of one nameless class, so that what reads labelled images reads these too.

Example:
    >>> open_pictures("photographs").read([3], Preprocessing()).shape
    (1, 3, 224, 224)
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from robustbench_bi.data import open_data
from robustbench_bi.data.containers.files import FolderFiles
from robustbench_bi.data.containers.folders import EXTENSIONS, expand_user
from robustbench_bi.data.dataset import Dataset
from robustbench_bi.data.listed import Labelled, clean_dataset
from robustbench_bi.data.preprocess import Preprocessing, fit_image, preprocessing_of
from robustbench_bi.errors import DataError, InputError
from robustbench_bi.ground.cells import CLEAN, Cell, Progress, cell_label

PHOTOGRAPHS = "photographs"
_AT_ONCE = 64
_THREADS = 8
# Those in scikit-image's wheel that show what people photograph; without planets, retinas and cells.
_NAMES = (
    "astronaut", "brick", "camera", "cat", "coffee", "coins", "grass", "gravel", "rocket", "stereo_motorcycle",
)  # fmt: skip


def open_pictures(source: str | Path = PHOTOGRAPHS, *, limit: int | None = None) -> Dataset:
    """Open pictures by the name that the command line takes.

    Args:
        source: "photographs" for ten that ship with scikit-image, an image file, a folder that holds image files, or a
            data source as for `open_data`. In a folder, files come in the order of their names.
        limit: at most this many, see `Dataset.limited`.

    Returns:
        The pictures, listed but not yet decoded. Labels say nothing unless a data source has them.

    Raises:
        UnknownNameError, InputError: as `open_data`.
        DataError: likewise, or the source holds corrupted pictures without the clean ones.

    Example:
        >>> len(open_pictures("photographs")), len(open_pictures("demo", limit=20))
        (10, 20)
    """
    if str(source) == PHOTOGRAPHS:
        dataset = _open_photographs()
    elif str(source) and (files := _files(expand_user(source))):
        dataset = _open_files(files)
    else:
        dataset = open_data(source)
    if dataset.stored_cells is not None and CLEAN not in dataset.stored_cells:
        raise DataError(f"{source} holds only corrupted images; give clean ones")
    dataset = replace(dataset, name=str(source))
    return dataset if limit is None else dataset.limited(limit)


def picture_preprocessing(dataset: Dataset, size: int | None = None) -> Preprocessing:
    """How pictures are cut where no network says so: 224 pixels from a short side of 256, or their native size.

    Args:
        dataset: the pictures.
        size: in place of 224; the short side keeps its proportion. Stored corrupted files are cropped, never resized.

    Raises:
        InputError: the size is out of range, or another one than that of pictures which are not resized.

    Example:
        >>> picture_preprocessing(open_pictures("photographs"), 112).resize_size
        128
        >>> picture_preprocessing(open_pictures("demo")).input_size
        64
    """
    native = dataset.native_size
    if native is None:
        return preprocessing_of(None, input_size=size)
    if size not in (None, native):
        raise InputError(
            f"{dataset.kind} images are {native} pixels and are not resized, got size {size}; leave it out"
        )
    return Preprocessing(native, native)


def read_cells(
    dataset: Dataset,
    preprocessing: Preprocessing,
    cells: Sequence[Cell],
    corrupted: Callable[[NDArray[np.uint8], Cell, NDArray[np.int64]], NDArray[np.uint8]],
    *,
    progress: Callable[[Progress], None] | None = None,
) -> Iterator[tuple[Cell, NDArray[np.uint8]]]:
    """Read pictures, a few at a time, and yield these in every cell before the next are read.

    Args:
        dataset: the pictures.
        preprocessing: how they are cut.
        cells: clean and corruptions, in the order in which they are yielded.
        corrupted: makes a batch of one cell, as `robustbench_bi.corruptions.pixels.Pixels.of_cell` does; it is called
            with pictures (B, 3, H, W), a cell and ids, unless the source holds the corrupted pictures.
        progress: called after each cell, once the caller is done with it.

    Yields:
        The cell, and uint8 (B, H, W, 3), RGB.

    Raises:
        DataError: a picture cannot be read, or a stored cell is not there.

    Example:
        >>> pictures, cells = open_pictures("demo", limit=2), [("none", 0), ("fog", 3)]
        >>> same = lambda images, cell, ids: images
        >>> [(cell, own.shape) for cell, own in read_cells(pictures, picture_preprocessing(pictures), cells, same)]
        [(('none', 0), (2, 64, 64, 3)), (('fog', 3), (2, 64, 64, 3))]
    """
    starts = range(0, len(dataset), _AT_ONCE)
    done = images = 0
    for start in starts:
        rows = range(len(dataset))[start : start + _AT_ONCE]
        for cell, own in _cells_of(dataset, rows, preprocessing, cells, corrupted):
            yield cell, own.transpose(0, 2, 3, 1)
            done, images = done + 1, images + len(rows)
            if progress is not None:
                total = len(starts) * len(cells)
                progress(Progress(cell_label(cell), "cells", done, total, images, len(dataset) * len(cells)))


def _cells_of(
    dataset: Dataset,
    rows: range,
    preprocessing: Preprocessing,
    cells: Sequence[Cell],
    corrupted: Callable[[NDArray[np.uint8], Cell, NDArray[np.int64]], NDArray[np.uint8]],
) -> Iterator[tuple[Cell, NDArray[np.uint8]]]:
    if dataset.stored_cells is not None:
        for cell in cells:
            yield cell, dataset.read(rows, preprocessing, cell, _THREADS)
        return
    clean = dataset.read(rows, preprocessing, workers=_THREADS)
    for cell in cells:
        yield cell, corrupted(clean, cell, dataset.image_ids[rows])


def _files(path: Path) -> list[Path]:
    """The file itself, or the image files that lie directly in a folder."""
    if os.path.isfile(path):  # noqa: PTH113 - pathlib's may raise
        return [path]
    found: list[Path] = []
    with suppress(OSError, ValueError):  # not there, or not a folder: `open_data` says what is wrong
        found = [file for file in path.iterdir() if file.suffix.lower() in EXTENSIONS and file.name[0] != "."]
    return sorted(file for file in found if not file.is_dir())


def _open_files(files: list[Path]) -> Dataset:
    names = [file.name for file in files]
    container = FolderFiles(str(files[0].parent), names)

    def describe(ids: NDArray[np.int64]) -> Iterator[str]:
        return (f"{names[image_id]}\t{size}" for image_id, size in zip(ids, container.sizes(ids), strict=True))

    images = Labelled(names, np.zeros(len(files), dtype=np.int32), ("picture",))
    return replace(clean_dataset("", container, images), describe=describe, open_image=None)


def _open_photographs() -> Dataset:
    def load(ids: NDArray[np.int64], preprocessing: Preprocessing, _: Cell, __: int) -> NDArray[np.uint8]:
        return np.stack([fit_image(_photograph(_NAMES[image_id]), preprocessing) for image_id in ids])

    return Dataset(
        name="",
        image_ids=np.arange(len(_NAMES), dtype=np.int64),
        labels=np.zeros(len(_NAMES), dtype=np.int32),
        class_names=("picture",),
        load=load,
        describe=lambda ids: (f"scikit-image {_NAMES[image_id]}" for image_id in ids),
        list_names=lambda ids: (_NAMES[image_id] for image_id in ids),
    )


def _photograph(name: str) -> Image.Image:
    import skimage.data

    loaded = getattr(skimage.data, name)()
    # The stereo pair comes with its disparity; its left picture is taken.
    return Image.fromarray(loaded[0] if isinstance(loaded, tuple) else loaded).convert("RGB")

"""Folders of class folders, and the reading and checking of many image files at once.

Pillow's decoders and its resize release the interpreter's lock, so threads do the work of processes here.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile

from robustbench_bi.data import Broken, Cell, Dataset, Split, expand_user
from robustbench_bi.data.classes import number_folders
from robustbench_bi.data.preprocess import Preprocessing, load_image, open_rgb, reason
from robustbench_bi.errors import DataError

EXTENSIONS = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")

Item = TypeVar("Item")
Result = TypeVar("Result")


def open_folder(path: str, *, split: Split = "evaluation", classes: Path | None = None) -> Dataset:
    """Open PATH/<class folder>/<image>.

    Where PATH holds both `train` and `val`, the evaluation split is PATH/val; the training split is PATH/train where
    that exists. Links are followed; hidden files and files without an image's extension are not listed.

    Args:
        path: the folder.
        split: "evaluation" or "training".
        classes: a class file, see `robustbench_bi.data.classes`.

    Raises:
        DataError: the folder is missing, empty or laid out in another way, or does not fit the class file.
    """
    root = _split_folder(existing_folder(path), split)
    files, labels, names = label_files(list_classes(root), classes)

    def load(image_ids: NDArray[np.int64], geometry: Preprocessing, _: Cell, workers: int) -> NDArray[np.uint8]:
        return decode([root / files[image_id] for image_id in image_ids], geometry, workers)

    def describe(image_ids: NDArray[np.int64]) -> Iterator[str]:
        return (f"{files[image_id]}\t{file_size(root / files[image_id])}\t{labels[image_id]}" for image_id in image_ids)

    def check(image_ids: NDArray[np.int64], _: Collection[Cell], workers: int) -> list[Broken]:
        return broken_files(image_ids, lambda image_id: [root / files[image_id]], workers)

    def open_image(image_id: int) -> Image.Image:
        return open_rgb(root / files[image_id])

    image_ids = np.arange(len(files), dtype=np.int64)
    return Dataset(path, image_ids, labels, names, load, describe, check, open_image=open_image)


def existing_folder(path: str) -> Path:
    """The folder that a user named.

    Raises:
        DataError: it does not exist, or is a file.
    """
    root = expand_user(path)
    if not os.path.exists(root):  # noqa: PTH110 - pathlib's raises where a name is too long
        raise DataError(f"there is no folder {root}")
    if not root.is_dir():
        raise DataError(f"{root} must be a folder of class folders, but it is a file")
    return root


def list_classes(root: Path) -> dict[str, list[str]]:
    """The images in each class folder, both sorted by code point.

    Args:
        root: holds one folder for each class, and these hold image files; folders inside class folders are not read.

    Returns:
        class folder -> names of its images.

    Raises:
        DataError: there are no class folders, or some hold no images.
    """
    folders = subfolders(root)
    if not folders:
        found = "images but no class folders" if _images(root) else "neither class folders nor images"
        raise DataError(f"expected class folders with images in {root}, which holds {found}")
    listing = {folder: _images(root / folder) for folder in folders}
    empty = [folder for folder, images in listing.items() if not images]
    if empty:
        first = root / empty[0]
        hint = f"; if {first} holds the class folders, give that path" if subfolders(first) else ""
        raise DataError(
            f"expected images in every class folder of {root}, but {len(empty)} of {len(folders)} hold none, "
            f"first {empty[0]}{hint}"
        )
    return listing


def label_files(
    listing: Mapping[str, Sequence[str]], classes: Path | None
) -> tuple[list[str], NDArray[np.int32], tuple[str, ...]]:
    """Flatten a listing of class folders to relative paths, the label of each, and the names of all classes."""
    numbers, names = number_folders(list(listing), classes)
    files = [f"{folder}/{image}" for folder, images in listing.items() for image in images]
    return files, np.repeat(np.array(numbers, dtype=np.int32), [len(images) for images in listing.values()]), names


def subfolders(root: Path) -> list[str]:
    """Names of the folders in a folder, sorted, without hidden ones."""
    return sorted(entry.name for entry in _entries(root) if entry.is_dir())


def decode(
    paths: Sequence[Path],
    geometry: Preprocessing,
    workers: int,
    load: Callable[[Path, Preprocessing], NDArray[np.uint8]] = load_image,
) -> NDArray[np.uint8]:
    """Decode files into one array.

    Args:
        paths: B image files.
        geometry: the side S, resize and interpolation.
        workers: threads; 0 and 1 decode in the calling thread.
        load: reads one file, uint8 (3, S, S).

    Returns:
        uint8 (B, 3, S, S).

    Raises:
        DataError: the first file that cannot be read.
    """
    images = np.empty((len(paths), 3, geometry.input_size, geometry.input_size), dtype=np.uint8)

    def fill(row: int) -> None:
        images[row] = load(paths[row], geometry)

    in_threads(fill, range(len(paths)), workers)
    return images


def broken_files(image_ids: NDArray[np.int64], paths_of: Callable[[int], Iterable[Path]], workers: int) -> list[Broken]:
    """Decode every file of every image and report the first broken one of each image."""

    def check(image_id: int) -> Broken | None:
        found = ((path, why_broken(path)) for path in paths_of(image_id))
        return next((Broken(image_id, str(path), why) for path, why in found if why is not None), None)

    return [broken for broken in in_threads(check, image_ids.tolist(), workers) if broken is not None]


def why_broken(path: Path) -> str | None:
    """The reason why a file cannot be decoded, or None.

    A JPEG is decoded at an eighth of its side: that reads all of its data, in about half the time.
    """
    try:
        if path.stat().st_size == 0:
            return "the file is empty"
        with Image.open(path) as image:
            image.draft(image.mode, (1, 1))
            image.convert("RGB")
    except Exception as error:  # damaged files make PIL's decoders raise almost anything
        return reason(error)
    return None


def in_threads(function: Callable[[Item], Result], items: Sequence[Item], workers: int) -> list[Result]:
    """`[function(item) for item in items]` by several threads, with Pillow strict and silent."""
    with _strict_decoding():
        if workers < 2:
            return [function(item) for item in items]
        with ThreadPoolExecutor(workers) as pool:
            return list(pool.map(function, items))


@contextmanager
def _strict_decoding() -> Iterator[None]:
    """Truncated files are errors, also where another package asked Pillow to pad them; odd metadata is no news."""
    padded = ImageFile.LOAD_TRUNCATED_IMAGES
    ImageFile.LOAD_TRUNCATED_IMAGES = False
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        ImageFile.LOAD_TRUNCATED_IMAGES = padded


def file_size(path: str | Path) -> int:
    """Size of a file in bytes, following links; -1 where there is none, as for a dangling link."""
    try:
        return os.stat(path).st_size  # noqa: PTH116 - takes text as well
    except OSError:
        return -1


def _split_folder(root: Path, split: Split) -> Path:
    """PATH/train or PATH/val, where PATH holds splits and not classes. A class may be called "train" as well."""
    train, val = ((root / name).is_dir() and bool(subfolders(root / name)) for name in ("train", "val"))
    if split == "training":
        return root / "train" if train else root
    return root / "val" if train and val else root


def _images(folder: Path) -> list[str]:
    entries = _entries(folder)
    return sorted(entry.name for entry in entries if entry.name.lower().endswith(EXTENSIONS) and not entry.is_dir())


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return [entry for entry in entries if not entry.name.startswith(".")]
    except OSError as error:
        raise DataError(f"cannot list {folder}: {error.strerror}") from error

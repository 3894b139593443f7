"""Image files: how one is read, and how many are read or checked at once.

Pillow's decoders and its resize release the interpreter's lock, so threads do the work of processes here.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile, UnidentifiedImageError

from robustbench_bi.data.dataset import Broken
from robustbench_bi.data.preprocess import Preprocessing, fit_image
from robustbench_bi.errors import DataError

Item = TypeVar("Item")
Result = TypeVar("Result")


def load_image(path: str | Path, preprocessing: Preprocessing) -> NDArray[np.uint8]:
    """Read an image file as RGB and bring it to the model's side.

    Args:
        path: a file that PIL reads. Grey, palette, CMYK, transparent and 16-bit images become RGB by PIL's `convert`,
            as in torchvision; an EXIF rotation is not applied, as there.
        preprocessing: the preprocessing; see `fit_image`.

    Returns:
        uint8 (3, S, S), S = `preprocessing.input_size`.

    Raises:
        DataError: the file is missing or cannot be decoded.
    """
    return fit_image(open_rgb(path), preprocessing)


def open_rgb(path: str | Path) -> Image.Image:
    """Decode a file to a PIL image in RGB.

    Raises:
        DataError: the file is missing or cannot be decoded.
    """
    try:
        with Image.open(path) as image:
            return image.convert("RGB")
    except Exception as error:  # damaged files make PIL's decoders raise almost anything
        raise DataError(f"cannot read image {path}: {why_unreadable(error)}") from error


def why_unreadable(error: Exception) -> str:
    """Why PIL could not read a file, in words and without the path."""
    if isinstance(error, UnidentifiedImageError):
        return "not an image in a format that can be read"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return " ".join(str(error).split()) or type(error).__name__


def decode(
    paths: Sequence[Path],
    preprocessing: Preprocessing,
    workers: int,
    load: Callable[[Path, Preprocessing], NDArray[np.uint8]] = load_image,
) -> NDArray[np.uint8]:
    """Decode files into one array.

    Args:
        paths: B image files.
        preprocessing: the side S, resize and interpolation.
        workers: threads; 0 and 1 decode in the calling thread.
        load: reads one file, uint8 (3, S, S).

    Returns:
        uint8 (B, 3, S, S).

    Raises:
        DataError: the first file that cannot be read.
    """
    images = np.empty((len(paths), 3, *preprocessing.shape), dtype=np.uint8)

    def fill(row: int) -> None:
        images[row] = load(paths[row], preprocessing)

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
        return why_unreadable(error)
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

"""Image files: how one is read, and how many are read or checked at once.

Pillow's decoders and its resize release the interpreter's lock, so threads do the work of processes here.
"""

from __future__ import annotations

import os
import warnings
import zlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile, UnidentifiedImageError

from robustbench_bi.data.dataset import Broken
from robustbench_bi.data.preprocess import Preprocessing, cut_image
from robustbench_bi.errors import DataError

if TYPE_CHECKING:
    from robustbench_bi.data.containers.files import Files

File = str | Path | BytesIO
"""An image file: its path, or its bytes."""

Item = TypeVar("Item")
Result = TypeVar("Result")


def load_image(path: str | Path, preprocessing: Preprocessing) -> NDArray[np.uint8]:
    """Read an image file as torchvision does, and bring it to the model's side.

    Data sets do not read 16-bit images, because their grey levels end at 255 here: see `open_rgb`.

    Args:
        path: a file that PIL reads. Grey, palette, CMYK, transparent and 16-bit images become RGB by PIL's `convert`,
            as in torchvision; an EXIF rotation is not applied, as there.
        preprocessing: the preprocessing; see `cut_image`.

    Returns:
        uint8 (3, S, S), S = `preprocessing.input_size`.

    Raises:
        DataError: the file is missing or cannot be decoded.
    """
    return cut_image(open_rgb(path, str(path), eight_bit=False), preprocessing)


def open_rgb(file: File, name: str, eight_bit: bool = True) -> Image.Image:
    """Decode a file to a PIL image in RGB.

    Args:
        file: its path, or its bytes.
        name: what messages call it.
        eight_bit: refuse grey levels of more than 8 bits, which PIL would clip at 255.

    Raises:
        DataError: the file is missing or cannot be decoded.
    """
    try:
        with Image.open(file) as image:
            if eight_bit:
                _check_depth(image)
            return image.convert("RGB")
    except Exception as error:  # damaged files make PIL's decoders raise almost anything
        raise DataError(f"cannot read image {name}: {why_unreadable(error)}") from error


def _check_depth(image: Image.Image) -> None:
    """Refuse pictures that `convert` would make white or black: it clips integers at 255 and floats too."""
    if image.mode[0] in "IF":
        raise ValueError(f"expected 8-bit pixels, got deeper ones (mode {image.mode}); convert the file first")


def why_unreadable(error: Exception) -> str:
    """Why PIL could not read a file, in words and without the path."""
    if isinstance(error, UnidentifiedImageError):
        return "not an image in a format that can be read"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return " ".join(str(error).split()) or type(error).__name__


def decode(
    files: Files,
    positions: NDArray[np.int64],
    preprocessing: Preprocessing,
    workers: int,
    cut: Callable[[Image.Image, Preprocessing, str], NDArray[np.uint8]] = cut_image,
) -> NDArray[np.uint8]:
    """Decode files of a container into one array.

    Args:
        files: the container.
        positions: B positions of files in it.
        preprocessing: the side S, resize and interpolation.
        workers: threads; 0 and 1 decode in the calling thread.
        cut: brings a picture to the side, uint8 (3, S, S); it is given the path too, for messages.

    Returns:
        uint8 (B, 3, S, S).

    Raises:
        DataError: the first file that cannot be read, or is too small for its rule.
    """
    images = np.empty((len(positions), 3, *preprocessing.shape), dtype=np.uint8)

    def fill(row: int, file: File) -> None:
        path = files.path(positions[row])
        images[row] = cut(open_rgb(file, path), preprocessing, path)

    files.visit(positions, fill, workers)
    return images


def broken_files(containers: Sequence[Files], positions: NDArray[np.int64], workers: int) -> list[Broken]:
    """Decode every file of every image and report the first broken one of each image.

    Args:
        containers: each holds one file of every image, at the same position.
        positions: of the images, which are their ids.
        workers: threads that decode.
    """
    found: dict[int, Broken] = {}
    for files in containers:
        reasons = files.visit(positions, lambda _, file: why_broken(file), workers)
        for position, reason in zip(positions.tolist(), reasons, strict=True):
            if reason is not None:
                found.setdefault(position, Broken(position, files.path(position), reason))
    return [found[position] for position in positions.tolist() if position in found]


def why_broken(file: File) -> str | None:
    """The reason why a file cannot be decoded, or None.

    A JPEG is decoded at an eighth of its side: that reads all of its data, in about half the time.
    """
    try:
        if _size_of(file) == 0:
            return "the file is empty"
        with Image.open(file) as image:
            _check_depth(image)
            image.draft(image.mode, (1, 1))
            image.convert("RGB")
    except Exception as error:  # damaged files make PIL's decoders raise almost anything
        return why_unreadable(error)
    return None


def _size_of(file: File) -> int:
    return file.getbuffer().nbytes if isinstance(file, BytesIO) else Path(file).stat().st_size


def checksum(file: File) -> int:
    """The CRC-32 of a file's bytes.

    Raises:
        DataError: it cannot be read.
    """
    try:
        return zlib.crc32(file.getbuffer() if isinstance(file, BytesIO) else Path(file).read_bytes())
    except OSError as error:
        raise DataError(f"cannot read image {file}: {error.strerror or error}") from error


def checksum_in_words(file: File) -> str:
    """The CRC-32 of a file's bytes in hex; "-" where it cannot be read, which those who decode it report."""
    try:
        return f"{checksum(file):08x}"
    except DataError:
        return "-"


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

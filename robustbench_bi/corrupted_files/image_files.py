"""Files of corrupted images: what is to be there, what is lacking, and how it is made."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from robustbench_bi.corrupted_files.manifests import (
    Entry,
    array_manifest,
    block_manifest,
    find_lacking,
    read_manifest,
    write_manifest,
)
from robustbench_bi.corrupted_files.worker_pool import stop_if_asked
from robustbench_bi.corruptions import PIXEL_VERSION
from robustbench_bi.corruptions.pixels import Pixels
from robustbench_bi.data import Dataset
from robustbench_bi.data.containers.image_files import in_threads
from robustbench_bi.data.preprocess import Preprocessing
from robustbench_bi.errors import DataError
from robustbench_bi.ground.atomic import remove_partial_files, replacing
from robustbench_bi.ground.cells import CLEAN, Cell
from robustbench_bi.ground.checks import SMALLEST_SIDE

LAYOUT_VERSION = 1
NATIVE = "native"
NATIVE_SIDE = 640  # of pictures that keep their sizes, as a guess
JPEG_SUFFIXES = (".jpg", ".jpeg")
BLOCK_IMAGES = 128
BLOCK_BYTES = 2**25  # of the pixels of a block; where images are large, fewer make one
IMAGES_AT_ONCE = 250  # of an array: the pixels that are held until they are written
CHECKING_THREADS = 8  # hide the latency of network file systems

Plan = dict[int, dict[str, dict[int, list[int]]]]
"""Block -> corruption -> severity -> positions in the block of the images to make."""


@dataclass(frozen=True, eq=False)
class Job:
    """One corruption of one block of images: what a worker makes at a time.

    Attributes:
        root: the folder that is filled.
        corruption: its name, "none" for the clean images.
        lacking: severity -> positions in the block of the images to make.
        images: uint8 (B, 3, S, S), clean; or B pictures (3, H, W) of sizes of their own.
        image_ids: int64 (B,).
        names: of the B files, relative to the folder of a cell; none for arrays.
        block: number of the block.
        table: of severity constants.
        seed: keys every random draw.
        jpeg: quality of JPEG files, or None for PNG files.
        keep_format: whether files whose names are none of JPEG's are PNG files.
    """

    root: Path
    corruption: str
    lacking: Mapping[int, Sequence[int]]
    images: NDArray[np.uint8] | list[NDArray[np.uint8]]
    image_ids: NDArray[np.int64]
    names: Sequence[str]
    block: int
    table: str
    seed: int
    jpeg: int | None
    keep_format: bool = False


@dataclass(frozen=True, eq=False)
class Order:
    """What is to be there in the end.

    Attributes:
        root: the folder.
        dataset: the clean images.
        preprocessing: how they are cut; None where they keep their sizes.
        cells: corruption -> severities, "none" among them where clean images are wanted.
        names: image id -> name of its file within a cell; None where the images of a corruption are one array.
        table, seed, jpeg, keep_format: as in `Job`.
    """

    root: Path
    dataset: Dataset
    preprocessing: Preprocessing | None
    cells: Mapping[str, Sequence[int]]
    names: Mapping[int, str] | None
    table: str
    seed: int
    jpeg: int | None
    keep_format: bool = False

    @property
    def identity(self) -> dict[str, Any]:
        """What all files in the folder have in common."""
        return {
            "layout_version": LAYOUT_VERSION,
            "layout": "arrays" if self.names is None else "folders",
            "table": self.table,
            "seed": self.seed,
            "jpeg": self.jpeg,
            **self.cut,
            "pixel_version": PIXEL_VERSION,
            "n": len(self.dataset),
            **({"keep_format": True} if self.keep_format else {}),
            "listing_hash": self.dataset.listing_hash,
            **({"content_hash": self.dataset.content_hash} if self.dataset.content_hash else {}),
        }

    @property
    def cut(self) -> dict[str, Any]:
        """How the images are cut, for the identity."""
        names = ("input_size", "resize_size", "interpolation")
        return {name: getattr(self.preprocessing, name, None) for name in names}

    @property
    def blocks(self) -> list[range]:
        """The rows of the dataset in each block; an array is made at once."""
        n = len(self.dataset)
        side = NATIVE_SIDE if self.preprocessing is None else self.preprocessing.side
        size = n if self.names is None else max(1, min(BLOCK_IMAGES, BLOCK_BYTES // (3 * side * side)))
        return [range(start, min(start + size, n)) for start in range(0, n, size)]

    @property
    def cell_count(self) -> int:
        """The number of cells."""
        return sum(len(severities) for severities in self.cells.values())

    @property
    def file_count(self) -> int:
        """The number of image files, or arrays."""
        return len(self.cells) if self.names is None else len(self.dataset) * self.cell_count

    def names_of(self, rows: range) -> list[str]:
        """The names of the files of a block, none where they are in arrays."""
        names, image_ids = self.names, self.dataset.image_ids[rows.start : rows.stop].tolist()
        return [] if names is None else [names[image_id] for image_id in image_ids]


def lacking_images(order: Order, checksums: bool) -> Plan:
    """Find the image files of an order that are not whole.

    Args:
        order: the order, of image files.
        checksums: compare the checksums of files as well.
    """
    blocks = [order.names_of(rows) for rows in order.blocks]
    parts = [
        (block, (corruption, severity))
        for block in range(len(blocks))
        for corruption, severities in order.cells.items()
        for severity in severities
    ]

    def find(part: tuple[int, Cell]) -> list[int]:
        block, cell = part
        manifest = block_manifest(order.root, cell, block)
        return find_lacking(cell_folder(order.root, cell), blocks[block], manifest, checksums)

    plan: Plan = {}
    for (block, (corruption, severity)), rows in zip(parts, in_threads(find, parts, CHECKING_THREADS), strict=True):
        if rows:
            plan.setdefault(block, {}).setdefault(corruption, {})[severity] = rows
    return plan


def lacking_arrays(order: Order, checksums: bool) -> Plan:
    """Find the arrays of an order that are not whole; all images of these are to be made.

    Args:
        order: the order, of arrays.
        checksums: compare the checksums of files as well.
    """
    lacking = [
        corruption
        for corruption in order.cells
        if find_lacking(order.root, [array_name(corruption)], array_manifest(order.root, corruption), checksums)
    ]
    rows = list(range(len(order.dataset)))
    return {0: {corruption: dict.fromkeys(order.cells[corruption], rows) for corruption in lacking}} if lacking else {}


def jobs_of(order: Order, plan: Plan, threads: int) -> Iterator[Job]:
    """Yield the jobs that a plan asks for; the images of a block are decoded once, by this many threads."""
    blocks = order.blocks
    for block, corruptions in plan.items():
        rows = blocks[block]
        images = _read(order, rows, threads)
        for corruption, lacking in corruptions.items():
            yield Job(
                root=order.root,
                corruption=corruption,
                lacking=lacking,
                images=images,
                image_ids=order.dataset.image_ids[rows.start : rows.stop],
                names=order.names_of(rows),
                block=block,
                table=order.table,
                seed=order.seed,
                jpeg=order.jpeg,
                keep_format=order.keep_format,
            )


def _read(order: Order, rows: range, threads: int) -> NDArray[np.uint8] | list[NDArray[np.uint8]]:
    """The clean images of a block.

    Raises:
        DataError: one cannot be read, or is too small to be corrupted.
    """
    open_image = order.dataset.open_image
    if order.preprocessing is not None or open_image is None:
        read: NDArray[np.uint8] = order.dataset.read(rows, order.preprocessing or Preprocessing(), workers=threads)
        return read
    image_ids = order.dataset.image_ids[rows.start : rows.stop].tolist()
    pictures = in_threads(lambda image_id: np.asarray(open_image(image_id)).transpose(2, 0, 1), image_ids, threads)
    for name, picture in zip(order.names_of(rows), pictures, strict=True):
        if min(picture.shape[1:]) < SMALLEST_SIDE:
            raise DataError(
                f"{name} has {picture.shape[2]}×{picture.shape[1]} pixels, and corruptions need {SMALLEST_SIDE} each "
                "way; leave it out"
            )
    return pictures


def write_images(job: Job) -> None:
    """Write images in ImageNet-C's layout, root/<corruption>/<severity>/<name>, and their manifests.

    Raises:
        DataError: a file cannot be written; those before it stay.
        CancelledError: the parent process asked to stop.
    """
    for severity, rows in job.lacking.items():
        cell = (job.corruption, severity)
        folder, manifest = cell_folder(job.root, cell), block_manifest(job.root, cell, job.block)
        for place in {(folder / job.names[row]).parent for row in rows}:
            remove_partial_files(place)
        entries = read_manifest(manifest)
        for row, image in zip(rows, _pixels(job, severity, rows), strict=True):
            stop_if_asked()
            entries[job.names[row]] = write_pieces(
                folder / job.names[row], [encode(image, quality_of(job, job.names[row]))]
            )
        write_manifest(manifest, entries)


def write_array(job: Job) -> None:
    """Write images in CIFAR-10-C's layout, root/<corruption>.npy with one severity after another, and its manifest.

    Raises:
        DataError: the file cannot be written.
        CancelledError: the parent process asked to stop.
    """

    def pieces() -> Iterator[bytes]:
        shape = (sum(len(rows) for rows in job.lacking.values()), *job.images[0].shape[1:], 3)
        header = BytesIO()
        np.lib.format.write_array_header_1_0(header, {"descr": "|u1", "fortran_order": False, "shape": shape})
        yield header.getvalue()
        for severity, rows in job.lacking.items():
            for start in range(0, len(rows), IMAGES_AT_ONCE):
                stop_if_asked()
                made = _pixels(job, severity, rows[start : start + IMAGES_AT_ONCE])
                yield b"".join(image.tobytes() for image in made)

    name = array_name(job.corruption)
    entry = write_pieces(job.root / name, pieces())
    write_manifest(array_manifest(job.root, job.corruption), {name: entry})


def quality_of(job: Job, name: str) -> int | None:
    """The JPEG quality of a file; None where it is PNG: the clean ones, and those that keep their format."""
    lossless = job.keep_format and not name.lower().endswith(JPEG_SUFFIXES)
    return None if job.corruption == CLEAN[0] or lossless else job.jpeg


def _pixels(job: Job, severity: int, rows: Sequence[int]) -> Iterator[NDArray[np.uint8]]:
    """Images of a cell, uint8 (H, W, 3): those of one size together, others one by one."""
    # The quality of JPEG files is that of `encode`: an image passes through JPEG once.
    pixels, cell = Pixels(table=job.table, seed=job.seed), (job.corruption, severity)
    parts = [np.array([row]) for row in rows] if isinstance(job.images, list) else [np.asarray(rows)]
    for part in parts:
        images = job.images[part[0]][None] if isinstance(job.images, list) else job.images[part]
        yield from np.ascontiguousarray(pixels.of_cell(images, cell, job.image_ids[part]).transpose(0, 2, 3, 1))


def encode(image: NDArray[np.uint8], quality: int | None) -> bytes:
    """An image as the bytes of a file: JPEG as ImageNet-C was saved (Pillow, 4:2:0, optimised), or PNG.

    Args:
        image: uint8 (H, W, 3).
        quality: of the JPEG file, 1 to 95; None for PNG.

    Example:
        >>> encode(np.zeros((32, 32, 3), dtype=np.uint8), None)[1:4]
        b'PNG'
    """
    file = BytesIO()
    if quality is None:
        Image.fromarray(image).save(file, "PNG")
    else:
        Image.fromarray(image).save(file, "JPEG", quality=quality, optimize=True)
    return file.getvalue()


def write_pieces(path: Path, pieces: Iterable[bytes]) -> Entry:
    """Write a file piece by piece; it appears whole or not at all.

    Raises:
        DataError: it cannot be written.
    """
    size = checksum = 0
    with replacing(path) as partial, partial.open("wb") as file:
        for piece in pieces:
            file.write(piece)
            size += len(piece)
            checksum = zlib.crc32(piece, checksum)
    return size, checksum


def cell_folder(root: Path, cell: Cell) -> Path:
    """The folder that holds the class folders of one cell."""
    corruption, severity = cell
    return root / corruption / str(severity)


def array_name(corruption: str) -> str:
    """The file of the array of one corruption."""
    return f"{corruption}.npy"

"""Files of corrupted images: how they are made, and how they are found whole again.

Beside the images lies a hidden folder of manifests. A manifest holds size and checksum of the files of one cell and
block, or of one array, and is written when they are all in place: what no manifest vouches for is made again.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from robustbench_bi.corrupted_files.worker_pool import stop_if_asked
from robustbench_bi.corruptions import PIXEL_VERSION
from robustbench_bi.corruptions.pixels import Pixels
from robustbench_bi.data import Dataset
from robustbench_bi.data.containers.image_files import file_size, in_threads
from robustbench_bi.data.preprocess import Preprocessing
from robustbench_bi.ground.atomic import remove_partial_files, replacing
from robustbench_bi.ground.cells import CLEAN, Cell

MANIFESTS = ".bivo-robust"
LAYOUT_VERSION = 1
BLOCK_IMAGES = 128
BLOCK_BYTES = 2**25  # of the pixels of a block; where images are large, fewer make one
IMAGES_AT_ONCE = 250  # of an array: the pixels that are held until they are written
CHECKING_THREADS = 8  # hide the latency of network file systems

Plan = dict[int, dict[str, dict[int, list[int]]]]
"""Block -> corruption -> severity -> positions in the block of the images to make."""

Entry = tuple[int, int]
"""Size in bytes and CRC-32 of a file."""


@dataclass(frozen=True, eq=False)
class Job:
    """One corruption of one block of images: what a worker makes at a time.

    Attributes:
        root: the folder that is filled.
        corruption: its name, "none" for the clean images.
        lacking: severity -> positions in the block of the images to make.
        images: uint8 (B, 3, S, S), clean.
        image_ids: int64 (B,).
        names: of the B files, relative to the folder of a cell; none for arrays.
        block: number of the block.
        table: of severity constants.
        seed: keys every random draw.
        jpeg: quality of JPEG files, or None for PNG files.
    """

    root: Path
    corruption: str
    lacking: Mapping[int, Sequence[int]]
    images: NDArray[np.uint8]
    image_ids: NDArray[np.int64]
    names: Sequence[str]
    block: int
    table: str
    seed: int
    jpeg: int | None


@dataclass(frozen=True, eq=False)
class Order:
    """What is to be there in the end.

    Attributes:
        root: the folder.
        dataset: the clean images.
        preprocessing: how they are cut.
        cells: corruption -> severities, "none" among them where clean images are wanted.
        names: image id -> name of its file within a cell; None where the images of a corruption are one array.
        table, seed, jpeg: as in `Job`.
    """

    root: Path
    dataset: Dataset
    preprocessing: Preprocessing
    cells: Mapping[str, Sequence[int]]
    names: Mapping[int, str] | None
    table: str
    seed: int
    jpeg: int | None

    @property
    def identity(self) -> dict[str, Any]:
        """What all files in the folder have in common."""
        return {
            "layout_version": LAYOUT_VERSION,
            "layout": "arrays" if self.names is None else "folders",
            "table": self.table,
            "seed": self.seed,
            "jpeg": self.jpeg,
            "input_size": self.preprocessing.input_size,
            "resize_size": self.preprocessing.resize_size,
            "interpolation": self.preprocessing.interpolation,
            "pixel_version": PIXEL_VERSION,
            "n": len(self.dataset),
            "listing_hash": self.dataset.listing_hash,
        }

    @property
    def blocks(self) -> list[range]:
        """The rows of the dataset in each block; an array is made at once."""
        n, side = len(self.dataset), self.preprocessing.side
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
        images = order.dataset.read(rows, order.preprocessing, workers=threads)
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
            )


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
        quality = None if cell == CLEAN else job.jpeg
        entries = read_manifest(manifest)
        for row, image in zip(rows, _pixels(job, severity, rows), strict=True):
            stop_if_asked()
            entries[job.names[row]] = write_pieces(folder / job.names[row], [encode(image, quality)])
        write_manifest(manifest, entries)


def write_array(job: Job) -> None:
    """Write images in CIFAR-10-C's layout, root/<corruption>.npy with one severity after another, and its manifest.

    Raises:
        DataError: the file cannot be written.
        CancelledError: the parent process asked to stop.
    """

    def pieces() -> Iterator[bytes]:
        shape = (sum(len(rows) for rows in job.lacking.values()), *job.images.shape[2:], 3)
        header = BytesIO()
        np.lib.format.write_array_header_1_0(header, {"descr": "|u1", "fortran_order": False, "shape": shape})
        yield header.getvalue()
        for severity, rows in job.lacking.items():
            for start in range(0, len(rows), IMAGES_AT_ONCE):
                stop_if_asked()
                yield _pixels(job, severity, rows[start : start + IMAGES_AT_ONCE]).tobytes()

    name = array_name(job.corruption)
    entry = write_pieces(job.root / name, pieces())
    write_manifest(array_manifest(job.root, job.corruption), {name: entry})


def _pixels(job: Job, severity: int, rows: Sequence[int]) -> NDArray[np.uint8]:
    """Images of a cell, uint8 (B, S, S, 3)."""
    images, ids = job.images[np.asarray(rows)], job.image_ids[np.asarray(rows)]
    # The quality of JPEG files is that of `encode`: an image passes through JPEG once.
    pixels = Pixels(table=job.table, seed=job.seed)
    return np.ascontiguousarray(pixels.of_cell(images, (job.corruption, severity), ids).transpose(0, 2, 3, 1))


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


def block_manifest(root: Path, cell: Cell, block: int) -> Path:
    """The manifest of one cell and block of image files.

    Example:
        >>> block_manifest(Path("out"), ("fog", 3), 0).as_posix()
        'out/.bivo-robust/fog-3-0000.json'
    """
    corruption, severity = cell
    return root / MANIFESTS / f"{corruption}-{severity}-{block:04d}.json"


def array_manifest(root: Path, corruption: str) -> Path:
    """The manifest of the array of one corruption."""
    return root / MANIFESTS / f"{corruption}.json"


def read_manifest(path: Path) -> dict[str, Entry]:
    """The entry of each file in a manifest; none where it is missing or damaged."""
    try:
        loaded = json.loads(path.read_bytes())
        return {name: (int(size), int(checksum)) for name, (size, checksum) in loaded.items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}


def write_manifest(path: Path, entries: Mapping[str, Entry]) -> None:
    """Write a manifest; it appears whole or not at all.

    Raises:
        DataError: it cannot be written.
    """
    with replacing(path) as partial:
        partial.write_text(json.dumps(entries), encoding="utf-8")


def find_lacking(folder: Path, names: Sequence[str], manifest: Path, checksums: bool = False) -> list[int]:
    """Find files that are missing, or of another size than their manifest says, or not in it.

    Args:
        folder: where the files lie.
        names: of the files, relative to the folder.
        manifest: theirs.
        checksums: also read every file and compare its CRC-32, so that damage of any kind is found.

    Returns:
        Their positions in `names`.
    """
    entries = read_manifest(manifest)
    # Paths stay text here: a full set has 3.75 million files, and pathlib would triple the time.
    return [row for row, name in enumerate(names) if not _is_whole(f"{folder}/{name}", entries.get(name), checksums)]


def _is_whole(path: str, entry: Entry | None, checksums: bool) -> bool:
    if entry is None or file_size(path) != entry[0]:
        return False
    if not checksums:
        return True
    try:
        return zlib.crc32(Path(path).read_bytes()) == entry[1]
    except OSError:
        return False

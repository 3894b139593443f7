"""CIFAR-10 as torchvision reads it, and CIFAR-10-C as Hendrycks and Dietterich publish it; so is CIFAR-10-C-bar."""

from __future__ import annotations

import tempfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robustbench_bi.data.containers.folders import existing_folder
from robustbench_bi.data.dataset import Dataset, Split
from robustbench_bi.data.download import data_root, downloading
from robustbench_bi.data.preprocess import Preprocessing, fit_images
from robustbench_bi.data.sources import SOURCES
from robustbench_bi.errors import DataError
from robustbench_bi.ground.cells import CLEAN, PUBLISHED_SPELLINGS, Cell

URL = "https://www.cs.toronto.edu/~kriz/{}-python.tar.gz"
SIDE = 32
CLASS_NAMES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


def open_cifar10(path: str | None, *, split: Split = "evaluation", classes: Path | None = None) -> Dataset:
    """Open CIFAR-10: 10,000 images for evaluation (test), 50,000 for training.

    Args:
        path: holds `cifar-10-batches-py`, or is that folder; by default ~/.cache/robustbench_bi. Where its files are
            missing or damaged, 170 MB are downloaded to it.
        split: "evaluation" or "training".
        classes: not used; the ten classes are fixed.

    Raises:
        DataError: the images are neither there nor can they be downloaded.
    """
    return published_arrays("cifar-10", path, split, CLASS_NAMES)


def published_arrays(name: str, path: str | None, split: Split, class_names: tuple[str, ...]) -> Dataset:
    """CIFAR-10 or CIFAR-100 as torchvision reads and fetches them.

    Raises:
        DataError: the images are neither there nor can they be downloaded.
    """
    from torchvision import datasets

    kind = datasets.CIFAR10 if name == "cifar-10" else datasets.CIFAR100
    training, folder = split == "training", SOURCES[name].download_folder
    root = data_root(path)
    root = root.parent if root.name == folder else root
    with downloading(name, URL.format(name), root / folder):
        try:
            stored = kind(str(root), train=training)
        except RuntimeError:  # torchvision's word for files that are missing or damaged
            _download(kind, root, folder)
            stored = kind(str(root), train=training)
    labels = np.asarray(stored.targets, dtype=np.int32)
    return replace(arrays_dataset(name, {CLEAN: np.asarray(stored.data)}, labels, class_names), stored_cells=None)


def _download(kind: Any, root: Path, folder: str) -> None:
    """Fetch and unpack beside the place, then move file by file, so that processes which do so at once are no harm."""
    with tempfile.TemporaryDirectory(dir=root) as beside:
        archive = Path(kind.url).name
        if (root / archive).exists():  # the user has fetched it
            (Path(beside) / archive).symlink_to((root / archive).resolve())
        kind(beside, download=True)
        (root / folder).mkdir(exist_ok=True)
        for file in (Path(beside) / folder).iterdir():
            file.replace(root / folder / file.name)


def open_cifar10_c(path: str, *, split: Split = "evaluation", classes: Path | None = None) -> Dataset:
    """Open CIFAR-10-C: for each corruption one array, uint8 (5·n, 32, 32, 3), whose fifths are the severities.

    The arrays stay on disk and are mapped into memory. Clean images are optional: `none.npy`, uint8 (n, 32, 32, 3).

    Args:
        path: holds <corruption>.npy and labels.npy, the n labels five times over; the published n is 10,000.
        split: "evaluation"; there is no other.
        classes: not used; the ten classes are fixed.

    Raises:
        DataError: a file is missing or damaged, or the files do not fit each other.
    """
    return corrupted_arrays(path, CLASS_NAMES)


def corrupted_arrays(path: str, class_names: tuple[str, ...]) -> Dataset:
    """Corrupted arrays in the layout of CIFAR-10-C, of any classes; see `open_cifar10_c`.

    Raises:
        DataError: a file is missing or damaged, or the files do not fit each other.
    """
    root = existing_folder(path)
    kept = [PUBLISHED_SPELLINGS.get(file.stem, file.stem) for file in sorted(root.glob("*.npy"))]
    twice = sorted({name for name in kept if kept.count(name) > 1})
    if twice:
        raise DataError(f"{root} holds {twice[0]} twice, under two spellings; remove one of the files")
    files = {PUBLISHED_SPELLINGS.get(file.stem, file.stem): file for file in sorted(root.glob("*.npy"))}
    label_file, clean_file = files.pop("labels", None), files.pop(CLEAN[0], None)
    if not files or label_file is None:
        found = ", ".join(file.name for file in sorted(root.glob("*.npy"))[:3]) or "no .npy file"
        raise DataError(f"expected <corruption>.npy and labels.npy in {root}, found {found}")
    labels = _read_labels(label_file, len(class_names))
    cells: dict[Cell, NDArray[np.uint8]] = {}
    if clean_file is not None:
        cells[CLEAN] = map_images(clean_file, len(labels))
    for name, file in files.items():
        images = map_images(file, 5 * len(labels))
        cells |= {(name, 1 + block): images[block * len(labels) :][: len(labels)] for block in range(5)}
    return arrays_dataset(path, cells, labels, class_names)


def arrays_dataset(
    name: str, cells: Mapping[Cell, NDArray[np.uint8]], labels: NDArray[np.int32], class_names: tuple[str, ...]
) -> Dataset:
    """A dataset over one array (n, 32, 32, 3) for each cell."""

    def load(image_ids: NDArray[np.int64], preprocessing: Preprocessing, cell: Cell, _: int) -> NDArray[np.uint8]:
        return fit_images(np.ascontiguousarray(cells[cell][image_ids].transpose(0, 3, 1, 2)), preprocessing)

    def describe(image_ids: NDArray[np.int64]) -> Iterator[str]:
        # All files of a kind have one size, so the pixels themselves are summed up.
        sums = np.zeros(len(image_ids), dtype=np.int64)
        for cell in sorted(cells):
            images = cells[cell]
            for row, image_id in enumerate(image_ids):
                sums[row] = zlib.crc32(images[image_id].tobytes(), int(sums[row]))
        held = " ".join(f"{corruption}/{severity}" for corruption, severity in sorted(cells))
        return (f"{held}\t{total}\t{labels[image_id]}" for image_id, total in zip(image_ids, sums, strict=True))

    image_ids = np.arange(len(labels), dtype=np.int64)
    held = frozenset(cells)
    return Dataset(name, image_ids, labels, class_names, load, describe, native_size=SIDE, stored_cells=held)


def _read_labels(file: Path, classes: int) -> NDArray[np.int32]:
    """The n labels of one severity."""
    labels = map_array(file)
    if labels.ndim != 1 or labels.dtype.kind not in "iu" or len(labels) == 0 or len(labels) % 5:
        raise DataError(f"{file} must hold five times the labels of one severity, got {labels.dtype} {labels.shape}")
    blocks = np.array(labels).reshape(5, -1)
    if (blocks != blocks[0]).any():
        raise DataError(f"{file} must hold the same labels for each of the five severities, but they differ")
    return checked_labels(file, blocks[0], classes)


def checked_labels(file: Path, labels: NDArray[np.integer[Any]], classes: int) -> NDArray[np.int32]:
    """Labels as class numbers.

    Raises:
        DataError: one is out of range.
    """
    if labels.min() < 0 or labels.max() >= classes:
        raise DataError(f"{file} must hold class numbers from 0 to {classes - 1}, got {labels.min()} to {labels.max()}")
    numbers: NDArray[np.int32] = labels.astype(np.int32)
    return numbers


def map_images(file: Path, count: int) -> NDArray[np.uint8]:
    """An array of `count` images, mapped into memory.

    Raises:
        DataError: it is missing, damaged, or of another shape.
    """
    images = map_array(file)
    if images.dtype != np.uint8 or images.shape != (count, SIDE, SIDE, 3):
        expected = f"uint8 {(count, SIDE, SIDE, 3)}"
        raise DataError(f"{file} must be {expected} to fit labels.npy, got {images.dtype} {images.shape}")
    return images


def map_array(file: Path) -> NDArray[Any]:
    """An array file, mapped into memory.

    Raises:
        DataError: it is missing or damaged.
    """
    try:
        array = np.load(file, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise DataError(f"cannot read {file} as an array: {error}") from error
    if not isinstance(array, np.ndarray):
        raise DataError(f"cannot read {file} as an array: it is an archive")
    return array

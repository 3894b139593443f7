"""ImageNet-C as it is published: <root>/<corruption>/<1..5>/<wnid>/<image>, files that are already 224×224.

Its relatives in the same layout (ImageNet-C-bar, Tiny-ImageNet-C, your own) open as well.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from robustbench_bi.data.containers.folders import existing_folder, list_classes, subfolders
from robustbench_bi.data.containers.image_files import broken_files, decode, file_size, in_threads, open_rgb
from robustbench_bi.data.dataset import Broken, Dataset, Split
from robustbench_bi.data.labels.class_folders import label_files
from robustbench_bi.data.preprocess import Preprocessing, centre_crop
from robustbench_bi.errors import DataError
from robustbench_bi.ground.cells import CLEAN, PUBLISHED_SPELLINGS, SEVERITIES, Cell

LISTING_THREADS = 8  # hides the latency of network file systems; a full set has 75,000 folders


def open_imagenet_c(path: str, *, split: Split = "evaluation", classes: Path | None = None) -> Dataset:
    """Open stored corrupted images. Their clean counterparts are optional, under PATH/none/0.

    Args:
        path: the folder that holds one folder for each corruption.
        split: "evaluation"; there is no other.
        classes: a class file, see `robustbench_bi.data.labels.class_folders.read_classes`.

    Raises:
        DataError: no corruption is found, or the cells do not hold the same files.
    """
    folders = _cell_folders(existing_folder(path))
    files, labels, names = label_files(_common_listing(folders), classes)

    def load(image_ids: NDArray[np.int64], preprocessing: Preprocessing, cell: Cell, workers: int) -> NDArray[np.uint8]:
        read = _load_clean if cell == CLEAN else load_cropped
        return decode([folders[cell] / files[image_id] for image_id in image_ids], preprocessing, workers, read)

    def describe(image_ids: NDArray[np.int64]) -> Iterator[str]:
        def line(image_id: int) -> str:
            sizes = (f"{cell}:{file_size(f'{folder}/{files[image_id]}')}" for cell, folder in held)
            return f"{files[image_id]}\t{' '.join(sizes)}\t{labels[image_id]}"

        # Paths stay text here: a full set has 3.75 million files, and pathlib would triple the time.
        held = [(f"{name}/{severity}", str(folder)) for (name, severity), folder in folders.items()]
        return iter(in_threads(line, image_ids.tolist(), LISTING_THREADS))

    def check(image_ids: NDArray[np.int64], cells: Collection[Cell], workers: int) -> list[Broken]:
        return broken_files(image_ids, lambda image_id: (folders[cell] / files[image_id] for cell in cells), workers)

    def list_names(image_ids: NDArray[np.int64]) -> Iterator[str]:
        return (files[image_id] for image_id in image_ids)

    return Dataset(
        name=path,
        image_ids=np.arange(len(files), dtype=np.int64),
        labels=labels,
        class_names=names,
        load=load,
        describe=describe,
        check=check,
        stored_cells=frozenset(folders),
        list_names=list_names,
    )


def load_cropped(path: Path, preprocessing: Preprocessing) -> NDArray[np.uint8]:
    """Read a file that was cropped when it was made: a centre crop at most, never a resize.

    Returns:
        uint8 (3, S, S).

    Raises:
        DataError: the file cannot be decoded, or is smaller than the model's side.
    """
    side = preprocessing.side
    image = open_rgb(path)
    if min(image.size) < side:
        raise DataError(
            f"stored files are never enlarged: the model takes {side}×{side} pixels, but {path} has "
            f"{image.width}×{image.height}; choose a smaller input_size, or corrupt clean images on the fly"
        )
    return np.asarray(centre_crop(image, side)).transpose(2, 0, 1)


def _load_clean(path: Path, preprocessing: Preprocessing) -> NDArray[np.uint8]:
    image = open_rgb(path)
    if image.width != image.height:
        raise DataError(
            f"clean files under none/0 must be cropped as their corrupted counterparts are, but {path} has "
            f"{image.width}×{image.height} pixels; cut them first"
        )
    return load_cropped(path, preprocessing)


def _cell_folders(root: Path) -> dict[Cell, Path]:
    """The folder of each cell that is stored, sorted by cell."""
    folders = {
        (PUBLISHED_SPELLINGS.get(name, name), severity): folder
        for name in subfolders(root)
        for severity, folder in _severity_folders(root / name, (0,) if name == CLEAN[0] else SEVERITIES)
    }
    if not folders.keys() - {CLEAN}:
        raise DataError(f"expected {root}/<corruption>/<severity 1 to 5>/<class folder>/<image>, found no such folder")
    return folders


def _severity_folders(corruption: Path, severities: Sequence[int]) -> list[tuple[int, Path]]:
    """Severities and their folders: named by number; or, by the script of ImageNet-C-bar, by value, as "2.35"."""
    values = sorted((name for name in subfolders(corruption) if re.fullmatch(r"\d+\.\d\d", name)), key=float)
    names = values if len(values) == len(severities) else map(str, severities)
    folders = zip(severities, (corruption / name for name in names), strict=True)
    return [(severity, folder) for severity, folder in folders if folder.is_dir()]


def _common_listing(folders: Mapping[Cell, Path]) -> dict[str, list[str]]:
    """The listing that all cells share."""
    reference, *others = folders.values()
    listing = list_classes(reference)

    def difference(folder: Path) -> str | None:
        other = list_classes(folder)
        if other == listing:
            return None
        held, wanted = ({f"{name}/{image}" for name in cell for image in cell[name]} for cell in (other, listing))
        file = min(held ^ wanted)
        return f"{folder} {'has' if file in held else 'lacks'} {file}, unlike {reference}"

    for difference_found in in_threads(difference, others, LISTING_THREADS):
        if difference_found is not None:
            raise DataError(f"all cells must hold the same files, but {difference_found}")
    return listing

"""ImageNet-C as it is published: <root>/<corruption>/<1..5>/<wnid>/<image>, files that are already 224×224.

Its relatives in the same layout (ImageNet-C-bar, Tiny-ImageNet-C, your own) open as well.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from robustbench_bi.data.containers.files import FolderFiles
from robustbench_bi.data.containers.folders import existing_folder, list_classes, subfolders
from robustbench_bi.data.containers.image_files import in_threads
from robustbench_bi.data.dataset import Dataset, Split
from robustbench_bi.data.labels.class_folders import label_by_order, label_files
from robustbench_bi.data.listed import Labelled, native_side, stored_dataset
from robustbench_bi.data.selection import NOT_IN_EVERY_CELL
from robustbench_bi.errors import DataError
from robustbench_bi.ground.cells import CLEAN, PUBLISHED_SPELLINGS, SEVERITIES, Cell

# The archives of ImageNet-C, whose names some keep as folders.
CATEGORIES = ("noise", "blur", "weather", "digital", "extra")
TINY_CLASSES = 200
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
    return _open_stored(path, classes)


def open_tiny_imagenet_c(path: str, *, split: Split = "evaluation", classes: Path | None = None) -> Dataset:
    """Open Tiny-ImageNet-C: the layout of ImageNet-C, with 200 classes at 64×64, numbered as in Tiny-ImageNet.

    Args:
        path: the folder that holds one folder for each corruption.
        split: "evaluation"; there is no other.
        classes: a class file, such as Tiny-ImageNet's wnids.txt.

    Raises:
        DataError: no corruption is found, or the pictures are not of one side.
    """
    dataset = _open_stored(path, classes, tiny=True)
    if classes is None and dataset.num_classes != TINY_CLASSES:
        raise DataError(
            f"Tiny-ImageNet-C has {TINY_CLASSES} classes, but the cells of {path} share {dataset.num_classes}: their "
            "numbers cannot be told. Give the class numbers by --classes, such as tiny-imagenet-200/wnids.txt"
        )
    return dataset


def _open_stored(path: str, classes: Path | None, tiny: bool = False) -> Dataset:
    folders = _cell_folders(existing_folder(path))
    listing, left_out, unshared = _common_listing(folders)
    files, labels, names = (label_by_order if tiny else label_files)(listing, classes)
    cells = {cell: FolderFiles(str(folder), files) for cell, folder in folders.items()}
    side = native_side(next(iter(cells.values()))) if tiny else None
    dataset = stored_dataset(path, cells, Labelled(files, labels, names), native_size=side)
    return replace(dataset, unshared=unshared, left_out={NOT_IN_EVERY_CELL: left_out} if left_out else {})


def _cell_folders(root: Path) -> dict[Cell, Path]:
    """The folder of each cell that is stored, sorted by cell; corruptions may lie in folders of categories."""
    folders = _cells_in(root) or {
        cell: folder for category in CATEGORIES for cell, folder in _cells_in(root / category).items()
    }
    if not folders.keys() - {CLEAN}:
        raise DataError(f"expected {root}/<corruption>/<severity 1 to 5>/<class folder>/<image>, found no such folder")
    return dict(sorted(folders.items()))


def _cells_in(root: Path) -> dict[Cell, Path]:
    return {
        (PUBLISHED_SPELLINGS.get(name, name), severity): folder
        for name in (subfolders(root) if root.is_dir() else ())
        for severity, folder in _severity_folders(root / name, (0,) if name == CLEAN[0] else SEVERITIES)
    }


def _severity_folders(corruption: Path, severities: Sequence[int]) -> list[tuple[int, Path]]:
    """Severities and their folders: named by number; or, by the script of ImageNet-C-bar, by value, as "2.35"."""
    values = sorted((name for name in subfolders(corruption) if re.fullmatch(r"\d+\.\d\d", name)), key=float)
    names = values if len(values) == len(severities) else map(str, severities)
    folders = zip(severities, (corruption / name for name in names), strict=True)
    return [(severity, folder) for severity, folder in folders if folder.is_dir()]


def _common_listing(folders: Mapping[Cell, Path]) -> tuple[dict[str, list[str]], int, str]:
    """The images that all cells share, how many others there are, and in words how the first cell differs."""
    reference, *others = folders.values()
    listing = list_classes(reference)

    def differing(folder: Path) -> set[str] | None:
        other = list_classes(folder)
        return None if other == listing else _paths(other)

    shared = union = _paths(listing)
    unshared = ""
    for folder, held in zip(others, in_threads(differing, others, LISTING_THREADS), strict=True):
        if held is None:
            continue
        if not unshared:
            file = min(held ^ _paths(listing))
            unshared = f"{folder} {'has' if file in held else 'lacks'} {file}, unlike {reference}"
        shared, union = shared & held, union | held
    if not unshared:
        return listing, 0, ""
    common = {name: [image for image in images if f"{name}/{image}" in shared] for name, images in listing.items()}
    common = {name: images for name, images in common.items() if images}
    if not common:
        raise DataError(f"all cells must hold the same files, but they share none: {unshared}")
    return common, len(union) - len(shared), unshared


def _paths(listing: Mapping[str, Sequence[str]]) -> set[str]:
    return {f"{name}/{image}" for name, images in listing.items() for image in images}

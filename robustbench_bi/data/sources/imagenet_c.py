"""ImageNet-C as it is published: <root>/<corruption>/<1..5>/<wnid>/<image>, files that are already 224×224.

Its relatives in the same layout (ImageNet-C-bar, Tiny-ImageNet-C, your own) open as well.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from robustbench_bi.data.class_spaces.imagenet import class_names, imagenet_classes
from robustbench_bi.data.class_spaces.shift_sets import objectnet_folders, with_protocol, written_from
from robustbench_bi.data.containers.files import Files, FolderFiles
from robustbench_bi.data.containers.folders import existing_folder, is_image, list_classes, subfolders, unpacked
from robustbench_bi.data.containers.image_files import in_threads
from robustbench_bi.data.containers.tar import TarFiles, open_tars
from robustbench_bi.data.dataset import Dataset, Split
from robustbench_bi.data.labels.class_folders import IMAGENET, label_by_order, label_files, some
from robustbench_bi.data.listed import Labelled, native_side, stored_dataset
from robustbench_bi.data.selection import NOT_IN_EVERY_CELL
from robustbench_bi.errors import DataError
from robustbench_bi.ground.cells import CLEAN, PUBLISHED_SPELLINGS, SEVERITIES, Cell

# The archives of ImageNet-C, whose names some keep as folders.
CATEGORIES = ("noise", "blur", "weather", "digital", "extra")
TINY_CLASSES = 200
NUMBERED_BY_SET = ("imagenet-v2", "objectnet")  # by their class folders, also where `corrupt` wrote these
_BY_VALUE = re.compile(r"\d+\.\d+")
_OF_SEVERITY = re.compile(r"\d+(\.\d+)?")
_DEEPER = re.compile(r"[^/]/[1-5]/[^/]+/[^/]+/")
# Whose published script names folders by the value of the severity, which may be whole: 2 to 6, or 3, 5, 8, 9 and 10.
NAMED_BY_VALUE = frozenset({
    "blue_noise_sample", "brownish_noise", "caustic_refraction", "checkerboard_cutout", "cocentric_sine_waves",
    "concentric_sine_waves", "inverse_sparkles", "perlin_noise", "plasma_noise", "single_frequency_greyscale",
    "sparkles",
})  # fmt: skip
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
    return _open_stored(path, classes, tiny=True)


def _open_stored(path: str, classes: Path | None, tiny: bool = False) -> Dataset:
    root = unpacked(existing_folder(path), _holds_cells)
    archives = sorted(str(file) for file in root.glob("*.tar"))
    archived = _archived_cells(archives) if archives else {}
    _check_once(root, archived)
    listings: Cells = dict(sorted({**archived, **_folder_cells(_cell_folders(root))}.items()))
    if not listings.keys() - {CLEAN}:
        raise _no_cells(root, archives)
    if classes is None and not tiny and written_from(root) not in NUMBERED_BY_SET:
        _check_class_folders(listings)
    return _of_cells(path, root, listings, classes, tiny)


def _of_cells(path: str, root: Path, listings: Cells, classes: Path | None, tiny: bool) -> Dataset:
    """The images that some cells share."""
    names, left_out, unshared = _shared(listings)
    listing: dict[str, list[str]] = {}
    for name in names:
        listing.setdefault(name.partition("/")[0], []).append(name.partition("/")[2])
    set_of = "" if classes is not None else written_from(root)
    files, labels, names_of_classes = label_by_order(listing, classes) if tiny else _labelled(listing, classes, set_of)
    cells = {cell: own.files_of(files) for cell, own in listings.items()}
    side = native_side(next(iter(cells.values()))) if tiny else None
    dataset = stored_dataset(path, cells, Labelled(files, labels, names_of_classes), native_size=side)
    if tiny and classes is None and dataset.num_classes != TINY_CLASSES:
        raise DataError(
            f"Tiny-ImageNet-C has {TINY_CLASSES} classes, but the cells of {path} share {dataset.num_classes}: their "
            "numbers cannot be determined. Give them with --classes, such as tiny-imagenet-200/wnids.txt"
        )

    def narrowed(wanted: Collection[Cell]) -> Dataset:
        own = {cell: listing for cell, listing in listings.items() if cell in wanted or cell == CLEAN}
        return _of_cells(path, root, own if own.keys() - {CLEAN} else listings, classes, tiny)

    counted = {NOT_IN_EVERY_CELL: len(left_out)} if left_out else {}
    dataset = replace(with_protocol(dataset, set_of), narrowed=narrowed if unshared else None)
    return replace(dataset, unshared=unshared, left_out=counted, left_out_names=left_out, made_from=written_from(root))


def _labelled(
    listing: Mapping[str, Sequence[str]], classes: Path | None, set_of: str
) -> tuple[list[str], NDArray[np.int32], tuple[str, ...]]:
    """As `label_files`; class folders of a published set that `corrupt` kept have the numbers that they have there."""
    if set_of == "imagenet-v2":
        return label_files(listing, Path(IMAGENET))
    if set_of != "objectnet":
        return label_files(listing, classes)
    unknown = [folder for folder in listing if folder not in objectnet_folders()]
    if unknown:
        raise DataError(f"found {some(unknown)} of {len(listing)} class folders that are not ObjectNet's; remove them")
    files, places, _ = label_files(listing, None)
    numbers = np.array([objectnet_folders()[folder][0] for folder in listing], dtype=np.int32)
    return files, numbers[places], class_names(imagenet_classes())


@dataclass(frozen=True, eq=False)
class _FolderCell:
    """A cell whose images lie in class folders."""

    place: str
    names: list[str]

    def files_of(self, names: Sequence[str]) -> Files:
        return FolderFiles(self.place, names)


@dataclass(frozen=True, eq=False)
class _ArchivedCell:
    """A cell whose images lie in an archive: the positions there of its images."""

    place: str
    names: list[str]
    files: TarFiles
    positions: list[int]

    def files_of(self, names: Sequence[str]) -> Files:
        at = dict(zip(self.names, self.positions, strict=True))
        taken = self.files.taken([at[name] for name in names])
        return replace(taken, names=names, folder=self.place)


Cells = Mapping[Cell, _FolderCell | _ArchivedCell]


def _folder_cells(folders: Mapping[Cell, Path]) -> Cells:
    if not folders:
        return {}

    def names_of(folder: Path) -> list[str]:
        # Where class numbers do not hang on which folders there are, an empty one lacks images like any other.
        listing = list_classes(folder, may_be_empty=imagenet_classes())
        return [f"{name}/{image}" for name, images in listing.items() for image in images]

    first = names_of(next(iter(folders.values())))

    def names_unless_equal(folder: Path) -> list[str]:
        own = names_of(folder)
        return first if own == first else own  # a full set has 3.75 million names, nearly all of them equal

    listings = in_threads(names_unless_equal, list(folders.values()), LISTING_THREADS)
    return {cell: _FolderCell(str(folders[cell]), own) for cell, own in zip(folders, listings, strict=True)}


def _archived_cells(archives: Sequence[str]) -> Cells:
    """The cells in unopened archives: …/<corruption>/<severity>/<class folder>/<image>."""
    files = open_tars(archives)
    cells = {}
    for corruption, folders in _archived_folders(files).items():
        for folder, severity in _severities(corruption, folders).items():
            place, images = folders[folder]
            names = sorted(images, key=lambda name: name.split("/"))
            cells[corruption, severity] = _ArchivedCell(place, names, files, [images[name] for name in names])
    return cells


def _archived_folders(files: TarFiles) -> dict[str, dict[str, tuple[str, dict[str, int]]]]:
    """Corruption -> name of a folder of a severity -> where it is, and the position of each of its images."""
    found: dict[str, dict[str, tuple[str, dict[str, int]]]] = {}
    for place, images in _archived_images(files).items():
        corruption, severity = place.split("/")[-2:]
        folders = found.setdefault(PUBLISHED_SPELLINGS.get(corruption, corruption), {})
        _, held = folders.setdefault(severity, (f"{place}/", {}))
        for own, position in images:
            if own in held:
                raise DataError(
                    f"{files.path(position)} appears twice, also as {files.path(held[own])}; remove one archive"
                )
            held[own] = position
    return found


def _archived_images(files: TarFiles) -> dict[str, list[tuple[str, int]]]:
    """Folder of a severity -> path in it, and position, of each image in its class folders.

    As where they are unpacked, class folders that hold images may hold more in folders inside them.

    Raises:
        DataError: an image lies in a folder inside a class folder that holds none itself.
    """
    placed: dict[str, list[tuple[str, int]]] = {}
    for position, name in enumerate(files.names):
        if is_image(name):
            placed.setdefault(name.rpartition("/")[0].rpartition("/")[0], []).append((name, position))
    # Numbered class folders look like severities to what lies deeper in them.
    cells = {place for place in placed if "/" in place and _OF_SEVERITY.fullmatch(place.rpartition("/")[2])}
    cells = {place for place in cells if _around(place, cells) is None}
    found = {place: [(name[len(place) + 1 :], position) for name, position in placed[place]] for place in sorted(cells)}
    deeper = [image for place, images in placed.items() if place not in cells for image in images]
    class_folders = {name.rpartition("/")[0] for place in cells if deeper for name, _ in placed[place]}
    for name, position in deeper:
        place = _around(name, cells)
        if place is not None and _around(name, class_folders) is not None:
            found[place].append((name[len(place) + 1 :], position))
        elif place is not None or _DEEPER.search(name):
            raise DataError(
                f"expected <corruption>/<severity 1 to 5>/<class folder>/<image>, but {files.path(position)} lies "
                "deeper, in a class folder without images of its own; repack the archive without that folder"
            )
    return found


def _around(path: str, folders: Collection[str]) -> str | None:
    """The outermost of some folders that a path lies in; None where it lies in none."""
    ends = (end for end, mark in enumerate(path) if mark == "/")
    return next((path[:end] for end in ends if path[:end] in folders), None)


def _cell_folders(root: Path) -> dict[Cell, Path]:
    """The folder of each cell that is stored; corruptions may lie in folders of categories."""
    places = (*(root / category for category in CATEGORIES), root)
    return {cell: folder for place in places for cell, folder in _cells_in(place).items()}


def _no_cells(root: Path, archives: Sequence[str]) -> DataError:
    layout = "<corruption>/<severity 1 to 5>/<class folder>/<image>"
    if not archives:
        return DataError(f"expected {root}/{layout}, found no such folder")
    return DataError(f"expected {layout} in {archives[0]} and the archives beside it, found none")


def _check_once(root: Path, archived: Collection[Cell]) -> None:
    """Refuse a corruption that lies there in two ways, of which nobody can tell which is meant."""
    held = [cell for place in (root, *(root / category for category in CATEGORIES)) for cell in _cells_in(place)]
    twice = next((cell for cell in held if cell in archived or held.count(cell) > 1), None)
    if twice is not None:
        where = "in an archive and in a folder" if twice in archived else "alone and in a folder of a category"
        raise DataError(f"{root} holds {twice[0]} twice, {where}; move one of them elsewhere")


def _holds_cells(root: Path) -> bool:
    return bool(_cells_in(root) or any(root.glob("*.tar")) or any(_cells_in(root / name) for name in CATEGORIES))


def _cells_in(root: Path) -> dict[Cell, Path]:
    return {
        (PUBLISHED_SPELLINGS.get(name, name), severity): root / name / folder
        for name in (subfolders(root) if root.is_dir() else ())
        for folder, severity in _severities(name, subfolders(root / name)).items()
    }


def _severities(corruption: str, folders: Collection[str]) -> dict[str, int]:
    """Folders that hold a severity: named by number; or, by the script of ImageNet-C-bar, by value, as "2.35".

    Five values are ranked. Of ImageNet-C-bar's corruptions, whose values may be whole, so are any five numbers; names
    that are all among 1 to 5 are severities.

    Raises:
        DataError: of a corruption of ImageNet-C-bar there are values, but not five.

    Example:
        >>> _severities("fog", ["1", "5", "9"]), _severities("none", ["0"])
        ({'1': 1, '5': 5}, {'0': 0})
        >>> _severities("sparkles", ["10.00", "2.35", "3.20", "4.90", "9.15"])["10.00"]
        5
        >>> _severities("checkerboard_cutout", ["2", "3", "4", "5", "6"])["2"]
        1
    """
    severities = (CLEAN[1],) if corruption == CLEAN[0] else SEVERITIES
    numbers = sorted((name for name in folders if _OF_SEVERITY.fullmatch(name)), key=float)
    values = [name for name in numbers if _BY_VALUE.fullmatch(name)]
    if corruption in NAMED_BY_VALUE and not {*numbers} <= {*map(str, severities)} and len(values) != len(severities):
        if len(numbers) != len(severities):
            raise DataError(
                f"expected <corruption>/<severity 1 to 5>/, or all five of {corruption} named by their values, got "
                f"{', '.join(numbers)}; rename them to their severities"
            )
        values = numbers
    names = values if len(values) == len(severities) else map(str, severities)
    return {name: severity for severity, name in zip(severities, names, strict=True) if name in folders}


def _check_class_folders(cells: Cells) -> None:
    """Refuse cells with other class folders where these are numbered by which of them there are.

    Raises:
        DataError: a class of one cell is not in another, so nobody can tell which number a class has.
    """
    first, *others = cells.values()
    folders = {name.partition("/")[0] for name in first.names}
    for other in others:
        held = folders if other.names == first.names else {name.partition("/")[0] for name in other.names}
        if held != folders and not {*held, *folders} <= imagenet_classes().keys():
            raise DataError(
                f"all cells must hold the same files, but {_shared(cells)[2]}. Not all have the class folder "
                f"{min(held ^ folders)}, so class numbers cannot be determined; give them with --classes FILE"
            )


def _shared(cells: Cells) -> tuple[list[str], frozenset[str], str]:
    """The images that all cells share, the others, and in words how the first cell differs."""
    reference, *others = cells.values()
    names = reference.names
    shared = union = set(names)
    unshared = ""
    for other in others:
        if other.names == names:
            continue
        held = set(other.names)
        if not unshared:
            file = min(held ^ set(names))
            unshared = f"{other.place} {'has' if file in held else 'lacks'} {file}, unlike {reference.place}"
        shared, union = shared & held, union | held
    if not shared:
        raise DataError(f"all cells must hold the same files, but they share none: {unshared}")
    return [name for name in names if name in shared], frozenset(union - shared), unshared

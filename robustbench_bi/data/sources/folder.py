"""Your own images: a folder of class folders."""

from __future__ import annotations

import logging
import os
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from robustbench_bi.data.class_spaces.shift_sets import DESCRIPTION
from robustbench_bi.data.containers.files import FolderFiles
from robustbench_bi.data.containers.folders import existing_folder, list_classes, remarks_on, subfolders
from robustbench_bi.data.dataset import Dataset, Split
from robustbench_bi.data.labels.class_folders import label_files
from robustbench_bi.data.listed import Labelled, clean_dataset
from robustbench_bi.errors import DataError
from robustbench_bi.ground.cells import SEVERITIES

_LEVELS = frozenset(map(str, SEVERITIES))


def open_folder(path: str, *, split: Split = "evaluation", classes: Path | None = None) -> Dataset:
    """Open PATH/<class folder>/<image>; beside these, images in folders inside a class folder.

    Where PATH holds both `train` and `val`, the evaluation split is PATH/val; the training split is PATH/train where
    that exists. Links are followed; hidden files and files without an image's extension are not listed.

    Args:
        path: the folder.
        split: "evaluation" or "training".
        classes: a class file, see `robustbench_bi.data.labels.class_folders.read_classes`.

    Raises:
        DataError: the folder is missing, empty or laid out in another way, or does not fit the class file.
    """
    given = existing_folder(path)
    root = _split_folder(given, split)
    try:
        listing = list_classes(root)
    except DataError:
        _refuse_cells(root)
        raise
    files, labels, names = label_files(listing, classes)
    dataset = clean_dataset(path, FolderFiles(str(root), files), Labelled(files, labels, names))
    chosen = (f"{given.name}/ has splits, of which {root.name}/ was read",) if root != given else ()
    return replace(dataset, remarks=(*chosen, *_remarks_on_place(root), *remarks_on(root, listing)))


def _refuse_cells(root: Path) -> None:
    """Name the source of stored corrupted files where a folder holds them, also in folders of categories.

    Raises:
        DataError: it does.
    """
    inner = [root / name for name in subfolders(root)]
    for folder in (*inner, *(one / name for one in inner for name in subfolders(one))):
        if {*subfolders(folder)} >= _LEVELS:
            raise DataError(f"{folder} holds severities 1 to 5, as stored corrupted files do; use imagenet-c:{root}")


def _remarks_on_place(root: Path) -> tuple[str, ...]:
    """What to say of a folder that is a severity of a stored corruption: its pictures would be corrupted twice."""
    place = Path(os.path.abspath(root))  # noqa: PTH100 - links in it are as they were typed
    whole = place.parent.parent
    with suppress(DataError):
        if place.name in _LEVELS and ((whole / DESCRIPTION).is_file() or {*subfolders(place.parent)} >= _LEVELS):
            remark = (
                f"The images in {place.parent.name}/{place.name} seem to be corrupted already, so clean ones are not "
                f"clean and corruptions come on top; use imagenet-c:{whole}"
            )
            logging.getLogger(__name__).warning("%s", remark)
            return (remark,)
    return ()


def _split_folder(root: Path, split: Split) -> Path:
    """PATH/train or PATH/val, where PATH holds splits and not classes. A class may be called "train" as well."""
    train, val = ((root / name).is_dir() and bool(subfolders(root / name)) for name in ("train", "val"))
    if split == "training":
        return root / "train" if train else root
    return root / "val" if train and val else root

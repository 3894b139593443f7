"""Your own images: a folder of class folders."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from robustbench_bi.data.containers.folders import existing_folder, list_classes, subfolders
from robustbench_bi.data.containers.image_files import broken_files, decode, file_size, open_rgb
from robustbench_bi.data.dataset import Broken, Dataset, Split
from robustbench_bi.data.labels.class_folders import label_files
from robustbench_bi.data.preprocess import Preprocessing
from robustbench_bi.ground.cells import Cell


def open_folder(path: str, *, split: Split = "evaluation", classes: Path | None = None) -> Dataset:
    """Open PATH/<class folder>/<image>.

    Where PATH holds both `train` and `val`, the evaluation split is PATH/val; the training split is PATH/train where
    that exists. Links are followed; hidden files and files without an image's extension are not listed.

    Args:
        path: the folder.
        split: "evaluation" or "training".
        classes: a class file, see `robustbench_bi.data.labels.class_folders.read_classes`.

    Raises:
        DataError: the folder is missing, empty or laid out in another way, or does not fit the class file.
    """
    root = _split_folder(existing_folder(path), split)
    files, labels, names = label_files(list_classes(root), classes)

    def load(image_ids: NDArray[np.int64], preprocessing: Preprocessing, _: Cell, workers: int) -> NDArray[np.uint8]:
        return decode([root / files[image_id] for image_id in image_ids], preprocessing, workers)

    def describe(image_ids: NDArray[np.int64]) -> Iterator[str]:
        return (f"{files[image_id]}\t{file_size(root / files[image_id])}\t{labels[image_id]}" for image_id in image_ids)

    def check(image_ids: NDArray[np.int64], _: Collection[Cell], workers: int) -> list[Broken]:
        return broken_files(image_ids, lambda image_id: [root / files[image_id]], workers)

    def open_image(image_id: int) -> Image.Image:
        return open_rgb(root / files[image_id])

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
        open_image=open_image,
        list_names=list_names,
    )


def _split_folder(root: Path, split: Split) -> Path:
    """PATH/train or PATH/val, where PATH holds splits and not classes. A class may be called "train" as well."""
    train, val = ((root / name).is_dir() and bool(subfolders(root / name)) for name in ("train", "val"))
    if split == "training":
        return root / "train" if train else root
    return root / "val" if train and val else root

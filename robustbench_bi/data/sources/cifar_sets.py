"""The sets around CIFAR: CIFAR-100 and its corrupted files, CIFAR-10.1 and CIFAR-10.2."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from robustbench_bi.data.containers.folders import existing_folder
from robustbench_bi.data.dataset import Dataset, Split
from robustbench_bi.data.sources.cifar import (
    CLASS_NAMES,
    arrays_dataset,
    checked_labels,
    corrupted_arrays,
    map_array,
    map_images,
    published_arrays,
)
from robustbench_bi.errors import DataError
from robustbench_bi.ground.cells import CLEAN

# The two versions that are published; 6 is the one that papers report.
CIFAR_10_1 = ("cifar10.1_v6", "cifar10.1_v4")
CIFAR_10_2 = "cifar102_test.npz"
CIFAR_100_CLASSES = (
    "apple", "aquarium_fish", "baby", "bear", "beaver", "bed", "bee", "beetle", "bicycle", "bottle", "bowl",
    "boy", "bridge", "bus", "butterfly", "camel", "can", "castle", "caterpillar", "cattle", "chair", "chimpanzee",
    "clock", "cloud", "cockroach", "couch", "crab", "crocodile", "cup", "dinosaur", "dolphin", "elephant",
    "flatfish", "forest", "fox", "girl", "hamster", "house", "kangaroo", "keyboard", "lamp", "lawn_mower",
    "leopard", "lion", "lizard", "lobster", "man", "maple_tree", "motorcycle", "mountain", "mouse", "mushroom",
    "oak_tree", "orange", "orchid", "otter", "palm_tree", "pear", "pickup_truck", "pine_tree", "plain", "plate",
    "poppy", "porcupine", "possum", "rabbit", "raccoon", "ray", "road", "rocket", "rose", "sea", "seal", "shark",
    "shrew", "skunk", "skyscraper", "snail", "snake", "spider", "squirrel", "streetcar", "sunflower",
    "sweet_pepper", "table", "tank", "telephone", "television", "tiger", "tractor", "train", "trout", "tulip",
    "turtle", "wardrobe", "whale", "willow_tree", "wolf", "woman", "worm",
)  # fmt: skip


def open_cifar_100(path: str | None, *, split: Split = "evaluation", classes: Path | None = None) -> Dataset:
    """Open CIFAR-100: 10,000 images for evaluation (test), 50,000 for training; the 100 fine classes.

    Args:
        path: holds `cifar-100-python`, or is that folder; by default ~/.cache/robustbench_bi. Where its files are
            missing or damaged, 170 MB are downloaded to it.
        split: "evaluation" or "training".
        classes: not used; the classes are fixed.

    Raises:
        DataError: the images are neither there nor can they be downloaded.
    """
    return published_arrays("cifar-100", path, split, CIFAR_100_CLASSES)


def open_cifar_100_c(path: str, *, split: Split = "evaluation", classes: Path | None = None) -> Dataset:
    """Open CIFAR-100-C: the layout of CIFAR-10-C, with 100 classes.

    Args:
        path: holds <corruption>.npy and labels.npy.
        split: "evaluation"; there is no other.
        classes: not used; the classes are fixed.

    Raises:
        DataError: a file is missing or damaged, or the files do not fit each other.
    """
    dataset = corrupted_arrays(path, CIFAR_100_CLASSES)
    if dataset.labels.max() < len(CLASS_NAMES):
        logging.getLogger(__name__).warning("The labels in %s are only 0 to 9; is it cifar-10-c:%s?", path, path)
    return dataset


def open_cifar_10_1(path: str, *, split: Split = "evaluation", classes: Path | None = None) -> Dataset:
    """Open CIFAR-10.1: 2,000 new test pictures for CIFAR-10's classes, version 6; version 4 where that alone is there.

    Args:
        path: holds cifar10.1_v6_data.npy and cifar10.1_v6_labels.npy.
        split: "evaluation"; there is no other.
        classes: not used; the classes are fixed.

    Raises:
        DataError: a file is missing or damaged, or the two do not fit each other.
    """
    root = existing_folder(path)
    held = [name for name in CIFAR_10_1 if (root / f"{name}_data.npy").exists()]
    if len(held) > 1:
        logging.getLogger(__name__).warning("%s holds two versions of CIFAR-10.1; %s is used.", root, held[0])
    version = next(iter(held), None)
    if version is None:
        raise DataError(f"expected {CIFAR_10_1[0]}_data.npy and {CIFAR_10_1[0]}_labels.npy in {root}, found neither")
    file = root / f"{version}_labels.npy"
    return _clean(path, root / f"{version}_data.npy", map_array(file), file)


def open_cifar_10_2(path: str, *, split: Split = "evaluation", classes: Path | None = None) -> Dataset:
    """Open CIFAR-10.2: 2,000 new test pictures for CIFAR-10's classes.

    Args:
        path: holds cifar102_test.npz, with the arrays images and labels; or is that file.
        split: "evaluation"; there is no other.
        classes: not used; the classes are fixed.

    Raises:
        DataError: the file is missing or damaged, or the arrays do not fit each other.
    """
    given = Path(path).expanduser()
    file = given if given.is_file() else existing_folder(path) / CIFAR_10_2
    try:
        with np.load(file, allow_pickle=False) as stored:
            images, labels = stored["images"], stored["labels"]
    except (OSError, ValueError, KeyError, EOFError, BadZipFile) as error:
        raise DataError(f"cannot read the arrays images and labels of {file}: {error}") from error
    return _clean(path, file, labels, file, images)


def _clean(path: str, file: Path, labels: np.ndarray, label_file: Path, images: np.ndarray | None = None) -> Dataset:
    """Clean pictures of CIFAR-10's classes."""
    if labels.ndim != 1 or labels.dtype.kind not in "iu" or len(labels) == 0:
        raise DataError(f"{label_file} must hold one class number for each image, got {labels.dtype} {labels.shape}")
    numbers = checked_labels(label_file, np.asarray(labels), len(CLASS_NAMES))
    if images is None:
        images = map_images(file, len(numbers))
    expected = (len(numbers), 32, 32, 3)
    if images.dtype != np.uint8 or images.shape != expected:
        raise DataError(f"{file} must hold uint8 images {expected}, got {images.dtype} {images.shape}")
    return replace(arrays_dataset(path, {CLEAN: images}, numbers, CLASS_NAMES), stored_cells=None)

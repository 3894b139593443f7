"""Published sets that shift ImageNet's pictures, each by its protocol: ImageNet-V2, -A, -R, -Sketch and ObjectNet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from robustbench_bi.data.class_spaces.imagenet import class_names, imagenet_classes
from robustbench_bi.data.class_spaces.shift_sets import (
    WITH_SOME_CLASSES,
    classes_of,
    objectnet_folders,
    with_protocol,
)
from robustbench_bi.data.containers.files import FolderFiles
from robustbench_bi.data.containers.folders import existing_folder, list_classes, subfolders
from robustbench_bi.data.dataset import Dataset, Split
from robustbench_bi.data.labels.class_folders import known_classes, some
from robustbench_bi.data.listed import Labelled, clean_dataset
from robustbench_bi.errors import DataError

# Two pixels are what published code cuts off, to be sure of the red line that is one pixel wide.
OBJECTNET_BORDER = 2


def open_imagenet_v2(path: str, *, split: Split = "evaluation", classes: Path | None = None) -> Dataset:
    """Open a set of ImageNet-V2: PATH/<class number 0 to 999>/<image>; the folder's number is the label.

    Args:
        path: such as imagenetv2-matched-frequency-format-val.
        split: "evaluation"; there is no other.
        classes: not used; the numbers are ImageNet's.

    Raises:
        DataError: the folder is missing, or a class folder is no number from 0 to 999.
    """
    root = existing_folder(path)
    listing = list_classes(root)
    known = known_classes(Path("imagenet-1k"), list(listing))
    return _dataset(path, root, listing, {folder: number for folder, (number, _) in known.items()}, "ImageNet-V2")


def open_imagenet_a(path: str, *, split: Split = "evaluation", classes: Path | None = None) -> Dataset:
    """Open ImageNet-A: PATH/<wnid>/<image>, 200 classes of ImageNet, which alone compete.

    Args:
        path: the folder that holds the class folders.
        split: "evaluation"; there is no other.
        classes: not used; the numbers are ImageNet's.

    Raises:
        DataError: the folder is missing, or holds other classes.
    """
    return _open_restricted(path, "imagenet-a")


def open_imagenet_r(path: str, *, split: Split = "evaluation", classes: Path | None = None) -> Dataset:
    """Open ImageNet-R: PATH/<wnid>/<image>, 200 classes of ImageNet, which alone compete.

    Args:
        path: the folder that holds the class folders.
        split: "evaluation"; there is no other.
        classes: not used; the numbers are ImageNet's.

    Raises:
        DataError: the folder is missing, or holds other classes.
    """
    return _open_restricted(path, "imagenet-r")


def open_imagenet_sketch(path: str, *, split: Split = "evaluation", classes: Path | None = None) -> Dataset:
    """Open ImageNet-Sketch: PATH/<wnid>/<image>.

    Args:
        path: the folder that holds the class folders, or that which holds this one under the name sketch.
        split: "evaluation"; there is no other.
        classes: not used; the numbers are ImageNet's.

    Raises:
        DataError: the folder is missing, or holds other classes.
    """
    root = _inner(existing_folder(path), "sketch")
    return _dataset(path, root, list_classes(root), _imagenet_numbers(), "ImageNet-Sketch")


def open_objectnet(path: str, *, split: Split = "evaluation", classes: Path | None = None) -> Dataset:
    """Open ObjectNet: PATH/<folder>/<image>, of which the 113 folders that are among ImageNet's classes are taken.

    These are 125 of ImageNet's classes, which alone compete; an answer counts where it is among its folder's. The
    border is cut off first.

    Args:
        path: the folder objectnet-1.0, or its folder images.
        split: "evaluation"; there is no other.
        classes: not used; the folders' classes are known.

    Raises:
        DataError: the folder is missing, or holds none of these folders.
    """
    root, known = _inner(existing_folder(path), "images"), objectnet_folders()
    wanted = [folder for folder in subfolders(root) if folder in known]
    if not wanted:
        raise DataError(
            f"expected ObjectNet's class folders, such as alarm_clock, in {root}, found {some(subfolders(root))}"
        )
    listing = list_classes(root, wanted)
    first = {folder: numbers[0] for folder, numbers in known.items()}
    dataset = _dataset(path, root, listing, first, "ObjectNet", border=OBJECTNET_BORDER)
    return with_protocol(dataset, "objectnet")


def _open_restricted(path: str, source: str) -> Dataset:
    root = _inner(existing_folder(path), source)
    numbers = classes_of(source)
    known = {wnid: number for wnid, number in _imagenet_numbers().items() if number in numbers}
    return with_protocol(_dataset(path, root, list_classes(root), known, WITH_SOME_CLASSES[source]), source)


def _imagenet_numbers() -> dict[str, int]:
    return {wnid: number for wnid, (number, _) in imagenet_classes().items()}


def _inner(root: Path, name: str) -> Path:
    """The folder of that name in a folder, where there is one: archives unpack to it."""
    return root / name if (root / name).is_dir() else root


def _dataset(
    path: str,
    root: Path,
    listing: Mapping[str, Sequence[str]],
    known: Mapping[str, int],
    title: str,
    *,
    border: int = 0,
) -> Dataset:
    """Pictures in class folders whose numbers among ImageNet's classes are known."""
    unknown = [folder for folder in listing if folder not in known]
    if unknown:
        raise DataError(f"{root} holds {some(unknown)} of {len(listing)} class folders that are not {title}'s")
    names = [f"{folder}/{image}" for folder, images in listing.items() for image in images]
    labels = np.repeat(
        np.array([known[folder] for folder in listing], dtype=np.int32), [len(images) for images in listing.values()]
    )
    images = Labelled(names, labels, class_names(imagenet_classes()))
    return clean_dataset(path, FolderFiles(str(root), names), images, border=border)

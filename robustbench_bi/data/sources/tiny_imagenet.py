"""Tiny-ImageNet as it is published, whose validation pictures lie in one folder beside a file of their labels.

Its corrupted files, Tiny-ImageNet-C, are in `imagenet_c`.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from robustbench_bi.data.class_spaces.imagenet import imagenet_classes
from robustbench_bi.data.containers.files import FolderFiles
from robustbench_bi.data.containers.folders import existing_folder, image_names, list_classes, subfolders
from robustbench_bi.data.dataset import Dataset, Split
from robustbench_bi.data.labels.class_folders import read_classes, some
from robustbench_bi.data.labels.text import unused_labels
from robustbench_bi.data.listed import clean_dataset, native_side, sort_labelled
from robustbench_bi.data.selection import ANNOTATIONS, WNIDS, part_of_tiny_imagenet
from robustbench_bi.errors import DataError


def open_tiny_imagenet(path: str, *, split: Split = "evaluation", classes: Path | None = None) -> Dataset:
    """Open Tiny-ImageNet: 200 classes at 64×64, numbered in the sorted order of their wnids.

    Args:
        path: tiny-imagenet-200, which holds wnids.txt, train/<wnid>/images, val/images and val/val_annotations.txt. A
            val that was sorted into class folders is read too.
        split: "evaluation" (val) or "training" (train).
        classes: a class file; wnids.txt itself, for networks whose classes are in its order.

    Raises:
        DataError: files are missing, do not fit each other, or are not of one side.
    """
    root = existing_folder(path)
    whole = part_of_tiny_imagenet(root)
    if whole is not None:
        raise DataError(f"{root} is a part of Tiny-ImageNet; use tiny-imagenet:{whole}")
    remarks: tuple[str, ...] = ()
    if split == "training":
        found = _in_class_folders(root, "train")
    elif (root / "val" / ANNOTATIONS).is_file():
        found, remarks = _annotated(root)
    else:
        found = _in_class_folders(root, "val")
    numbers, names = _numbers(root, {wnid for wnid, _ in found}, classes)
    unknown = sorted({wnid for wnid, _ in found} - numbers.keys())
    if unknown:
        raise DataError(f"{root} holds images of {some(unknown)} classes that {classes or root / WNIDS} does not list")
    folders = [wnid for wnid, _ in found]
    files = [file.rpartition("/")[2] for _, file in found]
    order, images = sort_labelled(folders, files, [numbers[wnid] for wnid in folders], names)
    container = FolderFiles(str(root), [found[position][1] for position in order])
    dataset = clean_dataset(path, container, images, native_size=native_side(container))
    return replace(dataset, remarks=remarks)


def _annotated(root: Path) -> tuple[list[tuple[str, str]], tuple[str, ...]]:
    """Class and path of each validation picture, from the file of labels; and a remark on labels of no picture."""
    file = root / "val" / ANNOTATIONS
    try:
        lines = file.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"cannot read {file}: {getattr(error, 'strerror', None) or error}") from error
    labels: dict[str, str] = {}
    for number, line in enumerate(lines, start=1):
        columns = line.split("\t")
        if not line.strip():
            continue
        if len(columns) < 2:
            raise DataError(f"{file}, line {number}: expected a file and its wnid with a tab between, got {line!r}")
        if columns[0] in labels:
            raise DataError(f"{file}, line {number}: {columns[0]} appears twice")
        labels[columns[0]] = columns[1].strip()
    held = image_names(root / "val" / "images")
    missing = [name for name in held if name not in labels]
    if missing or not held:
        what = f"has no line for {some(missing)} of the {len(held)} images" if held else "has no images beside it"
        raise DataError(f"{file} {what} in {root / 'val' / 'images'}")
    unused = unused_labels(len(labels) - len(held), "label", file)
    return [(labels[name], f"val/images/{name}") for name in held], unused


def _in_class_folders(root: Path, split: str) -> list[tuple[str, str]]:
    """Class and path of each picture in split/<wnid>/images, or in split/<wnid>."""
    wnids = subfolders(root / split)
    if not wnids:
        raise DataError(f"expected {root / split} of Tiny-ImageNet with class folders, found none")
    within = "images" if (root / split / wnids[0] / "images").is_dir() else ""
    found = list_classes(root / split, wnids, within)
    return [
        (wnid, "/".join(part for part in (split, wnid, within, image) if part))
        for wnid, images in found.items()
        for image in images
    ]


def _numbers(root: Path, held: set[str], classes: Path | None) -> tuple[dict[str, int], tuple[str, ...]]:
    """The class number of each wnid, and the names of the classes."""
    if classes is not None:
        known = read_classes(classes)
        labels = dict(known.values())
        names = tuple(labels.get(number, str(number)) for number in range(max(labels) + 1))
        return {wnid: number for wnid, (number, _) in known.items()}, names
    listed = read_classes(root / WNIDS).keys() if (root / WNIDS).is_file() else held
    wnids, imagenet = sorted(listed), imagenet_classes()
    return {wnid: number for number, wnid in enumerate(wnids)}, tuple(
        imagenet[wnid][1] if wnid in imagenet else wnid for wnid in wnids
    )

"""Images in any container that says their classes: tar archives, WebDataset's shards, Hugging Face's parquet files.

And images of no class folder, in any of these or in folders, with a file of their labels.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path

from robustbench_bi.data.class_spaces.imagenet import imagenet_classes
from robustbench_bi.data.containers.files import Files, FolderFiles
from robustbench_bi.data.containers.folders import BESIDE, EXTENSIONS, existing_folder, is_image
from robustbench_bi.data.containers.parquet import ParquetRows, open_parquet
from robustbench_bi.data.containers.shards import matching
from robustbench_bi.data.containers.tar import TarFiles, open_tars
from robustbench_bi.data.dataset import Dataset, Split
from robustbench_bi.data.labels.class_folders import FOLDERS, LABELS, number_folders, some
from robustbench_bi.data.labels.label_file import LabelFile, class_folders_of, read_label_file, read_real
from robustbench_bi.data.labels.text import VALIDATION, unused_labels
from robustbench_bi.data.listed import clean_dataset, sort_labelled
from robustbench_bi.data.selection import NOT_IN_REAL
from robustbench_bi.errors import DataError

LABEL_SUFFIX = ".cls"


def open_tar(path: str, *, split: Split = "evaluation", classes: Path | None = None) -> Dataset:
    """Open images in tar archives, in place: class folders, WebDataset's .cls files, or archives named by wnids.

    Args:
        path: a pattern of archives, see `robustbench_bi.data.containers.shards.matching`.
        split: "evaluation"; there is no other.
        classes: a class file, or "imagenet-1k".

    Raises:
        DataError: an archive is missing, cut short or compressed; or its images have no class.
    """
    archives = matching(path, ".tar")
    every = open_tars(archives)
    sidecars = {name.removesuffix(LABEL_SUFFIX): row for row, name in enumerate(every.names) if _is_label(name)}
    files = _images_of(every) if not sidecars else _pictures_of_samples(path, every)
    if not sidecars:
        folders = [_class_folder(files, position) for position in range(len(files.names))]
        _check_folders(path, files.names, folders)
        return _dataset(path, files, folders, classes)
    keys = [_key(name) for name in files.names]
    missing = [name for name, key in zip(files.names, keys, strict=True) if key not in sidecars]
    if missing:
        raise DataError(f"{path} has no {LABEL_SUFFIX} file for {some(missing)} of its {len(keys)} images")
    labels = [content.decode("utf-8", "replace").strip() for content in every.contents([sidecars[key] for key in keys])]
    folders = class_folders_of(labels, files.names, classes, Path(path))
    dataset = _dataset(path, files, folders, classes, kind=LABELS)
    return replace(dataset, remarks=unused_labels(len(sidecars) - len(keys), f"{LABEL_SUFFIX} file", path))


def open_parquet_rows(path: str, *, split: Split = "evaluation", classes: Path | None = None) -> Dataset:
    """Open images in parquet files with Hugging Face's columns: `image` (bytes and path) and `label`.

    Where a row's path has a class folder, that is its class's name; else the file's own names of the classes are taken.

    Args:
        path: a pattern of files, see `robustbench_bi.data.containers.shards.matching`.
        split: "evaluation"; there is no other.
        classes: a class file, or "imagenet-1k".

    Raises:
        DataError: a file is missing or lacks the columns; or a label is out of range.
    """
    rows = open_parquet(matching(path, ".parquet"))
    names = _row_names(rows)
    labels = rows.labels
    numbered = bool(rows.class_names) or _numbered(path, labels, classes)
    named = None if classes is not None or not numbered else _folders_by_path(names, labels) or _folders_by_name(rows)
    if named is None:
        folders = class_folders_of(labels, names, classes, Path(path))
    else:
        outside = sorted({label for label in labels if label not in named}, key=int)
        if outside:
            raise DataError(f"{path}: class numbers must be from 0 to {len(named) - 1}, got {outside[0]}")
        folders = [named[label] for label in labels]
    names = [_without_wnid(name) for name in names]
    known, kind = ((), LABELS) if named is None else (named.values(), FOLDERS)
    dataset = _dataset(path, rows.files, folders, classes, names, known, kind)
    if named is not None:
        _check_agreement(path, dataset, {folder: int(label) for label, folder in named.items()})
    return dataset


def _numbered(path: str, labels: Sequence[str], classes: Path | None) -> bool:
    """Whether the labels of parquet files are numbers. Words need a class file, but for wnids, which have ImageNet's.

    Raises:
        DataError: nothing says which numbers the words have.
    """
    words = [label for label in labels if not re.fullmatch(r"-?\d+", label)]
    if classes is None and words and not {*words} <= imagenet_classes().keys():
        raise DataError(
            f"the labels in {path} are words, such as {words[0]!r}, and it does not say which numbers they have; give "
            "these with --classes FILE, with a line of number, word and label for each class"
        )
    return not words


def _check_agreement(path: str, dataset: Dataset, stated: dict[str, int]) -> None:
    """Refuse class folders whose numbers are others than the column `label` says: nobody can tell which are meant."""
    for name, number in zip(dataset.names(), dataset.labels.tolist(), strict=True):
        folder = name.partition("/")[0]
        if stated[folder] != number:
            raise DataError(
                f"{path} gives class {folder} the number {stated[folder]}, but as a class folder it has the number "
                f"{number}; say which with --classes FILE, with a line of number, folder and label for each class"
            )


def open_labelled(name: str, files: Files, label_file: Path, classes: Path | None) -> Dataset:
    """Open images whose labels a file tells.

    Args:
        name: the source as it was asked for.
        files: of any container.
        label_file: see `robustbench_bi.data.labels.label_file.read_label_file`.
        classes: a class file, or "imagenet-1k".

    Raises:
        DataError: the two do not fit each other.
    """
    found: LabelFile = read_label_file(label_file)
    folders = class_folders_of(found.labels_of(files.names), files.names, classes, label_file)
    unused = unused_labels(len(found.named) - len(files.names), "label", label_file) if found.named else ()
    return replace(_dataset(name, files, folders, classes, kind=LABELS), remarks=unused)


def open_real(name: str, files: Files, label_file: Path) -> Dataset:
    """Open ImageNet's validation pictures without class folders, of which ReaL alone tells the classes.

    Raises:
        DataError: an image is not one of them pictures.
    """
    lists, wnids = read_real(label_file), list(imagenet_classes())
    numbers = [validation_number(file, len(lists), label_file) for file in files.names]
    kept = [place for place, number in enumerate(numbers) if lists[number]]
    folders = [wnids[lists[numbers[place]][0]] for place in kept]
    dataset = _dataset(name, files.taken(kept), folders, None)
    names = frozenset(files.names) - {files.names[place] for place in kept}
    return replace(dataset, left_out={NOT_IN_REAL: len(names)}, left_out_names=names) if names else dataset


def validation_number(name: str, count: int, label_file: Path) -> int:
    """The place of a validation picture in ReaL's list.

    Raises:
        DataError: it is none, or beyond the list.
    """
    found = VALIDATION.search(name)
    if found is None or not 0 < int(found[1]) <= count:
        raise DataError(
            f"{label_file} labels ImageNet's {count:,} validation images, ILSVRC2012_val_00000001 and so on; {name} "
            "is not one of them"
        )
    return int(found[1]) - 1


def folder_files(path: str) -> FolderFiles:
    """All images in a folder and the folders in it.

    Raises:
        DataError: there are none.
    """
    root = existing_folder(path)
    names = []
    for folder, inner, held in os.walk(root):
        inner[:] = sorted(name for name in inner if not name.startswith(".") and name not in BESIDE)
        within = os.path.relpath(folder, root).replace(os.sep, "/")
        names += [name if within == "." else f"{within}/{name}" for name in sorted(held) if is_image(name)]
    if not names:
        raise DataError(f"expected images in {root} or the folders in it, found none")
    return FolderFiles(str(root), names)


def tar_files(path: str) -> TarFiles:
    """All images in tar archives.

    Raises:
        DataError: there are none, or an archive cannot be read.
    """
    return _images_of(open_tars(matching(path, ".tar")))


def parquet_files(path: str) -> Files:
    """All images in parquet files.

    Raises:
        DataError: a file cannot be read, or lacks the columns.
    """
    return open_parquet(matching(path, ".parquet")).files


def _dataset(
    name: str,
    files: Files,
    folders: Sequence[str],
    classes: Path | None,
    names: Sequence[str] | None = None,
    known: Collection[str] = (),
    kind: str = FOLDERS,
) -> Dataset:
    """Images in the order that they would have in class folders; others may be known, of which there is no image."""
    held = sorted({*folders, *known})
    numbers, class_names = number_folders(held, classes, kind)
    number_of = dict(zip(held, numbers, strict=True))
    own = [file.rpartition("/")[2] for file in (files.names if names is None else names)]
    order, images = sort_labelled(folders, own, [number_of[folder] for folder in folders], class_names)
    return clean_dataset(name, files.taken(order), images)


def _images_of(every: TarFiles) -> TarFiles:
    places = [place for place, name in enumerate(every.names) if is_image(name)]
    if not places:
        raise DataError(f"{every.archives[0]} holds no images, but {some(list(every.names))} other files")
    return every.taken(places)


def _pictures_of_samples(path: str, every: TarFiles) -> TarFiles:
    """The picture of each of WebDataset's samples: the file whose name is the key and the suffix of an image alone.

    So 00000.jpg is a picture, and 00000.mask.png is not.

    Raises:
        DataError: there is none, or a sample has two.
    """
    places: dict[str, int] = {}
    for place, name in enumerate(every.names):
        key = _key(name)
        if not is_image(name) or name[len(key) :].lower() not in EXTENSIONS:
            continue
        if key in places:
            raise DataError(
                f"{path} has two images of one sample, {every.names[places[key]]} and {name}; expected one, beside "
                f"{key}{LABEL_SUFFIX}"
            )
        places[key] = place
    if not places:
        raise DataError(f"{path} has {LABEL_SUFFIX} files but no images named like them, such as 00000.jpg")
    return every.taken(list(places.values()))


def _is_label(name: str) -> bool:
    return name.endswith(LABEL_SUFFIX)


def _key(name: str) -> str:
    """What an image and its label have in common: the path up to the first dot of the file's name."""
    folder, slash, file = name.rpartition("/")
    return f"{folder}{slash}{file.split('.')[0]}"


def _class_folder(files: TarFiles, position: int) -> str:
    """The folder that an image lies in; where it lies in none, the name of its archive if that is a wnid."""
    folder = files.names[position].rpartition("/")[0]
    if folder:
        return folder.rpartition("/")[2]
    archive = Path(files.archives[files.archive[position]]).stem
    return archive if re.fullmatch(r"n\d{8}", archive) else ""


def _check_folders(path: str, names: Sequence[str], folders: Sequence[str]) -> None:
    """Refuse images without class folders, and class folders in several places."""
    flat = [name for name, folder in zip(names, folders, strict=True) if not folder]
    if flat:
        part = "" if len(flat) == len(names) else f", and the other {len(names) - len(flat)} do"
        raise DataError(
            f"{len(flat)} of the images in {path} lie in no class folder, such as {flat[0]}{part}; give their labels "
            "with --labels FILE (eval), or unpack them (corrupt)"
        )
    places = sorted({name.rpartition("/")[0].rpartition("/")[0] for name in names})
    if len(places) > 1:
        raise DataError(
            f"the class folders in {path} must share one parent folder, but they are in "
            f"{some([place or '.' for place in places])}; give one of them"
        )


def _row_names(rows: ParquetRows) -> list[str]:
    """The paths that rows state; where one states none, or all the same, their places in the file."""
    names = list(rows.files.names)
    if all(names) and (len(names) == 1 or len({*names}) > 1):
        return names
    return [f"{number:08d}" for number in range(len(names))]


def _folders_by_path(names: Sequence[str], labels: Sequence[str]) -> dict[str, str] | None:
    """Label → class folder, where all paths have one and each label has its own."""
    found: dict[str, str] = {}
    for name, label in zip(names, labels, strict=True):
        folder = name.rpartition("/")[0].rpartition("/")[2]
        if not folder or found.setdefault(label, folder) != folder:
            return None
    return found if len(set(found.values())) == len(found) else None


def _folders_by_name(rows: ParquetRows) -> dict[str, str] | None:
    """Label → class folder, from the names that the files have for their classes; ImageNet's are known by them."""
    if not rows.class_names:
        return None
    imagenet = imagenet_classes()
    firsts = [name.split(",")[0].replace(" ", "_").lower() for name in rows.class_names]
    agreeing = [own == label.lower() for own, (_, label) in zip(firsts, imagenet.values(), strict=False)]
    is_imagenet = len(firsts) == len(imagenet) and sum(agreeing) > 0.9 * len(agreeing)
    folders = list(imagenet) if is_imagenet else rows.class_names
    return {str(number): folder for number, folder in enumerate(folders)}


def _without_wnid(name: str) -> str:
    """The name of a picture without the wnid that some add to it."""
    return re.sub(r"_n\d{8}(?=\.\w+$)", "", name)

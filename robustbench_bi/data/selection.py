"""Which images of a source are evaluated, and which answers count: what holds for every source alike."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from robustbench_bi.data.containers.folders import expand_user
from robustbench_bi.data.labels.text import VALIDATION
from robustbench_bi.data.sources import SOURCES
from robustbench_bi.errors import DataError, InputError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from robustbench_bi.data.dataset import Dataset
    from robustbench_bi.data.sources import Source

ANNOTATIONS = "val_annotations.txt"
WNIDS = "wnids.txt"
WORDS = "words.txt"
"""Files of Tiny-ImageNet as published."""
NOT_IN_REAL = "without a label in ReaL"
NOT_IN_EVERY_CELL = "not in every cell"
ClassSpace = Literal["restricted", "full"]
CLASS_SPACES = ("restricted", "full")


def open_with_labels(row: Source, path: str | None, label_file: Path, classes: Path | None) -> Dataset:
    """Open images whose labels a file tells: a table or a list of labels; or ReaL's lists of classes.

    Raises:
        InputError: the source has labels of its own that a file cannot replace.
        DataError: the images and the file do not fit each other.
    """
    from robustbench_bi.data.labels.text import is_real
    from robustbench_bi.data.sources.archives import open_labelled, open_real

    if is_real(label_file):
        try:
            dataset: Dataset = SOURCES.load(row.name)(path, split="evaluation", classes=classes)
        except DataError:
            if not row.files or path is None:
                raise
            dataset = open_real(path, row.load_files(path), label_file)
        return with_real(dataset, label_file)
    if not row.files or path is None:
        takers = ", ".join(one.name for one in SOURCES if one.files)
        raise InputError(f"a file of labels goes with {takers}, not with {row.name}, whose labels are known")
    return open_labelled(path, row.load_files(path), label_file, classes)


def with_real(dataset: Dataset, label_file: Path) -> Dataset:
    """Count an answer where it is in ReaL's list for the picture, and leave out pictures whose list is empty.

    Raises:
        InputError: the classes are not ImageNet's.
        DataError: a picture is not among ImageNet's validation pictures.
    """
    import numpy as np

    from robustbench_bi.data.class_spaces.answers import NO_CLASS, Answers, sets_of_classes
    from robustbench_bi.data.labels.label_file import read_real
    from robustbench_bi.data.sources.archives import validation_number

    if dataset.class_set != "imagenet-1k":
        raise InputError(f"{label_file} labels ImageNet's 1,000 classes, but {dataset.name} has other classes")
    lists = read_real(label_file)
    names = dict(zip(dataset.image_ids.tolist(), dataset.names(), strict=True))
    own = [lists[validation_number(name, len(lists), label_file)] for name in names.values()]
    rows = sets_of_classes(own)
    accepted = np.full((max(names) + 1, rows.shape[1]), NO_CLASS, dtype=np.int32)
    accepted[dataset.image_ids] = rows
    empty = [row for row, classes in enumerate(own) if not classes]
    left_out = dict(dataset.left_out) | ({NOT_IN_REAL: len(empty)} if empty else {})
    every = list(names.values())
    without = dataset.left_out_names | {every[row] for row in empty}
    dataset = replace(dataset, answers=Answers(None, accepted), left_out=left_out, left_out_names=without)
    return dataset.taken([row for row in range(len(own)) if own[row]]) if empty else dataset


def with_common_images(dataset: Dataset, common_images: bool) -> Dataset:
    """Refuse stored cells that do not hold the same images, unless a user asked for those that all share.

    Raises:
        DataError: they do not.
    """
    if dataset.unshared and not common_images:
        raise DataError(
            f"all cells must hold the same files, but {dataset.unshared}. Evaluate the images that all cells share "
            "with --common-images"
        )
    return dataset


def with_class_space(dataset: Dataset, class_space: ClassSpace | None) -> Dataset:
    """Let all classes compete, or only those of the set; where nothing is said, as its source's protocol says.

    Raises:
        InputError: the images lie in all classes, so that either way all compete.
    """
    from robustbench_bi.data.class_spaces.answers import Answers

    wanted = class_space or dataset.source.class_space or dataset.class_space
    if wanted is None:
        return dataset
    import numpy as np

    own, held = dataset.answers or Answers(), np.unique(dataset.labels)
    if own.competing is None and len(held) == dataset.num_classes:
        raise InputError(
            f"{dataset.name} has images of all its {len(held)} classes, so there is nothing to restrict; leave "
            "class_space out"
        )
    if wanted == "restricted" and own.competing is None and len(held) == 1:
        raise InputError(
            f"{dataset.name} has images of only one class, so if this alone competes every answer is right; leave "
            "class_space out"
        )
    if wanted == "full":
        own = replace(own, competing=None)
    elif own.competing is None:
        own = replace(own, competing=held.astype(np.int32))
    answers = own if own.competing is not None or own.accepted is not None else None
    return replace(dataset, class_space=wanted, answers=answers)


def with_missing_classes(dataset: Dataset) -> Dataset:
    """Remark on classes of which there is no picture: of those that compete, or of all.

    This is of the whole source; that a part which a user chose lacks classes is no news.
    """
    import numpy as np

    if dataset.objects is not None:
        return dataset
    answers = dataset.answers
    count = dataset.num_classes if answers is None or answers.competing is None else len(answers.competing)
    held = dataset.labels if answers is None or answers.accepted is None else answers.accepted[dataset.image_ids]
    held_classes = int((np.unique(held) >= 0).sum())
    dataset, missing = replace(dataset, held_classes=held_classes), count - held_classes
    if not missing:
        return dataset
    remark = f"{missing:,} of {count:,} classes {'has' if missing == 1 else 'have'} no image"
    return replace(dataset, remarks=(*dataset.remarks, remark))


def is_tiny_imagenet(path: str | Path) -> bool:
    """Whether a folder is Tiny-ImageNet as published.

    Example:
        >>> is_tiny_imagenet("nowhere")
        False
    """
    root = expand_user(path)
    held = {file for file in (f"val/{ANNOTATIONS}", WNIDS, WORDS) if os.path.isfile(root / file)}  # noqa: PTH113
    return f"val/{ANNOTATIONS}" in held or held == {WNIDS, WORDS}


def part_of_tiny_imagenet(path: str | Path) -> Path | None:
    """The Tiny-ImageNet that a folder is a part of, such as its val; None where it is no part of one."""
    root = Path(os.path.abspath(expand_user(path)))  # noqa: PTH100
    return next((parent for parent in list(root.parents)[:3] if is_tiny_imagenet(parent)), None)


def refuse_imagenet_o(source: str) -> None:
    """Refuse ImageNet-O, whose class folders say what its pictures are mistaken for, not what they show.

    Raises:
        InputError: the source is ImageNet-O.
    """
    prefix, _, path = source.partition(":")
    if "imagenet-o" in (prefix, Path(path or source).name):
        raise InputError(
            "ImageNet-O has no labels: its images show none of ImageNet's classes, and its folders name the class "
            "they are mistaken for. It is for detecting such images, which this package does not evaluate"
        )


def refuse_look_alike(dataset: Dataset) -> None:
    """Refuse plain images of exactly the classes of a set with a protocol of its own, stored corrupted ones too.

    Raises:
        DataError: it does.
    """
    from robustbench_bi.data.class_spaces.shift_sets import WITH_SOME_CLASSES, look_alike, objectnet_folders

    if dataset.class_set == "imagenet-1k":
        source = look_alike(set(dataset.labels.tolist()))
        if source is not None:
            stored = dataset.stored_cells is not None
            use = "pass --class-space restricted" if stored else f"use {source}:{dataset.name}"
            raise DataError(
                f"these are the 200 classes of {WITH_SOME_CLASSES[source]}; {use}, where these classes alone compete, "
                "or pass --class-space full to let all 1,000 compete"
            )
    elif set(objectnet_folders()) <= set(dataset.class_names):
        raise DataError(f"these are the class folders of ObjectNet; use objectnet:{dataset.name}")


def with_images(dataset: Dataset, file: Path) -> Dataset:
    """The images that a file names, one a line: names, or class folders and names.

    Raises:
        DataError: the file cannot be read, or names images that are not there, twice, or that several are called.
    """
    from robustbench_bi.data.labels.text import numbered_lines

    names = dataset.names()
    places = by_name(names)
    chosen: dict[int, int] = {}
    unknown = []
    for number, line in numbered_lines(file):
        found = places.get(line.strip().replace("\\", "/").removeprefix("./"), [])
        if len(found) > 1:
            raise DataError(f"{file}, line {number}: {line.strip()} is the name of {len(found)} images; add the folder")
        if not found:
            unknown.append(line.strip())
        elif found[0] in chosen:
            raise DataError(f"{file}, line {number}: {line.strip()} appears twice, first in line {chosen[found[0]]}")
        else:
            chosen[found[0]] = number
    if unknown:
        raise DataError(
            f"{file} names {listed(unknown)} of {len(unknown) + len(chosen)} images that {dataset.name} does not hold"
        )
    if not chosen:
        raise DataError(f"{file} names no images; expected one name per line")
    return dataset.taken(sorted(chosen))


def by_name(names: Sequence[str]) -> dict[str, list[int]]:
    """Where the images of each name are: the whole name, and the part after its last slash.

    Example:
        >>> by_name(["cat/1.png", "dog/1.png"])["1.png"], by_name(["cat/1.png"])["cat/1.png"]
        ([0, 1], [0])
    """
    places: dict[str, list[int]] = {}
    for place, name in enumerate(names):
        for key in {name, name.rpartition("/")[2]}:
            places.setdefault(key, []).append(place)
    return places


def with_clean(dataset: Dataset, clean: Dataset, common_images: bool) -> Dataset:
    """Pair stored corrupted images with clean ones of another source, by name.

    Args:
        dataset: stored images without clean ones.
        clean: a source of clean images.
        common_images: take the images that both hold.

    Raises:
        InputError: the first holds clean images already, or the second is none of clean images.
        DataError: images of one are not in the other, or they have other labels there.
    """
    import numpy as np

    from robustbench_bi.ground.cells import CLEAN

    if dataset.stored_cells is None or CLEAN in dataset.stored_cells:
        raise InputError(f"--clean goes with stored corrupted images; {dataset.name} has clean ones already")
    if clean.stored_cells is not None:
        raise InputError(f"--clean takes clean images, but {clean.name} holds corrupted ones")
    pairs, missing, surplus = _paired(dataset.names(), clean.names())
    # What is left out already is counted there, and is no image that the stored ones lack.
    known = {key(name) for name in dataset.left_out_names for key in _KEYS}
    surplus = [name for name in surplus if not {key(name) for key in _KEYS} & known]
    # Images of arrays are named by class and place, which those of another set may have too.
    by_place = dataset.source.arrays
    if (missing or surplus) and (by_place or not common_images):
        lacks = f"lacks {listed(missing)} of the images of {dataset.name}" if missing else ""
        more = f"holds {listed(surplus)} that are not in {dataset.name}" if surplus else ""
        advice = (
            "Give the set that was corrupted" if by_place else "Evaluate the images that both hold with --common-images"
        )
        raise DataError(f"{clean.name} {' and '.join(part for part in (lacks, more) if part)}. {advice}")
    if not pairs:
        raise DataError(f"{clean.name} and {dataset.name} share no image: their names differ")
    rows = sorted(pairs)
    dataset, partner = dataset.taken(rows), np.array([pairs[row] for row in rows])
    others = _of_other_classes(dataset, clean, partner)
    if others.any():
        row = int(np.argmax(others))
        raise DataError(
            f"{dataset.names()[row]} has class {dataset.labels[row]} in {dataset.name} and "
            f"{clean.labels[partner[row]]} in {clean.name}; give both the same --classes"
        )
    left_out = dict(dataset.left_out)
    if missing or surplus:
        left_out[NOT_IN_EVERY_CELL] = left_out.get(NOT_IN_EVERY_CELL, 0) + len(missing) + len(surplus)
    paired = dataset.paired_with(clean, clean.image_ids[partner])
    made_from = clean.kind if clean.hidden_by is not None else dataset.made_from
    return replace(paired, left_out=left_out, made_from=made_from)


def _of_other_classes(dataset: Dataset, clean: Dataset, partner: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which images have other classes than their partners: another label, or others that count where both say which."""
    import numpy as np

    from robustbench_bi.data.class_spaces.answers import NO_CLASS

    own = None if dataset.answers is None else dataset.answers.accepted_of(dataset.image_ids)
    other = None if clean.answers is None else clean.answers.accepted_of(clean.image_ids[partner])
    if own is None or other is None:
        differ: NDArray[np.bool_] = dataset.labels != clean.labels[partner]
        return differ
    pairs = zip(own.tolist(), other.tolist(), strict=True)
    return np.array([{*counted} - {NO_CLASS} != {*there} - {NO_CLASS} for counted, there in pairs])


def _paired(names: Sequence[str], clean: Sequence[str]) -> tuple[dict[int, int], list[str], list[str]]:
    """Row → row of the clean image of that name; names without one; and clean names without one.

    Where whole names differ in their suffixes alone, as where corrupted files were written as JPEG, these do not count,
    unless several names have that stem. ImageNet's validation pictures are known by their numbers, whatever the folder.
    """
    pairs: dict[int, int] = {}
    for key in _KEYS:
        keys, own_keys = [key(name) for name in clean], [key(name) for name in names]
        counts, own_counts = Counter(keys), Counter(own_keys)
        places = {own: row for row, own in enumerate(keys) if counts[own] == 1}
        found = {row: places[own] for row, own in enumerate(own_keys) if own_counts[own] == 1 and own in places}
        pairs = found | pairs
    taken = set(pairs.values())
    missing = [_stem(name) for row, name in enumerate(names) if row not in pairs]
    return pairs, missing, [name for row, name in enumerate(clean) if row not in taken]


def _stem(name: str) -> str:
    folder, slash, file = name.rpartition("/")
    return f"{folder}{slash}{file.rpartition('.')[0] or file}"


def _validation(name: str) -> str:
    found = VALIDATION.search(name)
    return found[0] if found else name


_KEYS = (str, _stem, _validation)
"""What images are known by, the first that tells two apart: their names; these without suffix; a number in them."""


def listed(names: Sequence[str] | Mapping[str, object]) -> str:
    """How many names there are, and the first three.

    Example:
        >>> listed(["a", "b", "c", "d"])
        '4 (a, b, c, …)'
    """
    shown = list(names)
    return f"{len(shown)} ({', '.join(shown[:3])}{', …' if len(shown) > 3 else ''})"

"""Pictures with annotations in COCO's layout: COCO itself, and whatever is labelled like it."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from robustbench_bi.data.containers.folders import expand_user
from robustbench_bi.data.containers.image_files import file_size, in_threads, open_rgb, why_broken
from robustbench_bi.data.dataset import Broken, Dataset, Split
from robustbench_bi.data.labels.coco_json import Annotations, read_annotations
from robustbench_bi.errors import DataError
from robustbench_bi.ground.cells import Cell

_SPLITS = {"evaluation": "val2017", "training": "train2017"}


def open_coco(path: str, *, split: Split = "evaluation", classes: Path | None = None) -> Dataset:
    """Open COCO's folder, or an annotation file.

    Args:
        path: the folder that holds `annotations` and `val2017` (and `train2017` for training); or an annotation file,
            whose pictures lie beside it, in the folder that COCO's layout names (`val2017` beside `annotations` for
            instances_val2017.json), or elsewhere, see `Dataset.at`.
        split: "evaluation" or "training"; a file is taken for either.
        classes: none; the file has the classes.

    Raises:
        DataError: the file cannot be read, or is inconsistent. Where pictures are missing is found when they are
            listed or read.
    """
    given = expand_user(path)
    file = given / "annotations" / f"instances_{_SPLITS[split]}.json" if given.is_dir() else given
    if not file.is_file():
        expected = "COCO's folder with annotations/instances_val2017.json, or an annotation file"
        raise DataError(f"there is no {file}; expected {expected}")
    annotations = read_annotations(file, least_side=1.0 if split == "training" else 0.0)
    return _dataset(path, annotations, _picture_folder(file, annotations))


def _picture_folder(file: Path, annotations: Annotations) -> Path | DataError:
    """The folder in which the first picture is; or the error that there is none."""
    first = next(iter(annotations.files.values()))
    named = file.stem.removeprefix("instances_")
    places = [file.parent, file.parent.parent / named, file.parent / named]
    found = next((place for place in places if (place / first).is_file()), None)
    shown = ", ".join(str(place) for place in places)
    return found or DataError(f"{first} of {file} is in none of {shown}; say where pictures lie by --images-root")


def _dataset(name: str, annotations: Annotations, root: Path | DataError) -> Dataset:
    files, objects = annotations.files, annotations.objects

    def path_of(image_id: int) -> Path:
        if isinstance(root, DataError):
            raise root
        return root / files[image_id]

    def read(image_id: int) -> NDArray[np.uint8]:
        picture = open_image(image_id)
        if (why := _other_size(picture, objects.sizes[image_id])) is not None:
            raise DataError(f"{path_of(image_id)} {why}")
        return np.ascontiguousarray(np.asarray(picture).transpose(2, 0, 1))

    def load(image_ids: NDArray[np.int64], _: Any, __: Cell, workers: int) -> list[NDArray[np.uint8]]:
        return in_threads(read, image_ids.tolist(), workers)

    def describe(image_ids: NDArray[np.int64]) -> Iterator[str]:
        return (f"{files[image_id]}\t{file_size(path_of(image_id))}" for image_id in image_ids.tolist())

    def check(image_ids: NDArray[np.int64], _: Collection[Cell], workers: int) -> list[Broken]:
        def broken(image_id: int) -> Broken | None:
            path = path_of(image_id)
            why = why_broken(path)
            if why is None:
                with Image.open(path) as picture:
                    why = _other_size(picture, objects.sizes[image_id])
            return None if why is None else Broken(image_id, str(path), why)

        return [own for own in in_threads(broken, image_ids.tolist(), workers) if own is not None]

    def open_image(image_id: int) -> Image.Image:
        return open_rgb(path_of(image_id))

    def at(folder: Path) -> Dataset:
        first = next(iter(files.values()))
        if not os.path.exists(folder / first):  # noqa: PTH110 - pathlib's raises where a name is too long
            raise DataError(f"{folder} does not hold {first}, the first picture of {name}")
        return _dataset(name, annotations, folder)

    image_ids = np.array(sorted(files), dtype=np.int64)
    return Dataset(
        name=name,
        image_ids=image_ids,
        labels=np.zeros(len(image_ids), dtype=np.int32),
        class_names=annotations.class_names,
        load=load,
        describe=describe,
        check=check,
        open_image=open_image,
        list_names=lambda image_ids: (files[image_id] for image_id in image_ids.tolist()),
        objects=objects,
        at=at,
    )


def _other_size(picture: Image.Image, annotated: tuple[int, int]) -> str | None:
    """In words that a picture is of another size than the annotations say; None where it is not."""
    if picture.size == annotated:
        return None
    return f"is {picture.width}×{picture.height}, and the annotations say {annotated[0]}×{annotated[1]}"

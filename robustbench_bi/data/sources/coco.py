"""Pictures with annotations in COCO's layout: COCO itself, and whatever is labelled like it."""

from __future__ import annotations

from pathlib import Path

from robustbench_bi.data.annotated import AnnotatedPictures
from robustbench_bi.data.containers.folders import expand_user
from robustbench_bi.data.dataset import Dataset, Split
from robustbench_bi.data.labels.coco_json import read_annotations
from robustbench_bi.data.objects import Annotations
from robustbench_bi.errors import DataError

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
    return AnnotatedPictures(path, annotations, _folder_of(file, annotations)).dataset()


def _folder_of(file: Path, annotations: Annotations) -> Path | DataError:
    """The folder in which the first picture is; or the error that there is none."""
    first = next(iter(annotations.files.values()))
    named = file.stem.removeprefix("instances_")
    places = [file.parent, file.parent.parent / named, file.parent / named]
    found = next((place for place in places if (place / first).is_file()), None)
    shown = ", ".join(str(place) for place in places)
    return found or DataError(f"{first} of {file} is in none of {shown}; name its folder with --images-root")

"""Pictures with annotations in PASCAL VOC's layout; its rules stand in `robustbench_bi.data.labels.voc_xml`."""

from __future__ import annotations

from pathlib import Path

from robustbench_bi.data.annotated import AnnotatedPictures
from robustbench_bi.data.containers.folders import expand_user
from robustbench_bi.data.dataset import Dataset, Split
from robustbench_bi.data.labels.voc_xml import read_annotations, read_list
from robustbench_bi.errors import DataError

_LISTS = {"evaluation": "val.txt", "training": "train.txt"}


def open_voc(path: str, *, split: Split = "evaluation", classes: Path | None = None) -> Dataset:
    """Open a year's folder, or one of its lists.

    Args:
        path: the folder that holds Annotations, JPEGImages and ImageSets/Main (VOCdevkit/VOC2012), of which val.txt is
            taken, and train.txt for training; or a list in ImageSets/Main, such as VOC2007's test.txt, which is taken
            for either.
        split: "evaluation" or "training".
        classes: none; the classes are VOC's twenty.

    Raises:
        DataError: the list or an annotation cannot be read, or is inconsistent.
    """
    given = expand_user(path)
    file = given / "ImageSets" / "Main" / _LISTS[split] if given.is_dir() else given
    if not file.is_file():
        expected = "the folder of a year, with ImageSets/Main/val.txt, or a list in ImageSets/Main"
        raise DataError(f"there is no {file}; expected {expected}")
    root = given if given.is_dir() else file.absolute().parent.parent.parent
    annotations = read_annotations(root / "Annotations", read_list(file), least_side=1.0 if split == "training" else 0)
    pictures = root / "JPEGImages"
    first = next(iter(annotations.files.values()))
    found = pictures if (pictures / first).is_file() else DataError(f"there is no {pictures / first}")
    return AnnotatedPictures(f"voc:{path}", annotations, found).dataset()

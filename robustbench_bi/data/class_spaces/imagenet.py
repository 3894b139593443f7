"""ImageNet's 1000 classes: wnids, numbers and labels."""

from __future__ import annotations

from functools import cache
from importlib.resources import files


def class_names(known: dict[str, tuple[int, str]]) -> tuple[str, ...]:
    """The label of each class number; a number without a folder is its own label.

    Where all entries agree with ImageNet's numbers, the classes are ImageNet's 1000, under the names it gives them;
    but a list of folders alone states all classes there are, also where these are ImageNet's first.
    """
    imagenet = imagenet_classes()
    listed = len(known) < len(imagenet) and all(folder == label for folder, (_, label) in known.items())
    if not listed and all(
        folder in imagenet and imagenet[folder][0] == number for folder, (number, _) in known.items()
    ):
        known = imagenet
    labels = dict(known.values())
    return tuple(labels.get(number, str(number)) for number in range(max(labels) + 1))


@cache
def imagenet_classes() -> dict[str, tuple[int, str]]:
    """ImageNet's 1000 wnids -> (class number, label), in class order."""
    text = files("robustbench_bi.data.class_spaces").joinpath("imagenet_classes.tsv").read_text(encoding="utf-8")
    rows = (line.split("\t") for line in text.splitlines())
    return {wnid: (int(number), label) for number, wnid, label in rows}

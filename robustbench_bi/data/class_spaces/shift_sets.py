"""The classes of published sets that hold only some of ImageNet's: ImageNet-A, ImageNet-R and ObjectNet."""

from __future__ import annotations

from functools import cache
from importlib.resources import files

from robustbench_bi.data.class_spaces.imagenet import imagenet_classes

WITH_SOME_CLASSES = {"imagenet-a": "ImageNet-A", "imagenet-r": "ImageNet-R"}


@cache
def classes_of(source: str) -> tuple[int, ...]:
    """The class numbers of ImageNet-A or ImageNet-R, increasing.

    Example:
        >>> len(classes_of("imagenet-a")), classes_of("imagenet-r")[:3]
        (200, (1, 2, 4))
    """
    known = imagenet_classes()
    return tuple(sorted(known[wnid][0] for wnid in _lines(f"{source.replace('-', '_')}.txt")))


@cache
def objectnet_folders() -> dict[str, tuple[int, ...]]:
    """ObjectNet's folders that are among ImageNet's classes -> the numbers of these classes, which no two share.

    Example:
        >>> objectnet_folders()["alarm_clock"], len(objectnet_folders())
        ((409, 530), 113)
    """
    rows = (line.split("\t") for line in _lines("objectnet.tsv"))
    return {folder: tuple(int(number) for number in numbers.split(",")) for folder, numbers in rows}


def look_alike(labels: set[int]) -> str | None:
    """The source whose classes are exactly these of ImageNet's; None where there is none."""
    return next((source for source in WITH_SOME_CLASSES if labels == set(classes_of(source))), None)


def _lines(name: str) -> list[str]:
    text = files("robustbench_bi.data.class_spaces").joinpath(name).read_text(encoding="utf-8")
    return [line for line in text.splitlines() if not line.startswith("#")]

"""The names of other libraries' networks, read from their files: importing them would take seconds to mend a typo."""

from __future__ import annotations

import re
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from robustbench_bi.ground.registry import closest
from robustbench_bi.models.sources import MODEL_SOURCES

# How timm and torchvision list a network that a function builds.
_LISTED = re.compile(r"^@register_model\b[^\n]*\n(?:(?!def |class )[^\n]*\n)*def (\w+)\(", re.MULTILINE)

_PUBLISHED = re.compile(r"^    ([A-Z]\w*) = (?:Weights\(|[A-Z])", re.MULTILINE)


@cache
def library_names(library: str) -> frozenset[str]:
    """The networks that an installed library lists; none where it is not installed or lists them in another way.

    Example:
        >>> "shufflenet_v2_x0_5" in library_names("torchvision")
        True
        >>> library_names("no_such_library")
        frozenset()
    """
    return frozenset(name for text in library_texts(library) for name in _LISTED.findall(text))


@cache
def torchvision_detectors() -> frozenset[str]:
    """The detectors that the installed torchvision lists.

    Example:
        >>> "ssd300_vgg16" in torchvision_detectors(), "vgg16" in torchvision_detectors()
        (True, False)
    """
    texts = library_texts("torchvision", "models/detection/*.py")
    return frozenset(name for text in texts for name in _LISTED.findall(text))


@cache
def published_weights() -> frozenset[str]:
    """The names of weights that torchvision publishes for any of its networks; none where it names them otherwise.

    Example:
        >>> "IMAGENET1K_V2" in published_weights()
        True
    """
    texts = library_texts("torchvision", "models/**/*.py")
    return frozenset(name for text in texts for name in _PUBLISHED.findall(text))


@cache
def library_texts(library: str, files: str = "models/*.py") -> tuple[str, ...]:
    """The files in which an installed library defines its networks; none where it is not installed."""
    spec = find_spec(library)
    folders = [Path(folder) for folder in (spec and spec.submodule_search_locations) or ()]
    return tuple(file.read_text(encoding="utf-8") for folder in folders for file in folder.glob(files))


def listed_elsewhere(name: str, near: bool = False) -> list[str]:
    """How a name is typed that another library lists.

    Args:
        name: without a source.
        near: whether the nearest name will do.

    Example:
        >>> listed_elsewhere("shufflenet_v2_x0_5"), listed_elsewhere("shufflenet_v2_x05", near=True)
        (['torchvision:shufflenet_v2_x0_5'], ['torchvision:shufflenet_v2_x0_5'])
    """
    known = {row.name: library_names(row.name) for row in MODEL_SOURCES}
    if near:
        name = closest(name, sorted(frozenset().union(*known.values()))) or ""
    return [f"{library}:{name}" for library, names in known.items() if name in names]

"""Files of weights, told by their names; nothing is read, and no torch is loaded."""

from __future__ import annotations

import re
from pathlib import Path

from robustbench_bi.errors import WeightsError
from robustbench_bi.ground.registry import nearest
from robustbench_bi.models.sources.library_names import published_weights

WEIGHTS_SUFFIXES = (".safetensors", ".pth", ".pt", ".ckpt")
"""Of files of weights; what ends otherwise may be a file too, or a name of published ones."""


def is_file(weights: str | Path) -> bool:
    """Whether this names a file rather than published weights."""
    return isinstance(weights, Path) or weights.endswith(WEIGHTS_SUFFIXES) or Path(weights).is_file()


_PUBLISHED = re.compile(r"[A-Z]\w*")
TORCHVISION_NAME = {"resnet50": "resnet50", "resnet101": "resnet101", "resnext50": "resnext50_32x4d"}
"""Rows of ours that torchvision's published weights fit, and what it calls them."""
_WORDS = ("pretrained", "none", "demo")


def check_weights_file(weights: str) -> None:
    """Refuse what is neither a file that is there nor may be the name of published weights.

    Raises:
        WeightsError: it is so.

    Example:
        >>> check_weights_file("absent.pth")
        Traceback (most recent call last):
        ...
        robustbench_bi.errors.WeightsError: there is no weights file absent.pth
    """
    if weights.endswith(WEIGHTS_SUFFIXES) and not Path(weights).is_file():
        raise WeightsError(f"there is no weights file {weights}")
    if weights in _WORDS or is_file(weights):
        return
    if not _PUBLISHED.fullmatch(weights):
        raise WeightsError(
            f"unknown weights {weights!r}; expected a file ({', '.join(WEIGHTS_SUFFIXES)}), {', '.join(_WORDS)}, or a "
            "torchvision weights name such as IMAGENET1K_V2"
        )
    if (known := published_weights()) and weights not in known:
        raise WeightsError(f"unknown weights {weights!r}. {nearest(weights, sorted(known))}")

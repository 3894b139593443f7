"""Names of detectors and of classifiers, told apart without importing their libraries: each is for another command."""

from __future__ import annotations

from robustbench_bi.errors import UnknownNameError
from robustbench_bi.ground.registry import unknown_name
from robustbench_bi.models.detectors import DETECTORS
from robustbench_bi.models.sources import split_name
from robustbench_bi.models.sources.library_names import library_names, listed_elsewhere, torchvision_detectors


def check_is_no_detector(name: str) -> None:
    """Refuse a detector where a classifier is asked for.

    Raises:
        UnknownNameError: it is a row of `DETECTORS`, or torchvision lists it among its detectors.

    Example:
        >>> check_is_no_detector("resnet50")
        >>> check_is_no_detector("torchvision:ssd300_vgg16")  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        ...
        robustbench_bi.errors.UnknownNameError: torchvision:ssd300_vgg16 is a detector, not a classifier; use...
    """
    there = name.removeprefix("torchvision:")
    typed = name if name in DETECTORS else f"torchvision:{there}" if there in torchvision_detectors() else None
    if typed is not None:
        raise UnknownNameError(
            f"{name} is a detector, not a classifier; use `bivo-robust detect --model {typed}`, or rb.detect in Python"
        )


def check_detector_name(name: str) -> None:
    """Refuse a name that cannot be a detector's; that it is there is known once it is built.

    Raises:
        UnknownNameError: it is a classifier's, or no table and no library lists it.

    Example:
        >>> check_detector_name("resnet50")
        Traceback (most recent call last):
        ...
        robustbench_bi.errors.UnknownNameError: resnet50 is a classifier, not a detector; use `bivo-robust eval \
--model resnet50`, or rb.evaluate in Python
    """
    found = split_name(name)
    if name in DETECTORS or (found is not None and found[0].name == "function"):
        return
    typed = _classifier(name)
    if typed is not None:
        raise UnknownNameError(
            f"{name} is a classifier, not a detector; use `bivo-robust eval --model {typed}`, or rb.evaluate in Python"
        )
    listed = torchvision_detectors()
    if found is None and name in listed:
        raise UnknownNameError(f"unknown detector {name!r}. Did you mean 'torchvision:{name}'?")
    if found is None:
        raise unknown_name("detector", name, DETECTORS.names)
    if listed and found[1] not in listed:
        raise unknown_name("torchvision detector", found[1], sorted(listed))


def _classifier(name: str) -> str | None:
    """How a classifier of that name is typed, whatever its source; None where there is none."""
    from robustbench_bi.models import MODELS, resolve

    found = split_name(resolve(name, {})[0])
    if found is None:
        return name if resolve(name, {})[0] in MODELS else next(iter(listed_elsewhere(name)), None)
    of_classifiers = found[0].name != "torchvision" or found[1] in library_names("torchvision")
    return name if of_classifiers else None

"""The options of our networks: what each family has, and whether a value is one that it takes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from robustbench_bi.errors import InputError
from robustbench_bi.ground.checks import is_integer, is_number
from robustbench_bi.ground.registry import nearest

if TYPE_CHECKING:
    from robustbench_bi.models import Model
    from robustbench_bi.models.detectors import DetectorRow

COMMON_OPTIONS: Mapping[str, Any] = {"width": 1.0, "stem": "imagenet", "input_size": 224}
"""`width` and `stem` are explained in `models/resnet.py`; `input_size` is the side of the images it is meant for."""

CIFAR_OPTIONS: Mapping[str, Any] = {"stem": "cifar", "input_size": 32}
"""Of the networks with three stages, over the options of their family."""

DDF_OPTIONS: Mapping[str, Any] = {**COMMON_OPTIONS, "combine": "mul"}

DC_PRESETS: Mapping[str, Mapping[str, Any]] = {
    "H1": {"kernel_size": 5, "reduction": None, "static_kernel": 1, "static_groups": None, "bias": False},
    "H2": {"kernel_size": 7, "reduction": 4, "static_kernel": 3, "static_groups": 16, "bias": True},
    "H0": {"kernel_size": 7, "reduction": 4, "static_kernel": 1, "static_groups": None, "bias": False},
}
"""Readings of BiNet (dc), whose code was never released.

H1 fits the paper's parameter and operation counts best. H2 fits nearly as well and leaves RedNet's involution as it is.
H0 is the literal reading, 0.6 to 1.2 million parameters short. An option given beside a preset overrides it.
"""

DC_OPTIONS: Mapping[str, Any] = {
    **COMMON_OPTIONS,
    "preset": "H1",
    **DC_PRESETS["H1"],
    "group_channels": 16,
    "sakg": True,
    "delta": 3,
    "sakg_dilation": 1,
    "fusion": "sum",
    "dual_branch": True,
}
"""Explained at `layers.bivolution_dc`."""

DC_CA_OPTIONS: Mapping[str, Any] = {
    **COMMON_OPTIONS,
    "kernel_size": 3,
    "combine": "mul",
    "sakg": True,
    "delta": 5,
    "sakg_dilation": 1,
    "fusion": "sum",
    "dual_branch": True,
    "static_kernel": 3,
    "static_groups": None,
    "static_bias": True,
}
"""Explained at `layers.bivolution_dc_ca`."""


def settle(
    row: Model, given: Mapping[str, Any], num_classes: int | None, stored: Mapping[str, Any]
) -> tuple[dict[str, Any], int]:
    """Options and number of classes: those given, else those the checkpoint states, else the row's own.

    Raises:
        InputError: an option is unknown, has a wrong value, or contradicts the checkpoint.
    """
    stated = stored.get("options", {})
    for name, value in (*stated.items(), *given.items()):
        check_option(row, name, value)
    if num_classes is not None and not _is_count(num_classes, least=0):
        raise InputError(
            f"num_classes must be a positive integer, or 0 to leave out the classifier, got {num_classes!r}"
        )
    wanted = given if num_classes is None else {**given, "num_classes": num_classes}
    known = {**stated, "num_classes": stored["num_classes"]} if "num_classes" in stored else stated
    for name, value in wanted.items():
        if name in known and known[name] != value:
            raise InputError(
                f"{name}={value!r} contradicts the checkpoint, which has {name}={known[name]!r}; leave it out"
            )
    preset = DC_PRESETS[given["preset"]] if "preset" in given else {}
    options = {**row.options, **preset, **stated, **given}
    options["width"] = float(options["width"])
    return options, int(known.get("num_classes", 1000)) if num_classes is None else num_classes


def check_option(row: Model | DetectorRow, name: str, value: object) -> None:
    """Refuse an option that the row does not have, or a value that is not of the kind of its default.

    Raises:
        InputError: it is one.
    """
    if name not in row.options:
        raise InputError(f"{row.name} has no option {name!r}. {nearest(name, row.options)}")
    default = row.options[name]
    if isinstance(default, bool):
        fits, expected = isinstance(value, bool), "True or False"
    elif isinstance(default, float):
        fits, expected = is_number(value), "a number"
    elif isinstance(default, int):
        fits, expected = _is_count(value), "a positive integer"
    elif default is None:
        fits, expected = value is None or _is_count(value), "a positive integer or None"
    else:
        fits, expected = isinstance(value, str), "a name"
    if name == "preset":
        fits, expected = value in tuple(DC_PRESETS), f"one of {', '.join(DC_PRESETS)}"
    if not fits:
        raise InputError(f"{name} must be {expected}, got {value!r}")


def _is_count(value: object, least: int = 1) -> bool:
    return is_integer(value) and value >= least  # type: ignore[operator]

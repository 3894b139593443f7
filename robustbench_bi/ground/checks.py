"""Checks of settings: a value that is out of range is refused in one line that says what was expected and what came."""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Sequence

from robustbench_bi.errors import InputError
from robustbench_bi.ground.sizes import Shape, pair

SMALLEST_SIDE = 32
"""Of a picture that networks see, in pixels."""
LARGEST_SIDE = 4096
"""Likewise: more than any published network takes, and a batch of 64 such pictures is already 13 GB of floats."""
LARGEST_SEED = 2**64 - 1


def is_integer(value: object) -> bool:
    """Whether a value is an integer; True and False are none."""
    return isinstance(value, int) and not isinstance(value, bool)


def is_number(value: object) -> bool:
    """Whether a value is an integer or a float; True and False are neither."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def plain_integer(value: object) -> object:
    """An integer of NumPy or torch as Python's own; anything else as it came, for the check that follows.

    Example:
        >>> import numpy as np
        >>> plain_integer(np.int64(3)), plain_integer(3.0), plain_integer(True)
        (3, 3.0, True)
    """
    # Old versions of NumPy took its truth values for integers.
    if isinstance(value, bool) or str(getattr(value, "dtype", None)) in ("bool", "torch.bool"):
        return value
    try:
        return operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        return value


def check_integer(name: str, value: object, least: int, most: int | None = None) -> int:
    """Refuse what is no integer from `least` to `most`.

    Args:
        name: of the setting, for the message.
        value: the value.
        least: the smallest that is accepted.
        most: the largest; None where there is no bound.

    Raises:
        InputError: the value is something else.

    Example:
        >>> check_integer("limit", 0, 1)
        Traceback (most recent call last):
        ...
        robustbench_bi.errors.InputError: limit must be an integer of at least 1, got 0
    """
    if not is_integer(value) or value < least or (most is not None and value > most):  # type: ignore[operator]
        bounds = f"an integer of at least {least}" if most is None else f"an integer from {least} to {most}"
        raise InputError(f"{name} must be {bounds}, got {value!r}")
    return value  # type: ignore[return-value]


def check_side(name: str, value: object) -> int:
    """Refuse what is no side of a picture, in pixels; NumPy's and torch's integers are taken as well.

    Args:
        name: of the setting, for the message.
        value: the value.

    Raises:
        InputError: it is no integer from `SMALLEST_SIDE` to `LARGEST_SIDE`.

    Example:
        >>> check_side("input_size", 31)
        Traceback (most recent call last):
        ...
        robustbench_bi.errors.InputError: input_size must be an integer from 32 to 4096, got 31
    """
    return check_integer(name, plain_integer(value), SMALLEST_SIDE, LARGEST_SIDE)


def check_channels(name: str, values: Sequence[float], given: object) -> None:
    """Refuse what is not a number from 0 to 1 for each of three channels.

    Args:
        name: of the setting, for the message.
        values: the numbers.
        given: what came, for the message.

    Raises:
        InputError: they are others.
    """
    if len(values) != 3 or not all(0 <= value <= 1 for value in values):
        raise InputError(f"{name} must be three numbers from 0 to 1 (pixels are scaled to [0, 1]), got {given!r}")


def check_number(name: str, value: object, *, above: float, below: float = math.inf) -> float:
    """Refuse what is no number between two bounds.

    Args:
        name: of the setting, for the message.
        value: the value.
        above, below: the bounds, which are themselves refused.

    Raises:
        InputError: the value is something else.

    Example:
        >>> check_number("norm", -1, above=0)
        Traceback (most recent call last):
        ...
        robustbench_bi.errors.InputError: norm must be a number above 0, got -1
    """
    if not is_number(value) or not above < value < below:  # type: ignore[operator]
        bounds = f"above {above:g}" if below == math.inf else f"between {above:g} and {below:g}"
        raise InputError(f"{name} must be a number {bounds}, got {value!r}")
    return value  # type: ignore[return-value]


def check_std(values: Sequence[float]) -> None:
    """Refuse standard deviations of channels of which one is 0.

    Raises:
        InputError: one is.
    """
    if 0.0 in values:
        raise InputError(f"std must be three numbers above 0, got {values}")


def check_resize(input_size: int | Shape, resize_size: int | Shape, crop_mode: str | None) -> None:
    """Refuse a resize to less than the crop that follows, but where what is lacking is filled.

    Raises:
        InputError: the crop does not fit.
    """
    smaller = any(own < least for own, least in zip(pair(resize_size), pair(input_size), strict=True))
    if smaller and crop_mode not in ("border", "padded"):
        raise InputError(
            f"resize_size must be at least input_size: a crop of {input_size} pixels does not fit into an image "
            f"resized to {resize_size}"
        )


def check_quality(value: object, most: int, expected: str) -> int:
    """A JPEG quality, as a number or as it was typed.

    Args:
        value: the quality.
        most: the highest that is accepted.
        expected: what else is, for the message.

    Raises:
        InputError: it is no quality from 1 to `most`.

    Example:
        >>> check_quality("85", 100, " or 'none'")
        85
    """
    text = "" if isinstance(value, bool) else str(value)
    if not re.fullmatch(r"[0-9]+", text) or not 1 <= int(text) <= most:
        raise InputError(f"jpeg must be a quality from 1 to {most}{expected}, got {value!r}")
    return int(text)


def check_seed(seed: object) -> int:
    """Refuse what is no seed.

    Raises:
        InputError: it is no integer from 0 to 2**64 - 1.
    """
    if not is_integer(seed) or not 0 <= seed <= LARGEST_SEED:  # type: ignore[operator]
        raise InputError(f"seed must be an integer from 0 to 2**64 - 1, got {seed!r}")
    return seed  # type: ignore[return-value]

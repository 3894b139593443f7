"""The interface of the package `imagecorruptions` (bethgelab), on our corruptions.

`from robustbench_bi.imagecorruptions import corrupt, get_corruption_names` in place of
`from imagecorruptions import corrupt, get_corruption_names` is the only line to change. Constants and the variants of
snow, frost, elastic_transform and pixelate are that package's (`table="imagecorruptions"`).

Its random numbers come from NumPy's global generator, and so does the key of ours: a call draws one number there, so
calls differ, and `numpy.random.seed` makes them repeat, here as there. The pixels for a seed are not that package's,
which draws each pixel's noise from that generator.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from robustbench_bi.corruptions import CORRUPTIONS, SUITES
from robustbench_bi.errors import BivoRobustError, InputError, UnknownNameError
from robustbench_bi.ground.checks import SMALLEST_SIDE
from robustbench_bi.ground.registry import nearest

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["corrupt", "get_corruption_names"]

_NAMES = SUITES["all"].corruptions
_SUBSETS = {"common": "imagenet-c", "validation": "extra"}
_PLAIN = ("all", "noise", "blur", "weather", "digital")


class _AttributeError(InputError, AttributeError):
    """What that package raises for an image or a severity that it does not take."""


class _KeyError(UnknownNameError, KeyError):
    """What it raises for an unknown name. A KeyError would show its message in quotes."""

    __str__ = BivoRobustError.__str__


class _IndexError(UnknownNameError, IndexError):
    """What it raises for a number without a corruption."""


def corrupt(
    image: NDArray[np.uint8], severity: int = 1, corruption_name: str | None = None, corruption_number: int = -1
) -> NDArray[np.uint8]:
    """Corrupt a picture, with the arguments of `imagecorruptions.corrupt`.

    Args:
        image: uint8 (H, W, 3), or grey (H, W) or (H, W, 1), with sides of at least 32 pixels.
        severity: 1 to 5.
        corruption_name: one of `get_corruption_names("all")`; if given, the number is ignored.
        corruption_number: its place there, from 0; below -1 counted from the end, as there.

    Returns:
        uint8 (H, W, 3), also for a grey picture.

    Raises:
        AttributeError: the image or the severity is something else.
        KeyError: no such name.
        IndexError: no such number.
        ValueError: neither a name nor a number.
        All are `BivoRobustError`s as well.

    Example:
        >>> import numpy as np
        >>> grey = np.full((40, 48), 100, dtype=np.uint8)
        >>> corrupt(grey, severity=1, corruption_name="brightness").max()
        np.uint8(125)
        >>> np.array_equal(corrupt(grey, 2, corruption_number=9), corrupt(grey, 2, "fog"))
        False
    """
    import numpy as np

    from robustbench_bi.corruptions.apply import corrupt as apply

    picture = _as_colour(image)
    severity = _severity(severity)
    name = _name(corruption_name, corruption_number)
    # The package leaves the generator alone where a corruption is not random.
    key = int(np.random.randint(2**63, dtype=np.int64)) if CORRUPTIONS[name].random else 0  # noqa: NPY002, the caller's
    return apply(picture, name, severity, ids=[key], table="imagecorruptions")


def get_corruption_names(subset: str = "common") -> list[str]:
    """Return names of corruptions, as `imagecorruptions.get_corruption_names`.

    Args:
        subset: "common" (15), "validation" (4), "all" (19), "noise", "blur", "weather" or "digital".

    Raises:
        ValueError: another subset.

    Example:
        >>> get_corruption_names("validation")
        ['speckle_noise', 'gaussian_blur', 'spatter', 'saturate']
    """
    known = (*_SUBSETS, *_PLAIN)
    if subset not in known:
        raise InputError(f"subset must be one of {', '.join(known)}, got {subset!r}")
    return list(SUITES[_SUBSETS.get(subset, subset)].corruptions)


def _as_colour(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    import numpy as np

    if not isinstance(image, np.ndarray):
        raise _AttributeError(f"image must be a numpy array, got {type(image).__name__}; give np.asarray(image)")
    if image.dtype != np.uint8:
        raise _AttributeError(f"image must be uint8 (0 to 255), got {image.dtype}; scale and round it first")
    if image.ndim not in (2, 3) or (image.ndim == 3 and image.shape[2] not in (1, 3)):
        raise _AttributeError(f"image must have the shape (H, W), (H, W, 1) or (H, W, 3), got {image.shape}")
    if min(image.shape[:2]) < SMALLEST_SIDE:
        size = "×".join(map(str, image.shape[:2]))
        raise _AttributeError(f"image must be at least {SMALLEST_SIDE} pixels high and wide, got {size}")
    grey = image.ndim == 2 or image.shape[2] == 1
    return np.stack([image.reshape(image.shape[:2])] * 3, axis=-1) if grey else image


def _severity(severity: object) -> int:
    from robustbench_bi.corruptions.apply import check_severity

    try:
        return check_severity(severity)
    except InputError as error:
        raise _AttributeError(str(error)) from None


def _name(name: str | None, number: int) -> str:
    if name is not None:
        if name not in _NAMES:
            raise _KeyError(f"unknown corruption {name!r}. {nearest(str(name), _NAMES)}")
        return name
    if number == -1:
        raise InputError("corruption_name or corruption_number must be given, got neither")
    if not -len(_NAMES) <= number < len(_NAMES):
        raise _IndexError(f"corruption_number must be an integer from 0 to {len(_NAMES) - 1}, got {number!r}")
    return _NAMES[number]

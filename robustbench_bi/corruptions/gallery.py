"""What every corruption does to one photograph."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from robustbench_bi.corruptions import CORRUPTIONS
from robustbench_bi.corruptions.apply import corrupt

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray


def sample_photograph(side: int = 224) -> NDArray[np.uint8]:
    """Return a photograph of a cat, which ships with scikit-image: uint8 (side, side, 3).

    Example:
        >>> sample_photograph().shape
        (224, 224, 3)
    """
    import skimage.data

    picture = Image.fromarray(skimage.data.cat())
    left = (picture.width - picture.height) // 2
    box = (left, 0, left + picture.height, picture.height)
    return np.array(picture.resize((side, side), Image.Resampling.BILINEAR, box=box))


def gallery(
    photograph: NDArray[np.uint8],
    names: Sequence[str] = CORRUPTIONS.names,
    *,
    seed: int = 0,
    table: str = "auto",
) -> dict[str, NDArray[np.uint8]]:
    """Apply corruptions to a photograph at the five severities.

    Args:
        photograph: uint8 (H, W, 3), with sides of at least 32 pixels.
        names: rows of `CORRUPTIONS`.
        seed: as for `corrupt`; all severities share it.
        table: the severity constants.

    Returns:
        For each name, uint8 (5, H, W, 3).

    Raises:
        UnknownNameError, InputError: as `corrupt`.

    Example:
        >>> pictures = gallery(sample_photograph(64), ["fog", "contrast"])
        >>> pictures["fog"].shape
        (5, 64, 64, 3)
    """
    return {
        name: np.stack([corrupt(photograph, name, severity, seed=seed, table=table) for severity in range(1, 6)])
        for name in names
    }

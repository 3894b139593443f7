"""Sizes of images, and the names of the ways in which they are brought to one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

Shape = tuple[int, int]
"""Height and width."""

CROP_MODES = ("center", "squash", "border", "padded")
"""timm's names but for the last. "center" resizes the short side; "squash" both sides, whatever the proportion;
"border" the long side, and fills what is left with the mean colour. Then each takes the centre. "padded" is "center" of
a picture that is resized to less than the crop, and stands in black: it has a name so that nobody gets it by a typo."""

INTERPOLATIONS = ("nearest", "box", "bilinear", "hamming", "bicubic", "lanczos")
"""PIL's names, always antialiased."""

CUT_AS = ("torchvision", "transformers", "transformers-fast")
"""Whose resize and crop are followed: torchvision's on PIL images, which are timm's too; those of the slow image
processors of transformers, which round the place of an odd crop down; or those of its fast ones, which resize tensors
by torchvision, with other bytes than PIL's."""


def pair(size: int | Shape) -> Shape:
    """Height and width of a size, which is a side where both are equal.

    Example:
        >>> pair(64), pair((96, 64))
        ((64, 64), (96, 64))
    """
    return (size, size) if isinstance(size, int) else size


def in_pixels(size: int | Sequence[int]) -> str:
    """A size in words.

    Example:
        >>> in_pixels(64), in_pixels([96, 64])
        ('64 px', '96×64 px (height × width)')
    """
    return f"{size} px" if isinstance(size, int) else f"{size[0]}×{size[1]} px (height × width)"


def size_of(size: Any) -> Any:
    """A side, or (height, width) where these differ; from a side, a pair, or (channels, height, width).

    Example:
        >>> size_of(64), size_of((3, 64, 64)), size_of((96, 64))
        (64, 64, (96, 64))
    """
    if not isinstance(size, Sequence) or not size:
        return size
    height, width = (*size, *size)[-2:]
    return width if height == width else (height, width)


def proportional(size: int | Shape, resized: int | Shape, wanted: int | Shape) -> int | Shape:
    """What `wanted` pixels are resized from, where `size` pixels are resized from `resized`.

    Example:
        >>> proportional(224, 256, 112), proportional((200, 100), (400, 200), (100, 60))
        (128, (200, 120))
    """
    triple = zip(pair(size), pair(resized), pair(wanted), strict=True)
    height, width = (round(new * before / own) for own, before, new in triple)
    return height if height == width else (height, width)

"""The images that people hold, as the batch that kernels want, and back again."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar, cast

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from robustbench_bi.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

Images = TypeVar("Images", Tensor, "NDArray[np.uint8]", Image.Image)

SMALLEST_SIDE = 32


def as_batch(images: Tensor | NDArray[np.uint8] | Image.Image) -> Tensor:
    """Images as contiguous uint8 (B, 3, H, W).

    Where the channels stand is read from the shape. A shape that fits both ways is refused, not guessed.

    Args:
        images: uint8 RGB: an image of Pillow's, or an array or tensor (H, W, 3), (3, H, W), (B, H, W, 3) or
            (B, 3, H, W).

    Returns:
        A tensor that already is such a batch itself; anything else is copied.

    Raises:
        InputError: they are something else, or their sides are below 32 pixels.

    Example:
        >>> as_batch(np.zeros((3, 40, 50), dtype=np.uint8)).shape, as_batch(Image.new("RGB", (50, 40))).shape
        (torch.Size([1, 3, 40, 50]), torch.Size([1, 3, 40, 50]))
        >>> as_batch(np.zeros((3, 40, 3), dtype=np.uint8))
        Traceback (most recent call last):
        ...
        robustbench_bi.errors.InputError: shape (3, 40, 3) is ambiguous: channels could be first or last; pass \
(H, W, 3) or (3, H, W) with sides of at least 32 pixels
    """
    if isinstance(images, Image.Image):
        if images.mode != "RGB":
            raise InputError(f'a Pillow image must be RGB, got mode {images.mode}; pass image.convert("RGB")')
        images = cast("NDArray[np.uint8]", np.asarray(images))
    if not isinstance(images, Tensor | np.ndarray):
        raise InputError(
            "images must be a Pillow image, a torch tensor or a NumPy array, got "
            f"{type(images).__name__}{_advice(images)}"
        )
    if images.dtype not in (torch.uint8, np.uint8):
        raise InputError(f"images must be uint8 (0 to 255), got {images.dtype}; scale and round them first")
    if isinstance(images, Tensor) and (images.is_meta or images.layout != torch.strided):
        kind = "meta tensor" if images.is_meta else f"tensor with layout {images.layout}"
        raise InputError(f"images must be a dense tensor with values, got a {kind}")
    last = _channels_last(tuple(images.shape))
    height, width = images.shape[-3:-1] if last else images.shape[-2:]
    if min(height, width) < SMALLEST_SIDE:
        raise InputError(f"images must be at least {SMALLEST_SIDE} pixels high and wide, got {height}×{width}")
    if isinstance(images, Tensor):
        tensor = images.movedim(-1, -3) if last else images
    else:
        # Copied, since torch takes neither negative strides nor memory that must not be written to.
        tensor = torch.from_numpy((np.moveaxis(images, -1, -3) if last else images).copy())
    return (tensor if tensor.ndim == 4 else tensor[None]).contiguous()


def as_given(batch: Tensor, images: Images) -> Images:
    """A batch uint8 (B, 3, H, W) as the kind and shape of the images that were given."""
    if isinstance(images, Image.Image):
        return Image.fromarray(np.ascontiguousarray(batch[0].permute(1, 2, 0).numpy()))
    tensor = batch if images.ndim == 4 else batch[0]
    if _channels_last(tuple(images.shape)):
        tensor = tensor.movedim(-3, -1)
    return tensor.contiguous() if isinstance(images, Tensor) else np.ascontiguousarray(tensor.numpy())


def _advice(images: object) -> str:
    pictures = Image.Image | Tensor | np.ndarray
    several = isinstance(images, list | tuple) and all(isinstance(one, pictures) for one in images)
    return "; stack several images of one size with np.stack(images)" if several else ""


def _channels_last(shape: tuple[int, ...]) -> bool:
    """Whether the three channels are the last axis; else they stand before height and width.

    Raises:
        InputError: neither holds, or both do.
    """
    first, last = (len(shape) in (3, 4) and shape[place] == 3 for place in (-3, -1))
    if first and last:
        raise InputError(
            f"shape {shape} is ambiguous: channels could be first or last; pass (H, W, 3) or (3, H, W) with "
            f"sides of at least {SMALLEST_SIDE} pixels"
        )
    if not first and not last:
        raise InputError(
            "images must have shape (3, H, W) or (B, 3, H, W), or with channels last shape (H, W, 3) or (B, H, W, 3), "
            f"got {shape}"
        )
    return last

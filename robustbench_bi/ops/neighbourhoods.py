"""What operators over the K×K neighbourhood of a pixel share: their taps, the border of the image, the order in memory.

Beyond its border an image is zero, or it is mirrored about its outermost pixels ("reflect"), as often as it takes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from robustbench_bi.errors import InputError

PADDINGS = ("zeros", "reflect")

Index = tuple[slice, slice, slice]
"""Which images, rows and columns."""


def is_looked_into() -> bool:
    """Whether ONNX, `torch.func` or forward-mode differentiation runs: they know torch's own operators only."""
    forward_mode: bool = torch.autograd.forward_ad._current_level >= 0
    return torch.onnx.is_in_onnx_export() or forward_mode or torch._C._are_functorch_transforms_active()


def check_padding(padding: object) -> None:
    """Refuse what is none of `PADDINGS`.

    Raises:
        InputError: it is something else.
    """
    if padding not in PADDINGS:
        raise InputError(f"padding must be {' or '.join(map(repr, PADDINGS))}, got {padding!r}")


def check_tensors(named: Mapping[str, Tensor]) -> None:
    """Refuse what is no floating tensor of four dimensions, or lies on another device than the first.

    Raises:
        InputError: one of them is.
    """
    first = next(iter(named))
    for name, tensor in named.items():
        if not isinstance(tensor, Tensor) or tensor.dim() != 4 or not tensor.is_floating_point():
            came = f"{tensor.dtype} {tuple(tensor.shape)}" if isinstance(tensor, Tensor) else type(tensor).__name__
            raise InputError(f"{name} must be a 4-dimensional floating-point tensor, got {came}")
        device = named[first].device
        if tensor.device != device:
            raise InputError(f"{name} must be on the same device as {first}, {device}, got {tensor.device}")


def memory_format(x: Tensor) -> torch.memory_format:
    """The memory format of what is made of `x`: channels last where `x` is so, else contiguous."""
    last = x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous()
    return torch.channels_last if last else torch.contiguous_format


def summable(tensor: Tensor) -> Tensor:
    """The tensor in float32, if it is narrower."""
    return tensor.float() if tensor.dtype in (torch.float16, torch.bfloat16) else tensor


def grouped(x: Tensor, groups: int) -> Tensor:
    """(B, C, H, W) as (B, H, W, G, C/G), summable."""
    batch, channels, height, width = x.shape
    return summable(x).permute(0, 2, 3, 1).contiguous().view(batch, height, width, groups, channels // groups)


def like(values: Tensor, x: Tensor) -> Tensor:
    """(B, H, W, G, C/G) as (B, C, H, W), of the dtype and memory format of `x`."""
    return values.flatten(3).permute(0, 3, 1, 2).to(x.dtype).contiguous(memory_format=memory_format(x))


def taps_first(spatial: Tensor, kernel_size: int) -> Tensor:
    """(B, G·K·K, H, W) as (K·K, B, H, W, G, 1), summable."""
    batch, filters, height, width = spatial.shape
    taps = kernel_size**2
    by_tap = summable(spatial).reshape(batch, filters // taps, taps, height, width).permute(2, 0, 3, 4, 1)
    return by_tap.contiguous().unsqueeze(-1)


def taps_last(by_tap: Tensor, spatial: Tensor) -> Tensor:
    """The reverse of `taps_first`, of the shape and dtype of `spatial`."""
    return by_tap.squeeze(-1).permute(1, 4, 0, 2, 3).reshape(spatial.shape).to(spatial.dtype)


def overlaps(
    image: torch.Size, output: torch.Size, kernel_size: int, stride: int, dilation: int, border: int = 0
) -> Iterator[tuple[int, Index, Index]]:
    """For each tap that meets the image: its number, the positions where it does, and the pixels it meets there.

    Args:
        image: the shape of (B, H, W, …), with its border.
        output: the shape of (B, Ho, Wo, …).
        kernel_size: K.
        stride: step between positions.
        dilation: step between taps.
        border: how many pixels were put around the image.
    """
    reach = kernel_size // 2 * dilation
    offsets = range(border - reach, border + reach + 1, dilation)
    rows = [_overlap(image[1], output[1], offset, stride) for offset in offsets]
    columns = [_overlap(image[2], output[2], offset, stride) for offset in offsets]
    everything = slice(None)
    for tap in range(kernel_size**2):
        row, column = rows[tap // kernel_size], columns[tap % kernel_size]
        if row is not None and column is not None:
            yield tap, (everything, row[0], column[0]), (everything, row[1], column[1])


def _overlap(pixels: int, positions: int, offset: int, stride: int) -> tuple[slice, slice] | None:
    """Along one axis: the positions i for which the pixel stride·i + offset exists, and those pixels."""
    first = max(0, -(offset // stride))
    end = min(positions, (pixels - 1 - offset) // stride + 1)
    if first >= end:
        return None
    start = stride * first + offset
    return slice(first, end), slice(start, start + stride * (end - first - 1) + 1, stride)


def border_of(kernel_size: int, dilation: int, padding: str) -> int:
    """How many pixels have to be put around an image, so that its taps meet what is not zero."""
    return kernel_size // 2 * dilation if padding == "reflect" else 0


def reflected(positions: NDArray[np.int64], length: int) -> NDArray[np.int64]:
    """The pixels of an axis that positions inside and outside it stand for.

    Example:
        >>> reflected(np.arange(-4, 6), 3).tolist()
        [0, 1, 2, 1, 0, 1, 2, 1, 0, 1]
    """
    if length == 1:
        return np.zeros_like(positions)
    period = 2 * (length - 1)
    folded = np.abs(positions) % period
    nearest: NDArray[np.int64] = np.minimum(folded, period - folded)
    return nearest


def with_border(x: Tensor, border: int, axes: tuple[int, int]) -> Tensor:
    """Mirror two axes of an image beyond both ends.

    Example:
        >>> with_border(torch.tensor([[1, 2, 3]]), 2, (0, 1))[0].tolist()
        [3, 2, 1, 2, 3, 2, 1]
    """
    for axis in axes if border else ():
        length = x.shape[axis]
        pixels = reflected(np.arange(-border, length + border), length)
        x = x.index_select(axis, torch.from_numpy(pixels).to(x.device))
    return x


def without_border(x: Tensor, border: int, axes: tuple[int, int]) -> Tensor:
    """The transpose of `with_border`: add what lies outside to the pixels that it mirrors, always in one order.

    Example:
        >>> without_border(torch.ones(5, 7), 2, (0, 1)).tolist()
        [[10.0, 15.0, 10.0]]
    """
    for axis in axes if border else ():
        length = x.shape[axis] - 2 * border
        inside = x.narrow(axis, border, length).clone()
        outside = [*range(-border, 0), *range(length, length + border)]
        for position, pixel in zip(outside, reflected(np.array(outside), length).tolist(), strict=True):
            inside.select(axis, pixel).add_(x.select(axis, position + border))
        x = inside
    return x


def shifted(x: Tensor, kernel_size: int, stride: int, dilation: int, padding: str) -> Tensor:
    """(B·C, 1, H, W) as (B·C, K·K, Ho, Wo), by operations that every runtime has: tap t is the image moved by t."""
    taps, reach = kernel_size**2, kernel_size // 2 * dilation
    moves = torch.eye(taps, dtype=x.dtype, device=x.device).reshape(taps, 1, kernel_size, kernel_size)
    if padding == "reflect":
        x = mirrored(x, reach)
    return F.conv2d(x, moves, None, stride, 0 if padding == "reflect" else reach, dilation)


def mirrored(x: Tensor, border: int) -> Tensor:
    """`with_border` for (B, C, H, W), by operations that can be differentiated and that every runtime has.

    Example:
        >>> mirrored(torch.tensor([[[[1.0, 2.0, 3.0]]]]), 1)[0, 0, 0].tolist()
        [2.0, 1.0, 2.0, 3.0, 2.0]
    """
    for axis in (2, 3):
        left = border
        while left:
            # torch's reflection reaches no further than the other end.
            step = min(left, max(1, x.shape[axis] - 1))
            mode = "reflect" if x.shape[axis] > 1 else "replicate"
            x = F.pad(x, (0, 0, step, step) if axis == 2 else (step, step, 0, 0), mode)
            left -= step
    return x

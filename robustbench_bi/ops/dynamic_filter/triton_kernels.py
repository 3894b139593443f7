"""The operator on the GPU: no tap of it ever lies in memory, sums are made in float32 and rounded once.

Nothing is added atomically: the same arguments give the same bits. How the programs work, and why, stands in
`device_triton_kernels`; here they are launched.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
from torch import Tensor
from torch.nn import functional as F

from robustbench_bi.errors import BackendUnavailableError
from robustbench_bi.ops.dynamic_filter import device_triton_kernels as device
from robustbench_bi.ops.neighbourhoods import border_of, memory_format, with_border, without_border

Filters = tuple[int, int, int, str]
"""Kernel size, stride, dilation, and how the two filters become one: "mul", "add", or "alone" where one is missing."""


def forward(
    x: Tensor,
    spatial: Tensor,
    channel: Tensor | None,
    kernel_size: int,
    stride: int,
    dilation: int,
    combine: str,
    padding: str = "zeros",
) -> Tensor:
    """Twin of `reference.forward` for float32, float16 and bfloat16, which may be mixed, and at least one pixel.

    Where a value of `channel` is not finite, neither is any result of that channel; the reference keeps those of the
    sides, where the tap does not meet the image.

    Raises:
        BackendUnavailableError: a tensor is of another dtype, or has 2**31 elements for one image.
    """
    if border := positions_around(kernel_size, stride, dilation, padding):
        mirrored = with_border(x, border * stride, (2, 3)), with_zeros(spatial, border, x, stride), channel
        return cut(forward(*mirrored, kernel_size, stride, dilation, combine), border, spatial)
    check(x, spatial, channel)
    order = memory_format(x)
    x, spatial, channel = x.contiguous(memory_format=order), _dense(spatial), _contiguous(channel)
    filters = (kernel_size, stride, dilation, "alone" if channel is None else combine)
    shape = (*x.shape[:2], *spatial.shape[2:])
    output = torch.empty(shape, dtype=x.dtype, device=x.device, memory_format=order)
    sizes, constants, grid = _geometry(x, spatial, filters)
    with torch.cuda.device_of(x):  # type: ignore[no-untyped-call]
        device.filter_image[grid](x, spatial, channel, output, *sizes, **constants)
    return output


def backward(
    gradient: Tensor,
    x: Tensor,
    spatial: Tensor,
    channel: Tensor | None,
    kernel_size: int,
    stride: int,
    dilation: int,
    combine: str,
    padding: str = "zeros",
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Twin of `reference.backward`, for what `forward` takes."""
    if border := positions_around(kernel_size, stride, dilation, padding):
        given = with_border(x, border * stride, (2, 3)), with_zeros(spatial, border, x, stride), channel
        errors = with_zeros(gradient, border, x, stride)
        to_x, to_spatial, to_channel = backward(errors, *given, kernel_size, stride, dilation, combine)
        to_x = without_border(to_x, border * stride, (2, 3)).contiguous(memory_format=memory_format(x))
        return to_x, cut(to_spatial, border, spatial), to_channel
    check(gradient, x, spatial, channel)
    order = memory_format(x)
    gradient, x = gradient.contiguous(memory_format=order), x.contiguous(memory_format=order)
    spatial, channel = _dense(spatial), _contiguous(channel)
    filters = (kernel_size, stride, dilation, "alone" if channel is None else combine)
    with torch.cuda.device_of(x):  # type: ignore[no-untyped-call]
        to_x = backward_to_x(gradient, x, spatial, channel, filters)
        to_spatial = backward_to_spatial(gradient, x, spatial, channel, filters)
        to_channel = None if channel is None else _backward_to_channel(gradient, x, spatial, channel, filters)
    return to_x, to_spatial, to_channel


def backward_to_x(gradient: Tensor, x: Tensor, spatial: Tensor, channel: Tensor | None, filters: Filters) -> Tensor:
    """The gradient of `x`, for tensors that are checked and dense."""
    sizes, constants, grid = _geometry(x, spatial, filters)
    to_x, stride = torch.empty_like(x), filters[1]
    # Pixels a stride apart are read through the same taps. A program has one such phase of the columns; that of the
    # rows is a constant of the kernel.
    for phase in range(stride):
        device.filter_to_x[(*grid, stride)](gradient, spatial, channel, to_x, *sizes, PHASE=phase, **constants)
    return to_x


def backward_to_spatial(
    gradient: Tensor, x: Tensor, spatial: Tensor, channel: Tensor | None, filters: Filters
) -> Tensor:
    """The gradient of `spatial`, of which only dtype, shape and device are looked at."""
    sizes, constants, grid = _geometry(x, spatial, filters)
    if not constants["LAST"]:
        # Warps side by side: each has all channels of its columns, and adds them up without the others.
        constants["num_warps"] = max(1, constants["COLUMNS"] // 32)
    # One sum for each block of channels, as a program holds no more.
    blocks = x.shape[1] // (spatial.shape[1] // filters[0] ** 2) // constants["CHANNELS"]
    dtype = spatial.dtype if blocks == 1 else torch.float32
    sums = torch.empty(len(x), blocks, *spatial.shape[1:], dtype=dtype, device=x.device)
    device.filter_to_spatial[grid](gradient, x, channel, sums, *sizes, **constants)
    return sums[:, 0] if blocks == 1 else sums.sum(1).to(spatial.dtype)


def _backward_to_channel(gradient: Tensor, x: Tensor, spatial: Tensor, channel: Tensor, filters: Filters) -> Tensor:
    sizes, constants, (_, blocks) = _geometry(x, spatial, filters)
    # One sum for each strip of rows, short enough to stay in the nearest cache while tap after tap goes over it.
    strips = triton.cdiv(spatial.shape[2], device.STRIP.value)
    sums = torch.empty(len(x), strips, *channel.shape[1:], dtype=torch.float32, device=x.device)
    device.filter_to_channel[(len(x) * strips, blocks)](gradient, x, spatial, sums, *sizes, **constants)
    return sums.sum(1).to(channel.dtype)


def positions_around(kernel_size: int, stride: int, dilation: int, padding: str) -> int:
    """How many positions to compute around those that are wanted, so that no tap of these leaves a mirrored image.

    The kernels know zeros outside only. So the image gets its border, and the filters there are zeros.
    """
    return -(-border_of(kernel_size, dilation, padding) // stride)


def with_zeros(tensor: Tensor, border: int, x: Tensor, stride: int) -> Tensor:
    """(B, …, Ho, Wo) with zeros at the positions that the border of `x` adds."""
    bottom, right = (
        -(-(side + 2 * border * stride) // stride) - border - positions
        for side, positions in zip(x.shape[2:], tensor.shape[2:], strict=True)
    )
    padded = F.pad(tensor, (border, right, border, bottom))
    return padded.contiguous(memory_format=memory_format(tensor))


def cut(tensor: Tensor, border: int, like: Tensor) -> Tensor:
    """The positions without their border, of which `like` has the number."""
    (height, width), order = like.shape[2:], memory_format(tensor)
    return tensor[:, :, border : border + height, border : border + width].contiguous(memory_format=order)


def check(*tensors: Tensor | None) -> None:
    """Refuse tensors that the kernels cannot take.

    Raises:
        BackendUnavailableError: a tensor is of another dtype, or has 2**31 elements for one image.
    """
    for tensor in tensors:
        if tensor is not None and tensor.dtype not in (torch.float32, torch.float16, torch.bfloat16):
            raise BackendUnavailableError(
                f"the Triton kernels of dynamic_filter take float32, float16 and bfloat16, got {tensor.dtype}; "
                "use backend='reference'"
            )
        if tensor is not None and tensor[:1].numel() >= 2**31:
            raise BackendUnavailableError(
                "the Triton kernels of dynamic_filter take images and filters of fewer than 2**31 elements each, got "
                f"{tuple(tensor.shape[1:])}; use backend='reference'"
            )


def _dense(spatial: Tensor) -> Tensor:
    return spatial if spatial.is_contiguous(memory_format=torch.channels_last) else spatial.contiguous()


def _contiguous(channel: Tensor | None) -> Tensor | None:
    return None if channel is None else channel.contiguous()


def _geometry(x: Tensor, spatial: Tensor, filters: Filters) -> tuple[tuple[int, ...], dict[str, Any], tuple[int, int]]:
    """The sizes, the constants and the grid of a program for (B, C, H, W) and (B, G·K·K, Ho, Wo).

    A row of a tile has at most 1024 elements, 8 for each thread of 4 warps: one load of 16 bytes in 16-bit types, and
    with four rows of sums about as much as fits in the registers. Channels-last it has up to 64 channels, whole lines
    of 128 bytes, and 16 columns. Else it has up to 16 channels of one group, which share a load of the filter, and 64
    columns. Few channels leave room for more columns.
    """
    kernel_size, stride, dilation, combine = filters
    channels, height, width = x.shape[1:]
    groups = spatial.shape[1] // kernel_size**2
    shared = channels // groups
    last = not x.is_contiguous()
    # The largest power of two that divides them, up to a limit.
    block = min(64 if last else 16, shared & -shared)
    several = min(64 // block, groups & -groups) if last else 1
    across = min(1024 // (block * several), triton.next_power_of_2(spatial.shape[3]))
    tiles = triton.cdiv(spatial.shape[2], device.ROWS.value) * triton.cdiv(spatial.shape[3], across)
    constants = {
        "KERNEL": kernel_size,
        "STRIDE": stride,
        "DILATION": dilation,
        "COMBINE": combine,
        "LAST": last,
        "SPATIAL_LAST": not spatial.is_contiguous(),
        "GROUPS": several,
        "CHANNELS": block,
        "COLUMNS": across,
        "num_warps": max(1, block * several * across // 256),
        # As Triton does unless told, but then it warns that this will change.
        "enable_fp_fusion": True,
    }
    return (groups, shared, height, width), constants, (len(x) * tiles, channels // (block * several))

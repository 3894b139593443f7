"""Filtering with a filter of its own for every position: one operator for involution, DDF-mul and DDF-add."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from robustbench_bi.errors import BackendUnavailableError, InputError
from robustbench_bi.ops.dynamic_filter import reference
from robustbench_bi.registry import unknown_name

BACKENDS = ("reference", "numba", "triton")


def dynamic_filter(
    x: Tensor,
    spatial: Tensor,
    channel: Tensor | None = None,
    *,
    kernel_size: int,
    stride: int = 1,
    dilation: int = 1,
    combine: str = "mul",
    backend: str | None = None,
) -> Tensor:
    """Filter an image with weights that differ from position to position.

    With g = c // (C/G) the group of channel c, s the stride, d the dilation, and zeros outside the image,

        y[b, c, i, j] = Σ_{u,v} w[b, c, u, v, i, j] · x[b, c, s·i + (u - K//2)·d, s·j + (v - K//2)·d]

    where w is spatial[b, g·K² + u·K + v, i, j] alone, or that times ("mul") or plus ("add") channel[b, c, u, v].
    Without a channel filter this is involution (Li et al., CVPR 2021); with one and G = 1 it is the decoupled dynamic
    filter (Zhou et al., CVPR 2021). Where we differ: the published operators round Ho down (DDF) or disagree
    with their own filter's size (involution) on odd sides; here Ho = ceil(H / stride). Sums are made in float32
    when the inputs are narrower.

    Args:
        x: (B, C, H, W), floating.
        spatial: (B, G·K·K, Ho, Wo), floating; G divides C, and C/G consecutive channels share a filter.
        channel: (B, C, K, K), floating, or None.
        kernel_size: K, odd.
        stride: step between the positions that are computed; Ho = ceil(H / stride), Wo = ceil(W / stride).
        dilation: step between taps.
        combine: "mul" or "add", how the two filters become one; without a channel filter it has no effect.
        backend: "reference", "numba" or "triton"; None chooses. A backend that is named runs or raises.

    Returns:
        (B, C, Ho, Wo), of the dtype and on the device of `x`.

    Raises:
        InputError: an argument or a shape does not fit.
        BackendUnavailableError: the backend that is named cannot run here.
        UnknownNameError: there is no backend of that name.

    Example:
        A filter that is 1 at its centre tap returns the image.

        >>> import torch
        >>> x = torch.arange(16.0).reshape(1, 1, 4, 4)
        >>> centre = torch.zeros(1, 9, 4, 4)
        >>> centre[:, 4] = 1
        >>> torch.equal(dynamic_filter(x, centre, kernel_size=3), x)
        True
    """
    _check_backend(backend)
    _check_numbers(kernel_size, stride, dilation, combine)
    _check_shapes(x, spatial, channel, kernel_size, stride)
    dtype = torch.promote_types(x.dtype, spatial.dtype)
    if channel is not None:
        dtype = torch.promote_types(dtype, channel.dtype)
    if dtype in (torch.float16, torch.bfloat16):
        dtype = torch.float32
    channel = None if channel is None else channel.to(dtype)
    output: Tensor = _DynamicFilter.apply(
        x.to(dtype), spatial.to(dtype), channel, kernel_size, stride, dilation, combine
    )
    return output.to(x.dtype)


class _DynamicFilter(torch.autograd.Function):
    """Autograd's own backward would keep every tap of the loop; this one keeps the arguments and loops again."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, spatial: Tensor, channel: Tensor | None, *geometry: Any) -> Tensor:
        ctx.save_for_backward(x, spatial, channel)
        ctx.geometry = geometry
        return reference.forward(x, spatial, channel, *geometry)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        gradients = reference.backward(gradient, *ctx.saved_tensors, *ctx.geometry)
        return *gradients, None, None, None, None


def _check_backend(backend: str | None) -> None:
    if backend is None or backend == "reference":
        return
    if backend in BACKENDS:
        raise BackendUnavailableError(
            f"dynamic_filter has no {backend!r} kernels in this version; use backend='reference' or None"
        )
    raise unknown_name("dynamic_filter backend", backend, BACKENDS)


def _check_numbers(kernel_size: int, stride: int, dilation: int, combine: str) -> None:
    for name, value in (("kernel_size", kernel_size), ("stride", stride), ("dilation", dilation)):
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise InputError(f"{name} must be a positive integer, got {value!r}")
    if kernel_size % 2 == 0:
        raise InputError(f"kernel_size must be odd, so that the filter has a centre, got {kernel_size}")
    if combine not in ("mul", "add"):
        raise InputError(f"combine must be 'mul' or 'add', got {combine!r}")


def _check_shapes(x: Tensor, spatial: Tensor, channel: Tensor | None, kernel_size: int, stride: int) -> None:
    named = {"x": x, "spatial": spatial} | ({} if channel is None else {"channel": channel})
    for name, tensor in named.items():
        if not isinstance(tensor, Tensor) or tensor.dim() != 4 or not tensor.is_floating_point():
            came = f"{tensor.dtype} {tuple(tensor.shape)}" if isinstance(tensor, Tensor) else type(tensor).__name__
            raise InputError(f"{name} must be a floating tensor of 4 dimensions, got {came}")
        if tensor.device != x.device:
            raise InputError(f"{name} must be on the device of x, {x.device}, got {tensor.device}")
    batch, channels, height, width = x.shape
    taps, size = kernel_size**2, (-(-height // stride), -(-width // stride))
    groups = spatial.shape[1] // taps
    if spatial.shape[0] != batch or groups < 1 or spatial.shape[1] % taps or tuple(spatial.shape[2:]) != size:
        raise InputError(
            f"spatial must be (B, G·K·K, Ho, Wo) = ({batch}, G·{taps}, {size[0]}, {size[1]}) for x "
            f"{tuple(x.shape)}, kernel_size {kernel_size} and stride {stride}, got {tuple(spatial.shape)}"
        )
    if channels % groups:
        raise InputError(f"spatial holds filters for {groups} groups, which must divide the {channels} channels of x")
    if channel is not None and tuple(channel.shape) != (batch, channels, kernel_size, kernel_size):
        raise InputError(
            f"channel must be (B, C, K, K) = {(batch, channels, kernel_size, kernel_size)}, got {tuple(channel.shape)}"
        )

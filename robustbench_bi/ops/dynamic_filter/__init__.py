"""Filtering with a filter of its own for every position: one operator for involution, DDF-mul and DDF-add.

It is torch's operator `robustbench_bi::dynamic_filter`, so that `torch.compile` and `torch.export` take it as a whole.
"""

from typing import Any

import torch
from torch import Tensor

from robustbench_bi.errors import BackendUnavailableError, InputError
from robustbench_bi.ground.checks import is_integer
from robustbench_bi.ops.backends import choose_backend, load
from robustbench_bi.ops.dynamic_filter import reference
from robustbench_bi.ops.neighbourhoods import check_padding, check_tensors, is_looked_into, memory_format

MODULES = {
    "reference": f"{__name__}.reference",
    "numba": f"{__name__}.numba_kernels",
    "triton": f"{__name__}.triton_kernels",
}


def dynamic_filter(
    x: Tensor,
    spatial: Tensor,
    channel: Tensor | None = None,
    *,
    kernel_size: int,
    stride: int = 1,
    dilation: int = 1,
    combine: str = "mul",
    padding: str = "zeros",
    backend: str | None = None,
) -> Tensor:
    """Filter an image with weights that differ from position to position.

    With g = c // (C/G) the group of channel c, s the stride, d the dilation, and zeros outside the image,

        y[b, c, i, j] = Σ_{u,v} w[b, c, u, v, i, j] · x[b, c, s·i + (u - K//2)·d, s·j + (v - K//2)·d]

    where w is spatial[b, g·K² + u·K + v, i, j] alone, or that times ("mul") or plus ("add") channel[b, c, u, v].
    Without a channel filter this is involution (Li et al., CVPR 2021); with one and G = 1 it is the decoupled dynamic
    filter (Zhou et al., CVPR 2021). Where we differ: the published operators round Ho down (DDF) or disagree
    with their own filter's size (involution) on odd sides; here Ho = ceil(H / stride).

    Sums are made in float32 when the inputs are narrower, in float64 when one is float64. Arguments of several types
    are brought to the widest, under autocast too, which lowers none of them. All three have gradients; a gradient
    cannot be differentiated again. No tensor of all taps is made. Only ONNX, `torch.func` and forward-mode
    differentiation, to which this operator is closed, get torch's own in its place, where no backend is named: these
    hold all K·K taps, and can be differentiated any number of times.

    The result has the memory format of `x`. On a CPU channels last is the faster one: forward 0.5 to 3.0 ms, backward
    1.0 to 13 ms at seven shapes of the networks here (float32, batch 8, two threads). That is 14 to 107 and 6 to 46
    times as fast as unfold, multiply and sum; with channels first it is 10 to 75 and 3 to 28
    (`benchmarks/results/ops.csv`).

    Args:
        x: (B, C, H, W), floating.
        spatial: (B, G·K·K, Ho, Wo), floating; G divides C, and C/G consecutive channels share a filter.
        channel: (B, C, K, K), floating, or None.
        kernel_size: K, odd.
        stride: step between the positions that are computed; Ho = ceil(H / stride), Wo = ceil(W / stride).
        dilation: step between taps.
        combine: "mul" or "add", how the two filters become one; without a channel filter it has no effect.
        padding: "zeros" outside the image, or "reflect": the image mirrored about its outermost pixels, as in SAN.
        backend: a row of `robustbench_bi.ops.backends.BACKENDS`; None is the fastest that can run: compiled kernels on
            the CPU, which take a few seconds to compile when they are first used, Triton kernels on CUDA, plain torch
            for float64 and elsewhere. A backend that is named runs or raises.

    Returns:
        (B, C, Ho, Wo), of the dtype and on the device of `x`.

    Raises:
        InputError: an argument or a shape does not fit.
        BackendUnavailableError: the backend that is named cannot run here, or not with float64.
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
    _check_numbers(kernel_size, stride, dilation, combine)
    check_padding(padding)
    _check_shapes(x, spatial, channel, kernel_size, stride)
    dtype = torch.promote_types(x.dtype, spatial.dtype)
    if channel is not None:
        dtype = torch.promote_types(dtype, channel.dtype)
        channel = channel.to(dtype)
    arguments = x.to(dtype), spatial.to(dtype), channel, kernel_size, stride, dilation, combine
    plain = backend is None and is_looked_into()
    output: Tensor = reference.unrolled(*arguments, padding) if plain else OPERATOR(*arguments, backend, padding)
    return output.to(x.dtype)


def _check_numbers(kernel_size: int, stride: int, dilation: int, combine: str) -> None:
    for name, value in (("kernel_size", kernel_size), ("stride", stride), ("dilation", dilation)):
        if not is_integer(value) or value < 1:
            raise InputError(f"{name} must be a positive integer, got {value!r}")
    if kernel_size % 2 == 0:
        raise InputError(f"kernel_size must be odd so that the filter has a centre, got {kernel_size}")
    if combine not in ("mul", "add"):
        raise InputError(f"combine must be 'mul' or 'add', got {combine!r}")


def _check_shapes(x: Tensor, spatial: Tensor, channel: Tensor | None, kernel_size: int, stride: int) -> None:
    check_tensors({"x": x, "spatial": spatial} | ({} if channel is None else {"channel": channel}))
    batch, channels, height, width = x.shape
    taps, size = kernel_size**2, ((height - 1) // stride + 1, (width - 1) // stride + 1)
    groups = spatial.shape[1] // taps
    if spatial.shape[0] != batch or groups < 1 or spatial.shape[1] % taps or tuple(spatial.shape[2:]) != size:
        raise InputError(
            f"spatial must be (B, G·K·K, Ho, Wo) = ({batch}, G·{taps}, {size[0]}, {size[1]}) for x "
            f"{tuple(x.shape)}, kernel_size {kernel_size} and stride {stride}, got {tuple(spatial.shape)}"
        )
    if channels % groups:
        raise InputError(
            f"the number of filter groups in spatial must divide the {channels} channels of x, got {groups}"
        )
    if channel is not None and tuple(channel.shape) != (batch, channels, kernel_size, kernel_size):
        raise InputError(
            f"channel must be (B, C, K, K) = {(batch, channels, kernel_size, kernel_size)}, got {tuple(channel.shape)}"
        )


# An operator made by torch.library.custom_op loads all of torch.compile when it is first called, more than a second.
_NAME = "robustbench_bi::dynamic_filter"
_ARGUMENTS = (
    "Tensor x, Tensor spatial, Tensor? channel, int kernel_size, int stride, int dilation, str combine, str? backend, "
    "str padding='zeros'"
)
_TAGS = (torch.Tag.pt2_compliant_tag,)
torch.library.define(_NAME, f"({_ARGUMENTS}) -> Tensor", tags=_TAGS)
torch.library.define(f"{_NAME}_backward", f"(Tensor gradient, {_ARGUMENTS}) -> (Tensor, Tensor, Tensor)", tags=_TAGS)
OPERATOR = torch.ops.robustbench_bi.dynamic_filter
"""What `torch.compile` and counters of operations see."""


@torch.library.impl(_NAME, "default")
def _filter(
    x: Tensor,
    spatial: Tensor,
    channel: Tensor | None,
    kernel_size: int,
    stride: int,
    dilation: int,
    combine: str,
    backend: str | None,
    padding: str = "zeros",
) -> Tensor:
    """`dynamic_filter` for arguments that are checked and of one dtype."""
    chosen = _choose(backend, x)
    function = load(MODULES, chosen, "forward") if x.numel() else _unfilled_output
    output: Tensor = function(x, spatial, channel, kernel_size, stride, dilation, combine, padding)
    return output.contiguous(memory_format=memory_format(x))


@torch.library.impl(f"{_NAME}_backward", "default")
def _gradients(
    gradient: Tensor,
    x: Tensor,
    spatial: Tensor,
    channel: Tensor | None,
    kernel_size: int,
    stride: int,
    dilation: int,
    combine: str,
    backend: str | None,
    padding: str = "zeros",
) -> tuple[Tensor, Tensor, Tensor]:
    """The gradients for `x`, `spatial` and `channel`; without a channel filter, the third is an empty tensor."""
    function = load(MODULES, _choose(backend, x), "backward")
    if not x.numel():
        to_x, to_spatial, to_channel = _unfilled_gradients(gradient, x, spatial, channel)
        return to_x, to_spatial.zero_(), to_channel.zero_()
    results = function(gradient, x, spatial, channel, kernel_size, stride, dilation, combine, padding)
    to_x, to_spatial, to_channel = (
        x.new_empty(0) if tensor is None else result.contiguous(memory_format=memory_format(tensor))
        for result, tensor in zip(results, (x, spatial, channel), strict=True)
    )
    return to_x, to_spatial, to_channel


@torch.library.register_fake(_NAME)
def _unfilled_output(x: Tensor, spatial: Tensor, *_: Any) -> Tensor:
    shape = (*x.shape[:2], *spatial.shape[2:])
    return torch.empty(shape, dtype=x.dtype, device=x.device, memory_format=memory_format(x))


@torch.library.register_fake(f"{_NAME}_backward")
def _unfilled_gradients(
    gradient: Tensor, x: Tensor, spatial: Tensor, channel: Tensor | None, *_: Any
) -> tuple[Tensor, Tensor, Tensor]:
    to_x, to_spatial, to_channel = (
        x.new_empty(0)
        if tensor is None
        else torch.empty(tensor.shape, dtype=x.dtype, device=x.device, memory_format=memory_format(tensor))
        for tensor in (x, spatial, channel)
    )
    return to_x, to_spatial, to_channel


def _save(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs[:3])
    ctx.options = inputs[3:]


def _backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
    x, spatial, channel = ctx.saved_tensors
    gradients = torch.ops.robustbench_bi.dynamic_filter_backward(gradient, x, spatial, channel, *ctx.options)
    to_x, to_spatial, to_channel = gradients
    return to_x, to_spatial, None if channel is None else to_channel, *(None for _ in ctx.options)


def _refuse(ctx: Any, *gradients: Tensor) -> None:
    raise InputError("dynamic_filter has no second derivatives; leave create_graph out")


torch.library.register_autograd(_NAME, _backward, setup_context=_save)
torch.library.register_autograd(f"{_NAME}_backward", _refuse)


def _choose(backend: str | None, x: Tensor) -> str:
    """The backend that is named, or the fastest that can run here and for this dtype."""
    chosen = choose_backend(backend, x.device, MODULES)
    if chosen == "reference" or x.dtype != torch.float64:
        return chosen
    if backend is None:
        return "reference"
    raise BackendUnavailableError(
        f"backend {backend!r} cannot run here: it computes in float32, but these tensors are {x.dtype}; "
        "leave the backend out to use the fastest available one"
    )

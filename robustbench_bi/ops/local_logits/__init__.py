"""The logits of local attention: how well the query of a pixel fits the keys of its neighbourhood.

It is torch's operator `robustbench_bi::local_logits`, so that `torch.compile` and `torch.export` take it as a whole.
"""

from typing import Any

import torch
from torch import Tensor

from robustbench_bi.errors import BackendUnavailableError, InputError
from robustbench_bi.ground.checks import check_integer
from robustbench_bi.ops.backends import choose_backend, load
from robustbench_bi.ops.local_logits import reference
from robustbench_bi.ops.neighbourhoods import check_padding, check_tensors, is_looked_into, memory_format

MODULES = {
    "reference": f"{__name__}.reference",
    "numba": f"{__name__}.numba_kernels",
    "triton": f"{__name__}.triton_kernels",
}


def local_logits(
    query: Tensor,
    key: Tensor,
    *,
    kernel_size: int,
    groups: int = 1,
    dilation: int = 1,
    padding: str = "zeros",
    backend: str | None = None,
) -> Tensor:
    """Multiply the query of each pixel by the keys of its K×K neighbourhood, head by head.

    With d the dilation, and keys of zero outside the image,

        y[b, g·K² + u·K + v, i, j] = Σ_c query[b, c, i, j] · key[b, c, i + (u - K//2)·d, j + (v - K//2)·d]

    over the C/G channels c of group g. Softmaxed over the taps of a group, they are the spatial filter that
    `dynamic_filter` aggregates values with: local attention as in Ramachandran et al. (NeurIPS 2019) and Hu et al.
    (ICCV 2019). Positions outside the image take part in that softmax, as in published code, with a logit of zero.

    Sums are made in float32 when the inputs are narrower, in float64 when one is float64. Arguments of two types are
    brought to the wider, under autocast too, which lowers neither. Both have gradients; a gradient cannot be
    differentiated again. No tensor of the keys of all taps is made. Only ONNX, `torch.func` and forward-mode
    differentiation, to which this operator is closed, get torch's own in its place, where no backend is named: these
    hold all K·K of them, and can be differentiated any number of times.

    The result has the memory format of `query`. On two CPU threads it takes a fifteenth of the time of unfold, multiply
    and sum, forward and backward, at (8, 64, 56, 56) with K = 7 and 8 heads (`benchmarks/results/ops.csv`).

    Args:
        query: (B, C, H, W), floating.
        key: (B, C, H, W), floating.
        kernel_size: K, odd.
        groups: G, which divides C; the heads of the attention.
        dilation: step between taps.
        padding: keys outside the image are "zeros", or "reflect" mirrors the image about its outermost pixels.
        backend: a row of `robustbench_bi.ops.backends.BACKENDS`; None is the fastest that can run: compiled kernels on
            the CPU, which take a few seconds to compile when they are first used, Triton kernels on CUDA, plain torch
            for float64 and elsewhere. A backend that is named runs or raises.

    Returns:
        (B, G·K·K, H, W), of the dtype and on the device of `query`.

    Raises:
        InputError: an argument or a shape does not fit.
        BackendUnavailableError: the backend that is named cannot run here, or not with float64.
        UnknownNameError: there is no backend of that name.

    Example:
        A query of one, and the neighbours of the first pixel; three of them are outside to the left.

        >>> import torch
        >>> key = torch.arange(1.0, 5.0).reshape(1, 1, 2, 2)
        >>> local_logits(torch.ones(1, 1, 2, 2), key, kernel_size=3)[0, :, 0, 0].tolist()
        [0.0, 0.0, 0.0, 0.0, 1.0, 2.0, 0.0, 3.0, 4.0]
    """
    _check(query, key, kernel_size, groups, dilation, padding)
    dtype = torch.promote_types(query.dtype, key.dtype)
    arguments = query.to(dtype), key.to(dtype), kernel_size, groups, dilation, padding
    plain = backend is None and is_looked_into()
    output: Tensor = reference.unrolled(*arguments) if plain else OPERATOR(*arguments, backend)
    return output.to(query.dtype)


def _check(query: Tensor, key: Tensor, kernel_size: int, groups: int, dilation: int, padding: str) -> None:
    for name, value in (("kernel_size", kernel_size), ("groups", groups), ("dilation", dilation)):
        check_integer(name, value, 1)
    if kernel_size % 2 == 0:
        raise InputError(f"kernel_size must be odd so that the neighbourhood has a centre, got {kernel_size}")
    check_padding(padding)
    check_tensors({"query": query, "key": key})
    if query.shape != key.shape:
        raise InputError(f"key must have the shape of query, {tuple(query.shape)}, got {tuple(key.shape)}")
    if query.shape[1] % groups:
        raise InputError(f"groups must divide the {query.shape[1]} channels of query, got {groups}")


# An operator made by torch.library.custom_op loads all of torch.compile when it is first called, more than a second.
_NAME = "robustbench_bi::local_logits"
_ARGUMENTS = "Tensor query, Tensor key, int kernel_size, int groups, int dilation, str padding, str? backend"
_TAGS = (torch.Tag.pt2_compliant_tag,)
torch.library.define(_NAME, f"({_ARGUMENTS}) -> Tensor", tags=_TAGS)
torch.library.define(f"{_NAME}_backward", f"(Tensor gradient, {_ARGUMENTS}) -> (Tensor, Tensor)", tags=_TAGS)
OPERATOR = torch.ops.robustbench_bi.local_logits
"""What `torch.compile` and counters of operations see."""


@torch.library.impl(_NAME, "default")
def _logits(
    query: Tensor, key: Tensor, kernel_size: int, groups: int, dilation: int, padding: str, backend: str | None
) -> Tensor:
    """`local_logits` for arguments that are checked and of one dtype."""
    if not query.numel():
        return torch.zeros(query.shape[0], groups * kernel_size**2, *query.shape[2:]).to(query)
    function = load(MODULES, _choose(backend, query), "forward")
    output: Tensor = function(query, key, kernel_size, groups, dilation, padding)
    return output.contiguous(memory_format=memory_format(query))


@torch.library.impl(f"{_NAME}_backward", "default")
def _gradients(
    gradient: Tensor,
    query: Tensor,
    key: Tensor,
    kernel_size: int,
    groups: int,
    dilation: int,
    padding: str,
    backend: str | None,
) -> tuple[Tensor, Tensor]:
    """The gradients for `query` and `key`."""
    if not query.numel():
        return torch.empty_like(query), torch.empty_like(key)
    function = load(MODULES, _choose(backend, query), "backward")
    to_query, to_key = function(gradient, query, key, kernel_size, groups, dilation, padding)
    return (
        to_query.contiguous(memory_format=memory_format(query)),
        to_key.contiguous(memory_format=memory_format(key)),
    )


@torch.library.register_fake(_NAME)
def _unfilled_output(query: Tensor, key: Tensor, kernel_size: int, groups: int, *_: Any) -> Tensor:
    shape = (query.shape[0], groups * kernel_size**2, *query.shape[2:])
    return torch.empty(shape, dtype=query.dtype, device=query.device, memory_format=memory_format(query))


@torch.library.register_fake(f"{_NAME}_backward")
def _unfilled_gradients(gradient: Tensor, query: Tensor, key: Tensor, *_: Any) -> tuple[Tensor, Tensor]:
    to_query, to_key = (
        torch.empty(tensor.shape, dtype=tensor.dtype, device=tensor.device, memory_format=memory_format(tensor))
        for tensor in (query, key)
    )
    return to_query, to_key


def _save(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs[:2])
    ctx.options = inputs[2:]


def _backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
    to_query, to_key = torch.ops.robustbench_bi.local_logits_backward(gradient, *ctx.saved_tensors, *ctx.options)
    return to_query, to_key, *(None for _ in ctx.options)


def _refuse(ctx: Any, *gradients: Tensor) -> None:
    raise InputError("local_logits has no second derivatives; leave create_graph out")


torch.library.register_autograd(_NAME, _backward, setup_context=_save)
torch.library.register_autograd(f"{_NAME}_backward", _refuse)


def _choose(backend: str | None, query: Tensor) -> str:
    """The backend that is named, or the fastest that can run here and for this dtype."""
    chosen = choose_backend(backend, query.device, MODULES)
    if chosen == "reference" or query.dtype != torch.float64:
        return chosen
    if backend is None:
        return "reference"
    raise BackendUnavailableError(
        f"backend {backend!r} cannot run here: it computes in float32, but these tensors are {query.dtype}; "
        "leave the backend out to use the fastest available one"
    )

"""The local logits on the GPU, by the programs of the dynamic filter.

The logits are the gradient of a spatial filter, whose image are the keys and whose errors are the queries. The gradient
of the queries filters the keys with the errors, and that of the keys goes back through this filter. So they share
kernels, and what is said of these there: nothing is added atomically, and sums are rounded once.
"""

from __future__ import annotations

import torch
from torch import Tensor

from robustbench_bi.ops.dynamic_filter import triton_kernels as dynamic_filter
from robustbench_bi.ops.neighbourhoods import memory_format, with_border, without_border


def forward(query: Tensor, key: Tensor, kernel_size: int, groups: int, dilation: int, padding: str) -> Tensor:
    """Twin of `reference.forward` for float32, float16 and bfloat16, and at least one pixel.

    Raises:
        BackendUnavailableError: a tensor is of another dtype, or has 2**31 elements for one image.
    """
    shape = (len(query), groups * kernel_size**2, *query.shape[2:])
    if border := dynamic_filter.positions_around(kernel_size, 1, dilation, padding):
        around = dynamic_filter.with_zeros(query, border, query, 1), with_border(key, border, (2, 3))
        logits = forward(*around, kernel_size, groups, dilation, "zeros")
        return dynamic_filter.cut(logits, border, query)
    dynamic_filter.check(query, key)
    order = memory_format(key)
    query, key = query.contiguous(memory_format=order), key.contiguous(memory_format=order)
    like = torch.empty(shape, dtype=query.dtype, device="meta")
    with torch.cuda.device_of(query):  # type: ignore[no-untyped-call]
        return dynamic_filter.backward_to_spatial(query, key, like, None, (kernel_size, 1, dilation, "alone"))


def backward(
    gradient: Tensor, query: Tensor, key: Tensor, kernel_size: int, groups: int, dilation: int, padding: str
) -> tuple[Tensor, Tensor]:
    """Twin of `reference.backward`, for what `forward` takes."""
    to_query = dynamic_filter.forward(key, gradient, None, kernel_size, 1, dilation, "mul", padding)
    return to_query, _backward_to_key(gradient, query, key, kernel_size, dilation, padding)


def _backward_to_key(
    gradient: Tensor, query: Tensor, key: Tensor, kernel_size: int, dilation: int, padding: str
) -> Tensor:
    if border := dynamic_filter.positions_around(kernel_size, 1, dilation, padding):
        errors, queries = (dynamic_filter.with_zeros(tensor, border, key, 1) for tensor in (gradient, query))
        around = _backward_to_key(errors, queries, with_border(key, border, (2, 3)), kernel_size, dilation, "zeros")
        return without_border(around, border, (2, 3))
    dynamic_filter.check(gradient, query, key)
    order = memory_format(key)
    query, key = query.contiguous(memory_format=order), key.contiguous(memory_format=order)
    if not gradient.is_contiguous(memory_format=torch.channels_last):
        gradient = gradient.contiguous()
    with torch.cuda.device_of(query):  # type: ignore[no-untyped-call]
        return dynamic_filter.backward_to_x(query, key, gradient, None, (kernel_size, 1, dilation, "alone"))

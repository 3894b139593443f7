"""The local logits on the CPU: arguments and results of the compiled loops in `loops_numba_kernels`.

The loops take float32, and bfloat16 as int16, in either memory format; float16, and views that are in neither, are
copied. Groups do not depend on each other, and threads take some of them in turn: their number changes no bit.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from robustbench_bi.ops.local_logits.loops_numba_kernels import Taps, multiply, multiply_back
from robustbench_bi.ops.neighbourhoods import memory_format, reflected
from robustbench_bi.ops.share_out import share_out

_UNIT = 2**17
"""How many logits a thread takes on at once, about."""

Steps = tuple[int, int]
"""How far the next channel and the next pixel lie."""


def forward(query: Tensor, key: Tensor, kernel_size: int, groups: int, dilation: int, padding: str) -> Tensor:
    """Twin of `reference.forward` for float32 and narrower types, and at least one pixel."""
    output = _like(query, (len(query), groups * kernel_size**2, *query.shape[2:]))
    arrays, steps = zip(*(_array(tensor) for tensor in (query, key, output)), strict=True)
    sizes = *query.shape[2:], query.shape[1] // groups, kernel_size, dilation
    call = functools.partial(multiply, *arrays, _taps(*query.shape[2:], kernel_size, dilation, padding), sizes, steps)
    share_out([functools.partial(call, unit) for unit in _units(output, groups)])
    return output.to(query.dtype)


def backward(
    gradient: Tensor, query: Tensor, key: Tensor, kernel_size: int, groups: int, dilation: int, padding: str
) -> tuple[Tensor, Tensor]:
    """Twin of `reference.backward` for float32 and narrower types, and at least one pixel."""
    to_query, to_key = _like(query, query.shape), _like(key, key.shape)
    (errors, error_steps), (queries, query_steps), (keys, key_steps) = map(_array, (gradient, query, key))
    sizes = *query.shape[2:], query.shape[1] // groups, kernel_size, dilation
    results = _array(to_query)[0], _array(to_key)[0]
    taps, steps = _taps(*query.shape[2:], kernel_size, dilation, padding), (query_steps, key_steps, error_steps)
    call = functools.partial(multiply_back, errors, queries, keys, *results, taps, sizes, steps)
    share_out([functools.partial(call, unit) for unit in _units(gradient, groups)])
    return to_query.to(query.dtype), to_key.to(key.dtype)


def _like(tensor: Tensor, shape: tuple[int, ...]) -> Tensor:
    """An unfilled tensor that a kernel can write, of the memory format of another."""
    dtype = torch.bfloat16 if tensor.dtype == torch.bfloat16 else torch.float32
    return torch.empty(shape, dtype=dtype, memory_format=memory_format(tensor))


def _array(tensor: Tensor) -> tuple[NDArray[Any], Steps]:
    """(B, C, H, W) as a kernel takes it, (B, C·H·W), the same memory where that is possible, and its steps."""
    tensor = tensor.detach()
    if tensor.dtype not in (torch.float32, torch.bfloat16):
        tensor = tensor.float()
    last = memory_format(tensor) == torch.channels_last
    ordered = tensor.permute(0, 2, 3, 1) if last else tensor.contiguous()
    bits = ordered.view(torch.int16) if tensor.dtype == torch.bfloat16 else ordered
    steps = (1, tensor.shape[1]) if last else (tensor.shape[2:].numel(), 1)
    return bits.numpy().reshape(len(tensor), tensor.shape[1:].numel()), steps


def _units(logits: Tensor, groups: int) -> list[tuple[int, int]]:
    """The groups that a thread takes on at once, counted through all images."""
    count = len(logits) * groups
    step = max(1, count * _UNIT // logits.numel())
    return [(first, min(first + step, count)) for first in range(0, count, step)]


@functools.lru_cache(maxsize=128)
def _taps(height: int, width: int, kernel_size: int, dilation: int, padding: str) -> Taps:
    """Where the taps of an image meet it."""
    reach = kernel_size // 2 * dilation
    rows = _met(np.arange(height)[:, None] + np.arange(-reach, reach + 1, dilation), height, padding)
    columns = _met(np.arange(-reach, width + reach), width, padding)
    position, tap = np.nonzero(rows >= 0)
    order = np.lexsort((tap, met := rows[position, tap]))
    counts = np.bincount(met, minlength=height)
    places = np.arange(len(order)) - np.repeat(np.cumsum(counts) - counts, counts)
    positions = np.zeros((height, counts.max(), 2), np.int64)
    positions[met[order], places] = np.stack([position, tap], axis=1)[order]
    return Taps(rows, columns, positions, counts)


def _met(places: NDArray[np.int64], length: int, padding: str) -> NDArray[np.int64]:
    """The pixel at each place; -1 for none."""
    if padding == "reflect":
        return reflected(places, length)
    return np.where((places >= 0) & (places < length), places, -1)

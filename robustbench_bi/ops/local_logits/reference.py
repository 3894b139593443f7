"""The definition of the operator, in plain torch: every kernel is held to `forward` and `backward`.

Both loop over the K·K taps as those of `dynamic_filter` do: the logits are the gradient of its spatial filter, and
their gradients are filters again.
"""

import torch
from torch import Tensor

from robustbench_bi.ops.neighbourhoods import (
    border_of,
    grouped,
    like,
    overlaps,
    shifted,
    summable,
    taps_first,
    with_border,
    without_border,
)


def forward(query: Tensor, key: Tensor, kernel_size: int, groups: int, dilation: int, padding: str) -> Tensor:
    """Multiply queries and keys. The arguments are those of `local_logits`, checked and of one floating dtype.

    Sums are made in float32 where that dtype is narrower, and rounded once.

    Returns:
        (B, G·K·K, H, W), of the arguments' dtype and of the memory format of `query`.
    """
    border = border_of(kernel_size, dilation, padding)
    queries, keys = grouped(query, groups), with_border(grouped(key, groups), border, (1, 2))
    logits = queries.new_zeros(*queries.shape[:4], kernel_size**2)
    for tap, positions, met in overlaps(keys.shape, queries.shape, kernel_size, 1, dilation, border):
        logits[(*positions, slice(None), tap)] = (queries[positions] * keys[met]).sum(-1)
    return like(logits, query)


def backward(
    gradient: Tensor, query: Tensor, key: Tensor, kernel_size: int, groups: int, dilation: int, padding: str
) -> tuple[Tensor, Tensor]:
    """The gradients of `forward` for `query` and `key`, given the gradient (B, G·K·K, H, W) of its output."""
    border = border_of(kernel_size, dilation, padding)
    queries, keys = grouped(query, groups), with_border(grouped(key, groups), border, (1, 2))
    errors = taps_first(gradient, kernel_size)
    to_queries, to_keys = torch.zeros_like(queries), torch.zeros_like(keys)
    for tap, positions, met in overlaps(keys.shape, queries.shape, kernel_size, 1, dilation, border):
        to_queries[positions].addcmul_(errors[tap][positions], keys[met])
        to_keys[met].addcmul_(errors[tap][positions], queries[positions])
    return like(to_queries, query), like(without_border(to_keys, border, (1, 2)), key)


def unrolled(query: Tensor, key: Tensor, kernel_size: int, groups: int, dilation: int, padding: str) -> Tensor:
    """`forward` in a few operations that every runtime has, for graphs that are exported. It holds all K·K taps."""
    batch, _, height, width = query.shape
    keys = shifted(summable(key).reshape(-1, 1, height, width), kernel_size, 1, dilation, padding)
    keys = keys.reshape(batch, groups, -1, kernel_size**2, height, width)
    queries = summable(query).reshape(batch, groups, -1, 1, height, width)
    return (queries * keys).sum(2).reshape(batch, groups * kernel_size**2, height, width).to(query.dtype)

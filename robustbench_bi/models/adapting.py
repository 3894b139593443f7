"""Batch norms that take part of their statistics from the batch they are asked about (Schneider et al. 2020).

With N images' worth of trust in the source, and n images in a batch, mean and variance are N/(N+n) of the source's and
n/(N+n) of the batch's. The variance of the batch is that over its own number of values, as batch norms have it in
training, so at N = 0 the network answers as in training mode. Each batch starts from the source: none sees another.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from robustbench_bi.errors import InputError
from robustbench_bi.models.folding import NORMS, kind_of


def adapted(network: nn.Module, source_count: int, batch_size: int, name: str) -> nn.Module:
    """A copy of a network whose batch norms adapt to each batch.

    Args:
        network: in evaluation mode; it stays as it is.
        source_count: N, from 0, which trusts the batch alone.
        batch_size: n, of every batch that it will be asked about.
        name: of the network, for messages.

    Raises:
        InputError: it has no batch norms with statistics, or cannot be copied.

    Example:
        >>> norm = adapted(nn.BatchNorm1d(1).eval(), 1, 3, "a norm")
        >>> [round(value, 4) for value in norm(torch.tensor([[3.0], [4.0], [5.0]])).flatten().tolist()]
        [0.0, 1.1547, 2.3094]
    """
    if not any(_has_statistics(module) for module in network.modules()):
        raise InputError(f"{name} has no batch norms to adapt; leave adapt out")
    try:
        copied = copy.deepcopy(network)
    except Exception as error:  # a user's module may refuse in any way
        raise InputError(f"{name} cannot adapt to batches because it cannot be copied: {error}") from error
    norms = [module for module in copied.modules() if _has_statistics(module)]
    for norm in norms:
        norm.register_forward_pre_hook(_Mixing(norm, batch_size / (source_count + batch_size)))
    return copied.requires_grad_(False)


class _Mixing:
    """Sets the statistics of a batch norm before each of its passes.

    Args:
        norm: with the statistics of the source.
        share: of the batch in the statistics, up to 1.
    """

    def __init__(self, norm: Any, share: float) -> None:
        self.mean, self.variance = norm.running_mean.clone(), norm.running_var.clone()
        self.share = share

    def __call__(self, norm: Any, inputs: tuple[Tensor, ...]) -> None:
        values = inputs[0].float()
        variance, mean = torch.var_mean(values, [0, *range(2, values.ndim)], correction=0)
        norm.running_mean.copy_(self.mean.lerp(mean.to(self.mean.dtype), self.share))
        norm.running_var.copy_(self.variance.lerp(variance.to(self.variance.dtype), self.share))


def _has_statistics(module: nn.Module) -> bool:
    known = isinstance(module, _BatchNorm) or kind_of(module) in NORMS
    return known and getattr(module, "running_var", None) is not None

"""CPU twins of the conversions in `variates`, each in one pass."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
import torch
from torch import Tensor

from robustbench_bi.corruptions.variates import greatest_below, normal_quantiles

_CPU = torch.device("cpu")


def uniform(words: Tensor, count: int, low: float, high: float) -> Tensor:
    """Twin of `variates.uniform`, bit for bit."""
    values = np.empty((len(words), count), np.float32)
    ends = np.float32(high - low), np.float32(low), np.float32(greatest_below(high))
    _scale(words.numpy().view(np.uint32), *ends, values)
    return torch.from_numpy(values)


@numba.njit(nogil=True, cache=True)
def _scale(words: Any, width: Any, low: Any, greatest: Any, values: Any) -> None:
    for number in range(len(values)):
        row, target = words[number], values[number]
        for place in range(len(target)):
            share = np.float32(row[place] >> np.uint32(8)) * np.float32(2.0**-24)
            target[place] = min(share * width + low, greatest)


def normal(words: Tensor, count: int) -> Tensor:
    """Twin of `variates.normal`, bit for bit."""
    values = np.empty((len(words), count), np.float32)
    _look_up(words.numpy().view(np.uint16), normal_quantiles(_CPU).numpy(), values)
    return torch.from_numpy(values)


@numba.njit(nogil=True, cache=True)
def _look_up(halves: Any, table: Any, values: Any) -> None:
    for number in range(len(values)):
        row, target = halves[number], values[number]
        for place in range(len(target)):
            target[place] = table[row[place]]


def integers(words: Tensor, count: int, low: int, high: int) -> Tensor:
    """Twin of `variates.integers`."""
    values = np.empty((len(words), count), np.int64)
    _fit(words.numpy().view(np.uint32), low, high - low, values)
    return torch.from_numpy(values)


@numba.njit(nogil=True, cache=True)
def _fit(words: Any, low: int, width: int, values: Any) -> None:
    for number in range(len(values)):
        row, target = words[number], values[number]
        for place in range(len(target)):
            target[place] = (np.int64(row[place]) * width >> 32) + low


def bits16(words: Tensor, count: int) -> Tensor:
    """Twin of `variates.bits16`."""
    return torch.from_numpy(words.numpy().view(np.uint16)[:, :count].astype(np.int32))

"""Random variates from random words: exact conversions and look-ups, so that every device gives the same values.

Words are int32 (B, n), 32 random bits each; the first of a row are used. Results are (B, count).
"""

from __future__ import annotations

import functools

import numpy as np
import torch
from torch import Tensor

_WORD = 2**32


def uniform(words: Tensor, count: int, low: float, high: float) -> Tensor:
    """Return float32 in [low, high), of 24 bits each.

    Example:
        >>> uniform(torch.tensor([[0, -1]], dtype=torch.int32), 2, -1.0, 1.0)
        tensor([[-1.0000,  1.0000]])
    """
    values = words[:, :count].bitwise_right_shift(8).bitwise_and_(0xFFFFFF).to(torch.float32).mul_(2.0**-24)
    return values.mul_(high - low).add_(low).clamp_(max=greatest_below(high))


def greatest_below(value: float) -> float:
    """Return the largest float32 under a value: rounding may reach the upper end, which the interval leaves out.

    Example:
        >>> greatest_below(1.0) == 1 - 2**-24
        True
    """
    return float(np.nextafter(np.float32(value), np.float32(-np.inf)))


def normal(words: Tensor, count: int) -> Tensor:
    """Return float32, standard normal, of 16 bits each (`bits16`), which choose among `normal_quantiles`.

    Example:
        >>> normal(torch.tensor([[0, -1]], dtype=torch.int32), 4)
        tensor([[-4.3249, -4.3249,  4.3249,  4.3249]])
    """
    ranks = bits16(words, count)
    return torch.index_select(normal_quantiles(ranks.device), 0, ranks.flatten()).view(ranks.shape)


@functools.cache
def normal_quantiles(device: torch.device) -> Tensor:
    """Return the quantiles of (i + 1/2) / 65536 for i from 0 to 65535, float32; cached: do not write into it.

    Their Kolmogorov–Smirnov distance to the normal distribution is 2**-17 (7.6e-6), their standard deviation 0.99999,
    and none lies beyond ±4.33.

    Example:
        >>> normal_quantiles(torch.device("cpu"))[[0, 32767, 32768]]
        tensor([-4.3249e+00, -1.9124e-05,  1.9124e-05])
    """
    ranks = torch.arange(65536, dtype=torch.float64).add_(0.5).div_(65536)
    quantiles: Tensor = torch.special.ndtri(ranks)
    return quantiles.to(device, torch.float32)


def integers(words: Tensor, count: int, low: int, high: int) -> Tensor:
    """Return int64 in [low, high), which is at most 2**31 wide: a word scaled to it, so off by 2**-32 in probability.

    Example:
        >>> integers(torch.tensor([[0, -1]], dtype=torch.int32), 2, -4, 4)
        tensor([[-4,  3]])
    """
    scaled = words[:, :count].to(torch.int64).bitwise_and_(_WORD - 1).mul_(high - low)
    return scaled.bitwise_right_shift_(32).add_(low)


def bits16(words: Tensor, count: int) -> Tensor:
    """Return int32 in [0, 65536), two from a word, its low half first.

    Example:
        >>> bits16(torch.tensor([[0x20001, 3]], dtype=torch.int32), 3)
        tensor([[1, 2, 3]], dtype=torch.int32)
    """
    # Viewing words as pairs of halves gives the low half first on little-endian machines, all that torch supports.
    return words.view(torch.int16)[:, :count].to(torch.int32).bitwise_and_(0xFFFF)

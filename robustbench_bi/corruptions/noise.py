"""Noise: gaussian, shot, impulse and speckle, after Hendrycks' ImageNet-C code.

That code scales pixels to [0, 1], adds noise, clips, multiplies by 255 and converts to uint8, which truncates. Here the
same is done in grey levels (0 to 255). Its random numbers come from NumPy's global generator, ours from `Draws`.
"""

from __future__ import annotations

import functools

import numpy as np
import torch
from torch import Tensor

from robustbench_bi.corruptions.draws import Draws


def gaussian_noise(images: Tensor, draws: Draws, *, std: float) -> Tensor:
    """Add normal noise to each channel of each pixel.

    Args:
        images: uint8 (B, 3, H, W).
        draws: one normal for each value.
        std: standard deviation, as a share of the full range (1 is 255 grey levels).

    Returns:
        uint8 (B, 3, H, W).

    Example:
        >>> grey = torch.full((1, 3, 32, 32), 128, dtype=torch.uint8)
        >>> draws = Draws(torch.tensor([0]), seed=0, stream=1, severity=1)
        >>> bool((gaussian_noise(grey, draws, std=0.1).float().std() / 25.5 - 1).abs() < 0.05)
        True
    """
    noise = draws.normal(*images.shape[1:])
    return noise.mul_(255 * std).add_(images).clamp_(0, 255).to(torch.uint8)


def speckle_noise(images: Tensor, draws: Draws, *, std: float) -> Tensor:
    """Add normal noise to each channel of each pixel, in proportion to its value.

    Args:
        images: uint8 (B, 3, H, W).
        draws: one normal for each value.
        std: standard deviation, as a share of the value.

    Returns:
        uint8 (B, 3, H, W).

    Example:
        >>> black = torch.zeros(1, 3, 32, 32, dtype=torch.uint8)
        >>> int(speckle_noise(black, Draws(torch.tensor([0]), seed=0, stream=16, severity=5), std=0.6).max())
        0
    """
    noise = draws.normal(*images.shape[1:])
    return noise.mul_(std).add_(1).mul_(images).clamp_(0, 255).to(torch.uint8)


def impulse_noise(images: Tensor, draws: Draws, *, amount: float) -> Tensor:
    """Set a share of the channel values to 0 or 255, half each ("salt and pepper").

    The original calls scikit-image's `random_noise(mode="s&p")`, which draws twice for a value: whether it is hit, and
    by which. Here 16 bits serve for both: under the threshold is hit, and the lower half of that is salt. The amount is
    met to within 2**-17.

    Args:
        images: uint8 (B, 3, H, W).
        draws: 16 bits for each value.
        amount: share of the values that is set, 0 to 1.

    Returns:
        uint8 (B, 3, H, W).

    Example:
        >>> grey = torch.full((1, 3, 32, 32), 128, dtype=torch.uint8)
        >>> draws = Draws(torch.tensor([0]), seed=0, stream=3, severity=1)
        >>> impulse_noise(grey, draws, amount=0.1).unique().tolist()
        [0, 128, 255]
    """
    bits = draws.bits16(*images.shape[1:])
    threshold = round(amount * 65536)
    return images.masked_fill(bits < threshold, 0).masked_fill_(bits < threshold // 2, 255)


def shot_noise(images: Tensor, draws: Draws, *, photons: int) -> Tensor:
    """Replace each channel value by a Poisson count of photons, of which `photons` make full scale.

    The count is the Poisson quantile of (i + 1/2) / 65536, where i is 16 random bits, from a table for each grey level.
    So the part of a tail that has a probability under 2**-17 is never drawn. Counts above `photons` are clipped to
    white, as in the original.

    Args:
        images: uint8 (B, 3, H, W).
        draws: 16 bits for each value.
        photons: expected count of a white pixel.

    Returns:
        uint8 (B, 3, H, W).

    Example:
        >>> grey = torch.full((1, 3, 32, 32), 128, dtype=torch.uint8)
        >>> shot_noise(grey, Draws(torch.tensor([0]), seed=0, stream=2, severity=5), photons=3).unique().tolist()
        [0, 85, 170, 255]
    """
    bits = draws.bits16(*images.shape[1:])
    entries = images.to(torch.int32).bitwise_left_shift_(16).bitwise_or_(bits)
    levels = _shot_levels(photons, images.device)
    return torch.index_select(levels, 0, entries.flatten()).view(images.shape)


# Room for the five severities of a table of constants.
@functools.lru_cache(maxsize=5)
def _shot_levels(photons: int, device: torch.device) -> Tensor:
    """The grey level after shot noise for each level before and each pattern of 16 bits, uint8 (256 * 65536,)."""
    patterns, levels = shot_patterns(photons)
    repeats = patterns.diff(dim=1, prepend=torch.zeros(256, 1, dtype=torch.int64))
    # NumPy repeats bytes several times as fast as torch does.
    return torch.from_numpy(np.repeat(levels.repeat(256).numpy(), repeats.flatten().numpy())).to(device)


def shot_patterns(photons: int) -> tuple[Tensor, Tensor]:
    """Return how the 65,536 patterns of 16 bits are shared out over the Poisson counts of each grey level.

    Args:
        photons: expected count of a white pixel.

    Returns:
        int64 (256, photons + 1), how many of the patterns give each count or a lower one, for each grey level; all that
        the last count leaves goes to it. And uint8 (photons + 1,), the grey level that a count becomes.

    Example:
        >>> patterns, levels = shot_patterns(3)
        >>> patterns[255].tolist(), levels.tolist()
        ([3263, 13051, 27734, 65536], [0, 85, 170, 255])
    """
    counts = torch.arange(photons + 1, dtype=torch.float64)
    rates = torch.arange(256, dtype=torch.float64)[:, None] / 255 * photons
    patterns = torch.special.gammaincc(counts + 1, rates).mul_(65536).add_(0.5).to(torch.int64)
    patterns[:, -1] = 65536
    return patterns, (counts / photons * 255).to(torch.uint8)

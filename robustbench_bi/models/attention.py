"""Attention after the last normalisation of a bottleneck, before the shortcut is added: FcaNet's."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from robustbench_bi.errors import InputError

FREQUENCIES = (
    (0, 0), (0, 1), (6, 0), (0, 5), (0, 2), (1, 0), (1, 2), (4, 0),
    (5, 0), (1, 6), (3, 0), (0, 4), (0, 6), (0, 3), (3, 5), (2, 2),
)  # fmt: skip
"""Vertical and horizontal frequencies on a map of 7×7: the 16 that did best alone ("top16" in the published code)."""


class MultiSpectralAttention(nn.Module):
    """FcaNet's channel attention (Qin et al., ICCV 2021): SE whose squeeze is a cosine transform.

    The channels are cut into 16 equal parts. Part i is squeezed to its coefficient of the two-dimensional DCT at
    `FREQUENCIES[i]`, where SE takes the mean, which is the first of them. Two linear layers and a sigmoid make the
    factor of each channel. Names and frequencies are those of the published code (cfzd/FcaNet).

    Args:
        channels: C, a multiple of 16.
        side: of the map that the cosines are for, a multiple of 7; maps of another size are averaged to it first.
        reduction: the hidden layer has C // reduction units.

    Example:
        >>> import torch
        >>> MultiSpectralAttention(32, 14)(torch.ones(1, 32, 9, 9)).shape
        torch.Size([1, 32, 9, 9])
    """

    def __init__(self, channels: int, side: int, reduction: int = 16) -> None:
        super().__init__()
        if channels % len(FREQUENCIES):
            raise InputError(
                f"{channels} channels cannot be split into {len(FREQUENCIES)} equal parts; choose another width"
            )
        self.side = side
        self.dct_layer = nn.Module()
        self.dct_layer.register_buffer("weight", _cosines(channels, side))
        hidden = max(1, channels // reduction)
        self.fc = nn.Sequential(
            nn.Linear(channels, hidden, bias=False),
            nn.ReLU(inplace=True),
            nn.Linear(hidden, channels, bias=False),
            nn.Sigmoid(),
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to the same."""
        fitted = x if x.shape[2:] == (self.side, self.side) else F.adaptive_avg_pool2d(x, self.side)
        factors: Tensor = self.fc((fitted * self.dct_layer.get_buffer("weight")).sum((2, 3)))
        return x * factors[:, :, None, None]


def _cosines(channels: int, side: int) -> Tensor:
    """(C, side, side): the basis function of each channel, of norm 1."""
    positions = (torch.arange(side, dtype=torch.float64) + 0.5) / side
    # A frequency keeps its wavelength in pixels: on 14×14 it counts twice as many waves as on 7×7.
    waves = torch.tensor(FREQUENCIES) * (side // 7)
    waves = waves[:, :, None]
    cosines = torch.cos(math.pi * waves * positions) * (torch.where(waves > 0, 2.0, 1.0) / side).sqrt()
    products = cosines[:, 0, :, None] * cosines[:, 1, None, :]
    return products.float().repeat_interleave(channels // len(FREQUENCIES), 0)

"""Fractal clouds by the diamond-square algorithm, for fog."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor

if TYPE_CHECKING:
    from robustbench_bi.corruptions.draws import Draws

# The published code's first amplitude. It enters squared: once as the bound of the uniform, once as a factor.
FIRST_AMPLITUDE = 100.0


def plasma(draws: Draws, side: int, wibble_decay: float) -> Tensor:
    """Return one height map for each image, periodic in both directions.

    From a grid of one point, each round puts a point in the middle of every square and of every edge: the mean of its
    four neighbours and a random step, whose amplitude falls by wibble_decay² from round to round. Source:
    plasma_fractal of hendrycks/robustness.

    Draws: uniform (side² - 1,) in [-1, 1), taken in the order of the rounds, and within a round: the middles of the
    squares, of the horizontal edges, of the vertical edges, each n × n in the usual order for an n × n grid.

    Args:
        draws: the random variates.
        side: a power of two, in pixels.
        wibble_decay: the greater, the smoother.

    Returns:
        float64 (B, side, side), scaled so that the least value of each map is 0 and the greatest 1.

    Example:
        >>> import torch
        >>> from robustbench_bi.corruptions.draws import Draws
        >>> clouds = plasma(Draws(torch.arange(2), seed=0, stream=10, severity=1), 64, 2.0)
        >>> clouds.shape, clouds.amin(dim=(1, 2)).tolist(), clouds.amax(dim=(1, 2)).tolist()
        (torch.Size([2, 64, 64]), [0.0, 0.0], [1.0, 1.0])
    """
    steps = draws.uniform(side**2 - 1, low=-1.0, high=1.0).double()
    heights = steps.new_zeros(len(steps), side, side)
    used, spacing, amplitude = 0, side, FIRST_AMPLITUDE
    while spacing >= 2:
        half, count = spacing // 2, side // spacing
        following = used + 3 * count**2
        step = steps[:, used:following].mul_(amplitude).mul_(amplitude).view(-1, 3, count, count)
        corners = heights[:, ::spacing, ::spacing]
        columns = corners + corners.roll(-1, 1)
        middles = (columns + columns.roll(-1, 2)) / 4 + step[:, 0]
        across = ((middles + middles.roll(1, 1)) + (corners + corners.roll(-1, 2))) / 4 + step[:, 1]
        down = ((middles + middles.roll(1, 2)) + (corners + corners.roll(-1, 1))) / 4 + step[:, 2]
        heights[:, half::spacing, half::spacing] = middles
        heights[:, ::spacing, half::spacing] = across
        heights[:, half::spacing, ::spacing] = down
        used, spacing, amplitude = following, half, amplitude / wibble_decay
    heights -= heights.amin(dim=(1, 2), keepdim=True)
    return heights.div_(heights.amax(dim=(1, 2), keepdim=True))

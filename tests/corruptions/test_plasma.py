from __future__ import annotations

import numpy as np
import pytest

from robustbench_bi.corruptions.plasma import plasma


def means_and_steps(uniform: np.ndarray, side: int, wibble_decay: float) -> np.ndarray:
    """Diamond-square, one point after the other: the mean of four neighbours (periodic) and a random step."""
    heights = np.zeros((side, side))
    numbers = iter(uniform.astype(np.float64))
    spacing, amplitude = side, 100.0
    while spacing >= 2:
        half = spacing // 2
        grid = range(0, side, spacing)
        diagonal, straight = [(-1, -1), (-1, 1), (1, -1), (1, 1)], [(-1, 0), (1, 0), (0, -1), (0, 1)]
        for top, left, neighbours in ((half, half, diagonal), (0, half, straight), (half, 0, straight)):
            for row in grid:
                for column in grid:
                    y, x = row + top, column + left
                    around = [heights[(y + half * dy) % side, (x + half * dx) % side] for dy, dx in neighbours]
                    heights[y, x] = sum(around) / 4 + amplitude**2 * next(numbers)
        spacing, amplitude = half, amplitude / wibble_decay
    assert next(numbers, None) is None
    heights -= heights.min()
    return heights / heights.max()


@pytest.mark.parametrize(("side", "wibble_decay"), [(32, 3), (64, 1.4)])
def test_plasma_equals_the_loops(side: int, wibble_decay: float, injected_draws: type) -> None:
    steps = np.random.default_rng(0).uniform(-1, 1, (2, side**2 - 1)).astype(np.float32)
    clouds = plasma(injected_draws(uniform=[steps]), side, wibble_decay)
    assert clouds.amin(dim=(1, 2)).tolist() == [0, 0] and clouds.amax(dim=(1, 2)).tolist() == [1, 1]
    for cloud, uniform in zip(clouds, steps, strict=True):
        np.testing.assert_allclose(cloud.numpy(), means_and_steps(uniform, side, wibble_decay), rtol=0, atol=1e-13)

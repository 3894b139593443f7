from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats

from robustbench_bi.corruptions import noise
from robustbench_bi.corruptions.apply import corrupt


@pytest.mark.parametrize("photons", [3, 5, 25, 60, 500])
def test_shot_noise_has_the_poisson_moments(photons: int, injected_draws: type) -> None:
    """Every pattern of 16 bits once, for grey levels dark to white, against the sum over the Poisson law."""
    greys = [1, 10, 60, 128, 250, 255]
    images = torch.tensor(greys, dtype=torch.uint8)[:, None, None, None].expand(-1, 1, 256, 256)
    patterns = np.broadcast_to(np.arange(65536).reshape(1, 1, 256, 256), images.shape)
    levels = noise.shot_noise(images, injected_draws(bits16=[patterns]), photons=photons).flatten(1).double()
    counts = np.arange(3 * photons + 50)
    outcomes = np.clip(counts / photons, 0, 1) * 255 // 1
    for grey, drawn in zip(greys, levels, strict=True):
        law = stats.poisson.pmf(counts, grey / 255 * photons)
        mean = (law * outcomes).sum()
        spread = np.sqrt((law * (outcomes - mean) ** 2).sum())
        assert float(drawn.mean()) == pytest.approx(mean, abs=0.01)
        assert float(drawn.std(correction=0)) == pytest.approx(spread, rel=0.002)


def test_shot_noise_leaves_black_black() -> None:
    black = torch.zeros(1, 3, 64, 64, dtype=torch.uint8)
    assert int(corrupt(black, "shot_noise", 5).max()) == 0


def test_impulse_noise_sets_the_stated_share_to_black_and_white() -> None:
    grey = torch.full((8, 3, 64, 64), 100, dtype=torch.uint8)
    corrupted = corrupt(grey, "impulse_noise", 5)
    for level in (0, 255):
        # Four standard errors of a share of 0.135 among 98,304 values.
        assert float((corrupted == level).double().mean()) == pytest.approx(0.27 / 2, abs=0.0045)
    assert bool(((corrupted == 0) | (corrupted == 100) | (corrupted == 255)).all())


def test_noise_is_independent_over_pixels_and_channels() -> None:
    grey = torch.full((4, 3, 64, 64), 128, dtype=torch.uint8)
    change = corrupt(grey, "gaussian_noise", 1).double() - 128
    for axis in (0, 1, 2, 3):
        neighbours = torch.stack(
            [change.narrow(axis, 0, change.shape[axis] - 1), change.narrow(axis, 1, change.shape[axis] - 1)]
        )
        correlation = float(torch.corrcoef(neighbours.flatten(1))[0, 1])
        assert abs(correlation) < 4 / np.sqrt(neighbours[0].numel())

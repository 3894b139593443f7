from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

from robustbench_bi.corruptions import noise, original
from robustbench_bi.corruptions.apply import corrupt, severity_constants
from robustbench_bi.corruptions.draws import Draws

Photographs = Callable[..., Tensor]
Record = Callable[..., tuple[Tensor, list[Any]]]


def planes(values: np.ndarray) -> np.ndarray:
    """Draws for an image (H, W, 3) as draws for a batch of one (1, 3, H, W)."""
    return np.moveaxis(values, -1, 0)[None]


@pytest.mark.parametrize("severity", range(1, 6))
@pytest.mark.parametrize("name", ["gaussian_noise", "speckle_noise"])
def test_equal_to_the_original_given_its_draws(
    name: str, severity: int, photographs: Photographs, record_original: Record, injected_draws: type
) -> None:
    image = photographs(1, 64)
    expected, (scaled,) = record_original(image[0], name, severity)
    std = severity_constants(name, severity, "imagenet-c")["std"]
    draws = injected_draws(normal=[planes(scaled / std)])
    corrupted = getattr(noise, name)(image, draws, std=std)
    # The original computes in float64; in float32 about one value in 100,000 falls on the other side of a grey level.
    assert int((corrupted[0] != expected).sum()) <= 2


@pytest.mark.parametrize("severity", range(1, 6))
def test_impulse_noise_equals_the_original_given_its_draws(
    severity: int, photographs: Photographs, record_original: Record, injected_draws: type
) -> None:
    image = photographs(1, 64)
    expected, (seed,) = record_original(image[0], "impulse_noise", severity)
    amount = severity_constants("impulse_noise", severity, "imagenet-c")["amount"]
    generator = np.random.default_rng(seed)
    hit, salt = (generator.random((64, 64, 3)) <= share for share in (amount, 0.5))
    threshold = round(amount * 65536)
    bits = np.where(hit, np.where(salt, threshold // 2 - 1, threshold // 2), threshold)
    corrupted = noise.impulse_noise(image, injected_draws(bits16=[planes(bits)]), amount=amount)
    assert torch.equal(corrupted[0], expected)


@pytest.mark.parametrize("severity", range(1, 6))
def test_shot_noise_equals_the_original_given_its_draws(
    severity: int, photographs: Photographs, record_original: Record, injected_draws: type
) -> None:
    image = photographs(1, 64)
    expected, (counts,) = record_original(image[0], "shot_noise", severity)
    photons = int(severity_constants("shot_noise", severity, "imagenet-c")["photons"])
    rates = image[0].permute(1, 2, 0).numpy() / 255 * photons
    # A pattern in the middle of those whose quantile is the count that the original drew.
    middle = (stats.poisson.cdf(counts - 1, rates) + stats.poisson.cdf(counts, rates)) / 2
    bits = np.clip(np.floor(middle * 65536), 0, 65535)
    corrupted = noise.shot_noise(image, injected_draws(bits16=[planes(bits)]), photons=photons)
    # Counts of a probability under 2**-16 may have no pattern of their own.
    assert int((corrupted[0] != expected).sum()) <= 3


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


@pytest.mark.parametrize("name", ["gaussian_noise", "shot_noise", "impulse_noise", "speckle_noise"])
@pytest.mark.parametrize("severity", [1, 3, 5])
def test_mean_and_spread_of_the_change_agree_with_the_original(
    name: str, severity: int, photographs: Photographs
) -> None:
    images = photographs(64, 64)
    changes = [(corrupted.double() - images.double()) for corrupted in both(images, name, severity)]
    sizes = [change.abs().mean() for change in changes]
    spreads = [change.std() for change in changes]
    assert float(sizes[0] / sizes[1]) == pytest.approx(1, abs=0.02)
    assert float(spreads[0] / spreads[1]) == pytest.approx(1, abs=0.02)
    assert float(changes[0].mean() - changes[1].mean()) == pytest.approx(0, abs=0.02 * float(sizes[1]))


def both(images: Tensor, name: str, severity: int) -> tuple[Tensor, Tensor]:
    return corrupt(images, name, severity), original.corrupt(images, name, severity)


def test_noise_is_independent_over_pixels_and_channels() -> None:
    grey = torch.full((4, 3, 64, 64), 128, dtype=torch.uint8)
    change = corrupt(grey, "gaussian_noise", 1).double() - 128
    for axis in (0, 1, 2, 3):
        neighbours = torch.stack(
            [change.narrow(axis, 0, change.shape[axis] - 1), change.narrow(axis, 1, change.shape[axis] - 1)]
        )
        correlation = float(torch.corrcoef(neighbours.flatten(1))[0, 1])
        assert abs(correlation) < 4 / np.sqrt(neighbours[0].numel())


def test_a_wrong_amount_would_show(photographs: Photographs) -> None:
    images = photographs(64, 64)
    draws = Draws(torch.arange(64), seed=0, stream=3, severity=1)
    weaker = noise.impulse_noise(images, draws, amount=0.03 * 0.95).double()
    reference = original.corrupt(images, "impulse_noise", 1).double()
    assert float((weaker - images).abs().mean() / (reference - images).abs().mean()) < 0.98

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
import skimage.filters
import torch
from torch import Tensor

from robustbench_bi.corruptions import TABLES, blur, filters, original
from robustbench_bi.corruptions.apply import corrupt, severity_constants

Photographs = Callable[..., Tensor]
Record = Callable[..., tuple[Tensor, list[Any]]]

SEVERITIES = range(1, 6)
GLASS = sorted(
    {tuple(severity_constants("glass_blur", s, table).values()) for table in TABLES.names for s in SEVERITIES}
)


def as_array(image: Tensor) -> np.ndarray:
    return image.permute(1, 2, 0).numpy()


def as_tensor(image: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)


def share_off_by_one(ours: Tensor, expected: Tensor) -> float:
    """The share of bytes that differ, all of which must differ by one."""
    difference = (ours.int() - expected.int()).abs()
    assert int(difference.max()) <= 1
    return float(difference.double().mean())


@pytest.mark.parametrize("severity", SEVERITIES)
@pytest.mark.parametrize("name", ["zoom_blur", "defocus_blur", "gaussian_blur"])
def test_equal_to_the_original(name: str, severity: int, photographs: Photographs) -> None:
    for images in (photographs(1, 224), photographs(4, 33, 47)):
        ours, expected = corrupt(images, name, severity), original.corrupt(images, name, severity)
        # Rounding errors of the original's Fourier transforms, and of our float32 sums.
        assert share_off_by_one(ours, expected) <= (0.00005 if name == "zoom_blur" else 0.002)


@pytest.mark.parametrize("table", TABLES.names)
def test_gaussian_and_defocus_with_every_table(table: str, photographs: Photographs) -> None:
    image = photographs(1, TABLES[table].side)
    pixels = as_array(image[0]) / 255
    for severity in SEVERITIES:
        sigma = severity_constants("gaussian_blur", severity, table)["sigma"]
        smoothed = skimage.filters.gaussian(pixels, sigma=sigma, channel_axis=-1)
        expected = as_tensor((np.clip(smoothed, 0, 1) * 255).astype(np.uint8))
        assert share_off_by_one(corrupt(image, "gaussian_blur", severity, table=table)[0], expected) <= 0.005

        kernel = filters.disk_kernel(**severity_constants("defocus_blur", severity, table)).numpy()
        blurred = np.stack([cv2.filter2D(pixels[..., channel], -1, kernel) for channel in range(3)], axis=-1)
        expected = as_tensor((np.clip(blurred, 0, 1) * 255).astype(np.uint8))
        assert share_off_by_one(corrupt(image, "defocus_blur", severity, table=table)[0], expected) <= 0.001


def copied_one_by_one(image: np.ndarray, moves: np.ndarray, max_delta: int) -> np.ndarray:
    """The published loop: each visited pixel is overwritten with its neighbour's present value."""
    image = image.copy()
    height, width = image.shape[:2]
    for h in range(height - max_delta, max_delta, -1):
        for w in range(width - max_delta, max_delta, -1):
            dy, dx = divmod(int(moves[h - max_delta - 1, w - max_delta - 1]), 2 * max_delta)
            image[h, w] = image[h + dy - max_delta, w + dx - max_delta]
    return image


def glass_one_by_one(image: Tensor, passes: list[np.ndarray], sigma: float, max_delta: int) -> Tensor:
    blurred = skimage.filters.gaussian(as_array(image) / 255, sigma=sigma, channel_axis=-1)
    pixels = (blurred * 255 + 1e-9).astype(np.uint8)
    for moves in passes:
        pixels = copied_one_by_one(pixels, moves, max_delta)
    blurred = skimage.filters.gaussian(pixels / 255, sigma=sigma, channel_axis=-1)
    return as_tensor((np.clip(blurred, 0, 1) * 255 + 1e-9).astype(np.uint8))


@pytest.mark.parametrize("constants", GLASS, ids=str)
def test_glass_blur_equals_the_loop(
    constants: tuple[float, int, int], photographs: Photographs, injected_draws: type
) -> None:
    sigma, max_delta, iterations = constants
    images = photographs(2, 33, 47)
    shape = (2, 33 - 2 * max_delta, 47 - 2 * max_delta)
    random = np.random.default_rng(0)
    passes = [random.integers(0, (2 * max_delta) ** 2, shape) for _ in range(iterations)]
    draws = injected_draws(integers=passes)
    ours = blur.glass_blur(images, draws, sigma=sigma, max_delta=max_delta, iterations=iterations)
    assert draws.used_up()
    for number, image in enumerate(images):
        expected = glass_one_by_one(image, [moves[number] for moves in passes], sigma, max_delta)
        assert torch.equal(ours[number], expected)


@pytest.mark.parametrize(("dx", "dy"), [(1, 0), (0, 1), (2, 0), (1, 1), (-3, 1), (2, -1), (0, 0), (-1, 0)])
def test_glass_blur_follows_chains_to_their_end(
    dx: int, dy: int, photographs: Photographs, injected_draws: type
) -> None:
    # Every pixel makes the same move, so that chains run through the whole image.
    moves = np.full((1, 34, 42), (dy + 3) * 6 + dx + 3)
    moves[0, 5, 7] = 0
    image = photographs(1, 40, 48)
    ours = blur.glass_blur(image, injected_draws(integers=[moves, moves]), sigma=0.4, max_delta=3, iterations=2)
    assert torch.equal(ours[0], glass_one_by_one(image[0], [moves[0], moves[0]], 0.4, 3))


@pytest.mark.parametrize("severity", SEVERITIES)
def test_glass_blur_equals_the_original_given_its_draws(
    severity: int, photographs: Photographs, record_original: Record, injected_draws: type
) -> None:
    image = photographs(1, 40, 33)
    expected, drawn = record_original(image[0], "glass_blur", severity)
    constants = severity_constants("glass_blur", severity, "imagenet-c")
    delta = int(constants["max_delta"])
    # The original draws (dx, dy) in the order of its visits, which is the reverse of ours.
    steps = np.array(drawn).reshape(-1, 40 - 2 * delta, 33 - 2 * delta, 2)[:, ::-1, ::-1] + delta
    passes = [moves[None] for moves in steps[..., 1] * 2 * delta + steps[..., 0]]
    ours = blur.glass_blur(image, injected_draws(integers=passes), **constants)  # type: ignore[arg-type]
    assert share_off_by_one(ours[0], expected) <= 0.002


def test_glass_blur_leaves_the_rim_in_place(injected_draws: type) -> None:
    image = torch.zeros(1, 3, 32, 32, dtype=torch.uint8)
    image[:, :, 2:31, 2:31] = 255
    # With max_delta 1 the rows and columns from 2 to 31 are visited, and none of them asks for a neighbour ahead.
    moves = np.full((1, 30, 30), 3)
    ours = blur.glass_blur(image, injected_draws(integers=[moves]), sigma=0.01, max_delta=1, iterations=1)
    assert torch.equal(ours, image)
    moves[0, 0, 0] = 0
    changed = blur.glass_blur(image, injected_draws(integers=[moves]), sigma=0.01, max_delta=1, iterations=1)
    assert (changed != image)[0, 0].nonzero().tolist() == [[2, 2]]


@pytest.mark.parametrize("severity", SEVERITIES)
@pytest.mark.parametrize(("height", "width"), [(33, 47), (96, 96)])
def test_motion_blur_equals_the_original_given_its_draws(
    severity: int, height: int, width: int, photographs: Photographs, record_original: Record, injected_draws: type
) -> None:
    constants = severity_constants("motion_blur", severity, "imagenet-c")
    for number, image in enumerate(photographs(4, height, width)):
        expected, (degrees,) = record_original(image, "motion_blur", severity, seed=number)
        ours = blur.motion_blur(image[None], injected_draws(uniform=[[degrees]]), **constants)  # type: ignore[arg-type]
        # The original sums in floating point, and misses whole numbers in flat regions.
        assert share_off_by_one(ours[0], expected) <= 0.02


def test_motion_blur_draws_any_direction_to_the_right(photographs: Photographs) -> None:
    asked = []

    def uniform(*shape: int, low: float, high: float) -> Tensor:
        asked.append((shape, low, high))
        return torch.zeros(2)

    blur.motion_blur(photographs(2, 32), SimpleNamespace(uniform=uniform), radius=6, sigma=1)  # type: ignore[arg-type]
    assert asked == [((), -45.0, 45.0)]


@pytest.mark.parametrize(
    ("name", "severity"), [("motion_blur", 1), ("motion_blur", 4), ("glass_blur", 2), ("glass_blur", 5)]
)
def test_change_agrees_with_the_original_on_average(name: str, severity: int, photographs: Photographs) -> None:
    images = photographs(64, 48)
    ours, reference = (
        (corrupted.double() - images.double()).abs().flatten(1)
        for corrupted in (corrupt(images, name, severity), original.corrupt(images, name, severity))
    )
    for measure in (torch.mean, torch.std):
        difference = measure(ours, dim=1) - measure(reference, dim=1)
        # Both draw for themselves: 2 % and three standard errors of what the draws leave to chance.
        chance = 3 * float(difference.std()) / len(images) ** 0.5
        assert abs(float(difference.mean())) < 0.02 * float(measure(reference, dim=1).mean()) + chance

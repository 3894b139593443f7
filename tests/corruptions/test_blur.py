from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace

import numpy as np
import pytest
import skimage.filters
import torch
from torch import Tensor

from robustbench_bi.corruptions import TABLES, blur
from robustbench_bi.corruptions.apply import severity_constants

Photographs = Callable[..., Tensor]

SEVERITIES = range(1, 6)
GLASS = sorted(
    {tuple(severity_constants("glass_blur", s, table).values()) for table in TABLES.names for s in SEVERITIES}
)


def as_array(image: Tensor) -> np.ndarray:
    return image.permute(1, 2, 0).numpy()


def as_tensor(image: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)


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


def test_motion_blur_draws_any_direction_to_the_right(photographs: Photographs) -> None:
    asked = []

    def uniform(*shape: int, low: float, high: float) -> Tensor:
        asked.append((shape, low, high))
        return torch.zeros(2)

    blur.motion_blur(photographs(2, 32), SimpleNamespace(uniform=uniform), radius=6, sigma=1)  # type: ignore[arg-type]
    assert asked == [((), -45.0, 45.0)]

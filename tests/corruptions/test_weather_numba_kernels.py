from __future__ import annotations

from collections.abc import Callable
from itertools import permutations
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from robustbench_bi.corruptions import droplets, fog_numba_kernels, weather, weather_numba_kernels
from robustbench_bi.corruptions.apply import severity_constants
from robustbench_bi.corruptions.droplets_numba_kernels import relief
from robustbench_bi.corruptions.plasma import plasma

Photographs = Callable[..., Tensor]


def assert_same_relief(liquid: np.ndarray) -> None:
    expected = droplets.relief(torch.from_numpy(liquid))
    assert np.array_equal(relief(liquid), expected.to(torch.uint8).numpy())


@pytest.mark.parametrize("density", [0.0005, 0.01, 0.2, 1.0])
def test_relief_equals_the_definition_on_scattered_pixels(density: float) -> None:
    # Few pixels leave wide distances between them, many a tangle of short edges.
    random = np.random.default_rng(0)
    levels = random.integers(0, 256, (4, 61, 90)).astype(np.uint8)
    assert_same_relief(levels * (random.random(levels.shape) < density).astype(np.uint8))


@pytest.mark.parametrize("level", [0, 7, 255])
def test_relief_of_a_flat_layer(level: int) -> None:
    assert_same_relief(np.full((1, 32, 33), level, dtype=np.uint8))


@pytest.mark.parametrize(("row", "column"), [(0, 0), (0, 40), (31, 63), (15, 62), (16, 20)])
def test_relief_of_a_single_drop_beside_a_border(row: int, column: int) -> None:
    layer = np.zeros((1, 32, 64), dtype=np.uint8)
    layer[0, row : row + 2, column : column + 2] = 200
    assert_same_relief(layer)


def test_relief_follows_a_weak_edge_from_a_strong_beginning_and_drops_one_without() -> None:
    step = np.zeros((48, 64), dtype=np.uint8)
    step[:, 32:] = 20
    layers = np.stack([step, step, step])
    layers[1, 0:3, 32:] = 90
    layers[2, 45:, 32:] = 90
    without, from_the_top, from_the_bottom = relief(layers)
    assert_same_relief(layers)
    # With no edge at all the relief is flat; an edge shows all along, also far from where it is strong.
    assert len(np.unique(without)) == 1
    assert len(np.unique(from_the_top[40])) > 1 and len(np.unique(from_the_bottom[8])) > 1


@pytest.mark.parametrize(("side", "wibble_decay"), [(2, 3), (32, 2), (256, 1.4)])
def test_plasma_equals_the_definition(side: int, wibble_decay: float, injected_draws: type) -> None:
    steps = np.random.default_rng(side).uniform(-1, 1, (2, side**2 - 1)).astype(np.float32)
    expected = plasma(injected_draws(uniform=[steps]), side, wibble_decay)
    for cloud, own_steps in zip(expected.numpy(), steps, strict=True):
        heights = fog_numba_kernels._heights(own_steps, side, wibble_decay)
        least, greatest = fog_numba_kernels._range(heights)
        assert np.array_equal((heights[:side, :side] - least) / (greatest - least), cloud)


def test_a_row_of_fog_is_divided_where_a_level_is_next_to_a_whole_number() -> None:
    row, haze, result = np.array([100, 200, 250], np.uint8), np.zeros(3, np.float32), np.empty(3, np.uint8)
    assert not fog_numba_kernels._blend(row, haze + np.float32(0.5), np.float32(0.6), result)
    assert result.tolist() == [60, 120, 150]
    for next_to in (-0.00005, 0, 0.00005):
        haze[1] = next_to
        assert fog_numba_kernels._blend(row, haze, np.float32(0.6), result)


@pytest.mark.parametrize("level", [0, 5, 200, 255])
def test_fog_equals_the_definition_where_levels_are_whole_numbers(level: int) -> None:
    # Without fog, at the least height, five levels become two; at the greatest the fog is as dense as its intensity.
    row, cloud, result = np.full(8, level, np.uint8), np.repeat([2.0, 6.0], 4), np.empty(8, np.uint8)
    fog_numba_kernels._blend_exactly(row, cloud, 2.0, 6.0, 1.0, 1.5, result)
    expected = (level / 255 + np.repeat([0, 1.5], 4)) / 2.5
    assert result.tolist() == (expected.clip(0, 1) * 255).astype(np.uint8).tolist()


def test_grey_levels_are_divided_exactly() -> None:
    levels = np.arange(256)
    assert [weather_numba_kernels._unit(level) for level in levels] == (levels / 255).tolist()
    narrow = [weather_numba_kernels._unit_of_32_bits(level) for level in levels]
    assert narrow == (levels.astype(np.float32) / np.float32(255)).tolist()


@pytest.mark.parametrize("offset", [0.05, 0.1, 0.2, 0.5])
def test_brightness_equals_the_definition_on_every_pair_of_levels(offset: float) -> None:
    first, second = np.divmod(np.arange(65536, dtype=np.int64).reshape(256, 256), 256)
    between = (first + second) // 2
    colours = [order for third in (between, first // 3) for order in permutations([first, second, third])]
    images = torch.from_numpy(np.stack([np.stack(colour) for colour in colours]).astype(np.uint8))
    expected = weather.brightness(images, None, offset=offset)  # type: ignore[arg-type]
    assert torch.equal(weather_numba_kernels.brightness(images, None, offset=offset), expected)  # type: ignore[arg-type]


def test_snow_magnifies_by_more_than_the_image_needs(photographs: Photographs, injected_draws: type) -> None:
    # Here the magnified layer is several pixels longer than the image, and its end is cut off.
    images = photographs(2, 44, 58)
    random = np.random.default_rng(0)
    noise, degrees = random.normal(size=(2, 26, 34)), [-50.0, -130.0]
    constants = {**severity_constants("snow", 3, "tiny-imagenet-c"), "zoom": 1.75}
    expected, ours = (
        module.snow(images, injected_draws(normal=[noise], uniform=[degrees]), **constants)
        for module in (weather, weather_numba_kernels)
    )
    assert torch.equal(ours, expected)


@pytest.mark.parametrize("severity", [1, 4])
@pytest.mark.parametrize("level", [-3.0, 1.0, 3.0])
def test_spatter_without_any_liquid_and_with_nothing_else(
    severity: int, level: float, photographs: Photographs, injected_draws: type
) -> None:
    constants: dict[str, Any] = severity_constants("spatter", severity, "imagenet-c")
    images, noise = photographs(1, 40, 56), np.full((1, 40, 56), level)
    expected, ours = (
        module.spatter(images, injected_draws(normal=[noise]), **constants)
        for module in (weather, weather_numba_kernels)
    )
    assert torch.equal(ours, expected)


@pytest.mark.parametrize("strength", [0.6, 1.5, 1.8, 2.3, 3.1])
def test_where_mud_covers_all_nothing_shines_through(strength: float, injected_draws: type) -> None:
    images = torch.full((1, 3, 32, 32), 255, dtype=torch.uint8)
    constants = {**severity_constants("spatter", 5, "imagenet-c"), "strength": strength}
    expected, ours = (
        module.spatter(images, injected_draws(normal=[np.ones((1, 32, 32))]), **constants)
        for module in (weather, weather_numba_kernels)
    )
    assert torch.equal(ours, expected)


def test_spatter_wraps_levels_above_white_around(photographs: Photographs, injected_draws: type) -> None:
    images = photographs(1, 48)
    noise = np.random.default_rng(0).normal(size=(1, 48, 48)) + 3 * (np.arange(48) > 24)
    constants: dict[str, Any] = severity_constants("spatter", 3, "imagenet-c")
    expected, ours = (
        module.spatter(images, injected_draws(normal=[noise]), **constants)
        for module in (weather, weather_numba_kernels)
    )
    assert torch.equal(ours, expected)


@pytest.mark.parametrize("scale", [1, 0.3])
@pytest.mark.parametrize(("height", "width"), [(320, 32), (33, 570), (352, 530), (640, 700)])
def test_frost_resizes_no_more_of_a_texture_than_it_needs(
    height: int, width: int, scale: float, photographs: Photographs, injected_draws: type
) -> None:
    # Each texture, some of which cover the image and some of which are too small; its beginning, its end, its middle.
    images = photographs(5, height, width)
    draws = {"integers": [[0, 1, 2, 3, 4]], "uniform": [[0, 0.5, 0.99999994, 0.2, 0.7], [0.99999994, 0, 0.5, 0.7, 0.2]]}
    expected, ours = (
        module.frost(images, injected_draws(**draws), image_weight=0.8, frost_weight=0.6, texture_scale=scale)
        for module in (weather, weather_numba_kernels)
    )
    assert torch.equal(ours, expected)

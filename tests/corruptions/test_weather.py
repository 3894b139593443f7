from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor

from robustbench_bi.corruptions import filters, original, weather
from robustbench_bi.corruptions.apply import corrupt, severity_constants

Photographs = Callable[..., Tensor]
Record = Callable[..., tuple[Tensor, list[Any]]]

SEVERITIES = range(1, 6)
TEXTURES = ["frost1.png", "frost2.png", "frost3.png", "frost4.jpg", "frost5.jpg"]


def as_array(image: Tensor) -> np.ndarray:
    return image.permute(1, 2, 0).numpy()


def as_tensor(image: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)


def constants_of(name: str, severity: int, table: str = "imagenet-c") -> dict[str, Any]:
    return severity_constants(name, severity, table)


@pytest.mark.parametrize("severity", SEVERITIES)
def test_snow_is_close_to_the_original_given_its_draws(
    severity: int, photographs: Photographs, record_original: Record, injected_draws: type
) -> None:
    constants = constants_of("snow", severity)
    crop = filters.centre_crop(224, constants["zoom"])
    for number, image in enumerate(photographs(2, 224)):
        expected, (layer, degrees) = record_original(image, "snow", severity, seed=number)
        noise = (layer[crop, crop] - constants["mean"]) / constants["std"]
        ours = weather.snow(image[None], injected_draws(normal=[noise[None]], uniform=[[degrees]]), **constants)[0]
        difference = ours.double() - expected.double()
        # The original does not truncate its layer to uint8 before the blur, and is brighter for it.
        assert -0.3 < float(difference.mean()) <= 0
        assert float(difference.abs().mean()) < 0.4


def test_snow_draws_any_direction_within_45_degrees_of_straight_down(photographs: Photographs) -> None:
    asked = []

    def uniform(*shape: int, low: float, high: float) -> Tensor:
        asked.append((shape, low, high))
        return torch.full((2,), -90.0)

    draws = SimpleNamespace(uniform=uniform, normal=lambda *shape: torch.zeros(2, *shape))
    weather.snow(photographs(2, 32), draws, **constants_of("snow", 1))  # type: ignore[arg-type]
    assert asked == [((), -135.0, -45.0)]


def test_frost_takes_all_places_of_a_texture_but_the_last(injected_draws: type) -> None:
    black = torch.zeros(2, 3, 64, 80, dtype=torch.uint8)
    shares = [0.0, 0.99999994]
    draws = injected_draws(integers=[[3, 3]], uniform=[shares, shares])
    frosted = weather.frost(black, draws, image_weight=1, frost_weight=1, texture_scale=1)
    picture = as_tensor(cv2.imread(str(original.frost_texture_folder() / TEXTURES[3]))[..., ::-1])
    assert torch.equal(frosted[0], picture[:, :64, :80])
    assert torch.equal(frosted[1], picture[:, -65:-1, -81:-1])


def test_frost_never_draws_the_sixth_texture(photographs: Photographs) -> None:
    asked = []

    def integers(low: int, high: int) -> Tensor:
        asked.append((low, high))
        return torch.zeros(1, dtype=torch.int64)

    draws = SimpleNamespace(integers=integers, uniform=lambda: torch.zeros(1))
    weather.frost(photographs(1, 32), draws, **constants_of("frost", 1))  # type: ignore[arg-type]
    assert asked == [(0, 5)]


def test_frost_enlarges_a_texture_just_enough(injected_draws: type) -> None:
    # The second texture has 315 × 560 pixels.
    images = torch.zeros(1, 3, 640, 700, dtype=torch.uint8)
    draws = injected_draws(integers=[[1]], uniform=[[0.9], [0.0]])
    frosted = weather.frost(images, draws, image_weight=1, frost_weight=1, texture_scale=1)[0]
    picture = cv2.imread(str(original.frost_texture_folder() / TEXTURES[1]))
    expected = cv2.resize(picture, (0, 0), fx=640 / 315, fy=640 / 315)[:, :700, ::-1]
    assert expected.shape[0] == 640
    assert int((frosted.int() - as_tensor(expected).int()).abs().max()) <= 1


@pytest.mark.parametrize("severity", SEVERITIES)
def test_brightness_equals_the_original_on_random_images(severity: int) -> None:
    random = torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(severity))
    few_levels = random // 51 * 51
    for images in (random, few_levels):
        assert torch.equal(corrupt(images, "brightness", severity), original.corrupt(images, "brightness", severity))


def test_spatter_wraps_levels_above_white_around(
    photographs: Photographs, record_original: Record, injected_draws: type
) -> None:
    image = photographs(1, 48)[0]
    constants = constants_of("spatter", 3)
    _, (noise,) = record_original(image, "spatter", 3)
    noise = noise + 0.3 * (np.arange(48) > 24)

    class Given:
        @staticmethod
        def normal(size: tuple[int, int], loc: float, scale: float) -> np.ndarray:
            return noise

    expected = original.corrupt_image(as_array(image), "spatter", 3, Given)
    normal = (noise - constants["mean"]) / constants["std"]
    ours = weather.spatter(image[None], injected_draws(normal=[normal[None]]), **constants)[0]
    assert float((ours != as_tensor(expected)).double().mean()) < 0.001


def test_spatter_without_any_water_leaves_the_image_alone(photographs: Photographs, injected_draws: type) -> None:
    images = photographs(2, 32)
    normal = np.zeros((2, 32, 32))
    normal[1, 10:20, 10:20] = 3
    ours = weather.spatter(images, injected_draws(normal=[normal]), **constants_of("spatter", 2))
    assert torch.equal(ours[0], images[0])
    assert not torch.equal(ours[1], images[1])

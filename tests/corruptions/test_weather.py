from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
import scipy.ndimage
import skimage.color
import torch
from torch import Tensor

from robustbench_bi.corruptions import TABLES, filters, original, weather
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


def published_snow(image: Tensor, noise: np.ndarray, degrees: float, constants: dict[str, Any]) -> Tensor:
    """Snow as published, with NumPy's motion blur; noise is the whole H × W layer, standard normal."""
    pixels = as_array(image).astype(np.float32) / np.float32(255)
    height, width = noise.shape
    zoom = constants["zoom"]
    layer = noise[filters.centre_crop(height, zoom), filters.centre_crop(width, zoom)]
    layer = scipy.ndimage.zoom(constants["mean"] + constants["std"] * layer, zoom, order=1)[:height, :width]
    layer[layer < constants["threshold"]] = 0
    layer = (np.clip(layer, 0, 1) * 255).astype(np.uint8)

    weights = np.exp(-(np.arange(2 * constants["blur_radius"] + 1) ** 2) / (2 * constants["blur_sigma"] ** 2))
    blurred = np.zeros(layer.shape)
    for step, weight in enumerate(weights / weights.sum()):
        down = int(np.ceil(step * np.sin(np.deg2rad(degrees)) - 0.5))
        right = int(np.ceil(step * np.cos(np.deg2rad(degrees)) - 0.5))
        rows = np.clip(np.arange(height) + down, 0, height - 1)
        blurred += weight * layer[rows][:, np.clip(np.arange(width) + right, 0, width - 1)]
    flakes = np.round(blurred)[..., None] / 255

    grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)[..., None]
    weight = constants["image_weight"]
    whitened = weight * pixels + (1 - weight) * np.maximum(pixels, grey * 1.5 + 0.5)
    return as_tensor((np.clip(whitened + flakes + np.rot90(flakes, 2), 0, 1) * 255).astype(np.uint8))


@pytest.mark.parametrize("table", TABLES.names)
def test_snow_equals_the_published_steps(table: str, photographs: Photographs, injected_draws: type) -> None:
    random = np.random.default_rng(0)
    side = TABLES[table].side
    for image, severity in zip(photographs(5, side, side + 9), SEVERITIES, strict=True):
        constants = constants_of("snow", severity, table)
        noise = random.normal(size=(side, side + 9)).astype(np.float32)
        degrees = np.float32(random.uniform(-135, -45))
        middle = noise[filters.centre_crop(side, constants["zoom"])][
            :, filters.centre_crop(side + 9, constants["zoom"])
        ]
        draws = injected_draws(normal=[middle[None]], uniform=[[degrees]])
        ours = weather.snow(image[None], draws, **constants)
        assert draws.used_up()
        difference = (ours[0].int() - published_snow(image, noise, float(degrees), constants).int()).abs()
        # Where the blurred layer lies halfway between two levels, rounding errors decide over one level.
        assert int(difference.max()) <= 1 and float(difference.double().mean()) < 0.001


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


def published_frost(image: Tensor, texture: int, top: float, left: float, constants: dict[str, Any]) -> Tensor:
    picture = cv2.imread(str(original.frost_texture_folder() / TEXTURES[texture]))
    scale = constants["texture_scale"]
    if scale != 1:
        picture = cv2.resize(picture, (0, 0), fx=scale, fy=scale)
    height, width = image.shape[1:]
    y, x = int(top * (picture.shape[0] - height)), int(left * (picture.shape[1] - width))
    part = picture[y : y + height, x : x + width, ::-1]
    mixed = constants["image_weight"] * as_array(image) + constants["frost_weight"] * part
    return as_tensor(np.clip(mixed, 0, 255).astype(np.uint8))


@pytest.mark.parametrize("table", [table.name for table in TABLES if "frost" not in table.variants])
def test_frost_equals_the_published_steps(table: str, photographs: Photographs, injected_draws: type) -> None:
    textures, tops, lefts = np.arange(5), [0.0, 0.3, 0.99999994, 0.71, 0.5], [0.99999994, 0.0, 0.42, 0.6, 0.1]
    for severity in SEVERITIES:
        constants = constants_of("frost", severity, table)
        images = photographs(5, TABLES[table].side)
        ours = weather.frost(images, injected_draws(integers=[textures], uniform=[tops, lefts]), **constants)
        for number, image in enumerate(images):
            expected = published_frost(image, number, *np.float32([tops[number], lefts[number]]).tolist(), constants)
            assert torch.equal(ours[number], expected)


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
@pytest.mark.parametrize(("height", "width"), [(33, 47), (64, 64), (130, 96)])
def test_fog_equals_the_original_given_its_draws(
    severity: int, height: int, width: int, photographs: Photographs, injected_draws: type
) -> None:
    side = 1 << (max(height, width) - 1).bit_length()
    steps = np.random.default_rng(severity).uniform(-1, 1, (2, side**2 - 1)).astype(np.float32)
    images = photographs(2, height, width)
    ours = weather.fog(images, injected_draws(uniform=[steps]), **constants_of("fog", severity))
    for number, image in enumerate(images):
        numbers = iter(steps[number].astype(np.float64))

        class Given:
            @staticmethod
            def uniform(low: float, high: float, shape: tuple[int, int]) -> np.ndarray:
                assert low == -high
                return np.array([next(numbers) for _ in range(shape[0] * shape[1])]).reshape(shape) * high  # noqa: B023

        expected = original.corrupt_image(as_array(image), "fog", severity, Given)
        assert torch.equal(ours[number], as_tensor(expected))


@pytest.mark.parametrize("severity", SEVERITIES)
def test_brightness_equals_the_original(severity: int, photographs: Photographs) -> None:
    random = torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(severity))
    few_levels = random // 51 * 51
    for images in (photographs(1, 224), photographs(3, 33, 47), random, few_levels):
        assert torch.equal(corrupt(images, "brightness", severity), original.corrupt(images, "brightness", severity))


@pytest.mark.parametrize("severity", SEVERITIES)
def test_brightness_with_the_smallest_table(severity: int, photographs: Photographs) -> None:
    image = photographs(1, 32)
    hsv = skimage.color.rgb2hsv(as_array(image[0]) / 255)
    hsv[..., 2] = np.clip(hsv[..., 2] + constants_of("brightness", severity, "cifar-10-c")["offset"], 0, 1)
    expected = (np.clip(skimage.color.hsv2rgb(hsv), 0, 1) * 255).astype(np.uint8)
    assert torch.equal(corrupt(image, "brightness", severity, table="cifar-10-c")[0], as_tensor(expected))


@pytest.mark.parametrize("severity", SEVERITIES)
@pytest.mark.parametrize(("height", "width"), [(33, 47), (224, 224)])
def test_spatter_equals_the_original_given_its_draws(
    severity: int, height: int, width: int, photographs: Photographs, record_original: Record, injected_draws: type
) -> None:
    constants = constants_of("spatter", severity)
    for number, image in enumerate(photographs(2, height, width)):
        expected, (noise,) = record_original(image, "spatter", severity, seed=number)
        normal = (noise - constants["mean"]) / constants["std"]
        ours = weather.spatter(image[None], injected_draws(normal=[normal[None]]), **constants)[0]
        difference = (ours.int() - expected.int()).abs()
        # The original keeps its layers in float64 where the published code has float32.
        assert int(difference.max()) <= 1 and float(difference.double().mean()) < 0.001


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


@pytest.mark.parametrize("name", ["snow", "frost", "fog", "spatter"])
@pytest.mark.parametrize("severity", [1, 4])
def test_change_agrees_with_the_original_on_average(name: str, severity: int, photographs: Photographs) -> None:
    images = photographs(64, 64)
    # Without liquid the original divides zero by zero, and says so.
    with np.errstate(invalid="ignore"):
        reference = original.corrupt(images, name, severity)
    ours, expected = (
        (corrupted.double() - images.double()).flatten(1) for corrupted in (corrupt(images, name, severity), reference)
    )
    for measure in (torch.mean, torch.std):
        difference = measure(ours, dim=1) - measure(expected, dim=1)
        # Both draw for themselves: 2 % and three standard errors of what the draws leave to chance.
        chance = 3 * float(difference.std()) / len(images) ** 0.5
        assert abs(float(difference.mean())) < 0.02 * float(expected.abs().mean()) + chance

"""The table "imagecorruptions" against the package of that name: pixels, given its draws, and what it draws."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor

from robustbench_bi.corruptions import (
    CORRUPTIONS,
    TABLES,
    bethgelab,
    bethgelab_numba_kernels,
    digital,
    filters,
    original,
    weather,
)
from robustbench_bi.corruptions.apply import corrupt, severity_constants
from robustbench_bi.corruptions.draws import Draws

Photographs = Callable[..., Tensor]
Record = Callable[..., tuple[Tensor, list[Any]]]

TABLE = "imagecorruptions"
SEVERITIES = range(1, 6)
RANDOM = ["elastic_transform", "frost", "snow"]
VARIANTS = [*RANDOM, "pixelate"]
TEXTURES = ["frost1.png", "frost2.png", "frost3.png", "frost4.jpg", "frost5.jpg"]
# At 150 and 158 SciPy puts a zero at the end of some of the magnified layers of snow.
SIZES = [(224, 224), (64, 64), (33, 47), (150, 158)]
BACKENDS = {"reference": bethgelab, "numba": bethgelab_numba_kernels}


def bound(name: str, backend: str) -> float:
    """The share of bytes that may differ from the package's, by one."""
    if name == "frost" and not cv2.ipp.useIPP():
        return 0.06  # Without Intel's library OpenCV rounds the weights of its bicubic interpolation.
    return 5e-4 if (name, backend) == ("elastic_transform", "numba") else 1e-4


def enlarged_size(number: int, height: int, width: int) -> tuple[int, int]:
    """The size that the package gives a texture, so that it more than covers an image."""
    sides = cv2.imread(str(original.frost_texture_folder() / TEXTURES[number])).shape[:2]
    scale = max(1, height / sides[0], width / sides[1]) * 1.1
    return math.ceil(sides[0] * scale), math.ceil(sides[1] * scale)


def as_asked_for(name: str, drawn: list[Any], height: int, width: int, constants: dict[str, Any]) -> dict[str, Any]:
    """What the package drew for an image, as our function asks for it."""
    if name == "elastic_transform":
        return {"uniform": drawn}
    if name == "frost":
        number, top, left = drawn
        large_height, large_width = enlarged_size(number, height, width)
        return {
            "integers": [number],
            "uniform": [(top + 0.5) / (large_height - height), (left + 0.5) / (large_width - width)],
        }
    noise, degrees = drawn
    crop = filters.centre_crop(height, constants["zoom"]), filters.centre_crop(width, constants["zoom"])
    return {"normal": [(noise[crop] - constants["mean"]) / constants["std"]], "uniform": [degrees]}


def ours_and_theirs(
    function: Callable[..., Tensor], images: Tensor, severity: int, record: Record, injected: type
) -> tuple[Tensor, Tensor]:
    """What a function and the package make of images, given what the package draws."""
    name = function.__name__
    constants = severity_constants(name, severity, TABLE)
    expected, drawn = zip(*(record(image, name, severity, seed=seed) for seed, image in enumerate(images)), strict=True)
    asked_for = [as_asked_for(name, draws, *images.shape[2:], constants) for draws in drawn]
    queues = {
        kind: [np.stack(arrays) for arrays in zip(*(one[kind] for one in asked_for), strict=True)]
        for kind in asked_for[0]
    }
    draws = injected(**queues)
    ours = function(images, draws, **constants)
    assert draws.used_up()
    return ours, torch.stack(expected)


def share_off_by_one(ours: Tensor, expected: Tensor) -> float:
    difference = (ours.int() - expected.int()).abs()
    assert int(difference.max()) <= 1
    return float((difference > 0).double().mean())


@pytest.mark.parametrize(("height", "width"), SIZES)
@pytest.mark.parametrize("severity", SEVERITIES)
@pytest.mark.parametrize("name", RANDOM)
@pytest.mark.parametrize("backend", BACKENDS)
def test_pixels_equal_the_package_given_its_draws(
    backend: str,
    name: str,
    severity: int,
    height: int,
    width: int,
    photographs: Photographs,
    record_original: Record,
    injected_draws: type,
) -> None:
    images = photographs(2, height, width)
    function = getattr(BACKENDS[backend], name)
    result = ours_and_theirs(function, images, severity, record_original, injected_draws)
    assert share_off_by_one(*result) <= bound(name, backend)


@pytest.mark.parametrize(("height", "width"), [(640, 400), (400, 700), (620, 910)])
@pytest.mark.parametrize("backend", BACKENDS)
def test_frost_covers_images_larger_than_its_textures(
    backend: str, height: int, width: int, photographs: Photographs, record_original: Record, injected_draws: type
) -> None:
    images = photographs(3, height, width)
    result = ours_and_theirs(BACKENDS[backend].frost, images, 4, record_original, injected_draws)
    assert share_off_by_one(*result) <= bound("frost", backend)


@pytest.mark.parametrize("number", range(5))
def test_whole_textures_are_enlarged_as_by_opencv(number: int) -> None:
    picture = cv2.imread(str(original.frost_texture_folder() / TEXTURES[number]))
    ours = bethgelab.enlarged(number, 1.37, torch.device("cpu"))
    height, width = ours.shape[1:]
    part = bethgelab_numba_kernels._part(number, slice(0, height), slice(0, width), height, width)
    expected = cv2.resize(picture, (width, height), interpolation=cv2.INTER_CUBIC)[..., ::-1].copy()
    for texture in (ours, torch.from_numpy(part)):
        assert share_off_by_one(texture, torch.from_numpy(expected).movedim(-1, 0)) <= bound("frost", "reference")


@pytest.mark.parametrize(("height", "width"), [*SIZES, (47, 33), (40, 40), (85, 101), (240, 320)])
@pytest.mark.parametrize("severity", SEVERITIES)
def test_pixelate_equals_the_package(severity: int, height: int, width: int, photographs: Photographs) -> None:
    images = photographs(1, height, width)
    expected = original.corrupt(images, "pixelate", severity)
    for module in BACKENDS.values():
        assert torch.equal(module.pixelate(images, None, **severity_constants("pixelate", severity, TABLE)), expected)


@pytest.mark.parametrize("severity", SEVERITIES)
def test_elastic_transform_treats_flat_images_as_the_package(severity: int) -> None:
    levels = torch.arange(255, dtype=torch.uint8).view(85, 3)
    images = levels[..., None, None].expand(-1, -1, 32, 32).contiguous()
    expected = original.corrupt(images, "elastic_transform", severity)
    for backend in BACKENDS:
        assert torch.equal(corrupt(images, "elastic_transform", severity, table=TABLE, backend=backend), expected)


def test_the_functions_of_the_other_tables_fail_these_comparisons(
    photographs: Photographs, record_original: Record, injected_draws: type
) -> None:
    images = photographs(2, 240, 320)
    for function, least in ((weather.frost, 0.5), (weather.snow, 0.02)):
        ours, expected = ours_and_theirs(function, images, 5, record_original, injected_draws)
        assert float((ours != expected).double().mean()) > least
    ours = digital.pixelate(images, None, scale=0.4)  # type: ignore[arg-type]
    assert float((ours != original.corrupt(images, "pixelate", 3)).double().mean()) > 0.05


class Noted:
    """Passes calls on, and keeps what was asked for."""

    def __init__(self, generator: Any) -> None:
        self._generator = generator
        self.calls: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = []

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            self.calls.append((name, arguments, options))
            return getattr(self._generator, name)(*arguments, **options)

        return call


def test_draws_have_the_distributions_of_the_package(photographs: Photographs) -> None:
    images = photographs(1, 33, 47)
    theirs, ours = {}, {}
    for name in RANDOM:
        generator = Noted(np.random.RandomState(0))
        original.corrupt_image(images[0].permute(1, 2, 0).numpy(), name, 2, generator)
        theirs[name] = generator.calls
        draws = Noted(Draws(torch.tensor([0]), seed=0, stream=1, severity=2))
        getattr(bethgelab, name)(images, draws, **severity_constants(name, 2, TABLE))
        ours[name] = draws.calls

    reach = 33 * 0.005
    assert theirs["elastic_transform"] == [("uniform", (-reach, reach), {"size": (33, 47)})] * 2
    assert ours["elastic_transform"] == [("uniform", (33, 47), {"low": -reach, "high": reach})] * 2
    # The package draws the 33 × 47 pixels of the picture, of which a magnification by 2 keeps 17 × 24.
    noise = ("normal", (), {"size": (33, 47), "loc": 0.2, "scale": 0.3})
    assert theirs["snow"] == [noise, ("uniform", (-135, -45), {})]
    assert ours["snow"] == [("normal", (17, 24), {}), ("uniform", (), {"low": -135.0, "high": -45.0})]
    number = np.random.RandomState(0).randint(5)
    height, width = enlarged_size(number, 33, 47)
    assert theirs["frost"] == [("randint", limits, {}) for limits in ((5,), (0, height - 33), (0, width - 47))]
    assert ours["frost"] == [("integers", (0, 5), {}), ("uniform", (), {}), ("uniform", (), {})]


@pytest.mark.parametrize("name", VARIANTS)
def test_corrupt_takes_the_variants(name: str, photographs: Photographs) -> None:
    images = photographs(2, 33, 47)
    for backend, module in BACKENDS.items():
        draws = Draws(torch.tensor([5, 6]), seed=3, stream=CORRUPTIONS[name].stream, severity=3)
        expected = getattr(module, name)(images, draws, **severity_constants(name, 3, TABLE))
        options: dict[str, Any] = {"seed": 3, "ids": [5, 6], "backend": backend}
        assert torch.equal(corrupt(images, name, 3, table=TABLE, **options), expected)
        assert not torch.equal(corrupt(images, name, 3, **options), expected)


@pytest.mark.parametrize("severity", SEVERITIES)
def test_constants_are_those_of_side_224(severity: int) -> None:
    assert TABLES[TABLE].variants == tuple(row.name for row in CORRUPTIONS if row.name in VARIANTS)
    for name in set(CORRUPTIONS.names) - {"elastic_transform", "frost"}:
        assert severity_constants(name, severity, TABLE) == severity_constants(name, severity, "imagenet-c")
    frost = severity_constants("frost", severity, "imagenet-c") | {"texture_scale": 1.1}
    assert severity_constants("frost", severity, TABLE) == frost
    alpha = 250 * (0.05, 0.065, 0.085, 0.1, 0.12)[severity - 1]
    assert severity_constants("elastic_transform", severity, TABLE) == {"alpha": alpha}

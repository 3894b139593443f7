"""ImageNet-C-bar and CIFAR-10-C-bar: the published constants, and each corruption against a plain formulation.

The formulations are in float64 and come from the description of the published code, given what was drawn.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import scipy.ndimage
import skimage.draw
import torch
from numpy.typing import NDArray
from torch import Tensor

from robustbench_bi.corruptions import SUITES, bar_circles, bar_covers, bar_noise, bar_splines, bar_warps, original
from robustbench_bi.corruptions.apply import corrupt, severity_constants
from robustbench_bi.corruptions.draws import Draws
from robustbench_bi.errors import InputError
from robustbench_bi.metrics.robustness import benchmark_corruptions

Photographs = Callable[..., Tensor]
Floats = NDArray[np.float64]

SIDE = 64
# imagenet_c_bar.csv and cifar10_c_bar.csv, in table order; what is made of a value, constant by constant.
IMAGENET = {
    "blue_noise_sample": (0.8, 1.6, 2.4, 4.0, 5.6),
    "brownish_noise": (1, 2, 3, 4, 5),
    "caustic_refraction": (2.35, 3.2, 4.9, 6.6, 9.15),
    "checkerboard_cutout": (2, 3, 4, 5, 6),
    "concentric_sine_waves": (3, 5, 8, 9, 10),
    "inverse_sparkles": (1, 2, 4, 9, 10),
    "perlin_noise": (4.6, 5.2, 5.8, 7.6, 8.8),
    "plasma_noise": (4.75, 7, 8.5, 9.25, 10),
    "single_frequency_greyscale": (1, 1.5, 2, 4.5, 5),
    "sparkles": (1, 2, 3, 5, 6),
}
CIFAR = {
    "blue_noise_sample": (0.7, 1.4, 2.1, 3.5, 4.2),
    "brownish_noise": (2.5, 4, 5.5, 6.5, 7),
    "checkerboard_cutout": (1, 2, 3, 4, 5),
    "inverse_sparkles": (1, 1.5, 2.5, 4.5, 5),
    "sparkles": (0.7, 3.5, 5.6, 6.3, 7),
    "circular_motion_blur": (2.8, 3.6, 4.4, 5.2, 6),
    "lines": (0.5, 1, 1.5, 2, 2.5),
    "pinch_and_twirl": (5.5, 6, 6.5, 8.5, 10),
    "ripple": (5.5, 6, 6.5, 7.5, 8),
    "transverse_chromatic_aberration": (1, 2, 5, 9, 10),
}
MADE_OF_A_VALUE: dict[str, Callable[[float], tuple[float, ...]]] = {
    "blue_noise_sample": lambda value: (0.3 * value - 2.5,),
    "brownish_noise": lambda value: (6.4 * value,),
    "caustic_refraction": lambda value: (0.05 * value, 0.2 * value),
    "checkerboard_cutout": lambda value: (0.1 * value,),
    "concentric_sine_waves": lambda value: (12.8 * value,),
    "inverse_sparkles": lambda value: (6.5 * value / 50,),
    "perlin_noise": lambda value: (0.05 * value,),
    "plasma_noise": lambda value: (6.4 * value,),
    "single_frequency_greyscale": lambda value: (19.6 * value,),
    "sparkles": lambda value: (0.01 * value,),
    "circular_motion_blur": lambda value: (1.5 * value,),
    "lines": lambda value: (0.1 * value,),
    "pinch_and_twirl": lambda value: (9 * value, 0.04 * value + 0.1),
    "ripple": lambda value: (0.0025 * value,),
    "transverse_chromatic_aberration": lambda value: (0.05 * value,),
}


@pytest.mark.parametrize(
    ("suite", "table", "published", "cells"),
    [("imagenet-c-bar", "imagenet-c", IMAGENET, 5), ("cifar-10-c-bar", "cifar-10-c", CIFAR, 3)],
)
def test_constants_are_made_of_the_published_values(
    suite: str, table: str, published: dict[str, tuple[float, ...]], cells: int
) -> None:
    assert SUITES[suite].corruptions == tuple(published)
    for name, values in published.items():
        for severity, value in enumerate(values, start=1):
            constants = severity_constants(name, severity, table)
            assert constants.pop("cells", cells) == cells
            assert tuple(constants.values()) == pytest.approx(MADE_OF_A_VALUE[name](value)), (name, severity)


def test_a_corruption_of_one_set_keeps_its_values_in_every_table() -> None:
    for name in set(IMAGENET) ^ set(CIFAR):
        for severity in range(1, 6):
            constants = [severity_constants(name, severity, table) for table in ("imagenet-c", "cifar-10-c")]
            assert [{**own, "cells": 0} for own in constants] == [{**constants[0], "cells": 0}] * 2


def test_none_of_them_is_part_of_mce() -> None:
    assert not set(SUITES["c-bar"].corruptions) & set(benchmark_corruptions())
    assert not set(SUITES["c-bar"].corruptions) & set(SUITES["all"].corruptions)


def test_the_package_that_lacks_them_says_so() -> None:
    with pytest.raises(
        InputError, match="has only the 19 corruptions of the suite all, not ripple; leave the generator out"
    ):
        original.corrupt(np.zeros((32, 32, 3), np.uint8), "ripple", 1)


def grid() -> tuple[Floats, Floats]:
    y, x = np.mgrid[:SIDE, :SIDE].astype(np.float64)
    return y, x


def plane_wave(image: Floats, drawn: list[Any], amplitude: float) -> Floats:
    y, x = grid()
    great, share, choice, phase = drawn[0]
    great = 2 * np.pi * (great - 0.5)
    small = (2 * share - 1) * great
    along_x, along_y = (great, small) if choice < 0.5 else (small, great)
    return image + (amplitude * np.sin(x * along_x + y * along_y + 2 * np.pi * phase))[..., None]


def rings(image: Floats, drawn: list[Any], height: float) -> Floats:
    y, x = grid()
    (row, column, waves, amplitude, width) = drawn[0] * [SIDE, SIDE, 10, SIDE / 10, SIDE / 10]
    width = SIDE / 10 - width
    angle = np.arctan2(x - column, y - row) * waves
    distance = np.hypot(x - column, y - row) + np.sin(angle) * amplitude
    return image + ((distance % width / width - 0.5) * height)[..., None]


def plasma(image: Floats, drawn: list[Any], strength: float) -> Floats:
    time, sharpness, scale = drawn[0] * [6 * np.pi, 0.5, 0.125] + [0, 0.5, 0.075]
    y, x = (place / (scale * SIDE) for place in grid())
    for step in range(drawn[1]):
        down = np.cos(y * 1.93**step + time / 1.15**step) / (2.25 - sharpness) ** step
        across = np.sin(x * 1.93**step + time / 1.15**step) / (2.25 - sharpness) ** step
        x, y = x + down - 0.3 * across, y + across + 0.3 * down
    cloud = np.stack([np.sin(x - time), np.sin((x + y + np.sin(time)) / 2), np.sin(y + time)], axis=-1)
    return (1 - strength / 255) * image + strength * cloud


def star(centre: Floats, lengths: Floats, exponent: float) -> Floats:
    y, x = grid()
    down, across = y - centre[0], x - centre[1]
    place = (np.arctan2(across, down) + np.pi) / (2 * np.pi) * len(lengths)
    ray, share = place.astype(int), place % 1
    length = (1 - share) * lengths[ray % len(lengths)] + share * lengths[(ray + 1) % len(lengths)]
    light = (1 - (share - 0.5) ** 2) * (length**2 / (down**2 + across**2 + 1e-4)) ** exponent
    return np.clip(light, 0, 1)[..., None]


def stars(image: Floats, drawn: list[Any], radius: float) -> Floats:
    centres, rays, spread = drawn
    for centre, count, own in zip(centres * SIDE, rays, spread, strict=True):
        lengths = np.maximum(1, radius * SIDE * (1 + 0.25 * own[:count]))
        image = image + star(centre, lengths, 1) * (255 - image)
    return image


def inverse_star(image: Floats, drawn: list[Any], hardness: float) -> Floats:
    centres, rays, spread = drawn
    lengths = 0.25 * SIDE * (1 + 0.25 * spread[0, : rays[0]])
    return 255 + star((0.25 + 0.5 * centres[0]) * SIDE, lengths, hardness) * (image - 255)


def perlin(image: Floats, drawn: list[Any], share: float) -> Floats:
    offsets, (rows, columns) = np.argsort(drawn[0]), drawn[1] / np.hypot(*drawn[1])
    y, x = (place * 7 / SIDE for place in grid())

    def corner(y: Floats, x: Floats, down: int, across: int) -> Floats:
        numbers = (offsets[(y.astype(int) + down) % 256] + x.astype(int) + across) % 256
        return rows[numbers] * (y % 1 - down) + columns[numbers] * (x % 1 - across)

    total = np.zeros_like(y)
    for fineness in (1, 2, 4, 8, 16):
        place = y * fineness, x * fineness
        ease = [part % 1 * (part % 1) * (3 - 2 * (part % 1)) for part in place]
        left, right = ((1 - ease[0]) * corner(*place, 0, side) + ease[0] * corner(*place, 1, side) for side in (0, 1))
        total += np.abs(1.5 * ((1 - ease[1]) * left + ease[1] * right)) / fineness
    return (1 - share) * image + 255 * share * np.clip(0.5 * total + 0.5, 0, 1)[..., None]


def water(image: Floats, drawn: list[Any], lens: float, lighting: float) -> Floats:
    time, size = 0.5 + 1.5 * drawn[0][0], (0.75 + 0.5 * drawn[0][1]) * SIDE
    y, x = place = [part / size % 1 * 2 * np.pi - 250 for part in grid()]
    light = np.ones_like(y)
    for step in range(5):
        moment = time * (1 - 3.5 / (step + 1))
        y, x = (
            place[0] + np.cos(moment - y) + np.sin(moment + x),
            place[1] + np.sin(moment - x) + np.cos(moment + y),
        )
        light += 1 / np.hypot(place[0] * 0.005 / np.sin(y + moment), place[1] * 0.005 / np.cos(x + moment))
    surface = np.clip(np.abs(1.17 - (light / 5) ** 1.4) ** 8, 0, 1)
    padded = np.pad(scipy.ndimage.gaussian_filter(surface, 1), 1)
    down, across = padded[2:, 1:-1] - padded[:-2, 1:-1], padded[1:-1, 2:] - padded[1:-1, :-2]
    upright = 1 / np.sqrt(1 + down**2 + across**2)
    # Snell: the sine of the angle to the normal becomes a quarter; what is across it is the refracted ray's way.
    sine = np.sqrt(1 - upright**2)
    turned = np.where(sine > 0, np.cos(np.arcsin(sine / 4)) - np.sin(np.arcsin(sine / 4)) * upright / (sine + 1e-30), 0)
    reach = np.where(upright >= 0.999, 0, upright * turned * lens * SIDE)
    y, x = grid()
    return between_pixels(image, y + down * reach, x + across * reach) + (255 * lighting * (down - across))[..., None]


def between_pixels(image: Floats, y: Floats, x: Floats) -> Floats:
    planes = [scipy.ndimage.map_coordinates(np.pad(image[..., c], 4), (y + 4, x + 4), order=1) for c in range(3)]
    return np.stack(planes, axis=-1)


def rippled(image: Floats, drawn: list[Any], amplitude: float) -> Floats:
    wavelengths, phases = (drawn[0][:2] * 0.2 + 0.1) * SIDE, drawn[0][2:] * 2 * np.pi
    y, x = (
        place + amplitude * SIDE * np.sin(2 * np.pi * place / wavelength + phase)
        for place, wavelength, phase in zip(grid(), wavelengths, phases, strict=True)
    )
    return between_pixels(image, y, x)


def whirled(image: Floats, drawn: list[Any], cells: int, angle: float, amount: float) -> Floats:
    y, x = grid()
    side = SIDE // cells
    for row in range(cells):
        for column in range(cells):
            down, across = np.mgrid[:side, :side] - side / 2
            distance = np.hypot(down, across) / (side / 2)
            inside = (distance <= 1) & (distance > 0)
            turn = np.deg2rad(angle) * (2 * drawn[0][row, column] - 1) * (1 - distance) ** 2
            scale = np.sin(np.pi / 2 * np.where(inside, distance, 1)) ** -amount
            moved = (down + 1j * across) * np.exp(1j * turn) * scale
            area = slice(row * side, (row + 1) * side), slice(column * side, (column + 1) * side)
            y[area] = np.where(inside, (row + 0.5) * side + moved.real, y[area])
            x[area] = np.where(inside, (column + 0.5) * side + moved.imag, x[area])
    return between_pixels(image, y, x)


def checkerboard(image: Floats, drawn: list[Any], fraction: float) -> Floats:
    (angle, size), bits = drawn
    y, x = grid()
    size = (0.1 + 0.15 * size) * SIDE
    turned = (y + 1j * x) * np.exp(-2j * np.pi * angle)
    rows, columns = (np.floor(part / size).astype(int) for part in (turned.real, turned.imag))
    reach = len(bits) // 2
    cut = (bits[rows + reach, columns + reach] < fraction * 65536) & ((rows + columns) % 2 == 0)
    return np.where(cut[..., None], 128, image)


def lined(image: Floats, drawn: list[Any], density: float) -> Floats:
    (angle, variation), places = drawn
    levels = np.zeros((3 * SIDE, 3 * SIDE, 3))
    levels[SIDE : 2 * SIDE, SIDE : 2 * SIDE] = image
    for row, column, share in places:
        turn = 2 * np.pi * (angle + (0.1 + 0.9 * variation) * (share - 0.5))
        middle, reach = np.array([row, column]) * SIDE, np.array([np.sin(turn), np.cos(turn)]) * SIDE
        ends = [int(end) + SIDE for end in (*(middle - reach), *(middle + reach))]
        y, x, cover = skimage.draw.line_aa(*ends)
        levels[y, x] = np.floor((1 - cover[:, None]) * levels[y, x] + cover[:, None] * 128 + 1e-9)
    return levels[SIDE : 2 * SIDE, SIDE : 2 * SIDE]


def turned_about(image: Floats, drawn: list[Any], angle: float) -> Floats:
    shares = np.linspace(-1, 1, 21)
    weights = np.exp(-2 * shares**2)
    turns = [
        weight * scipy.ndimage.rotate(image, share * angle, reshape=False)
        for share, weight in zip(shares, weights, strict=True)
    ]
    return sum(turns) / weights.sum()


def fringed(image: Floats, drawn: list[Any], zoom: float) -> Floats:
    order = np.argsort(drawn[0])
    planes = []
    for channel in range(3):
        plane = scipy.ndimage.zoom(image[..., channel], 1 + zoom * order[channel] / 2, prefilter=False)
        edge = (len(plane) - SIDE) // 2
        planes.append(plane[edge : edge + SIDE, edge : edge + SIDE] + 0.5)
    return np.stack(planes, axis=-1)


# For each corruption: its module, its plain formulation, and the kinds and shapes of its draws.
CASES: dict[str, tuple[Any, Callable[..., Floats], list[tuple[str, tuple[int, ...]]]]] = {
    "single_frequency_greyscale": (bar_noise, plane_wave, [("uniform", (4,))]),
    "plasma_noise": (bar_noise, plasma, [("uniform", (3,)), ("integers 4 7", ())]),
    "perlin_noise": (bar_noise, perlin, [("uniform", (256,)), ("uniform -1 1", (2, 256))]),
    "concentric_sine_waves": (bar_circles, rings, [("uniform", (5,))]),
    "sparkles": (bar_circles, stars, [("uniform", (5, 2)), ("integers 50 200", (5,)), ("normal", (5, 199))]),
    "inverse_sparkles": (
        bar_circles, inverse_star, [("uniform", (1, 2)), ("integers 50 200", (1,)), ("normal", (1, 199))]
    ),
    "checkerboard_cutout": (bar_covers, checkerboard, [("uniform", (2,)), ("bits16", (32, 32))]),
    "lines": (bar_covers, lined, [("uniform", (2,)), ("uniform", (9, 3))]),
    "caustic_refraction": (bar_warps, water, [("uniform", (2,))]),
    "ripple": (bar_warps, rippled, [("uniform", (4,))]),
    "pinch_and_twirl": (bar_warps, whirled, [("integers 0 2", (3, 3))]),
    "circular_motion_blur": (bar_splines, turned_about, []),
    "transverse_chromatic_aberration": (bar_splines, fringed, [("uniform", (3,))]),
}  # fmt: skip


def draw(generator: np.random.Generator, kind: str, shape: tuple[int, ...]) -> Any:
    method, *bounds = kind.split()
    if method == "normal":
        return generator.normal(size=shape).astype(np.float32)
    if method == "uniform":
        low, high = map(float, bounds or (0, 1))
        return generator.uniform(low, high, shape).astype(np.float32)
    low, high = map(int, bounds or (0, 65536))
    return generator.integers(low, high, shape)


@pytest.mark.parametrize("severity", [1, 4])
@pytest.mark.parametrize("name", CASES)
def test_pixels_are_those_of_a_plain_formulation(
    name: str, severity: int, photographs: Photographs, injected_draws: type
) -> None:
    module, formulation, kinds = CASES[name]
    images = photographs(4, SIDE)
    constants = {**severity_constants(name, severity, "cifar-10-c"), **({"density": 0.15} if name == "lines" else {})}
    generator = np.random.default_rng(severity)
    drawn = [[draw(generator, *kind) for kind in kinds] for _ in images]
    queues: dict[str, list[Any]] = {}
    for place, (kind, _) in enumerate(kinds):
        queues.setdefault(kind.split()[0], []).append(np.stack([own[place] for own in drawn]))
    ours = getattr(module, name)(images, injected_draws(**queues), **constants).permute(0, 2, 3, 1).numpy()
    for picture, image, own in zip(ours, images.permute(0, 2, 3, 1).double().numpy(), drawn, strict=True):
        expected = np.clip(formulation(image, own, **constants), 0, 255)
        apart = np.abs(picture + 0.5 - expected)
        # Between two whole numbers, and a little more for rounding; a few pixels lie on the other side of an edge.
        assert (apart > 0.52).mean() < (0.02 if name in ("lines", "caustic_refraction") else 0.004)
        assert apart.mean() < 0.7


def noise_of(name: str, severity: int, count: int, level: int) -> Floats:
    grey = torch.full((count, 3, SIDE, SIDE), level, dtype=torch.uint8)
    return corrupt(grey, name, severity, table="imagenet-c").double().numpy() - level


def test_blue_noise_blackens_the_share_of_a_normal_noise_and_has_no_low_frequencies() -> None:
    black = noise_of("blue_noise_sample", 5, 64, 200)[:, 0] == -200
    assert black.mean() == pytest.approx(0.2061, abs=0.01)  # of a normal distribution below -0.82
    power = np.abs(np.fft.fft2(black - black.mean())).mean(axis=0) ** 2
    assert power[1:4, 0].mean() < 0.5 * power[28:36, 28:36].mean()


def test_brown_noise_has_its_deviation_and_falls_with_the_square_of_frequency() -> None:
    noise = noise_of("brownish_noise", 1, 64, 128)
    assert noise.std(axis=(2, 3)).mean() == pytest.approx(6.4, abs=0.05)
    assert not np.array_equal(noise[:, 0], noise[:, 1])
    amplitude = np.sqrt((np.abs(np.fft.fft2(noise)) ** 2).mean(axis=(0, 1)))[:, 0]
    assert amplitude[2] / amplitude[6] == pytest.approx((6**2 + 1) / (2**2 + 1), rel=0.25)
    # Its mean over a picture is random, and as large as two thirds of the deviation.
    assert noise.mean(axis=(2, 3)).std() > 2


def test_noise_is_the_real_part_of_waves_with_mirrored_phases() -> None:
    height, width = 6, 8
    phases = torch.randint(0, 65536, (1, 1, height * width // 2), generator=torch.Generator().manual_seed(0))
    whole = torch.cat([phases, phases.flip(-1)], dim=-1).view(1, 1, height, width)
    row, column = np.mgrid[:height, :width]
    amplitudes = np.hypot((row - height // 2) * (6 / height), (column - width // 2) * (6 / width))
    waves = np.fft.ifftshift(amplitudes * np.exp(2j * np.pi * whole[0, 0].numpy() / 65536))
    expected = np.fft.ifft2(waves).real
    ours = bar_noise.unit_noise(bar_noise.spectrum(whole, bar_noise.distances(height, width)), height, width)
    assert np.allclose(ours[0, 0].numpy(), expected / expected.std())


def waves_of(phases: NDArray[np.int64], power: Callable[[Floats], Floats]) -> Floats:
    """Noise of unit deviation: waves with these phases, and amplitudes by their distance from zero frequency."""
    whole = np.concatenate([phases, phases[::-1]]).reshape(SIDE, SIDE)
    row, column = grid()
    amplitudes = power(np.hypot(row - SIDE // 2, column - SIDE // 2))
    noise = np.fft.ifft2(np.fft.ifftshift(amplitudes * np.exp(2j * np.pi * whole / 65536))).real
    return noise / noise.std()


def test_blue_noise_rises_with_frequency_and_brown_noise_falls_with_its_square(
    photographs: Photographs, injected_draws: type
) -> None:
    image = photographs(1, SIDE)
    phases = np.random.default_rng(0).integers(0, 65536, (1, 3, SIDE * SIDE // 2))
    blue = bar_noise.blue_noise_sample(image, injected_draws(bits16=[phases[:, :1]]), threshold=-0.5)[0].numpy()
    expected = image[0].numpy() * (waves_of(phases[0, 0], lambda distance: distance) > -0.5)
    assert (blue != expected).mean() < 0.001
    brown = bar_noise.brownish_noise(image, injected_draws(bits16=[phases]), std=20.0)[0].numpy()
    noises = np.stack([waves_of(channel, lambda distance: 1 / (distance**2 + 1)) for channel in phases[0]])
    assert np.abs(brown - np.clip(image[0].numpy() + 20 * noises, 0, 255).astype(np.uint8).astype(int)).max() <= 1


@pytest.mark.parametrize(("height", "width"), [(33, 47), (32, 200), (41, 41)])
@pytest.mark.parametrize("name", ["brownish_noise", "perlin_noise", "blue_noise_sample"])
def test_clouds_cover_pictures_of_any_shape(name: str, height: int, width: int) -> None:
    grey = torch.full((8, 3, height, width), 128, dtype=torch.uint8)
    changed = (corrupt(grey, name, 5, table="imagenet-c") != grey).any(dim=1).float().mean(dim=0)
    assert bool((changed > 0).float().mean() > 0.8)


def test_stars_of_one_image_do_not_depend_on_its_batch() -> None:
    ids = torch.tensor([3, 9])
    together = bar_circles.star_draws(Draws(ids, seed=1, stream=29, severity=2), 5, 40, 50, 0.02)
    alone = bar_circles.star_draws(Draws(ids[1:], seed=1, stream=29, severity=2), 5, 40, 50, 0.02)
    assert all(torch.equal(one[1:], two) for one, two in zip(together, alone, strict=True))

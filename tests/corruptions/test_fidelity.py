"""Every corruption, severity and table of constants against the code that made ImageNet-C, pixels against pixels.

The original is the package `imagecorruptions` where its algorithm is that of the four published scripts
(hendrycks/robustness, ImageNet-C/create_c), with the constants of the table in question; elsewhere it is the published
steps, which stand below. What it draws is noted and handed to our functions. Run beside the scripts themselves, with
their own constants and the same draws, this original gave the same bytes for every corruption, severity and table, but
for one step of motion_blur and snow: the scripts call ImageMagick, in whose place both sides here have the package's
sum of shifted images.
"""

from __future__ import annotations

import ast
import functools
import inspect
import math
from collections.abc import Callable, Iterator
from typing import Any

import cv2
import numpy as np
import pytest
import scipy.ndimage
import skimage.filters
import torch
from numpy.typing import NDArray
from scipy.special import pdtr
from torch import Tensor

from robustbench_bi.corruptions import CORRUPTIONS, SUITES, modules_of, original
from robustbench_bi.corruptions.apply import corrupt, severity_constants
from robustbench_bi.ops.backends import load

Photographs = Callable[..., Tensor]
Picture = NDArray[np.uint8]  # (H, W, 3)
Constants = dict[str, Any]
Queues = dict[str, list[Any]]

SEVERITIES = range(1, 6)
IMAGENET_C = SUITES["all"].corruptions
BACKENDS = ("reference", "numba")

# How many bytes in a million may differ from the original's on images of 224 and 299 pixels, and on smaller ones, and
# by how many grey levels at most. Each is at most three times what was ever measured.
EXACT = (0, 0, 0)
BOUNDS = {
    # Float32 in place of float64.
    "gaussian_noise": (30, 60, 1),
    "speckle_noise": (20, 90, 1),
    # Counts of a probability under 2**-16 cannot be drawn; the next one is up to 85 levels away, at three photons.
    "shot_noise": (50, 150, 85),
    "impulse_noise": EXACT,
    # Sums that miss a whole level by a rounding error: in flat regions, and where small kernels give round fractions.
    "defocus_blur": (15, 500, 1),
    "glass_blur": (40, 2500, 1),
    "motion_blur": (2500, 12000, 1),
    "zoom_blur": (12, 90, 1),
    "snow": (40, 300, 1),
    "gaussian_blur": (12, 2000, 1),
    "frost": EXACT,
    "fog": EXACT,
    "brightness": EXACT,
    # Not every image: where the mean of a channel is a whole level, rounding errors of the original's sum decide over
    # some of its bytes. That was so in one of 2,500 channels of 32 × 32 pixels, and in none of these.
    "contrast": EXACT,
    # Float32 coordinates. OpenCV 4, with whose predecessors the files were made, rounds them to 1/32 pixel.
    "elastic_transform": (1000, 1500, 1) if int(cv2.__version__.split(".")[0]) > 4 else (150_000, 400_000, 4),
    "pixelate": EXACT,
    "jpeg_compression": EXACT,
    # Float32; and OpenCV without Intel's library rounds distances otherwise.
    "spatter": (50, 90, 1) if cv2.ipp.useIPP() else (200, 2500, 1),
    "saturate": EXACT,
}

# A table of constants, height and width, and the number of images: each table at its own side, then other shapes.
CASES = [
    ("imagenet-c", 224, 224, 4),
    ("imagenet-c-299", 299, 299, 3),
    ("tiny-imagenet-c", 64, 64, 12),
    ("cifar-10-c", 32, 32, 32),
    ("imagenet-c", 33, 47, 12),
    ("imagenet-c", 130, 96, 4),
]


class Source:
    """Stands in for `numpy.random` in the original: rounds numbers to float32, which ours are, and notes them."""

    def __init__(self, seed: int) -> None:
        self._random = np.random.RandomState(seed)
        self._pairs: Iterator[list[int]] | None = None
        self.noted: list[Any] = []

    def _note(self, values: Any) -> Any:
        self.noted.append(values)
        return values

    def normal(self, size: tuple[int, ...], loc: float = 0.0, scale: float = 1.0) -> NDArray[np.float64]:
        """Notes standard normals."""
        return loc + scale * self._note(self._random.normal(size=size).astype(np.float32)).astype(np.float64)

    def uniform(self, low: float, high: float, size: tuple[int, ...] = ()) -> Any:
        """Notes a single number as it is; arrays, whose interval has its middle at 0, as shares of its end."""
        if size == ():
            return self._note(float(np.float32(self._random.uniform(low, high))))
        assert low == -high
        return self._note(self._random.uniform(-1, 1, size).astype(np.float32)).astype(np.float64) * high

    def poisson(self, rates: NDArray[np.float64]) -> Any:
        return self._note(self._random.poisson(rates))

    def randint(self, low: int, high: int | None = None, size: tuple[int] | None = None) -> Any:
        if size is None:
            return self._note(int(self._random.randint(low, high)))
        # glass_blur draws two for each pixel; to have them in stock makes it five times as fast.
        self._pairs = self._pairs or self._pairs_between(low, high)
        return self._note(next(self._pairs))

    def _pairs_between(self, low: int, high: int | None) -> Iterator[list[int]]:
        while True:
            yield from self._random.randint(low, high, (2**14, 2)).tolist()


# Where the package has left the published scripts in a detail: a filter, and float32.
PUBLISHED_DETAILS = {"pixelate": ("Image.NEAREST", "Image.BOX"), "spatter": ("np.ones_like(x_rgb", "np.ones_like(x")}


@functools.cache
def packaged(name: str, table: str) -> Callable[..., Any]:
    """A function of the package. It has the constants of "imagenet-c" in it; those of another table replace them."""
    module = original._module()
    source = inspect.getsource(getattr(module, name))
    if name in PUBLISHED_DETAILS:
        assert PUBLISHED_DETAILS[name][0] in source
        source = source.replace(*PUBLISHED_DETAILS[name])
    tree = ast.parse(source)
    if table != "imagenet-c":
        assignments = [node for node in ast.walk(tree) if isinstance(node, ast.Assign)]
        (choice,) = (node.value for node in assignments if ast.unparse(node.targets[0]) == "c")
        assert isinstance(choice, ast.Subscript) and ast.unparse(choice.slice) == "severity - 1"
        choice.value = ast.parse(constants_as_code(name, table), mode="eval").body
    namespace = dict(vars(module))
    exec(compile(tree, f"{name} of {table}", "exec"), namespace)
    function: Callable[..., Any] = namespace[name]
    return function


def constants_as_code(name: str, table: str) -> str:
    """The list from which a function of the package takes the constants of a severity."""
    rows = [tuple(severity_constants(name, severity, table).values()) for severity in SEVERITIES]
    if name == "zoom_blur":
        return f"[{', '.join(f'np.arange(1, {stop}, {step})' for stop, step in rows)}]"
    return repr([row if len(row) > 1 else row[0] for row in rows])


def published_snow(image: Picture, random: Source, constants: Constants) -> NDArray[Any]:
    pixels, sides, zoom = image.astype(np.float32) / np.float32(255), image.shape[:2], constants["zoom"]
    middle = random.normal(sides, constants["mean"], constants["std"])[middle_of(sides, zoom)]
    magnified = scipy.ndimage.zoom(middle, zoom, order=1)
    top, left = ((longer - side) // 2 for longer, side in zip(magnified.shape, sides, strict=True))
    layer = magnified[top : top + sides[0], left : left + sides[1]]
    layer = (np.clip(np.where(layer < constants["threshold"], 0, layer), 0, 1) * 255).astype(np.uint8)
    blur = constants["blur_radius"], constants["blur_sigma"], random.uniform(-135, -45)
    flakes = np.round(original._module()._motion_blur(layer, *blur))[..., None] / 255
    grey, weight = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)[..., None], constants["image_weight"]
    whitened = weight * pixels + (1 - weight) * np.maximum(pixels, grey * 1.5 + 0.5)
    return np.clip(whitened + flakes + np.rot90(flakes, 2), 0, 1) * 255


def middle_of(sides: tuple[int, ...], zoom: float) -> tuple[slice, ...]:
    """What of an image a magnification leaves in the frame."""
    lengths = [math.ceil(side / zoom) for side in sides]
    starts = [(side - length) // 2 for side, length in zip(sides, lengths, strict=True)]
    return tuple(slice(start, start + length) for start, length in zip(starts, lengths, strict=True))


def published_frost(image: Picture, random: Source, constants: Constants) -> NDArray[Any]:
    texture = frost_texture(random.randint(5), constants["texture_scale"])
    height, width = image.shape[:2]
    top, left = random.randint(0, texture.shape[0] - height), random.randint(0, texture.shape[1] - width)
    part = texture[top : top + height, left : left + width, ::-1]
    return np.clip(constants["image_weight"] * image + constants["frost_weight"] * part, 0, 255)


@functools.cache
def frost_texture(number: int, scale: float) -> Picture:
    names = ["frost1.png", "frost2.png", "frost3.png", "frost4.jpg", "frost5.jpg"]
    texture = cv2.imread(str(original.frost_texture_folder() / names[number]))
    return texture if scale == 1 else cv2.resize(texture, (0, 0), fx=scale, fy=scale)


def published_elastic_transform(image: Picture, random: Source, constants: Constants) -> NDArray[Any]:
    height, width = image.shape[:2]
    picture, affine = image.astype(np.float32) / 255, constants["affine"]
    centre = np.array([height // 2, width // 2], np.float32)
    arm = min(height, width) // 3
    points = np.array([centre + arm, [centre[0] + arm, centre[1] - arm], centre - arm], np.float32)
    matrix = cv2.getAffineTransform(points, points + random.uniform(-affine, affine, (3, 2)).astype(np.float32))
    picture = cv2.warpAffine(picture, matrix, (width, height), borderMode=cv2.BORDER_REFLECT_101)
    fields = [random.uniform(-1, 1, (height, width)) for _ in range(2)]
    smooth = [skimage.filters.gaussian(field, constants["sigma"], mode="reflect", truncate=3) for field in fields]
    across, down = ((field * constants["alpha"]).astype(np.float32) for field in smooth)
    y, x = np.mgrid[:height, :width]
    places = (y + down, x + across)
    planes = [scipy.ndimage.map_coordinates(picture[..., c], places, order=1, mode="reflect") for c in range(3)]
    return np.clip(np.stack(planes, axis=-1), 0, 1) * 255


# The package has other algorithms under these names.
PUBLISHED = {"snow": published_snow, "frost": published_frost, "elastic_transform": published_elastic_transform}


def corrupted_by_the_original(image: Picture, name: str, table: str, severity: int, random: Source) -> Picture:
    if name in PUBLISHED:
        return PUBLISHED[name](image, random, severity_constants(name, severity, table)).astype(np.uint8)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(original._module(), name, packaged(name, table))
        return original.corrupt_image(image, name, severity, random)


def noise_draws(noted: list[Any], image: Picture, constants: Constants) -> Queues:
    return {"normal": [np.moveaxis(noted[0], -1, 0)]}


def shot_draws(noted: list[Any], image: Picture, constants: Constants) -> Queues:
    """Of the 65,536 patterns of bits those in the middle of the ones that give a count."""
    (counts,), rates = noted, image / 255 * constants["photons"]
    below = np.where(counts > 0, pdtr(np.maximum(counts - 1, 0), rates), 0)
    bits = np.floor((below + pdtr(counts, rates)) / 2 * 65536)
    return {"bits16": [np.moveaxis(np.clip(bits, 0, 65535), -1, 0)]}


def impulse_draws(noted: list[Any], image: Picture, constants: Constants) -> Queues:
    """The original draws a seed only, for scikit-image, which draws with it as here."""
    generator = np.random.default_rng(noted[0])
    hit, salt = (generator.random(image.shape) <= share for share in (constants["amount"], 0.5))
    threshold = round(constants["amount"] * 65536)
    bits = np.where(hit, np.where(salt, threshold // 2 - 1, threshold // 2), threshold)
    return {"bits16": [np.moveaxis(bits, -1, 0)]}


def glass_draws(noted: list[Any], image: Picture, constants: Constants) -> Queues:
    """The original draws (dx, dy) in the order of its visits, which is the reverse of ours."""
    height, width = image.shape[:2]
    delta = constants["max_delta"]
    steps = np.array(noted).reshape(-1, height - 2 * delta, width - 2 * delta, 2)[:, ::-1, ::-1] + delta
    return {"integers": list(steps[..., 1] * 2 * delta + steps[..., 0])}


def snow_draws(noted: list[Any], image: Picture, constants: Constants) -> Queues:
    noise, degrees = noted
    return {"normal": [noise[middle_of(noise.shape, constants["zoom"])]], "uniform": [degrees]}


def frost_draws(noted: list[Any], image: Picture, constants: Constants) -> Queues:
    number, *places = noted
    counts = np.subtract(frost_texture(number, constants["texture_scale"]).shape, image.shape)[:2]
    return {"integers": [number], "uniform": list((np.array(places) + 0.5) / counts)}


def elastic_draws(noted: list[Any], image: Picture, constants: Constants) -> Queues:
    moves, *fields = noted
    moves = (moves.astype(np.float64) * constants["affine"]).astype(np.float32)
    return {"uniform": [moves, *fields] if constants["alpha"] else [moves]}


# What the original drew for an image, as our function asks for it.
DRAWS: dict[str, Callable[[list[Any], Picture, Constants], Queues]] = {
    "gaussian_noise": noise_draws,
    "shot_noise": shot_draws,
    "impulse_noise": impulse_draws,
    "speckle_noise": noise_draws,
    "glass_blur": glass_draws,
    "motion_blur": lambda noted, *_: {"uniform": noted},
    "snow": snow_draws,
    "frost": frost_draws,
    "fog": lambda noted, *_: {"uniform": [np.concatenate([steps.ravel() for steps in noted])]},
    "elastic_transform": elastic_draws,
    "spatter": lambda noted, *_: {"normal": noted},
}


def originals(images: Tensor, name: str, table: str, severity: int) -> tuple[Tensor, Queues]:
    """What the original makes of images, and what it drew for them."""
    corrupted, drawn = [], []
    for seed, image in enumerate(images.permute(0, 2, 3, 1).contiguous().numpy()):
        random = Source(seed)
        corrupted.append(corrupted_by_the_original(image, name, table, severity, random))
        if CORRUPTIONS[name].random:
            drawn.append(DRAWS[name](random.noted, image, severity_constants(name, severity, table)))
    kinds = drawn[0] if drawn else {}
    queues = {kind: [np.stack(arrays) for arrays in zip(*(one[kind] for one in drawn), strict=True)] for kind in kinds}
    return torch.from_numpy(np.stack(corrupted)).permute(0, 3, 1, 2), queues


def assert_within_bound(ours: Tensor, expected: Tensor, name: str) -> None:
    apart = (ours.int() - expected.int()).abs()
    large, small, levels = BOUNDS[name]
    millionths, allowed = float((apart > 0).double().mean()) * 1e6, large if min(apart.shape[2:]) > 200 else small
    assert millionths <= allowed, f"{name}: {millionths:.1f} bytes in a million differ, {allowed} may"
    assert int(apart.max()) <= levels, f"{name}: a byte differs by {int(apart.max())} levels, {levels} may be"


@pytest.mark.parametrize("severity", SEVERITIES)
@pytest.mark.parametrize(("table", "height", "width", "count"), CASES)
@pytest.mark.parametrize("name", IMAGENET_C)
def test_pixels_equal_the_original_given_its_draws(
    name: str,
    table: str,
    height: int,
    width: int,
    count: int,
    severity: int,
    photographs: Photographs,
    injected_draws: type,
) -> None:
    # The original visits the pixels of glass_blur one by one, in Python.
    images = photographs(count if name != "glass_blur" else -(-count // 4), height, width)
    expected, queues = originals(images, name, table, severity)
    for backend in BACKENDS:
        draws = injected_draws(**queues)
        function = load(modules_of(name, table), backend, name)
        assert_within_bound(function(images, draws, **severity_constants(name, severity, table)), expected, name)
        assert draws.used_up()


def test_a_byte_beyond_the_bound_is_seen() -> None:
    expected = torch.zeros(1, 3, 224, 224, dtype=torch.uint8)
    for name, (large, _, levels) in BOUNDS.items():
        ours = expected.clone()
        allowed = int(large / 1e6 * ours.numel())
        ours.view(-1)[:allowed] = levels
        assert_within_bound(ours, expected, name)
        ours.view(-1)[allowed] = 1
        with pytest.raises(AssertionError, match="in a million differ"):
            assert_within_bound(ours, expected, name)
        ours.view(-1)[:] = 0
        ours.view(-1)[0] = levels + 1
        with pytest.raises(AssertionError, match="a byte differs by" if allowed else "in a million"):
            assert_within_bound(ours, expected, name)


@pytest.mark.parametrize("name", IMAGENET_C)
def test_planted_bugs_are_seen(name: str, photographs: Photographs, injected_draws: type) -> None:
    """The constants of another severity, a picture that is shifted by a pixel, the draws of another image."""
    table, images = "cifar-10-c", photographs(4, 32)
    expected, queues = originals(images, name, table, 2)
    right, wrong = (severity_constants(name, severity, table) for severity in (2, 1))
    bugs = [(images, queues, wrong), (images.roll(1, dims=-1), queues, right)]
    if queues:
        others = {kind: [array[[1, 2, 3, 0]] for array in arrays] for kind, arrays in queues.items()}
        bugs.append((images, others, right))
    function = load(modules_of(name, table), "reference", name)
    for pictures, drawn, constants in bugs:
        with pytest.raises(AssertionError, match="in a million differ"):
            assert_within_bound(function(pictures, injected_draws(**drawn), **constants), expected, name)


def assert_same_strength(ours: Tensor, expected: Tensor) -> None:
    """Changes (B, values) agree, on average over the images, in their means, sizes and spreads."""
    for measure in (torch.mean, lambda changes, dim: changes.abs().mean(dim), torch.std):
        difference = measure(ours, dim=1) - measure(expected, dim=1)
        # One per cent, and three standard errors of what the draws leave to chance.
        chance = 3 * float(difference.std()) / len(difference) ** 0.5
        assert abs(float(difference.mean())) < 0.01 * float(expected.abs().mean()) + chance


@pytest.mark.parametrize("severity", [2, 5])
@pytest.mark.parametrize("name", [name for name in IMAGENET_C if CORRUPTIONS[name].random])
def test_own_draws_change_pictures_as_much_as_the_originals(name: str, severity: int, photographs: Photographs) -> None:
    """In each of 108 trials with other draws, a change that was 5 % weaker or stronger would have been seen.

    For snow, frost, elastic_transform and spatter, whose draws matter most, that holds for 10 %.
    """
    images = photographs(512 if name != "glass_blur" else 128, 32)
    expected, _ = originals(images, name, "cifar-10-c", severity)
    ours = corrupt(images, name, severity, table="cifar-10-c", seed=1)
    ours, expected = ((pictures.double() - images).flatten(1) for pictures in (ours, expected))
    assert_same_strength(ours, expected)
    deviation = 0.10 if name in ("snow", "frost", "elastic_transform", "spatter") else 0.05
    for factor in (1 - deviation, 1 + deviation):
        with pytest.raises(AssertionError):
            assert_same_strength(factor * ours, expected)

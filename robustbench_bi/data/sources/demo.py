"""The embedded demo set: 64×64 pictures of ten shapes, drawn by this file, so that a first run downloads nothing.

A picture is a pure function of (seed, split, id). Its few random parameters come from a counter-based generator, and
what follows is elementwise float32 arithmetic that IEEE 754 rounds exactly (no exponentials, no sums over an axis; the
sines of angles are taken in float64 and then rounded), so neither the batch nor the order of drawing changes a pixel.

`RENDERER_VERSION` is part of the listing hash: raise it with a change that moves a pixel, and retrain the demo weights.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from robustbench_bi.data.dataset import Dataset, Split
from robustbench_bi.data.preprocess import Preprocessing, fit_images
from robustbench_bi.errors import InputError
from robustbench_bi.ground.cells import Cell
from robustbench_bi.ground.checks import check_seed

Plane = NDArray[np.float32]

RENDERER_VERSION = 1
SIDE = 64
SPLITS = {"evaluation": 500, "training": 10_000}
_PARAMETERS = 96
_CHUNK = 25


def _half_planes(x: Plane, y: Plane, sides: int) -> list[Plane]:
    """Distances to the sides of a regular polygon of inradius 0, positive outside; the first side is the lower one."""
    angles = [2 * np.pi * (side / sides - 0.25) for side in range(sides)]
    return [np.float32(np.cos(angle)) * x + np.float32(np.sin(angle)) * y for angle in angles]


def _polygon(x: Plane, y: Plane, sides: int) -> Plane:
    field, *others = _half_planes(x, y, sides)
    for other in others:
        field = np.maximum(field, other)
    return field


def _box(x: Plane, y: Plane, width: float, height: float) -> Plane:
    return np.maximum(np.abs(x) - np.float32(width), np.abs(y) - np.float32(height))


def _disk(x: Plane, y: Plane, radius: float) -> Plane:
    return np.sqrt(x * x + y * y) - np.float32(radius)


def circle(x: Plane, y: Plane) -> Plane:
    """A disk."""
    return _disk(x, y, 0.80)


def square(x: Plane, y: Plane) -> Plane:
    """A square."""
    return _box(x, y, 0.70, 0.70)


def triangle(x: Plane, y: Plane) -> Plane:
    """An equilateral triangle."""
    return _polygon(x, y, 3) - np.float32(0.52)


def hourglass(x: Plane, y: Plane) -> Plane:
    """Two triangles that meet, with a waist."""
    flank: Plane = (np.abs(x) - np.float32(0.7) * np.abs(y) - np.float32(0.12)) * np.float32(1 / np.hypot(1, 0.7))
    return np.maximum(flank, np.abs(y) - np.float32(0.85))


def star(x: Plane, y: Plane) -> Plane:
    """A pentagram: the points that lie inside at least four of a pentagon's five sides."""
    largest, *others = _half_planes(x, y, 5)
    second = np.full_like(largest, -np.inf)
    for other in others:
        second = np.maximum(second, np.minimum(largest, other))
        largest = np.maximum(largest, other)
    return second - np.float32(0.34)


def cross(x: Plane, y: Plane) -> Plane:
    """A plus sign."""
    return np.minimum(_box(x, y, 0.95, 0.28), _box(x, y, 0.28, 0.95))


def ring(x: Plane, y: Plane) -> Plane:
    """A ring."""
    return np.abs(_disk(x, y, 0.70)) - np.float32(0.22)


def heart(x: Plane, y: Plane) -> Plane:
    """A square on its tip with half disks on its two upper sides."""
    x, y = np.abs(x), y + np.float32(0.18)
    tip: Plane = (x + np.abs(y)) * np.float32(np.sqrt(0.5)) - np.float32(0.80 * np.sqrt(0.5))
    return np.minimum(tip, _disk(x - np.float32(0.40), y - np.float32(0.40), 0.40 * np.sqrt(2.0)))


def crescent(x: Plane, y: Plane) -> Plane:
    """A disk without a smaller disk at its side."""
    return np.maximum(_disk(x, y, 0.88), -_disk(x - np.float32(0.42), y, 0.70))


def arrow(x: Plane, y: Plane) -> Plane:
    """A broad arrow: a triangle on a shaft."""
    head = np.maximum(_polygon(x, y - np.float32(0.22), 3), -y) - np.float32(0.38)
    return np.minimum(head, _box(x, y + np.float32(0.50), 0.22, 0.50))


SHAPES: tuple[Callable[[Plane, Plane], Plane], ...] = (
    circle, square, triangle, hourglass, star, cross, ring, heart, crescent, arrow,
)  # fmt: skip
CLASS_NAMES = tuple(shape.__name__ for shape in SHAPES)


def draw(
    split: str = "evaluation", ids: Sequence[int] | NDArray[np.int64] | None = None, *, seed: int = 0
) -> tuple[NDArray[np.uint8], NDArray[np.int32]]:
    """Draw pictures of the demo set.

    Each shows one of ten shapes (`CLASS_NAMES`) in a random pose, colour, texture and light, on a textured background,
    among strokes and blobs of which one may lie over the shape. The class of picture `id` is `id % 10`.

    Args:
        split: "evaluation" (ids 0 to 499) or "training" (ids 0 to 9,999); no picture is in both.
        ids: the pictures to draw, in this order; None draws the whole split.
        seed: another seed is another set; an integer from 0 to 2⁶⁴ − 1. The demo weights belong to seed 0.

    Returns:
        The pictures, uint8 (n, 3, 64, 64), and their class numbers, int32 (n,).

    Raises:
        InputError: an unknown split, an id outside it, or a seed out of range.

    Example:
        >>> images, labels = draw("evaluation", [3, 14])
        >>> images.shape, [CLASS_NAMES[label] for label in labels]
        ((2, 3, 64, 64), ['hourglass', 'star'])
    """
    if split not in SPLITS:
        raise InputError(f"split must be one of {', '.join(SPLITS)}, got {split!r}")
    check_seed(seed)
    chosen = np.arange(SPLITS[split], dtype=np.int64) if ids is None else np.asarray(ids, dtype=np.int64).reshape(-1)
    if chosen.size and (chosen.min() < 0 or chosen.max() >= SPLITS[split]):
        raise InputError(
            f"ids of the {split} split must be from 0 to {SPLITS[split] - 1}, got {chosen.min()} to {chosen.max()}"
        )
    key = np.array([seed, list(SPLITS).index(split)], dtype=np.uint64)
    labels = _labels(chosen)
    images = np.empty((chosen.size, 3, SIDE, SIDE), dtype=np.uint8)
    for start in range(0, chosen.size, _CHUNK):
        rows = slice(start, start + _CHUNK)
        images[rows] = _render(labels[rows], uniform_numbers(key, chosen[rows]))
    return images, labels


def open_demo(path: str | None = None, *, split: Split = "evaluation", classes: Path | None = None) -> Dataset:
    """Open a split of the demo set with seed 0, the set that the bundled weights belong to.

    Args:
        path: none; the set is drawn, not read.
        split: "evaluation" or "training".
        classes: none; the classes are fixed.

    Returns:
        The dataset; its pictures are drawn when they are read, at 64×64.

    Raises:
        InputError: a path or a class file is given.

    Example:
        >>> len(open_demo(split="training")), open_demo().class_names[4]
        (10000, 'star')
    """
    if path is not None or classes is not None:
        raise InputError("demo takes neither a path nor a class file: its images and classes are built in")

    def load(ids: NDArray[np.int64], preprocessing: Preprocessing, cell: Cell, workers: int) -> NDArray[np.uint8]:
        return fit_images(draw(split, ids)[0], preprocessing)

    ids = np.arange(SPLITS[split], dtype=np.int64)
    return Dataset(
        name="demo",
        image_ids=ids,
        labels=_labels(ids),
        class_names=CLASS_NAMES,
        load=load,
        describe=lambda ids: (f"demo renderer {RENDERER_VERSION}, {split} split, seed 0, id {id_}" for id_ in ids),
        native_size=SIDE,
    )


def _labels(ids: NDArray[np.int64]) -> NDArray[np.int32]:
    return (ids % len(SHAPES)).astype(np.int32)


def uniform_numbers(key: NDArray[np.uint64], ids: NDArray[np.int64], count: int = _PARAMETERS) -> Plane:
    """Uniform numbers in [0, 1), float32 (parameters, n). Only raw bits are used: NumPy keeps their stream for ever."""
    raw = [np.random.Philox(key=key, counter=[0, int(image), 0, 0]).random_raw(count) for image in ids]
    return ((np.array(raw).T >> np.uint64(40)).astype(np.float32)) * np.float32(2.0**-24)


class Scene:
    """A batch of pictures while they are painted: the canvas, and each picture's row of unused random numbers.

    Coordinates and lengths are in pixels from the centre, across to the right and down. Everything a picture has one
    of is an array (n, 1, 1, 1), a colour is (n, 3, 1, 1), a plane (n, 1, 64, 64).
    """

    def __init__(self, parameters: Plane, height: int = SIDE, width: int = SIDE) -> None:
        self._columns = iter(parameters)
        down, across = (np.arange(side, dtype=np.float32) - np.float32((side - 1) / 2) for side in (height, width))
        self.across, self.down = across[None, None, None, :], down[None, None, :, None]
        self.canvas = np.zeros((parameters.shape[1], 3, height, width), dtype=np.float32)

    def uniform(self, low: float, high: float) -> Plane:
        """The next random number of each picture, between two bounds."""
        column: Plane = next(self._columns)[:, None, None, None]
        return np.float32(low) + np.float32(high - low) * column

    def chance(self, probability: float) -> Plane:
        """1 with this probability, else 0."""
        return (self.uniform(0, 1) < probability).astype(np.float32)

    def turned(self, x: Plane, y: Plane, most: float = 0.5) -> tuple[Plane, Plane]:
        """Coordinates in a frame that is rotated either way, by at most this many turns."""
        angle = 2 * np.pi * self.uniform(-most, most).astype(np.float64)
        cosine, sine = np.cos(angle).astype(np.float32), np.sin(angle).astype(np.float32)
        return cosine * x + sine * y, cosine * y - sine * x

    def ramp(self, low: float, high: float) -> Plane:
        """A slope in any direction that rises by low to high over the side of the picture."""
        along, _ = self.turned(self.across, self.down)
        return along * self.uniform(low / SIDE, high / SIDE)

    def colour(self, luminance: Plane, chroma: float) -> Plane:
        """A colour of that mean; its channels are up to two thirds of `2 * chroma` away from it."""
        offsets = np.concatenate([self.uniform(-chroma, chroma) for _ in range(3)], axis=1)
        mean = (offsets[:, :1] + offsets[:, 1:2] + offsets[:, 2:]) / np.float32(3)
        colour: Plane = np.clip(luminance + offsets - mean, np.float32(0), np.float32(1))
        return colour

    def wave(self, low: float, high: float) -> Plane:
        """A plane wave in any direction, with low to high periods over the side of the picture."""
        turns = self.ramp(low, high) + self.uniform(0, 1)
        phase = turns - np.rint(turns)
        sine: Plane = phase * (np.float32(8) - np.float32(16) * np.abs(phase))
        return sine

    def texture(self, amplitude: float, low: float, high: float) -> Plane:
        """Stripes, checks or soft noise around 0; a weak one is more frequent than a strong one."""
        first, second, third = self.wave(low, high), self.wave(low, high), self.wave(2 * low, 2 * high)
        kind = self.uniform(0, 3)
        one, three = np.float32(1), np.float32(3)
        stripes = np.clip(three * first, -one, one)
        checks = np.clip(three * first * second, -one, one)
        pattern = np.where(kind < 1, stripes, np.where(kind < 2, checks, (first + second + third) / np.float32(2)))
        strength = self.uniform(0, 1)
        scaled: Plane = np.float32(amplitude) * strength * strength * pattern
        return scaled

    def stroke(self, across: Plane, down: Plane, length: float, width: tuple[float, float]) -> Plane:
        """Coverage of a straight stroke with round ends around a point: short ones are blobs."""
        along, aside = self.turned(self.across - across, self.down - down)
        half = self.uniform(0, length / 2)
        along = along - np.clip(along, -half, half)
        return coverage_of(np.sqrt(along * along + aside * aside) - self.uniform(width[0] / 2, width[1] / 2))

    def paint(self, coverage: Plane, colour: Plane) -> None:
        """Lay a colour over the canvas where it is covered."""
        self.canvas = self.canvas + coverage * (colour - self.canvas)


def _render(labels: NDArray[np.int32], parameters: Plane) -> NDArray[np.uint8]:
    """Paint from back to front: background, clutter, the shape, a stroke that may lie over it, light."""
    scene = Scene(parameters)
    uniform = scene.uniform

    dark = uniform(0.12, 0.5)
    light = dark + uniform(0.17, 0.5)
    swapped = scene.chance(0.05)
    back, front = dark + swapped * (light - dark), light - swapped * (light - dark)

    scene.canvas = scene.colour(back, 0.25) + scene.ramp(0.0, 0.25) + scene.texture(0.12, 1.5, 8.0)
    for _ in range(3):
        mark = scene.stroke(uniform(-32, 32), uniform(-32, 32), 28, (2, 8))
        scene.paint(scene.chance(0.5) * mark, scene.colour(uniform(0.05, 0.95), 0.25))

    radius = uniform(12, 24)
    margin = np.float32(30) - radius
    centre_across, centre_down = uniform(-1, 1) * margin, uniform(-1, 1) * margin
    x, y = (scene.across - centre_across) / radius, (centre_down - scene.down) / radius
    x, y = scene.turned(x, y, most=1 / 6)
    x, y = (x + uniform(-0.2, 0.2) * y) * uniform(0.85, 1.15), y * uniform(0.85, 1.15)
    scene.paint(coverage_of(_field(labels, x, y) * radius), scene.colour(front, 0.2) + scene.texture(0.10, 2.0, 10.0))

    beside, below = centre_across + radius * uniform(-0.9, 0.9), centre_down + radius * uniform(-0.9, 0.9)
    mark = scene.stroke(beside, below, 24, (2, 7))
    scene.paint(scene.chance(0.3) * mark, scene.colour(uniform(0.05, 0.95), 0.25))

    lit = np.clip(scene.canvas * (uniform(0.6, 1.1) + scene.ramp(0.0, 0.5)), np.float32(0), np.float32(1))
    return (lit * np.float32(255) + np.float32(0.5)).astype(np.uint8)


def _field(labels: NDArray[np.int32], x: Plane, y: Plane) -> Plane:
    field = np.empty_like(x)
    for label, shape in enumerate(SHAPES):
        rows = labels == label
        field[rows] = shape(x[rows], y[rows])
    return field


def coverage_of(distance: Plane) -> Plane:
    """How much of a pixel lies inside an edge at a signed distance in pixels, negative inside: in [0, 1]."""
    coverage: Plane = np.clip(np.float32(0.5) - distance, np.float32(0), np.float32(1))
    return coverage

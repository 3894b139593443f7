"""The embedded set for detectors: pictures of three sizes with one to six of the demo set's shapes, drawn by this file.

As in `demo`, a picture is a pure function of (seed, split, id). Shapes are painted from back to front and may lie over
one another; a shape of which less than a quarter would be seen is left out, of the picture too. A mask is what is seen
of a shape, and the box lies tight around it.

`RENDERER_VERSION` is part of the listing hash: raise it with a change that moves a pixel.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robustbench_bi.data.containers.image_files import in_threads
from robustbench_bi.data.dataset import Dataset, Split
from robustbench_bi.data.objects import Objects
from robustbench_bi.data.sources.demo import CLASS_NAMES, SHAPES, Plane, Scene, coverage_of, uniform_numbers
from robustbench_bi.errors import InputError
from robustbench_bi.ground.cells import Cell
from robustbench_bi.ground.run_lengths import of_bitmap, to_text

RENDERER_VERSION = 1
SPLITS = {"evaluation": 200, "training": 2500}
SIZES = ((128, 128), (96, 160), (160, 96))
"""Height and width; picture `id` has those at `id % 3`."""
MOST = 6
_RADII = (7.0, 36.0)
_LEAST_SEEN = 0.25
_NUMBERS = 256
# Beside 0 and 1, which key the splits of `demo`.
_FIRST_KEY = 2


def open_demo_detection(
    path: str | None = None, *, split: Split = "evaluation", classes: Path | None = None
) -> Dataset:
    """Open a split of the set.

    Args:
        path: none; the set is drawn, not read.
        split: "evaluation" (200 pictures) or "training" (2,500).
        classes: none; the classes are the ten shapes.

    Raises:
        InputError: a path or a class file is given.

    Example:
        >>> data = open_demo_detection()
        >>> len(data), data.sizes()[:3].tolist()
        (200, [[128, 128], [160, 96], [96, 160]])
    """
    if path is not None or classes is not None:
        raise InputError("demo-detection takes neither a path nor a class file: its images and classes are built in")

    def load(image_ids: NDArray[np.int64], _: Any, __: Cell, workers: int) -> list[NDArray[np.uint8]]:
        return in_threads(lambda image_id: draw(split, image_id)[0], image_ids.tolist(), workers)

    image_ids = np.arange(SPLITS[split], dtype=np.int64)
    lines = f"demo-detection renderer {RENDERER_VERSION}, {split} split, id"
    return Dataset(
        name="demo-detection",
        image_ids=image_ids,
        labels=np.zeros(len(image_ids), dtype=np.int32),
        class_names=CLASS_NAMES,
        load=load,
        describe=lambda image_ids: (f"{lines} {image_id}" for image_id in image_ids.tolist()),
        list_names=lambda image_ids: (f"{split}/{image_id:05d}" for image_id in image_ids.tolist()),
        objects=_objects(split),
    )


@cache
def _objects(split: str) -> Objects:
    rows, sizes = [], {}
    for image_id in range(SPLITS[split]):
        picture, shapes = draw(split, image_id)
        sizes[image_id] = (picture.shape[2], picture.shape[1])
        for label, mask in shapes:
            down, across = np.nonzero(mask)
            left, top = int(across.min()), int(down.min())
            box = (left, top, int(across.max()) + 1 - left, int(down.max()) + 1 - top)
            rows.append((image_id, label, *box, int(mask.sum()), False, to_text(of_bitmap(mask))))
    return Objects.of_rows(rows, sizes)


def draw(split: str, image_id: int) -> tuple[NDArray[np.uint8], list[tuple[int, NDArray[np.bool_]]]]:
    """Draw a picture.

    Args:
        split: "evaluation" or "training"; no picture is in both.
        image_id: from 0.

    Returns:
        uint8 (3, H, W), and for each shape, from back to front, its class number and what is seen of it, (H, W).

    Example:
        >>> picture, shapes = draw("evaluation", 4)
        >>> picture.shape, [CLASS_NAMES[label] for label, _ in shapes]
        ((3, 96, 160), ['square', 'arrow', 'crescent', 'triangle'])
    """
    key = np.array([0, _FIRST_KEY + list(SPLITS).index(split)], dtype=np.uint64)
    height, width = SIZES[image_id % len(SIZES)]
    scene = Scene(uniform_numbers(key, np.array([image_id]), _NUMBERS), height, width)
    uniform = scene.uniform

    dark = uniform(0.12, 0.5)
    scene.canvas = scene.colour(dark, 0.25) + scene.ramp(0.0, 0.2) + scene.texture(0.12, 1.5, 8.0)
    for _ in range(3):
        beside, below = uniform(-width / 2, width / 2), uniform(-height / 2, height / 2)
        mark = scene.stroke(beside, below, 28, (2, 8))
        scene.paint(scene.chance(0.5) * mark, scene.colour(uniform(0.05, 0.95), 0.25))

    count = 1 + int(uniform(0, MOST).item())
    shapes = [_shape(scene, dark) for _ in range(count)]
    kept = _seen([coverage[0, 0] > 0.5 for _, coverage, _ in shapes])
    for place, _ in kept:
        _, coverage, colour = shapes[place]
        scene.paint(coverage, colour)

    lit = np.clip(scene.canvas * (uniform(0.7, 1.1) + scene.ramp(0.0, 0.3)), np.float32(0), np.float32(1))
    picture = (lit[0] * np.float32(255) + np.float32(0.5)).astype(np.uint8)
    return picture, [(shapes[place][0], mask) for place, mask in kept]


def _shape(scene: Scene, dark: Plane) -> tuple[int, Plane, Plane]:
    """The class of a shape, how much of each pixel it covers, and its colour there."""
    uniform, (height, width) = scene.uniform, scene.canvas.shape[2:]
    label = int(uniform(0, len(SHAPES)).item())
    radius = uniform(*_RADII)
    across = uniform(-1, 1) * (np.float32(width / 2) - radius)
    down = uniform(-1, 1) * (np.float32(height / 2) - radius)
    x, y = scene.turned((scene.across - across) / radius, (down - scene.down) / radius, most=1 / 6)
    x, y = (x + uniform(-0.2, 0.2) * y) * uniform(0.9, 1.15), y * uniform(0.9, 1.15)
    colour = scene.colour(dark + uniform(0.17, 0.5), 0.25) + scene.texture(0.10, 2.0, 10.0)
    return label, coverage_of(SHAPES[label](x, y) * radius), colour


def _seen(masks: list[NDArray[np.bool_]]) -> list[tuple[int, NDArray[np.bool_]]]:
    """The places of the masks of which enough is seen, and what is; those in front hide those behind."""
    places = [place for place, mask in enumerate(masks) if mask.any()]
    while True:
        seen = [
            (place, masks[place] & ~np.any([masks[other] for other in places[number + 1 :]], axis=0))
            if places[number + 1 :]
            else (place, masks[place])
            for number, place in enumerate(places)
        ]
        hidden = next((place for place, mask in seen if mask.sum() < _LEAST_SEEN * masks[place].sum()), None)
        if hidden is None:
            return seen
        places.remove(hidden)

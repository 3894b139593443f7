"""What the comparison of every twin with its reference on pictures does not reach."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
import pytest
import scipy.ndimage
import skimage.color
import torch
from numpy.typing import NDArray
from PIL import Image

from robustbench_bi.corruptions import TABLES, digital, digital_numba_kernels, elastic_numba_kernels
from robustbench_bi.corruptions.apply import severity_constants

NO_DRAWS: Any = None


def test_saturate_equals_scikit_image_on_every_pair_of_extremes() -> None:
    """All greatest and least levels, in all orders of the channels, with the middle at either end and in between."""
    generator = np.random.default_rng(0)
    low, high = (levels.ravel() for levels in np.meshgrid(np.arange(256), np.arange(256)))
    low, high = low[low <= high], high[low <= high]
    middles = [low, high, (low + high) // 2, generator.integers(low, high + 1)]
    colours = np.stack([np.stack([low, middle, high], axis=-1) for middle in middles])
    orders = [(0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0)]
    colours = np.concatenate([colours[..., order] for order in orders]).astype(np.uint8)
    hsv = skimage.color.rgb2hsv(colours / 255)
    images = torch.from_numpy(np.ascontiguousarray(np.moveaxis(colours, -1, 0)))[None]
    constants = {
        tuple(severity_constants("saturate", severity, table).values())
        for table in TABLES.names
        for severity in range(1, 6)
    }
    for factor, offset in sorted(constants):
        changed = hsv.copy()
        changed[..., 1] = np.clip(hsv[..., 1] * factor + offset, 0, 1)
        expected = (np.clip(skimage.color.hsv2rgb(changed), 0, 1) * 255).astype(np.uint8)
        saturated = digital_numba_kernels.saturate(images, NO_DRAWS, factor=factor, offset=offset)[0]
        assert np.array_equal(np.moveaxis(saturated.numpy(), 0, -1), expected), (factor, offset)


def test_contrast_equals_its_definition_where_levels_lie_on_no_line() -> None:
    """Flat images, where a rounding error decides, and factors beyond 1, where levels are clipped."""
    generator = np.random.default_rng(0)
    images = torch.from_numpy(generator.integers(0, 256, (260, 3, 32, 33), dtype=np.uint8))
    images[:256] = torch.arange(256, dtype=torch.uint8).view(256, 1, 1, 1)
    for factor in (0.05, 0.3, 0.75, 1.0, 1.7):
        found = digital_numba_kernels.contrast(images, NO_DRAWS, factor=factor)
        assert torch.equal(found, digital.contrast(images, NO_DRAWS, factor=factor)), factor


def test_pixelate_equals_pillow_at_every_side() -> None:
    """Ties between pixels, where Pillow's rounding decides, come at a few sides only, such as 33, 34, 37 and 41."""
    generator = np.random.default_rng(0)
    for side in range(32, 301):
        image = generator.integers(0, 256, (side, side, 3), dtype=np.uint8)
        batch = torch.from_numpy(image).permute(2, 0, 1)[None].contiguous()
        for scale in (0.85, 0.6, 0.3):
            small = Image.fromarray(image).resize((int(side * scale), int(side * scale)), Image.Resampling.BOX)
            expected = np.array(small.resize((side, side), Image.Resampling.BOX))
            pixelated = digital_numba_kernels.pixelate(batch, NO_DRAWS, scale=scale)[0]
            assert np.array_equal(pixelated.permute(1, 2, 0).numpy(), expected), (side, scale)


@pytest.mark.parametrize(
    ("height", "width", "sigma"),
    [
        (224, 224, 170.8),
        (224, 224, 19.52),
        (224, 224, 2.44),
        (33, 47, 170.8),
        (33, 47, 5.2),
        (33, 47, 5.0),
        (33, 47, 0),
    ],
)
def test_fields_are_smoothed_as_scipy_does(height: int, width: int, sigma: float) -> None:
    """By cosine transforms, and from sigma 5.1 downwards by adding up."""
    fields = np.random.default_rng(0).uniform(-1, 1, (2, height, width)).astype(np.float32)
    smooth = elastic_numba_kernels._smooth(fields, sigma)
    for field, result in zip(fields.astype(np.float64), smooth, strict=True):
        expected = scipy.ndimage.gaussian_filter(field, sigma, mode="reflect", truncate=3)
        np.testing.assert_allclose(result, expected, rtol=0, atol=5e-7)


def far_places(side: int, count: int, seed: int) -> NDArray[np.float32]:
    """Near and far outside, on the mirrors and the centres of the outer pixels, and what a singular map gives."""
    edges = np.array([-0.5, 0, 0.5, side - 1.5, side - 1, side - 0.5, side, 2 * side - 1, 2 * side], np.float32)
    beside = [np.nextafter(edges, np.float32(limit)) for limit in (-np.inf, np.inf)]
    extremes = np.array([np.nan, np.inf, -np.inf, 3e38, -3e38, 1e9, -1e9, 2**31, -(2**31)], np.float32)
    places = np.concatenate([extremes, edges, *beside])
    generator = np.random.default_rng(seed)
    far = generator.uniform(-5 * side, 5 * side, count - len(places))
    return generator.permutation(np.concatenate([places, far.astype(np.float32)]))


@pytest.mark.parametrize(("border", "mode"), [(0, "mirror"), (0.5, "reflect")])
def test_no_place_is_out_of_bounds(border: float, mode: str) -> None:
    height, width = 33, 500
    read = numba.njit(boundscheck=True)(elastic_numba_kernels._read.py_func)
    image = np.random.default_rng(0).integers(0, 256, (3, height, width), dtype=np.uint8)
    words = np.empty(height * width, np.uint64)
    elastic_numba_kernels._pack(image, words)
    x, y = far_places(width, width, seed=1), far_places(height, width, seed=2)
    levels = np.empty((3, width), np.float32)
    scratch = np.empty(width, np.int32), np.empty((2, width), np.float32), np.empty((4, width), np.uint64)
    read(words, height, np.stack([x, y]), np.float32(border), *scratch, levels)
    levels /= 2**13
    assert bool(((levels >= 0) & (levels <= 255)).all())
    near = (np.abs(x) < 6 * width) & (np.abs(y) < 6 * height)
    for plane, result in zip(image.astype(np.float64), levels, strict=True):
        expected = scipy.ndimage.map_coordinates(plane, (y[near], x[near]), order=1, mode=mode)
        np.testing.assert_allclose(result[near], expected, rtol=0, atol=0.1)
    lost = ~(np.isfinite(x) | np.isfinite(y))
    assert np.array_equal(levels[:, lost], np.broadcast_to(image[:, 0, :1], (3, int(lost.sum()))))


def test_elastic_transform_of_a_map_without_inverse(injected_draws: type) -> None:
    """Two of the three points fall together: no coordinate is finite, and the first pixel is everywhere."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (1, 3, 32, 32), generator=generator).to(torch.uint8)
    moves = np.array([[[0, 0], [0, 20], [0, 0]]], np.float32)
    fields = np.zeros((2, 1, 32, 32), np.float32)
    results = [
        module.elastic_transform(images, injected_draws(uniform=[moves, *fields]), alpha=5, sigma=2, affine=24.4)
        for module in (digital, elastic_numba_kernels)
    ]
    assert torch.equal(*results)
    assert torch.equal(results[0], images[:, :, :1, :1].expand_as(images))

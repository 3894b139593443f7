from __future__ import annotations

import cv2
import numpy as np
import pytest
import skimage.filters
import torch
from torch import Tensor

from robustbench_bi.corruptions import droplets

# The liquids of several tables: height, width; mean, std, sigma, threshold of the noise.
LIQUIDS = [
    (224, 224, 0.65, 0.3, 4, 0.69),
    (96, 80, 0.65, 0.3, 2, 0.68),
    (64, 64, 0.65, 0.3, 1, 0.69),
    (33, 47, 0.62, 0.1, 0.7, 0.7),
]


def liquids(height: int, width: int, mean: float, std: float, sigma: float, threshold: float) -> Tensor:
    random = np.random.default_rng(0)
    layers = []
    for _ in range(6):
        layer = skimage.filters.gaussian(random.normal(mean, std, (height, width)), sigma=sigma)
        layers.append((np.where(layer < threshold, 0, layer) * 255).astype(np.uint8))
    return torch.from_numpy(np.stack(layers))


def relief_by_opencv(liquid: np.ndarray) -> np.ndarray:
    """The steps of the published code."""
    distance = cv2.distanceTransform(255 - cv2.Canny(liquid, 50, 150), cv2.DIST_L2, 5)
    depth = cv2.blur(np.minimum(distance, 20), (3, 3)).astype(np.uint8)
    kernel = np.array([[-2, -1, 0], [-1, 1, 1], [0, 1, 2]])
    return cv2.blur(cv2.filter2D(cv2.equalizeHist(depth), cv2.CV_8U, kernel), (3, 3))


@pytest.mark.parametrize("constants", LIQUIDS, ids=str)
def test_relief_equals_opencv(constants: tuple[int, int, float, float, float, float]) -> None:
    layers = liquids(*constants)
    expected = np.stack([relief_by_opencv(layer) for layer in layers.numpy()])
    assert np.array_equal(droplets.relief(layers).numpy(), expected)


def test_edges_of_noise_equal_opencv() -> None:
    random = np.random.default_rng(2)
    # Gradients of all sizes, many of them at the lower threshold, and a bright spot to start from.
    images = np.stack([random.integers(0, highest, (45, 61)) for highest in (14, 20, 40, 80)]).astype(np.uint8)
    images[:, 20:24, 30:34] = 255
    expected = np.stack([cv2.Canny(image, 50, 150) for image in images])
    edges = droplets._edges(torch.from_numpy(images))
    assert 0.05 < float(edges.double().mean()) < 0.5
    assert np.array_equal(edges.numpy(), expected == 255)


def test_weak_edges_are_followed_from_strong_ones_around_bends() -> None:
    region = torch.zeros(1, 9, 40, dtype=torch.bool)
    region[0, 4, 2:36] = region[0, 1:4, 35] = region[0, 7, 2:36] = True
    region[0, 0, 36] = True
    seeds = torch.zeros_like(region)
    seeds[0, 4, 2] = True
    grown = droplets._grow(seeds, region)
    region[0, 7] = False
    assert torch.equal(grown, region)


@pytest.mark.parametrize("density", [0.0, 0.0005, 0.01, 0.2])
def test_distance_equals_opencv(density: float) -> None:
    edges = torch.rand(3, 70, 90, generator=torch.Generator().manual_seed(3)) < density
    expected = np.stack(
        [cv2.distanceTransform(255 - 255 * image, cv2.DIST_L2, 5) for image in edges.numpy().astype("u1")]
    )
    distance = droplets._distance(edges).double() / droplets._SIDE
    np.testing.assert_allclose(distance.numpy(), np.minimum(expected, 20), rtol=0, atol=1e-4)


def test_equalise_equals_opencv() -> None:
    random = np.random.default_rng(4)
    images = np.stack(
        [random.integers(0, 21, (40, 50)), random.integers(7, 9, (40, 50)), np.full((40, 50), 20), np.zeros((40, 50))]
    ).astype(np.uint8)
    expected = np.stack([cv2.equalizeHist(image) for image in images])
    assert np.array_equal(droplets._equalise(torch.from_numpy(images)).numpy(), expected)


@pytest.mark.parametrize("steps", [2, 5, 16])
def test_comparing_seldom_grows_the_same_region(steps: int) -> None:
    region = torch.zeros(2, 9, 40, dtype=torch.bool)
    region[0, 4], region[1, ::4], region[1, :, 7] = True, True, True
    seeds = torch.zeros_like(region)
    seeds[0, 4, 0] = seeds[1, 0, 39] = True
    assert torch.equal(droplets._grow(seeds, region, steps=steps), region)
    region[0, 4, 20] = False
    grown = droplets._grow(seeds, region, steps=steps)
    assert torch.equal(grown, droplets._grow(seeds, region, steps=1))
    assert int(grown[0].sum()) == 20

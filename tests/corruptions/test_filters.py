from __future__ import annotations

import itertools

import cv2
import numpy as np
import pytest
import scipy.ndimage
import skimage.filters
import torch
from torch import Tensor

from robustbench_bi.corruptions import filters

# radius and alias_blur of every defocus blur of the four tables.
DISKS = [
    (3, 0.1), (4, 0.5), (6, 0.5), (8, 0.5), (10, 0.5), (4, 0.1), (5, 0.5), (7, 0.5), (12, 0.5),
    (0.5, 0.6), (1, 0.1), (1.5, 0.1), (2.5, 0.01), (0.3, 0.4), (0.4, 0.5), (1, 0.2),
]  # fmt: skip


def random_images(*shape: int) -> Tensor:
    return torch.rand(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def test_to_unit_is_correctly_rounded_division() -> None:
    levels = np.arange(256, dtype=np.uint8)
    for dtype, expected in (
        (torch.float32, levels.astype(np.float32) / np.float32(255)),
        (torch.float64, levels / 255),
    ):
        assert np.array_equal(filters.to_unit(torch.from_numpy(levels), dtype).numpy(), expected)


def test_truncate_forgives_rounding_errors_only() -> None:
    levels = torch.tensor([99.5, 100 - 1e-6, 100 - 1e-10, 100.0, -1e-3, 255.9], dtype=torch.float64)
    assert filters.truncate(levels).tolist() == [99, 99, 100, 100, 0, 255]


@pytest.mark.parametrize("mode", ["nearest", "reflect"])
@pytest.mark.parametrize(
    ("side", "sigma", "truncate"),
    [
        (33, 1.0, 4.0),
        (47, 6.5, 4.0),
        (64, 0.05, 4.0),
        (32, 0.0, 4.0),
        (33, 40.0, 4.0),
        (299, 252.0, 3.0),
        (40, 170.8, 3.0),
    ],
)
def test_gaussian_matrix_equals_scipy(side: int, sigma: float, truncate: float, mode: filters.Border) -> None:
    lines = random_images(side, 3)
    expected = scipy.ndimage.gaussian_filter(lines.numpy(), (sigma, 0), mode=mode, truncate=truncate)
    smoothed = filters.gaussian_matrix(side, sigma, truncate=truncate, mode=mode) @ lines
    np.testing.assert_allclose(smoothed.numpy(), expected, rtol=0, atol=1e-13)


@pytest.mark.parametrize("sigma", [0.4, 1.5, 6.0])
def test_gaussian_equals_scikit_image(sigma: float) -> None:
    images = random_images(2, 3, 33, 47)
    smoothed = filters.gaussian(images, sigma)
    for image, result in zip(images.movedim(1, -1).numpy(), smoothed.movedim(1, -1).numpy(), strict=True):
        expected = skimage.filters.gaussian(image, sigma=sigma, channel_axis=-1)
        np.testing.assert_allclose(result, expected, rtol=0, atol=1e-13)


@pytest.mark.parametrize("side", [32, 33, 47, 64, 224, 299])
def test_zoom_matrix_equals_scipy(side: int) -> None:
    factors = [
        *np.arange(1, 1.31, 0.01).tolist(),
        *np.arange(1, 1.31, 0.03).tolist(),
        1.25,
        1.75,
        2,
        2.25,
        2.5,
        3,
        4,
        4.5,
    ]
    for factor in factors:
        crop = random_images(side)[filters.centre_crop(side, factor)]
        zoomed = filters.zoom_matrix(side, factor) @ crop
        expected = scipy.ndimage.zoom(crop.numpy(), factor, order=1)
        top = (len(expected) - side) // 2
        assert top >= 0
        np.testing.assert_allclose(zoomed.numpy(), expected[top : top + side], rtol=0, atol=1e-13, err_msg=str(factor))


def test_zoom_matrix_keeps_the_last_pixel_where_scipy_rounds_it_away() -> None:
    # 30 pixels become 36, and 35 * (29 / 35) is more than 29 in floating point.
    assert filters.centre_crop(36, 1.2) == slice(3, 33)
    assert filters.zoom_matrix(36, 1.2)[-1].tolist() == [0.0] * 29 + [1.0]


def test_centre_crop_covers_the_line_and_no_more() -> None:
    for side, zoom in itertools.product(range(32, 300), (1.0, 1.07, 1.31, 2.25, 4.5)):
        crop = filters.centre_crop(side, zoom)
        length = crop.stop - crop.start
        assert (length - 1) * zoom < side <= length * zoom + 1e-9
        assert crop.start == (side - length) // 2


def test_separable_leaves_out_nothing_but_zeros() -> None:
    images = random_images(2, 3, 150, 70)
    narrow, wide = filters.gaussian_matrix(150, 2.0), random_images(200, 70)
    expected = narrow @ images @ wide.T
    assert expected.shape == (2, 3, 150, 200)
    torch.testing.assert_close(filters.separable(images, narrow, wide), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize(("radius", "alias_blur"), DISKS)
def test_disk_kernel_equals_opencv(radius: float, alias_blur: float) -> None:
    line = np.arange(-8, 9) if radius <= 8 else np.arange(-radius, radius + 1)
    disk = (line[:, None] ** 2 + line**2 <= radius**2).astype(np.float32)
    size = (3, 3) if radius <= 8 else (5, 5)
    expected = cv2.GaussianBlur(disk / disk.sum(), ksize=size, sigmaX=alias_blur)
    kernel = filters.disk_kernel(radius, alias_blur).numpy()
    # OpenCV's vector code and its code for the rest of a row may round differently, in the last bits.
    np.testing.assert_allclose(kernel, expected, rtol=2**-21, atol=0)


def test_correlate_equals_opencv() -> None:
    images, kernel = random_images(2, 3, 33, 47), random_images(17, 17)
    filtered = filters.correlate(images, kernel)
    for image, result in zip(images.flatten(0, 1), filtered.flatten(0, 1), strict=True):
        expected = cv2.filter2D(image.numpy(), -1, kernel.numpy())
        np.testing.assert_allclose(result.numpy(), expected, rtol=0, atol=1e-10)


def shifted_sum(image: np.ndarray, degrees: float, radius: int, sigma: float) -> np.ndarray:
    """The same blur, written as the reference describes it: shift by whole pixels, repeat the border, add."""
    height, width = image.shape
    weights = np.exp(-(np.arange(2 * radius + 1) ** 2) / (2 * sigma**2))
    weights /= weights.sum()
    result = np.zeros(image.shape)
    for step, weight in enumerate(weights):
        down = -int(-np.ceil(step * np.sin(np.deg2rad(degrees)) - 0.5))
        right = -int(-np.ceil(step * np.cos(np.deg2rad(degrees)) - 0.5))
        if abs(down) >= height or abs(right) >= width:
            break
        rows = np.clip(np.arange(height) + down, 0, height - 1)
        columns = np.clip(np.arange(width) + right, 0, width - 1)
        result += weight * image[np.ix_(rows, columns)]
    return result


@pytest.mark.parametrize(("radius", "sigma"), [(6, 1.0), (10, 3.0), (20, 15.0)])
def test_directional_blur_equals_shifting_and_adding(radius: int, sigma: float) -> None:
    # At radius 20 the shifts leave the image in the flat directions, and the blur stops.
    degrees = torch.tensor([-45.0, -12.3, 0.0, 7.7, 44.9, -135.0, -90.0, -61.2, 91.0, 180.0])
    images = random_images(len(degrees), 1, 33, 35).mul_(256).to(torch.uint8)
    rounded, cut = (
        filters.directional_blur(images, degrees, radius=radius, sigma=sigma, rounded=rounded)[:, 0].numpy()
        for rounded in (True, False)
    )
    for number, angle in enumerate(degrees.tolist()):
        expected = shifted_sum(images[number, 0].numpy(), angle, radius, sigma)
        np.testing.assert_allclose(rounded[number], expected, rtol=0, atol=0.5 + 1e-3)
        np.testing.assert_allclose(cut[number] + 0.5, expected, rtol=0, atol=0.5 + 1e-3)


def test_directional_blur_is_exact_in_flat_regions() -> None:
    levels = torch.arange(256, dtype=torch.uint8).view(-1, 1, 1, 1).expand(-1, 1, 48, 48)
    for rounded in (False, True):
        blurred = filters.directional_blur(levels, torch.linspace(-180, 180, 256), radius=22, sigma=16, rounded=rounded)
        assert torch.equal(blurred, levels)

"""Products of pixels and matrices against NumPy's, in float64."""

import numpy as np
import pytest
import torch

from robustbench_bi.ops.dynamic_filter import numba_kernels
from robustbench_bi.ops.dynamic_filter.pointwise_numba_kernels import SMALL, in_stripes, pointwise

COUNTS = [1, 6, 7, 8, 13, 56]
WIDTHS = [16, 32, 48, 112]
NO_LEAST = np.float32(-np.inf)


def drawn(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)


def product(pixels, matrix, shift, added=None, least=NO_LEAST, jumps=(0,), step=None, target_step=None):
    """What `pointwise` makes of (count, depth) pixels that lie `step` apart, among numbers that it must not change."""
    count, depth = pixels.shape
    width = matrix.shape[1]
    step, target_step = step or depth, target_step or width
    source = np.full(5 + count * step + max(jumps) + depth, np.nan, np.float32)
    for pixel in range(count):
        for jump in jumps:
            place = 5 + pixel * step + jump
            source[place : place + depth] = pixels[pixel] + jump / 1000
    target = np.full(3 + count * target_step + 40, 7, np.float32)
    further = None
    if added is not None:
        further = np.zeros_like(target)
        for pixel in range(count):
            further[3 + pixel * target_step :][:width] = added[pixel]
    places = (source, (5, step), count, np.array(jumps), depth)
    pointwise(*places, in_stripes(matrix), shift, further, np.float32(least), target, (3, target_step))
    results = np.stack([target[3 + pixel * target_step :][:width] for pixel in range(count)])
    for pixel in range(count):
        target[3 + pixel * target_step :][:width] = 7
    assert (target == 7).all()
    return results


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("count", COUNTS)
def test_products(count, width):
    pixels, matrix, shift, added = drawn(count, 24), drawn(24, width), drawn(width), drawn(count, width, seed=1)
    expected = pixels.astype(np.float64) @ matrix + shift
    np.testing.assert_allclose(product(pixels, matrix, shift), expected, rtol=0, atol=1e-5)
    rectified = np.maximum(expected + added, 0)
    np.testing.assert_allclose(product(pixels, matrix, shift, added, 0), rectified, rtol=0, atol=1e-5)
    assert 0.2 < (rectified == 0).mean() < 0.8


@pytest.mark.parametrize("count", [3, 8, 49])
def test_matrices_of_any_size(count):
    for depth, width in ((SMALL // 64, 64), (SMALL // 64 + 1, 64)):
        pixels, matrix = drawn(count, depth), drawn(depth, width)
        expected = pixels.astype(np.float64) @ matrix
        np.testing.assert_allclose(product(pixels, matrix, np.zeros(width, np.float32)), expected, rtol=0, atol=1e-3)


@pytest.mark.parametrize("count", [4, 10])
def test_pixels_that_lie_apart_and_pixels_of_several_parts(count):
    pixels, matrix, shift = drawn(count, 16), drawn(48, 48), drawn(48)
    whole = np.concatenate([pixels, pixels + 1, pixels + 0.02], axis=1)
    expected = whole.astype(np.float64) @ matrix + shift
    results = product(pixels, matrix, shift, jumps=(0, 1000, 20), step=40, target_step=64)
    np.testing.assert_allclose(results, expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("count", [2, 9])
def test_what_is_no_number_or_infinite_stays_so(count):
    pixels = drawn(count, 4)
    pixels[1, 0], pixels[0, 0] = np.nan, np.inf
    matrix = np.abs(drawn(4, 16))
    matrix[0] *= -1
    results = product(pixels, matrix, np.zeros(16, np.float32), least=0)
    assert np.isnan(results[1]).all()
    assert (results[0] == 0).all()
    assert np.isfinite(results[2:]).all()


@pytest.mark.parametrize("averaged", [True, False])
@pytest.mark.parametrize("rectified", [True, False])
def test_a_convolution_and_its_mean(rectified, averaged, threads, monkeypatch):
    monkeypatch.setattr(numba_kernels, "_UNIT", 2000)
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(3, 16, 13, 11, generator=generator).contiguous(memory_format=torch.channels_last)
    weight, bias = torch.randn(48, 16, generator=generator), torch.randn(48, generator=generator)
    expected = torch.nn.functional.conv2d(x.double(), weight.double()[:, :, None, None], bias.double())
    expected = expected.relu() if rectified else expected
    results = []
    for count in (1, 2, 3):
        threads(count)
        matrix = numba_kernels.matrix_weights(weight.T)
        results.append(numba_kernels.convolve(x, matrix, bias.numpy(), rectified, averaged))
    for output, mean in results:
        torch.testing.assert_close(output.double(), expected, rtol=0, atol=1e-5)
        assert output.is_contiguous(memory_format=torch.channels_last)
        assert torch.equal(output, results[0][0])
        if averaged:
            torch.testing.assert_close(mean.double(), expected.mean((2, 3)), rtol=0, atol=1e-5)
        else:
            assert mean is None

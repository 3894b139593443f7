import numba
import numpy as np
import pytest
import torch

from robustbench_bi.ops.dynamic_filter.vectors_numba_kernels import WIDTH, load, number, put, store, total, zeros


@numba.njit
def copy_vectors(source, target):
    for start in range(0, len(source), WIDTH):
        store(target, start, load(source, start))


@numba.njit
def copy_numbers(source, target):
    for index in range(len(source)):
        put(target, index, number(source, index))


@numba.njit
def polynomial(x, target, factor):
    value = zeros()
    value += factor * load(x, 0) * load(x, 0)
    store(target, 0, value + load(x, 0) * factor + factor)


@numba.njit
def sum_of(x, start):
    return total(load(x, start))


def bit_patterns(count):
    """Numbers of every kind: halfway between two bfloat16, subnormal, infinite, and not numbers."""
    bits = np.random.default_rng(0).integers(0, 2**32, count, dtype=np.uint32)
    bits[:8] = 0x7FFFFFFF, 0xFFFFFFFF, 0x7F800001, 0x7F800000, 0x3F808000, 0x3F818000, 0x7F7FFFFF, 0x00008001
    return bits.view(np.float32)


@pytest.mark.parametrize("copy", [copy_vectors, copy_numbers])
def test_bfloat16_is_rounded_and_read_as_torch_does(copy):
    values = bit_patterns(2**14)
    rounded, back = np.zeros(len(values), np.int16), np.zeros_like(values)
    copy(values, rounded)
    copy(rounded, back)
    expected = torch.from_numpy(values).bfloat16()
    torch.testing.assert_close(torch.from_numpy(rounded).view(torch.bfloat16), expected, rtol=0, atol=0, equal_nan=True)
    torch.testing.assert_close(torch.from_numpy(back), expected.float(), rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("copy", [copy_vectors, copy_numbers])
def test_float32_is_copied_bit_by_bit(copy):
    values = bit_patterns(64)
    target = np.zeros_like(values)
    copy(values, target)
    assert np.array_equal(values.view(np.uint32), target.view(np.uint32))


def test_numbers_and_vectors_are_added_and_multiplied():
    x, target = np.arange(16, dtype=np.float32), np.zeros(18, np.float32)
    polynomial(x, target, np.float32(2))
    assert target.tolist() == [*(2 * x * x + 2 * x + 2), 0, 0]


def test_a_vector_starts_anywhere():
    assert sum_of(np.arange(40, dtype=np.float32), 3) == sum(range(3, 19))

"""The Triton kernels against the reference in float64; without a GPU they are interpreted, which is slow."""

import importlib
import sys

import numpy as np
import pytest
import torch

from robustbench_bi.errors import BackendUnavailableError
from robustbench_bi.ops.dynamic_filter import reference

if sys.platform != "linux":
    pytest.skip("Triton is for Linux", allow_module_level=True)

triton_kernels = importlib.import_module("robustbench_bi.ops.dynamic_filter.triton_kernels")

pytestmark = pytest.mark.gpu

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
FORMATS = {"first": torch.contiguous_format, "last": torch.channels_last}

# batch, channels, height, width, groups; kernel size, stride, dilation; filters; dtype; where channels of x and of the
# filters are in memory
CASES = {
    "involution": ((2, 4, 5, 6, 2), (3, 1, 1), "alone", torch.float32, "first", "first"),
    "involution, channels last": ((1, 12, 5, 3, 3), (3, 1, 1), "alone", torch.bfloat16, "last", "last"),
    "only x channels last": ((1, 4, 6, 3, 2), (3, 1, 1), "mul", torch.float16, "last", "first"),
    "only the filters channels last": ((1, 4, 3, 5, 2), (3, 1, 1), "add", torch.bfloat16, "first", "last"),
    "more channels than a tile": ((1, 48, 3, 3, 1), (3, 1, 1), "mul", torch.bfloat16, "first", "first"),
    "more channels than a tile, last": ((2, 128, 3, 2, 1), (3, 1, 1), "mul", torch.float16, "last", "last"),
    "more columns than a tile": ((1, 16, 1, 67, 1), (3, 1, 1), "mul", torch.float32, "first", "first"),
    "more columns than a tile, last": ((1, 64, 2, 18, 4), (3, 1, 1), "alone", torch.float32, "last", "last"),
    "more rows than a strip": ((1, 1, 18, 2, 1), (3, 1, 1), "mul", torch.float32, "first", "first"),
    "odd channels": ((1, 6, 3, 2, 2), (3, 1, 1), "add", torch.float16, "last", "last"),
    "a group a channel": ((1, 6, 3, 4, 6), (3, 1, 1), "mul", torch.float32, "last", "last"),
    "stride 2, odd sides": ((2, 4, 7, 5, 2), (3, 2, 1), "mul", torch.bfloat16, "last", "first"),
    "stride 2, kernel 7": ((1, 2, 5, 6, 1), (7, 2, 1), "alone", torch.float32, "first", "first"),
    "dilation 2": ((1, 2, 6, 5, 1), (3, 1, 2), "add", torch.float32, "first", "first"),
    "stride 2 and dilation 3": ((1, 2, 8, 7, 2), (3, 2, 3), "mul", torch.float32, "last", "last"),
    "stride 3 and dilation 2": ((1, 2, 5, 7, 1), (5, 3, 2), "alone", torch.float16, "first", "first"),
    "kernel 1, stride 3": ((2, 4, 4, 5, 2), (1, 3, 1), "add", torch.bfloat16, "first", "first"),
    "kernel larger than the image": ((1, 2, 2, 3, 1), (7, 1, 1), "alone", torch.float16, "last", "last"),
    "taps that never meet the image": ((1, 2, 4, 3, 1), (5, 3, 3), "add", torch.float32, "first", "first"),
    "one pixel": ((1, 2, 1, 1, 1), (3, 2, 1), "mul", torch.float32, "first", "last"),
    "one pixel, one channel": ((1, 1, 1, 1, 1), (1, 1, 1), "add", torch.bfloat16, "last", "first"),
}


@pytest.fixture(autouse=True)
def _memory_is_never_clean(monkeypatch):
    empty, empty_like = torch.empty, torch.empty_like
    monkeypatch.setattr(torch, "empty", lambda *size, **options: empty(*size, **options).fill_(torch.nan))
    monkeypatch.setattr(torch, "empty_like", lambda *given, **options: empty_like(*given, **options).fill_(torch.nan))


def arguments(case):
    (batch, channels, height, width, groups), (size, stride, dilation), filters, dtype, order, spatial_order = case
    generator = torch.Generator().manual_seed(0)
    out = (-(-height // stride), -(-width // stride))

    def tensor(*shape, order="first"):
        values = torch.randn(shape, generator=generator).to(DEVICE, dtype)
        return values.contiguous(memory_format=FORMATS[order])

    gradient = tensor(batch, channels, *out, order=order)
    x = tensor(batch, channels, height, width, order=order)
    spatial = tensor(batch, groups * size**2, *out, order=spatial_order)
    channel = None if filters == "alone" else tensor(batch, channels, size, size)
    return gradient, x, spatial, channel, size, stride, dilation, "add" if filters == "add" else "mul"


def small(order="first", filters="mul", batch=1):
    return arguments(((batch, 2, 3, 2, 1), (3, 1, 1), filters, torch.float32, order, order))


def results(module, gradient, *given):
    return module.forward(*given), *module.backward(gradient, *given)


def in_float64(given):
    return [value.double() if isinstance(value, torch.Tensor) else value for value in given]


def assert_rounded_once(result, exact):
    # Half a unit in the last place, and what float32 loses of the sum. The interpreter cuts bfloat16 off instead.
    units = 1 if DEVICE == "cpu" and result.dtype == torch.bfloat16 else 0.5
    loss = 4e-6 * exact.abs().max().item()
    torch.testing.assert_close(result.double(), exact, rtol=1.01 * units * torch.finfo(result.dtype).eps, atol=loss)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_equals_the_reference_in_float64(case):
    given = arguments(case)
    computed, exact = results(triton_kernels, *given), results(reference, *in_float64(given))
    assert (computed[3] is None) == (given[3] is None)
    for result, expected, alike in zip(computed, exact, (given[0], *given[1:4]), strict=True):
        if result is not None:
            assert (result.shape, result.dtype) == (alike.shape, alike.dtype)
            assert_rounded_once(result, expected)


@pytest.mark.parametrize("order", FORMATS)
def test_the_memory_format_is_that_of_x(order):
    output, to_x, to_spatial, to_channel = results(triton_kernels, *small(order))
    for result in (output, to_x):
        formats = [name for name in FORMATS if result.is_contiguous(memory_format=FORMATS[name])]
        assert formats == [order]
    assert to_spatial.is_contiguous()
    assert to_channel.is_contiguous()


def test_views_that_are_neither_and_an_expanded_gradient():
    _, x, spatial, channel, *rest = small()
    views = (x.mT.contiguous().mT, torch.cat([spatial, spatial], 3)[..., 1:3], channel.mT)
    given = (torch.ones(1, 1, 1, 1, device=DEVICE).expand_as(x), *views, *rest)
    for result, expected in zip(results(triton_kernels, *given), results(reference, *in_float64(given)), strict=True):
        assert_rounded_once(result, expected)


def test_dtypes_may_be_mixed():
    gradient, x, spatial, channel, *rest = small()
    given = (gradient.bfloat16(), x.bfloat16(), spatial, channel.half(), *rest)
    computed = results(triton_kernels, *given)
    assert [result.dtype for result in computed] == [torch.bfloat16, torch.bfloat16, torch.float32, torch.float16]
    for result, expected in zip(computed, results(reference, *in_float64(given)), strict=True):
        assert_rounded_once(result, expected)


def test_the_same_bits_again_and_in_another_batch():
    given = small(batch=2)
    one = [value[1:] if isinstance(value, torch.Tensor) else value for value in given]
    first, second, alone = (results(triton_kernels, *each) for each in (given, given, one))
    for result, again, part in zip(first, second, alone, strict=True):
        assert torch.equal(result, again)
        assert torch.equal(result[1:], part)


@pytest.mark.parametrize("order", FORMATS)
def test_what_is_infinite_spoils_only_what_it_meets(order):
    gradient, x, spatial, *rest = arguments(((1, 1, 9, 4, 1), (3, 1, 1), "alone", torch.float32, order, order))
    x[0, 0, 4, 1] = torch.inf
    gradient[0, 0, 8, 2] = -torch.inf
    spatial[0, 4, 6, 3] = torch.inf
    # The first tap of the first row looks above the image.
    spatial[0, 0, 0] = torch.nan
    given = (gradient, x, spatial, *rest)
    with np.errstate(invalid="ignore"):
        computed = results(triton_kernels, *given)[:3]
    for result, expected in zip(computed, results(reference, *given)[:3], strict=True):
        assert 0 < result.isfinite().logical_not().sum() < result.numel() / 2
        torch.testing.assert_close(result, expected, equal_nan=True)


@pytest.mark.parametrize("name", ["gradient", "x", "spatial", "channel"])
def test_wider_types_are_left_to_the_reference(name):
    given = dict(zip(("gradient", "x", "spatial", "channel"), small(), strict=False))
    given[name] = given[name].double()
    with pytest.raises(BackendUnavailableError, match=r"take float32, float16 and bfloat16, got torch\.float64; use"):
        triton_kernels.backward(*given.values(), 3, 1, 1, "mul")


def test_places_fit_into_32_bits():
    x = torch.zeros(1, device=DEVICE).expand(1, 2**15, 2**8, 2**8)
    with pytest.raises(
        BackendUnavailableError, match=r"fewer than 2\*\*31 elements each, got \(32768, 256, 256\); use"
    ):
        triton_kernels.forward(x, torch.zeros(1, device=DEVICE).expand(1, 1, 2**8, 2**8), None, 1, 1, 1, "mul")

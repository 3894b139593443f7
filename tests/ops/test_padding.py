"""Images that are mirrored beyond their border, for the operators that can: values, gradients, every backend."""

import itertools

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from robustbench_bi.errors import InputError
from robustbench_bi.ops import dynamic_filter
from robustbench_bi.ops.dynamic_filter import numba_kernels, reference
from robustbench_bi.ops.neighbourhoods import reflected, with_border, without_border

BACKENDS = ("reference", "numba", "triton")
DEVICES = dict.fromkeys(BACKENDS, "cpu") | ({"triton": "cuda"} if torch.cuda.is_available() else {})
LAYOUTS = (torch.contiguous_format, torch.channels_last)

# batch, channels, height, width, groups, kernel size, stride, dilation
GEOMETRIES = {
    "plain": (2, 4, 6, 5, 2, 3, 1, 1),
    "kernel 7": (1, 16, 9, 8, 1, 7, 1, 1),
    "stride 2, odd sides": (1, 3, 7, 9, 1, 5, 2, 1),
    "stride 3 and dilation 2": (1, 2, 9, 8, 2, 3, 3, 2),
    "mirrored more than once": (1, 2, 2, 3, 1, 7, 1, 1),
    "one pixel": (1, 2, 1, 1, 1, 3, 1, 1),
}


def arguments(geometry, dtype=torch.float64, channel=False):
    batch, channels, height, width, groups, size, stride, dilation = geometry
    generator = torch.Generator().manual_seed(0)
    out = (-(-height // stride), -(-width // stride))
    x = torch.randn(batch, channels, height, width, generator=generator, dtype=dtype)
    spatial = torch.randn(batch, groups * size**2, *out, generator=generator, dtype=dtype)
    factors = torch.randn(batch, channels, size, size, generator=generator, dtype=dtype) if channel else None
    return (x, spatial, factors), {"kernel_size": size, "stride": stride, "dilation": dilation, "padding": "reflect"}


def mirror(position, length):
    """Walk to a position, turning round at both ends."""
    place, step = 0, 1 if position >= 0 else -1
    for _ in range(abs(position) if length > 1 else 0):
        if not 0 <= place + step < length:
            step = -step
        place += step
    return place


def by_the_formula(x, spatial, channel, *, kernel_size, stride, dilation, padding):
    output = torch.zeros(*x.shape[:2], *spatial.shape[2:], dtype=x.dtype)
    groups = spatial.shape[1] // kernel_size**2
    for b, c, i, j in itertools.product(*map(range, output.shape)):
        group = c // (x.shape[1] // groups)
        for u, v in itertools.product(range(kernel_size), repeat=2):
            row = mirror(stride * i + (u - kernel_size // 2) * dilation, x.shape[2])
            column = mirror(stride * j + (v - kernel_size // 2) * dilation, x.shape[3])
            weight = spatial[b, group * kernel_size**2 + u * kernel_size + v, i, j]
            output[b, c, i, j] += weight * (1 if channel is None else channel[b, c, u, v]) * x[b, c, row, column]
    return output


@pytest.mark.parametrize("channel", [False, True])
@pytest.mark.parametrize("geometry", GEOMETRIES.values(), ids=GEOMETRIES.keys())
def test_the_filter_computes_the_formula_and_its_gradients(geometry, channel):
    tensors, options = arguments(geometry, channel=channel)
    torch.testing.assert_close(dynamic_filter(*tensors, **options), by_the_formula(*tensors, **options))
    if geometry[1] < 16:
        given = [tensor.requires_grad_() for tensor in tensors if tensor is not None]
        assert torch.autograd.gradcheck(lambda *parts: dynamic_filter(*parts, **options), given)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("geometry", GEOMETRIES.values(), ids=GEOMETRIES.keys())
def test_every_backend_of_the_filter_is_the_reference_in_float64(backend, geometry):
    if backend == "triton":
        pytest.importorskip("triton")
    pairs = list(itertools.product(LAYOUTS, (False, True)))
    # Triton's interpreter takes seconds for each: there, each layout and each kind of filter comes once.
    for layout, channel in pairs[::3] if DEVICES[backend] == "cpu" and backend == "triton" else pairs:
        tensors, options = arguments(geometry, torch.float32, channel)
        exact = [None if tensor is None else tensor.double() for tensor in tensors]
        settled = *(options[name] for name in ("kernel_size", "stride", "dilation")), "mul", "reflect"
        expected = reference.forward(*exact, *settled)
        gradient = torch.randn(expected.shape, generator=torch.Generator().manual_seed(1))
        expected = [expected, *reference.backward(gradient.double(), *exact, *settled)]
        given = [
            tensor.to(DEVICES[backend]).contiguous(memory_format=layout).requires_grad_()
            for tensor in tensors
            if tensor is not None
        ]
        output = dynamic_filter(*given, **options, backend=backend)
        results = output, *torch.autograd.grad(output, given, gradient.to(output.device))
        for result, value in zip(results, (value for value in expected if value is not None), strict=True):
            torch.testing.assert_close(
                result.cpu().double(), value, rtol=1e-6, atol=2e-6 * max(1.0, value.abs().max().item())
            )


def test_whole_vectors_of_channels_in_parts(monkeypatch):
    monkeypatch.setattr(numba_kernels, "_UNIT", 300)
    tensors, options = arguments(GEOMETRIES["kernel 7"], torch.float32)
    x, spatial = (tensor.contiguous(memory_format=torch.channels_last) for tensor in tensors[:2])
    output = dynamic_filter(x, spatial, **options, backend="numba")
    torch.testing.assert_close(output, dynamic_filter(*tensors, **options, backend="reference"))


@pytest.mark.parametrize("geometry", GEOMETRIES.values(), ids=GEOMETRIES.keys())
def test_the_unrolled_form_is_the_same(geometry):
    tensors, options = arguments(geometry, channel=True)
    settled = *(options[name] for name in ("kernel_size", "stride", "dilation")), "mul", "reflect"
    torch.testing.assert_close(reference.unrolled(*tensors, *settled), reference.forward(*tensors, *settled))


def test_the_border_is_torchs_reflection():
    x = torch.randn(2, 3, 6, 7)
    torch.testing.assert_close(with_border(x, 3, (2, 3)), F.pad(x, (3, 3, 3, 3), "reflect"), rtol=0, atol=0)
    assert reflected(np.arange(-7, 8), 4).tolist() == [mirror(position, 4) for position in range(-7, 8)]


@pytest.mark.parametrize(("sides", "border"), [((5, 6), 2), ((2, 3), 5), ((1, 4), 3)])
def test_taking_the_border_off_is_the_transpose(sides, border):
    x = torch.randn(2, *sides, dtype=torch.float64)
    bordered = with_border(x, border, (1, 2))
    y = torch.randn_like(bordered)
    torch.testing.assert_close((bordered * y).sum(), (x * without_border(y, border, (1, 2))).sum())


def test_an_unknown_padding_is_refused():
    tensors, options = arguments(GEOMETRIES["plain"])
    with pytest.raises(InputError, match="padding must be 'zeros' or 'reflect', got 'circular'"):
        dynamic_filter(*tensors, **(options | {"padding": "circular"}))

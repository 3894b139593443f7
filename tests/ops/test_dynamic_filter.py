import importlib
import itertools

import pytest
import torch

import robustbench_bi
from robustbench_bi.errors import BackendUnavailableError, InputError, UnknownNameError
from robustbench_bi.ops import dynamic_filter

# batch, channels, height, width, groups, kernel size, stride, dilation
GEOMETRIES = {
    "plain": (2, 4, 4, 3, 2, 3, 1, 1),
    "odd sides, stride 2": (2, 4, 7, 5, 2, 3, 2, 1),
    "dilation 2": (1, 2, 9, 8, 1, 3, 1, 2),
    "stride 2 and dilation 2": (1, 2, 9, 8, 1, 5, 2, 2),
    "one group": (1, 3, 5, 4, 1, 5, 1, 1),
    "a group a channel": (2, 3, 3, 4, 3, 3, 1, 1),
    "kernel 1": (2, 4, 5, 5, 2, 1, 1, 1),
    "kernel 1, stride 3": (2, 4, 7, 8, 2, 1, 3, 1),
    "kernel larger than the image": (1, 2, 2, 3, 1, 7, 1, 1),
    "taps that never meet the image": (1, 2, 4, 4, 1, 7, 2, 3),
    "one pixel": (1, 2, 1, 1, 2, 3, 2, 1),
}
FILTERS = ("spatial alone", "mul", "add")


def arguments(geometry, filters, dtype=torch.float64, seed=0):
    batch, channels, height, width, groups, size, stride, dilation = geometry
    generator = torch.Generator().manual_seed(seed)
    out = (-(-height // stride), -(-width // stride))
    x = torch.randn(batch, channels, height, width, generator=generator, dtype=dtype)
    spatial = torch.randn(batch, groups * size**2, *out, generator=generator, dtype=dtype)
    channel = None
    if filters != "spatial alone":
        channel = torch.randn(batch, channels, size, size, generator=generator, dtype=dtype)
    combine = "add" if filters == "add" else "mul"
    return (x, spatial, channel), {"kernel_size": size, "stride": stride, "dilation": dilation, "combine": combine}


def by_the_formula(x, spatial, channel, *, kernel_size, stride, dilation, combine):
    """One multiplication at a time, from the equation in the docstring."""
    batch, channels, height, width = x.shape
    groups = spatial.shape[1] // kernel_size**2
    output = torch.zeros(batch, channels, *spatial.shape[2:], dtype=x.dtype)
    for b, c, i, j in itertools.product(*map(range, output.shape)):
        group = c // (channels // groups)
        for u, v in itertools.product(range(kernel_size), repeat=2):
            row = stride * i + (u - kernel_size // 2) * dilation
            column = stride * j + (v - kernel_size // 2) * dilation
            if 0 <= row < height and 0 <= column < width:
                weight = spatial[b, group * kernel_size**2 + u * kernel_size + v, i, j]
                if channel is not None:
                    weight = weight * channel[b, c, u, v] if combine == "mul" else weight + channel[b, c, u, v]
                output[b, c, i, j] += weight * x[b, c, row, column]
    return output


@pytest.mark.parametrize("filters", FILTERS)
@pytest.mark.parametrize("geometry", GEOMETRIES.values(), ids=GEOMETRIES.keys())
def test_it_computes_the_formula(geometry, filters):
    tensors, options = arguments(geometry, filters)
    torch.testing.assert_close(dynamic_filter(*tensors, **options), by_the_formula(*tensors, **options))


@pytest.mark.parametrize("filters", FILTERS)
@pytest.mark.parametrize("geometry", GEOMETRIES.values(), ids=GEOMETRIES.keys())
def test_gradients_are_those_of_finite_differences(geometry, filters):
    tensors, options = arguments(geometry, filters)
    given = [tensor.requires_grad_() for tensor in tensors if tensor is not None]
    assert torch.autograd.gradcheck(lambda *parts: dynamic_filter(*parts, **options), given)


def test_the_gradient_of_every_argument_can_be_left_out():
    tensors, options = arguments(GEOMETRIES["plain"], "mul")
    for index in range(3):
        parts = [tensor.clone().requires_grad_(number == index) for number, tensor in enumerate(tensors)]
        dynamic_filter(*parts, **options).sum().backward()
        assert [part.grad is not None for part in parts] == [number == index for number in range(3)]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_sums_of_narrow_types_are_made_in_float32(dtype):
    (x, spatial, _), options = arguments((2, 8, 12, 12, 1, 7, 1, 1), "spatial alone", dtype)
    exact = dynamic_filter(x.double(), spatial.double(), **options)
    result = dynamic_filter(x, spatial, **options)
    assert result.dtype == dtype
    # Half a unit in the last place, as from one rounding at the end; a running sum in 16 bits is ten times as far off.
    torch.testing.assert_close(result.double(), exact, rtol=0.6 * torch.finfo(dtype).eps, atol=1e-5)


def test_gradients_have_the_types_of_their_arguments():
    (x, spatial, channel), options = arguments(GEOMETRIES["plain"], "mul", torch.float32)
    x, spatial, channel = x.bfloat16().requires_grad_(), spatial.requires_grad_(), channel.half().requires_grad_()
    output = dynamic_filter(x, spatial, channel, **options)
    output.sum().backward()
    assert output.dtype == torch.bfloat16
    assert (x.grad.dtype, spatial.grad.dtype, channel.grad.dtype) == (torch.bfloat16, torch.float32, torch.float16)


def test_the_memory_format_is_kept_and_changes_no_value():
    tensors, options = arguments((2, 4, 6, 6, 2, 3, 2, 1), "mul")
    plain = dynamic_filter(*tensors, **options)
    last = dynamic_filter(tensors[0].contiguous(memory_format=torch.channels_last), *tensors[1:], **options)
    assert plain.is_contiguous()
    assert last.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(plain, last)


def test_arguments_are_left_as_they_were():
    tensors, options = arguments(GEOMETRIES["odd sides, stride 2"], "mul")
    copies = [tensor.clone() for tensor in tensors]
    dynamic_filter(*(tensor.requires_grad_() for tensor in tensors), **options).sum().backward()
    assert all(torch.equal(tensor, copy) for tensor, copy in zip(tensors, copies, strict=True))


def test_a_batch_of_none():
    x, spatial = torch.zeros(0, 4, 6, 6, requires_grad=True), torch.zeros(0, 9, 6, 6)
    output = dynamic_filter(x, spatial, kernel_size=3)
    output.sum().backward()
    assert output.shape == x.grad.shape == (0, 4, 6, 6)


def test_no_tensor_of_all_taps_is_made():
    class Largest(torch.overrides.TorchFunctionMode):
        elements = 0

        def __torch_function__(self, function, types, args=(), kwargs=None):
            result = function(*args, **(kwargs or {}))
            if isinstance(result, torch.Tensor):
                self.elements = max(self.elements, result.numel())
            return result

    (x, spatial, channel), options = arguments((2, 32, 16, 16, 1, 7, 1, 1), "mul")
    with Largest() as largest:
        dynamic_filter(x, spatial, channel, **options)
    assert largest.elements <= max(x.numel(), spatial.numel(), channel.numel())
    with Largest() as largest:
        torch.nn.functional.unfold(x, 7, padding=3)
    assert largest.elements == 49 * x.numel()


def test_rb_ops_has_the_function_whatever_was_imported_first():
    importlib.import_module("robustbench_bi.ops.dynamic_filter")
    assert robustbench_bi.ops.dynamic_filter is dynamic_filter
    assert callable(robustbench_bi.ops.dynamic_filter)


@pytest.mark.parametrize("backend", [None, "reference"])
def test_backends_that_run(backend):
    tensors, options = arguments(GEOMETRIES["plain"], "mul")
    torch.testing.assert_close(
        dynamic_filter(*tensors, **options, backend=backend), by_the_formula(*tensors, **options)
    )


@pytest.mark.parametrize("backend", ["numba", "triton"])
def test_a_named_backend_never_falls_back(backend):
    tensors, options = arguments(GEOMETRIES["plain"], "mul")
    with pytest.raises(BackendUnavailableError, match=f"no '{backend}' kernels in this version; use backend='refer"):
        dynamic_filter(*tensors, **options, backend=backend)


def test_an_unknown_backend():
    tensors, options = arguments(GEOMETRIES["plain"], "mul")
    with pytest.raises(UnknownNameError, match=r"unknown dynamic_filter backend 'tritn'. Did you mean 'triton'\?"):
        dynamic_filter(*tensors, **options, backend="tritn")


X, SPATIAL, CHANNEL = torch.zeros(2, 4, 7, 6), torch.zeros(2, 18, 4, 3), torch.zeros(2, 4, 3, 3)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kernel_size": 4}, "kernel_size must be odd, so that the filter has a centre, got 4"),
        ({"kernel_size": 0}, "kernel_size must be a positive integer, got 0"),
        ({"kernel_size": 3.0}, "kernel_size must be a positive integer, got 3.0"),
        ({"stride": True}, "stride must be a positive integer, got True"),
        ({"dilation": -1}, "dilation must be a positive integer, got -1"),
        ({"combine": "max"}, "combine must be 'mul' or 'add', got 'max'"),
        ({"x": X[0]}, r"x must be a floating tensor of 4 dimensions, got torch.float32 \(4, 7, 6\)"),
        ({"x": X.int()}, r"x must be a floating tensor of 4 dimensions, got torch.int32 \(2, 4, 7, 6\)"),
        ({"spatial": [1.0]}, "spatial must be a floating tensor of 4 dimensions, got list"),
        (
            {"spatial": torch.zeros(2, 18, 3, 3)},
            r"spatial must be \(B, G·K·K, Ho, Wo\) = \(2, G·9, 4, 3\) for x \(2, 4, 7, 6\), kernel_size 3 "
            r"and stride 2, got \(2, 18, 3, 3\)",
        ),
        ({"spatial": torch.zeros(2, 17, 4, 3)}, r"got \(2, 17, 4, 3\)"),
        ({"spatial": torch.zeros(2, 0, 4, 3)}, r"got \(2, 0, 4, 3\)"),
        ({"spatial": torch.zeros(1, 18, 4, 3)}, r"got \(1, 18, 4, 3\)"),
        ({"spatial": torch.zeros(2, 27, 4, 3)}, "filters for 3 groups, which must divide the 4 channels of x"),
        (
            {"channel": torch.zeros(2, 4, 9)},
            r"channel must be a floating tensor of 4 dimensions, got torch.float32 \(2, 4, 9\)",
        ),
        (
            {"channel": torch.zeros(2, 4, 3, 5)},
            r"channel must be \(B, C, K, K\) = \(2, 4, 3, 3\), got \(2, 4, 3, 5\)",
        ),
        ({"channel": CHANNEL.to("meta")}, "channel must be on the device of x, cpu, got meta"),
    ],
)
def test_bad_arguments_are_refused(changes, message):
    given = {"x": X, "spatial": SPATIAL, "channel": CHANNEL, "kernel_size": 3, "stride": 2}
    assert dynamic_filter(**given).shape == (2, 4, 4, 3)
    with pytest.raises(InputError, match=message):
        dynamic_filter(**(given | changes))

import importlib
import itertools

import pytest
import torch
from torch.autograd import forward_ad

import robustbench_bi
from robustbench_bi.errors import BackendUnavailableError, InputError, UnknownNameError
from robustbench_bi.ops import dynamic_filter
from robustbench_bi.ops.dynamic_filter import numba_kernels, reference

FORWARD, BACKWARD = torch.ops.robustbench_bi.dynamic_filter, torch.ops.robustbench_bi.dynamic_filter_backward
# Without a GPU, Triton's kernels run in its interpreter; see tests/conftest.py.
ON_GPU = torch.cuda.is_available()
DEVICES = {"reference": "cpu", "numba": "cpu", "triton": "cuda" if ON_GPU else "cpu"}
LAYOUTS = {"channels first": torch.contiguous_format, "channels last": torch.channels_last}

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
# Sizes at which the kernels go other ways: whole vectors of channels and parts of one, many rows, padded rows.
LARGER = {
    "sides 63 and 100": (1, 3, 63, 100, 1, 3, 1, 1),
    "sides 100 and 63, stride 2": (2, 2, 100, 63, 2, 5, 2, 1),
    "vectors of channels": (2, 32, 9, 7, 2, 3, 1, 1),
    "several vectors a group, stride 2": (3, 48, 7, 8, 1, 5, 2, 1),
    "a vector and a half a group": (1, 48, 5, 6, 2, 3, 1, 2),
    "kernel 7, dilation 2, stride 2": (1, 16, 15, 13, 1, 7, 2, 2),
    "five vectors, a group each": (2, 80, 5, 4, 5, 3, 1, 1),
    "seven vectors in one group": (1, 112, 4, 5, 1, 3, 2, 1),
    "a group a channel, kernel 7": (1, 5, 8, 9, 5, 7, 1, 1),
    "many channels at one pixel": (2, 64, 1, 1, 4, 7, 1, 1),
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


@pytest.mark.gpu
@pytest.mark.parametrize("backend", DEVICES)
@pytest.mark.parametrize("shape", [(0, 4, 6, 6), (2, 0, 6, 6), (2, 4, 0, 6)], ids=["images", "channels", "rows"])
def test_none_at_all(shape, backend, monkeypatch):
    monkeypatch.setattr(torch, "empty", filled_with_nan(torch.empty))
    batch, channels, height, width = shape
    sizes = shape, (batch, 18, height, width), (batch, channels, 3, 3)
    tensors = [torch.ones(size, device=DEVICES[backend], requires_grad=True) for size in sizes]
    output = dynamic_filter(*tensors, kernel_size=3, backend=backend)
    output.sum().backward()
    assert output.shape == shape
    assert all(torch.equal(tensor.grad, torch.zeros_like(tensor)) for tensor in tensors)


def test_no_tensor_of_all_taps_is_made():
    class Largest(torch.overrides.TorchFunctionMode):
        elements = 0

        def __torch_function__(self, function, types, args=(), kwargs=None):
            result = function(*args, **(kwargs or {}))
            if isinstance(result, torch.Tensor):
                self.elements = max(self.elements, result.numel())
            return result

    (x, spatial, channel), options = arguments((2, 32, 16, 16, 1, 7, 1, 1), "mul", torch.float32)
    for module in (reference, numba_kernels):
        with Largest() as largest:
            module.forward(x, spatial, channel, *options.values())
        assert x.numel() <= largest.elements <= max(x.numel(), spatial.numel(), channel.numel())
    with Largest() as largest:
        torch.nn.functional.unfold(x, 7, padding=3)
    assert largest.elements == 49 * x.numel()


def test_rb_ops_has_the_function_whatever_was_imported_first():
    importlib.import_module("robustbench_bi.ops.dynamic_filter")
    assert robustbench_bi.ops.dynamic_filter is dynamic_filter
    assert callable(robustbench_bi.ops.dynamic_filter)


TYPES = (torch.float32, torch.bfloat16, torch.float16)
CONTRACT = [
    *itertools.product(["reference"], (torch.float64, *TYPES), GEOMETRIES | LARGER),
    *itertools.product(["numba"], TYPES, GEOMETRIES | LARGER),
    # Triton's interpreter takes seconds for each, and cuts narrow types off where a GPU rounds.
    *itertools.product(["triton"], TYPES if ON_GPU else TYPES[:1], GEOMETRIES | LARGER if ON_GPU else ["plain"]),
]


@pytest.mark.gpu
@pytest.mark.parametrize(
    ("backend", "dtype", "geometry"), CONTRACT, ids=lambda value: str(value).removeprefix("torch.")
)
def test_every_backend_and_type_is_the_reference_in_float64(backend, dtype, geometry, monkeypatch):
    """The output and all gradients, in both layouts: half a unit in the last place and 2e-6 of the largest value."""
    monkeypatch.setattr(torch, "empty", filled_with_nan(torch.empty))
    monkeypatch.setattr(torch, "empty_like", filled_with_nan(torch.empty_like))
    for filters in FILTERS if dtype == torch.float32 and (ON_GPU or backend != "triton") else ("mul",):
        tensors, options = arguments((GEOMETRIES | LARGER)[geometry], filters, dtype)
        exact = [None if tensor is None else tensor.double() for tensor in tensors]
        expected = reference.forward(*exact, *options.values())
        gradient = torch.randn(expected.shape, generator=torch.Generator().manual_seed(1)).to(dtype)
        expected = expected, *reference.backward(gradient.double(), *exact, *options.values())
        for layout in LAYOUTS.values():
            given = [put(tensor, layout, DEVICES[backend]) for tensor in tensors]
            copies = [None if tensor is None else tensor.clone() for tensor in given]
            output = dynamic_filter(*given, **options, backend=backend)
            wanted = [tensor for tensor in given if tensor is not None]
            results = output, *torch.autograd.grad(output, wanted, put(gradient, layout, DEVICES[backend]).detach())
            assert all(result.dtype == dtype for result in results)
            for result, value in zip(results, (value for value in expected if value is not None), strict=True):
                tolerance = 2e-6 * value.abs().max().item() if dtype != torch.float64 else 1e-14
                torch.testing.assert_close(
                    result.cpu().double(), value, rtol=0.55 * torch.finfo(dtype).eps, atol=tolerance
                )
            assert all(torch.equal(*pair) for pair in zip(wanted, (c for c in copies if c is not None), strict=True))


def put(tensor, layout, device):
    if tensor is None:
        return None
    return tensor.to(device).contiguous(memory_format=layout).requires_grad_()


def filled_with_nan(function):
    def fill(*args, **kwargs):
        result = function(*args, **kwargs)
        return result.fill_(torch.nan) if result.is_floating_point() else result

    return fill


@pytest.mark.parametrize("weight", [1.0, 1.328125])
def test_every_bfloat16_is_read_and_rounded_as_torch_does(weight):
    x = torch.arange(-(2**15), 2**15, dtype=torch.int16).view(torch.bfloat16).reshape(1, 32, 32, 64)
    x = x.contiguous(memory_format=torch.channels_last)
    spatial = torch.full((1, 1, 32, 64), weight, dtype=torch.bfloat16)
    output = dynamic_filter(x, spatial, kernel_size=1, backend="numba")
    torch.testing.assert_close(output, x * weight, rtol=0, atol=0, equal_nan=True)


@pytest.fixture
def small_parts(monkeypatch):
    monkeypatch.setattr(numba_kernels, "_UNIT", 300)


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS.keys())
@pytest.mark.parametrize("filters", FILTERS)
@pytest.mark.parametrize("geometry", LARGER.values(), ids=LARGER.keys())
def test_parts_of_a_few_rows_make_the_whole(geometry, filters, layout, small_parts):
    tensors, options = arguments(geometry, filters, torch.float32)
    gradient = torch.randn(*tensors[0].shape[:2], *tensors[1].shape[2:], generator=torch.Generator().manual_seed(1))
    exact = [None if tensor is None else tensor.double() for tensor in tensors]
    expected = (
        reference.forward(*exact, *options.values()),
        *reference.backward(gradient.double(), *exact, *options.values()),
    )
    given = [None if tensor is None else tensor.contiguous(memory_format=layout) for tensor in tensors]
    results = (
        numba_kernels.forward(*given, *options.values()),
        *numba_kernels.backward(gradient.contiguous(memory_format=layout), *given, *options.values()),
    )
    for result, value in zip(results, expected, strict=True):
        if value is not None:
            torch.testing.assert_close(result.double(), value, rtol=1e-6, atol=2e-6 * value.abs().max().item())


@pytest.mark.parametrize("unit", [300, 2**17])
@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS.keys())
def test_the_number_of_threads_changes_no_bit(layout, unit, threads, monkeypatch):
    monkeypatch.setattr(numba_kernels, "_UNIT", unit)
    tensors, options = arguments((5, 16, 11, 9, 1, 3, 2, 1), "mul", torch.float32)
    tensors = [tensor.contiguous(memory_format=layout) for tensor in tensors]
    gradient = torch.ones(5, 16, 6, 5)
    results = []
    for count in (1, 2, 3):
        threads(count)
        forward = numba_kernels.forward(*tensors, *options.values())
        results.append((forward, *numba_kernels.backward(gradient, *tensors, *options.values())))
    assert all(torch.equal(*pair) for other in results[1:] for pair in zip(results[0], other, strict=True))


def test_the_order_in_which_parts_are_done_changes_no_bit(small_parts, monkeypatch):
    tensors, options = arguments(LARGER["several vectors a group, stride 2"], "mul", torch.float32)
    tensors = [tensor.contiguous(memory_format=torch.channels_last) for tensor in tensors]
    gradient = torch.ones(3, 48, 4, 4).contiguous(memory_format=torch.channels_last)
    expected = numba_kernels.backward(gradient, *tensors, *options.values())
    monkeypatch.setattr(numba_kernels, "share_out", lambda calls: [call() for call in reversed(calls)])
    results = numba_kernels.backward(gradient, *tensors, *options.values())
    assert all(torch.equal(*pair) for pair in zip(results, expected, strict=True))


def test_inference_mode_and_threads(threads, small_parts):
    threads(2)
    tensors, options = arguments(LARGER["several vectors a group, stride 2"], "mul", torch.bfloat16)
    expected = dynamic_filter(*tensors, **options, backend="numba")
    with torch.inference_mode():
        assert torch.equal(dynamic_filter(*tensors, **options, backend="numba"), expected)


def test_none_is_the_fastest_that_computes_in_the_type():
    tensors, options = arguments(LARGER["vectors of channels"], "mul", torch.float32)
    assert torch.equal(dynamic_filter(*tensors, **options), dynamic_filter(*tensors, **options, backend="numba"))
    tensors = [tensor.double() for tensor in tensors]
    assert torch.equal(dynamic_filter(*tensors, **options), dynamic_filter(*tensors, **options, backend="reference"))


def test_a_named_backend_never_falls_back(monkeypatch):
    tensors, options = arguments(GEOMETRIES["plain"], "mul")
    for backend in ("numba", "triton"):
        monkeypatch.setenv("TRITON_INTERPRET", "1")
        with pytest.raises(BackendUnavailableError, match=f"'{backend}' cannot run here: it computes in float32, but"):
            dynamic_filter(*(tensor.to(DEVICES[backend]) for tensor in tensors), **options, backend=backend)
    monkeypatch.delenv("TRITON_INTERPRET")
    with pytest.raises(BackendUnavailableError, match="'triton' cannot run here: it needs tensors on cuda"):
        dynamic_filter(*tensors, **options, backend="triton")


def test_an_unknown_backend():
    tensors, options = arguments(GEOMETRIES["plain"], "mul")
    with pytest.raises(UnknownNameError, match=r"unknown backend 'tritn'. Did you mean 'triton'\?"):
        dynamic_filter(*tensors, **options, backend="tritn")


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning")  # from opcheck
@pytest.mark.parametrize("backend", ["reference", "numba"])
@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS.keys())
@pytest.mark.parametrize("filters", ["spatial alone", "mul"])
def test_the_operators_keep_the_rules_of_torch(backend, layout, filters):
    tensors, options = arguments(GEOMETRIES["odd sides, stride 2"], filters, torch.float32)
    given = [put(tensor, layout, "cpu") for tensor in tensors]
    outcomes = [torch.library.opcheck(FORWARD, (*given, *options.values(), backend))]
    gradient = torch.ones(2, 4, 4, 3).contiguous(memory_format=layout)
    given = [None if tensor is None else tensor.detach() for tensor in given]
    outcomes.append(torch.library.opcheck(BACKWARD, (gradient, *given, *options.values(), backend)))
    assert [set(outcome.values()) for outcome in outcomes] == [{"SUCCESS"}] * 2


class Layer(torch.nn.Module):
    def forward(self, x, spatial, channel):
        return 2 * dynamic_filter(x, spatial, channel, kernel_size=3, stride=2).relu()


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS.keys())
def test_torch_compile_takes_it_as_a_whole(layout):
    tensors, _ = arguments(GEOMETRIES["odd sides, stride 2"], "mul", torch.float32)
    given = [put(tensor, layout, "cpu") for tensor in tensors]
    expected = Layer()(*given)
    output = torch.compile(Layer(), backend="aot_eager", fullgraph=True)(*given)
    assert torch.equal(output, expected)
    for result, value in zip(*(torch.autograd.grad(y.sum(), given) for y in (output, expected)), strict=True):
        assert torch.equal(result, value)


def targets(program):
    return {str(node.target) for node in program.graph.nodes if node.op == "call_function"}


def test_torch_export_takes_it_as_a_whole():
    tensors, _ = arguments(GEOMETRIES["odd sides, stride 2"], "mul", torch.float32)
    program = torch.export.export(Layer(), tensors)
    assert "robustbench_bi.dynamic_filter.default" in targets(program)
    assert torch.equal(program.module()(*tensors), Layer()(*tensors))


def test_torch_export_leaves_the_size_open():
    class Network(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.generator = torch.nn.Conv2d(4, 9, 3, 2, 1)

        def forward(self, x):
            return dynamic_filter(x, self.generator(x), kernel_size=3, stride=2)

    network, dimension = Network(), torch.export.Dim
    sizes = {0: dimension("batch", min=2), 2: dimension("height", min=3), 3: dimension("width", min=3)}
    program = torch.export.export(network, (torch.randn(2, 4, 7, 6),), dynamic_shapes={"x": sizes})
    for x in (torch.randn(3, 4, 8, 9), torch.randn(2, 4, 3, 12)):
        torch.testing.assert_close(program.module()(x), network(x))


@pytest.mark.filterwarnings("ignore:.*torch.jit.script.* is deprecated:FutureWarning")  # from torch.func.jvp
def test_torch_func_and_forward_mode_differentiate_it():
    tensors, options = arguments(GEOMETRIES["odd sides, stride 2"], "mul")
    given = [tensor.clone().requires_grad_() for tensor in tensors]

    def total(*parts):
        return dynamic_filter(*parts, **options).square().sum()

    expected = torch.autograd.grad(total(*given), given)
    for result, value in zip(torch.func.grad(total, (0, 1, 2))(*tensors), expected, strict=True):
        torch.testing.assert_close(result, value)
    _, slope = torch.func.jvp(total, tensors, tensors)
    along = sum((value * tensor).sum() for value, tensor in zip(expected, tensors, strict=True))
    torch.testing.assert_close(slope, along)
    with forward_ad.dual_level():
        dual = total(*(forward_ad.make_dual(tensor, tensor) for tensor in tensors))
        torch.testing.assert_close(forward_ad.unpack_dual(dual).tangent, along)


def test_vmap_gives_the_gradients_of_each_image():
    (x, spatial, _), options = arguments(GEOMETRIES["plain"], "spatial alone")

    def total(image, filters):
        return dynamic_filter(image[None], filters[None], **options).square().sum()

    results = torch.func.vmap(torch.func.grad(total))(x, spatial)
    expected = torch.stack([torch.func.grad(total)(*pair) for pair in zip(x, spatial, strict=True)])
    torch.testing.assert_close(results, expected)


@pytest.mark.parametrize("filters", FILTERS)
@pytest.mark.parametrize("geometry", GEOMETRIES.values(), ids=GEOMETRIES.keys())
def test_the_unrolled_form_is_the_same(geometry, filters):
    tensors, options = arguments(geometry, filters)
    torch.testing.assert_close(
        reference.unrolled(*tensors, *options.values()), reference.forward(*tensors, *options.values())
    )


def test_onnx_gets_operations_that_it_has(monkeypatch):
    monkeypatch.setattr(torch.onnx, "is_in_onnx_export", lambda: True)
    tensors, _ = arguments(GEOMETRIES["odd sides, stride 2"], "mul", torch.float32)
    program = torch.export.export(Layer(), tensors, strict=False)
    monkeypatch.undo()
    assert all(name.startswith("aten.") and not name.endswith("_.default") for name in targets(program))
    torch.testing.assert_close(program.module()(*tensors), Layer()(*tensors))


def test_autocast_changes_nothing_and_gives_the_type_of_x():
    (x, spatial, channel), options = arguments(LARGER["vectors of channels"], "mul", torch.float32)
    for dtype in (torch.float32, torch.bfloat16):
        given = x.to(dtype), spatial.bfloat16(), channel
        expected = dynamic_filter(*given, **options)
        with torch.autocast("cpu", torch.bfloat16):
            output = dynamic_filter(*given, **options)
        assert output.dtype == dtype
        assert torch.equal(output, expected)


def test_gradients_cannot_be_differentiated_again():
    tensors, options = arguments(GEOMETRIES["plain"], "mul")
    x = tensors[0].requires_grad_()
    (gradient,) = torch.autograd.grad(dynamic_filter(x, *tensors[1:], **options).sum(), x, create_graph=True)
    with pytest.raises(InputError, match="has no second derivatives; leave create_graph out"):
        (gradient.sum() + x.sum()).backward()


X, SPATIAL, CHANNEL = torch.zeros(2, 4, 7, 6), torch.zeros(2, 18, 4, 3), torch.zeros(2, 4, 3, 3)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kernel_size": 4}, "kernel_size must be odd so that the filter has a centre, got 4"),
        ({"kernel_size": 0}, "kernel_size must be a positive integer, got 0"),
        ({"kernel_size": 3.0}, "kernel_size must be a positive integer, got 3.0"),
        ({"stride": True}, "stride must be a positive integer, got True"),
        ({"dilation": -1}, "dilation must be a positive integer, got -1"),
        ({"combine": "max"}, "combine must be 'mul' or 'add', got 'max'"),
        ({"x": X[0]}, r"x must be a 4-dimensional floating-point tensor, got torch.float32 \(4, 7, 6\)"),
        ({"x": X.int()}, r"x must be a 4-dimensional floating-point tensor, got torch.int32 \(2, 4, 7, 6\)"),
        ({"spatial": [1.0]}, "spatial must be a 4-dimensional floating-point tensor, got list"),
        (
            {"spatial": torch.zeros(2, 18, 3, 3)},
            r"spatial must be \(B, G·K·K, Ho, Wo\) = \(2, G·9, 4, 3\) for x \(2, 4, 7, 6\), kernel_size 3 "
            r"and stride 2, got \(2, 18, 3, 3\)",
        ),
        ({"spatial": torch.zeros(2, 17, 4, 3)}, r"got \(2, 17, 4, 3\)"),
        ({"spatial": torch.zeros(2, 0, 4, 3)}, r"got \(2, 0, 4, 3\)"),
        ({"spatial": torch.zeros(1, 18, 4, 3)}, r"got \(1, 18, 4, 3\)"),
        ({"spatial": torch.zeros(2, 27, 4, 3)}, "filter groups in spatial must divide the 4 channels of x, got 3"),
        (
            {"channel": torch.zeros(2, 4, 9)},
            r"channel must be a 4-dimensional floating-point tensor, got torch.float32 \(2, 4, 9\)",
        ),
        (
            {"channel": torch.zeros(2, 4, 3, 5)},
            r"channel must be \(B, C, K, K\) = \(2, 4, 3, 3\), got \(2, 4, 3, 5\)",
        ),
        ({"channel": CHANNEL.to("meta")}, "channel must be on the same device as x, cpu, got meta"),
    ],
)
def test_bad_arguments_are_refused(changes, message):
    given = {"x": X, "spatial": SPATIAL, "channel": CHANNEL, "kernel_size": 3, "stride": 2}
    assert dynamic_filter(**given).shape == (2, 4, 4, 3)
    with pytest.raises(InputError, match=message):
        dynamic_filter(**(given | changes))

"""The twin of test_dynamic_filter.py: one contract for all backends."""

import itertools

import pytest
import torch
from torch.autograd import forward_ad
from torch.nn import functional as F

import robustbench_bi
from robustbench_bi.errors import BackendUnavailableError, InputError, UnknownNameError
from robustbench_bi.ops import dynamic_filter, local_logits
from robustbench_bi.ops.local_logits import numba_kernels, reference

FORWARD, BACKWARD = torch.ops.robustbench_bi.local_logits, torch.ops.robustbench_bi.local_logits_backward
# Without a GPU, Triton's kernels run in its interpreter; see tests/conftest.py.
ON_GPU = torch.cuda.is_available()
DEVICES = {"reference": "cpu", "numba": "cpu", "triton": "cuda" if ON_GPU else "cpu"}
LAYOUTS = {"channels first": torch.contiguous_format, "channels last": torch.channels_last}

# batch, channels, height, width, groups, kernel size, dilation
GEOMETRIES = {
    "plain": (2, 4, 4, 3, 2, 3, 1),
    "dilation 2": (1, 2, 9, 8, 1, 3, 2),
    "one group": (1, 3, 5, 4, 1, 5, 1),
    "a group a channel": (2, 3, 3, 4, 3, 3, 1),
    "kernel 1": (2, 4, 5, 5, 2, 1, 1),
    "kernel larger than the image": (1, 2, 2, 3, 1, 7, 1),
    "taps that never meet the image": (1, 2, 4, 4, 1, 7, 3),
    "one pixel": (1, 2, 1, 1, 2, 3, 1),
}
# Sizes at which the kernels go other ways: lines of several vectors and parts of one, whole blocks to be turned.
LARGER = {
    "sides 19 and 37": (1, 3, 19, 37, 1, 3, 1),
    "lines of two vectors": (2, 4, 5, 32, 2, 5, 1),
    "blocks to be turned": (1, 32, 17, 16, 2, 7, 1),
    "many groups": (3, 24, 7, 8, 24, 3, 1),
    "kernel 7, dilation 2": (1, 8, 15, 18, 1, 7, 2),
}
PADDINGS = ("zeros", "reflect")


def arguments(geometry, padding="zeros", dtype=torch.float64):
    batch, channels, height, width, groups, size, dilation = geometry
    generator = torch.Generator().manual_seed(0)
    query, key = (torch.randn(batch, channels, height, width, generator=generator, dtype=dtype) for _ in range(2))
    return (query, key), {"kernel_size": size, "groups": groups, "dilation": dilation, "padding": padding}


def by_unfold(query, key, *, kernel_size, groups, dilation, padding):
    """As it is usually written: the keys of all taps in memory."""
    reach = kernel_size // 2 * dilation
    key = F.pad(key, (reach,) * 4, "reflect") if padding == "reflect" else F.pad(key, (reach,) * 4)
    keys = F.unfold(key, kernel_size, dilation=dilation)
    batch, channels, height, width = query.shape
    keys = keys.reshape(batch, groups, channels // groups, kernel_size**2, height, width)
    products = query.reshape(batch, groups, channels // groups, 1, height, width) * keys
    return products.sum(2).flatten(1, 2)


@pytest.mark.parametrize("geometry", (GEOMETRIES | LARGER).values(), ids=(GEOMETRIES | LARGER).keys())
def test_it_is_the_unfold_formulation(geometry):
    for padding in PADDINGS:
        (query, key), options = arguments(geometry, padding)
        reach = options["kernel_size"] // 2 * options["dilation"]
        if padding == "zeros" or reach < min(query.shape[2:]):
            given = query.requires_grad_(), key.requires_grad_()
            output, expected = local_logits(*given, **options), by_unfold(*given, **options)
            torch.testing.assert_close(output, expected)
            gradient = torch.randn_like(output)
            results, values = (torch.autograd.grad(y, given, gradient) for y in (output, expected))
            torch.testing.assert_close(results, values)


@pytest.mark.parametrize("padding", PADDINGS)
@pytest.mark.parametrize("geometry", GEOMETRIES.values(), ids=GEOMETRIES.keys())
def test_gradients_are_those_of_finite_differences(geometry, padding):
    tensors, options = arguments(geometry, padding)
    given = [tensor.requires_grad_() for tensor in tensors]
    assert torch.autograd.gradcheck(lambda *parts: local_logits(*parts, **options), given)


def test_the_filter_aggregates_with_them():
    """Local attention, against matrices of all pixels by all pixels."""
    (query, key), options = arguments(GEOMETRIES["kernel larger than the image"])
    size = options["kernel_size"]
    attention = local_logits(query, key, **options).softmax(1)
    output = dynamic_filter(key, attention, kernel_size=size)
    pixels = key.flatten(2).mT
    outside = size**2 - pixels.shape[1]  # these have logits of zero
    weights = (query.flatten(2).mT @ pixels.mT).exp()
    expected = weights / (weights.sum(2, keepdim=True) + outside) @ pixels
    torch.testing.assert_close(output.flatten(2).mT, expected)


TYPES = (torch.float32, torch.bfloat16, torch.float16)
CONTRACT = [
    *itertools.product(["reference"], (torch.float64, *TYPES), GEOMETRIES | LARGER),
    *itertools.product(["numba"], TYPES, GEOMETRIES | LARGER),
    # Triton's interpreter takes seconds for each, and cuts narrow types off where a GPU rounds.
    *itertools.product(["triton"], TYPES if ON_GPU else TYPES[:1], GEOMETRIES | LARGER if ON_GPU else GEOMETRIES),
]


@pytest.mark.parametrize(
    ("backend", "dtype", "geometry"), CONTRACT, ids=lambda value: str(value).removeprefix("torch.")
)
def test_every_backend_and_type_is_the_reference_in_float64(backend, dtype, geometry, monkeypatch):
    """The output and both gradients, in both layouts: half a unit in the last place and 2e-6 of the largest value."""
    if backend == "triton":
        pytest.importorskip("triton")
    monkeypatch.setattr(torch, "empty", filled_with_nan(torch.empty))
    monkeypatch.setattr(torch, "empty_like", filled_with_nan(torch.empty_like))
    for padding, layout in itertools.product(PADDINGS, LAYOUTS.values()):
        tensors, options = arguments((GEOMETRIES | LARGER)[geometry], padding, dtype)
        exact = [tensor.double() for tensor in tensors]
        expected = reference.forward(*exact, *options.values())
        gradient = torch.randn(expected.shape, generator=torch.Generator().manual_seed(1)).to(dtype)
        expected = expected, *reference.backward(gradient.double(), *exact, *options.values())
        given = [put(tensor, layout, DEVICES[backend]) for tensor in tensors]
        copies = [tensor.clone() for tensor in given]
        output = local_logits(*given, **options, backend=backend)
        results = output, *torch.autograd.grad(output, given, put(gradient, layout, DEVICES[backend]).detach())
        assert output.is_contiguous(memory_format=layout)
        for result, value in zip(results, expected, strict=True):
            assert result.dtype == dtype
            tolerance = 2e-6 * value.abs().max().item() if dtype != torch.float64 else 1e-14
            torch.testing.assert_close(result.cpu().double(), value, rtol=0.55 * torch.finfo(dtype).eps, atol=tolerance)
        assert all(torch.equal(*pair) for pair in zip(given, copies, strict=True))


def put(tensor, layout, device):
    return tensor.to(device).contiguous(memory_format=layout).requires_grad_()


def filled_with_nan(function):
    def fill(*args, **kwargs):
        result = function(*args, **kwargs)
        return result.fill_(torch.nan) if result.is_floating_point() and not result.is_meta else result

    return fill


@pytest.mark.parametrize("backend", DEVICES)
@pytest.mark.parametrize("shape", [(0, 4, 6, 6), (2, 0, 6, 6), (2, 4, 0, 6)], ids=["images", "channels", "rows"])
def test_none_at_all(shape, backend):
    given = [torch.ones(shape, device=DEVICES[backend], requires_grad=True) for _ in range(2)]
    output = local_logits(*given, kernel_size=3, groups=2, backend=backend)
    output.sum().backward()
    assert output.shape == (shape[0], 18, *shape[2:])
    assert not output.any()
    assert [tensor.grad.shape for tensor in given] == [shape, shape]


def test_what_is_not_finite_spoils_only_what_it_meets():
    (query, key), options = arguments(LARGER["sides 19 and 37"], dtype=torch.float32)
    query[0, 0, 3, 36], key[0, 1, 18, 0] = torch.inf, torch.nan
    gradient = torch.ones(1, 9, 19, 37)
    settled = (*options.values(),)
    for module in (numba_kernels, reference):
        spoilt = module.forward(query, key, *settled).isfinite().logical_not()
        spoilt[0, :, 3, 36] = False  # the query's own; what infinity and a zero outside make is left open
        assert spoilt.sum() == 4
        to_query, to_key = (value.isfinite() for value in module.backward(gradient, query, key, *settled))
        assert (to_query.logical_not().sum(), to_key.logical_not().sum()) == (4, 6)


def test_no_tensor_of_all_keys_is_made():
    class Largest(torch.overrides.TorchFunctionMode):
        elements = 0

        def __torch_function__(self, function, types, args=(), kwargs=None):
            result = function(*args, **(kwargs or {}))
            if isinstance(result, torch.Tensor):
                self.elements = max(self.elements, result.numel())
            return result

    (query, key), options = arguments((2, 32, 16, 16, 1, 7, 1), dtype=torch.float32)
    for module in (reference, numba_kernels):
        with Largest() as largest:
            module.forward(query, key, *options.values())
        assert largest.elements == 2 * 49 * 256


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS.keys())
def test_neither_threads_nor_units_change_a_bit(layout, threads, monkeypatch):
    tensors, options = arguments(LARGER["many groups"], "reflect", torch.float32)
    tensors = [tensor.contiguous(memory_format=layout) for tensor in tensors]
    gradient = torch.randn(3, 24 * 9, 7, 8, generator=torch.Generator().manual_seed(1))
    results = []
    for count, unit in ((1, 2**17), (2, 1000), (3, 1)):
        threads(count)
        monkeypatch.setattr(numba_kernels, "_UNIT", unit)
        forward = numba_kernels.forward(*tensors, *options.values())
        results.append((forward, *numba_kernels.backward(gradient, *tensors, *options.values())))
    assert all(torch.equal(*pair) for other in results[1:] for pair in zip(results[0], other, strict=True))


def test_views_in_neither_memory_format():
    (query, key), options = arguments(GEOMETRIES["dilation 2"], dtype=torch.float32)
    expected = reference.forward(query, key, *options.values())
    views = query.mT.contiguous().mT, torch.cat([key, key], 3)[..., 8:]
    for backend in ("numba", "reference"):
        torch.testing.assert_close(local_logits(*views, **options, backend=backend), expected)


def test_gradients_have_the_types_of_their_arguments():
    (query, key), options = arguments(GEOMETRIES["plain"], dtype=torch.float32)
    query, key = query.bfloat16().requires_grad_(), key.requires_grad_()
    output = local_logits(query, key, **options)
    output.sum().backward()
    assert (output.dtype, query.grad.dtype, key.grad.dtype) == (torch.bfloat16, torch.bfloat16, torch.float32)


def test_autocast_changes_nothing_and_gives_the_type_of_the_query():
    (query, key), options = arguments(LARGER["lines of two vectors"], dtype=torch.float32)
    for dtype in (torch.float32, torch.bfloat16):
        given = query.to(dtype), key.bfloat16()
        expected = local_logits(*given, **options)
        with torch.autocast("cpu", torch.bfloat16):
            output = local_logits(*given, **options)
        assert output.dtype == dtype
        assert torch.equal(output, expected)


def test_rb_ops_has_the_function():
    assert robustbench_bi.ops.local_logits is local_logits


def test_a_named_backend_never_falls_back(monkeypatch):
    tensors, options = arguments(GEOMETRIES["plain"])
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    for backend in ("numba", "triton"):
        with pytest.raises(BackendUnavailableError, match=f"'{backend}' cannot run here: it computes in float32, but"):
            local_logits(*(tensor.to(DEVICES[backend]) for tensor in tensors), **options, backend=backend)
    monkeypatch.delenv("TRITON_INTERPRET")
    with pytest.raises(BackendUnavailableError, match="'triton' cannot run here: it needs tensors on cuda"):
        local_logits(*tensors, **options, backend="triton")
    with pytest.raises(UnknownNameError, match=r"unknown backend 'tritn'. Did you mean 'triton'\?"):
        local_logits(*tensors, **options, backend="tritn")


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning")  # from opcheck
@pytest.mark.parametrize("backend", ["reference", "numba"])
@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS.keys())
def test_the_operators_keep_the_rules_of_torch(backend, layout):
    tensors, options = arguments(GEOMETRIES["plain"], "reflect", torch.float32)
    given = [put(tensor, layout, "cpu") for tensor in tensors]
    torch.library.opcheck(FORWARD, (*given, *options.values(), backend))
    gradient = torch.ones(2, 18, 4, 3).contiguous(memory_format=layout)
    torch.library.opcheck(BACKWARD, (gradient, *(tensor.detach() for tensor in given), *options.values(), backend))


class Layer(torch.nn.Module):
    def __init__(self, padding="zeros"):
        super().__init__()
        self.padding = padding

    def forward(self, query, key):
        return 2 * local_logits(query, key, kernel_size=3, groups=2, padding=self.padding).relu()


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS.keys())
def test_torch_compile_takes_it_as_a_whole(layout):
    tensors, _ = arguments(GEOMETRIES["plain"], dtype=torch.float32)
    given = [put(tensor, layout, "cpu") for tensor in tensors]
    expected = Layer()(*given)
    output = torch.compile(Layer(), backend="aot_eager", fullgraph=True)(*given)
    assert torch.equal(output, expected)
    for result, value in zip(*(torch.autograd.grad(y.sum(), given) for y in (output, expected)), strict=True):
        assert torch.equal(result, value)


def targets(program):
    return {str(node.target) for node in program.graph.nodes if node.op == "call_function"}


def test_torch_export_takes_it_as_a_whole():
    tensors, _ = arguments(GEOMETRIES["plain"], dtype=torch.float32)
    program = torch.export.export(Layer(), tensors)
    assert "robustbench_bi.local_logits.default" in targets(program)
    assert torch.equal(program.module()(*tensors), Layer()(*tensors))


@pytest.mark.parametrize("padding", PADDINGS)
def test_onnx_gets_operations_that_it_has(padding, monkeypatch):
    monkeypatch.setattr(torch.onnx, "is_in_onnx_export", lambda: True)
    tensors, _ = arguments(GEOMETRIES["plain"], dtype=torch.float32)
    program = torch.export.export(Layer(padding), tensors, strict=False)
    monkeypatch.undo()
    assert all(name.startswith("aten.") and not name.endswith("_.default") for name in targets(program))
    torch.testing.assert_close(program.module()(*tensors), Layer(padding)(*tensors))


@pytest.mark.parametrize("padding", PADDINGS)
@pytest.mark.parametrize("geometry", GEOMETRIES.values(), ids=GEOMETRIES.keys())
def test_the_unrolled_form_is_the_same(geometry, padding):
    tensors, options = arguments(geometry, padding)
    torch.testing.assert_close(
        reference.unrolled(*tensors, *options.values()), reference.forward(*tensors, *options.values())
    )


@pytest.mark.filterwarnings("ignore:.*torch.jit.script.* is deprecated:FutureWarning")  # from torch.func.jvp
def test_torch_func_and_forward_mode_differentiate_it():
    tensors, options = arguments(GEOMETRIES["plain"])
    given = [tensor.clone().requires_grad_() for tensor in tensors]

    def total(*parts):
        return local_logits(*parts, **options).square().sum()

    expected = torch.autograd.grad(total(*given), given)
    torch.testing.assert_close(torch.func.grad(total, (0, 1))(*tensors), expected)
    with forward_ad.dual_level():
        dual = total(*(forward_ad.make_dual(tensor, tensor) for tensor in tensors))
        along = sum((value * tensor).sum() for value, tensor in zip(expected, tensors, strict=True))
        torch.testing.assert_close(forward_ad.unpack_dual(dual).tangent, along)


def test_gradients_cannot_be_differentiated_again():
    (query, key), options = arguments(GEOMETRIES["plain"])
    query.requires_grad_()
    (gradient,) = torch.autograd.grad(local_logits(query, key, **options).sum(), query, create_graph=True)
    with pytest.raises(InputError, match="has no second derivatives; leave create_graph out"):
        (gradient.sum() + query.sum()).backward()


X = torch.zeros(2, 4, 7, 6)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kernel_size": 4}, "kernel_size must be odd so that the neighbourhood has a centre, got 4"),
        ({"kernel_size": 0}, "kernel_size must be an integer of at least 1, got 0"),
        ({"groups": True}, "groups must be an integer of at least 1, got True"),
        ({"groups": 3}, "groups must divide the 4 channels of query, got 3"),
        ({"dilation": 1.5}, "dilation must be an integer of at least 1, got 1.5"),
        ({"padding": "circular"}, "padding must be 'zeros' or 'reflect', got 'circular'"),
        ({"query": X[0]}, r"query must be a 4-dimensional floating-point tensor, got torch.float32 \(4, 7, 6\)"),
        ({"key": X.int()}, r"key must be a 4-dimensional floating-point tensor, got torch.int32 \(2, 4, 7, 6\)"),
        ({"key": X[:1]}, r"key must have the shape of query, \(2, 4, 7, 6\), got \(1, 4, 7, 6\)"),
        ({"key": X.to("meta")}, "key must be on the same device as query, cpu, got meta"),
    ],
)
def test_bad_arguments_are_refused(changes, message):
    given = {"query": X, "key": X, "kernel_size": 3, "groups": 2}
    assert local_logits(**given).shape == (2, 18, 7, 6)
    with pytest.raises(InputError, match=message):
        local_logits(**(given | changes))

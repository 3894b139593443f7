"""The contract of kernels: each is a twin of the plain-torch definition of the same name."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
import torch
from numba.core.dispatcher import Dispatcher
from torch import Tensor

from robustbench_bi import corruptions
from robustbench_bi.corruptions import CORRUPTIONS, SUITES, TABLES, Corruption, modules_of
from robustbench_bi.corruptions.apply import corrupt

Photographs = Callable[..., Tensor]

# Twins whose arithmetic is that of the definition, or whole numbers; the others sum in float32.
EXACT = {
    *("gaussian_noise", "shot_noise", "impulse_noise", "speckle_noise"),
    *("motion_blur", "snow", "frost", "fog", "brightness", "spatter"),
    *("contrast", "pixelate", "jpeg_compression", "saturate"),
    *(name for name in SUITES["c-bar"].corruptions if name != "circular_motion_blur"),
}
# Bytes out of a million that may be one grey level apart. `grid_sample` rounds coordinates, which shows in noise.
APART_IN_A_MILLION = {"elastic_transform": 1000, "circular_motion_blur": 1000}
FEW = 60
KERNELS = [(row, backend) for row in CORRUPTIONS for backend in row.kernels]


def named(case: object) -> str:
    return case.name if isinstance(case, Corruption) else str(case)


def assert_twins(images: Tensor, row: Corruption, severity: int, backend: str, **options: object) -> None:
    device = "cuda" if backend == "triton" and torch.cuda.is_available() else "cpu"
    ours = corrupt(images.to(device), row.name, severity, backend=backend, **options).cpu()  # type: ignore[arg-type]
    expected = corrupt(images, row.name, severity, backend="reference", **options)  # type: ignore[arg-type]
    if row.name in EXACT:
        assert torch.equal(ours, expected)
    apart = (ours.int() - expected.int()).abs()
    assert int(apart.max()) <= 1
    # Of few bytes, a single one may be apart.
    assert int((apart > 0).sum()) <= max(1, APART_IN_A_MILLION.get(row.name, FEW) * apart.numel() / 1e6)


@pytest.mark.parametrize(("row", "backend"), KERNELS, ids=named)
def test_a_twin_has_the_name_and_the_constants_of_its_definition(row: Corruption, backend: str) -> None:
    modules = modules_of(row.name, "imagenet-c")
    twin, definition = (
        inspect.signature(getattr(importlib.import_module(modules[name]), row.name)).parameters
        for name in (backend, "reference")
    )
    constants = [
        [name for name, parameter in parameters.items() if parameter.default is parameter.empty]
        for parameters in (twin, definition)
    ]
    assert constants[0] == constants[1]
    assert constants[0][:2] == ["images", "draws"] != constants[0]


def calls_out_of(module: ModuleType) -> list[str]:
    """Compiled functions of other files that those of a file call; numba's cache does not see their changes."""
    compiled = {name: value for name, value in vars(module).items() if isinstance(value, Dispatcher)}
    own = [value.py_func for value in compiled.values() if value.py_func.__module__ == module.__name__]
    called = {name for function in own for name in function.__code__.co_names if name in compiled}
    return sorted(name for name in called if compiled[name].py_func.__module__ != module.__name__)


KERNEL_FILES = sorted(path.stem for path in Path(corruptions.__path__[0]).glob("*_numba_kernels.py"))


@pytest.mark.parametrize("name", KERNEL_FILES)
def test_compiled_functions_call_those_of_their_own_file_only(name: str) -> None:
    assert calls_out_of(importlib.import_module(f"{corruptions.__name__}.{name}")) == []


def test_a_call_into_another_file_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    imports = "import numba\nfrom robustbench_bi.corruptions.weather_numba_kernels import _unit, mix\n"
    (tmp_path / "planted_kernels.py").write_text(imports + "@numba.njit\ndef half(level): return _unit(level) / 2\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert calls_out_of(importlib.import_module("planted_kernels")) == ["_unit"]


@pytest.mark.parametrize("severity", range(1, 6))
@pytest.mark.parametrize("row", CORRUPTIONS, ids=named)
def test_numba_on_photographs(row: Corruption, severity: int, photographs: Photographs) -> None:
    assert_twins(photographs(3, 224), row, severity, "numba", ids=[7, 2**40, 3], seed=5)


@pytest.mark.parametrize("table", TABLES.names)
@pytest.mark.parametrize("row", CORRUPTIONS, ids=named)
def test_numba_with_every_table(row: Corruption, table: str, photographs: Photographs) -> None:
    for severity in (1, 2, 3, 4, 5):
        assert_twins(photographs(2, TABLES[table].side), row, severity, "numba", table=table)


@pytest.mark.parametrize("row", CORRUPTIONS, ids=named)
def test_numba_on_odd_shapes_and_unusual_pictures(row: Corruption, photographs: Photographs) -> None:
    generator = torch.Generator().manual_seed(0)
    noise = torch.randint(0, 256, (3, 3, 41, 56), dtype=torch.uint8, generator=generator)
    flat = torch.tensor([0, 1, 128, 255], dtype=torch.uint8)[:, None, None, None].expand(-1, 3, 40, 48)
    grey = noise[:, :1].expand(-1, 3, -1, -1)
    stripes = flat.clone()
    stripes[..., ::2] = 255 - stripes[..., ::2]
    for images in (photographs(1, 33, 47), photographs(2, 100, 37), noise, noise // 85 * 85, flat, grey, stripes):
        for severity in (1, 3, 5):
            assert_twins(images, row, severity, "numba", table="auto")


@pytest.mark.gpu
@pytest.mark.parametrize("row", [row for row in CORRUPTIONS if "triton" in row.kernels], ids=named)
def test_triton(row: Corruption, photographs: Photographs) -> None:
    for severity in (1, 4):
        assert_twins(photographs(2, 40, 33), row, severity, "triton", table="auto", ids=[2**33, 4])


@pytest.mark.parametrize("row", CORRUPTIONS, ids=named)
def test_threads_do_not_show(row: Corruption, photographs: Photographs) -> None:
    images = photographs(9, 64, 48)
    alone = corrupt(images, row.name, 3, table="auto")
    threads = torch.get_num_threads()
    torch.set_num_threads(4)
    try:
        assert torch.equal(corrupt(images, row.name, 3, table="auto"), alone)
        with torch.inference_mode():
            assert torch.equal(corrupt(images, row.name, 3, table="auto"), alone)
        assert torch.get_num_threads() == 4
    finally:
        torch.set_num_threads(threads)


def test_an_error_in_a_thread_reaches_the_caller(photographs: Photographs, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: object, **options: object) -> None:
        raise RuntimeError("planted")

    monkeypatch.setattr("robustbench_bi.corruptions.noise_numba_kernels.impulse_noise", fail)
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with pytest.raises(RuntimeError, match="planted"):
            corrupt(photographs(4, 32), "impulse_noise", 1)
    finally:
        torch.set_num_threads(threads)

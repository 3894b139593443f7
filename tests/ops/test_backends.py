from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

from robustbench_bi.errors import BackendUnavailableError, UnknownNameError
from robustbench_bi.ops import backends
from robustbench_bi.ops.backends import choose_backend, load

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
MODULES = {"reference": "math", "numba": "cmath", "triton": "statistics"}


@pytest.fixture(autouse=True)
def _fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    backends._problem.cache_clear()


def test_the_fastest_of_a_device_is_chosen() -> None:
    assert choose_backend(None, CPU, MODULES) == "numba"
    assert choose_backend(None, CUDA, MODULES) == "triton"
    assert choose_backend(None, torch.device("mps"), MODULES) == "reference"
    assert choose_backend(None, CPU, {"reference": "math"}) == "reference"


def test_a_function_comes_from_the_module_of_its_backend() -> None:
    assert load(MODULES, "numba", "sqrt")(-1) == 1j


def test_a_backend_that_cannot_be_imported_is_passed_over_or_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cmath", None)
    assert choose_backend(None, CPU, MODULES) == "reference"
    with pytest.raises(
        BackendUnavailableError, match=r"backend 'numba' cannot run here: import of cmath halted.* leave"
    ):
        choose_backend("numba", CPU, MODULES)


def test_kernels_that_may_be_cached_nowhere_are_passed_over_with_advice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "uncached.py").write_text("raise RuntimeError('cannot cache function')")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.warns(UserWarning, match=r"uncached cannot be used, .* cannot cache function; set .*CACHE_DIR"):
        assert choose_backend(None, CPU, {"reference": "math", "numba": "uncached"}) == "reference"


def test_a_backend_of_another_device_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(BackendUnavailableError, match=r"'triton' cannot run here: it needs tensors on cuda, .* on cpu"):
        choose_backend("triton", CPU, MODULES)
    with pytest.raises(BackendUnavailableError, match=r"'numba' cannot run here: it needs tensors on cpu, .* on cuda"):
        choose_backend("numba", CUDA, MODULES)
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    assert choose_backend("triton", CPU, MODULES) == "triton"
    assert choose_backend(None, CPU, MODULES) == "numba"


def test_unknown_backend() -> None:
    with pytest.raises(UnknownNameError, match=r"unknown backend 'refernce'\. Did you mean 'reference'\?"):
        choose_backend("refernce", CPU, MODULES)

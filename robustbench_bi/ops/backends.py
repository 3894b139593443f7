"""The backends of an operator: plain torch, which defines it, and kernels that do the same faster.

An operator has a module for each of its backends, with a function of the same name and arguments in each. Where a
caller names no backend, the fastest that can run is taken; a backend that is named runs or raises.
"""

from __future__ import annotations

import functools
import importlib
import os
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from robustbench_bi.errors import BackendUnavailableError
from robustbench_bi.ground.registry import Table

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Backend:
    """A way to run operators.

    Attributes:
        name: as users type it.
        device: the type of device whose tensors it takes; empty for any.
    """

    name: str
    device: str
    code: str = ""


BACKENDS = Table("backend", [Backend("reference", ""), Backend("numba", "cpu"), Backend("triton", "cuda")])


def choose_backend(name: str | None, device: torch.device, modules: Mapping[str, str]) -> str:
    """Return the name of the backend that runs an operator.

    Args:
        name: a row of `BACKENDS`, or None for the fastest that can run.
        device: of the tensors.
        modules: the module of each backend that the operator has; "reference" is among them.

    Raises:
        UnknownNameError: no such backend.
        BackendUnavailableError: the backend that is named cannot run here; the message says why.

    Example:
        >>> import torch
        >>> choose_backend(None, torch.device("cpu"), {"reference": "torch", "triton": "kernels"})
        'reference'
    """
    if name is None:
        fast = [row.name for row in BACKENDS if row.device == device.type and row.name in modules]
        return next((backend for backend in fast if not _problem(modules[backend])), "reference")
    row = BACKENDS[name]
    if row.name not in modules:
        problem = f"only {' and '.join(modules)} kernels exist for this operator"
    elif row.device not in ("", device.type) and not (row.name == "triton" and interpreted()):
        problem = f"it needs tensors on {row.device}, but these are on {device.type}"
    else:
        problem = _problem(modules[row.name])
    if problem:
        raise BackendUnavailableError(
            f"backend {row.name!r} cannot run here: {problem}; leave the backend out to use the fastest available one"
        )
    return row.name


def load(modules: Mapping[str, str], backend: str, function: str) -> Callable[..., Any]:
    """Return a function of an operator from the module of a backend."""
    loaded: Callable[..., Any] = getattr(importlib.import_module(modules[backend]), function)
    return loaded


def interpreted() -> bool:
    """Whether Triton kernels run in its interpreter, which takes tensors on the CPU: TRITON_INTERPRET=1."""
    return os.environ.get("TRITON_INTERPRET") == "1"


@functools.cache
def _problem(module: str) -> str:
    """Why a module cannot be imported; empty where it can."""
    try:
        if module.endswith("numba_kernels"):
            importlib.import_module("robustbench_bi.ground.kept_numba_kernels").keep()
        importlib.import_module(module)
    except ImportError as error:
        return str(error)
    except RuntimeError as error:  # numba's, where it may keep what it compiles nowhere
        problem = f"{error}; set the environment variable NUMBA_CACHE_DIR to a writable folder"
        warnings.warn(f"{module} cannot be used, so slower torch operators replace it: {problem}", stacklevel=2)
        return problem
    return ""

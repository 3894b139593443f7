"""Random bits from a counter: Philox 4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011).

The generator has no state. A word depends on its key and its counter alone, so bits can be made in any order, in any
batch and on any device, and come out the same.

Example:
    >>> import torch
    >>> zero = torch.zeros(1, dtype=torch.int64)
    >>> [f"{int(word):08x}" for word in philox((zero, zero, zero, zero), (0, 0))]
    ['6627e8d5', 'e169c58d', 'bc57ac4c', '9b00dbd8']
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from robustbench_bi.errors import BackendUnavailableError
from robustbench_bi.registry import Table

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    Words = tuple[Tensor, Tensor, Tensor, Tensor]
    Philox = Callable[[Words, tuple[int, int]], Words]


@dataclass(frozen=True)
class Backend:
    """One implementation of the operator, imported when it is first chosen."""

    name: str
    code: str


# A backend whose file is absent, or whose file cannot be imported here, is unavailable: adding one is adding its file.
BACKENDS = Table(
    "backend",
    [
        Backend("reference", "robustbench_bi.ops.random_bits.reference:philox"),
        Backend("numba", "robustbench_bi.ops.random_bits.numba_kernels:philox"),
        Backend("triton", "robustbench_bi.ops.random_bits.triton_kernels:philox"),
    ],
)


def load_backend(name: str | None = None) -> Philox:
    """Return the implementation of a backend, or say why it cannot run.

    Args:
        name: a row of `BACKENDS`; None is "reference", the plain-torch definition.

    Raises:
        UnknownNameError: no such backend.
        BackendUnavailableError: the backend exists by name but cannot run here. Nothing else runs in its place.
    """
    name = name or "reference"
    try:
        return BACKENDS.load(name)
    except ImportError as error:
        raise BackendUnavailableError(
            f"backend {name!r} of random_bits cannot run here ({error}); choose 'reference' or leave the backend out"
        ) from error


def philox(counter: Words, key: tuple[int, int], *, backend: str | None = None) -> Words:
    """Return the four 32-bit words that Philox 4x32-10 gives for each counter.

    Args:
        counter: four int64 tensors that broadcast against each other, each word in [0, 2**32); the first is the least
            significant.
        key: two integers in [0, 2**32).
        backend: a row of `BACKENDS`; None is "reference".

    Returns:
        Four int64 tensors of the broadcast shape, each word in [0, 2**32), on the counter's device.

    Raises:
        UnknownNameError: no such backend.
        BackendUnavailableError: the backend cannot run here.
    """
    return load_backend(backend)(counter, key)

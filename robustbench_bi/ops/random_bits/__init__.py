"""Random bits from a counter: Philox 4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011).

The generator has no state. A word depends on its key and its counter alone, so bits can be made in any order, in any
batch and on any device, and come out the same.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from robustbench_bi.ops.backends import choose_backend, load

if TYPE_CHECKING:
    from torch import Tensor

MODULES = {
    "reference": f"{__name__}.reference",
    "numba": f"{__name__}.numba_kernels",
    "triton": f"{__name__}.triton_kernels",
}


def random_words(
    ids: Tensor,
    blocks: int,
    *,
    start: int = 0,
    last: int = 0,
    key: tuple[int, int] = (0, 0),
    backend: str | None = None,
) -> Tensor:
    """Return random words for each id, four from each counter.

    The counter's words, the least significant first, are (start + block, low half of the id, high half of the id,
    last), for blocks counted from 0. All backends give the same bits.

    Args:
        ids: int64 (B,), read as 64 bits each.
        blocks: counters for each id.
        start: the first counter's lowest word; start + blocks is at most 2**32.
        last: the counter's highest word, 0 to 2**32 - 1.
        key: two words, 0 to 2**32 - 1 each.
        backend: a row of `robustbench_bi.ops.backends.BACKENDS`; None is the fastest that can run.

    Returns:
        int32 (B, 4 * blocks), 32 random bits each, on the device of the ids.

    Raises:
        UnknownNameError: no such backend.
        BackendUnavailableError: the backend that is named cannot run here.

    Example:
        >>> import torch
        >>> [f"{word % 2**32:08x}" for word in random_words(torch.tensor([0]), 1).flatten().tolist()]
        ['6627e8d5', 'e169c58d', 'bc57ac4c', '9b00dbd8']
    """
    chosen = choose_backend(backend, ids.device, MODULES)
    words: Tensor = load(MODULES, chosen, "random_words")(ids, blocks, start=start, last=last, key=key)
    return words

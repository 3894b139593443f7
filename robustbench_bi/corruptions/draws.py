"""Random variates for a batch of images, a separate stream for each image.

A corruption asks its `Draws` for what it needs, in a fixed order. An image's variates depend only on the seed, the
corruption, the severity and the image id, and on the order and shapes of the requests: never on the device, on the
other images of the batch, or on what was drawn before for another corruption.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from robustbench_bi.corruptions.variates import normal_quantiles
from robustbench_bi.ops.backends import choose_backend, load
from robustbench_bi.ops.random_bits import random_words

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

_WORD = 2**32
_MODULES = {
    "reference": "robustbench_bi.corruptions.variates",
    "numba": "robustbench_bi.corruptions.variates_numba_kernels",
}


class Draws:
    """The random variates of one corruption at one severity, for a batch of images.

    Bits come from Philox 4x32-10. Its key is the seed; its counter is (position, image id low, image id high,
    stream * 8 + severity). A request for n values takes the next whole blocks of four 32-bit words, in order.

    Args:
        ids: int64 (B,), the image ids, each at least 0; results come on their device.
        seed: 0 to 2**64 - 1.
        stream: the number of the corruption in its table.
        severity: 1 to 5.
        backend: of the random bits; None is the fastest that can run, and all give the same.

    Raises:
        UnknownNameError: no such backend.
        BackendUnavailableError: the backend cannot run here.

    Example:
        >>> import torch
        >>> draws = Draws(torch.tensor([7, 8]), seed=0, stream=1, severity=3)
        >>> draws.normal(3, 32, 32).shape
        torch.Size([2, 3, 32, 32])
        >>> alone = Draws(torch.tensor([8]), seed=0, stream=1, severity=3)
        >>> again = Draws(torch.tensor([7, 8]), seed=0, stream=1, severity=3)
        >>> bool((alone.uniform(5)[0] == again.uniform(5)[1]).all())
        True
    """

    def __init__(self, ids: Tensor, *, seed: int, stream: int, severity: int, backend: str | None = None) -> None:
        self._ids = ids
        self._key = (seed % _WORD, seed // _WORD)
        self._last = stream * 8 + severity
        self._backend = backend
        self._position = 0

    def uniform(self, *shape: int, low: float = 0.0, high: float = 1.0) -> Tensor:
        """Return float32 (B, *shape), uniform in [low, high): 24 random bits each."""
        return self._variates("uniform", shape, 1, low, high)

    def normal(self, *shape: int) -> Tensor:
        """Return float32 (B, *shape), standard normal: 16 random bits each choose from a table of 65,536 quantiles.

        The table's Kolmogorov–Smirnov distance to the normal distribution is 2**-17; see `variates.normal_quantiles`.
        """
        return self._variates("normal", shape, 2)

    def integers(self, low: int, high: int, *shape: int) -> Tensor:
        """Return int64 (B, *shape), uniform in [low, high), where high - low is at most 2**31.

        A 32-bit word is scaled to the range, so a value's probability is off by at most 2**-32.
        """
        return self._variates("integers", shape, 1, low, high)

    def bits16(self, *shape: int) -> Tensor:
        """Return int32 (B, *shape) of 16 random bits each, in [0, 65536): two from a word, its low half first."""
        return self._variates("bits16", shape, 2)

    def integer_words(self, high: int, *shape: int) -> NDArray[np.uint32]:
        """Return words (B, n), of which `integers` from 0 makes word * high >> 32, for kernels on the CPU."""
        count = math.prod(shape)
        return self._words(count, 1).numpy().view(np.uint32)[:, :count]

    def halves(self, *shape: int) -> NDArray[np.uint16]:
        """Return what `bits16` does as uint16 (B, n), the n values of the shape in a row, for kernels on the CPU."""
        count = math.prod(shape)
        return self._words(count, 2).numpy().view(np.uint16)[:, :count]

    def normal_ranks(self, *shape: int) -> tuple[NDArray[np.uint16], NDArray[np.float32]]:
        """Return what `normal` does as places (B, n), the n values of the shape in a row, in a table of values.

        A kernel on the CPU that looks them up itself saves a copy of four bytes for each.
        """
        return self.halves(*shape), normal_quantiles(self._ids.device).numpy()

    def _words(self, count: int, per_word: int) -> Tensor:
        """The next whole blocks of four words, int32 (B, ...), that hold so many values."""
        blocks = -(-count // (4 * per_word))
        start, self._position = self._position, self._position + blocks
        return random_words(self._ids, blocks, start=start, last=self._last, key=self._key, backend=self._backend)

    def _variates(self, kind: str, shape: tuple[int, ...], per_word: int, *bounds: float) -> Tensor:
        """The next values of a kind, (B, *shape), from the next whole blocks of four words."""
        count = math.prod(shape)
        words = self._words(count, per_word)
        # Without kernels of their own, plain torch converts on the same device.
        backend = choose_backend(self._backend if self._backend in _MODULES else None, words.device, _MODULES)
        values: Tensor = load(_MODULES, backend, kind)(words, count, *bounds)
        return values.view(len(words), *shape)

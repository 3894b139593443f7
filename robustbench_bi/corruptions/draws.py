"""Random variates for a batch of images, a separate stream for each image.

A corruption asks its `Draws` for what it needs, in a fixed order. An image's variates depend only on the seed, the
corruption, the severity and the image id, and on the order and shapes of the requests: never on the device, on the
other images of the batch, or on what was drawn before for another corruption.
"""

from __future__ import annotations

import functools
import math

import torch
from torch import Tensor

from robustbench_bi.ops.random_bits import random_words

_WORD = 2**32


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
        values = self._words(shape).bitwise_right_shift_(8).bitwise_and_(0xFFFFFF).to(torch.float32).mul_(2.0**-24)
        if (low, high) == (0.0, 1.0):
            return values
        # Rounding to float32 may reach the upper end, which the interval leaves out.
        return values.mul_(high - low).add_(low).clamp_(max=_below(high))

    def normal(self, *shape: int) -> Tensor:
        """Return float32 (B, *shape), standard normal, from a table of 65,536 quantiles and 16 random bits each.

        The table holds the quantiles of (i + 1/2) / 65536 for i from 0 to 65535. Its Kolmogorov–Smirnov distance to the
        normal distribution is 2**-17 (7.6e-6), its standard deviation 0.99999, and nothing lies beyond ±4.33. A look-up
        is exact, so the values are the same on every device.
        """
        ranks = self.bits16(*shape)
        return torch.index_select(_normal_quantiles(ranks.device), 0, ranks.flatten()).view(ranks.shape)

    def integers(self, low: int, high: int, *shape: int) -> Tensor:
        """Return int64 (B, *shape), uniform in [low, high), where high - low is at most 2**31.

        A 32-bit word is scaled to the range, so a value's probability is off by at most 2**-32.
        """
        words = self._words(shape).to(torch.int64).bitwise_and_(_WORD - 1)
        return words.mul_(high - low).bitwise_right_shift_(32).add_(low)

    def bits16(self, *shape: int) -> Tensor:
        """Return int32 (B, *shape) of 16 random bits each, in [0, 65536): two from a word, its low half first."""
        count = math.prod(shape)
        # Viewing words as pairs of halves gives the low half first on little-endian machines, all that torch supports.
        halves = self._blocks(-(-count // 8)).view(torch.int16)[:, :count]
        return halves.to(torch.int32).bitwise_and_(0xFFFF).view(len(self._ids), *shape)

    def _words(self, shape: tuple[int, ...]) -> Tensor:
        """32 random bits for each value, int32 (B, *shape)."""
        count = math.prod(shape)
        return self._blocks(-(-count // 4))[:, :count].reshape(len(self._ids), *shape)

    def _blocks(self, count: int) -> Tensor:
        """The next blocks of four words, as int32 (B, 4 * count)."""
        start, self._position = self._position, self._position + count
        return random_words(self._ids, count, start=start, last=self._last, key=self._key, backend=self._backend)


def _below(value: float) -> float:
    """The largest float32 under a value."""
    return float(torch.nextafter(torch.tensor(value, dtype=torch.float32), torch.tensor(-math.inf)))


@functools.cache
def _normal_quantiles(device: torch.device) -> Tensor:
    ranks = torch.arange(65536, dtype=torch.float64).add_(0.5).div_(65536)
    quantiles: Tensor = torch.special.ndtri(ranks)
    return quantiles.to(device, torch.float32)

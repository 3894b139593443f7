from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import skimage.data
import torch
from PIL import Image
from torch import Tensor

from robustbench_bi.corruptions import original

PHOTOGRAPHS = ("astronaut", "chelsea", "coffee", "rocket")


@pytest.fixture(scope="session")
def photographs() -> Callable[..., Tensor]:
    """photographs(count, height, width=height): crops of real photographs, uint8 (count, 3, height, width)."""
    originals = [Image.fromarray(getattr(skimage.data, name)()) for name in PHOTOGRAPHS]

    def crops(count: int, height: int, width: int | None = None) -> Tensor:
        width = width or height
        generator = np.random.default_rng(0)
        pictures = []
        for number in range(count):
            original = originals[number % len(originals)]
            share = generator.uniform(0.5, 1.0) * min(original.width / width, original.height / height)
            box = (int(share * width), int(share * height))
            left, top = (
                int(generator.integers(0, side - part + 1)) for side, part in zip(original.size, box, strict=True)
            )
            region = (left, top, left + box[0], top + box[1])
            pictures.append(np.array(original.resize((width, height), Image.Resampling.BILINEAR, box=region)))
        return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).contiguous()

    return crops


class InjectedDraws:
    """Stands in for `Draws`: hands out given arrays, in order, instead of random ones.

    InjectedDraws(uniform=[...], normal=[...], integers=[...], bits16=[...]); each array has the shape (B, *shape) of
    the call that will take it. `used_up()` tells whether nothing is left.
    """

    def __init__(self, **queues: list[np.ndarray]) -> None:
        self._queues = {name: deque(arrays) for name, arrays in queues.items()}

    def _next(self, name: str, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        array = torch.from_numpy(np.array(self._queues[name].popleft())).to(dtype)
        assert array.shape[1:] == shape, f"{name}: the corruption asked for {shape}, the test gives {array.shape[1:]}"
        return array

    def uniform(self, *shape: int, low: float = 0.0, high: float = 1.0) -> Tensor:
        values = self._next("uniform", shape, torch.float32)
        assert bool((values >= low).all() and (values <= high).all()), "an injected uniform is out of its interval"
        return values

    def normal(self, *shape: int) -> Tensor:
        return self._next("normal", shape, torch.float32)

    def integers(self, low: int, high: int, *shape: int) -> Tensor:
        values = self._next("integers", shape, torch.int64)
        assert bool((values >= low).all() and (values < high).all()), "an injected integer is out of its interval"
        return values

    def integer_words(self, high: int, *shape: int) -> np.ndarray:
        """The least words of which the integers are made."""
        values = self.integers(0, high, *shape).flatten(1).numpy()
        return (-(-(values << 32) // high)).astype(np.uint32)

    def bits16(self, *shape: int) -> Tensor:
        return self._next("bits16", shape, torch.int32)

    def halves(self, *shape: int) -> np.ndarray:
        return self.bits16(*shape).flatten(1).numpy()

    def normal_ranks(self, *shape: int) -> tuple[np.ndarray, np.ndarray]:
        """Each value has a place of its own in the table."""
        values = self.normal(*shape).flatten(1).numpy()
        return np.arange(values.size).reshape(values.shape), values.ravel()

    def used_up(self) -> bool:
        return not any(self._queues.values())


@pytest.fixture(scope="session")
def injected_draws() -> type[InjectedDraws]:
    return InjectedDraws


class Recorder:
    """A `numpy.random.RandomState` that keeps what it hands out, in order."""

    def __init__(self, seed: int) -> None:
        self._random = np.random.RandomState(seed)
        self.handed_out: list[Any] = []

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def draw(*arguments: Any, **options: Any) -> Any:
            self.handed_out.append(getattr(self._random, name)(*arguments, **options))
            return self.handed_out[-1]

        return draw


@pytest.fixture(scope="session")
def record_original() -> Callable[..., tuple[Tensor, list[Any]]]:
    """record_original(image, name, severity, seed=0) -> what the reference makes of an image, and all that it drew.

    The image and the result are uint8 (3, H, W); the draws come in their order, as the reference got them.
    """

    def record(image: Tensor, name: str, severity: int, seed: int = 0) -> tuple[Tensor, list[Any]]:
        recorder = Recorder(seed)
        corrupted = original.corrupt_image(image.permute(1, 2, 0).numpy(), name, severity, recorder)
        return torch.from_numpy(corrupted).permute(2, 0, 1), recorder.handed_out

    return record

"""Arrays as text, for baselines: little-endian bytes, deflated, in base64."""

import base64
import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray


def pack(array: NDArray[Any]) -> str:
    """An array as text.

    Example:
        >>> unpack(pack(np.arange(3, dtype="<i4")), 3, "<i4").tolist()
        [0, 1, 2]
    """
    return base64.b64encode(zlib.compress(array.tobytes(), 9)).decode("ascii")


def unpack(text: str, count: int, dtype: str) -> NDArray[Any]:
    """The array of `count` numbers; never more memory than these need, whatever the text says.

    Raises:
        TypeError, ValueError, zlib.error: the text is not that of so many numbers.
    """
    size = count * np.dtype(dtype).itemsize
    raw = zlib.decompressobj().decompress(base64.b64decode(text, validate=True), size + 1)
    if len(raw) != size:
        raise ValueError(f"expected {size} packed bytes, got {'more' if len(raw) > size else len(raw)}")
    return np.frombuffer(raw, dtype=dtype)

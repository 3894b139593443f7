"""Memory that is freed and taken again at once, as a network does layer after layer."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager

# From glibc's malloc.h: the numbers of `mallopt`.
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD, _MMAP_MAX = -1, -2, -3, -4
# The padding is the size of the heaps that threads other than the first have: with it, none of them is given back.
_KEPT = {_MMAP_MAX: 0, _TRIM_THRESHOLD: 2**31 - 1, _TOP_PAD: 64 << 20}
# What glibc settles at by itself where large blocks come and go; what it began with cannot be asked for.
_USUAL = {_MMAP_MAX: 65536, _MMAP_THRESHOLD: 32 << 20, _TRIM_THRESHOLD: 64 << 20, _TOP_PAD: 128 << 10}


@contextmanager
def freed_memory_kept() -> Iterator[None]:
    """Let the process keep what it frees, and give it back at the end.

    Otherwise glibc gives large blocks back to the system at once, which clears every page when it hands it out anew:
    a tenth of the time of a forward pass on the CPU. Elsewhere, or where the environment chooses how memory is kept,
    nothing is changed.

    Example:
        >>> with freed_memory_kept():
        ...     blocks = [len(bytearray(1 << 26)) for _ in range(3)]
    """
    chooses = any(name.startswith("MALLOC_") or name in ("GLIBC_TUNABLES", "LD_PRELOAD") for name in os.environ)
    allocator = None if chooses else _glibc()
    if allocator is None:
        yield
        return
    set_option, trim = allocator
    for option, value in _KEPT.items():
        set_option(option, value)
    try:
        yield
    finally:
        for option, value in _USUAL.items():
            set_option(option, value)
        trim(0)


def _glibc() -> tuple[Callable[[int, int], int], Callable[[int], int]] | None:
    """Its `mallopt` and `malloc_trim`; none of another library, or system."""
    try:
        if not os.confstr("CS_GNU_LIBC_VERSION"):
            return None
        library = ctypes.CDLL(None)
        return library.mallopt, library.malloc_trim
    except (AttributeError, OSError, TypeError, ValueError):
        return None

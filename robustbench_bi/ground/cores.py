"""How many processor cores this process may use, and how many threads decode images where nobody says."""

from __future__ import annotations

import os

MOST_WORKERS = 8
"""Decoding gains little from more: the networks take the rest of the time."""


def available_cores() -> int:
    """The number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def default_workers(neighbours: int = 1) -> int:
    """Decoding threads by default: one a core, up to eight; processes on one machine share its cores.

    Args:
        neighbours: processes of the same work on this machine.

    Example:
        >>> 1 <= default_workers() <= 8
        True
    """
    return max(1, min(MOST_WORKERS, available_cores() // neighbours))

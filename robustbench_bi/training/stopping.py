"""Stopping on request: SIGTERM and Ctrl-C let a training end the step it is at and keep what it has."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any


@contextmanager
def stop_requests(patient: bool) -> Iterator[Callable[[], int]]:
    """Catch SIGTERM and SIGINT; outside the main thread, where Python has no signals, nothing is caught.

    Args:
        patient: take the same signal twice for one. torchrun passes on the Ctrl-C that its processes get as well; where
            nobody does, a second Ctrl-C ends a process at once.

    Yields:
        The number of the signal that asked for a stop, or 0.
    """
    asked = 0
    before: dict[signal.Signals, Any] = {}

    def ask(number: int, _: FrameType | None) -> None:
        nonlocal asked
        asked = number
        if not patient:
            signal.signal(number, before[signal.Signals(number)])

    caught = (signal.SIGINT, signal.SIGTERM) if threading.current_thread() is threading.main_thread() else ()
    try:
        for number in caught:
            before[number] = signal.signal(number, ask) or signal.SIG_DFL
        yield lambda: asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

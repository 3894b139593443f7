"""Requests to stop, Ctrl-C and SIGTERM, as exceptions: what Ctrl-C undoes on its way up, SIGTERM undoes too."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

SAME_REQUEST = 1.0  # seconds in which a second signal is taken for the first: timeout and torchrun send it twice


class Terminated(KeyboardInterrupt):
    """SIGTERM came. Whoever answers Ctrl-C answers it alike; only the exit code differs."""


def exit_code_of(stop: KeyboardInterrupt) -> int:
    """The exit code of a program that was asked to stop, as shells count them.

    Example:
        >>> exit_code_of(KeyboardInterrupt()), exit_code_of(Terminated())
        (130, 143)
    """
    return 128 + (signal.SIGTERM if isinstance(stop, Terminated) else signal.SIGINT)


@contextmanager
def stops_as_exceptions() -> Iterator[None]:
    """Raise KeyboardInterrupt on Ctrl-C and Terminated on SIGTERM, once; a later signal ends the process at once.

    For a program that ends after a stop: the later signal may come while Python waits for its threads, so after a stop
    the handlers stay. Outside the main thread, where Python has no signals, nothing is changed.
    """
    first: float | None = None

    def stop(number: int, _: FrameType | None) -> None:
        nonlocal first
        if first is None:
            first = time.monotonic()
            raise Terminated if number == signal.SIGTERM else KeyboardInterrupt
        if time.monotonic() - first > SAME_REQUEST:
            os._exit(128 + number)

    before: dict[signal.Signals, Any] = {}
    caught = (signal.SIGINT, signal.SIGTERM) if threading.current_thread() is threading.main_thread() else ()
    try:
        for number in caught:
            before[number] = signal.signal(number, stop) or signal.SIG_DFL
        yield
    finally:
        if first is None:
            for number, handler in before.items():
                signal.signal(number, handler)

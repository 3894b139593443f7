"""Requests to stop, Ctrl-C and SIGTERM, as exceptions: what Ctrl-C undoes on its way up, SIGTERM undoes too."""

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

SAME_REQUEST = 1.0  # seconds in which a second signal is taken for the first: timeout and torchrun send it twice
LATER = 0.05  # seconds until a signal that could not be answered is tried again


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
    the handlers stay. A signal that comes during an import is answered after it: torch aborts the process on an
    exception there. One that comes where Python drops exceptions, as in a destructor, is answered after that. Outside
    the main thread, where Python has no signals, nothing is changed.
    """
    first: float | None = None
    outer = _imports(sys._getframe())

    def stop(number: int, frame: FrameType | None) -> None:
        nonlocal first
        if first is None and _imports(frame) > outer:
            _signal_again(number)
        elif first is None:
            first = time.monotonic()
            raise Terminated if number == signal.SIGTERM else KeyboardInterrupt
        elif time.monotonic() - first > SAME_REQUEST:
            os._exit(128 + number)

    dropped = sys.unraisablehook

    def drop(unraisable: Any) -> None:
        nonlocal first
        if isinstance(unraisable.exc_value, KeyboardInterrupt):
            first = None
            _signal_again(exit_code_of(unraisable.exc_value) - 128)
        else:
            dropped(unraisable)

    before: dict[signal.Signals, Any] = {}
    caught = (signal.SIGINT, signal.SIGTERM) if threading.current_thread() is threading.main_thread() else ()
    try:
        for number in caught:
            before[number] = signal.signal(number, stop) or signal.SIG_DFL
        sys.unraisablehook = drop if caught else dropped
        yield
    finally:
        sys.unraisablehook = dropped
        if first is None:
            for number, handler in before.items():
                signal.signal(number, handler)


def _signal_again(number: int) -> None:
    again = threading.Timer(LATER, os.kill, (os.getpid(), number))
    again.daemon = True
    again.start()


def _imports(frame: FrameType | None) -> int:
    """How many imports are going on in a stack."""
    count = 0
    while frame is not None:
        count += frame.f_code.co_filename == "<frozen importlib._bootstrap>"
        frame = frame.f_back
    return count

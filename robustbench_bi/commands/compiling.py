"""The first evaluation of an installation compiles its kernels, for half a minute: it says so, and how far it is."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import click

from robustbench_bi.data import named_source
from robustbench_bi.evaluation.request import EvalRequest

SOON = 1.0  # seconds in which kept kernels are loaded; then nothing is said
WORDS = "Compiling the corruptions for this processor, once per installation"


def compile_kernels(request: EvalRequest) -> None:
    """Compile the kernels of a request's corruptions, or load those that are kept, and show how far it is."""
    import torch

    of_files = named_source(request.data.source)[0].corrupted_as is None
    on_gpu = request.device.startswith("cuda") or (request.device == "auto" and torch.cuda.is_available())
    if of_files or on_gpu or request.generator != "bivo-robust":
        return
    from robustbench_bi.corruptions import corrupt

    image = torch.full((1, 3, 64, 64), 128, dtype=torch.uint8)
    with _shown(len(request.corruptions)) as show:
        for number, name in enumerate(request.corruptions, start=1):
            for severity in request.severities:
                corrupt(image, name, severity, table="auto")
            show(number)


@contextmanager
def _shown(total: int) -> Iterator[Callable[[int], None]]:
    """A callback that writes how many are done to standard error: over the last line on a terminal."""
    begun, terminal, last = time.monotonic(), sys.stderr.isatty(), 0

    def show(done: int) -> None:
        nonlocal last
        if time.monotonic() - begun < SOON or not (terminal or done == total or not last or done >= last + 5):
            return
        last = done
        click.echo(f"{chr(13) if terminal else ''}{WORDS}: {done}/{total}", err=True, nl=not terminal)

    yield show
    if terminal and last:
        click.echo(f"\r{' ' * (len(WORDS) + 10)}\r", err=True, nl=False)

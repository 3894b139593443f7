"""Threads on a machine that others use too: `python benchmarks/shared.py`; it appends to results/shared.csv.

A small network is evaluated on 4,096 pictures of 32 pixels × 16 cells: as `rb.evaluate` does it, which settles the
number of threads as it goes, and with each fixed choice of threads; first on the idle machine, then beside as many
processes that only count as there are cores. Each evaluation is in a process of its own, since OpenMP reads how threads
wait only once. The ratio is to the quickest of the fixed choices.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from machine import append, machine
from PIL import Image

IMAGES, SIDE, CLASSES, REPEATS = 4096, 32, 10, 5
CHOICES: dict[str, dict[str, str]] = {
    "settled as it goes": {},
    "one thread": {"OMP_NUM_THREADS": "1"},
    "all threads": {"ALL_THREADS": "1"},
    "all threads, spinning": {"ALL_THREADS": "1", "OMP_WAIT_POLICY": "ACTIVE"},
}
"""What the environment of a process says."""


def evaluated(folder: str) -> float:
    """Seconds of an evaluation in this process, after one of a few pictures."""
    import torch

    import robustbench_bi as rb

    if "ALL_THREADS" in os.environ:
        loop: Any = sys.modules[rb.evaluate.__module__]
        loop.Threads = partial(loop.Threads, settled=True)
    nn = torch.nn
    layers: list[nn.Module] = []
    for before, after in ((3, 16), (16, 32), (32, 64)):
        layers += [nn.Conv2d(before, after, 3, 2, 1), nn.BatchNorm2d(after), nn.ReLU()]
    network: nn.Module = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, CLASSES))
    network.input_size = network.resize_size = SIDE  # type: ignore[assignment]
    options = {"suite": "imagenet-c", "severities": 3, "batch_size": 64, "jpeg": None}
    with tempfile.TemporaryDirectory() as out:
        rb.evaluate(network, folder, limit=64, out=f"{out}/first", **options)
        started = time.perf_counter()
        rb.evaluate(network, folder, out=f"{out}/second", **options)
        return time.perf_counter() - started


def write_pictures(folder: Path) -> None:
    """Noise in class folders."""
    draws = np.random.default_rng(0)
    for number in range(IMAGES):
        path = folder / f"class{number % CLASSES}" / f"{number}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(draws.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)).save(path, compress_level=1)


@contextmanager
def busy(count: int) -> Iterator[None]:
    """Processes that do nothing but count."""
    others = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for other in others:
            other.kill()
            other.wait()


def seconds(folder: Path, choice: dict[str, str]) -> float:
    """Of an evaluation in a process of its own."""
    free = {name: value for name, value in os.environ.items() if name not in ("OMP_NUM_THREADS", "OMP_WAIT_POLICY")}
    command = [sys.executable, __file__, str(folder)]
    return float(subprocess.run(command, env={**free, **choice}, capture_output=True, text=True, check=True).stdout)


def main() -> None:
    """Alternate the choices, and write their medians."""
    if sys.argv[1:]:
        print(evaluated(sys.argv[1]))
        return
    cores = len(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory() as name:
        write_pictures(Path(name))
        for others in (0, cores):
            times: dict[str, list[float]] = {choice: [] for choice in CHOICES}
            with busy(others):
                for _ in range(REPEATS):
                    for choice, environment in CHOICES.items():
                        times[choice].append(seconds(Path(name), environment))
            medians = {choice: statistics.median(own) for choice, own in times.items()}
            best = min(list(medians.values())[1:])
            for choice, median in medians.items():
                row = {"busy_processes": others, "threads": choice, "seconds": round(median, 2)}
                row["of_the_best_fixed"] = round(median / best, 2)
                print(*row.values(), sep=" | ", flush=True)
                append("shared.csv", {**row, **machine("torch")})


if __name__ == "__main__":
    main()

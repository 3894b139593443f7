"""Reports of finished runs, as a user starts them; `python benchmarks/reports.py` appends to results/reports.csv.

The runs are simulated: their records lie on disk as `eval` writes them, and no network is run. Each command is started
three times in a process of its own; times are medians, the memory is the largest. Arguments choose commands by how
their names begin: `python benchmarks/reports.py gate`.
"""

import json
import multiprocessing
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from machine import append, machine

from robustbench_bi.corruptions import PIXEL_VERSION, resolve_suite
from robustbench_bi.runs import BLOCK_SIZE, EvalConfig, open_run

REPEATS = 3
CLASSES = 1000
MODELS = ("resnet50", "resnext50", "ddf_resnet50", "binet50")
SETTINGS = EvalConfig(
    model={}, weights_hash="", data="folder", listing_hash="0" * 64, n=0, num_classes=CLASSES,
    class_set="imagenet-1k", corruptions=(), severities=(1, 2, 3, 4, 5), table="imagenet-c", jpeg=85,
    generator="bivo-robust", pixel_version=PIXEL_VERSION, seed=0, input_size=224, resize_size=256,
    interpolation="bilinear", mean=(0.5,) * 3, std=(0.5,) * 3, precision="fp32", clean=True, device="cpu",
)  # fmt: skip


def write_run(out: Path, name: str, n: int, suite: str) -> Path:
    """A finished run of n images and the cells of a suite; how hard an image is, all runs share."""
    command = f"bivo-robust eval --model {name}"
    config = replace(
        SETTINGS, n=n, corruptions=tuple(resolve_suite(suite)), name=name, model={"name": name}, command=command
    )
    directory = out / config.folder
    directory.mkdir(parents=True)
    (directory / "run.json").write_text(json.dumps(config.as_json()), encoding="utf-8")
    common = np.random.default_rng(0)
    ease, labels = common.normal(2.5, 1.5, n), common.integers(0, CLASSES, n)
    own = np.random.default_rng([1, MODELS.index(name)])
    for cell in config.cells:
        margin = ease - cell[1] + own.logistic(0, 0.5, n)
        columns = {
            "image_id": np.arange(n),
            "label": labels,
            "prediction": np.where(margin > 0, labels, (labels + 1) % CLASSES),
            "rank": np.where(margin > 0, 0, own.integers(1, CLASSES, n)),
            "confidence": 1 / (1 + np.exp(-np.abs(margin))),
            "loss": np.log1p(np.exp(-margin)),
        }
        for block, start in enumerate(range(0, n, BLOCK_SIZE)):
            part = {column: values[start : start + BLOCK_SIZE] for column, values in columns.items()}
            open_run(directory).write_block(cell, block, part, len(part["label"]))
    return directory


def write_runs(folder: Path) -> None:
    """All runs that are measured."""
    for name in MODELS:
        write_run(folder / "small", name, 500, "all")
    write_run(folder / "gated", MODELS[0], 500, "imagenet-c")
    for name in MODELS[:2]:
        write_run(folder / "large", name, 50_000, "imagenet-c")


def measure(arguments: list[str], folder: Path) -> tuple[float, float, float]:
    """Wall seconds, seconds of processor time, and the largest resident memory in MB, of one start."""
    started = time.perf_counter()
    command = [sys.executable, "-m", "robustbench_bi", *arguments]
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - started
    if status != 0:
        raise SystemExit(f"{' '.join(arguments)} ended with {os.waitstatus_to_exitcode(status)}")
    return seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def main() -> None:
    """Simulate the runs, and measure every command."""
    chosen = tuple(sys.argv[1:]) or ("",)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        # To the system a process has been as large as the one that started it, so this one stays small.
        writer = multiprocessing.get_context("spawn").Process(target=write_runs, args=(folder,))
        writer.start()
        writer.join()
        small, (gated,), large = (sorted(map(str, (folder / name).iterdir())) for name in ("small", "gated", "large"))
        measure(["gate", gated, "--save", "baseline.json"], folder)
        measure(["gate", large[0], "--save", "large.json"], folder)
        commands = {
            "report of four runs, 500 images x 96 cells": ["report", *small],
            "report of one run, 50,000 images x 76 cells": ["report", large[0]],
            "report of two runs, 50,000 images x 76 cells": ["report", *large],
            "compare of two runs, 50,000 images x 76 cells": ["compare", large[1], "--baseline", large[0]],
            "compare three runs with a fourth, 500 images x 96 cells": ["compare", *small, "--baseline", small[0]],
            "gate, 500 images x 76 cells": ["gate", gated, "--baseline", "baseline.json"],
            "gate, 50,000 images x 76 cells": ["gate", large[1], "--baseline", "large.json"],
        }
        for name, arguments in commands.items():
            if not name.startswith(chosen):
                continue
            walls, processors, peaks = zip(*(measure(arguments, folder) for _ in range(REPEATS)), strict=True)
            row: dict[str, Any] = {"command": name, "seconds": round(statistics.median(walls), 2)}
            row |= {"processor_seconds": round(statistics.median(processors), 2), "peak_mb": round(max(peaks))}
            print(", ".join(f"{key}: {value}" for key, value in row.items()))
            append("reports.csv", {**row, **machine("numpy", "pandas", "pyarrow", "matplotlib")})


if __name__ == "__main__":
    main()

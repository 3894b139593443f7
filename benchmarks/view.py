"""`view` of simulated runs on 50,000 small pictures; `python benchmarks/view.py` appends to results/view.csv.

One run and two are opened three times each, in a process of its own: seconds until the address is printed, until the
first page of pictures is listed, and until its first corrupted picture is there, all medians; and the largest memory.
"""

import io
import json
import multiprocessing
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from machine import append, machine
from PIL import Image

from reports import CLASSES, MODELS, REPEATS, SETTINGS
from robustbench_bi.corruptions import resolve_suite
from robustbench_bi.data import Dataset, open_data
from robustbench_bi.runs import BLOCK_SIZE, open_run

IMAGES = 50_000


def write_pictures(folder: Path) -> None:
    """Pictures of 256 pixels that are a few kilobytes each, in 1,000 class folders."""
    pixels = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).resize((256, 256)).save(stream, "JPEG", quality=50)
    for number in range(IMAGES):
        path = folder / f"n{number % CLASSES:08d}" / f"{number:08d}.JPEG"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(stream.getvalue())


def write_run(out: Path, name: str, dataset: Dataset) -> None:
    """A finished run of all cells of ImageNet-C on these pictures."""
    config = replace(
        SETTINGS, n=len(dataset), corruptions=tuple(resolve_suite("imagenet-c")), name=name, model={"name": name},
        listing_hash=dataset.listing_hash, class_set=dataset.class_set, source=dataset.name,
    )  # fmt: skip
    directory = out / config.folder
    directory.mkdir(parents=True)
    (directory / "run.json").write_text(json.dumps(config.as_json()), encoding="utf-8")
    images = {"image_id": dataset.image_ids, "name": dataset.names(), "label": dataset.labels}
    unknown = pd.array([pd.NA] * len(dataset), dtype="Int32")
    pd.DataFrame(images).assign(width=unknown, height=unknown).to_parquet(directory / "images.parquet")
    draws, run = np.random.default_rng(MODELS.index(name)), open_run(directory)
    for cell in config.cells:
        margin = draws.normal(2.5 - cell[1], 1.5, len(dataset))
        columns = {
            "image_id": dataset.image_ids,
            "label": dataset.labels,
            "prediction": np.where(margin > 0, dataset.labels, draws.integers(0, CLASSES, len(dataset))),
            "rank": np.where(margin > 0, 0, draws.integers(1, CLASSES, len(dataset))),
            "confidence": 1 / (1 + np.exp(-np.abs(margin))),
            "loss": np.log1p(np.exp(-margin)),
        }
        for block, start in enumerate(range(0, len(dataset), BLOCK_SIZE)):
            part = {column: values[start : start + BLOCK_SIZE] for column, values in columns.items()}
            run.write_block(cell, block, part, len(part["label"]))


def write_all(folder: Path) -> None:
    """The pictures, and two runs on them."""
    write_pictures(folder / "val")
    dataset = open_data(folder / "val")
    for name in MODELS[:2]:
        write_run(folder / "runs", name, dataset)


def measure(runs: list[str], folder: Path) -> tuple[float, float, float, float]:
    """Seconds until the address, the first page and its first corrupted picture; then the largest memory in MB."""
    started, seconds = time.perf_counter(), []
    command = [sys.executable, "-m", "robustbench_bi", "view", *runs]
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    address = (process.stdout.readline() if process.stdout else "").strip()
    seconds.append(time.perf_counter() - started)
    with urllib.request.urlopen(address) as page, urllib.request.urlopen(f"{address}api/grid") as grid:
        page.read()
        image = json.load(grid)["rows"][0]["image"]
    seconds.append(time.perf_counter() - started)
    with urllib.request.urlopen(f"{address}pictures/0/{image}/gaussian_noise-3.png") as picture:
        picture.read()
    seconds.append(time.perf_counter() - started)
    status = Path(f"/proc/{process.pid}/status").read_text()
    peak = next(int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith("VmHWM"))
    process.terminate()
    process.wait()
    return seconds[0], seconds[1], seconds[2], peak


def main() -> None:
    """Simulate the runs, and open one and two of them."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        writer = multiprocessing.get_context("spawn").Process(target=write_all, args=(folder,))
        writer.start()
        writer.join()
        runs = sorted(map(str, (folder / "runs").iterdir()))
        for opened in (runs[:1], runs):
            *times, peaks = zip(*(measure(opened, folder) for _ in range(REPEATS)), strict=True)
            address, grid, picture = (round(statistics.median(own), 2) for own in times)
            row = {"runs": len(opened), "images": IMAGES, "cells": 76, "address": address, "page": grid}
            row |= {"corrupted_picture": picture, "peak_mb": round(max(peaks))}
            print(", ".join(f"{key}: {value}" for key, value in row.items()))
            append("view.csv", {**row, **machine("numpy", "pandas", "pyarrow", "torch")})


if __name__ == "__main__":
    main()

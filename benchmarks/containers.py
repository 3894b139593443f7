"""Listing 50,000 images of every container, reading from tar beside reading from folders, and memory.

`python benchmarks/containers.py` appends its rows to results/containers.csv. Files are in the page cache, so what is
measured is the program and not the disk. Reading is interleaved and repeated; the median of the ratios is reported.
Memory is what a process's peak grows by from its first block of images to its last.
"""

import io
import resource
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from machine import append, machine
from PIL import Image

from robustbench_bi.data import Preprocessing, open_data

IMAGES, CLASSES, READ, REPEATS, BLOCKS = 50_000, 100, 512, 7, 12


def jpeg(side: int) -> bytes:
    """A photograph-like JPEG file: smooth noise."""
    small = np.random.default_rng(0).integers(0, 256, (side // 8, side // 8, 3), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(small).resize((side, side)).save(stream, "JPEG", quality=90)
    return stream.getvalue()


def make(root: Path, count: int, content: bytes) -> dict[str, str]:
    """The same pictures as a folder, a tar archive and a parquet file; returns the sources."""
    names = [f"c{number % CLASSES:03d}/{number:08d}.jpg" for number in range(count)]
    for name in names:
        (root / "folder" / name).parent.mkdir(parents=True, exist_ok=True)
        (root / "folder" / name).write_bytes(content)
    with tarfile.open(root / "images.tar", "w") as archive:
        for name in names:
            _add(archive, name, content)
    images = pa.array([{"bytes": content, "path": name} for name in names])
    labels = pa.array([int(name[1:4]) for name in names])
    pq.write_table(pa.table({"image": images, "label": labels}), root / "images.parquet", row_group_size=100)
    return {
        "folder": str(root / "folder"),
        "tar": f"tar:{root}/images.tar",
        "parquet": f"parquet:{root}/images.parquet",
    }


def further(root: Path, count: int, content: bytes) -> dict[str, tuple[str, dict[str, str]]]:
    """The same again: a flat folder with a file of labels, WebDataset's shards and unopened ImageNet-C archives."""
    names = [f"{number:08d}.jpg" for number in range(count)]
    (root / "flat").mkdir()
    for name in names:
        (root / "flat" / name).write_bytes(content)
    labels = "".join(f"{name},{place % CLASSES}\n" for place, name in enumerate(names))
    (root / "labels.csv").write_text(f"name,label\n{labels}")
    with tarfile.open(root / "shard-0000.tar", "w") as archive:
        for place, name in enumerate(names):
            _add(archive, name, content)
            _add(archive, name.replace("jpg", "cls"), b"%d" % (place % CLASSES))
    (root / "c").mkdir()
    with tarfile.open(root / "c" / "noise.tar", "w") as archive:
        for place, name in enumerate(names):
            _add(archive, f"noise/shot_noise/3/c{place % CLASSES:03d}/{name}", content)
    return {
        "flat folder with labels": (str(root / "flat"), {"labels": str(root / "labels.csv")}),
        "WebDataset": (f"tar:{root}/shard-0000.tar", {}),
        "unopened ImageNet-C": (f"imagenet-c:{root}/c", {}),
    }


def _add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    archive.addfile(member, io.BytesIO(content))


def grown(source: str) -> float:
    """Megabytes that the peak of this process grows by while it reads the later blocks."""
    dataset, peaks = open_data(source), []
    for block in range(BLOCKS):
        dataset.read(range(block * READ, (block + 1) * READ), Preprocessing(), workers=2)
        peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
    return peaks[-1] - peaks[0]


def seconds(function) -> float:
    """Wall time of a call."""
    started = time.perf_counter()
    function()
    return time.perf_counter() - started


def main() -> None:
    """Measure and append."""
    with tempfile.TemporaryDirectory() as folder:
        sources = {name: (source, {}) for name, source in make(Path(folder), IMAGES, jpeg(32)).items()}
        for name, (source, options) in {**sources, **further(Path(folder), IMAGES, jpeg(32))}.items():
            listing = partial(lambda source, options: open_data(source, **options).names(), source, options)
            median = statistics.median(seconds(listing) for _ in range(3))
            row = {"what": f"listing {IMAGES:,} images, {name}", "value": round(median, 3), "unit": "s"}
            print(row)
            append("containers.csv", {**row, **machine("pyarrow")})
    with tempfile.TemporaryDirectory() as folder:
        sources = make(Path(folder), READ, jpeg(400))
        opened = {name: open_data(source) for name, source in sources.items()}
        preprocessing = Preprocessing()
        ratios: dict[str, list[float]] = {"tar": [], "parquet": []}
        for _ in range(REPEATS):
            taken = {
                name: seconds(lambda own=own: own.read(range(READ), preprocessing, workers=2))
                for name, own in opened.items()
            }
            for name, own in ratios.items():
                own.append(taken[name] / taken["folder"])
        for name, own in ratios.items():
            row = {"what": f"reading {name} / folder", "value": round(statistics.median(own), 3), "unit": "ratio"}
            print(row)
            append("containers.csv", {**row, **machine("pyarrow")})
    with tempfile.TemporaryDirectory() as folder:
        for name, source in make(Path(folder), BLOCKS * READ, jpeg(400)).items():
            command = [sys.executable, __file__, source]
            megabytes = float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
            what = f"growth of memory from the first block of {READ} images to block {BLOCKS}, {name}"
            row = {"what": what, "value": round(megabytes, 1), "unit": "MB"}
            print(row)
            append("containers.csv", {**row, **machine("pyarrow")})


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(grown(sys.argv[1]))
    else:
        main()

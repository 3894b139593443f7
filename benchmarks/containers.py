"""Listing 50,000 images of every container, and reading from tar beside reading from folders.

`python benchmarks/containers.py` appends its rows to results/containers.csv. Files are in the page cache, so what is
measured is the program and not the disk. Reading is interleaved and repeated; the median of the ratios is reported.
"""

import io
import statistics
import tarfile
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from machine import append, machine
from PIL import Image

from robustbench_bi.data import Preprocessing, open_data

IMAGES, CLASSES, READ, REPEATS = 50_000, 100, 512, 7


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
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    images = pa.array([{"bytes": content, "path": name} for name in names])
    labels = pa.array([int(name[1:4]) for name in names])
    pq.write_table(pa.table({"image": images, "label": labels}), root / "images.parquet", row_group_size=100)
    return {
        "folder": str(root / "folder"),
        "tar": f"tar:{root}/images.tar",
        "parquet": f"parquet:{root}/images.parquet",
    }


def seconds(function) -> float:
    """Wall time of a call."""
    started = time.perf_counter()
    function()
    return time.perf_counter() - started


def main() -> None:
    """Measure and append."""
    with tempfile.TemporaryDirectory() as folder:
        for name, source in make(Path(folder), IMAGES, jpeg(32)).items():
            median = statistics.median(seconds(lambda source=source: open_data(source).names()) for _ in range(3))
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


if __name__ == "__main__":
    main()

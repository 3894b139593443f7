"""How fast the corruptions are, against `imagecorruptions` in the same process; appends to results/corruptions*.csv.

    python benchmarks/corruptions.py speed      milliseconds an image of both on one thread, at the sides of all tables
    python benchmarks/corruptions.py threads    throughput of two threads against one
    python benchmarks/corruptions.py memory     peak of a batch of 64, in multiples of the batch's own bytes (Linux)

Names of corruptions after the command choose some. Images are 32 crops of photographs that ship with scikit-image,
224×224 where nothing else is said; what is compiled or loaded on first use is not counted.

`speed` calls the functions of `imagecorruptions` themselves: neither our seeding of an image nor a batch's tensor is in
its time. That package has one set of constants, those of side 224. At the other sides it is measured against ours with
the same constants, so that both do the same work, and with the constants of the side's own table. A time is the least
of many short calls that take turns: what else the machine does shows little.
"""

import ctypes
import functools
import itertools
import resource
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import skimage.data
import torch
from machine import append, machine
from numpy.typing import NDArray
from PIL import Image

from robustbench_bi.corruptions import CORRUPTIONS, SUITES, TABLES, corrupt, original_corrupt_image

PHOTOGRAPHS = (
    "astronaut",
    "cat",
    "coffee",
    "rocket",
    "hubble_deep_field",
    "immunohistochemistry",
    "retina",
    "colorwheel",
)
SEVERITIES = (1, 3, 5)
BATCH, SIDE = 32, 224
PAIRS = 7
# So long the two packages take turns over a corruption at a severity, and so many turns at least.
SECONDS, FEWEST = 0.6, 3
# The table whose constants `imagecorruptions` has.
THEIR_TABLE = "imagenet-c"


def photographs(count: int, extent: int = SIDE) -> torch.Tensor:
    """Crops of different places and sizes, uint8 (count, 3, extent, extent)."""
    sources = []
    for name in PHOTOGRAPHS:
        try:
            sources.append(Image.fromarray(getattr(skimage.data, name)()[..., :3]))
        except (OSError, RuntimeError, ValueError, ModuleNotFoundError):
            continue  # scikit-image downloads a few of its pictures
    generator = np.random.default_rng(0)
    crops: list[NDArray[np.uint8]] = []
    for number in range(count):
        picture = sources[number % len(sources)]
        side = int(generator.uniform(0.6, 1.0) * min(picture.size))
        left, top = (int(generator.integers(0, whole - side + 1)) for whole in picture.size)
        box = (left, top, left + side, top + side)
        crops.append(np.array(picture.resize((extent, extent), Image.Resampling.BILINEAR, box=box)))
    return torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2).contiguous()


def milliseconds(work: Callable[[], object], images: int) -> float:
    """Time of one call, an image."""
    started = time.perf_counter()
    work()
    return (time.perf_counter() - started) / images * 1e3


def by_two_clocks(work: Callable[[], object], images: int) -> float:
    """Time of one call, an image, by the clock that shows more: now and then a virtual machine's loses part of it."""
    started = time.process_time()
    elapsed = milliseconds(work, images)
    return max(elapsed, (time.process_time() - started) / images * 1e3)


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Run on so many threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def speed(names: list[str]) -> None:
    """Both packages at the side of each table, and what that comes to."""
    # The other package calls OpenCV, which would take all cores.
    cv2.setNumThreads(1)
    for own in (table for table in TABLES if not table.variants):
        images = photographs(BATCH, own.side)
        rows = []
        for name, severity in itertools.product(names, SEVERITIES):
            measured = compare(images, name, severity, (own.name, THEIR_TABLE))
            rows += measured
            for row in measured:
                print(*row.values(), flush=True)
                append("corruptions.csv", {**row, **machine("torch", "numba", "imagecorruptions")})
        for table in dict.fromkeys((own.name, THEIR_TABLE)):
            summarise(f"{own.side}, {table}", [row for row in rows if row["table"] == table])


def compare(images: torch.Tensor, name: str, severity: int, tables: tuple[str, ...]) -> list[dict[str, Any]]:
    """A row for each table of constants: the other package with an image at a time, as it works, and ours with all."""
    arrays = itertools.cycle(images.permute(0, 2, 3, 1).contiguous().numpy())
    random = np.random.RandomState(severity)
    ours = {table: functools.partial(corrupt, images, name, severity, table=table) for table in tables}
    for work in ours.values():
        work()
    times: dict[str, list[float]] = {table: [] for table in ("imagecorruptions", *ours)}
    ends = time.perf_counter() + SECONDS
    while len(times["imagecorruptions"]) < FEWEST or time.perf_counter() < ends:
        theirs = functools.partial(original_corrupt_image, next(arrays), name, severity, random)
        times["imagecorruptions"].append(by_two_clocks(theirs, 1))
        for table, work in ours.items():
            times[table].append(by_two_clocks(work, BATCH))
    least = {table: min(found) for table, found in times.items()}
    return [
        {
            "side": images.shape[-1],
            "table": table,
            "corruption": name,
            "severity": severity,
            "imagecorruptions_ms": round(least["imagecorruptions"], 4),
            "ours_ms": round(least[table], 4),
            "ratio": round(least["imagecorruptions"] / least[table], 2),
        }
        for table in ours
    ]


def summarise(title: str, rows: list[dict[str, Any]]) -> None:
    """Print means over the corruptions, and each that is slower than ten times the other package."""
    ratios = {
        name: statistics.geometric_mean(row["ratio"] for row in rows if row["corruption"] == name)
        for name in dict.fromkeys(row["corruption"] for row in rows)
    }
    print(
        f"{title}: {statistics.fmean(row['ours_ms'] for row in rows):.4f} ms, geometric mean of ratios "
        f"{statistics.geometric_mean(ratios.values()):.1f}; below ten times:",
        ", ".join(f"{name} {ratio:.1f}" for name, ratio in ratios.items() if ratio < 10) or "none",
        flush=True,
    )


def compare_threads(names: list[str]) -> None:
    """All severities of a corruption, on one thread and on two, alternately."""
    images = photographs(4 * BATCH)
    total = {1: 0.0, 2: 0.0}
    for name in names:
        times: dict[int, list[float]] = {1: [], 2: []}
        for _ in range(PAIRS):
            for count in times:
                with threads(count):
                    corrupt(images[:8], name, 3)
                    work = [milliseconds(functools.partial(corrupt, images, name, s), len(images)) for s in SEVERITIES]
                    times[count].append(statistics.fmean(work))
        ratio = statistics.median(one / two for one, two in zip(times[1], times[2], strict=True))
        medians = {count: statistics.median(own) for count, own in times.items()}
        total = {count: total[count] + medians[count] for count in total}
        row = {"corruption": name, **{f"ms_{count}_threads": round(own, 4) for count, own in medians.items()}}
        row["ratio"] = round(ratio, 3)
        print(*row.values(), flush=True)
        append("corruptions_threads.csv", {**row, **machine("torch", "numba")})
    print(f"all together: {total[1] / total[2]:.3f}")


def memory(names: list[str]) -> None:
    """The peak of the resident memory over that before the call; a call with one image has loaded what it needs."""
    batch = photographs(64)
    libc = ctypes.CDLL("libc.so.6")
    for name in names:
        multiples = []
        for severity in SEVERITIES:
            corrupt(batch[:1], name, severity)
            libc.malloc_trim(0)
            Path("/proc/self/clear_refs").write_text("5")
            before = _kilobytes("VmRSS")
            corrupt(batch, name, severity)
            multiples.append((_kilobytes("VmHWM") - before) * 1024 / batch.numel())
        row = {"corruption": name, "multiple_of_the_batch": round(max(multiples), 2)}
        print(*row.values(), flush=True)
        append("corruptions_memory.csv", {**row, **machine("torch", "numba")})
    print(f"process at most {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MiB")


def _kilobytes(field: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field))


def main() -> None:
    """Run one of the comparisons."""
    commands = {"speed": speed, "threads": compare_threads, "memory": memory}
    command, *names = sys.argv[1:] or ["speed"]
    names = [CORRUPTIONS[name].name for name in names] or list(SUITES["all"].corruptions)
    with threads(1):
        commands[command](names)


if __name__ == "__main__":
    main()

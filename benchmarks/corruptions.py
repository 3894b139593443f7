"""How fast the corruptions are, against `imagecorruptions` in the same process; appends to results/corruptions*.csv.

    python benchmarks/corruptions.py speed      milliseconds an image of both on one thread, median of paired ratios
    python benchmarks/corruptions.py threads    throughput of two threads against one
    python benchmarks/corruptions.py memory     peak of a batch of 64, in multiples of the batch's own bytes (Linux)

Names of corruptions after the command choose some. Images are 32 crops of photographs that ship with scikit-image,
224×224; what is compiled or loaded on first use is not counted.
"""

import ctypes
import resource
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import skimage.data
import torch
from machine import append, machine
from numpy.typing import NDArray
from PIL import Image

from robustbench_bi.corruptions import CORRUPTIONS, SUITES, corrupt, original_corrupt

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
SECONDS = 0.6  # of the other package, in each pair


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
    """Pairs of both packages on the same images, alternately; the other one on as many as its time allows."""
    images = photographs(BATCH)
    rows = []
    for name in names:
        for severity in SEVERITIES:
            corrupt(images, name, severity)
            once = milliseconds(lambda: original_corrupt(images[:1], name, severity), 1)  # noqa: B023
            count = int(min(BATCH, max(1, SECONDS * 1e3 // once)))
            pairs = []
            for _ in range(PAIRS if once < 500 else 3):
                theirs = milliseconds(lambda: original_corrupt(images[:count], name, severity), count)  # noqa: B023
                ours = min(milliseconds(lambda: corrupt(images, name, severity), BATCH) for _ in range(2))  # noqa: B023
                pairs.append((theirs, ours))
            row = {
                "corruption": name,
                "severity": severity,
                "imagecorruptions_ms": round(statistics.median(theirs for theirs, _ in pairs), 3),
                "ours_ms": round(statistics.median(ours for _, ours in pairs), 3),
                "ratio": round(statistics.median(theirs / ours for theirs, ours in pairs), 2),
            }
            print(*row.values(), flush=True)
            rows.append(row)
            append("corruptions.csv", {**row, **machine("torch", "numba", "imagecorruptions")})
    means = [statistics.fmean(row["ours_ms"] for row in rows if row["corruption"] == name) for name in names]
    ratios = [statistics.geometric_mean(row["ratio"] for row in rows if row["corruption"] == name) for name in names]
    print(
        f"mean {statistics.fmean(means):.3f} ms, geometric mean of ratios {statistics.geometric_mean(ratios):.1f}, "
        f"least {min(row['ratio'] for row in rows)}"
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
                    work = [milliseconds(lambda s=s: corrupt(images, name, s), len(images)) for s in SEVERITIES]  # noqa: B023
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

"""How fast the corruptions of ImageNet-C-bar and CIFAR-10-C-bar are, against the published code in the same process.

    python benchmarks/c_bar.py FOLDER     where FOLDER is imagenet_c_bar of facebookresearch/augmentation-corruption

Appends to results/c_bar.csv: milliseconds an image of both on one thread, at 224×224 and severity 3, and the median of
paired ratios. The published code works pixel by pixel, so it gets one image where ours gets 16. Times are those of the
processor, because it is often shared.
"""

import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from corruptions import photographs, threads
from machine import append, machine

from robustbench_bi.corruptions import CORRUPTIONS, corrupt

BATCH, PAIRS, SEVERITY = 16, 3, 3


def milliseconds(work: Callable[[], object], images: int) -> float:
    """Processor time of one call, an image."""
    started = time.process_time()
    work()
    return (time.process_time() - started) / images * 1e3


def compare(folder: Path, suite: str, images: torch.Tensor) -> list[dict[str, object]]:
    """A row for each corruption of a suite."""
    from transform_finder import build_transform

    table = suite.removesuffix("-bar")
    image, rows = images[0].permute(1, 2, 0).contiguous().numpy(), []
    for line in (folder / f"{suite.replace('-', '_').replace('cifar_10', 'cifar10')}.csv").read_text().split():
        published, *values = line.split(",")
        name, transform = (
            CORRUPTIONS[published].name,
            build_transform(published, float(values[SEVERITY - 1]), "imagenet"),
        )
        corrupt(images, name, SEVERITY, table=table)
        pairs = []
        for _ in range(PAIRS):
            theirs = milliseconds(lambda: transform(image), 1)  # noqa: B023
            pairs.append((theirs, milliseconds(lambda: corrupt(images, name, SEVERITY, table=table), BATCH)))  # noqa: B023
        row: dict[str, object] = {
            "suite": suite,
            "corruption": name,
            "published_ms": round(statistics.median(theirs for theirs, _ in pairs), 1),
            "ours_ms": round(statistics.median(ours for _, ours in pairs), 3),
            "ratio": round(statistics.median(theirs / ours for theirs, ours in pairs)),
        }
        print(*row.values(), flush=True)
        append("c_bar.csv", {**row, **machine("torch", "numba")})
        rows.append(row)
    return rows


def main(folder: str) -> None:
    """Both suites, and what they come to together."""
    sys.path.insert(0, folder)
    np.int = int  # type: ignore[attr-defined]  # noqa: NPY001  (NumPy has dropped it, and the published code names it)
    images = photographs(BATCH)
    with threads(1):
        rows = [row for suite in ("imagenet-c-bar", "cifar-10-c-bar") for row in compare(Path(folder), suite, images)]
    mean = statistics.fmean(float(str(row["ours_ms"])) for row in rows)
    ratio = statistics.geometric_mean(float(str(row["ratio"])) for row in rows)
    print(f"{len(rows)} corruptions: mean {mean:.2f} ms, geometric mean of ratios {ratio:.0f}")


if __name__ == "__main__":
    main(*sys.argv[1:])

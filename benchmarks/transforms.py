"""What a transform costs beside `corrupt`, on one thread: `python benchmarks/transforms.py`."""

import time
from collections.abc import Callable

import torch
from machine import append, machine
from PIL import Image

import robustbench_bi as rb
from robustbench_bi.corruptions import SUITES, sample_photograph
from robustbench_bi.transforms import Corrupt

ROUNDS = 400
SEVERITY = 3


def microseconds(first: Callable[[], object], second: Callable[[], object]) -> tuple[float, float]:
    """Processor time of two calls that take turns: the mean of the fastest tenth of each."""
    times: tuple[list[int], list[int]] = ([], [])
    for call in (first, second):
        call()
    for _ in range(ROUNDS):
        for call, taken in zip((first, second), times, strict=True):
            start = time.thread_time_ns()
            call()
            taken.append(time.thread_time_ns() - start)
    fastest = [sorted(taken)[: ROUNDS // 10] for taken in times]
    return tuple(sum(taken) / len(taken) / 1000 for taken in fastest)  # type: ignore[return-value]


def main() -> None:
    """Measure each corruption on a picture of 224 pixels, as a tensor and as a Pillow image."""
    torch.set_num_threads(1)
    array = sample_photograph()
    pictures = {"tensor": torch.from_numpy(array).permute(2, 0, 1).contiguous(), "pillow": Image.fromarray(array)}
    for name in SUITES["all"].corruptions:
        for kind, picture in pictures.items():
            transform = Corrupt(name, SEVERITY)
            alone, within = microseconds(
                lambda name=name, picture=picture: rb.corrupt(picture, name, SEVERITY),
                lambda transform=transform, picture=picture: transform(picture),
            )
            row = {"corruption": name, "picture": kind, "corrupt_us": round(alone, 1), "transform_us": round(within, 1)}
            measured = {**row, "ratio": round(within / alone, 3)}
            append("transforms.csv", measured | machine("torch", "torchvision", "xxhash"))
            print(f"{name:20s} {kind:7s} {alone:8.1f} µs  × {within / alone:.3f}", flush=True)


if __name__ == "__main__":
    main()

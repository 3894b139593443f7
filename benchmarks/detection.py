"""The intervals of average precision; `python benchmarks/detection.py` appends to results/detection.csv.

Detections are simulated and then matched by the product. How easy an image is, and how easy an object in it, all cells
and detectors share; a cell of a detector adds noise of its own to what it finds, to where it puts boxes, and to scores.

`speed` times the intervals of AP of 76 cells at 5,000 images with 1,000 halves; the memory is the largest of the
process. `coverage` draws samples of images from 50,000 and counts how often an interval holds the numbers of these
50,000. They are the truth, what a sample is of; the mean over samples of a size is higher. It takes as many samples, up
to 400, as fit into the seconds that are given: `python benchmarks/detection.py coverage 240 1000 10` for samples of
1,000 images with ten classes. `corruption` times corruption beside a ResNet-50 detector on pictures of 640×480. Every
row has the machine's load, the processes that ran or waited; alone, it is about 1.
"""

import os
import resource
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import torch
from machine import append, machine
from numpy.typing import NDArray

from robustbench_bi.corruptions import SUITES, corrupt
from robustbench_bi.metrics import (
    DetectionCell,
    DetectionNumber,
    DetectionObjects,
    DetectionPrecision,
    DetectionTruth,
    Resampling,
    SharesOfFirst,
    Weighted,
    bootstrap_interval,
    image_interval,
    joined,
)
from robustbench_bi.models import create_model

WIDTH, HEIGHT = 640, 480
POPULATION = 50_000
# What a detector adds to the ease of an object that all share.
OWN_NOISE = 0.7
RESAMPLING = Resampling(repeats=200)
SAMPLES = 400
# Of the cells of one detector, the first of which is clean; and of another's clean one.
LEVELS, OTHER = (0.6, 0.3, 0.0, -0.3), 0.7

Floats = NDArray[np.float64]
Row = dict[str, Any]


def truth_of(generator: np.random.Generator, n: int, categories: int, objects: float) -> tuple[DetectionTruth, Floats]:
    """Objects of n images, of some categories more than of others, one or more in each; and how easy each object is."""
    image = np.repeat(np.arange(n), 1 + generator.poisson(objects - 1, n))
    shares = 1 / (np.arange(categories) + 3.0)
    category = generator.choice(categories, len(image), p=shares / shares.sum())
    order = np.lexsort((category, image))
    image, category = image[order], category[order]
    sides = np.exp(generator.normal(4.2, 0.7, (len(image), 2))).clip(8, 400)
    corners = generator.random((len(image), 2)) * (np.array([WIDTH, HEIGHT]) - sides).clip(1)
    nothing = np.zeros(len(image), dtype=bool)
    ease = 0.6 * generator.standard_normal(n)[image] + 0.8 * generator.standard_normal(len(image))
    masks = np.full(len(image), "", dtype=object)
    boxes = np.hstack([corners, sides])
    parts = (image, category, boxes, sides.prod(axis=1), nothing, nothing, masks)
    return DetectionTruth(np.arange(n), np.full(n, WIDTH * HEIGHT), categories, *parts), ease


def found(generator: np.random.Generator, truth: DetectionTruth, ease: Floats, level: float, alarms: float) -> Any:
    """What a detector finds: the objects that it sees, and in each image about `alarms` times nothing."""
    own = ease + level + OWN_NOISE * generator.standard_normal(len(ease))
    seen = own > 0
    alone = np.repeat(np.arange(len(truth.image_ids)), generator.poisson(alarms, len(truth.image_ids)))
    sides = np.exp(generator.normal(4.2, 0.7, (len(alone), 2)))
    false = np.hstack([generator.random((len(alone), 2)) * [WIDTH, HEIGHT], sides])
    shift = 0.12 * np.exp(-own[seen, None] / 2) * generator.standard_normal((seen.sum(), 4))
    right = truth.boxes[seen] + shift * np.tile(truth.boxes[seen, 2:], 2)
    boxes = np.vstack([right, false])
    boxes[:, 2:] = boxes[:, 2:].clip(1)
    of_right, of_false = generator.logistic(0, 0.5, seen.sum()), generator.logistic(-2, 0.8, len(alone))
    score = np.concatenate([own[seen] + of_right, of_false])
    guessed = generator.permutation(np.resize(truth.category, len(alone)))
    columns = {
        "image_id": np.concatenate([truth.image[seen], alone]),
        "category": np.concatenate([truth.category[seen], guessed]),
        "score": 1 / (1 + np.exp(-score)),
        **dict(zip(("x1", "y1"), boxes[:, :2].T, strict=True)),
        **dict(zip(("x2", "y2"), (boxes[:, :2] + boxes[:, 2:]).T, strict=True)),
    }
    return DetectionCell(pd.DataFrame(columns), truth, "box").matched("all")


def precision_of(n: int, objects: DetectionObjects, cells: list[Any]) -> DetectionNumber:
    """AP of cells."""
    return DetectionNumber(DetectionPrecision(n, objects, cells), 0)


def waiting() -> dict[str, float]:
    """The processes that ran or waited for the machine in the last minute, this one among them."""
    return {"load": round(os.getloadavg()[0], 1)}


def speed(n: int = 5000, cells: int = 76, repeats: int = 1000) -> Iterator[Row]:
    """Seconds of wall and processor, and the largest memory, of the intervals of AP of all cells."""
    generator = np.random.default_rng(0)
    truth, ease = truth_of(generator, n, 80, 7.3)
    started = time.perf_counter()
    matched = [found(generator, truth, ease, level, 30) for level in np.linspace(0.8, -0.8, cells)]
    simulated = time.perf_counter() - started
    statistic = precision_of(n, DetectionObjects.of(truth), matched)
    image_interval(precision_of(n, DetectionObjects.of(truth), matched[:1]), Resampling(repeats=100))
    started, before = time.perf_counter(), time.process_time()
    image_interval(statistic, Resampling(repeats=repeats))
    yield {
        "part": "speed",
        "number": f"AP, {cells} cells",
        "n": n,
        "categories": truth.categories,
        "detections": sum(len(cell.image) for cell in matched) // cells,
        "resamples": repeats,
        "threads": len(os.sched_getaffinity(0)),
        "simulated_s": round(simulated, 1),
        "wall_s": round(time.perf_counter() - started, 1),
        "processor_s": round(time.process_time() - before, 1),
        "largest_memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }


def sampled(rows: Any, place: NDArray[np.int32]) -> Any:
    """Objects or matched detections, those of the images that have a place in the sample; the others' is −1."""
    own = place[rows.image]
    kept = own >= 0
    marks = {name: getattr(rows, name)[kept] for name in ("hits", "left_out") if hasattr(rows, name)}
    return replace(rows, image=own[kept], starts=np.concatenate([[0], np.cumsum(kept)])[rows.starts], **marks)


def numbers_of(n: int, objects: DetectionObjects, cells: list[Any]) -> dict[str, Any]:
    """What `detect` and `compare` print of a detector, whose cells stand before the other detector's only one."""
    own = DetectionPrecision(n, objects, cells)
    of_cells = {name: DetectionNumber(own, place) for place, name in enumerate(("AP", "AP50", "AP75", "AR"))}
    first, last = np.eye(len(cells))[:, :1], np.eye(len(cells))[:, -1:]
    corrupted = np.full((len(cells), 1), 1 / (len(cells) - 2)) * (1 - first - last)
    both = Weighted(of_cells["AP"], np.hstack([first, corrupted]))
    return {
        **{name: Weighted(number, first) for name, number in of_cells.items()},
        "mean AP of 3 cells": Weighted(of_cells["AP"], corrupted),
        "the mean's share of clean": SharesOfFirst(both),
        "ΔAP to clean": Weighted(of_cells["AP"], corrupted - first),
        "ΔAP of two detectors": Weighted(of_cells["AP"], last - first),
    }


def coverage(seconds: float = 240, n: int = 200, categories: int = 10) -> Iterator[Row]:
    """How often intervals hold the truth."""
    generator = np.random.default_rng(1)
    few = categories <= 10
    truth, ease = truth_of(generator, POPULATION, categories, 3 if few else 7.3)
    whole = [found(generator, truth, ease, level, 5 if few else 8) for level in (*LEVELS, OTHER)]
    objects = DetectionObjects.of(truth)
    known = {name: one.value()[0] for name, one in numbers_of(POPULATION, objects, whole).items()}
    generator = np.random.default_rng(n)
    drawn, until = [], time.monotonic() + seconds
    while time.monotonic() < until and len(drawn) < SAMPLES:
        place = np.full(POPULATION, -1, dtype=np.int32)
        place[generator.choice(POPULATION, n, replace=False)] = np.arange(n)
        own = numbers_of(n, sampled(objects, place), [sampled(cell, place) for cell in whole])
        every = joined(list(own.values()))
        methods = (image_interval(every, RESAMPLING), bootstrap_interval(every, RESAMPLING))
        drawn.append([(*ends, every.value()) for ends in methods])
    for number, (name, target) in enumerate(known.items()):
        for place, method in enumerate(("ours", "percentile bootstrap")):
            ends = np.array([sample[place] for sample in drawn])[:, :, number].T
            about = {"part": "coverage", "number": name, "method": method, "n": n, "categories": categories}
            yield {**about, **counted(ends, target)}


def counted(drawn: Floats, target: float) -> Row:
    """How often ends held the truth, and the mean of the samples' own numbers."""
    low, high, value = drawn
    return {
        "resamples": RESAMPLING.repeats,
        "truth": round(float(target), 3),
        "mean_of_samples": round(float(value.mean()), 3),
        "repeats": len(value),
        "covered": share_of((low <= target) & (target <= high)),
        "truth_below": share_of(target < low),
        "truth_above": share_of(target > high),
        "width": round(float((high - low).mean()), 2),
    }


def share_of(outcomes: NDArray[np.bool_]) -> float:
    """In percent."""
    return round(100 * float(outcomes.mean()), 1)


def corruption(pictures: int = 2) -> Iterator[Row]:
    """Seconds a picture of 640×480 of all 75 corrupted cells on average, and of a ResNet-50 detector."""
    generator = np.random.default_rng(0)
    images = torch.from_numpy(generator.integers(0, 256, (pictures, 3, HEIGHT, WIDTH), dtype=np.uint8))
    detector = create_model("fasterrcnn_resnet50", num_classes=80).eval()
    cells = [(name, severity) for name in SUITES["imagenet-c"].corruptions for severity in range(1, 6)]
    spent = []
    for name, severity in cells:
        corrupt(images[:1], name, severity, ids=[0], table="imagecorruptions")
        started = time.perf_counter()
        corrupt(images, name, severity, ids=range(pictures), table="imagecorruptions")
        spent.append((time.perf_counter() - started) / pictures)
    with torch.inference_mode():
        detector([images[0].float() / 255])
        started = time.perf_counter()
        for image in images:
            detector([image.float() / 255])
    detecting = (time.perf_counter() - started) / pictures
    yield {
        "part": "corruption",
        "number": "fasterrcnn_resnet50, 640×480",
        "n": pictures,
        "threads": torch.get_num_threads(),
        "corruption_s": round(float(np.mean(spent)), 4),
        "slowest_s": round(float(np.max(spent)), 4),
        "detector_s": round(detecting, 3),
        "share": round(100 * float(np.mean(spent)) / (float(np.mean(spent)) + detecting), 2),
    }


COLUMNS = (
    "part", "number", "method", "n", "categories", "detections", "resamples", "threads", "simulated_s", "wall_s",
    "processor_s", "largest_memory_mb", "truth", "mean_of_samples", "repeats", "covered", "truth_below", "truth_above",
    "width", "corruption_s", "slowest_s", "detector_s", "share",
)  # fmt: skip
PARTS = {"speed": speed, "coverage": coverage, "corruption": corruption}


def main() -> None:
    """Measure the chosen part; further arguments are its own."""
    chosen, *arguments = sys.argv[1:] or ["speed"]
    for row in PARTS[chosen](*(int(own) for own in arguments)):
        append(
            "detection.csv",
            {**{column: row.get(column) for column in COLUMNS}, **waiting(), **machine("numpy", "numba")},
        )
        print(row)


if __name__ == "__main__":
    main()

"""The bootstrap of average precision; `python benchmarks/detection.py` appends to results/detection.csv.

Detections are simulated and then matched by the product. How easy an image is, and how easy an object in it, all cells
and detectors share; a detector adds noise of its own to what it finds, to where it puts boxes, and to scores.

`speed` times the intervals of AP of 76 cells at 5,000 images with 1,000 resamples; the memory is the largest of the
process. `coverage` draws samples of 200 and 1,000 images from 50,000, whose AP is the truth, as often as fits into the
seconds that are given, and counts how often an interval of 500 resamples holds it: `python benchmarks/detection.py
coverage 240`. Small sets have a higher AP on average than all images (precision is read at its best from a recall on),
so `mean_covered` tells how often the mean AP of sets of that size is held. Every row has the machine's load, the
processes that ran or waited; alone, it is about 1.
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
from machine import append, machine
from numpy.typing import NDArray

from robustbench_bi.metrics import (
    PAIRINGS,
    DetectionCell,
    DetectionNumber,
    DetectionObjects,
    DetectionPrecision,
    DetectionTruth,
    Resampling,
    agreeing,
    image_interval,
)

WIDTH, HEIGHT = 640, 480
POPULATION = 50_000
# What a detector adds to the ease of an object that all share.
OWN_NOISE = 0.7
RESAMPLING = Resampling(repeats=500)
LEVELS = (0.6, 0.7)

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


def intervals(n: int, objects: DetectionObjects, cells: list[Any]) -> Floats:
    """Ends and value of AP of the first, and of the second's difference to it, as `compare` prints them: (2, 3)."""
    first, second = (precision_of(n, objects, [cell]) for cell in cells)
    difference = second.minus(first)
    p_values, _ = PAIRINGS["bootstrap"].test(difference, np.ones(1, dtype=bool), RESAMPLING)
    ends = agreeing(image_interval(difference, RESAMPLING), difference.value(), p_values, RESAMPLING.confidence)
    return np.stack([[*image_interval(first, RESAMPLING), first.value()], [*ends, difference.value()]])[:, :, 0]


def coverage(seconds: float = 240, categories: int = 10) -> Iterator[Row]:
    """How often intervals hold the truth, at both sizes; a third of the time is for the small one."""
    generator = np.random.default_rng(1)
    truth, ease = truth_of(generator, POPULATION, categories, 3)
    whole = [found(generator, truth, ease, level, 5) for level in LEVELS]
    objects = DetectionObjects.of(truth)
    known = precision_of(POPULATION, objects, whole).value()
    for n, share in ((200, 1 / 3), (1000, 2 / 3)):
        drawn, until = [], time.monotonic() + share * seconds
        while time.monotonic() < until:
            place = np.full(POPULATION, -1, dtype=np.int32)
            place[generator.choice(POPULATION, n, replace=False)] = np.arange(n)
            drawn.append(intervals(n, sampled(objects, place), [sampled(cell, place) for cell in whole]))
        targets = {"AP": known[0], "ΔAP": known[1] - known[0]}
        for (number, target), own in zip(targets.items(), np.stack(drawn, axis=2), strict=True):
            yield {"part": "coverage", "number": number, "n": n, "categories": categories, **counted(own, target)}


def counted(drawn: Floats, target: float) -> Row:
    """How often ends held the AP of all images, and the mean AP of sets of this size, which is higher."""
    low, high, value = drawn
    return {
        "resamples": RESAMPLING.repeats,
        "truth": round(float(target), 3),
        "mean_of_samples": round(float(value.mean()), 3),
        "repeats": len(value),
        "covered": share_of((low <= target) & (target <= high)),
        "mean_covered": share_of((low <= value.mean()) & (value.mean() <= high)),
        "truth_below": share_of(target < low),
        "truth_above": share_of(target > high),
        "width": round(float((high - low).mean()), 2),
    }


def share_of(outcomes: NDArray[np.bool_]) -> float:
    """In percent."""
    return round(100 * float(outcomes.mean()), 1)


COLUMNS = (
    "part", "number", "n", "categories", "detections", "resamples", "threads", "simulated_s", "wall_s", "processor_s",
    "largest_memory_mb", "truth", "mean_of_samples", "repeats", "covered", "mean_covered", "truth_below", "truth_above",
    "width",
)  # fmt: skip


def main() -> None:
    """Measure the chosen part, or both."""
    chosen, seconds = (sys.argv[1:2] or ["speed coverage"])[0], [float(own) for own in sys.argv[2:3]]
    for name, part in {"speed": speed, "coverage": coverage}.items():
        if name in chosen.split():
            for row in part(*(seconds if name == "coverage" else [])):
                whole = {column: row.get(column) for column in COLUMNS}
                append("detection.csv", {**whole, **waiting(), **machine("numpy", "numba")})
                print(row)


if __name__ == "__main__":
    main()

"""Calibration of several runs by confidence, of tasks that have "reliability"."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from robustbench_bi.analysis.captions import describe_data, joined_captions, run_labels, shared_words
from robustbench_bi.analysis.cautions import cautions
from robustbench_bi.analysis.described import header
from robustbench_bi.analysis.measured import records_of, shared_cells
from robustbench_bi.analysis.result import Result
from robustbench_bi.ground.cells import CLEAN
from robustbench_bi.metrics.bounded import bounded_interval, wilson_interval
from robustbench_bi.metrics.calibration import BINS, bias_of_gaps, bins_of
from robustbench_bi.metrics.intervals import Resampling
from robustbench_bi.metrics.robustness import benchmark_corruptions
from robustbench_bi.metrics.scored import confidence_of
from robustbench_bi.metrics.statistics import Bounds, ImageMeans
from robustbench_bi.runs.run import Run

_AT_ONCE = 2**19


def ece_name(part: str) -> str:
    """What the ECE of a part of a reliability frame is called: that of corrupted images is of pooled cells.

    Example:
        >>> ece_name("clean"), ece_name("corrupted")
        ('ECE', 'pooled ECE')
    """
    return "ECE" if part == "clean" else "pooled ECE"


def reliability_frame(runs: Sequence[Run], resampling: Resampling | None = None) -> Result:
    """Accuracy by confidence in 15 bins of equal width, on clean images and on corrupted ones.

    The corrupted cells (those of ImageNet-C's corruptions where there are any) are pooled, so each image comes several
    times. How alike its answers are is not known, and intervals allow for the worst, that they are all one answer: a
    bin's accuracy has Wilson's interval with Kish's effective number of images, (Σ m)² / Σ m², where m is how often an
    image is in the bin. The ECE of such a pool is called pooled ECE. Tables show another number, the mean of the cells'
    ECEs, which is never smaller.

    Args:
        runs: finished runs, at least one.
        resampling: of the intervals of ECE.

    Returns:
        A row for each run, part and bin: model, part ("clean" or "corrupted"), cells, images (distinct ones of the
        part), bin_low, bin_high, confidence (mean of the bin), accuracy, accuracy_low, accuracy_high (percent; NaN in
        an empty bin), n (predictions in the bin), and ece, ece_low, ece_high of the part, which are alike in its rows.
        The ends of ECE are lowered by its bias, as in `summary_frame`.
    """
    resampling = resampling or Resampling()
    frames = []
    captions: dict[str, list[str]] = {}
    shared = shared_cells(runs)
    for label, run in zip(run_labels(runs), runs, strict=True):
        records = records_of(run, shared)[["corruption", "image_id", "confidence", "rank"]]
        benchmark = records["corruption"].isin(benchmark_corruptions())
        clean = records["corruption"] == CLEAN[0]
        parts = {"clean": clean, "corrupted": benchmark if benchmark.any() else ~clean}
        for part, chosen in parts.items():
            if chosen.any():
                frame = _reliability(records[chosen], resampling)
                frame.insert(0, "model", label)
                frame.insert(1, "part", part)
                frames.append(frame)
        captions.setdefault(describe_data(run.config, int(run.config["n"])), []).append(label)
    joined = pd.concat(frames, ignore_index=True)
    caption = (
        f"{joined_captions(captions)}{shared_words(runs, shared)} {BINS} bins of equal width; bars: predictions in "
        "each, on a logarithmic scale. The pooled ECE puts all corrupted predictions into the same bins; the mean of "
        "the cells' ECEs, which tables show, is never smaller. "
        f"{resampling.confidence * 100:g} % intervals: Wilson with the effective number of images (accuracy); t, "
        "debiased by folded normals (ECE, pooled ECE)."
    )
    return Result(joined, caption, cautions(runs, resampling.confidence), header(runs, run_labels(runs)))


def _reliability(records: pd.DataFrame, resampling: Resampling) -> pd.DataFrame:
    """The bins of one part of a run's records."""
    image, image_ids = pd.factorize(records["image_id"])
    counts, correct, confidence, spread = _by_bin(records, image, len(image_ids))
    n, scale = counts.sum(axis=1), len(image_ids) / len(records)
    with np.errstate(invalid="ignore"):
        effective = n**2 / (counts**2).sum(axis=1)
        accuracy, mean = 100 * correct.sum(axis=1) / n, 100 * confidence.sum(axis=1) / n
    ends = [
        wilson_interval(value, max(1, round(number)), resampling.confidence) if number > 0 else (np.nan, np.nan)
        for value, number in zip(accuracy, effective, strict=True)
    ]
    gaps = confidence - correct
    # Each image has the same number of records, so the mean of the images' means is the mean.
    of_images = 100 * scale * (np.sign(gaps.sum(axis=1)) @ gaps)
    bounds = Bounds(np.full(1, -100.0), np.full(1, 100.0), np.ones(1, dtype=bool))
    low, high = bounded_interval(ImageMeans(of_images[:, None], bounds), resampling.confidence)
    error = of_images.mean()
    squares, expected = (scale**2 * (sums**2).mean(axis=1) for sums in (gaps, spread))
    most, least = bias_of_gaps(scale * gaps.mean(axis=1), squares, expected, len(image_ids))
    return pd.DataFrame(
        {
            "cells": len(records) // len(image_ids),
            "images": len(image_ids),
            "bin_low": 100 * np.arange(BINS) / BINS,
            "bin_high": 100 * np.arange(1, BINS + 1) / BINS,
            "confidence": mean,
            "accuracy": accuracy,
            "accuracy_low": [float(low_end) for low_end, _ in ends],
            "accuracy_high": [float(high_end) for _, high_end in ends],
            "n": n.astype(np.int64),
            "ece": error,
            "ece_low": max(low[0] - most, 0.0),
            "ece_high": max(high[0] - least, error),
        }
    )


def _by_bin(records: pd.DataFrame, image: NDArray[np.integer], images: int) -> list[NDArray[np.float64]]:
    """Sums by bin and image, each (bins, images): records, right answers, confidence, and its spread if calibrated.

    They are made of a part of the records after the other, since those of all cells together are many.
    """
    totals = [np.zeros(BINS * images) for _ in range(4)]
    for start in range(0, len(records), _AT_ONCE):
        part = records.iloc[start : start + _AT_ONCE]
        confidence = confidence_of(part).clip(0, 1)
        place = bins_of(confidence, BINS) * images + image[start : start + _AT_ONCE]
        sure = np.sqrt(confidence * (1 - confidence))
        for number, values in enumerate((None, part["rank"].to_numpy() < 1, confidence, sure)):
            totals[number] += np.bincount(place, values, minlength=BINS * images)
    return [total.reshape(BINS, images) for total in totals]

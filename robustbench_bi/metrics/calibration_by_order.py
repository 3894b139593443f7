"""Calibration errors with bins of equal numbers of images, and the Brier score."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from robustbench_bi.errors import DataError
from robustbench_bi.metrics.calibration import BINS, excess
from robustbench_bi.metrics.scored import Floats, Scored, confidence_of, order_by_confidence, right

PER_BIN = 100
"""Images a bin of the RMS calibration error."""


def _bins(records: pd.DataFrame, sizes: NDArray[np.int64]) -> NDArray[np.int64]:
    """The bin of each record (n,), by rising confidence; bins of these sizes."""
    bins = np.empty(len(records), dtype=np.int64)
    bins[order_by_confidence(records)[::-1]] = np.repeat(np.arange(len(sizes)), sizes)
    return bins


def _hundreds(n: int) -> NDArray[np.int64]:
    """Sizes of bins of 100, the last one with what is left."""
    number = max(1, n // PER_BIN)
    sizes = np.full(number, PER_BIN)
    sizes[-1] = n - PER_BIN * (number - 1)
    return sizes


def _even(n: int) -> NDArray[np.int64]:
    """Sizes of 15 bins that differ by one image at most; of as many bins as images where there are fewer."""
    number = min(BINS, n)
    return np.full(number, n // number) + (np.arange(number) < n % number)


def _gaps(records: pd.DataFrame) -> Floats:
    """Confidence minus correctness (n,)."""
    return confidence_of(records) - right(records)


def _of_bins(gap: Floats, bins: NDArray[np.int64]) -> tuple[Floats, Floats, Floats]:
    """Of each bin its share of the images, its mean gap, and the variance of that mean."""
    counts = np.bincount(bins)
    means = np.bincount(bins, gap) / counts
    spread = np.bincount(bins, (gap - means[bins]) ** 2) / np.maximum(counts - 1, 1)
    return counts / len(gap), means, spread / counts


@Scored
def rms_calibration_error(records: pd.DataFrame) -> Floats:
    """RMS calibration error in percent: √ Σ (n_b / N) (confidence_b − accuracy_b)².

    The bins hold 100 images each by rising confidence, the last one also the rest. Source: Hendrycks, Mazeika and
    Dietterich 2019, Deep Anomaly Detection with Outlier Exposure, and the papers on ImageNet-A and -R. Their published
    code leaves the last bin out of the sum; this does not.

    Args:
        records: of a cell, with `confidence` and `rank`; `image_id` decides between equal confidences.

    Example:
        >>> rms_calibration_error(pd.DataFrame({"confidence": [0.75, 0.75], "rank": [0, 1]}))
        25.0
    """
    gap, bins = _gaps(records), _bins(records, _hundreds(len(records)))
    share, means, _ = _of_bins(gap, bins)
    square = float((share * means**2).sum())
    if square == 0:
        return np.zeros(len(gap))
    scores: Floats = 100.0 * (
        np.sqrt(square) + (2 * means[bins] * gap - means[bins] ** 2 - square) / (2 * np.sqrt(square))
    )
    return scores


def rms_calibration_bias(records: pd.DataFrame) -> tuple[float, float]:
    """By how much the RMS calibration error overstates the true one: at most, as far as can be seen, and at least.

    The square of a bin's mean gap exceeds that of the true one by the variance of the mean, on average. What is left of
    the sum when these are taken away is the debiased estimate of Kumar et al. 2019; its root tells the least. The sum
    itself varies: less twice its standard error, if the true gaps are none, it tells the most.

    Returns:
        Percent; the higher first.
    """
    share, means, variance = _of_bins(_gaps(records), _bins(records, _hundreds(len(records))))
    square, noise = float((share * means**2).sum()), float((share * variance).sum())
    error = float(np.sqrt(2 * ((share * variance) ** 2).sum()))
    most, least = (np.sqrt(square) - np.sqrt(max(square - noise - more, 0.0)) for more in (2 * error, 0.0))
    return 100.0 * float(most), 100.0 * float(least)


@Scored
def adaptive_calibration_error(records: pd.DataFrame) -> Floats:
    """Calibration error in 15 bins of equally many images: Σ (n_b / N) |confidence_b − accuracy_b|, in percent.

    Source: Nguyen and O'Connor 2015, Posterior calibration; with the confidence of the predicted class, as ECE. (The
    "adaptive calibration error" of Nixon et al. 2019 takes every class's probability and is another number.)

    Args:
        records: as for `rms_calibration_error`.

    Example:
        >>> adaptive_calibration_error(pd.DataFrame({"confidence": [0.75, 0.5], "rank": [0, 1]}))
        37.5
    """
    gap, bins = _gaps(records), _bins(records, _even(len(records)))
    sign = np.sign(_of_bins(gap, bins)[1])
    scores: Floats = 100.0 * sign[bins] * gap
    return scores


def adaptive_calibration_bias(records: pd.DataFrame) -> tuple[float, float]:
    """By how much the adaptive calibration error overstates the true one, as `calibration_bias` says of the ECE.

    Returns:
        Percent; the higher first.
    """
    share, means, variance = _of_bins(_gaps(records), _bins(records, _even(len(records))))
    gap, error = share * np.abs(means), share * np.sqrt(variance)
    return 100.0 * excess(np.clip(gap - error, 0, None), error), 100.0 * excess(gap, error)


@Scored
def brier_score(records: pd.DataFrame) -> Floats:
    """Mean over images of Σ over classes of (probability − 1 for the label, 0 for the others)², from 0 to 2.

    Source: Brier 1950, in its first form, with the sum over all classes. Where several labels count for an image, they
    are one class of the sum. Records keep it of each image as `brier`; those from before they did cannot give it.

    Args:
        records: of a cell, with `brier`.

    Raises:
        DataError: they do not hold it.

    Example:
        >>> brier_score(pd.DataFrame({"brier": [0.0, 0.5]}))
        0.25
    """
    if "brier" not in records:
        raise DataError("these records hold no Brier scores; evaluate again, into another folder, to get them")
    return records["brier"].to_numpy(dtype=np.float64)

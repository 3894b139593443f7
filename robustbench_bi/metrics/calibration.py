"""Calibration from records: expected calibration error and negative log-likelihood, each over a whole cell."""

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from robustbench_bi.errors import InputError
from robustbench_bi.metrics.distributions import normal_above
from robustbench_bi.metrics.scored import confidence_of

BINS = 15


def calibration_scores(records: pd.DataFrame, bins: int = BINS) -> NDArray[np.float64]:
    """Per-image shares of the expected calibration error.

    ECE is the sum over bins of |Σ (confidence − correct)| / n. With the sign of each bin's gap held fixed it is a mean
    over images of ±(confidence − correct), and that is what is returned: its spread is ECE's to first order
    (linearised). It does not know of ECE's upward bias in small samples; `calibration_bias` does.

    Args:
        records: the records of one cell, all of them: `confidence` in 0 to 1 and `rank`.
        bins: bins of equal width, (0, 1/bins], …, (1 − 1/bins, 1].

    Returns:
        Scores (n,) in percent; their mean is the ECE.

    Raises:
        InputError: there are no records, or `bins` is below 1.
        DataError: a confidence is outside 0 to 1 or not a number.

    Example:
        >>> frame = pd.DataFrame({"confidence": [0.9, 0.9, 0.6], "rank": [0, 1, 0]})
        >>> calibration_scores(frame).round(1).tolist()
        [-10.0, 90.0, 40.0]
    """
    if bins < 1:
        raise InputError(f"bins must be at least 1, got {bins}")
    if not len(records):
        raise InputError("a calibration error needs at least one record, got none")
    confidence = confidence_of(records)
    gap = confidence - (records["rank"].to_numpy() < 1)
    bin_of_image = bins_of(confidence, bins)
    sign = np.sign(np.bincount(bin_of_image, weights=gap, minlength=bins))
    scores: NDArray[np.float64] = 100.0 * sign[bin_of_image] * gap
    return scores


def calibrated_level(records: pd.DataFrame, bins: int = BINS) -> float:
    """The expected calibration error that a perfectly calibrated network with these confidences would show on average.

    ECE is biased upwards: with 500 images it is some 4 % where the truth is 0. A bin's gap is then a sum of independent
    terms of variance c (1 − c), and the mean of its absolute value sqrt(2 / π) standard deviations.

    Args:
        records: see `calibration_scores`.
        bins: number of bins.

    Returns:
        Percent.

    Example:
        >>> round(calibrated_level(pd.DataFrame({"confidence": [0.5] * 100, "rank": [0, 1] * 50})), 1)
        4.0
    """
    confidence = records["confidence"].to_numpy(dtype=np.float64).clip(0, 1)
    variance = np.bincount(bins_of(confidence, bins), weights=confidence * (1 - confidence), minlength=bins)
    return float(100.0 * np.sqrt(2 / np.pi * variance).sum() / len(confidence))


def calibration_bias(records: pd.DataFrame, bins: int = BINS) -> tuple[float, float]:
    """By how much the expected calibration error overstates the true one: at most, as far as can be seen, and at least.

    A bin's gap g is a mean over images, nearly normal with a standard error s. The mean of its absolute value is that
    of the folded normal distribution, s √(2/π) exp(−g²/2s²) + |g| (1 − 2 Φ(−|g|/s)), which is more than |g|: most where
    the true gap is 0. Kumar et al. 2019 (Verified Uncertainty Calibration) subtract the excess at the observed gaps.
    These are themselves too large, so that is the least. At gaps smaller by s, and no smaller than 0, it is the most.
    `docs/statistics.md` has the coverage of both and of other ways.

    Args:
        records: see `calibration_scores`; with `image_id`, an image may have several, and counts once.
        bins: number of bins.

    Returns:
        Percent; the higher first.

    Example:
        >>> high, low = calibration_bias(pd.DataFrame({"confidence": [0.5] * 100, "rank": [0, 1] * 50}))
        >>> round(high, 1), round(low, 1)
        (4.0, 4.0)
    """
    confidence = records["confidence"].to_numpy(dtype=np.float64).clip(0, 1)
    image = pd.factorize(records["image_id"])[0] if "image_id" in records else np.arange(len(records))
    n, place = int(image.max()) + 1, bins_of(confidence, bins)
    # Each image counts as one record.
    scale = n / len(records)

    def of_bins(values: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Mean over images of an image's sum in each bin, and that of the sum's square."""
        if n == len(records):
            sums, squares = np.bincount(place, values, minlength=bins), np.bincount(place, values**2, minlength=bins)
        else:
            of_images = np.bincount(place * n + image, values, minlength=bins * n).reshape(bins, n)
            sums, squares = of_images.sum(axis=1), (of_images**2).sum(axis=1)
        return sums * scale / n, squares * scale**2 / n

    means, squares = of_bins(confidence - (records["rank"].to_numpy() < 1))
    _, expected = of_bins(np.sqrt(confidence * (1 - confidence)))
    return bias_of_gaps(means, squares, expected, n)


def bias_of_gaps(
    means: NDArray[np.float64], squares: NDArray[np.float64], expected: NDArray[np.float64], n: int
) -> tuple[float, float]:
    """`calibration_bias` from what it needs of each bin.

    Args:
        means: over images, of an image's gap in the bin (bins,).
        squares: of its square.
        expected: of the square that a calibrated network with these confidences would show.
        n: images.
    """
    gap = np.abs(means)
    # Where no image errs the observed spread is none; then that of a calibrated network, whose answers are all alike.
    error = np.sqrt(np.maximum(squares - means**2, expected) / n)
    smaller = np.clip(gap - error, 0, None)
    return 100.0 * excess(smaller, error), 100.0 * excess(gap, error)


def excess(gap: NDArray[np.float64], error: NDArray[np.float64]) -> float:
    """How much the absolute values of normal variables exceed those of their means, in all."""
    ratio = np.divide(gap, error, out=np.full_like(gap, np.inf), where=error > 0)
    return float((error * np.sqrt(2 / np.pi) * np.exp(-(ratio**2) / 2) - 2 * gap * normal_above(ratio)).sum())


def bins_of(confidence: NDArray[np.float64], bins: int) -> NDArray[np.int64]:
    """The bin of equal width that each confidence is in, from 0."""
    return np.clip(np.ceil(confidence * bins).astype(np.int64) - 1, 0, bins - 1)


def expected_calibration_error(records: pd.DataFrame, bins: int = BINS) -> float:
    """Expected calibration error in percent, binned over the whole cell and never per batch.

    Source: Guo et al. 2017, On Calibration of Modern Neural Networks, eq. 3, with 15 bins of equal width.

    Args:
        records: see `calibration_scores`.
        bins: number of bins.

    Example:
        >>> expected_calibration_error(pd.DataFrame({"confidence": [0.75, 0.75], "rank": [0, 1]}))
        25.0
    """
    return float(calibration_scores(records, bins).mean())


def loss_scores(records: pd.DataFrame) -> NDArray[np.float64]:
    """The cross-entropy of each image in nats (n,)."""
    if not len(records):
        raise InputError("a likelihood needs at least one record, got none")
    return records["loss"].to_numpy(dtype=np.float64)


def negative_log_likelihood(records: pd.DataFrame) -> float:
    """Mean cross-entropy of the label in nats.

    Example:
        >>> negative_log_likelihood(pd.DataFrame({"loss": [0.5, 1.5]}))
        1.0
    """
    return float(loss_scores(records).mean())

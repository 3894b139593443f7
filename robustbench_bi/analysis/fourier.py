"""Summaries of errors when one frequency is added to the images, with intervals: of each frequency, and over bands."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from robustbench_bi.analysis.result import Result
from robustbench_bi.metrics.bounded import bounded_interval
from robustbench_bi.metrics.intervals import wilson_interval
from robustbench_bi.metrics.statistics import Bounds, ImageMeans

OCTAVES = (1 / 16, 1 / 8, 1 / 4, 1 / 2)
"""Upper edges of bands, in cycles per pixel; what lies above the last is found along the diagonals only."""

RINGS = tuple((number + 0.5) / 32 for number in range(23))
"""Upper edges of narrow bands, 1/32 of a cycle per pixel wide, whose middles are multiples of that."""


@dataclass(frozen=True, eq=False)
class FourierErrors:
    """Which images each model gets wrong when one frequency is added to them.

    Attributes:
        frame: one row a model and frequency, low ones first and before them the clean images, with norm 0: model, side,
            vertical, horizontal (cycles per image), norm, n, and wrong, bytes: a bit for each image in the order of the
            data, the highest bit first, as `numpy.packbits` has it.
        data: what the images are, the end of a sentence.
    """

    frame: pd.DataFrame
    data: str = "the data."


def error_frame(errors: FourierErrors, confidence: float = 0.95) -> Result:
    """Error rates of each frequency, with Wilson's intervals.

    Args:
        errors: from `fourier_errors`.
        confidence: of the intervals.

    Returns:
        One row a model and frequency, the clean images (norm 0) first: model, side, vertical, horizontal (cycles an
        image), frequency (cycles per pixel, along its direction), norm, n, errors (images), error (percent), error_low,
        error_high. Each row stands for its mirror image (-vertical, -horizontal) too.

    Example:
        >>> errors = FourierErrors(pd.DataFrame({"model": ["a"], "side": 32, "vertical": 3, "horizontal": 4,
        ...     "norm": 4.0, "n": 8, "wrong": [bytes([0b11000000])]}))
        >>> error_frame(errors).frame[["frequency", "errors", "error"]].values.tolist()
        [[0.15625, 2.0, 25.0]]
    """
    frame = errors.frame.drop(columns="wrong")
    frame.insert(4, "frequency", np.hypot(frame["vertical"], frame["horizontal"]) / frame["side"])
    frame["errors"] = [int(_bits(*row).sum()) for row in zip(errors.frame["wrong"], frame["n"], strict=True)]
    frame["error"] = 100 * frame["errors"] / frame["n"]
    frame["error_low"], frame["error_high"] = wilson_interval(frame["error"].to_numpy(), frame["n"].iloc[0], confidence)
    return Result(frame, _describe(errors))


def band_frame(errors: FourierErrors, edges: Sequence[float] = OCTAVES, confidence: float = 0.95) -> Result:
    """Mean error rates over bands of frequencies, with intervals.

    Every frequency of the map weighs the same within its band. Intervals are those of means over cells, see
    `bounded_interval`: t over images with a worst and a best image added, and Wilson's of a single frequency.

    Args:
        errors: from `fourier_errors`.
        edges: upper edges of the bands, in cycles per pixel, rising; a last band takes what is above them.
        confidence: of the intervals.

    Returns:
        One row a model and band that holds a frequency, the clean images first: model, band ("clean", or its edges),
        frequency (mean over the band, cycles per pixel; NaN for clean), frequencies (how many), n, error (percent),
        error_low, error_high.

    Example:
        >>> frame = pd.DataFrame({"model": "a", "side": 32, "vertical": [0, 0, 1, 9], "horizontal": [0, 1, 0, 0],
        ...     "norm": [0.0, 4.0, 4.0, 4.0], "n": 2, "wrong": [bytes([bits << 6]) for bits in (0, 1, 0, 3)]})
        >>> band_frame(FourierErrors(frame), [0.25]).frame[["band", "frequencies", "error"]].values.tolist()
        [['clean', 1, 0.0], ['0 to 0.25', 2, 25.0], ['0.25 and more', 1, 100.0]]
    """
    frame = pd.concat(
        [_bands_of(own, edges, confidence) for _, own in errors.frame.groupby("model", sort=False)], ignore_index=True
    )
    caption = (
        f"{_describe(errors)} {confidence * 100:g} % intervals over images: t with a worst and a best image added; "
        "Wilson (clean images, single frequencies)."
    )
    return Result(frame, caption)


def band_names(edges: Sequence[float] = OCTAVES) -> list[str]:
    """What bands of frequencies are called.

    Example:
        >>> band_names([0.25])
        ['0 to 0.25', '0.25 and more']
    """
    return [*(f"{low:g} to {high:g}" for low, high in pairwise([0.0, *edges])), f"{edges[-1]:g} and more"]


def _bands_of(own: pd.DataFrame, edges: Sequence[float], confidence: float) -> pd.DataFrame:
    """The rows of one model."""
    n = int(own["n"].iloc[0])
    frequency = np.hypot(own["vertical"].to_numpy(), own["horizontal"].to_numpy()) / own["side"].to_numpy()
    # A frequency that stands on an edge belongs to the band below it; the clean images are a band of their own.
    band = np.where(own["norm"] == 0, -1, np.searchsorted(edges, frequency, side="left"))
    names = band_names(edges)
    numbers = np.unique(band)
    scores = np.stack(
        [np.mean([_bits(bits, n) for bits in own["wrong"][band == number]], axis=0) * 100.0 for number in numbers],
        axis=1,
    )
    error = scores.mean(axis=0)
    counts = np.array([(band == number).sum() for number in numbers])
    bounds = Bounds(np.zeros(len(numbers)), np.full(len(numbers), 100.0), counts == 1)
    low, high = bounded_interval(ImageMeans(scores, bounds), confidence)
    return pd.DataFrame(
        {
            "model": own["model"].iloc[0],
            "band": ["clean" if number < 0 else names[number] for number in numbers],
            "frequency": [np.nan if number < 0 else frequency[band == number].mean() for number in numbers],
            "frequencies": counts,
            "n": n,
            "error": error,
            "error_low": low,
            "error_high": high,
        }
    )


def _bits(packed: bytes, n: int) -> NDArray[np.uint8]:
    return np.unpackbits(np.frombuffer(packed, dtype=np.uint8), count=n)


def _describe(errors: FourierErrors) -> str:
    """A sentence on the images and on what was added to them."""
    frame = errors.frame
    added = frame[frame["norm"] > 0].drop_duplicates(["side", "norm"])
    norms = [f"{norm:.3g} at {side} px" for norm, side in zip(added["norm"], added["side"], strict=True)]
    return (
        f"n = {frame['n'].iloc[0]:,} images of {errors.data} Each channel gets a Fourier basis vector with a "
        f"random sign, of norm {' and '.join(norms)} for pixels in [0, 1], then is clipped."
    )

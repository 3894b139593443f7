"""Power spectra of clean and corrupted pictures: which band of frequencies a corruption touches.

This is the right half of Fig. 4 of the Bi-volution paper, with a scale, intervals and the ratio to clean.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.fft import dctn
from scipy.stats import t as student

from robustbench_bi.errors import InputError
from robustbench_bi.metrics.intervals import Floats
from robustbench_bi.records import CLEAN, Cell

# Of red, green and blue: the luma of ITU-R BT.601, which JPEG and Pillow's grey have too.
LUMINANCE = (0.299, 0.587, 0.114)
# Cycles per pixel: periods of more than 16 pixels, of 16 to more than 4, and of 4 or fewer.
BANDS = {"low": (0.0, 1 / 16), "middle": (1 / 16, 1 / 4), "high": (1 / 4, 1.0)}
CONFIDENCE = 0.95
# What rounding three channels to 8 bits adds to the luminance; power below it is no property of a picture.
ROUNDING = sum(weight**2 for weight in LUMINANCE) / 12 / 255**2


@dataclass(frozen=True, eq=False)
class Rings:
    """Rings of equal radial frequency in the plane of DCT coefficients.

    Attributes:
        frequency: (R,), of the middle of each ring, cycles per pixel; the first is 0, the mean brightness alone.
        counts: (R,), coefficients in each ring.
        ring: (H, W), the ring that each coefficient belongs to.
    """

    frequency: Floats
    counts: NDArray[np.int64]
    ring: NDArray[np.int64]


def rings_of(height: int, width: int) -> Rings:
    """Divide the coefficients of an image into rings, each coefficient into one.

    Coefficient (u, v) has u / 2H cycles per pixel down and v / 2W across, so its radial frequency is
    f = √((u / 2H)² + (v / 2W)²), at most 0.71. Ring k holds what is nearest to f = k / 2L, where L is the shorter side,
    that is half a cycle over it; only the mean brightness, u = v = 0, is in ring 0. Above f = 0.5 a ring is but the
    part that lies in the corner, of diagonal patterns.

    Args:
        height: H, in pixels.
        width: W, in pixels.

    Example:
        >>> rings = rings_of(2, 3)
        >>> rings.ring.tolist()
        [[0, 1, 1], [1, 1, 2]]
        >>> rings.frequency.tolist(), rings.counts.tolist()
        ([0.0, 0.25, 0.5], [1, 4, 1])
    """
    shorter = min(height, width)
    radius = 2 * shorter * np.hypot(np.arange(height)[:, None] / (2 * height), np.arange(width) / (2 * width))
    nearest = np.maximum(np.rint(radius), 1).astype(np.int64)
    nearest[0, 0] = 0
    numbers, ring, counts = np.unique(nearest, return_inverse=True, return_counts=True)
    return Rings(numbers / (2 * shorter), counts, ring.reshape(height, width))


def ring_power(images: NDArray[np.uint8], rings: Rings) -> Floats:
    """Mean power of the luminance in each ring.

    With the luminance Y(i, j) = 0.299 R + 0.587 G + 0.114 B of pixels scaled to [0, 1], its orthonormal DCT-II

        X(u, v) = c(u) c(v) Σᵢ Σⱼ Y(i, j) cos(π u (2i + 1) / 2H) cos(π v (2j + 1) / 2W),

    c(u) = √(1/H) for u = 0 and √(2/H) else, likewise c(v), and a ring's power P is the mean of X² over its
    coefficients. So the sum of all X² is the sum of all Y², white noise of variance s² has P = s² in every ring, and
    such noise in each channel by itself has P = 0.447 s². The borders of a picture add no power of their own, as they
    would to a Fourier transform, because a cosine transform continues it by its mirror image. The luminance is of the
    pixel values as they are stored, not of light.

    Args:
        images: uint8 (n, H, W, 3), RGB.
        rings: `rings_of(H, W)`.

    Returns:
        (n, R), squared units of a pixel scale from 0 to 1.

    Raises:
        InputError: the images are not of that kind or size.

    Example:
        >>> grey = np.full((1, 4, 4, 3), 51, dtype=np.uint8)
        >>> ring_power(grey, rings_of(4, 4)).round(9)[0].tolist()
        [0.64, 0.0, 0.0, 0.0, 0.0]
    """
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[1:] != (*rings.ring.shape, 3):
        height, width = rings.ring.shape
        raise InputError(f"images must be uint8 (n, {height}, {width}, 3), got {images.dtype} {images.shape}")
    # Channel by channel: a matrix product with bytes takes six times as long.
    luminance = sum(images[..., channel] * (weight / 255) for channel, weight in enumerate(LUMINANCE))
    coefficients = dctn(luminance, type=2, norm="ortho", axes=(1, 2))
    power = np.empty((len(images), len(rings.counts)))
    for own, squared in zip(power, coefficients**2, strict=True):
        own[:] = np.bincount(rings.ring.ravel(), squared.ravel()) / rings.counts
    return power


@dataclass(frozen=True, eq=False)
class Spectra:
    """The spectrum of every picture in every cell.

    Attributes:
        rings: those of the pictures' size.
        power: for each cell, clean among them, (n, R) in the same order of pictures.
    """

    rings: Rings
    power: Mapping[Cell, Floats]


def measure_spectra(pictures: Iterable[tuple[Cell, NDArray[np.uint8]]]) -> Spectra:
    """Measure pictures as they come.

    Args:
        pictures: cells, each with uint8 (B, H, W, 3); the cells of one batch of pictures, then those of the next, so
            that a large set is never in memory. The clean cell must be among them.

    Raises:
        InputError: there is no clean cell, or the pictures differ in size or in number between cells.

    Example:
        >>> noise = np.random.default_rng(0).integers(0, 256, (2, 8, 8, 3), dtype=np.uint8)
        >>> measured = measure_spectra([(("none", 0), noise), (("contrast", 1), noise // 2)])
        >>> measured.power["contrast", 1].shape
        (2, 11)
    """
    rings: Rings | None = None
    parts: dict[Cell, list[Floats]] = {}
    for cell, images in pictures:
        rings = rings or rings_of(*images.shape[1:3])
        parts.setdefault(cell, []).append(ring_power(images, rings))
    if rings is None or CLEAN not in parts:
        raise InputError("spectra need the clean pictures beside the corrupted ones, got none")
    power = {cell: np.concatenate(own) for cell, own in parts.items()}
    for cell, own in power.items():
        if len(own) != len(power[CLEAN]):
            raise InputError(
                f"every cell must hold the same pictures, got {len(power[CLEAN])} of none severity 0 and {len(own)} of "
                f"{cell[0]} severity {cell[1]}"
            )
    return Spectra(rings, power)


def spectra_frame(spectra: Spectra, pictures: str = "") -> pd.DataFrame:
    """Power against frequency, and its ratio to clean, as means over pictures with intervals.

    The mean over pictures is geometric, because their power differs by orders of magnitude: it is the spectrum of a
    typical picture and not that of the roughest one, and the ratio of two such means is the mean of the pictures' own
    ratios. Intervals are Student's of the mean logarithm, with the picture as the unit, and that of a ratio is paired
    by picture. Power below that of rounding to 8 bits (5.7e-7) counts as that, so a blank picture does no harm.

    Args:
        spectra: from `measure_spectra`.
        pictures: a sentence on what they are, which begins the caption.

    Returns:
        A row for each cell and ring but the mean brightness, clean first: corruption, severity, frequency (cycles per
        pixel), power, low, high (the interval of the power), ratio, ratio_low, ratio_high, n. With one picture the ends
        of intervals are NaN; the ratio of clean is 1. Its `attrs` hold "caption", what the numbers are.

    Example:
        >>> noise = np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3), dtype=np.uint8)
        >>> frame = spectra_frame(measure_spectra([(("none", 0), noise), (("contrast", 1), noise // 2)]))
        >>> print(frame[["frequency", "ratio", "n"]].tail(1).round(2).to_string(index=False, header=False))
        0.69 0.25 4
    """
    seen = spectra.rings.frequency > 0
    logarithms = {cell: _logarithm(power[:, seen]) for cell, power in spectra.power.items()}
    frames = []
    for (corruption, severity), own in logarithms.items():
        power, low, high = _geometric_mean(own)
        ratio, ratio_low, ratio_high = _geometric_mean(own - logarithms[CLEAN])
        columns = {"corruption": corruption, "severity": severity, "frequency": spectra.rings.frequency[seen]}
        columns |= {"power": power, "low": low, "high": high}
        columns |= {"ratio": ratio, "ratio_low": ratio_low, "ratio_high": ratio_high, "n": len(own)}
        frames.append(pd.DataFrame(columns))
    frame = pd.concat(frames, ignore_index=True)
    frame.attrs["caption"] = f"{pictures} {describe_spectra(len(spectra.power[CLEAN]))}".strip()
    return frame


def describe_spectra(n: int) -> str:
    """A sentence on what is measured, over n pictures.

    Example:
        >>> describe_spectra(1)
        'Luminance of pixels from 0 to 1, orthonormal DCT-II, mean power over rings of equal frequency.'
    """
    measured = "Luminance of pixels from 0 to 1, orthonormal DCT-II, mean power over rings of equal frequency"
    if n == 1:
        return f"{measured}."
    return (
        f"{measured}; geometric mean over pictures with {100 * CONFIDENCE:.0f} % interval (Student's t of the "
        "logarithms; ratios are paired by picture)."
    )


def bands_frame(spectra: Spectra) -> pd.DataFrame:
    """The ratio of the power to clean in three bands, as means over pictures with intervals.

    A picture's power in a band is the mean over all its coefficients there, without the mean brightness, so it is
    mostly that of the band's lower end. Means and intervals over pictures are those of `spectra_frame`.

    Args:
        spectra: from `measure_spectra`.

    Returns:
        A row for each corrupted cell and band of `BANDS`: corruption, severity, band, from, to (cycles per pixel),
        ratio, low, high, n.
    """
    frequency, counts = spectra.rings.frequency, spectra.rings.counts
    rows = []
    for cell, power in spectra.power.items():
        for band, (start, end) in BANDS.items():
            weights = np.where((frequency > 0) & (frequency >= start) & (frequency < end), counts, 0)
            if cell == CLEAN or not weights.any():
                continue
            own, clean = (_logarithm(values @ weights / weights.sum()) for values in (power, spectra.power[CLEAN]))
            ratio, low, high = _geometric_mean(own - clean)
            rows.append((*cell, band, start, end, float(ratio), float(low), float(high), len(power)))
    return pd.DataFrame(rows, columns=["corruption", "severity", "band", "from", "to", "ratio", "low", "high", "n"])


def _logarithm(power: Floats) -> Floats:
    logarithm: Floats = np.log(np.maximum(power, ROUNDING))
    return logarithm


def _geometric_mean(logarithms: Floats) -> tuple[Floats, Floats, Floats]:
    """Over the first axis, with the ends of its interval."""
    n = len(logarithms)
    mean = logarithms.mean(axis=0)
    half = np.full_like(mean, np.nan)
    if n > 1:
        half = student.ppf(0.5 + CONFIDENCE / 2, n - 1) * logarithms.std(axis=0, ddof=1) / np.sqrt(n)
    return np.exp(mean), np.exp(mean - half), np.exp(mean + half)


def display_bands(frame: pd.DataFrame) -> pd.DataFrame:
    """`bands_frame` as text: a row a cell, a column a band.

    Example:
        >>> frame = pd.DataFrame({"corruption": "fog", "severity": 1, "band": ["low", "high"], "ratio": [1234.5, 0.25],
        ...     "low": [900.0, 0.2], "high": [1500.0, 0.3], "n": 8})
        >>> display_bands(frame).to_dict("records")
        [{'corruption': 'fog', 'severity': 1, 'n': '8', 'low': '1,234 [900, 1,500]', 'high': '0.250 [0.200, 0.300]'}]
    """
    rows = []
    for (corruption, severity), own in frame.groupby(["corruption", "severity"], sort=False):
        row = {"corruption": corruption, "severity": severity, "n": f"{own['n'].iloc[0]:,}"}
        ends = zip(own["band"], own["ratio"], own["low"], own["high"], strict=True)
        rows.append(row | {band: _factor(ratio, low, high) for band, ratio, low, high in ends})
    return pd.DataFrame(rows)


def _factor(value: float, low: float, high: float) -> str:
    """A ratio to three significant digits, with its interval where it has one."""
    shown, *ends = (f"{number:,.0f}" if number >= 99.95 else f"{number:#.3g}" for number in (value, low, high))
    return shown if np.isnan(low) else f"{shown} [{', '.join(ends)}]"

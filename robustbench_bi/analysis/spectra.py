"""Power spectra of clean and corrupted pictures: which band of frequencies a corruption touches.

This is the right half of Fig. 4 of the Bi-volution paper, with a scale, intervals and the ratio to clean.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import t as student

from robustbench_bi.errors import InputError
from robustbench_bi.ground.cells import CLEAN, Cell
from robustbench_bi.metrics.intervals import Floats
from robustbench_bi.metrics.spectra import LUMINANCE, Rings, ring_power, rings_of

# Cycles per pixel: periods of more than 16 pixels, of 16 to more than 4, and of 4 or fewer.
BANDS = {"low": (0.0, 1 / 16), "middle": (1 / 16, 1 / 4), "high": (1 / 4, 1.0)}
CONFIDENCE = 0.95
# What rounding three channels to 8 bits adds to the luminance; power below it is no property of a picture.
ROUNDING = sum(weight**2 for weight in LUMINANCE) / 12 / 255**2


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

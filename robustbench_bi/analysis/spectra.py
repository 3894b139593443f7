"""Summaries of power spectra, with intervals: which band of frequencies a corruption touches.

This is the right half of Fig. 4 of the Bi-volution paper, with a scale, intervals and the ratio to clean.
`robustbench_bi.metrics.spectra` measures what is summarised here.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from robustbench_bi.analysis.result import Result
from robustbench_bi.ground.cells import CLEAN
from robustbench_bi.metrics.distributions import student_quantile
from robustbench_bi.metrics.intervals import Floats
from robustbench_bi.metrics.spectra import LUMINANCE, Spectra

# Cycles per pixel: periods of more than 16 pixels, of 16 to more than 4, and of 4 or fewer.
BANDS = {"low": (0.0, 1 / 16), "middle": (1 / 16, 1 / 4), "high": (1 / 4, 1.0)}
CONFIDENCE = 0.95
# What rounding three channels to 8 bits adds to the luminance; power below it is no property of a picture.
ROUNDING = sum(weight**2 for weight in LUMINANCE) / 12 / 255**2


def spectra_frame(spectra: Spectra) -> Result:
    """Power against frequency, and its ratio to clean, as means over pictures with intervals.

    The mean over pictures is geometric, because their power differs by orders of magnitude: it is the spectrum of a
    typical picture and not that of the roughest one, and the ratio of two such means is the mean of the pictures' own
    ratios. Intervals are Student's of the mean logarithm, with the picture as the unit, and that of a ratio is paired
    by picture. Power below that of rounding to 8 bits (5.7e-7) counts as that, so a blank picture does no harm.

    Args:
        spectra: from `measure_spectra`.

    Returns:
        A row for each cell and ring but the mean brightness, clean first: corruption, severity, frequency (cycles per
        pixel), power, low, high (the interval of the power), ratio, ratio_low, ratio_high, n. With one picture the ends
        of intervals are NaN; the ratio of clean is 1.

    Example:
        >>> noise = np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3), dtype=np.uint8)
        >>> from robustbench_bi.metrics.spectra import measure_spectra
        >>> summary = spectra_frame(measure_spectra([(("none", 0), noise), (("contrast", 1), noise // 2)]))
        >>> print(summary.frame[["frequency", "ratio", "n"]].tail(1).round(2).to_string(index=False, header=False))
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
    return Result(pd.concat(frames, ignore_index=True), _caption(spectra))


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
        f"{measured}; geometric mean over images with {100 * CONFIDENCE:.0f} % interval (Student's t of the "
        "logarithms; ratios are paired by image)."
    )


def bands_frame(spectra: Spectra) -> Result:
    """The ratio of the power to clean in three bands, as means over pictures with intervals.

    A picture's power in a band is the mean over all its coefficients there, without the mean brightness, so it is
    mostly that of the band's lower end. Means, intervals over pictures and caption are those of `spectra_frame`.

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
    columns = ["corruption", "severity", "band", "from", "to", "ratio", "low", "high", "n"]
    return Result(pd.DataFrame(rows, columns=columns), _caption(spectra))


def _caption(spectra: Spectra) -> str:
    return f"{spectra.pictures} {describe_spectra(len(spectra.power[CLEAN]))}".strip()


def _logarithm(power: Floats) -> Floats:
    logarithm: Floats = np.log(np.maximum(power, ROUNDING))
    return logarithm


def _geometric_mean(logarithms: Floats) -> tuple[Floats, Floats, Floats]:
    """Over the first axis, with the ends of its interval."""
    n = len(logarithms)
    mean = logarithms.mean(axis=0)
    half = np.full_like(mean, np.nan)
    if n > 1:
        half = student_quantile((1 - CONFIDENCE) / 2, n - 1) * logarithms.std(axis=0, ddof=1) / np.sqrt(n)
    return np.exp(mean), np.exp(mean - half), np.exp(mean + half)

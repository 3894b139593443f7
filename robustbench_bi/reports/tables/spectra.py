"""Show bands of power spectra as text."""

from __future__ import annotations

import numpy as np
import pandas as pd


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

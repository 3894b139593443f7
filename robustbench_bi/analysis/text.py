"""Numbers as text."""

import math
from typing import Any

NO_VALUE = "–"

_NOISE = 9  # decimals


def rounded(value: Any, decimals: int) -> float:
    """A number as it is shown: the same for the same number, whichever sums gave it.

    1,587 right of 2,000 are 79.35 % or, by a sum in another order, 79.35000000000001 %. Such a tie would be rounded
    down in one table and up in another, so what lies beyond nine decimals is dropped first.

    Args:
        value: any real number, also one of NumPy or pandas; NaN too.
        decimals: digits after the point.

    Returns:
        The rounded number; never -0.0.

    Example:
        >>> rounded(79.35, 1), rounded(79.35000000000001, 1), rounded(-0.01, 1)
        (79.3, 79.3, 0.0)
    """
    # As a float, since NumPy's round scales first and breaks ties in another way.
    return round(round(float(value), _NOISE), decimals) + 0.0


def format_interval(
    value: float, low: float = math.nan, high: float = math.nan, *, signed: bool = False, decimals: int = 1
) -> str:
    """A number with its interval.

    Args:
        value: the number; NaN gives a dash.
        low: lower end; without it (NaN) the number stands alone.
        high: upper end.
        signed: whether to write the plus sign too.
        decimals: digits after the point.

    Example:
        >>> format_interval(76.13, 75.76, 76.5), format_interval(1.24, -0.3, 2.8, signed=True)
        ('76.1 [75.8, 76.5]', '+1.2 [-0.3, +2.8]')
    """
    if math.isnan(value):
        return NO_VALUE
    form = f"{'+' if signed else ''}.{decimals}f"
    shown, *ends = (format(rounded(number, decimals), form) for number in (value, low, high))
    return shown if math.isnan(low) or math.isnan(high) else f"{shown} [{', '.join(ends)}]"


def format_p_value(p_value: float) -> str:
    """A p-value to three digits.

    Example:
        >>> format_p_value(0.0412), format_p_value(1e-9)
        ('0.041', '<0.001')
    """
    if math.isnan(p_value):
        return NO_VALUE
    return "<0.001" if p_value < 0.001 else f"{rounded(p_value, 3):.3f}"

"""Numbers as text."""

import math

NO_VALUE = "–"


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
    # As floats, since NumPy's round scales first and breaks ties in another way; + 0.0 makes a rounded -0.0 plain 0.0.
    shown, *ends = (format(round(float(number), decimals) + 0.0, form) for number in (value, low, high))
    return shown if math.isnan(low) or math.isnan(high) else f"{shown} [{', '.join(ends)}]"


def format_p_value(p_value: float) -> str:
    """A p-value to three digits.

    Example:
        >>> format_p_value(0.0412), format_p_value(1e-9)
        ('0.041', '<0.001')
    """
    if math.isnan(p_value):
        return NO_VALUE
    return "<0.001" if p_value < 0.001 else f"{p_value:.3f}"

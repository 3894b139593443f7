"""Tails and quantiles of the normal, Student's and the binomial distribution.

They are those of scipy.stats, taken from scipy.special: that imports in a tenth of the time, which every command that
prints an interval would wait.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import betainc, ndtr, ndtri, stdtr, stdtrit

Floats = NDArray[np.float64]


def normal_above(x: ArrayLike) -> Any:
    """The chance that a standard normal variable lies above x.

    Example:
        >>> round(float(normal_above(1.96)), 4)
        0.025
    """
    return ndtr(-np.asarray(x))


def normal_quantile(tail: ArrayLike) -> Any:
    """What a standard normal variable lies above with a chance of `tail`.

    Example:
        >>> round(float(normal_quantile(0.025)), 3)
        1.96
    """
    return -ndtri(tail)


def student_above(x: ArrayLike, degrees: int) -> Any:
    """The chance that a variable of Student's distribution lies above x."""
    return stdtr(degrees, -np.asarray(x))


def student_quantile(tail: float, degrees: int) -> float:
    """What a variable of Student's distribution lies above with a chance of `tail`.

    Example:
        >>> round(student_quantile(0.025, 9), 3)
        2.262
    """
    return -float(stdtrit(degrees, tail))


def at_most(heads: ArrayLike, tosses: ArrayLike) -> Floats:
    """The chance of at most so many heads in tosses of a fair coin; none of fewer than none.

    Example:
        >>> at_most([0, 1, -1, 2], 2).tolist()
        [0.25, 0.75, 0.0, 1.0]
    """
    heads, tosses = np.broadcast_arrays(np.asarray(heads, dtype=np.float64), np.asarray(tosses, dtype=np.float64))
    within = (heads >= 0) & (heads < tosses)
    chance: Floats = betainc(np.where(within, tosses - heads, 1), np.where(within, heads + 1, 1), 0.5)
    return np.where(heads < 0, 0.0, np.where(heads >= tosses, 1.0, chance))

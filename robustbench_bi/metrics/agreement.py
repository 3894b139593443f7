"""How alike two networks err."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from robustbench_bi.metrics.scored import Floats, Scored, right


@Scored
def error_consistency(records: pd.DataFrame, others: pd.DataFrame) -> Floats:
    """Error consistency κ of two networks in a cell: how much more often both are right or both wrong than by chance.

    κ = (c − e) / (1 − e): c is the share of images on which both are right or both wrong, e = p q + (1 − p)(1 − q) the
    share by chance, of two networks with these accuracies p and q. 1: the same errors; 0: as by chance; below: other
    ones. Source: Geirhos, Meding and Wichmann 2020, Beyond accuracy: quantifying trial-by-trial behaviour of CNNs and
    humans by measuring error consistency. It is Cohen's κ of being right.

    Args:
        records: of a network in a cell, with `rank`.
        others: of the other one, the same images in the same order.

    Returns:
        Scores (n,); all NaN where e is 1, because both are always right or both always wrong.

    Example:
        >>> ranks = [pd.DataFrame({"rank": own}) for own in ([0, 0, 1, 1], [0, 1, 1, 1])]
        >>> error_consistency(*ranks)
        0.5
    """
    own, other = right(records), right(others)
    return _linearised(own, other, own, other)


@error_consistency.extremes
def _extremes_of_agreement(records: pd.DataFrame, others: pd.DataFrame) -> tuple[float, float]:
    """Of one more image that both get right, either alone, or none: the fewer the errors, the more it weighs."""
    outcomes = np.array([[True, True], [True, False], [False, True], [False, False]])
    scores = _linearised(right(records), right(others), *outcomes.T)
    return float(scores.min()), float(scores.max())


def _linearised(
    own: NDArray[np.bool_], other: NDArray[np.bool_], of_own: NDArray[np.bool_], of_other: NDArray[np.bool_]
) -> Floats:
    """κ of two networks plus the influence of images that these outcomes have; NaN where κ is not defined."""
    p, q, alike = float(own.mean()), float(other.mean()), float((own == other).mean())
    chance = p * q + (1 - p) * (1 - q)
    if chance == 1:
        return np.full(len(of_own), np.nan)
    left = (1 - alike) / (1 - chance)
    of_chance = (2 * q - 1) * (of_own - p) + (2 * p - 1) * (of_other - q)
    scores: Floats = 1 - left + ((of_own == of_other).astype(np.float64) - alike - left * of_chance) / (1 - chance)
    return scores

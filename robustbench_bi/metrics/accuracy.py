"""Top-k accuracy from records.

A record holds the rank of its label, the number of classes scored above it, so every k comes from the same file.
"""

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from robustbench_bi.errors import InputError


def top_k_scores(records: pd.DataFrame, k: int) -> NDArray[np.float64]:
    """100 where the label is among the k highest scores, else 0.

    Args:
        records: a frame with `rank`, one row an image; rank 0 is a correct prediction.
        k: at least 1.

    Returns:
        Scores (n,); their mean is the top-k accuracy in percent.

    Raises:
        InputError: there are no records, or k is below 1.

    Example:
        >>> top_k_scores(pd.DataFrame({"rank": [0, 3, 7]}), 5).tolist()
        [100.0, 100.0, 0.0]
    """
    if k < 1:
        raise InputError(f"k must be at least 1, got {k}")
    if not len(records):
        raise InputError("an accuracy needs at least one record, got none")
    return np.where(records["rank"].to_numpy() < k, 100.0, 0.0)


def top1_scores(records: pd.DataFrame) -> NDArray[np.float64]:
    """`top_k_scores` with k = 1."""
    return top_k_scores(records, 1)


def top5_scores(records: pd.DataFrame) -> NDArray[np.float64]:
    """`top_k_scores` with k = 5."""
    return top_k_scores(records, 5)


def top1(records: pd.DataFrame) -> float:
    """Top-1 accuracy in percent.

    Example:
        >>> top1(pd.DataFrame({"rank": [0, 0, 0, 2]}))
        75.0
    """
    return float(top1_scores(records).mean())


def top5(records: pd.DataFrame) -> float:
    """Top-5 accuracy in percent; 100 where there are five classes or fewer.

    Example:
        >>> top5(pd.DataFrame({"rank": [0, 4, 5, 9]}))
        50.0
    """
    return float(top5_scores(records).mean())

"""How answers change between clean and corrupted pictures: flips, and what is kept of the accuracy.

Each takes the records of a cell and those of the clean cell, of the same images in the same order. An answer is right
where its rank is 0; a flip is another predicted class. Source: the flip rate is that of Hendrycks & Dietterich 2019
(ImageNet-P) between two pictures, here the clean one and the corrupted one.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from robustbench_bi.metrics.scored import Floats, Scored, ratio_extremes, ratio_scores, right


def _flipped(records: pd.DataFrame, clean: pd.DataFrame) -> NDArray[np.bool_]:
    flipped: NDArray[np.bool_] = records["prediction"].to_numpy() != clean["prediction"].to_numpy()
    return flipped


def _percent(chosen: NDArray[np.bool_]) -> Floats:
    return np.where(chosen, 100.0, 0.0)


@Scored
def flip_rate(records: pd.DataFrame, clean: pd.DataFrame) -> Floats:
    """Share of images whose predicted class differs from the clean one, in percent.

    Args:
        records: of a cell, with `prediction`.
        clean: of the clean cell, the same images in the same order.

    Example:
        >>> corrupted, clean = pd.DataFrame({"prediction": [3, 1]}), pd.DataFrame({"prediction": [3, 2]})
        >>> flip_rate(corrupted, clean)
        50.0
    """
    return _percent(_flipped(records, clean))


@Scored
def flips_right_to_wrong(records: pd.DataFrame, clean: pd.DataFrame) -> Floats:
    """Share of all images that are right when clean and wrong when corrupted, in percent."""
    return _percent(_flipped(records, clean) & right(clean) & ~right(records))


@Scored
def flips_wrong_to_right(records: pd.DataFrame, clean: pd.DataFrame) -> Floats:
    """Share of all images that are wrong when clean and right when corrupted, in percent."""
    return _percent(_flipped(records, clean) & ~right(clean) & right(records))


@Scored
def flips_wrong_to_wrong(records: pd.DataFrame, clean: pd.DataFrame) -> Floats:
    """Share of all images that are wrong both times, with another predicted class, in percent.

    With the other two it makes the flip rate, but for images with several right labels, whose answer may change from
    one of them to another.
    """
    return _percent(_flipped(records, clean) & ~right(clean) & ~right(records))


@Scored
def accuracy_kept(records: pd.DataFrame, clean: pd.DataFrame) -> Floats:
    """Of the images that are right when clean, the share that is right when corrupted too, in percent.

    Example:
        >>> accuracy_kept(pd.DataFrame({"rank": [0, 1, 0]}), pd.DataFrame({"rank": [0, 0, 5]}))
        50.0
    """
    return ratio_scores(right(records) & right(clean), right(clean))


@accuracy_kept.extremes
def _extremes_of_kept(records: pd.DataFrame, clean: pd.DataFrame) -> tuple[float, float]:
    return ratio_extremes(right(records) & right(clean), right(clean))

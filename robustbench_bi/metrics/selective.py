"""Numbers of networks that may abstain, and how sure their wrong answers are.

The records of a cell are ordered by confidence, the most confident first; those of equal confidence by image id. The
share of the images that are answered is the coverage, the error among them the risk.
"""

from __future__ import annotations

import math

import numpy as np
import pandas as pd

from robustbench_bi.metrics.scored import Floats, Scored, order_by_confidence, ratio_extremes, ratio_scores, right

COVERAGE = 0.8


@Scored
def area_under_risk_coverage(records: pd.DataFrame) -> Floats:
    """AURC: the mean over all coverages of the risk, in percent.

    With errors e₁ to eₙ by falling confidence it is (1/n) Σ_k (1/k) Σ_{j ≤ k} e_j, which is 100 − AURRA. Source:
    Geifman, Uziel and El-Yaniv 2019, Bias-Reduced Uncertainty Estimation for Deep Neural Classifiers.

    Args:
        records: of a cell, with `confidence` and `rank`; `image_id` decides between equal confidences.

    Example:
        >>> area_under_risk_coverage(pd.DataFrame({"confidence": [0.9, 0.8, 0.7, 0.6], "rank": [0, 1, 0, 0]}))
        27.08333333333333
    """
    order = order_by_confidence(records)
    error = 100.0 * ~right(records)[order]
    place = np.arange(1, len(error) + 1)
    # The risks in which an image counts, summed from the last one up.
    weight = np.cumsum((1 / place)[::-1])[::-1]
    lowering = np.cumsum((error / place)[::-1])[::-1]
    scores = np.empty(len(error))
    scores[order] = error * weight + error.mean() - lowering
    return scores


@Scored
def risk_at_80_coverage(records: pd.DataFrame) -> Floats:
    """Error among the 80 % of images with the highest confidence (rounded up to a whole image), in percent.

    Source: Geifman and El-Yaniv 2017, Selective Classification for Deep Neural Networks.

    Args:
        records: as for `area_under_risk_coverage`.

    Example:
        >>> frame = pd.DataFrame({"confidence": [0.9, 0.8, 0.7, 0.6, 0.5], "rank": [0, 1, 0, 0, 3]})
        >>> risk_at_80_coverage(frame)
        25.0
    """
    order = order_by_confidence(records)
    error = 100.0 * ~right(records)[order]
    n = len(error)
    answered = math.ceil(COVERAGE * n)
    # Which image is the last to be answered is itself chance: an image more above it moves one of its error out.
    near = math.ceil(math.sqrt(n))
    at_the_end = float(error[max(0, answered - near) : answered + near].mean())
    scores = np.full(n, at_the_end)
    scores[:answered] += (error[:answered] - at_the_end) * n / answered
    placed = np.empty(n)
    placed[order] = scores
    return placed


@Scored
def confidence_of_wrong_answers(records: pd.DataFrame) -> Floats:
    """Mean confidence of the wrong answers, in percent; not defined where none is wrong.

    Args:
        records: of a cell, with `confidence` and `rank`.

    Example:
        >>> confidence_of_wrong_answers(pd.DataFrame({"confidence": [0.9, 0.75, 0.25], "rank": [0, 1, 2]}))
        50.0
    """
    wrong = ~right(records)
    return ratio_scores(records["confidence"].to_numpy(dtype=np.float64) * wrong, wrong)


@confidence_of_wrong_answers.extremes
def _extremes_when_wrong(records: pd.DataFrame) -> tuple[float, float]:
    wrong = ~right(records)
    return ratio_extremes(records["confidence"].to_numpy(dtype=np.float64) * wrong, wrong)

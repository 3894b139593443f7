"""What the worst is like: the classes that suffer most, and images that are right under every corruption."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from robustbench_bi.errors import InputError
from robustbench_bi.metrics.scored import Floats, Scored, right

TENTH = 10
PARTS = 5
"""Into which the images of a class are divided, to pick classes by some and measure them on others."""


def _worst_classes(accuracy: Floats) -> NDArray[np.int64]:
    """The places of the worst tenth, rounded up; of equal accuracies the first."""
    order: NDArray[np.int64] = np.argsort(accuracy, kind="stable")[: math.ceil(len(accuracy) / TENTH)]
    return order


def _accuracy(correct: NDArray[np.bool_], class_of: NDArray[np.int64], number: int) -> tuple[Floats, Floats]:
    """Images and accuracy in percent of each class; NaN where it has none."""
    counts = np.bincount(class_of, minlength=number).astype(np.float64)
    with np.errstate(invalid="ignore"):
        return counts, 100.0 * np.bincount(class_of, correct, minlength=number) / counts


@Scored
def worst_classes_accuracy(records: pd.DataFrame) -> Floats:
    """Mean accuracy of the worst tenth of the classes in a cell, in percent.

    The classes are those that the records have, a tenth is rounded up, and each class counts alike, whatever its number
    of images. With 50 images a class a single worst class is mostly chance; of many the mean says more, but it is still
    lower than the truth, because the classes are picked by the same images: see `worst_classes_bias`.

    Args:
        records: of a cell, with `label` and `rank`.

    Example:
        >>> worst_classes_accuracy(pd.DataFrame({"label": [0, 0, 1, 1], "rank": [0, 0, 0, 7]}))
        50.0
    """
    correct = right(records)
    labels, class_of = np.unique(records["label"].to_numpy(), return_inverse=True)
    counts, accuracy = _accuracy(correct, class_of, len(labels))
    worst = _worst_classes(accuracy)
    weight = np.zeros(len(labels))
    weight[worst] = len(correct) / (len(worst) * counts[worst])
    scores: Floats = accuracy[worst].mean() + weight[class_of] * (100.0 * correct - accuracy[class_of])
    return scores


def worst_classes_bias(records: pd.DataFrame) -> tuple[float, float]:
    """By how much the accuracy of the worst classes overstates the true one: at most, and at least.

    Both are below zero or none: it understates it. Classes that are picked by some of the images and measured on others
    are not the worst, so their accuracy is above the true one on average, as that of classes which are picked by the
    images they are measured on is below. Between these two lies the truth; so the lower end of an interval stays, and
    the upper one is raised by their difference. Classes of which hardly any image is right show no spread of their own:
    by what two standard errors of the former exceed two of the latter, it is raised too.

    Args:
        records: as for `worst_classes_accuracy`. Each fifth of a class's images is measured once, after its others
            picked.

    Returns:
        Points of percent; the higher first.
    """
    correct = right(records)
    labels, class_of = np.unique(records["label"].to_numpy(), return_inverse=True)
    number, order, counts = len(labels), np.argsort(class_of, kind="stable"), np.bincount(class_of)
    part = np.empty(len(correct), dtype=np.int64)
    part[order] = (np.arange(len(correct)) - np.repeat(np.cumsum(counts) - counts, counts)) % PARTS
    held_out, images = [], 0
    for held in range(PARTS):
        own = part == held
        _, others = _accuracy(correct[~own], class_of[~own], number)
        _, measured = _accuracy(correct[own], class_of[own], number)
        worst = _worst_classes(others)
        picked = measured[worst]
        held_out += [float(picked[~np.isnan(picked)].mean())] if not np.isnan(picked).all() else []
        images += int(np.isin(class_of[own], worst).sum())
    counts_of, whole = _accuracy(correct, class_of, number)
    worst = _worst_classes(whole)
    own, picked_again = float(whole[worst].mean()), float(np.mean(held_out)) if held_out else 100.0
    share = whole[worst] / 100
    spread = 100.0 * math.sqrt(float((share * (1 - share) / counts_of[worst]).sum())) / len(worst)
    missing = max(0.0, 2 * (_standard_error(picked_again, images) - spread))
    return 0.0, min(0.0, own - min(picked_again + missing, 100.0))


def _standard_error(accuracy: float, n: int) -> float:
    """That of an accuracy in percent, with a wrong and a right image added (after Agresti and Coull 1998)."""
    share = (n * accuracy / 100 + 1) / (n + 2)
    return 100.0 * math.sqrt(share * (1 - share) / (n + 2))


@Scored
def right_under_all(records: pd.DataFrame) -> Floats:
    """Share of images that are right under every corruption at a severity, in percent.

    Args:
        records: of all cells of a severity, with `image_id` and `rank`.

    Returns:
        A score for each image, by rising id.

    Raises:
        InputError: an image has not the same number of records as the others.

    Example:
        >>> right_under_all(pd.DataFrame({"image_id": [4, 5, 4, 5], "rank": [0, 0, 3, 0]}))
        50.0
    """
    _, image = np.unique(records["image_id"].to_numpy(), return_inverse=True)
    counts = np.bincount(image)
    if (counts != counts[0]).any():
        raise InputError("each image must have one record under every corruption, but their numbers differ")
    return np.where(np.bincount(image, ~right(records)) == 0, 100.0, 0.0)

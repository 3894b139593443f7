"""Metrics: functions of a frame, listed without importing their code.

Three kinds, told apart by `Metric.of`. One "of images" takes the records of one cell, one row an image, and is the mean
of per-image scores, so that one bootstrap over images gives the interval of every such metric. One "of cells" takes one
row a cell, as `Run.cells()` returns. One "of pairs" takes such a frame and the baseline's.

Example:
    >>> METRICS["mce"].name
    'mean_corruption_error'
"""

from __future__ import annotations

import importlib
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from robustbench_bi.errors import InputError
from robustbench_bi.ground.exports import exported
from robustbench_bi.ground.registry import Table

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

    from robustbench_bi.metrics.accuracy import top1, top5
    from robustbench_bi.metrics.bounded import bounded_interval, wilson_interval
    from robustbench_bi.metrics.calibration import (
        calibrated_level,
        calibration_bias,
        calibration_scores,
        expected_calibration_error,
        negative_log_likelihood,
    )
    from robustbench_bi.metrics.intervals import Resampling, bootstrap_interval, image_interval
    from robustbench_bi.metrics.paired import holm, mcnemar, paired_t_test
    from robustbench_bi.metrics.pairing import agreeing
    from robustbench_bi.metrics.robustness import (
        alexnet_errors,
        corruption_errors,
        delta_to_baseline,
        delta_to_clean,
        mean_corruption_accuracy,
        mean_corruption_error,
        relative_mean_corruption_error,
    )
    from robustbench_bi.metrics.spectra import Spectra, measure_spectra
    from robustbench_bi.metrics.statistics import ImageMeans, Shares, bounds_of


@dataclass(frozen=True)
class Metric:
    """A row of `METRICS`.

    Attributes:
        name: its function, its column in frames and its name in reports.
        code: the function, frame → float.
        of: "images" (records of one cell), "cells" (one row a cell) or "pairs" (two frames of cells).
        unit: "percent", "points" (a difference of percentages) or "nats".
        better: whether a higher or a lower value is better.
        summary: one line for `bivo-robust list metrics`.
        scores: for a metric of images, the function frame → per-image scores (n,) whose mean is the metric.
        least, most: of images, what these scores are at worst and at best; infinite where they have no bound.
    """

    name: str
    code: str
    of: Literal["images", "cells", "pairs"]
    unit: Literal["percent", "points", "nats"]
    better: Literal["higher", "lower"]
    summary: str
    scores: str = ""
    least: float = -math.inf
    most: float = math.inf


_ACCURACY = "robustbench_bi.metrics.accuracy"
_CALIBRATION = "robustbench_bi.metrics.calibration"
_ROBUSTNESS = "robustbench_bi.metrics.robustness"

METRICS = Table(
    "metric",
    [
        Metric(
            "top1",
            f"{_ACCURACY}:top1",
            "images",
            "percent",
            "higher",
            "images whose label scores highest",
            f"{_ACCURACY}:top1_scores",
            least=0,
            most=100,
        ),
        Metric(
            "top5",
            f"{_ACCURACY}:top5",
            "images",
            "percent",
            "higher",
            "images whose label is among the five highest scores",
            f"{_ACCURACY}:top5_scores",
            least=0,
            most=100,
        ),
        Metric(
            "expected_calibration_error",
            f"{_CALIBRATION}:expected_calibration_error",
            "images",
            "percent",
            "lower",
            "mean gap between confidence and accuracy in 15 bins of equal width over the whole cell",
            f"{_CALIBRATION}:calibration_scores",
            least=-100,
            most=100,
        ),
        Metric(
            "negative_log_likelihood",
            f"{_CALIBRATION}:negative_log_likelihood",
            "images",
            "nats",
            "lower",
            "mean cross-entropy of the label",
            f"{_CALIBRATION}:loss_scores",
        ),
        Metric(
            "mean_corruption_accuracy",
            f"{_ROBUSTNESS}:mean_corruption_accuracy",
            "cells",
            "percent",
            "higher",
            "top-1 averaged over severities, then over the corruptions of ImageNet-C",
        ),
        Metric(
            "delta_to_clean",
            f"{_ROBUSTNESS}:delta_to_clean",
            "cells",
            "points",
            "higher",
            "mean corruption accuracy minus clean top-1",
        ),
        Metric(
            "mean_corruption_error",
            f"{_ROBUSTNESS}:mean_corruption_error",
            "cells",
            "percent",
            "lower",
            "mCE: error relative to AlexNet's, averaged over all 15 corruptions at five severities",
        ),
        Metric(
            "relative_mean_corruption_error",
            f"{_ROBUSTNESS}:relative_mean_corruption_error",
            "cells",
            "percent",
            "lower",
            "relative mCE: rise of the error over clean relative to AlexNet's rise",
        ),
        Metric(
            "delta_to_baseline",
            f"{_ROBUSTNESS}:delta_to_baseline",
            "pairs",
            "points",
            "higher",
            "mean corruption accuracy minus the baseline's",
        ),
        *(
            Metric(
                f"effective_robustness_{source.replace('-', '_')}",
                f"robustbench_bi.metrics.effective_robustness:effective_robustness_{source.replace('-', '_')}",
                "pairs",
                "points",
                "higher",
                f"accuracy on {title} minus what clean accuracy foretells: {baseline}",
            )
            for source, title, baseline in (
                ("imagenet-v2", "ImageNet-V2", "the baseline is on ImageNet's validation pictures"),
                ("imagenet-sketch", "ImageNet-Sketch", "the baseline is on ImageNet's validation pictures"),
                ("imagenet-r", "ImageNet-R", "the baseline is on its classes alone"),
                ("objectnet", "ObjectNet", "the baseline is on its classes alone"),
            )
        ),
    ],
    aliases={
        "ece": "expected_calibration_error",
        "nll": "negative_log_likelihood",
        "mce": "mean_corruption_error",
        "relative_mce": "relative_mean_corruption_error",
    },
)


def load_scores(name: str) -> Callable[[pd.DataFrame], NDArray[np.float64]]:
    """Import and return the per-image scores of a metric of images.

    Raises:
        UnknownNameError: no such metric.
        InputError: the metric is not the mean of per-image scores.

    Example:
        >>> load_scores("mce")
        Traceback (most recent call last):
        ...
        robustbench_bi.errors.InputError: mean_corruption_error has no per-image scores; metrics of images have
    """
    metric = METRICS[name]
    if not metric.scores:
        raise InputError(f"{metric.name} has no per-image scores; metrics of images have")
    module, _, function = metric.scores.partition(":")
    loaded: Callable[[pd.DataFrame], NDArray[np.float64]] = getattr(importlib.import_module(module), function)
    return loaded


_HOMES = {
    "ImageMeans": "robustbench_bi.metrics.statistics",
    "Resampling": "robustbench_bi.metrics.intervals",
    "Shares": "robustbench_bi.metrics.statistics",
    "Spectra": "robustbench_bi.metrics.spectra",
    "agreeing": "robustbench_bi.metrics.pairing",
    "alexnet_errors": "robustbench_bi.metrics.robustness",
    "bootstrap_interval": "robustbench_bi.metrics.intervals",
    "bounded_interval": "robustbench_bi.metrics.bounded",
    "bounds_of": "robustbench_bi.metrics.statistics",
    "calibrated_level": "robustbench_bi.metrics.calibration",
    "calibration_bias": "robustbench_bi.metrics.calibration",
    "calibration_scores": "robustbench_bi.metrics.calibration",
    "corruption_errors": "robustbench_bi.metrics.robustness",
    "delta_to_baseline": "robustbench_bi.metrics.robustness",
    "delta_to_clean": "robustbench_bi.metrics.robustness",
    "expected_calibration_error": "robustbench_bi.metrics.calibration",
    "holm": "robustbench_bi.metrics.paired",
    "image_interval": "robustbench_bi.metrics.intervals",
    "mcnemar": "robustbench_bi.metrics.paired",
    "mean_corruption_accuracy": "robustbench_bi.metrics.robustness",
    "mean_corruption_error": "robustbench_bi.metrics.robustness",
    "measure_spectra": "robustbench_bi.metrics.spectra",
    "negative_log_likelihood": "robustbench_bi.metrics.calibration",
    "paired_t_test": "robustbench_bi.metrics.paired",
    "relative_mean_corruption_error": "robustbench_bi.metrics.robustness",
    "top1": "robustbench_bi.metrics.accuracy",
    "top5": "robustbench_bi.metrics.accuracy",
    "wilson_interval": "robustbench_bi.metrics.bounded",
}

__all__ = [
    "METRICS",
    "ImageMeans",
    "Metric",
    "Resampling",
    "Shares",
    "Spectra",
    "agreeing",
    "alexnet_errors",
    "bootstrap_interval",
    "bounded_interval",
    "bounds_of",
    "calibrated_level",
    "calibration_bias",
    "calibration_scores",
    "corruption_errors",
    "delta_to_baseline",
    "delta_to_clean",
    "expected_calibration_error",
    "holm",
    "image_interval",
    "load_scores",
    "mcnemar",
    "mean_corruption_accuracy",
    "mean_corruption_error",
    "measure_spectra",
    "negative_log_likelihood",
    "paired_t_test",
    "relative_mean_corruption_error",
    "top1",
    "top5",
    "wilson_interval",
]


def __getattr__(name: str) -> Any:
    return exported(__name__, _HOMES, name)


def __dir__() -> list[str]:
    return sorted(__all__)

"""Metrics: functions of frames, listed without importing their code.

`METRICS` has a row for each, `Metric.of` says what it takes. Most are the mean of per-image scores, so that intervals
over images and paired differences of all of them are made in one way.

Example:
    >>> METRICS["mce"].name
    'mean_corruption_error'
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from robustbench_bi.ground.exports import exported
from robustbench_bi.metrics.rows import METRICS, Metric, load_scores

if TYPE_CHECKING:
    from robustbench_bi.metrics.accuracy import top1, top5
    from robustbench_bi.metrics.bounded import bounded_interval, wilson_interval
    from robustbench_bi.metrics.calibration import (
        calibrated_level,
        calibration_bias,
        calibration_scores,
        expected_calibration_error,
        negative_log_likelihood,
    )
    from robustbench_bi.metrics.detection.matching import Cell as DetectionCell
    from robustbench_bi.metrics.detection.matching import Truth as DetectionTruth
    from robustbench_bi.metrics.detection.precision import Objects as DetectionObjects
    from robustbench_bi.metrics.detection.precision import OneNumber as DetectionNumber
    from robustbench_bi.metrics.detection.precision import Precision as DetectionPrecision
    from robustbench_bi.metrics.intervals import Resampling, bootstrap_interval, image_interval
    from robustbench_bi.metrics.paired import holm, mcnemar, paired_t_test
    from robustbench_bi.metrics.pairing import PAIRINGS, agreeing
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
    from robustbench_bi.metrics.statistics import ImageMeans, Shares, SharesOfFirst, Weighted, bounds_of, joined


_HOMES = {
    "DetectionCell": "robustbench_bi.metrics.detection.matching:Cell",
    "DetectionNumber": "robustbench_bi.metrics.detection.precision:OneNumber",
    "DetectionObjects": "robustbench_bi.metrics.detection.precision:Objects",
    "DetectionPrecision": "robustbench_bi.metrics.detection.precision:Precision",
    "DetectionTruth": "robustbench_bi.metrics.detection.matching:Truth",
    "ImageMeans": "robustbench_bi.metrics.statistics",
    "PAIRINGS": "robustbench_bi.metrics.pairing",
    "Resampling": "robustbench_bi.metrics.intervals",
    "Shares": "robustbench_bi.metrics.statistics",
    "SharesOfFirst": "robustbench_bi.metrics.statistics",
    "Spectra": "robustbench_bi.metrics.spectra",
    "Weighted": "robustbench_bi.metrics.statistics",
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
    "joined": "robustbench_bi.metrics.statistics",
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
    "PAIRINGS",
    "DetectionCell",
    "DetectionNumber",
    "DetectionObjects",
    "DetectionPrecision",
    "DetectionTruth",
    "ImageMeans",
    "Metric",
    "Resampling",
    "Shares",
    "SharesOfFirst",
    "Spectra",
    "Weighted",
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
    "joined",
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

"""The table of metrics. A row says everything of a metric but its code, which it names."""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from robustbench_bi.errors import InputError
from robustbench_bi.ground.registry import Table

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

    from robustbench_bi.metrics.scored import Scored

Kind = Literal["images", "answers", "changes", "severities", "networks", "cells", "pairs"]


@dataclass(frozen=True, kw_only=True)
class Metric:
    """A row of `METRICS`.

    Attributes:
        name: its function, its column in frames and its name in reports.
        code: the function, frame → float. Of "answers", "changes", "severities" and "networks" it is a `Scored`, which
            has the per-image scores too.
        of: what it takes: see `METRICS`.
        unit: "percent", "points" (a difference of percentages), "nats", or none.
        better: whether a higher or a lower value is better.
        summary: one line for `bivo-robust list metrics`.
        scores: for a metric of images, the function frame → per-image scores (n,) whose mean is the metric.
        least, most: what such scores are at worst and at best; infinite where they have no bound.
        proportion: whether it is a share of all images, so that Wilson's interval is that of a single cell.
        bias: the function, records of a cell → by how much the metric overstates the truth by chance, at most and at
            least; see `Measure.chance`.
        short: what it is called in headings; its name where nothing else is said.
        words: the same in full; `short` where nothing else is said.
        decimals: digits after the point in tables.
        first: whether it stands among the first numbers of a report page.
        column: the record column that it needs, where older runs lack that.
    """

    name: str
    code: str
    of: Kind
    unit: Literal["percent", "points", "nats", ""]
    better: Literal["higher", "lower"]
    summary: str
    scores: str = ""
    least: float = -math.inf
    most: float = math.inf
    proportion: bool = False
    bias: str = ""
    short: str = ""
    words: str = ""
    decimals: int = 1
    first: bool = False
    column: str = ""


_ACCURACY = "robustbench_bi.metrics.accuracy"
_CALIBRATION = "robustbench_bi.metrics.calibration"
_BY_ORDER = "robustbench_bi.metrics.calibration_by_order"
_ROBUSTNESS = "robustbench_bi.metrics.robustness"
_CHANGES = "robustbench_bi.metrics.changes"
_SELECTIVE = "robustbench_bi.metrics.selective"
_WORST = "robustbench_bi.metrics.worst_cases"

METRICS = Table(
    "metric",
    [
        Metric(
            name="top1",
            code=f"{_ACCURACY}:top1",
            of="images",
            unit="percent",
            better="higher",
            summary="images whose label scores highest",
            scores=f"{_ACCURACY}:top1_scores",
            least=0,
            most=100,
            proportion=True,
            short="top-1",
            words="top-1 accuracy",
        ),
        Metric(
            name="top5",
            code=f"{_ACCURACY}:top5",
            of="images",
            unit="percent",
            better="higher",
            summary="images whose label is among the five highest scores",
            scores=f"{_ACCURACY}:top5_scores",
            least=0,
            most=100,
            proportion=True,
            short="top-5",
            words="top-5 accuracy",
        ),
        Metric(
            name="expected_calibration_error",
            code=f"{_CALIBRATION}:expected_calibration_error",
            of="images",
            unit="percent",
            better="lower",
            summary="mean gap between confidence and accuracy in 15 bins of equal width over the whole cell",
            scores=f"{_CALIBRATION}:calibration_scores",
            least=-100,
            most=100,
            bias=f"{_CALIBRATION}:calibration_bias",
            short="ECE",
            words="calibration error (ECE)",
            first=True,
        ),
        Metric(
            name="negative_log_likelihood",
            code=f"{_CALIBRATION}:negative_log_likelihood",
            of="images",
            unit="nats",
            better="lower",
            summary="mean cross-entropy of the label",
            scores=f"{_CALIBRATION}:loss_scores",
            short="NLL",
            words="negative log-likelihood",
            decimals=2,
            first=True,
        ),
        Metric(
            name="flip_rate",
            code=f"{_CHANGES}:flip_rate",
            of="changes",
            unit="percent",
            better="lower",
            summary="images whose predicted class differs from the clean one",
            least=0,
            most=100,
            proportion=True,
            short="flips",
            words="flip rate",
        ),
        *(
            Metric(
                name=f"flips_{before}_to_{after}",
                code=f"{_CHANGES}:flips_{before}_to_{after}",
                of="changes",
                unit="percent",
                better="higher" if after == "right" else "lower",
                summary=f"images that are {before} when clean and {words} when corrupted, as a share of all images",
                least=0,
                most=100,
                proportion=True,
                short=f"{before} → {after}",
                words=f"flips {before} → {after}",
            )
            for before, after, words in (
                ("right", "wrong", "wrong"),
                ("wrong", "right", "right"),
                ("wrong", "wrong", "wrong with a different answer"),
            )
        ),
        Metric(
            name="accuracy_kept",
            code=f"{_CHANGES}:accuracy_kept",
            of="changes",
            unit="percent",
            better="higher",
            summary="images that are right when corrupted, of those that are right when clean",
            least=0,
            most=100,
            short="kept",
            words="accuracy kept",
        ),
        Metric(
            name="confidence_of_wrong_answers",
            code=f"{_SELECTIVE}:confidence_of_wrong_answers",
            of="answers",
            unit="percent",
            better="lower",
            summary="mean confidence of the wrong answers",
            least=0,
            most=100,
            short="confidence when wrong",
            words="confidence of wrong answers",
        ),
        Metric(
            name="rms_calibration_error",
            code=f"{_BY_ORDER}:rms_calibration_error",
            of="answers",
            unit="percent",
            better="lower",
            summary="root mean square gap between confidence and accuracy in bins of 100 images",
            least=-100,
            most=100,
            bias=f"{_BY_ORDER}:rms_calibration_bias",
            short="RMS calibration",
            words="RMS calibration error",
        ),
        Metric(
            name="adaptive_calibration_error",
            code=f"{_BY_ORDER}:adaptive_calibration_error",
            of="answers",
            unit="percent",
            better="lower",
            summary="mean gap between confidence and accuracy in 15 bins of equally many images",
            least=-100,
            most=100,
            bias=f"{_BY_ORDER}:adaptive_calibration_bias",
            short="adaptive ECE",
            words="adaptive calibration error",
        ),
        Metric(
            name="area_under_risk_coverage",
            code=f"{_SELECTIVE}:area_under_risk_coverage",
            of="answers",
            unit="percent",
            better="lower",
            summary="AURC: error among the most confident answers, averaged over all coverages",
            least=0,
            most=100,
            short="AURC",
            words="area under the risk-coverage curve (AURC)",
        ),
        Metric(
            name="risk_at_80_coverage",
            code=f"{_SELECTIVE}:risk_at_80_coverage",
            of="answers",
            unit="percent",
            better="lower",
            summary="error among the 80 % of images with the highest confidence",
            least=0,
            most=100,
            short="risk at 80 %",
            words="risk at 80 % coverage",
        ),
        Metric(
            name="brier_score",
            code=f"{_BY_ORDER}:brier_score",
            of="answers",
            unit="",
            better="lower",
            summary="mean squared distance of the probabilities from the label, over all classes: 0 to 2",
            least=0,
            most=2,
            column="brier",
            short="Brier",
            words="Brier score",
            decimals=3,
        ),
        Metric(
            name="worst_classes_accuracy",
            code=f"{_WORST}:worst_classes_accuracy",
            of="answers",
            unit="percent",
            better="higher",
            summary="mean accuracy of the worst tenth of the classes, chosen in each cell",
            least=0,
            most=100,
            bias=f"{_WORST}:worst_classes_bias",
            short="worst classes",
            words="accuracy of the worst tenth of classes",
        ),
        Metric(
            name="right_under_all",
            code=f"{_WORST}:right_under_all",
            of="severities",
            unit="percent",
            better="higher",
            summary="images that are right under every corruption at a severity",
            least=0,
            most=100,
            proportion=True,
            short="right under all",
            words="right under all corruptions",
        ),
        Metric(
            name="error_consistency",
            code="robustbench_bi.metrics.agreement:error_consistency",
            of="networks",
            unit="",
            better="higher",
            summary="κ of two networks: how much more often both are right or both wrong than by chance",
            least=-1,
            most=1,
            short="κ",
            words="error consistency κ",
            decimals=3,
        ),
        Metric(
            name="mean_corruption_accuracy",
            code=f"{_ROBUSTNESS}:mean_corruption_accuracy",
            of="cells",
            unit="percent",
            better="higher",
            summary="top-1 averaged over severities, then over the corruptions of ImageNet-C",
        ),
        Metric(
            name="delta_to_clean",
            code=f"{_ROBUSTNESS}:delta_to_clean",
            of="cells",
            unit="points",
            better="higher",
            summary="mean corruption accuracy minus clean top-1",
        ),
        Metric(
            name="mean_corruption_error",
            code=f"{_ROBUSTNESS}:mean_corruption_error",
            of="cells",
            unit="percent",
            better="lower",
            summary="mCE: error relative to AlexNet's, averaged over all 15 corruptions at five severities",
        ),
        Metric(
            name="relative_mean_corruption_error",
            code=f"{_ROBUSTNESS}:relative_mean_corruption_error",
            of="cells",
            unit="percent",
            better="lower",
            summary="relative mCE: increase of the error over clean, relative to AlexNet's increase",
        ),
        Metric(
            name="delta_to_baseline",
            code=f"{_ROBUSTNESS}:delta_to_baseline",
            of="pairs",
            unit="points",
            better="higher",
            summary="mean corruption accuracy minus the baseline's",
        ),
        *(
            Metric(
                name=f"effective_robustness_{source.replace('-', '_')}",
                code=f"robustbench_bi.metrics.effective_robustness:effective_robustness_{source.replace('-', '_')}",
                of="pairs",
                unit="points",
                better="higher",
                summary=f"accuracy on {title} minus what clean accuracy predicts: {baseline}",
            )
            for source, title, baseline in (
                ("imagenet-v2", "ImageNet-V2", "the baseline is a run on ImageNet's validation images"),
                ("imagenet-sketch", "ImageNet-Sketch", "the baseline is a run on ImageNet's validation images"),
                ("imagenet-r", "ImageNet-R", "the baseline is a run on its classes alone"),
                ("objectnet", "ObjectNet", "the baseline is a run on its classes alone"),
            )
        ),
    ],
    aliases={
        "ece": "expected_calibration_error",
        "nll": "negative_log_likelihood",
        "mce": "mean_corruption_error",
        "relative_mce": "relative_mean_corruption_error",
        "aurc": "area_under_risk_coverage",
        "brier": "brier_score",
        "kappa": "error_consistency",
    },
)
"""What each takes: the records of one cell ("images", whose per-image scores every summary has as columns, and
"answers", which are chosen); those and the records of the clean cell ("changes"); the records of all cells of a
severity ("severities"); the records of a cell of two networks ("networks"); one row a cell, as `Run.cells()` returns
("cells"); such a frame and the baseline's ("pairs").
"""


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


def load_scored(name: str) -> Scored:
    """Import and return a metric that has per-image scores of several frames, or of answers.

    Raises:
        UnknownNameError: no such metric.

    Example:
        >>> load_scored("kappa").reach is None
        False
    """
    loaded: Scored = METRICS.load(name)  # type: ignore[assignment]
    return loaded

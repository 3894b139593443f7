"""Effective robustness (Taori et al., NeurIPS 2020): accuracy on shifted pictures above what clean accuracy foretells.

The lines are fitted on logits of the accuracies of the "standard" models of the ImageNet testbed (MIT,
github.com/modestyachts/imagenet-testbed), which Taori et al. published. A set is foretold from the accuracy on
ImageNet's validation pictures; ImageNet-R and ObjectNet from those of their own classes, among which answers were
restricted. ImageNet-A is left out, since its pictures were chosen against one network, and so is ImageNet-C.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from robustbench_bi.errors import InputError
from robustbench_bi.ground.cells import CLEAN
from robustbench_bi.metrics.robustness import cell_errors

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Line:
    """A line on logit axes, and how well it describes the networks that it was fitted on.

    Attributes:
        slope, intercept: logit of the shifted accuracy = slope · logit of the clean accuracy + intercept.
        explained: R², the share of the networks' spread that the line explains.
        networks: how many there were.
        same_classes: whether the clean accuracy is on the classes of the set, restricted to these.
    """

    slope: float
    intercept: float
    explained: float
    networks: int
    same_classes: bool = False

    def foretold(self, clean: float) -> float:
        """The accuracy that clean accuracy foretells, both in percent.

        Raises:
            InputError: the clean accuracy is 0 or 100 %, whose logit is infinite.

        Example:
            >>> round(LINES["imagenet-v2"].foretold(76.13), 2)
            63.95
        """
        if not 0 < clean < 100:
            raise InputError(f"a clean accuracy between 0 and 100 % is needed, got {clean:g}")
        logit = self.slope * math.log(clean / (100 - clean)) + self.intercept
        return 100 / (1 + math.exp(-logit))


LINES = {
    "imagenet-v2": Line(0.9232, -0.4977, 0.996, 85),
    "imagenet-sketch": Line(1.0709, -2.3701, 0.869, 85),
    "imagenet-r": Line(0.6368, -2.1077, 0.889, 80, same_classes=True),
    "objectnet": Line(0.9809, -1.9283, 0.953, 85, same_classes=True),
}
"""By source: matched-frequency of ImageNet-V2, and the others."""


def effective_robustness(shifted: pd.DataFrame, clean: pd.DataFrame, source: str) -> float:
    """Accuracy on shifted pictures minus that which the clean accuracy foretells, in points.

    Args:
        shifted: one row a cell of a run on the shifted set; its clean cell counts.
        clean: likewise of the same network on ImageNet's validation pictures.
        source: a key of `LINES`.

    Raises:
        InputError: there is no line for the source, or a clean cell is missing.

    Example:
        >>> import pandas as pd
        >>> cell = lambda top1: pd.DataFrame({"corruption": ["none"], "severity": [0], "top1": [top1]})
        >>> round(effective_robustness(cell(63.21), cell(76.13), "imagenet-v2"), 2)
        -0.74
    """
    if source not in LINES:
        raise InputError(f"there is a line for {', '.join(LINES)}; got {source}")
    accuracies = []
    for frame in (shifted, clean):
        errors = cell_errors(frame)
        if CLEAN not in errors:
            raise InputError("effective robustness needs the clean cell (corruption none, severity 0), got none")
        accuracies.append(100.0 - errors[CLEAN])
    return float(accuracies[0] - LINES[source].foretold(accuracies[1]))


def effective_robustness_imagenet_v2(cells: pd.DataFrame, baseline: pd.DataFrame) -> float:
    """`effective_robustness` on ImageNet-V2, matched-frequency."""
    return effective_robustness(cells, baseline, "imagenet-v2")


def effective_robustness_imagenet_sketch(cells: pd.DataFrame, baseline: pd.DataFrame) -> float:
    """`effective_robustness` on ImageNet-Sketch."""
    return effective_robustness(cells, baseline, "imagenet-sketch")


def effective_robustness_imagenet_r(cells: pd.DataFrame, baseline: pd.DataFrame) -> float:
    """`effective_robustness` on ImageNet-R; the baseline is of its 200 classes."""
    return effective_robustness(cells, baseline, "imagenet-r")


def effective_robustness_objectnet(cells: pd.DataFrame, baseline: pd.DataFrame) -> float:
    """`effective_robustness` on ObjectNet; the baseline is of its classes."""
    return effective_robustness(cells, baseline, "objectnet")

"""Effective robustness of a network, from its runs on shifted pictures and on ImageNet's validation pictures."""

from __future__ import annotations

from dataclasses import dataclass

from robustbench_bi.errors import RunMismatchError
from robustbench_bi.ground.cells import CLEAN
from robustbench_bi.metrics.effective_robustness import LINES, effective_robustness
from robustbench_bi.runs.run import Run

_SETS = {"imagenet-v2": "imagenet-v2 (matched-frequency)"}
_OTHER_SETS = ("threshold", "top-images")
"""In the published names of ImageNet-V2's two other sets, to which its line does not apply."""


@dataclass(frozen=True)
class EffectiveRobustness:
    """Effective robustness of a network on a set.

    Attributes:
        points: accuracy on the set minus that which the clean accuracy foretells.
        accuracy, clean, foretold: percent.
        caption: a sentence on the line, with its spread.
    """

    points: float
    accuracy: float
    clean: float
    foretold: float
    caption: str


def effective_robustness_of(run: Run, clean: Run) -> EffectiveRobustness:
    """Effective robustness (Taori et al. 2020) from two runs of one network.

    Args:
        run: on imagenet-v2 (matched-frequency), imagenet-sketch, imagenet-r or objectnet.
        clean: on ImageNet's validation pictures: all of them, or for imagenet-r and objectnet those of the same
            classes, among which answers were restricted (--class-space restricted).

    Raises:
        RunMismatchError: the runs are of two networks, or of other sets or classes.
    """
    source = str(run.config["data"])
    line = LINES.get(source)
    if line is None:
        raise RunMismatchError(f"effective robustness is known for {', '.join(LINES)}; {run.name} was run on {source}")
    named = str(run.config["runtime"].get("source", ""))
    if source == "imagenet-v2" and any(other in named for other in _OTHER_SETS):
        raise RunMismatchError(
            f"the line was fitted on ImageNet-V2's matched-frequency set, but {run.name} was run on {named}"
        )
    if run.config["weights_hash"] != clean.config["weights_hash"]:
        raise RunMismatchError(f"both runs must be of the same network, but they are of {run.name} and {clean.name}")
    own, other = ((one.config.get("answers") or {}).get("competing_hash") for one in (run, clean))
    if clean.config["class_set"] != "imagenet-1k" or (own if line.same_classes else None) != other:
        classes = "the classes of the set, with --class-space restricted" if line.same_classes else "all 1,000 classes"
        raise RunMismatchError(f"the clean run must be on ImageNet's validation images of {classes}")
    cells = [one.cells() for one in (run, clean)]
    points = effective_robustness(cells[0], cells[1], source)
    accuracy, of_clean = (
        float(frame.set_index(["corruption", "severity"])["top1"].loc[[CLEAN]].item()) for frame in cells
    )
    caption = (
        f"Effective robustness (Taori et al. 2020): accuracy on {_SETS.get(source, source)} above a line on logit axes "
        f"through {line.networks} standard networks of the ImageNet testbed (R² = {line.explained:g})."
    )
    return EffectiveRobustness(points, accuracy, of_clean, line.foretold(of_clean), caption)

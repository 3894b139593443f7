"""Detectors on clean and corrupted pictures: the second task on the loop of `evaluate`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from robustbench_bi.evaluation.request import EvalRequest
from robustbench_bi.evaluation.sharing import ALONE, Share
from robustbench_bi.ground.cells import Progress

if TYPE_CHECKING:
    from robustbench_bi.data.request import DataRequest
    from robustbench_bi.runs.run import Run

BLOCK_SIZE = 256
"""Images a block: they are whole, and 2,048 of 640×480 would take 1.9 GB."""


def detect(
    model: Any,
    data: str | Path | DataRequest = "demo-detection",
    *,
    images_root: str | Path | None = None,
    progress: Callable[[Progress], None] | None = None,
    share: Share = ALONE,
    **options: Any,
) -> Run:
    """Evaluate one detector on clean and corrupted pictures, and keep every detection.

    Pictures are corrupted at their native size, before the detector resizes them, with the constants of the package
    imagecorruptions and without a JPEG round trip: the protocol of Michaelis et al. (2019, "Benchmarking Robustness in
    Object Detection"). The random draws are keyed by seed and image id. Published results corrupt pixels in BGR order;
    here they are RGB, which makes other pictures of frost, jpeg_compression and snow.

    Args:
        model: "torchvision:NAME" or "package.module:function"; a module by torchvision's convention; or a function
            `(list of uint8 (3, H, W), RGB) -> list of {boxes, scores, labels, masks?}`. A module and a function need
            the attribute `class_names`, by label, which is matched to the data's by name. See `Detector`.
        data: "coco:PATH", "voc:PATH", "demo-detection", or a `DataRequest`.
        images_root: the folder of the pictures, where they do not lie beside their labels.
        progress: called after each finished cell-block.
        share: which of several processes this is, as for `evaluate_models`.
        **options: as for `evaluate_models`, but for those of the preprocessing, which is the detector's own; and
            score_threshold, max_detections, min_size, max_size, where it is one of torchvision's; and
            model_options, such as {"neck": "involution"}, where the model is given by name.

    Returns:
        The finished run. `Run.cells()` has AP, AP50, AP75, APs, APm, APl and AR of each cell in percent, and the same
        of masks with `mask_` in front; NaN where undefined.

    Raises:
        InputError: an option is out of range, or classes do not match.
        UnknownNameError, DataError, WeightsError, ModelOutputError, RunMismatchError: as `evaluate_models`.
    """
    from robustbench_bi.evaluation.loop import evaluate_request

    if images_root is not None:
        options["images_root"] = images_root
    return evaluate_request(detection_request([model], data, **options), progress=progress, share=share)[0]


def detection_request(models: Sequence[Any], data: str | Path | DataRequest, **options: Any) -> EvalRequest:
    """A request for detectors, from the options of `detect`.

    Raises:
        InputError, UnknownNameError: as `EvalRequest`.
    """
    return EvalRequest.of(models, data, **{"task": "detection", "block_size": BLOCK_SIZE, **options})

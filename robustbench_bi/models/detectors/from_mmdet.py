"""RedNet's published detection checkpoints (d-li14/involution, det/), which are of mmdet, under torchvision's names.

mmdet has the background last, and no boxes or masks for it; torchvision has it first, with a part of everything. That
part never shows: torchvision drops what is background. Anchors, the coding of boxes and the order of channels agree;
`networks` lists the differences that remain.

No such checkpoint could be had to try this on. The names are those of their code.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from robustbench_bi.errors import WeightsError

_PARTS = ("backbone.", "neck.", "rpn_head.", "roi_head.bbox_head.")
_CLASSES = 80

_RENAMED = (
    (r"backbone\.", "backbone.body."),
    (r"neck\.lateral_convs\.(\d)\.conv\.", r"backbone.fpn.inner_blocks.\1.0."),
    (r"neck\.fpn_convs\.(\d)\.(conv1\.(?:conv|bn)|conv2\.conv)\.", r"backbone.fpn.layer_blocks.\1.\2."),
    (r"neck\.fpn_convs\.(\d)\.conv\.", r"backbone.fpn.layer_blocks.\1.0."),
    (r"rpn_head\.rpn_conv\.(conv1\.(?:conv|bn)|conv2\.conv)\.", r"rpn.head.conv.0.\1."),
    (r"rpn_head\.rpn_conv\.", "rpn.head.conv.0.0."),
    (r"rpn_head\.rpn_cls\.", "rpn.head.cls_logits."),
    (r"rpn_head\.rpn_reg\.", "rpn.head.bbox_pred."),
    (r"roi_head\.bbox_head\.shared_fcs\.0\.", "roi_heads.box_head.fc6."),
    (r"roi_head\.bbox_head\.shared_fcs\.1\.", "roi_heads.box_head.fc7."),
    (r"roi_head\.bbox_head\.fc_cls\.", "roi_heads.box_predictor.cls_score."),
    (r"roi_head\.bbox_head\.fc_reg\.", "roi_heads.box_predictor.bbox_pred."),
    (r"roi_head\.mask_head\.convs\.(\d)\.(conv1\.(?:conv|bn)|conv2\.conv)\.", r"roi_heads.mask_head.\1.0.\2."),
    (r"roi_head\.mask_head\.convs\.(\d)\.conv\.", r"roi_heads.mask_head.\1.0."),
    (r"roi_head\.mask_head\.upsample\.", "roi_heads.mask_predictor.conv5_mask."),
    (r"roi_head\.mask_head\.conv_logits\.", "roi_heads.mask_predictor.mask_fcn_logits."),
)
"""What a name begins with there, and here; the first that fits."""


def is_of_mmdet(state: Mapping[str, Tensor]) -> bool:
    """Whether a checkpoint is a two-stage detector of mmdet, by its names."""
    return all(any(name.startswith(part) for name in state) for part in _PARTS)


def options_in(state: Mapping[str, Tensor]) -> dict[str, Any]:
    """The options of the network in a checkpoint of mmdet.

    Raises:
        WeightsError: it is not of RedNet and COCO's classes, of which alone it is known how their pictures are prepared
            and what their labels mean.
    """
    if not any(name.startswith("backbone.stem.1.conv2.") for name in state):
        raise WeightsError(
            "of mmdet's detectors, only those with a RedNet backbone can be converted: their ResNets differ in channel "
            "order (BGR or RGB) and stride placement, and the file does not say which it uses"
        )
    classes = len(state["roi_head.bbox_head.fc_cls.bias"]) - 1
    if classes != _CLASSES:
        raise WeightsError(f"only detectors with COCO's {_CLASSES} classes can be converted, got {classes} classes")
    filters = state["backbone.stem.1.conv2.conv.weight"].shape[0]
    groups = max(1, state["backbone.stem.0.conv.weight"].shape[0] // 16)
    return {
        "width": state["backbone.stem.4.conv.weight"].shape[0] / 64,
        "pyramid_channels": state["neck.lateral_convs.0.conv.weight"].shape[0],
        "head_channels": state["roi_head.bbox_head.shared_fcs.0.weight"].shape[0],
        "neck": _operator(state, "neck.fpn_convs.0."),
        "head": _operator(state, "rpn_head.rpn_conv."),
        "stem_kernel": round((filters / groups) ** 0.5),
    }


def _operator(state: Mapping[str, Tensor], place: str) -> str:
    return "involution" if f"{place}conv2.conv.weight" in state else "convolution"


def converted(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors under torchvision's names and in its order of classes; names that are not known stay as they are."""
    found = {}
    for name, tensor in state.items():
        own = next((re.sub(f"^{there}", here, name) for there, here in _RENAMED if re.match(there, name)), name)
        found[own] = _with_background(own, tensor)
    return found


def _with_background(name: str, tensor: Tensor) -> Tensor:
    if ".cls_score." in name:
        return torch.cat([tensor[-1:], tensor[:-1]])
    added = 4 if "box_predictor.bbox_pred." in name else 1 if ".mask_fcn_logits." in name else 0
    return torch.cat([tensor.new_zeros(added, *tensor.shape[1:]), tensor]) if added else tensor

"""Our detectors: torchvision's Faster R-CNN and Mask R-CNN on our networks, as the paper's Table 2 has them on mmdet.

What becomes another operator is what RedNet's detectors change (d-li14/involution): in the neck the four 3×3 output
convolutions of the feature pyramid; in the head the 3×3 of the region proposal network, and of Mask R-CNN the four 3×3
of the mask head. Laterals, the box head's linear layers and the mask head's deconvolution stay. The paper does not say
what Bi-volution in neck and head is; here it is `bivolution_dc` in the same places.

torchvision differs from mmdet: the background is class 0 and has boxes of its own; anchors are rounded; RoIAlign
samples two points a side and is not aligned; the box loss is smooth L1 with β = 1/9; in training 2,000 proposals are
kept after suppression; pictures are resized as floats; masks are pasted into whole pixels.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn
from torchvision.models.detection import FasterRCNN, MaskRCNN
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.backbone_utils import BackboneWithFPN
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.mask_rcnn import MaskRCNNHeads, MaskRCNNPredictor

from robustbench_bi.errors import InputError
from robustbench_bi.models import create_model
from robustbench_bi.models.detectors import OPERATORS
from robustbench_bi.models.layers import Involution2d, bivolution_dc
from robustbench_bi.models.resnet import EXPANSION, STEM_STRIDES

_LEVELS = 4
_REGION = 7
_LEARNT_FROM = 512 / 1000
_STEM_KERNEL = 3
_FROZEN = ("stem", "conv1", "bn1", "layer1")

_LAYERS: Mapping[str, Callable[[int], nn.Module]] = {"involution": Involution2d, "bivolution": bivolution_dc}


def build_network(
    backbone: str, masks: bool, num_classes: int, options: Mapping[str, Any], image_mean: Any, image_std: Any
) -> nn.Module:
    """Faster R-CNN, or with masks Mask R-CNN, on one of our networks, whose stem and first stage are frozen.

    Args:
        backbone: a row of `MODELS`.
        masks: whether it finds masks too.
        num_classes: without the background.
        options: `neck` and `head`, of `OPERATORS`; `width` and `stem` of the backbone; `pyramid_channels`;
            `head_channels`, of the box head; `smallest_anchor`, side in pixels on the finest level, which doubles from
            level to level; `min_size` and `max_size`: pictures are resized to this short side, unless their long one
            would exceed the other; `proposals` that are kept of a picture, in training twice as many, of which the box
            head learns from about a quarter (torchvision's numbers at 1,000); `stem_kernel`, side of the involution in
            RedNet's stem: 3 as in its classifiers, 7 in its published detectors.
        image_mean, image_std: of pixels from 0 to 1.

    Raises:
        InputError: neck or head is no operator, or the backbone has no involution in its stem.

    Example:
        >>> from robustbench_bi.models.detectors import OPTIONS
        >>> small = {**OPTIONS, "width": 0.125, "pyramid_channels": 32, "head_channels": 16, "neck": "bivolution"}
        >>> network = build_network("resnet50", False, 3, small, [0.5] * 3, [0.25] * 3)
        >>> type(network.backbone.fpn.layer_blocks[0]).__name__
        'Bivolution2d'
    """
    for name in ("neck", "head"):
        if options[name] not in OPERATORS:
            raise InputError(f"{name} must be one of {', '.join(OPERATORS)}, got {options[name]!r}")
    channels = options["pyramid_channels"]
    sizes = tuple((options["smallest_anchor"] << level,) for level in range(_LEVELS + 1))
    proposals = options["proposals"]
    build = MaskRCNN if masks else FasterRCNN
    network: Any = build(
        _pyramid(backbone, options),
        rpn_anchor_generator=AnchorGenerator(sizes, ((0.5, 1.0, 2.0),) * len(sizes)),
        box_head=TwoMLPHead(channels * _REGION**2, options["head_channels"]),
        box_predictor=FastRCNNPredictor(options["head_channels"], num_classes + 1),
        min_size=options["min_size"],
        max_size=options["max_size"],
        **dict.fromkeys(("rpn_pre_nms_top_n_test", "rpn_post_nms_top_n_test"), proposals),
        **dict.fromkeys(("rpn_pre_nms_top_n_train", "rpn_post_nms_top_n_train"), 2 * proposals),
        box_batch_size_per_image=math.ceil(_LEARNT_FROM * proposals),
        image_mean=image_mean,
        image_std=image_std,
        **(_mask_parts(channels, num_classes + 1) if masks else {}),
    )
    if options["head"] != "convolution":
        network.rpn.head.conv = _layer(options["head"], channels)
        if masks:
            network.roi_heads.mask_head = nn.Sequential(*(_layer(options["head"], channels) for _ in range(_LEVELS)))
    _settle_scales(network, options["stem"])
    built: nn.Module = network
    return built


def _pyramid(backbone: str, options: Mapping[str, Any]) -> nn.Module:
    """The backbone with its feature pyramid."""
    body = create_model(backbone, num_classes=0, width=options["width"], stem=options["stem"])
    if options["stem_kernel"] != _STEM_KERNEL:
        _widen_stem(body, options["stem_kernel"])
    for name, module in body.named_children():
        if name in _FROZEN:
            module.requires_grad_(False)
    widths = [int(64 * options["width"]) * EXPANSION << level for level in range(_LEVELS)]
    levels = {f"layer{level + 1}": str(level) for level in range(_LEVELS)}
    features: Any = BackboneWithFPN(body, levels, widths, options["pyramid_channels"])
    if options["neck"] != "convolution":
        for level in range(_LEVELS):
            features.fpn.layer_blocks[level] = _LAYERS[options["neck"]](options["pyramid_channels"])
    with_pyramid: nn.Module = features
    return with_pyramid


def _widen_stem(body: Any, kernel_size: int) -> None:
    """Put an involution of another side into RedNet's stem."""
    if not hasattr(body, "stem"):
        raise InputError(f"stem_kernel={kernel_size} needs a stem with an involution (RedNet or BiNet); leave it out")
    hidden = body.stem[0].conv.out_channels
    body.stem[1] = Involution2d(hidden, kernel_size=kernel_size)
    for module in body.stem[1].modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def _mask_parts(channels: int, classes: int) -> dict[str, nn.Module]:
    return {
        "mask_head": MaskRCNNHeads(channels, (channels,) * _LEVELS, 1),
        "mask_predictor": MaskRCNNPredictor(channels, channels, classes),
    }


def _settle_scales(network: Any, stem: str) -> None:
    """Tell the pools of regions how much smaller each level is than its picture.

    Left to themselves they take that from the first picture, rounded; where padding is a large part of it they take a
    wrong one, and then all later answers depend on which picture came first.
    """
    finest = math.prod(STEM_STRIDES[stem])
    side = 64 * finest << _LEVELS
    # Also where the network itself is built without memory.
    with torch.device("cpu"):
        features = {str(level): torch.zeros(1, 1, *[side // (finest << level)] * 2) for level in range(_LEVELS)}
        for pool in (network.roi_heads.box_roi_pool, network.roi_heads.mask_roi_pool):
            if pool is not None:
                pool(features, [torch.zeros(1, 4)], [(side, side)])


def _layer(operator: str, channels: int) -> nn.Module:
    return nn.Sequential(_LAYERS[operator](channels), nn.ReLU(inplace=True))

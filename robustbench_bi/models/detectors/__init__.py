"""Detectors: a table of our own, how any is asked, and where others come from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from robustbench_bi.ground.registry import Table

OPERATORS = ("convolution", "involution", "bivolution")
"""What may stand in neck and head."""

OPTIONS: Mapping[str, Any] = {
    "neck": "convolution",
    "head": "convolution",
    "width": 1.0,
    "stem": "imagenet",
    "pyramid_channels": 256,
    "head_channels": 1024,
    "smallest_anchor": 32,
    "min_size": 800,
    "max_size": 1333,
    "proposals": 1000,
    "stem_kernel": 3,
}
"""Explained at `networks.build_network`."""

ADDED = ("proposals", "stem_kernel")
"""Options that are younger than the first checkpoints and runs: they are stated only where they say more."""


@dataclass(frozen=True)
class DetectorRow:
    """A row of the table.

    Attributes:
        name: what the command line, records and figures call it.
        code: its builder.
        backbone: a row of `MODELS`.
        masks: whether it finds masks too.
        summary: one line for `list`.
        options: every option, with its default.
    """

    name: str
    code: str
    backbone: str
    masks: bool
    summary: str
    options: Mapping[str, Any] = field(default_factory=lambda: OPTIONS)


_HOME = "robustbench_bi.models.detectors.networks:build_network"
_BACKBONES = {"resnet50": "ResNet-50", "rednet50": "RedNet-50", "binet50_dc": "BiNet-50 (dc)"}

DETECTORS: Table[DetectorRow] = Table(
    "detector",
    [
        DetectorRow(
            f"{kind}_{backbone}", _HOME, backbone, kind == "maskrcnn", f"{words} with {shown} and a feature pyramid"
        )
        for kind, words in (("fasterrcnn", "Faster R-CNN"), ("maskrcnn", "Mask R-CNN"))
        for backbone, shown in _BACKBONES.items()
    ],
)

"""How large our detectors are and how much they compute, beside RedNet's published counts and the paper's Table 2."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import resources
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from robustbench_bi.models import IMAGENET_MEAN, IMAGENET_STD
from robustbench_bi.models.detectors import DETECTORS
from robustbench_bi.models.profile import filter_flops
from robustbench_bi.ops.dynamic_filter import OPERATOR

SIZE = (800, 1280)
"""Height and width of the picture that is counted for."""
BOXES, MASKS = 1000, 100
CLASSES = 80

COLUMNS = (
    "detector", "backbone", "neck_head", "model", "options", "trainable", "parameters", "macs",
    "published_parameters", "published_macs", "published_ap", "parameters_beyond",
    "paper_ap", "paper_mask_ap",
)  # fmt: skip

RULE = (
    "Parameters in millions: trainable (without the frozen stem and first stage) and all. MACs in billions at 1280×800 "
    "with 1,000 boxes and 100 masks: convolutions, matrix products, and K·K per output value of a dynamic filter. "
    "Published counts: d-li14/involution, det/; they omit frozen parameters, and the MACs of the first two Mask rows "
    "seem to omit the mask head's deconvolution and logits. Hu et al., AAAI 2022, Table 2, prints no counts. The "
    "networks are torchvision's detectors; the paper does not say how Bi-volution enters neck and head, so we chose."
)


@cache
def _rows() -> list[dict[str, Any]]:
    text = resources.files(__package__).joinpath("table2.toml").read_text(encoding="utf-8")
    rows: list[dict[str, Any]] = tomllib.loads(text)["row"]
    return rows


def table_2() -> list[dict[str, Any]]:
    """Every row of the paper's Table 2, and those that RedNet publishes counts of, counted.

    Returns:
        A dict of `COLUMNS` each: `trainable`, `parameters` (all) and `macs` are ours; `published_…` are RedNet's, in
        millions, thousand millions and percent; `parameters_beyond` is by how much our trainable ones lie outside what
        rounds to the published count, 0 inside; `paper_ap` and `paper_mask_ap` are percent. What there is not is None.

    Example:
        >>> sum(row["parameters_beyond"] == 0 for row in table_2())
        6
    """
    return [_counted(row) for row in _rows()]


def _counted(row: Mapping[str, Any]) -> dict[str, Any]:
    from robustbench_bi.models.paper import beyond_rounding

    options = {"neck": row["neck"], "head": row["head"]}
    counts = count_detector(row["model"], options)
    published = row.get("parameters")
    beyond = None if published is None else beyond_rounding(counts["trainable"] / 1e6, published)
    neck_head = f"{row['neck']} / {row['head']}"
    return {
        **dict.fromkeys(COLUMNS),
        **{name: row[name] for name in ("detector", "backbone", "model")},
        "neck_head": neck_head,
        "options": options,
        **counts,
        "published_parameters": published,
        "published_macs": row.get("macs"),
        "published_ap": row.get("published_ap"),
        "parameters_beyond": beyond,
        "paper_ap": row.get("paper_ap"),
        "paper_mask_ap": row.get("paper_mask_ap"),
    }


def count_detector(name: str, options: Mapping[str, Any]) -> dict[str, int]:
    """Parameters and multiply-accumulates of one of our detectors, built without memory for its weights.

    Args:
        name: a row of `DETECTORS`.
        options: over those of the row.

    Returns:
        `trainable` and `parameters` (all), and `macs` at 1280×800 with 1,000 boxes and 100 masks.
    """
    row = DETECTORS[name]
    with torch.device("meta"):
        build = DETECTORS.load(name)
        network = build(row.backbone, row.masks, CLASSES, {**row.options, **options}, IMAGENET_MEAN, IMAGENET_STD)
        with FlopCounterMode(display=False, custom_mapping={OPERATOR: filter_flops}) as counter:
            _run(network.eval(), row.masks)
    parameters = list(network.parameters())
    return {
        "trainable": sum(own.numel() for own in parameters if own.requires_grad),
        "parameters": sum(own.numel() for own in parameters),
        "macs": counter.get_total_flops() // 2,
    }


def _run(network: nn.Module, masks: bool) -> None:
    """Run the parts of a detector on one picture, with a fixed number of boxes."""
    parts: Any = network
    features = list(parts.backbone(torch.zeros(1, 3, *SIZE)).values())
    parts.rpn.head(features)
    channels = features[0].shape[1]
    parts.roi_heads.box_predictor(parts.roi_heads.box_head(torch.zeros(BOXES, channels, 7, 7)))
    if masks:
        parts.roi_heads.mask_predictor(parts.roi_heads.mask_head(torch.zeros(MASKS, channels, 14, 14)))


def as_text(rows: Sequence[Mapping[str, Any]]) -> tuple[list[str], list[list[str]], list[str]]:
    """The result of `table_2` for a person: column titles, cells, and the lines below the table."""
    titles = ["detector", "trainable", "all", "published", "off by", "MACs", "published", "AP published", "AP paper"]
    cells = []
    for row in rows:
        off = "" if row["parameters_beyond"] is None else f"{row['parameters_beyond']:+.3f}"
        paper = [row["paper_ap"], row["paper_mask_ap"]]
        cells.append(
            [
                ", ".join(row[name] for name in ("detector", "backbone", "neck_head")),
                f"{row['trainable'] / 1e6:.3f}",
                f"{row['parameters'] / 1e6:.3f}",
                _shown(row["published_parameters"]),
                "✓" if row["parameters_beyond"] == 0 else off,
                f"{row['macs'] / 1e9:.1f}",
                _shown(row["published_macs"]),
                row["published_ap"] or "",
                " / ".join(f"{value:.1f}" for value in paper if value is not None),
            ]
        )
    fit = [row["parameters_beyond"] for row in rows if row["parameters_beyond"] is not None]
    return (
        titles,
        cells,
        [f"Trainable parameters match the published ones in {fit.count(0.0)} of {len(fit)} rows.", RULE],
    )


def _shown(value: float | None) -> str:
    return "" if value is None else f"{value:.1f}"

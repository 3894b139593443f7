"""Names for configurations of other rows: the ablations of the paper's Tables 3 and 4, and networks of timm's.

A variant is no network of its own. It stands for a model with options, and a checkpoint of it is one of that model.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from robustbench_bi.ground.registry import Table


@dataclass(frozen=True)
class Variant:
    """A row of the table.

    Attributes:
        name: what the command line and figures call it.
        model: what it stands for, a row of `MODELS` or "timm:NAME".
        summary: one line for `list`.
        options: what it sets there; an option that is given beside its name wins.
        code: empty, it has none of its own.
    """

    name: str
    model: str
    summary: str
    options: Mapping[str, Any] = field(default_factory=dict)
    code: str = ""


def _attention(kind: str) -> Mapping[str, Any]:
    return {"block_args": {"attn_layer": kind}}


VARIANTS: Table[Variant] = Table(
    "variant",
    [
        # The base models of Tables 3 and 4, also their 1×1 rows, are rednet50 and ddf_resnet50. Without SAKG the
        # paper adds the static branch to the base, so that the dynamic one is RedNet's involution as it is.
        Variant(
            "binet50_dc_without_sakg",
            "binet50_dc",
            "Table 3: RedNet's involution and a static branch",
            {"preset": "H0", "sakg": False},
        ),
        Variant("binet50_dc_sakg3", "binet50_dc", "Tables 3, 4: SAKG 3×3, no static branch", {"dual_branch": False}),
        Variant(
            "binet50_dc_sakg3_dilated",
            "binet50_dc",
            "Table 4: SAKG 3×3 with dilation 2, no static branch",
            {"dual_branch": False, "sakg_dilation": 2},
        ),
        Variant(
            "binet50_dc_sakg5",
            "binet50_dc",
            "Table 4: SAKG 5×5, no static branch",
            {"dual_branch": False, "delta": 5},
        ),
        Variant(
            "binet50_dc_sakg7",
            "binet50_dc",
            "Table 4: SAKG 7×7, no static branch",
            {"dual_branch": False, "delta": 7},
        ),
        Variant(
            "binet50_dc_ca_without_sakg",
            "binet50_dc_ca",
            "Table 3: DDF and a static branch",
            {"sakg": False},
        ),
        Variant("binet50_dc_ca_delta3", "binet50_dc_ca", "Table 3: SAKG 3×3 and a static branch", {"delta": 3}),
        Variant(
            "binet50_dc_ca_sakg3",
            "binet50_dc_ca",
            "Tables 3, 4: SAKG 3×3, no static branch",
            {"dual_branch": False, "delta": 3},
        ),
        Variant(
            "binet50_dc_ca_sakg3_dilated",
            "binet50_dc_ca",
            "Table 4: SAKG 3×3 with dilation 2, no static branch",
            {"dual_branch": False, "delta": 3, "sakg_dilation": 2},
        ),
        Variant("binet50_dc_ca_sakg5", "binet50_dc_ca", "Table 4: SAKG 5×5, no static branch", {"dual_branch": False}),
        Variant(
            "binet50_dc_ca_sakg7",
            "binet50_dc_ca",
            "Table 4: SAKG 7×7, no static branch",
            {"dual_branch": False, "delta": 7},
        ),
        # Table 3 at the size of CIFAR; its base model is ddf_resnet29.
        Variant("binet29_dc_ca_without_sakg", "binet29_dc_ca", "DDF and a static branch", {"sakg": False}),
        Variant("binet29_dc_ca_sakg5", "binet29_dc_ca", "SAKG 5×5, no static branch", {"dual_branch": False}),
        Variant("se_resnet50", "timm:seresnet50", "SE-ResNet-50: channel attention"),
        Variant("se_resnet101", "timm:seresnet101", "SE-ResNet-101: channel attention"),
        Variant("eca_resnet50", "timm:resnet50", "ECA-ResNet-50: local channel attention", _attention("eca")),
        Variant("eca_resnet101", "timm:resnet101", "ECA-ResNet-101: local channel attention", _attention("eca")),
        Variant("res2net50_14w_8s", "timm:res2net50_14w_8s", "Res2Net-50 (14w-8s): scales within a block"),
        Variant("res2net101_26w_4s", "timm:res2net101_26w_4s", "Res2Net-101 (26w-4s): scales within a block"),
    ],
)


def resolve(name: str, options: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """A variant's model, and its options with the given ones over them; any other name as it is.

    Example:
        >>> resolve("binet50_dc_ca_sakg7", {"delta": 9})
        ('binet50_dc_ca', {'dual_branch': False, 'delta': 9})
        >>> resolve("resnet50", {})
        ('resnet50', {})
    """
    if name not in VARIANTS:
        return name, dict(options)
    variant = VARIANTS[name]
    return variant.model, {**variant.options, **options}

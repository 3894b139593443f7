"""The networks that can be evaluated: our own, their variants, and `create_model` for those and everybody else's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from robustbench_bi.errors import UnknownNameError
from robustbench_bi.ground.exports import exported
from robustbench_bi.ground.registry import Table, closest, unknown_name
from robustbench_bi.ground.sizes import proportional
from robustbench_bi.models.options import (
    CIFAR_OPTIONS,
    COMMON_OPTIONS,
    DC_CA_OPTIONS,
    DC_OPTIONS,
    DDF_OPTIONS,
    check_option,
    settle,
)
from robustbench_bi.models.sources import MODEL_SOURCES as MODEL_SOURCES
from robustbench_bi.models.sources import ModelSource as ModelSource
from robustbench_bi.models.sources import split_name
from robustbench_bi.models.variants import VARIANTS as VARIANTS
from robustbench_bi.models.variants import resolve as resolve

if TYPE_CHECKING:
    from pathlib import Path

    from torch import nn

    from robustbench_bi.models.forward_pass import forward_pass as prepare_forward_pass
    from robustbench_bi.models.inference import choose_device, logits_of
    from robustbench_bi.models.inference import score as score_logits
    from robustbench_bi.models.profile import profile as profile_model
    from robustbench_bi.models.variants import Variant
    from robustbench_bi.models.weights import Checkpoint, load_weights, read_checkpoint, save_checkpoint, weights_hash

ASSUMED = ("resize_size", "input_size", "mean", "std")
"""Preprocessing that a run says was assumed where a network does not state it."""
IMAGENET_CLASSES = 1000
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


def classes_advice(of_model: int, of_data: int) -> str:
    """What to do where a network and the data have different numbers of classes.

    Example:
        >>> classes_advice(10, 100).partition(";")[0]
        'the data have more classes than the model'
    """
    if of_model > of_data:
        return (
            "choose other weights or data; if the data cover only some of the model's classes, list all of the model's "
            "in --classes FILE, if your data take one"
        )
    if of_data == of_model + 1:
        return (
            "the data have one class more than the model; class numbers count from 0: where those in --classes FILE "
            "begin at 1, number 0 is missing there; else choose other weights or data"
        )
    if of_data == IMAGENET_CLASSES:
        return (
            "the data have more classes than the model: class folders named by ImageNet's wnids stand for all of its "
            "1,000 classes; if the model knows only the classes of these folders, list the folders in a file for "
            "--classes, one a line in class order; else choose other weights or data"
        )
    return (
        "the data have more classes than the model; choose other weights or data; if the data really have fewer "
        "classes, list these in --classes FILE, if your data take one"
    )


@dataclass(frozen=True)
class Model:
    """A row of the table.

    Attributes:
        name: what the command line, records and figures call it.
        code: its builder, which takes `depth`, `num_classes`, and the options but `input_size` and `preset`.
        family: the networks that share its layer.
        depth: its number of layers, or the letter of its size: the key of its numbers of blocks.
        summary: one line for `list`.
        options: every option, with its default.
        sized: whether its weights are for one size of images; the builder then takes `input_size` too.
    """

    name: str
    code: str
    family: str
    depth: int | str
    summary: str
    options: Mapping[str, Any] = field(default_factory=lambda: COMMON_OPTIONS)
    sized: bool = False


_HOME = "robustbench_bi.models.resnet"
_LOCAL = "robustbench_bi.models.local_attention"
_GLOBAL = "robustbench_bi.models.global_attention"
_GATES = "robustbench_bi.models.gates"
_AXIAL = "robustbench_bi.models.axial"
_SAN = "robustbench_bi.models.san"

TRUNKLESS_OPTIONS: Mapping[str, Any] = {"width": 1.0, "input_size": 224}
"""Of the networks whose stem is their own."""

ALIASES = {"binet38": "binet38_dc_ca", "binet50": "binet50_dc_ca", "binet101": "binet101_dc_ca"}
"""The paper's section on robustness is about dc-ca."""

MODELS: Table[Model] = Table(
    "model",
    [
        Model(
            *("resnet29", f"{_HOME}:resnet", "resnet", 29, "ResNet-29 for 32 pixels"),
            {**COMMON_OPTIONS, **CIFAR_OPTIONS},
        ),
        Model("resnet38", f"{_HOME}:resnet", "resnet", 38, "ResNet-38: 3×3 convolution"),
        Model("resnet50", f"{_HOME}:resnet", "resnet", 50, "ResNet-50: 3×3 convolution"),
        Model("resnet101", f"{_HOME}:resnet", "resnet", 101, "ResNet-101: 3×3 convolution"),
        Model(
            *("resnext29", f"{_HOME}:resnext", "resnext", 29, "ResNeXt-29 (32×4d) for 32 pixels"),
            {**COMMON_OPTIONS, **CIFAR_OPTIONS},
        ),
        Model("resnext50", f"{_HOME}:resnext", "resnext", 50, "ResNeXt-50 (32×4d): 3×3 convolution in groups"),
        Model("resnext101", f"{_HOME}:resnext", "resnext", 101, "ResNeXt-101 (32×4d): 3×3 convolution in groups"),
        Model("fca_resnet50", f"{_HOME}:fcanet", "fcanet", 50, "Fca-ResNet-50: channel attention by frequencies"),
        Model("fca_resnet101", f"{_HOME}:fcanet", "fcanet", 101, "Fca-ResNet-101: channel attention by frequencies"),
        Model("bam_resnet101", f"{_GATES}:bam_resnet", "bam", 101, "BAM-ResNet-101: gates between the stages"),
        Model(
            *("cbam_resnet101", f"{_GATES}:cbam_resnet", "cbam", 101, "CBAM-ResNet-101: channel, spatial attention"),
            {**COMMON_OPTIONS, "gate_bias": False},
        ),
        Model("aa_resnet50", f"{_GLOBAL}:aa_resnet", "aa", 50, "AA-ResNet-50: 3×3 beside attention", sized=True),
        Model("aa_resnet101", f"{_GLOBAL}:aa_resnet", "aa", 101, "AA-ResNet-101: 3×3 beside attention", sized=True),
        Model(
            *("axial_resnet_s", f"{_AXIAL}:axial_resnet", "axial", "s"),
            *("Axial-ResNet-S: attention along each axis", TRUNKLESS_OPTIONS, True),
        ),
        Model("standalone_resnet38", f"{_LOCAL}:standalone_resnet", "standalone", 38, "Stand-Alone-38: 7×7 attention"),
        Model("standalone_resnet50", f"{_LOCAL}:standalone_resnet", "standalone", 50, "Stand-Alone-50: 7×7 attention"),
        Model("lr_net50", f"{_LOCAL}:lr_net", "lr_net", 50, "LR-Net-50: 7×7 local relations"),
        Model("lr_net101", f"{_LOCAL}:lr_net", "lr_net", 101, "LR-Net-101: 7×7 local relations"),
        Model("san15", f"{_SAN}:san", "san", 15, "SAN15: pairwise self-attention", TRUNKLESS_OPTIONS),
        Model("san19", f"{_SAN}:san", "san", 19, "SAN19: pairwise self-attention", TRUNKLESS_OPTIONS),
        Model("rednet26", f"{_HOME}:rednet", "rednet", 26, "RedNet-26: 7×7 involution"),
        Model("rednet38", f"{_HOME}:rednet", "rednet", 38, "RedNet-38: 7×7 involution"),
        Model("rednet50", f"{_HOME}:rednet", "rednet", 50, "RedNet-50: 7×7 involution"),
        Model("rednet101", f"{_HOME}:rednet", "rednet", 101, "RedNet-101: 7×7 involution"),
        Model("rednet152", f"{_HOME}:rednet", "rednet", 152, "RedNet-152: 7×7 involution"),
        Model(
            *("ddf_resnet29", f"{_HOME}:ddf_resnet", "ddf", 29, "DDF-ResNet-29 for 32 pixels"),
            {**DDF_OPTIONS, **CIFAR_OPTIONS},
        ),
        Model("ddf_resnet38", f"{_HOME}:ddf_resnet", "ddf", 38, "DDF-ResNet-38: dynamic filters", DDF_OPTIONS),
        Model("ddf_resnet50", f"{_HOME}:ddf_resnet", "ddf", 50, "DDF-ResNet-50: dynamic filters", DDF_OPTIONS),
        Model("ddf_resnet101", f"{_HOME}:ddf_resnet", "ddf", 101, "DDF-ResNet-101: dynamic filters", DDF_OPTIONS),
        Model(
            *("binet29_dc", f"{_HOME}:binet_dc", "binet", 29, "BiNet-29 (dc) for 32 pixels"),
            {**DC_OPTIONS, **CIFAR_OPTIONS},
        ),
        Model(
            *("binet29_dc_ca", f"{_HOME}:binet_dc_ca", "binet", 29, "BiNet-29 (dc-ca) for 32 pixels"),
            {**DC_CA_OPTIONS, **CIFAR_OPTIONS},
        ),
        Model("binet38_dc", f"{_HOME}:binet_dc", "binet", 38, "BiNet-38 (dc), over involution", DC_OPTIONS),
        Model("binet50_dc", f"{_HOME}:binet_dc", "binet", 50, "BiNet-50 (dc), over involution", DC_OPTIONS),
        Model("binet101_dc", f"{_HOME}:binet_dc", "binet", 101, "BiNet-101 (dc), over involution", DC_OPTIONS),
        Model("binet38_dc_ca", f"{_HOME}:binet_dc_ca", "binet", 38, "BiNet-38 (dc-ca), over DDF", DC_CA_OPTIONS),
        Model("binet50_dc_ca", f"{_HOME}:binet_dc_ca", "binet", 50, "BiNet-50 (dc-ca), over DDF", DC_CA_OPTIONS),
        Model("binet101_dc_ca", f"{_HOME}:binet_dc_ca", "binet", 101, "BiNet-101 (dc-ca), over DDF", DC_CA_OPTIONS),
    ],
    ALIASES,
)


def create_model(
    name: str, *, num_classes: int | None = None, weights: str | Path | None = None, **options: Any
) -> nn.Module:
    """Build a network, with its weights and its preprocessing.

    The network carries plain attributes: `mean`, `std` (three floats each, of pixels scaled to [0, 1]), `input_size`,
    `resize_size` (pixels), `interpolation`, `class_names` (a tuple, or None) and `identity` (a dict for JSON: name,
    options, number of classes).

    Args:
        name: a row of `MODELS` (or an alias) or of `VARIANTS`, "package.module:function" for a function of yours that
            returns an `nn.Module`, or as a row of `MODEL_SOURCES` is written: "timm:NAME", "hf:OWNER/NAME",
            "onnx:FILE", …; or a row of `DETECTORS`, whose network maps a list of float pictures (3, H, W) from 0 to 1
            to a dict of boxes for each.
        num_classes: outputs of the classifier; None is what the checkpoint has, or 1000 without one. With 0 a row of
            ours has no classifier and returns its pooled features; so it does with None and a detector's backbone.
        weights: None or "none" for random ones, a file (.safetensors, .pth, .pt, .ckpt), "pretrained", a name of
            torchvision's ("IMAGENET1K_V1"), or "demo" for the bundled ones.
        **options: options of the row, as in `MODELS[name].options`, or keyword arguments for the other libraries.

    Returns:
        The network, in training mode, on the CPU.

    Raises:
        UnknownNameError: there is no such model.
        InputError: an option is unknown, has a wrong value, or contradicts the checkpoint.
        WeightsError: the weights are missing, broken, or those of another network.

    Example:
        >>> network = create_model("binet50", num_classes=10, width=0.25, input_size=64)
        >>> network.identity["name"], network.input_size, network.resize_size
        ('binet50_dc_ca', 64, 73)
    """
    from robustbench_bi.models.checkpoint_names import options_in
    from robustbench_bi.models.detectors import DETECTORS
    from robustbench_bi.models.named_weights import named_weights
    from robustbench_bi.models.weights import classes_of, load_weights, read_checkpoint

    if name in DETECTORS:
        from robustbench_bi.models.detectors.build import create_own_network

        return create_own_network(name, num_classes, weights, options)
    name, options = resolve(name, options)
    if (elsewhere := find_model(name)) is not None:
        source, name_there = elsewhere
        network: nn.Module = MODEL_SOURCES.load(source.name)(name_there, num_classes, weights, options)
        return network
    row = MODELS[name]
    checkpoint = None
    if weights is not None and weights != "none":
        checkpoint = named_weights(row.name, weights) or read_checkpoint(weights)
    # Other people's files have entries of their own; of another network's, `load_weights` says what it is.
    stored = checkpoint.metadata if checkpoint is not None and checkpoint.metadata.get("model") == row.name else {}
    if checkpoint is not None and not stored:
        stored = {"options": options_in(checkpoint.state, row.options)}
    if num_classes is None and checkpoint is not None and "num_classes" not in stored:
        num_classes = classes_of(checkpoint)
    chosen, classes = settle(row, options, num_classes, stored)
    arguments = {key: value for key, value in chosen.items() if key != "preset" and (row.sized or key != "input_size")}
    model: nn.Module = MODELS.load(row.name)(row.depth, num_classes=classes, **arguments)
    preprocessing = {**stored, "input_size": chosen["input_size"]}
    if chosen["input_size"] != stored.get("input_size"):
        preprocessing.pop("resize_size", None)
    attach(model, preprocessing, {"name": row.name, "options": chosen, "num_classes": classes})
    if checkpoint is not None:
        load_weights(model, checkpoint)
    return model


def check_options(name: str, options: Mapping[str, Any]) -> None:
    """Refuse options that a row of ours does not have or take; those of other libraries' networks are left to these.

    Raises:
        InputError: as `create_model`.
    """
    row, options = resolve(name, options)
    for option, value in options.items() if row in MODELS else ():
        check_option(MODELS[row], option, value)


def find_model(name: str) -> tuple[ModelSource, str] | None:
    """The source of a model, and its name there; None for one of ours. Nothing large is imported.

    Raises:
        UnknownNameError: it is a detector, or none of ours; the advice is the same name in another library, or else the
            nearest.

    Example:
        >>> find_model("binet50_dc_ca_sakg7"), find_model("timm:resnet18")[1]
        (None, 'resnet18')
        >>> find_model("shufflenet_v2_x0_5")  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        ...
        robustbench_bi.errors.UnknownNameError: unknown model 'shufflenet_v2_x0_5'. Did you mean 'torchvision:shuff...?
    """
    resolved, _ = resolve(name, {})
    found = split_name(resolved)
    if resolved in MODELS:
        return None
    from robustbench_bi.models.detectors.names import check_is_no_detector

    check_is_no_detector(name)
    if found is None:
        from robustbench_bi.models.detectors import DETECTORS
        from robustbench_bi.models.sources.library_names import listed_elsewhere

        own = [*MODELS.names, *ALIASES, *VARIANTS.names, *DETECTORS.names]
        elsewhere = listed_elsewhere(name) or (listed_elsewhere(name, near=True) if closest(name, own) is None else [])
        if elsewhere:
            known = " or ".join(map(repr, elsewhere))
            raise UnknownNameError(f"unknown model {name!r}. Did you mean {known}?")
        module, _, function = name.rpartition(".")
        if closest(name, own) is None and module and function:
            raise UnknownNameError(f"unknown model {name!r}; is it {module}:{function}, a function of your own?")
        raise unknown_name("model", name, own)
    return found


def attach(model: nn.Module, preprocessing: Mapping[str, Any], identity: Mapping[str, Any]) -> None:
    """Set the attributes that every network carries; what is not given takes ImageNet's usual values.

    Args:
        model: the network.
        preprocessing: any of the attributes that `create_model` lists; other entries are ignored.
        identity: what tells this network from others, for JSON.

    The attribute `assumed` lists what was not given of mean, std and the sizes.
    """
    input_size = preprocessing.get("input_size", 224)
    class_names = preprocessing.get("class_names")
    attributes = {
        "mean": tuple(float(value) for value in preprocessing.get("mean", IMAGENET_MEAN)),
        "std": tuple(float(value) for value in preprocessing.get("std", IMAGENET_STD)),
        "input_size": input_size,
        "resize_size": preprocessing.get("resize_size") or proportional(224, 256, input_size),
        "interpolation": str(preprocessing.get("interpolation", "bilinear")),
        **{name: str(preprocessing[name]) for name in ("crop_mode", "cut_as") if preprocessing.get(name)},
        "class_names": None if class_names is None else tuple(class_names),
        "identity": dict(identity),
        "assumed": tuple(name for name in ASSUMED if preprocessing.get(name) is None),
    }
    for name, value in attributes.items():
        setattr(model, name, value)


_HOMES = {
    "Checkpoint": "robustbench_bi.models.weights",
    "Variant": "robustbench_bi.models.variants",
    "choose_device": "robustbench_bi.models.inference",
    "load_weights": "robustbench_bi.models.weights",
    "logits_of": "robustbench_bi.models.inference",
    "prepare_forward_pass": "robustbench_bi.models.forward_pass:forward_pass",
    "profile_model": "robustbench_bi.models.profile:profile",
    "read_checkpoint": "robustbench_bi.models.weights",
    "save_checkpoint": "robustbench_bi.models.weights",
    "score_logits": "robustbench_bi.models.inference:score",
    "weights_hash": "robustbench_bi.models.weights",
}

__all__ = [
    "MODELS",
    "MODEL_SOURCES",
    "VARIANTS",
    "Checkpoint",
    "Model",
    "ModelSource",
    "Variant",
    "choose_device",
    "create_model",
    "load_weights",
    "logits_of",
    "prepare_forward_pass",
    "profile_model",
    "read_checkpoint",
    "save_checkpoint",
    "score_logits",
    "weights_hash",
]


def __getattr__(name: str) -> Any:
    return exported(__name__, _HOMES, name)


def __dir__() -> list[str]:
    return sorted(__all__)

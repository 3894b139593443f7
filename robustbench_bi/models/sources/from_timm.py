"""timm's networks."""

from __future__ import annotations

import math
import operator
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from robustbench_bi.ground.checks import is_integer
from robustbench_bi.ground.registry import unknown_name
from robustbench_bi.ground.sizes import pair, size_of
from robustbench_bi.models.sources.finish import built, downloaded, finished, weights_file

if TYPE_CHECKING:
    from torch import nn


def build(name: str, num_classes: int | None, weights: str | Path | None, options: Mapping[str, Any]) -> nn.Module:
    """Build a network of timm, with the preprocessing that timm states.

    Args:
        name: as timm knows it.
        num_classes: outputs; None for timm's own number.
        weights: "pretrained", a file, or None or "none" for random ones.
        options: keyword arguments for `timm.create_model`.

    Raises:
        UnknownNameError: timm has no such network.
        InputError: it does not take the options.
        WeightsError: the weights cannot be had, or do not fit.
    """
    import timm

    if not timm.is_model(name):
        raise unknown_name("timm model", name, timm.list_models() + timm.list_pretrained())
    pretrained = weights == "pretrained"
    file = None if pretrained else weights_file(weights, f"timm:{name}")
    arguments = {**options} if num_classes is None else {**options, "num_classes": num_classes}
    if pretrained:
        model = downloaded(f"timm's weights of {name}", lambda: timm.create_model(name, pretrained=True, **arguments))
    else:
        model = built(f"timm:{name}", lambda: timm.create_model(name, **arguments))
    return finished(model, f"timm:{name}", _preprocessing(model, options), options, model.num_classes, file)


def _preprocessing(model: nn.Module, options: Mapping[str, Any]) -> dict[str, Any]:
    """What timm's evaluation transform does."""
    from timm.data import resolve_model_data_config

    side = size_of(options.get("img_size"))
    given = {"img_size": side} if is_integer(side) else {"input_size": (3, *side)} if side else {}
    return preprocessing_of_config(resolve_model_data_config(model, given))


def preprocessing_of_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """timm's configuration of data in our words.

    Example:
        >>> config = {"input_size": (3, 448, 448), "crop_pct": 1.15, "crop_mode": "center"}
        >>> config |= {"mean": (0.5,) * 3, "std": (0.5,) * 3, "interpolation": "bicubic"}
        >>> own = preprocessing_of_config(config)
        >>> own["resize_size"], own["crop_mode"]
        (389, 'padded')
    """
    shape = config["input_size"][-2:]
    resized = size_of([math.floor(side / config["crop_pct"]) for side in shape])
    padded = config["crop_mode"] == "center" and any(map(operator.lt, pair(resized), shape))
    return {
        **{key: config[key] for key in ("mean", "std", "interpolation")},
        "input_size": size_of(shape),
        "resize_size": resized,
        "crop_mode": "padded" if padded else config["crop_mode"],
    }

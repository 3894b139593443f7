"""timm's networks."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from robustbench_bi.ground.registry import unknown_name
from robustbench_bi.models.sources.downloads import downloaded
from robustbench_bi.models.sources.finish import built, finished, last_side, weights_file

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
    from timm.data import resolve_model_data_config

    if not timm.is_model(name):
        raise unknown_name("timm model", name, timm.list_models() + timm.list_pretrained())
    pretrained = weights == "pretrained"
    file = None if pretrained else weights_file(weights, f"timm:{name}")
    arguments = {**options} if num_classes is None else {**options, "num_classes": num_classes}
    if pretrained:
        url, kept = _file_of(name)
        model = downloaded(
            f"timm's weights of {name}", lambda: timm.create_model(name, pretrained=True, **arguments), url, kept
        )
    else:
        model = built(f"timm:{name}", lambda: timm.create_model(name, **arguments))
    config = resolve_model_data_config(model, {"img_size": last_side(options.get("img_size"))})
    side = config["input_size"][-1]
    preprocessing = {
        **{key: config[key] for key in ("mean", "std", "interpolation")},
        "input_size": side,
        "resize_size": math.floor(side / config["crop_pct"]),
    }
    # How the image is cut is not part of our preprocessing; evaluation refuses what it cannot do.
    model.crop_mode = config["crop_mode"]
    return finished(model, f"timm:{name}", preprocessing, options, model.num_classes, file)


def _file_of(name: str) -> tuple[str, bool]:
    """Where the weights of a network lie on the hub, and whether they are here from an earlier time."""
    import huggingface_hub
    import timm

    config = timm.get_pretrained_cfg(name, allow_unregistered=True)
    repository = config.hf_hub_id if config is not None else None
    if not repository:
        return (config.url if config is not None and config.url else huggingface_hub.constants.ENDPOINT), False
    files = ("model.safetensors", config.hf_hub_filename or "pytorch_model.bin")
    kept = any(isinstance(huggingface_hub.try_to_load_from_cache(repository, file), str) for file in files)
    return f"{huggingface_hub.constants.ENDPOINT}/{repository}/resolve/main/{files[0]}", kept

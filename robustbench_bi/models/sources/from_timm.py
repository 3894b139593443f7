"""timm's networks."""

from __future__ import annotations

import json
import math
import operator
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from robustbench_bi.errors import WeightsError
from robustbench_bi.ground.checks import is_integer
from robustbench_bi.ground.registry import unknown_name
from robustbench_bi.ground.sizes import pair, size_of
from robustbench_bi.models.sources import downloads
from robustbench_bi.models.sources.finish import built, check_classes, finished, weights_file

if TYPE_CHECKING:
    from torch import nn

WEIGHTS = "model.safetensors"


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
        url, kept = _file_of(name)
        model = downloads.downloaded(
            f"timm's weights of {name}", lambda: timm.create_model(name, pretrained=True, **arguments), url, kept
        )
    else:
        model = built(f"timm:{name}", lambda: timm.create_model(name, **arguments))
    return finished(model, f"timm:{name}", _preprocessing(model, options), options, model.num_classes, file)


def build_from_hub(
    name: str, num_classes: int | None, weights: str | Path | None, options: Mapping[str, Any]
) -> nn.Module:
    """Build a network of timm from a repository on Hugging Face's hub, with its preprocessing and weights.

    The weights are read from safetensors, and from a pickle only as `read_checkpoint` reads one; nothing is run.

    Args:
        name: OWNER/NAME, with @REVISION where it is not the newest.
        num_classes: with the repository's own weights None or their number.
        weights: None or "pretrained" for the repository's own; a file; or "none" for random ones.
        options: keyword arguments for `timm.create_model`.

    Raises:
        InputError: timm does not take the options.
        WeightsError: the repository cannot be had, or its weights do not fit.
    """
    import timm

    full, own = f"timm:hf-hub:{name}", weights in (None, "pretrained")
    file = None if own else weights_file(weights, full)
    folder = hub_folder(name, full, ("config.json", WEIGHTS) if own else ("config.json",))
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    classes = config["num_classes"] if own or num_classes is None else num_classes
    check_classes(full, classes, num_classes)
    arguments = {**config.get("model_args", {}), **options, "num_classes": classes}
    stated = {**config["pretrained_cfg"], "num_classes": config["num_classes"]}
    model = built(full, lambda: timm.create_model(config["architecture"], pretrained_cfg=stated, **arguments))
    said = {**options, "architecture": config["architecture"], **config.get("model_args", {})}
    return finished(model, full, _preprocessing(model, options), said, classes, folder / WEIGHTS if own else file)


def hub_folder(name: str, full: str, files: tuple[str, ...]) -> Path:
    """The folder in which files of a repository lie once they have been fetched.

    Raises:
        InputError: it is no name of a repository.
        WeightsError: they cannot be had; the message says where to put them.
    """
    import huggingface_hub

    repository, revision = downloads.repository_of("timm:hf-hub", name)
    page = downloads.hub_page(repository)
    there = downloads.is_reachable(page)
    try:
        with downloads.asking_no_hub(not there):
            paths = [huggingface_hub.hf_hub_download(repository, file, revision=revision) for file in files]
    except Exception as error:  # each version of the hub's client has errors of its own
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        reason = reason if there else downloads.no_answer(page)
        raise WeightsError(
            f"{full} could not be downloaded: {reason}. Download {' and '.join(files)} from "
            f"https://huggingface.co/{repository} and use timm:ARCHITECTURE with --weights model.safetensors"
        ) from error
    return Path(paths[0]).parent


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
    return f"{downloads.hub_page(repository)}/resolve/main/{files[0]}", kept

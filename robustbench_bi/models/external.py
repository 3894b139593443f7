"""Other people's networks: timm's, torchvision's, and a function of the user's own; and ours under timm's roof.

This is the only file that names timm. Nothing heavy is imported before it is used.
"""

from __future__ import annotations

import importlib
import inspect
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from robustbench_bi.errors import BivoRobustError, InputError, WeightsError
from robustbench_bi.ground.registry import nearest, unknown_name
from robustbench_bi.models import ALIASES, MODELS, attach, create_model

if TYPE_CHECKING:
    from torch import nn

    from robustbench_bi.models.weights import Checkpoint

_TIMM_ARGUMENTS = ("pretrained_cfg", "pretrained_cfg_overlay", "cache_dir")

PREPROCESSING = ("mean", "std", "input_size", "resize_size", "interpolation", "class_names")

TORCHVISION_NAME = {"resnet50": "resnet50", "resnet101": "resnet101", "resnext50": "resnext50_32x4d"}
"""Rows of ours that torchvision's published weights fit, and what it calls them."""


def create_external(
    name: str, num_classes: int | None, weights: str | Path | None, options: Mapping[str, Any]
) -> nn.Module:
    """Build "timm:NAME", "torchvision:NAME" or "package.module:function"; the arguments are those of `create_model`."""
    family, _, rest = name.partition(":")
    if family == "timm":
        return _timm_model(rest, num_classes, weights, options)
    if family == "torchvision":
        return _torchvision_model(rest, num_classes, weights, options)
    return _own_model(name, num_classes, weights, options)


def named_weights(name: str, weights: str | Path) -> Checkpoint | None:
    """The weights of a row of ours that go by a name: "demo", "pretrained", or torchvision's; None for a file.

    "pretrained" is IMAGENET1K_V1, the weights behind ImageNet-C's published ResNet-50 numbers.

    Raises:
        WeightsError: there are none of that name, or they cannot be downloaded.
    """
    from robustbench_bi.models.weights import Checkpoint, demo_path, is_file, read_checkpoint

    if weights == "demo":
        return read_checkpoint(demo_path(name))
    if is_file(weights):
        return None
    if name not in TORCHVISION_NAME:
        raise WeightsError(
            f"there are no published weights {str(weights)!r} for {name}; "
            "give a file (.safetensors, .pth, .pt), 'demo' or 'none'"
        )
    entry = _torchvision_weights(TORCHVISION_NAME[name], "IMAGENET1K_V1" if weights == "pretrained" else str(weights))
    state = _downloaded(f"torchvision's {entry}", lambda: entry.get_state_dict(progress=False, check_hash=True))
    metadata = {**_torchvision_preprocessing(entry), "model": name, "num_classes": len(entry.meta["categories"])}
    return Checkpoint(f"torchvision's {entry}", state, metadata)


def _timm_model(
    name: str, num_classes: int | None, weights: str | Path | None, options: Mapping[str, Any]
) -> nn.Module:
    import timm
    from timm.data import resolve_model_data_config

    if not timm.is_model(name):
        raise unknown_name("timm model", name, timm.list_models() + timm.list_pretrained())
    pretrained = weights == "pretrained"
    file = None if pretrained else _file(weights, f"timm:{name}")
    arguments = {**options} if num_classes is None else {**options, "num_classes": num_classes}
    if pretrained:
        model = _downloaded(f"timm's weights of {name}", lambda: timm.create_model(name, pretrained=True, **arguments))
    else:
        model = _built(f"timm:{name}", lambda: timm.create_model(name, **arguments))
    config = resolve_model_data_config(model, {"img_size": _side(options.get("img_size"))})
    side = config["input_size"][-1]
    preprocessing = {
        **{key: config[key] for key in ("mean", "std", "interpolation")},
        "input_size": side,
        "resize_size": math.floor(side / config["crop_pct"]),
    }
    # How the image is cut is not part of our preprocessing; evaluation refuses what it cannot do.
    model.crop_mode = config["crop_mode"]
    return _finished(model, f"timm:{name}", preprocessing, options, model.num_classes, file)


def _torchvision_model(
    name: str, num_classes: int | None, weights: str | Path | None, options: Mapping[str, Any]
) -> nn.Module:
    from torchvision import models

    from robustbench_bi.models.weights import is_file

    known = models.list_models(module=models)
    if name not in known:
        raise unknown_name("torchvision model", name, known)
    full = f"torchvision:{name}"
    arguments = {**options} if num_classes is None else {**options, "num_classes": num_classes}
    if weights is None or weights == "none" or is_file(weights):
        model = _built(full, lambda: models.get_model(name, weights=None, **arguments))
        # Whose recipe such weights had is not known; the first published ones have the usual 256 and 224 pixels.
        preprocessing = _torchvision_preprocessing(next(iter(models.get_model_weights(name))))
        return _finished(model, full, preprocessing, options, num_classes or 1000, _file(weights, full))
    entry = _torchvision_weights(name, "DEFAULT" if weights == "pretrained" else str(weights))
    classes = len(entry.meta["categories"])
    if num_classes not in (None, classes):
        raise WeightsError(f"torchvision's {entry} is for {classes} classes, not {num_classes}")
    model = _downloaded(f"torchvision's {entry}", lambda: models.get_model(name, weights=entry, **options))
    return _finished(model, full, _torchvision_preprocessing(entry), options, classes, None)


def _own_model(name: str, num_classes: int | None, weights: str | Path | None, options: Mapping[str, Any]) -> nn.Module:
    """A function of the user's own; `num_classes` and the options are passed if it has parameters of those names."""
    from torch import nn

    factory = _function(name)
    parameters = inspect.signature(factory).parameters
    unknown = [option for option in options if option not in parameters]
    if unknown:
        raise InputError(f"{name} takes no argument {unknown[0]!r}; it takes: {', '.join(parameters) or 'none'}")
    file = _file(weights, name)
    takes_classes = num_classes is not None and "num_classes" in parameters
    try:
        model = factory(**options, **({"num_classes": num_classes} if takes_classes else {}))
    except BivoRobustError:
        raise
    except Exception as error:  # a user's function may raise anything; it is shown as one line with its cause
        raise InputError(f"{name} failed: {_one_line(error)}") from error
    if not isinstance(model, nn.Module):
        raise InputError(f"{name} must return a torch.nn.Module, got {type(model).__name__}")
    return _finished(model, name, _own_preprocessing(model, name), options, num_classes, file)


def _own_preprocessing(model: nn.Module, name: str) -> dict[str, Any]:
    """Which of the attributes of preprocessing the user has set, in our form."""
    taken = {*dict(model.named_buffers(recurse=False)), *dict(model.named_parameters(recurse=False))}
    for key in (*PREPROCESSING, "identity"):
        if key in taken or callable(getattr(model, key, None)):
            raise InputError(
                f"{name} has a {type(getattr(model, key)).__name__} under the name {key!r}, which is kept for a plain "
                "value that tells what the network is and how its images are prepared; rename it"
            )
    found: dict[str, Any] = {key: getattr(model, key, None) for key in PREPROCESSING}
    found = {key: value for key, value in found.items() if value is not None}
    if "input_size" in found:
        found["input_size"] = _side(found["input_size"])
        if isinstance(found["input_size"], bool) or not isinstance(found["input_size"], int):
            raise InputError(f"the attribute 'input_size' of {name} must be an integer, got {model.input_size!r}")
    for key in ("mean", "std"):
        if key in found and not _are_three_numbers(found[key]):
            raise InputError(f"the attribute {key!r} of {name} must be three numbers, got {found[key]!r}")
    return found


def _side(size: Any) -> Any:
    """A side, given alone or as the last of (channels, height, width)."""
    return size[-1] if isinstance(size, Sequence) and size else size


def _one_line(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())


def _are_three_numbers(values: Any) -> bool:
    try:
        return len([float(value) for value in values]) == 3
    except (TypeError, ValueError):
        return False


def _function(name: str) -> Callable[..., Any]:
    """Import "package.module:function"; as for a script, the current folder comes first in the search."""
    module_name, _, attribute = name.partition(":")
    advice = "a model is a name from `bivo-robust list models`, timm:NAME, torchvision:NAME or package.module:function"
    if not module_name or not attribute:
        raise InputError(f"{name!r} names no model; {advice}")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        module = importlib.import_module(module_name)
    except Exception as error:  # a user's module may raise anything while it is imported
        raise InputError(f"cannot import {module_name} for the model {name!r}: {_one_line(error)}; {advice}") from error
    function = getattr(module, attribute, None)
    if not callable(function) or (hasattr(function, "state_dict") and not inspect.isclass(function)):
        functions = [key for key, value in vars(module).items() if inspect.isfunction(value)]
        raise InputError(f"the module {module_name} has no function {attribute!r}. {nearest(attribute, functions)}")
    return function  # type: ignore[no-any-return]


def _finished(
    model: nn.Module,
    name: str,
    preprocessing: Mapping[str, Any],
    options: Mapping[str, Any],
    num_classes: int | None,
    file: str | Path | None,
) -> nn.Module:
    from robustbench_bi.models.weights import load_weights

    attach(model, preprocessing, {"name": name, "options": dict(options), "num_classes": num_classes})
    if file is not None:
        load_weights(model, file)
    return model


def _file(weights: str | Path | None, name: str) -> str | Path | None:
    """The weights as a file, or None for none."""
    from robustbench_bi.models.weights import is_file

    if weights is None or weights == "none":
        return None
    if not is_file(weights):
        raise WeightsError(
            f"there are no weights {str(weights)!r} for {name}; give a file (.safetensors, .pth, .pt) or 'none'"
        )
    return weights


def _built(name: str, build: Callable[[], nn.Module]) -> nn.Module:
    try:
        return build()
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(f"{name} cannot be built with these options: {_reason(error)}") from error


def _downloaded(what: str, fetch: Callable[[], Any]) -> Any:
    try:
        return fetch()
    except Exception as error:  # each hub, and each version of its client, has errors of its own
        raise WeightsError(f"{what} could not be had: {_reason(error)}. Give a downloaded file instead") from error


def _reason(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]


def _torchvision_weights(name: str, weights: str) -> Any:
    from torchvision import models

    known = models.get_model_weights(name)
    names = ["DEFAULT", *(entry.name for entry in known)]
    if weights not in names:
        raise WeightsError(str(unknown_name(f"weights of torchvision's {name}:", weights, names)))
    return known[weights]


def _torchvision_preprocessing(entry: Any) -> dict[str, Any]:
    """What the transforms published with the weights do."""
    preset = entry.transforms()
    return {
        "mean": preset.mean,
        "std": preset.std,
        "input_size": preset.crop_size[0],
        "resize_size": preset.resize_size[0],
        "interpolation": preset.interpolation.value,
    }


def register_with_timm() -> None:
    """Add our rows and aliases to timm's registry, so that `timm.create_model` builds them.

    Names that timm already has (`resnet50`, `resnet101`) stay timm's own. `pretrained=True` gives the weights that
    `create_model(weights="pretrained")` would give. Calling it again changes nothing.
    """
    from timm.models import is_model, register_model

    for name in (*MODELS.names, *ALIASES):
        if not is_model(name):
            register_model(_entrypoint(name))


def _entrypoint(name: str) -> Callable[..., nn.Module]:
    def build(pretrained: bool = False, **arguments: Any) -> nn.Module:
        # What timm adds for its own builders; ours have no use for it.
        options = {key: value for key, value in arguments.items() if key not in _TIMM_ARGUMENTS}
        if options.get("in_chans") == 3:
            del options["in_chans"]
        model: Any = create_model(name, weights="pretrained" if pretrained else None, **options)
        model.pretrained_cfg = {
            "architecture": name,
            "num_classes": model.num_classes,
            "input_size": (3, model.input_size, model.input_size),
            "crop_pct": model.input_size / model.resize_size,
            "interpolation": model.interpolation,
            "mean": model.mean,
            "std": model.std,
            "classifier": "fc",
        }
        return model  # type: ignore[no-any-return]

    build.__name__ = name
    return build

"""What was evaluated, in a few words: the network with its variant and size, and the images by the name they have."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from robustbench_bi.ground.sizes import in_pixels
from robustbench_bi.models import MODELS
from robustbench_bi.models.detectors import DETECTORS
from robustbench_bi.runs.run import Run

# A folder of one of these names says nothing without the one that it lies in.
_COMMON = ("val", "validation", "train", "test", "images", "data")
# Said beside the model by its side of the input, so not among the options.
_NOT_SHOWN = ("input_size",)


def data_name(config: Mapping[str, Any]) -> str:
    """The images of a run by the name of their folder, or of their source where that has none.

    Args:
        config: a run's configuration, or what a baseline keeps of it, which does not know the folder.

    Example:
        >>> data_name({"data": "folder", "runtime": {"source": "/data/imagenet/val"}}), data_name({"data": "demo"})
        ('imagenet/val/', 'demo')
        >>> data_name({"data": "cifar-10-c", "runtime": {"source": "cifar-10-c:/data/CIFAR-10-C"}})
        'cifar-10-c:CIFAR-10-C/'
    """
    kind, source = str(config["data"]), str(config.get("runtime", {}).get("source", ""))
    if not source or source == kind:
        return kind
    named, path = (kind, source[len(kind) + 1 :]) if source.startswith(f"{kind}:") else ("", source)
    parts = [part for part in re.split(r"[\\/]", path) if part not in ("", ".", "..")]
    if not parts:
        return kind
    folder = "/".join(parts[-2:]) if parts[-1].lower() in _COMMON else parts[-1]
    return (f"{named}:" if named else "") + (folder if "." in parts[-1] else f"{folder}/")


def describe_model(config: Mapping[str, Any], name: str) -> str:
    """A network: what its name does not say of its row, options and weights, its parameters and its input.

    Args:
        config: of a run.
        name: under which it is shown. Weights that are part of it are not said again.

    Example:
        >>> model = {"name": "binet50_dc_ca", "options": {"width": 0.25, "delta": 5}}
        >>> config = {"model": model, "input_size": 64, "runtime": {"parameters": 1_262_000}}
        >>> describe_model(config, "binet50")
        'binet50_dc_ca, width 0.25, 1.26 M parameters, 64 px'
        >>> model = {"name": "fasterrcnn_binet50_dc", "options": {"neck": "bivolution", "head": "convolution"}}
        >>> describe_model({"model": model, "input_size": None}, "fasterrcnn_binet50_dc")
        'neck bivolution, native size'
    """
    model, runtime = config.get("model", {}), config.get("runtime", {})
    own, weights = model.get("name"), weights_in_words(config)
    parts = [] if own in (None, runtime.get("name", name)) else [str(own)]
    if weights and not name.endswith(f"({weights})"):
        parts.append(weights)
    usual = next((table[model["name"]].options for table in (MODELS, DETECTORS) if model.get("name") in table), {})
    for option, value in dict(model.get("options") or {}).items():
        if option not in _NOT_SHOWN and not (option in usual and usual[option] == value):
            parts.append(f"{option} {value}")
    if runtime.get("parameters"):
        parts.append(_parameters(runtime["parameters"]))
    if config.get("adapt"):
        parts.append(f"adapted {config['adapt']} to batches of {config['adapt_batch']}")
    side = config["input_size"]
    return ", ".join([*parts, "native size" if side is None else in_pixels(side)])


def with_description(name: str, config: Mapping[str, Any]) -> str:
    """The name of a network and, in brackets, what it does not say.

    Example:
        >>> with_description("a", {"input_size": 64})
        'a (64 px)'
    """
    return f"{name} ({describe_model(config, name)})"


def weights_in_words(config: Mapping[str, Any]) -> str:
    """Which weights a run was asked for: a file's name, "pretrained", "weights none", or empty if none were named.

    Example:
        >>> weights_in_words({"runtime": {"requested": {"weights": ["/data/resnet50.pth"]}}})
        'resnet50.pth'
    """
    named = str((config.get("runtime", {}).get("requested", {}).get("weights") or [""])[0] or "")
    return "weights none" if named == "none" else Path(named).name


def _parameters(number: int) -> str:
    """A number of parameters to three digits.

    Example:
        >>> _parameters(1_262_000), _parameters(5_514), _parameters(40)
        ('1.26 M parameters', '5.51 k parameters', '40 parameters')
    """
    size, unit = next(((size, unit) for size, unit in ((1e6, " M"), (1e3, " k")) if number >= size), (1, ""))
    return f"{number / size:.3g}{unit} parameter{'' if number == 1 else 's'}"


def header(runs: Sequence[Run], labels: Sequence[str]) -> str:
    """What stands above a table or a figure of runs: each network with what tells it apart, and the images.

    Example:
        >>> from types import SimpleNamespace
        >>> config = {"model": {"name": "a"}, "input_size": 64, "data": "demo", "n": 500}
        >>> header([SimpleNamespace(name="a", config=config)], ["a"])
        'a (64 px) on demo, n = 500'
    """
    where: dict[str, list[str]] = {}
    for run, label in zip(runs, labels, strict=True):
        place = f"{data_name(run.config)}, n = {run.config['n']:,}"
        where.setdefault(place, []).append(with_description(label, run.config))
    return "; ".join(f"{', '.join(networks)} on {place}" for place, networks in where.items())

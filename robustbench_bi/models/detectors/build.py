"""Detectors by name: torchvision's, and those that a function of the user's own returns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from robustbench_bi.errors import InputError, WeightsError
from robustbench_bi.ground.registry import unknown_name
from robustbench_bi.models.detectors.adapters import BACKGROUND, Detector, as_detector
from robustbench_bi.models.sources import split_name
from robustbench_bi.models.sources.downloads import downloaded
from robustbench_bi.models.sources.finish import built, weights_file
from robustbench_bi.models.sources.from_function import call_function
from robustbench_bi.models.sources.from_torchvision import is_kept


def create_detector(
    name: str,
    *,
    class_names: Sequence[str] | None = None,
    weights: str | Path | None = None,
    **options: Any,
) -> Detector:
    """Build a detector, with its weights.

    Args:
        name: "torchvision:NAME", or "package.module:function" for a function of yours that returns a module or a
            function by the adapter, see `Detector`.
        class_names: of the data, which a detector without published weights is made for.
        weights: None or "none" for random ones, a file, "pretrained", or a name of torchvision's.
        **options: keyword arguments for the builder.

    Returns:
        The detector, on the CPU.

    Raises:
        UnknownNameError: there is no such detector.
        InputError: an option is unknown, or it does not say what its labels mean.
        WeightsError: the weights are missing, or those of another network.

    Example:
        >>> detector = create_detector("torchvision:ssdlite320_mobilenet_v3_large", class_names=["cat"],
        ...     weights_backbone=None)
        >>> detector.class_names, detector.limits()["score_threshold"]
        (('__background__', 'cat'), 0.001)
    """
    found = split_name(name)
    if found is None:
        raise unknown_name("detector", name, ["torchvision:NAME", "package.module:function"])
    source, name_there = found
    if source.name == "function":
        made = call_function(name, {**options, **_weights_option(weights)})
        return as_detector(made, name, {"name": name, "options": options} if options else None)
    if source.name != "torchvision":
        raise InputError(f"detectors are torchvision:NAME or package.module:function, got {name}")
    return _from_torchvision(name_there, class_names, weights, options)


def _weights_option(weights: str | Path | None) -> dict[str, Any]:
    if weights in (None, "none"):
        return {}
    return {"weights": weights}


def _from_torchvision(
    name: str, class_names: Sequence[str] | None, weights: str | Path | None, options: Mapping[str, Any]
) -> Detector:
    from torchvision.models import detection, get_model, get_model_weights, list_models

    known = list_models(module=detection)
    if name not in known:
        raise unknown_name("torchvision detector", name, known)
    full, published = f"torchvision:{name}", get_model_weights(name)
    identity = {"name": full, "options": dict(options)}
    if weights in (None, "none") or weights_is_file(weights):
        if class_names is None:
            raise InputError(f"{full} without published weights needs the classes that it is for")
        names = [BACKGROUND[0], *class_names]
        arguments = {"weights": None, "weights_backbone": None, "num_classes": len(names), **options}
        detector = Detector(built(full, lambda: get_model(name, **arguments)), None, names, identity)
        file = weights_file(weights, full)
        if file is not None:
            from robustbench_bi.models.weights import load_weights

            load_weights(detector.network, file)  # type: ignore[arg-type]
        return detector
    names_known = ["DEFAULT", *(entry.name for entry in published)]
    wanted = "DEFAULT" if weights == "pretrained" else str(weights)
    if wanted not in names_known:
        raise WeightsError(str(unknown_name(f"weights of torchvision's {name}:", wanted, names_known)))
    entry = published[wanted]
    url = entry.url
    network = downloaded(f"torchvision's {entry}", lambda: get_model(name, weights=entry, **options), url, is_kept(url))
    return Detector(network, None, entry.meta["categories"], identity)


def weights_is_file(weights: str | Path | None) -> bool:
    """Whether weights are named by a file."""
    from robustbench_bi.models.weights import is_file

    return weights is not None and is_file(weights)

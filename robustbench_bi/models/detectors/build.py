"""Detectors by name: torchvision's, and those that a function of the user's own returns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import nn

from robustbench_bi.errors import InputError, WeightsError
from robustbench_bi.ground.registry import unknown_name
from robustbench_bi.models import IMAGENET_MEAN, IMAGENET_STD
from robustbench_bi.models.detectors import ADDED, DETECTORS, DetectorRow
from robustbench_bi.models.detectors.adapters import BACKGROUND, Detector, as_detector
from robustbench_bi.models.detectors.from_mmdet import converted, is_of_mmdet, options_in
from robustbench_bi.models.detectors.names import check_detector_name
from robustbench_bi.models.options import check_option
from robustbench_bi.models.sources import split_name
from robustbench_bi.models.sources.downloads import downloaded
from robustbench_bi.models.sources.finish import built, weights_file
from robustbench_bi.models.sources.from_function import call_function
from robustbench_bi.models.sources.from_torchvision import is_kept
from robustbench_bi.models.weights import Checkpoint, load_weights, read_checkpoint

COCO_CLASSES = 80


def create_detector(
    name: str,
    *,
    class_names: Sequence[str] | None = None,
    weights: str | Path | None = None,
    **options: Any,
) -> Detector:
    """Build a detector, with its weights.

    Args:
        name: a row of `DETECTORS`, "torchvision:NAME", or "package.module:function" for a function of yours that
            returns a module or a function by the adapter, see `Detector`.
        class_names: of the data, which a detector without published weights is made for.
        weights: None or "none" for random ones, a file, "pretrained", or a name of torchvision's.
        **options: of the row, as in `OPTIONS`, or keyword arguments for the builder.

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
    check_detector_name(name)
    found = split_name(name)
    if found is None:
        return _own(name, class_names, weights, options)
    source, name_there = found
    if source.name == "function":
        made = call_function(name, {**options, **_weights_option(weights)})
        return as_detector(made, name, {"name": name, "options": options} if options else None)
    return _from_torchvision(name_there, class_names, weights, options)


def _own(
    name: str, class_names: Sequence[str] | None, weights: str | Path | None, options: Mapping[str, Any]
) -> Detector:
    """A row of ours, with the options and classes of its checkpoint where it has one."""
    network: Any = create_own_network(name, None if class_names is None else len(class_names), weights, options)
    names = network.class_names or class_names
    if names is None:
        raise InputError(f"{name} without a checkpoint needs class names, and the data gave none; give class_names")
    return Detector(network, None, [BACKGROUND[0], *names], network.identity)


def create_own_network(
    name: str, num_classes: int | None, weights: str | Path | None, options: Mapping[str, Any]
) -> nn.Module:
    """The network of a row of ours: a list of float pictures (3, H, W) from 0 to 1 in, a dict for each out.

    Args:
        name: a row of `DETECTORS`.
        num_classes: without the background; None is what the checkpoint has, or COCO's 80.
        weights: None or "none" for random ones, or a file.
        options: over those of the checkpoint and the row.

    Returns:
        The network, with the attributes `identity` and `class_names` (of its checkpoint, or None).

    Raises:
        InputError: an option is unknown, has a wrong value, or contradicts the checkpoint.
        WeightsError: the weights are missing, broken, or those of another network.
    """
    row = DETECTORS[name]
    checkpoint = None if weights in (None, "none") else _read(_file_of(name, weights), row)
    stored = {} if checkpoint is None else checkpoint.metadata
    usual = {key: row.options[key] for key in ADDED}
    stated = {**usual, **stored["options"]} if "options" in stored else {}
    chosen = {**row.options, **stated}
    for key, value in options.items():
        check_option(row, key, value)
        if chosen[key] != value and key in stated:
            raise InputError(
                f"{key}={value!r} contradicts the checkpoint, which has {key}={chosen[key]!r}; leave it out"
            )
        chosen[key] = value
    names = stored.get("class_names")
    classes = len(names) if names is not None else num_classes or COCO_CLASSES
    mean, std = (list(stored.get(key, usual)) for key, usual in (("mean", IMAGENET_MEAN), ("std", IMAGENET_STD)))
    network: Any = DETECTORS.load(name)(row.backbone, row.masks, classes, chosen, mean, std)
    told = {key: value for key, value in chosen.items() if key not in ADDED or value != usual[key]}
    network.identity = {"name": name, "options": told, "num_classes": classes}
    network.class_names = None if names is None else tuple(names)
    if checkpoint is not None:
        load_weights(network, checkpoint)
    made: nn.Module = network
    return made


def _read(file: Path, row: DetectorRow) -> Checkpoint:
    """A checkpoint of ours; or RedNet's of mmdet as one of ours would hold it."""
    checkpoint = read_checkpoint(file)
    if checkpoint.metadata or not is_of_mmdet(checkpoint.state):
        return checkpoint
    try:
        options = {**row.options, **options_in(checkpoint.state)}
    except WeightsError as error:
        raise WeightsError(f"{file}: {error}") from None
    names = [name for name in _coco_names() if name not in BACKGROUND]
    return Checkpoint(checkpoint.source, converted(checkpoint.state), {"options": options, "class_names": names})


def _coco_names() -> Sequence[str]:
    """COCO's classes in the order of their ids, among names of ids that are not used."""
    from torchvision.models.detection import FasterRCNN_ResNet50_FPN_Weights

    names: Sequence[str] = FasterRCNN_ResNet50_FPN_Weights.COCO_V1.meta["categories"]
    return names


def _file_of(name: str, weights: str | Path | None) -> Path:
    if not weights_is_file(weights):
        raise WeightsError(f"{name} has no published weights {str(weights)!r}; give a file, or 'none'")
    return Path(str(weights))


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
            raise InputError(
                f"{full} without published weights needs class names, and the data gave none; give class_names"
            )
        names = [BACKGROUND[0], *class_names]
        arguments = {"weights": None, "weights_backbone": None, "num_classes": len(names), **options}
        detector = Detector(built(full, lambda: get_model(name, **arguments)), None, names, identity)
        file = weights_file(weights, full)
        if file is not None:
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
    from robustbench_bi.models.weights_files import is_file

    return weights is not None and is_file(weights)

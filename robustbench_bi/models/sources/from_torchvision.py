"""torchvision's networks, and its published weights."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from robustbench_bi.errors import WeightsError
from robustbench_bi.ground.registry import unknown_name
from robustbench_bi.ground.sizes import size_of
from robustbench_bi.models import classes_advice
from robustbench_bi.models.sources.downloads import downloaded
from robustbench_bi.models.sources.finish import built, finished, weights_file

if TYPE_CHECKING:
    from torch import nn


def build(name: str, num_classes: int | None, weights: str | Path | None, options: Mapping[str, Any]) -> nn.Module:
    """Build a network of torchvision, with the preprocessing of its weights.

    Args:
        name: as torchvision knows it.
        num_classes: outputs; None for those of the weights, or 1000.
        weights: "pretrained" for torchvision's best, a name of torchvision's ("IMAGENET1K_V1"), a file, or None or
            "none" for random ones.
        options: keyword arguments for `torchvision.models.get_model`.

    Raises:
        UnknownNameError: torchvision has no such network.
        InputError: it does not take the options.
        WeightsError: the weights cannot be had, or do not fit.
    """
    from torchvision import models

    from robustbench_bi.models.weights_files import is_file

    known = models.list_models(module=models)
    if name not in known:
        raise unknown_name("torchvision model", name, known)
    full = f"torchvision:{name}"
    arguments = {**options} if num_classes is None else {**options, "num_classes": num_classes}
    if weights is None or weights == "none" or is_file(weights):
        model = built(full, lambda: models.get_model(name, weights=None, **arguments))
        # Whose recipe such weights had is not known; the first published ones have the usual 256 and 224 pixels.
        preprocessing = preprocessing_of_entry(next(iter(models.get_model_weights(name))))
        return finished(model, full, preprocessing, options, num_classes or 1000, weights_file(weights, full))
    entry = weights_entry(name, "DEFAULT" if weights == "pretrained" else str(weights))
    classes = len(entry.meta["categories"])
    if num_classes not in (None, classes):
        raise WeightsError(
            f"torchvision's {entry} has {classes} classes, not {num_classes}; {classes_advice(classes, num_classes)}"
        )
    model = downloaded(
        f"torchvision's {entry}",
        lambda: models.get_model(name, weights=entry, **options),
        entry.url,
        is_kept(entry.url),
    )
    return finished(model, full, preprocessing_of_entry(entry), options, classes, None)


def is_kept(url: str) -> bool:
    """Whether torch has fetched a file before."""
    import torch

    return Path(torch.hub.get_dir(), "checkpoints", Path(url).name).is_file()


def weights_entry(name: str, weights: str) -> Any:
    """An entry of torchvision's list of weights of a network; the name "DEFAULT" is for the best.

    Raises:
        WeightsError: there is none of that name.
    """
    from torchvision import models

    known = models.get_model_weights(name)
    names = ["DEFAULT", *(entry.name for entry in known)]
    if weights not in names:
        raise WeightsError(str(unknown_name(f"weights of torchvision's {name}:", weights, names)))
    return known[weights]


def preprocessing_of_entry(entry: Any) -> dict[str, Any]:
    """What the transforms published with the weights do."""
    preset = entry.transforms()
    return {
        "mean": preset.mean,
        "std": preset.std,
        "input_size": size_of(preset.crop_size),
        "resize_size": preset.resize_size[0],
        "interpolation": preset.interpolation.value,
    }

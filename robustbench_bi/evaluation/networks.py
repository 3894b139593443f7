"""The networks of an evaluation: loaded with the weights that fit the data, on their device, and tried out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from robustbench_bi.data import Dataset
from robustbench_bi.data.preprocess import Preprocessing, normalise, preprocessing_of
from robustbench_bi.errors import InputError, WeightsError
from robustbench_bi.evaluation.sharing import Share
from robustbench_bi.models import MODELS, create_model, resolve
from robustbench_bi.models.inference import choose_device, memory_format, run_network
from robustbench_bi.models.sources import brings_weights
from robustbench_bi.models.weights import is_file, read_metadata
from robustbench_bi.runs.identity import EvalConfig


def device_for(name: str, share: Share) -> torch.device:
    """The device of that name; of several processes on one machine each takes a GPU of its own, in turn.

    Raises:
        InputError: the device cannot be used here.
    """
    if share.count > 1 and name in ("auto", "cuda") and torch.cuda.is_available():
        name = f"cuda:{share.local_rank % torch.cuda.device_count()}"
    return choose_device(name)


def name_of(model: str | nn.Module) -> str:
    """The name under which a model's run is kept: as it was typed, or the class of a module."""
    return model if isinstance(model, str) else type(model).__name__


def weights_for(models: Sequence[str | nn.Module], weights: str | Sequence[str] | None) -> list[str | None]:
    """The weights of each model: one for all, one for each, or none given.

    Raises:
        InputError: there is no model, a model is given twice, or the numbers do not fit.

    Example:
        >>> weights_for(["resnet50", "binet50"], "none")
        ['none', 'none']
    """
    if isinstance(models, str) or not models:
        raise InputError(f"models must be a sequence of at least one, got {models!r}")
    for model in models:
        if not isinstance(model, (str, nn.Module)):
            raise InputError(f"a model must be a name or a torch module, got {type(model).__name__}")
    given: list[str | None] = [weights] if weights is None or isinstance(weights, (str, Path)) else list(weights)
    if len(given) == 1:
        given *= len(models)
    if len(given) != len(models):
        raise InputError(f"weights must be given once, or once for each of the {len(models)} models, got {len(given)}")
    pairs = [
        (model if isinstance(model, str) else id(model), str(own)) for model, own in zip(models, given, strict=True)
    ]
    if len(set(pairs)) < len(pairs):
        raise InputError("each model must be given once, but two are the same")
    if any(isinstance(model, nn.Module) and own is not None for model, own in zip(models, given, strict=True)):
        raise InputError("a module brings its own weights; leave weights out")
    return given


def network_for(
    model: str | nn.Module, weights: str | None, dataset: Dataset, device: torch.device, seed: int = 0
) -> nn.Module:
    """The model on the device, in evaluation mode, with the weights that fit the data; random ones come from the seed.

    Raises:
        InputError: a named model was given no weights, and none come with the data, as they do with `demo`.
        WeightsError: the weights are those of another network, or of other classes than the data's.
    """
    if isinstance(model, nn.Module):
        return model.to(device).eval()
    if weights is None and not brings_weights(model):
        weights = dataset.source.weights
        if weights is None:
            raise InputError(
                f"{model} on {dataset.kind} needs --weights: a checkpoint file, 'pretrained' or a torchvision weights "
                "name; 'none' evaluates random weights"
            )
    # Published weights keep their own classifier: asked for another size, timm would put a random one in its place.
    published = weights is not None and weights != "none" and not is_file(weights)
    own = resolve(model, {})[0] in MODELS
    if own and weights is not None and Path(weights).suffix == ".safetensors":
        classes = read_metadata(weights).get("num_classes", dataset.num_classes)
        if classes != dataset.num_classes:
            raise WeightsError(f"{weights} is for {classes} classes, and the data have {dataset.num_classes}")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed % 2**63)
        network = create_model(model, num_classes=None if published else dataset.num_classes, weights=weights)
    if own:
        _check_class_names(network, weights, dataset)
    return network.to(device).to(memory_format=memory_format(model)).eval()


def _check_class_names(network: nn.Module, weights: str | None, dataset: Dataset) -> None:
    """A checkpoint that knows its classes must have the data's; equal in number is not enough."""
    stated = getattr(network, "class_names", None)
    if stated is None or len(stated) != len(dataset.class_names):
        return
    for number, (own, other) in enumerate(zip(stated, dataset.class_names, strict=True)):
        if own != other:
            raise WeightsError(
                f"{weights} was trained on other classes: class {number} is {own!r} there and {other!r} in the data. "
                "Give the right data, or the names by --classes FILE"
            )


def preprocessing_for(network: nn.Module, dataset: Dataset, overrides: dict[str, Any]) -> Preprocessing:
    """The model's preprocessing, with overrides; images of a fixed native size are used as they are.

    Raises:
        InputError: an override is out of range, or sets the size of images that are not resized; or the model wants its
            images squashed, which is not done here.
    """
    sizes = {"input_size", "resize_size", "interpolation"} & set(overrides)
    if dataset.native_size is not None:
        if sizes:
            raise InputError(
                f"{dataset.kind} images are {dataset.native_size} pixels and are not resized; leave out {min(sizes)}"
            )
        prepared = preprocessing_of(network, **overrides)
        return replace(prepared, input_size=dataset.native_size, resize_size=dataset.native_size)
    crop_mode = getattr(network, "crop_mode", "center")
    if crop_mode != "center" and "resize_size" not in overrides:
        raise InputError(
            f"this model was made for crop mode {crop_mode!r}, and only the centre crop is done here; "
            "give --resize-size to evaluate it on centre crops"
        )
    return preprocessing_of(network, **overrides)


def try_out(network: nn.Module, prepared: Preprocessing, config: EvalConfig, dataset: Dataset) -> None:
    """Run the network on one image, so that a size or a number of classes that does not fit is found at once.

    Raises:
        DataError: the image cannot be brought to the network's size.
        ModelOutputError: the network fails on it, or returns another shape than the data's classes ask for.
    """
    image = dataset.read([0], prepared, cell=config.cells[0])
    logits_of(network, torch.from_numpy(image).to(config.device), prepared, config)


def logits_of(network: nn.Module, batch: torch.Tensor, prepared: Preprocessing, config: EvalConfig) -> torch.Tensor:
    """Float32 logits (B, K) of uint8 images (B, 3, H, W) on the network's device."""
    images = normalise(batch, prepared).contiguous(memory_format=memory_format(config.name))
    return run_network(network, images, config.name, config.precision, config.num_classes)

"""The networks of an evaluation: loaded with the weights that fit the data, on their device, and configured."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from robustbench_bi.data import Dataset
from robustbench_bi.data.broken import without_broken
from robustbench_bi.data.class_spaces.answers import Answers
from robustbench_bi.data.preprocess import Cut, Preprocessing, normalise, preprocessing_of, resize_images
from robustbench_bi.errors import InputError, WeightsError
from robustbench_bi.evaluation.configure import configure_run
from robustbench_bi.evaluation.opening import check_resizable
from robustbench_bi.evaluation.ready import as_begun, as_known, made_ready
from robustbench_bi.evaluation.request import EvalRequest, needs_weights
from robustbench_bi.evaluation.sharing import ALONE, Share
from robustbench_bi.evaluation.views import View, fitted_view, plain_view
from robustbench_bi.ground.sizes import CROP_MODES, CUT_AS
from robustbench_bi.models import MODELS, classes_advice, create_model, resolve
from robustbench_bi.models.forward_pass import ForwardPass
from robustbench_bi.models.independence import SAYS
from robustbench_bi.models.inference import choose_device, memory_format
from robustbench_bi.models.sources import brings_weights, split_name
from robustbench_bi.models.weights import read_metadata
from robustbench_bi.models.weights_files import is_file
from robustbench_bi.runs.identity import EvalConfig


@dataclass(frozen=True)
class Subject:
    """A network that is ready to run.

    Attributes:
        label: its name in frames and figures; where two share one, the fingerprint is added.
        network: on its device, in evaluation mode.
        preprocessing: how its images are cut and normalised.
        config: what it is and on what; its device, batch size and workers are those to use.
        answers: which answers compete and count; None where it is the label among all classes.
        fitted_to: the side in pixels at which the network sees what was cut and corrupted at another one; None where
            the two are one.
    """

    label: str
    network: nn.Module
    preprocessing: Preprocessing
    config: EvalConfig
    answers: Answers | None = None
    fitted_to: int | None = None

    @property
    def cut(self) -> Cut:
        """How its images are cut."""
        return self.preprocessing.cut

    @property
    def name(self) -> str:
        """The model as it was typed."""
        return self.config.name

    @property
    def precision(self) -> str:
        """Of the forward pass."""
        return self.config.precision

    @property
    def batch_size(self) -> int:
        """Images a forward pass."""
        return int(self.config.batch_size)

    @property
    def num_classes(self) -> int:
        """Of the data."""
        return self.config.num_classes

    def prepared(self, images: Tensor) -> Tensor:
        """Uint8 images (B, 3, H, W) as the network wants them: normalised, on its device, in its memory format.

        Float images are what this made of others before, and stay as they are.
        """
        if images.is_floating_point():
            return images
        if self.fitted_to is not None:
            pictures = resize_images(images.cpu().numpy(), self.fitted_to, str(self.config.interpolation))
            images = torch.from_numpy(pictures)
        normalised = normalise(images.to(self.config.device), self.preprocessing)
        return normalised.contiguous(memory_format=memory_format(self.name))


@dataclass(frozen=True)
class Networks:
    """The networks of a request, loaded once; they are configured for a dataset, and again when images are left out.

    Attributes:
        request: what was asked for.
        device: where they are.
        loaded: the networks, in the order of the request.
        views: how they get to see the images.
        forwards: the networks as they are asked, once they have been made ready for that.
        batch_size: images a forward pass.
    """

    request: EvalRequest
    device: torch.device
    loaded: tuple[nn.Module, ...]
    views: tuple[View, ...]
    forwards: tuple[ForwardPass, ...]
    batch_size: int

    def configured(self, dataset: Dataset, broken: tuple[dict[str, Any], ...] = ()) -> list[Subject]:
        """The networks on a dataset.

        Raises:
            InputError, DataError: as `configure_run`; or two models are the same network with the same weights.
        """
        names = [name_of(model) for model in self.request.models]
        configs = [
            configure_run(self.request.alone(number), *parts, dataset, self.device, broken)
            for number, parts in enumerate(zip(names, self.loaded, self.views, strict=True))
        ]
        configs = [
            replace(config, batch_size=self.batch_size, remarks=(*config.remarks, *_dependence(config, forward)))
            for config, forward in zip(configs, self.forwards, strict=True)
        ]
        configs = [
            as_known(config, (None, forward.how), dataset, self.request.out)
            for config, forward in zip(configs, self.forwards, strict=True)
        ]
        forms = zip(self.loaded, self.forwards, configs, strict=True)
        chosen = [as_begun(*parts, self.request.out) for parts in forms]
        configs = [config for _, config in chosen]
        labels = [config.name if names.count(config.name) == 1 else config.folder for config in configs]
        if len(set(labels)) < len(labels):
            raise InputError("give each model once; two are the same network with the same weights")
        networks = [network for network, _ in chosen]
        return [
            Subject(label, network, view.preprocessing, config, dataset.answers, view.fitted_to)
            for label, network, view, config in zip(labels, networks, self.views, configs, strict=True)
        ]


def _dependence(config: EvalConfig, forward: ForwardPass) -> list[str]:
    """The remark on a network whose answers depend on more than their image."""
    found = forward.about.get("depends_on")
    return [f"{config.name} {SAYS[found]}"] if found else []


def load_networks(
    request: EvalRequest, dataset: Dataset, share: Share = ALONE, *, look_inside: bool = False
) -> Networks:
    """Load the networks of a request for its images, and make them ready for many forward passes.

    Args:
        request: what was asked for.
        dataset: the images.
        share: which of several processes this is.
        look_inside: the layers of the networks are to be seen, so they stay as they came.

    Raises:
        InputError: the device cannot be used, weights are missing, or the preprocessing does not go with the images.
        UnknownNameError, WeightsError: as `create_model`; or the weights are of other classes than the data's.
    """
    device = device_for(request.device, share)
    loaded = tuple(
        network_for(model, own, dataset, device, request.seed, _side_of_images(dataset, request))
        for model, own in zip(request.models, request.weights or (), strict=True)
    )
    views = tuple(view_of(network, dataset, request) for network in loaded)
    names = [name_of(model) for model in request.models]
    return Networks(request, device, loaded, views, *made_ready(request, names, loaded, views, device, look_inside))


def open_subjects(
    request: EvalRequest, dataset: Dataset, *, look_inside: bool = False
) -> tuple[Dataset, list[Subject]]:
    """Load the networks of a request for images, without the images that cannot be decoded.

    Args:
        request: what was asked for; its own data are not opened.
        dataset: images with labels, or pictures without: then a network has as many outputs as its weights say.
        look_inside: as for `load_networks`.

    Returns:
        The dataset without broken images, and the networks in order.

    Raises:
        InputError: two models are the same, or as `load_networks`.
        UnknownNameError, DataError, WeightsError: as `load_networks`, or an image cannot be decoded.

    Example:
        >>> request = EvalRequest.of(["resnet50"], limit=8)
        >>> dataset, (subject,) = open_subjects(request, request.data.open())
        >>> subject.label, subject.preprocessing.cut, subject.config.n
        ('resnet50', (64, 64, 'bilinear'), 8)
    """
    if request.adapt is not None:
        raise InputError("this analysis does not adapt networks to batches; leave adapt out")
    networks = load_networks(request, dataset, look_inside=look_inside)
    dataset, broken = without_broken(dataset, None, request.workers or 0, request.skip_broken)
    return dataset, networks.configured(dataset, broken)


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


def network_for(
    model: str | nn.Module,
    weights: str | None,
    dataset: Dataset,
    device: torch.device,
    seed: int = 0,
    size: Any = None,
) -> nn.Module:
    """The model on the device, in evaluation mode, with the weights that fit the data; random ones come from the seed.

    Args:
        model: a name, or a module.
        weights: as in `EvalRequest`.
        dataset: images with labels; or pictures of one nameless class, which any network may look at.
        device: where it shall be.
        seed: of random weights.
        size: of the images that it will see, for files of networks that do not state it; None where it is not known.

    Raises:
        InputError: a named model was given no weights, and none come with the data, as they do with `demo`.
        WeightsError: the weights are those of another network, or of other classes than the data's.
    """
    if isinstance(model, nn.Module):
        return model.to(device).eval()
    weights = _chosen_weights(model, weights, dataset)
    own, labelled = resolve(model, {})[0] in MODELS, dataset.num_classes > 1
    # Published weights keep their own classifier: asked for another size, timm would put a random one in its place.
    published = weights is not None and weights != "none" and not is_file(weights)
    if own and labelled and weights is not None and Path(weights).suffix == ".safetensors":
        classes = read_metadata(weights).get("num_classes", dataset.num_classes)
        if classes != dataset.num_classes:
            raise WeightsError(
                f"{weights} has {classes} classes, but the data have {dataset.num_classes}; "
                f"{classes_advice(classes, dataset.num_classes)}"
            )
    asked_for: dict[str, Any] = {"num_classes": None if published else dataset.num_classes} if labelled else {}
    elsewhere = split_name(model)
    if size is not None and elsewhere is not None and elsewhere[0].takes_size:
        asked_for["input_size"] = size
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed % 2**63)
        network = create_model(model, weights=weights, **asked_for)
    if own and labelled:
        _check_class_names(network, weights, dataset)
    elif labelled:
        _check_class_order(network, model, dataset)
    return network.to(device).to(memory_format=memory_format(model)).eval()


def _side_of_images(dataset: Dataset, request: EvalRequest) -> Any:
    """The size at which networks see the images, where it is not theirs to say."""
    fitted = request.fit or request.corrupt_size is not None
    return request.preprocessing.get("input_size") or (None if fitted else dataset.native_size)


def _chosen_weights(model: str, weights: str | None, dataset: Dataset) -> str | None:
    """The weights that were named; those that come with the data; none where the network brings its own.

    Raises:
        InputError: they must be named, and were not.
    """
    if weights is not None or brings_weights(model):
        return weights
    if dataset.num_classes == 1:
        raise InputError(
            f"{model} on images without labels needs --weights: a checkpoint file, 'pretrained', a torchvision "
            "weights name, 'demo', or 'none' for random weights"
        )
    if dataset.source.weights is None:
        raise needs_weights(model, dataset.name)
    return dataset.source.weights


def _check_class_names(network: nn.Module, weights: str | None, dataset: Dataset) -> None:
    """A checkpoint that knows its classes must have the data's; equal in number is not enough."""
    stated = getattr(network, "class_names", None)
    if stated is None or len(stated) != len(dataset.class_names):
        return
    for number, (own, other) in enumerate(zip(stated, dataset.class_names, strict=True)):
        if own != other:
            raise WeightsError(
                f"{weights} was trained on different classes: class {number} is {own!r} there and {other!r} in the "
                "data. "
                "Use matching data, or give the names with --classes FILE"
            )


def _check_class_order(network: nn.Module, model: str, dataset: Dataset) -> None:
    """A network from elsewhere may name its classes in other words, but not give the data's names other numbers.

    Of synonyms with commas, as in ImageNet's names, the first counts; a name that two classes share says nothing.
    """
    stated, own = (_numbers(names) for names in (getattr(network, "class_names", None) or (), dataset.class_names))
    moved = [name for name in own if own[name] != stated.get(name, own[name])]
    if moved:
        name = min(moved, key=own.__getitem__)
        raise WeightsError(
            f"{model} has the classes of the data in another order: {name!r} is class {stated[name]} there and "
            f"{own[name]} in the data. Give the network's order with --classes FILE"
        )


def _numbers(names: Sequence[str]) -> dict[str, int]:
    """The number of each class whose name no other has."""
    words = [str(name).partition(",")[0].replace("_", " ").strip().casefold() for name in names]
    count = Counter(words)
    return {word: number for number, word in enumerate(words) if count[word] == 1}


def view_of(network: nn.Module, dataset: Dataset, request: EvalRequest) -> View:
    """How a network gets to see the images of a request.

    Raises:
        InputError: as `preprocessing_for` or `fitted_view`.
        DataError: the side of stored images cannot be read.
    """
    if request.fit or request.corrupt_size is not None:
        return fitted_view(network, dataset, request)
    return plain_view(preprocessing_for(network, dataset, request.preprocessing), dataset, request)


def preprocessing_for(network: nn.Module, dataset: Dataset, overrides: dict[str, Any]) -> Preprocessing:
    """The model's preprocessing, with overrides; images of a fixed native size are used as they are.

    Raises:
        InputError: an override is out of range, or sets the size of images that are not resized; or the model states a
            crop mode without the size that goes with it.
    """
    check_resizable(dataset, overrides)
    if dataset.native_size is not None:
        prepared = preprocessing_of(network, **overrides)
        side = dataset.native_size
        return replace(prepared, input_size=side, resize_size=side, crop_mode=CROP_MODES[0], cut_as=CUT_AS[0])
    crop_mode = getattr(network, "crop_mode", CROP_MODES[0])
    if crop_mode != CROP_MODES[0] and getattr(network, "resize_size", overrides.get("resize_size")) is None:
        raise InputError(f"this model states crop mode {crop_mode!r} but not the size to resize to; give --resize-size")
    prepared = preprocessing_of(network, **overrides)
    if dataset.stored_cells is not None and prepared.shape != (prepared.side, prepared.side):
        raise InputError(f"{dataset.kind} files are square, and this model takes {prepared.shape}")
    return prepared

"""The detectors of an evaluation: loaded, on their device, their classes matched by name to the data's, configured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from robustbench_bi.data import Dataset
from robustbench_bi.errors import DataError, InputError
from robustbench_bi.evaluation.configure import configure_run
from robustbench_bi.evaluation.networks import device_for
from robustbench_bi.evaluation.ready import as_known
from robustbench_bi.evaluation.request import PREPROCESSING, EvalRequest
from robustbench_bi.evaluation.sharing import ALONE, Share
from robustbench_bi.ground.checks import SMALLEST_SIDE
from robustbench_bi.models.detectors.adapters import BACKGROUND, LIMITS, Detector, as_detector
from robustbench_bi.models.detectors.build import create_detector
from robustbench_bi.models.sources import brings_weights
from robustbench_bi.runs.identity import EvalConfig

if TYPE_CHECKING:
    from numpy.typing import NDArray

_LISTED = 8
SYNONYMS: Mapping[str, str] = {
    "airplane": "aeroplane",
    "motorcycle": "motorbike",
    "couch": "sofa",
    "dining table": "diningtable",
    "potted plant": "pottedplant",
    "tv": "tvmonitor",
}
"""COCO's name of a class → PASCAL VOC's of the same; their other 14 common classes have one name."""


@dataclass(frozen=True)
class DetectorSubject:
    """A detector that is ready to run; see `networks.Subject`.

    Attributes:
        label: its name in frames and figures.
        network: on its device, in evaluation mode.
        categories: by label, the class number of the data, or −1 for a class that they do not have.
        config: what it is and on what.
    """

    label: str
    network: Detector
    categories: NDArray[np.int64]
    config: EvalConfig
    preprocessing: None = None

    @property
    def cut(self) -> None:
        """How its pictures are cut: not at all."""

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
        """Pictures a forward pass."""
        return int(self.config.batch_size)

    def prepared(self, images: list[torch.Tensor]) -> list[torch.Tensor]:
        """Pictures as the detector wants them: as they are."""
        return images


@dataclass(frozen=True)
class Detectors:
    """The detectors of a request, loaded once; see `networks.Networks`."""

    request: EvalRequest
    device: torch.device
    loaded: tuple[Detector, ...]

    def configured(self, dataset: Dataset, broken: tuple[dict[str, Any], ...] = ()) -> list[DetectorSubject]:
        """The detectors on a dataset.

        Raises:
            InputError: their classes lack some of the data's; two models are the same; or as `configure_run`.
            DataError: the images have no object to find, or are too small to be corrupted.
        """
        check_objects(dataset)
        if self.request.corruptions:
            check_sizes(dataset)
        names = [_name_of(model) for model in self.request.models]
        matched = [match_classes(own, name, dataset) for own, name in zip(self.loaded, names, strict=True)]
        known = [with_synonyms(dataset, synonyms_of(own, dataset)) for own in self.loaded]
        configs = [
            configure_run(self.request, name, own, None, data, self.device, broken, own.limits())
            for name, own, data in zip(names, self.loaded, known, strict=True)
        ]
        configs = [as_known(config, [config.forward], dataset, self.request.out) for config in configs]
        labels = [config.name if names.count(config.name) == 1 else config.folder for config in configs]
        if len(set(labels)) < len(labels):
            raise InputError("give each model once; two are the same network with the same weights")
        return [DetectorSubject(*parts) for parts in zip(labels, self.loaded, matched, configs, strict=True)]


def check_objects(dataset: Dataset) -> None:
    """Refuse images without an object to find, on which no average precision is defined.

    Raises:
        DataError: there is none, or all are crowds or difficult.
    """
    if dataset.objects is None:
        return
    objects = dataset.objects.of(dataset.image_ids)
    if not (~(objects["crowd"] | objects["difficult"])).any():
        raise DataError(
            f"{dataset.name} has no object to find in {len(dataset)} images, so average precision is not defined "
            "there; choose images with objects"
        )


def check_sizes(dataset: Dataset) -> None:
    """Refuse images that cannot be corrupted, before any is.

    Raises:
        DataError: one has fewer pixels across or down than corruptions need.
    """
    if dataset.objects is None:
        return
    sizes = dataset.objects.sizes_of(dataset.image_ids)
    small = np.flatnonzero(sizes.min(axis=1) < SMALLEST_SIDE)
    if len(small):
        width, height = sizes[small[0]]
        raise DataError(
            f"{len(small)} of {len(sizes)} images of {dataset.name} are too small to corrupt, the first of them image "
            f"{dataset.image_ids[small[0]]} with {width}×{height} pixels; leave out those under {SMALLEST_SIDE} "
            "pixels across or down"
        )


def load_detectors(request: EvalRequest, dataset: Dataset, share: Share = ALONE) -> Detectors:
    """Load the detectors of a request.

    Raises:
        InputError: the device cannot be used, weights are missing, or an option is not for detectors.
        UnknownNameError, WeightsError: as `create_detector`.
    """
    unfit = [name for name in PREPROCESSING if getattr(request, name) is not None]
    unfit += [name for name in ("fit", "corrupt_size", "no_resize") if getattr(request, name)]
    if unfit:
        raise InputError(f"detectors prepare their own input; leave out {unfit[0]}")
    if request.batch_size == "auto" or request.compile:
        name = "compile cannot be set" if request.compile else "batch_size cannot be auto"
        raise InputError(f"detectors take images of any size, so {name}; leave it out")
    device = device_for(request.device, share)
    loaded = tuple(
        _load(model, own, dataset, request).to(device).eval()
        for model, own in zip(request.models, request.weights or (), strict=True)
    )
    return Detectors(request, device, loaded)


def _load(model: Any, weights: str | None, dataset: Dataset, request: EvalRequest) -> Detector:
    if isinstance(model, str):
        chosen = weights if weights is not None or brings_weights(model) else dataset.source.weights
        if chosen is None and not brings_weights(model):
            raise InputError(
                f"{model} on {dataset.kind} needs --weights: a checkpoint file, 'pretrained' or a torchvision weights "
                "name; 'none' evaluates random weights"
            )
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(request.seed % 2**63)
            detector = create_detector(
                model, class_names=dataset.class_names, weights=chosen, **(request.model_options or {})
            )
    else:
        detector = as_detector(model, _name_of(model))
    detector.limit({name: getattr(request, name) for name in LIMITS})
    return detector


def _name_of(model: Any) -> str:
    """The name under which a model's run is kept: as it was typed, or that of a function or class."""
    return model if isinstance(model, str) else getattr(model, "__name__", type(model).__name__)


def match_classes(detector: Detector, name: str, dataset: Dataset) -> NDArray[np.int64]:
    """By label of a detector, the class number of the data of the same name; −1 where there is none.

    Raises:
        InputError: a class of the data is not among the detector's, or one of these stands twice.

    Example:
        >>> from robustbench_bi.models.detectors.adapters import Detector
        >>> from types import SimpleNamespace
        >>> detector = Detector(None, print, ["__background__", "dog", "tv"], {})
        >>> match_classes(detector, "mine", SimpleNamespace(class_names=("tvmonitor", "dog"))).tolist()
        [-1, 1, 0]
    """
    own = [label for label in detector.class_names if label not in BACKGROUND]
    meant = {label: label for label in dataset.class_names} | synonyms_of(detector, dataset)
    lacking = [label for label in dataset.class_names if meant[label] not in own]
    if lacking:
        shown = ", ".join(repr(label) for label in lacking[:_LISTED]) + (", …" if len(lacking) > _LISTED else "")
        others = ", ".join(repr(label) for label in own[:_LISTED]) + (", …" if len(own) > _LISTED else "")
        raise InputError(
            f"{name} lacks {len(lacking)} of the {len(dataset.class_names)} classes of the data: {shown}; its own are "
            f"{others}. Classes are matched by name"
        )
    twice = next((label for label in own if own.count(label) > 1), None)
    if twice is not None:
        raise InputError(f"{name} has the class {twice!r} twice in class_names; each must appear once")
    numbers = {meant[label]: number for number, label in enumerate(dataset.class_names)}
    return np.array([numbers.get(label, -1) for label in detector.class_names], dtype=np.int64)


def synonyms_of(detector: Detector, dataset: Dataset) -> dict[str, str]:
    """The classes of the data that a detector has under the other name of `SYNONYMS` alone, and that name.

    Where the detector has the data's own name, or the data have both names as classes of their own, nothing is guessed.
    """
    other = {**SYNONYMS, **{voc: coco for coco, voc in SYNONYMS.items()}}
    return {
        label: other[label]
        for label in dataset.class_names
        if label in other
        and label not in detector.class_names
        and other[label] in detector.class_names
        and other[label] not in dataset.class_names
    }


def with_synonyms(dataset: Dataset, synonyms: Mapping[str, str]) -> Dataset:
    """A dataset that says which of its classes a detector knows under another name."""
    if not synonyms:
        return dataset
    pairs = ", ".join(f"{own} is the detector's {other}" for own, other in synonyms.items())
    return replace(dataset, remarks=(*dataset.remarks, f"Classes with two names: {pairs}"))

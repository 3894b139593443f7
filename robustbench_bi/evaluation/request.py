"""What a user asked to be evaluated, in one frozen and checked object that goes down all layers."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from robustbench_bi.corruptions import PIXEL_VERSION, resolve_suite, resolve_table
from robustbench_bi.data import find_source, named_source
from robustbench_bi.data.request import DataRequest
from robustbench_bi.errors import InputError
from robustbench_bi.evaluation.adapting import check_adapting
from robustbench_bi.ground.cells import Cell, parse_severities
from robustbench_bi.ground.checks import (
    check_integer,
    check_quality,
    check_resize,
    check_seed,
    check_side,
    check_std,
    is_integer,
)
from robustbench_bi.ground.cores import default_workers
from robustbench_bi.ground.declared import Option, declaration_of, requested
from robustbench_bi.ground.devices import check_device
from robustbench_bi.ground.registry import nearest
from robustbench_bi.ground.sizes import CROP_MODES, CUT_AS, INTERPOLATIONS
from robustbench_bi.models.sources import brings_weights
from robustbench_bi.models.weights_files import TORCHVISION_NAME
from robustbench_bi.runs.identity import BLOCK_SIZE
from robustbench_bi.runs.settings import GENERATORS, PRECISIONS, Settings
from robustbench_bi.tasks import task_of

if TYPE_CHECKING:
    from torch import nn

OTHER_WORDS = {"corruptions": "suite"}
"""What other functions call an option of an evaluation."""

PREPROCESSING = ("mean", "std", "input_size", "resize_size", "interpolation", "crop_mode", "cut_as", "channels")


@dataclass(frozen=True, kw_only=True)
class EvalRequest(Settings):
    """An evaluation: which networks, images and corruptions, and how. Its settings are those of `Settings`.

    Attributes:
        models: names as for `create_model`, or modules that map normalised float images (B,3,H,W) to logits (B,K). A
            module's attributes `mean`, `std`, `input_size` are its preprocessing, where it has them.
        weights: for models given by name: a file, a torchvision weights name, "pretrained", "none" or "demo"; one for
            all, or one for each. Without it the `demo` source takes the bundled demo weights, and a user's own factory
            brings its own.
        model_options: options of detectors that are given by name, such as {"neck": "involution"}; they are part of
            what a network is.
        data: the images.
        suite: a suite, a category, or corruption names with commas, or a sequence of names.
        out: folder of runs; each run is a folder in it.
        skip_broken: leave out images that cannot be decoded and list them in the run, instead of stopping.
        block_size: images a block; part of the run's identity, because it sets the record files.

    Raises:
        InputError: an option is out of range.
        UnknownNameError: a name is in no table.

    Example:
        >>> request = EvalRequest(models=["resnet50"], suite="fog,snow", severities="1,5")
        >>> request.corruptions, request.severities, request.data.source
        (('snow', 'fog'), (1, 5), 'demo')
    """

    models: Sequence[str | nn.Module] = requested(
        option=Option(
            "A name from `list models`, timm:NAME, torchvision:NAME, hf:OWNER/NAME, onnx:FILE, export:FILE, "
            "torchscript:FILE, or your own package.module:function. Repeat it to evaluate several models on the same "
            "corrupted batches.",
            metavar="NAME",
            name="model",
            multiple=True,
            complete="models",
        )
    )
    weights: str | Sequence[str | None] | None = requested(
        default=None,
        option=Option(
            "A checkpoint (.pth, .pt, .ckpt, .safetensors), a torchvision weights name, pretrained, none (random) or "
            "demo. Give one for all models or one for each. Defaults to demo on the demo data; your own function and "
            "files of whole networks bring their own.",
            metavar="W",
            multiple=True,
        ),
    )
    model_options: Mapping[str, Any] | None = requested(default=None)
    data: DataRequest = requested(
        default=DataRequest(),
        option=Option(
            "A folder with one subfolder per class, or a source such as imagenet-c:PATH; see `list data`.",
            metavar="SOURCE",
            shown="demo",
            complete="sources",
        ),
    )
    suite: str | Sequence[str] = requested(
        default="imagenet-c",
        option=Option(
            "A suite, a category or comma-separated corruptions; see `list suites`.", complete="suites", commas=True
        ),
    )
    out: str | Path = requested(default="runs", option=Option("Folder of runs.", "path"))
    skip_broken: bool = requested(
        default=False, option=Option("Skip images that cannot be decoded, and report them.", "flag")
    )
    block_size: int = requested(default=BLOCK_SIZE)

    def __post_init__(self) -> None:
        settled: dict[str, Any] = {
            "severities": () if self.suite == () else parse_severities(self.severities),
            "jpeg": _jpeg(self.jpeg),
            "workers": default_workers() if self.workers is None else check_integer("workers", self.workers, 0),
            "out": _folder(self.out),
            "no_resize": True if self.no_resize else None,
        }
        _check_choice("precision", self.precision, PRECISIONS)
        _check_choice("generator", self.generator, GENERATORS[:2])
        check_seed(self.seed)
        if self.pixel_version != PIXEL_VERSION:
            raise InputError(f"this version makes pixels of version {PIXEL_VERSION}, got {self.pixel_version!r}")
        settled["batch_size"] = _batch_size(self.batch_size)
        object.__setattr__(self, "batch_size", settled["batch_size"])
        settled["adapt"] = check_adapting(self)
        check_device(self.device)
        self._check_preprocessing()
        check_integer("block_size", self.block_size, 1)
        resolve_table(self.table, 224)
        if self.suite != ():
            resolve_suite(self.suite, stored=self.stored)
        task_of({"task": self.task})
        if self.model_options and self.task != "detection":
            raise InputError("model_options are for detectors; build the network with create_model, and give that")
        settled["weights"] = tuple(weights_for(self.models, self.weights, functions=self.task == "detection"))
        settled["models"] = tuple(self.models)
        for name, value in settled.items():
            object.__setattr__(self, name, value)

    def _check_preprocessing(self) -> None:
        """Refuse what no network can have; whether it fits this one is known once that is loaded."""
        for name in ("input_size", "resize_size", "corrupt_size"):
            size = getattr(self, name)
            sides = size if isinstance(size, tuple | list) and len(size) == 2 else (size,)
            for side in () if size is None else sides:
                check_side(name, side)
        if self.input_size and self.resize_size:
            check_resize(self.input_size, self.resize_size, self.crop_mode)
        for name, known in (("interpolation", INTERPOLATIONS), ("crop_mode", CROP_MODES), ("cut_as", CUT_AS)):
            _check_choice(name, getattr(self, name), (None, *known))
        if isinstance(self.std, tuple | list):
            check_std(self.std)
        resizing = "fit" if self.fit else "corrupt_size" if self.corrupt_size is not None else None
        if self.no_resize and resizing:
            raise InputError(f"no_resize leaves images as they are, and {resizing} resizes them; give one of the two")
        for name in ("resize_size", "crop_mode", "cut_as"):
            if resizing and getattr(self, name) is not None:
                raise InputError(f"{resizing} resizes corrupted images whole, to input_size; leave out {name}")
        if self.channels not in (None, 1, 3):
            raise InputError(f"channels must be 1 or 3, got {self.channels!r}")

    @classmethod
    def of(
        cls, models: Sequence[str | nn.Module], data: str | Path | DataRequest = "demo", **options: Any
    ) -> EvalRequest:
        """A request from the keyword arguments of the public functions; the options of the images are among them.

        Raises:
            InputError: there is no such option, or as for the class.

        Example:
            >>> EvalRequest.of(["resnet50"], limit=8).data.limit
            8
            >>> EvalRequest.of(["resnet50"], limits=8)
            Traceback (most recent call last):
            ...
            robustbench_bi.errors.InputError: unknown option of an evaluation, got limits. Did you mean 'limit'?
        """
        of_data = {own.name for own in fields(DataRequest)} - {"source"}
        of_request = {own.name for own in fields(cls)} - {"models", "data"}
        for name in options:
            if name not in of_data | of_request:
                known = sorted(of_data | of_request)
                advice = nearest(OTHER_WORDS.get(name, name), known)
                raise InputError(f"unknown option of an evaluation, got {name}. {advice}")
        images = {name: value for name, value in options.items() if name in of_data}
        if not isinstance(data, DataRequest):
            data = DataRequest(str(data), **images)
        elif images:
            raise InputError(f"a DataRequest holds the options of its images; leave out {', '.join(images)}")
        return cls(models=models, data=data, **{n: value for n, value in options.items() if n in of_request})

    @property
    def corruptions(self) -> tuple[str, ...]:
        """The names of the corruptions, in table order; none for clean images only, which an empty tuple asks for."""
        return () if self.suite == () else resolve_suite(self.suite, stored=self.stored)

    @property
    def cells(self) -> list[Cell]:
        """The corruptions at their severities, as they were asked for."""
        return [(corruption, severity) for corruption in self.corruptions for severity in self.severities]

    @property
    def stored(self) -> bool:
        """Whether the images are stored corrupted ones, whose names others may have chosen."""
        return named_source(self.data.source)[0].stored

    def check_early(self) -> None:
        """Refuse what can be told before the libraries are imported that read images and build networks.

        Raises:
            InputError: the labels are not what the task asks for, a named model was given no weights and none come with
                it or with the images; or as `DataRequest.check_source`, whose other errors these are too.
        """
        self.data.check_source()
        source, _ = find_source(self.data.source)
        if source.task != self.task:
            raise other_labels(self.task, source.name)
        for model, own in zip(self.models, self.weights or (), strict=True):
            if isinstance(model, str) and own is None and source.weights is None and not brings_weights(model):
                raise needs_weights(model, self.data.source)

    def alone(self, number: int) -> EvalRequest:
        """The same request for one of its models, with the weights that were named for it."""
        return replace(self, models=[self.models[number]], weights=(self.weights or [None])[number])

    def as_options(self) -> dict[str, Any]:
        """The options that differ from their defaults, by their long names: what `eval --config` reads.

        A module has no name to load it by, so it is not among the models.

        Example:
            >>> EvalRequest.of(["resnet50"], "photos", weights="r50.pth", severities="1,5", limit=8).as_options()
            {'severities': [1, 5], 'model': ['resnet50'], 'weights': ['r50.pth'], 'data': ['photos'], 'limit': 8}
        """
        usual = EvalRequest(models=self.models, task=self.task)
        own, default = ({**vars(request.data), **vars(request)} for request in (self, usual))
        found = {name: value for name, value in own.items() if value != default[name]}
        found["models"] = [model for model in self.models if isinstance(model, str)]
        found["weights"] = [str(own) for own in self.weights or () if own is not None]
        found["data"] = [self.data.source]
        return {name: _plain(found[own]) for own, name in option_names().items() if found.get(own, []) != []}

    @property
    def preprocessing(self) -> dict[str, Any]:
        """What overrides the networks' own preprocessing."""
        stated = {name: getattr(self, name) for name in PREPROCESSING}
        return {name: value for name, value in stated.items() if value is not None}


def needs_weights(model: str, data: str) -> InputError:
    """The error where a model was given no weights on a source of data."""
    # Names of other libraries have a colon.
    published = (
        "" if ":" not in model and model not in TORCHVISION_NAME else ", 'pretrained' or a torchvision weights name"
    )
    return InputError(
        f"{model} on {data} needs --weights: a checkpoint file{published}; 'none' evaluates random weights"
    )


def other_labels(task: str, data: str) -> InputError:
    """The error where the labels of a source are not what a task asks for."""
    if task == "detection":
        return InputError(
            f"detection needs images with boxes, as coco:PATH, voc:PATH and demo-detection have; {data} has classes"
        )
    return InputError(f"{data} has boxes and no classes of whole images; use detect, for detectors")


def option_names() -> dict[str, str]:
    """The fields of a request and of its images that have an option, with the option's long name.

    Example:
        >>> option_names()["batch_size"], option_names()["models"]
        ('batch-size', 'model')
    """
    declared = [(field, declaration_of(field).option) for kind in (EvalRequest, DataRequest) for field in fields(kind)]
    return {field.name: (option.name or field.name).replace("_", "-") for field, option in declared if option}


def _plain(value: Any) -> Any:
    """A value as JSON and TOML hold it."""
    if value is None:
        return "none"
    if isinstance(value, Path):
        return str(value)
    return list(value) if isinstance(value, tuple) else value


def _folder(out: object) -> Path:
    if not isinstance(out, str | Path):
        raise InputError(f"out must be the path of a folder, got {out!r}")
    return Path(out)


def _check_choice(name: str, value: str | None, known: tuple[str | None, ...]) -> None:
    if value not in known:
        raise InputError(f"{name} must be one of {', '.join(filter(None, known))}, got {value!r}")


def _batch_size(batch_size: int | str) -> int | str:
    """A number of images, or "auto"."""
    if batch_size == "auto":
        return "auto"
    typed = isinstance(batch_size, str) and batch_size.isascii() and batch_size.isdigit()
    size = int(batch_size) if typed else batch_size
    if not is_integer(size) or size < 1:  # type: ignore[operator]
        raise InputError(f"batch_size must be an integer of at least 1, got {batch_size!r}; 'auto' finds one that fits")
    return size


def _jpeg(jpeg: int | str | None) -> int | str | None:
    """A quality, None for no round trip, or "auto"."""
    if jpeg == "auto":
        return jpeg
    if jpeg is None or jpeg == "none":
        return None
    return check_quality(jpeg, 100, ", 'none' or 'auto'")


def is_module(model: object) -> bool:
    """Whether a model is a torch module; where torch has not been loaded there is none."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(model, torch.nn.Module)


def weights_for(
    models: Sequence[Any], weights: str | Sequence[str | None] | None, functions: bool = False
) -> list[str | None]:
    """The weights of each model: one for all, one for each, or none given.

    Args:
        models: names, modules, or functions where these are taken.
        weights: as in `EvalRequest`.
        functions: whether they are, as by the adapter of detectors.

    Raises:
        InputError: there is no model, a model is given twice, or the numbers do not fit.

    Example:
        >>> weights_for(["resnet50", "binet50"], "none")
        ['none', 'none']
    """
    if isinstance(models, str) or not models:
        raise InputError(f"models must be a sequence of at least one, got {models!r}")
    for model in models:
        taken = isinstance(model, str) or is_module(model)
        if not taken and not (functions and callable(getattr(model, "detect", model))):
            kinds = "a name, a torch module or a function" if functions else "a name or a torch module"
            raise InputError(f"a model must be {kinds}, got {type(model).__name__}")
    if not isinstance(weights, str | Path | Sequence | None):
        raise InputError(f"weights must be a name or file, or one for each model, got {weights!r}")
    given: list[str | None] = [weights] if weights is None or isinstance(weights, str | Path) else list(weights)
    if len(given) == 1:
        given *= len(models)
    if len(given) != len(models):
        raise InputError(f"weights must be given once, or once for each of the {len(models)} models, got {len(given)}")
    pairs = [
        (model if isinstance(model, str) else id(model), str(own)) for model, own in zip(models, given, strict=True)
    ]
    if len(set(pairs)) < len(pairs):
        raise InputError("give each model once; two are the same")
    if any(not isinstance(model, str) and own is not None for model, own in zip(models, given, strict=True)):
        raise InputError("a module comes with its own weights; leave weights out")
    return given

"""What stands before the loop: options are checked, networks and images are made to fit, a run folder is opened.

Everything that can be refused is refused here, before anything is written.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from robustbench_bi.atomic import remove_partial_files, replacing
from robustbench_bi.config import GENERATORS, PRECISIONS, EvalConfig
from robustbench_bi.data import Dataset
from robustbench_bi.data.preprocess import Preprocessing, normalise, preprocessing_of
from robustbench_bi.errors import DataError, InputError, RunMismatchError, WeightsError
from robustbench_bi.models import MODELS, create_model, resolve
from robustbench_bi.models.inference import choose_device, memory_format, run_network
from robustbench_bi.models.weights import is_file, read_metadata
from robustbench_bi.ranks import ALONE, Share, wait_until
from robustbench_bi.records import Cell, Run

LISTED = 3


def check_options(precision: str, generator: str, seed: int, **counts: int | None) -> None:
    """Refuse options that are out of range; each of `counts` is a positive integer, or None where it is not given.

    Raises:
        InputError: one is.
    """
    if precision not in PRECISIONS:
        raise InputError(f"precision must be one of {', '.join(PRECISIONS)}, got {precision!r}")
    if generator not in GENERATORS[:2]:
        raise InputError(f"generator must be one of {', '.join(GENERATORS[:2])}, got {generator!r}")
    if not _is_integer(seed) or not 0 <= seed < 2**64:
        raise InputError(f"seed must be an integer from 0 to 2**64 - 1, got {seed!r}")
    for name, value in counts.items():
        least = 0 if name == "workers" else 1
        if value is not None and (not _is_integer(value) or value < least):
            raise InputError(f"{name} must be an integer of at least {least}, got {value!r}")


def _is_integer(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


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
        InputError: a named model on other data than `demo` was given no weights.
        WeightsError: the weights are those of another network, or of other classes than the data's.
    """
    if isinstance(model, nn.Module):
        return model.to(device).eval()
    brings_own = ":" in model and not model.startswith(("timm:", "torchvision:"))
    if weights is None and not brings_own:
        if dataset.kind != "demo":
            raise InputError(
                f"{model} on {dataset.kind} needs --weights: a checkpoint file, 'pretrained' or a torchvision weights "
                "name; 'none' evaluates random weights"
            )
        weights = "demo"
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


def without_broken(
    dataset: Dataset, cells: Sequence[Cell] | None, workers: int, skip: bool
) -> tuple[Dataset, tuple[dict[str, Any], ...]]:
    """Decode every image once before anything is written; stop at broken ones, or leave them out and list them.

    Raises:
        DataError: there are broken images and `skip` is false, or nothing but broken ones.
    """
    broken = dataset.find_broken(workers, cells)
    if not broken:
        return dataset, ()
    if not skip:
        shown = "; ".join(f"{_printable(image.path)} ({image.reason})" for image in broken[:LISTED])
        more = f" and {len(broken) - LISTED} more" if len(broken) > LISTED else ""
        raise DataError(
            f"{len(broken)} of {len(dataset)} images cannot be decoded: {shown}{more}. "
            "Mend them, or leave them out with --skip-broken"
        )
    listed = tuple(
        {"image_id": int(image.image_id), "path": _printable(image.path), "reason": image.reason} for image in broken
    )
    return dataset.without([image.image_id for image in broken]), listed


def _printable(path: str) -> str:
    """A path whose name may hold bytes that are no text, as text."""
    return path.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


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


def open_folder(out: Path, config: EvalConfig, share: Share = ALONE) -> Run:
    """The run's folder: made with its `run.json` when new; when it is there, checked and noted as started again.

    Of several processes only rank 0 notes that. Where they were started together, the others wait for its folder.

    Raises:
        RunMismatchError: the folder holds another configuration.
        DataError: it cannot be written, or rank 0 does not make it.
    """
    run = Run(out.absolute() / config.folder)
    path = run.directory / "run.json"
    content = config.as_json()
    if share.follows and not wait_until(path.exists):
        raise DataError(f"rank 0 has not made {path}; see what it says, and start all processes with the same options")
    if path.exists():
        try:
            found = dict(json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError) as error:
            raise RunMismatchError(
                f"{path} cannot be read ({error}). Move {run.directory} away or choose another --out"
            ) from error
        expected = json.loads(json.dumps({key: value for key, value in content.items() if key != "runtime"}))
        differing = [key for key, value in expected.items() if found.get(key) != value]
        if differing:
            first = differing[0]
            raise RunMismatchError(
                f"{run.directory} holds another configuration: {first} is {found.get(first)!r} there and "
                f"{expected[first]!r} here. Move it away or choose another --out"
            )
        remove_partial_files(run.directory / "records")
        if share.rank > 0 or not run.missing():
            return run
        again = {key: content["runtime"][key] for key in ("started", "device", "batch_size", "workers", "versions")}
        found["runtime"]["resumed"] = [*found["runtime"].get("resumed", []), again]
        content = found
    with replacing(path) as partial:
        partial.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return Run(run.directory)


def close_folder(run: Run, share: Share = ALONE) -> None:
    """Remove a run folder that holds no record: what failed before the first one leaves nothing behind.

    Where others share the work it stays, for they may be at their first record.
    """
    records = run.directory / "records"
    remove_partial_files(records)
    if share.count > 1 or any(records.glob("*")):
        return
    with suppress(OSError):
        (run.directory / "run.json").unlink()
        if records.exists():
            records.rmdir()
        run.directory.rmdir()

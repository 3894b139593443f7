"""Checkpoints: reading them safely, fitting them to a network, writing them with all that rebuilds the network.

A pickle (.pth, .pt, .ckpt) is read with `torch.load(weights_only=True)`, always: it may hold tensors, plain containers
and an `argparse.Namespace` (DDF's training arguments), and nothing that it asks for is ever run. Of a Lightning
checkpoint the weights are taken; its hyperparameters, whatever their classes, are left out. Our files are safetensors.
"""

from __future__ import annotations

import argparse
import hashlib
import inspect
import json
import logging
import pickle
import re
import warnings
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from robustbench_bi.errors import WeightsError
from robustbench_bi.ground.atomic import replacing
from robustbench_bi.models.checkpoint_names import check_single, classes_in, misfit, names_in
from robustbench_bi.models.lightning import read_lightning

DEMO_FOLDER = Path(__file__).with_name("demo_weights")
LIBRARIES = ("torch", "torchvision", "timm", "transformers", "robustbench_bi")
WRAPPERS = ("state_dict", "model_state_dict", "model", "net", "state_dict_ema", "model_ema")
"""Entries under which training scripts keep the state dict; of several, the first in this order is taken, and said.

Under any other name it is found where it is the only one."""


@dataclass(frozen=True)
class Checkpoint:
    """Weights as they were read.

    Attributes:
        source: where they came from, for messages.
        state: tensors by name.
        metadata: what the file says about them; empty for a pickle.
    """

    source: str
    state: Mapping[str, Tensor]
    metadata: Mapping[str, Any] = field(default_factory=dict)


def demo_path(name: str) -> Path:
    """Where the bundled weights of a model lie.

    Raises:
        WeightsError: there are none.
    """
    path = DEMO_FOLDER / f"{name}.safetensors"
    if not path.is_file():
        bundled = sorted(file.stem for file in DEMO_FOLDER.glob("*.safetensors"))
        raise WeightsError(f"{name} has no demo weights; models with demo weights: {', '.join(bundled) or 'none'}")
    return path


def read_checkpoint(path: str | Path) -> Checkpoint:
    """Read a .safetensors, .pth, .pt or .ckpt file.

    Raises:
        WeightsError: it is missing, truncated, or something else than a state dict.
    """
    path = Path(path)
    if not path.is_file():
        raise WeightsError(f"there is no weights file {path}")
    if path.suffix == ".safetensors":
        metadata = read_metadata(path)
        return Checkpoint(str(path), safetensors.torch.load_file(path), metadata)
    return Checkpoint(str(path), _state_of(_unpickle(path), path))


def read_metadata(path: str | Path) -> dict[str, Any]:
    """What a .safetensors file says about itself; values that are JSON are decoded.

    Raises:
        WeightsError: the file is missing or broken.
    """
    if not Path(path).is_file():
        raise WeightsError(f"there is no weights file {path}")
    try:
        with safe_open(path, framework="pt") as file:
            return {key: decoded(value) for key, value in (file.metadata() or {}).items()}
    except (SafetensorError, OSError) as error:
        raise WeightsError(
            f"{path} is incomplete or not a safetensors file ({error}); copy or download it again"
        ) from error


def save_checkpoint(
    path: str | Path, model: nn.Module, metadata: Mapping[str, Any] | None = None, *, half: bool = False
) -> None:
    """Write a network as one safetensors file that `create_model(name, weights=path)` rebuilds it from.

    Its name, options, number of classes and preprocessing are taken from the model's attributes. The file is written
    beside its place and renamed into it.

    Args:
        path: where, with the suffix .safetensors.
        model: the network.
        metadata: more entries, of anything JSON can hold; they win over those of the model.
        half: store kernels and matrices in float16, to come back as float32; vectors (biases, normalisation and its
            statistics) and counters stay as they are.

    Raises:
        WeightsError: the path has another suffix.
        DataError: the file cannot be written.

    Example:
        >>> import tempfile
        >>> from robustbench_bi.models import create_model
        >>> path = Path(tempfile.mkdtemp()) / "rednet.safetensors"
        >>> save_checkpoint(path, create_model("rednet26", num_classes=10, width=0.25), {"accuracy": 91.2})
        >>> create_model("rednet26", weights=path).fc.out_features
        10
    """
    path = Path(path)
    if path.suffix != ".safetensors":
        raise WeightsError(f"a checkpoint must be written as .safetensors, got {path}")
    tensors = {}
    for name, tensor in model.state_dict().items():
        narrow = half and tensor.dtype == torch.float32 and tensor.dim() > 1
        tensors[name] = tensor.detach().to("cpu", torch.float16 if narrow else tensor.dtype).contiguous().clone()
    entries = {**_settings(model), **(metadata or {})}
    content = safetensors.torch.save(tensors, {key: json.dumps(value) for key, value in entries.items()})
    with replacing(path) as partial:
        partial.write_bytes(content)


def classes_of(checkpoint: Checkpoint) -> int:
    """The outputs of the classifier in a checkpoint of ours, DDF's, torchvision's or mmcls; 0 where it has none.

    Example:
        >>> classes_of(Checkpoint("a file", {"module.head.fc.weight": torch.zeros(10, 64)}))
        10
    """
    return classes_in(checkpoint.state)


def load_weights(model: nn.Module, weights: str | Path | Checkpoint) -> None:
    """Put weights into a network, in place.

    The names in the published checkpoints of RedNet (mmcls), DDF, FcaNet, SAN, BAM and CBAM are recognised, and so is
    whatever single prefix stands before all names, see `checkpoint_names.names_in`. A network without classifier
    (num_classes 0) takes the backbone out of a classifier's checkpoint or a detector's.

    Args:
        model: the network.
        weights: a file, or what `read_checkpoint` returned.

    Raises:
        WeightsError: they are those of another network, or cannot be read.
    """
    checkpoint = weights if isinstance(weights, Checkpoint) else read_checkpoint(weights)
    expected = model.state_dict()
    headless = getattr(model, "num_classes", None) == 0
    found = names_in(checkpoint.state, expected, headless=headless)
    check_single(found, checkpoint.source)
    unfit = misfit(expected, found.state)
    identity = getattr(model, "identity", {})
    name, stated = identity.get("name", type(model).__name__), checkpoint.metadata.get("model")
    if unfit or (stated and identity and stated != name):
        says = f" (it holds {stated})" if stated and stated != name else ""
        raise WeightsError(f"{checkpoint.source}{says} does not fit {name}: {unfit or 'it is another network'}")
    try:
        model.load_state_dict(dict(found.state), strict=False)
    except RuntimeError as error:
        raise WeightsError(
            f"{checkpoint.source} does not fit {name}: it contains sparse or empty (meta) tensors; load the network on "
            "the CPU and save its state_dict()"
        ) from error


def weights_hash(model: nn.Module) -> str:
    """SHA-256 (hex) over the names, dtypes, shapes and bytes of a state dict; the same on every device.

    Example:
        >>> from torch import nn
        >>> layer = nn.Linear(2, 2)
        >>> before = weights_hash(layer)
        >>> _ = nn.init.zeros_(layer.bias)
        >>> weights_hash(layer) == before
        False
    """
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        if not isinstance(tensor, Tensor):  # a module's extra state may be anything
            digest.update(f"{name} {tensor!r}\n".encode())
            continue
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def source_hash(model: nn.Module) -> str:
    """SHA-256 (hex) over the source files of a model's classes that belong neither to this package nor to a library.

    Equal weights under a changed `forward` are another model, and so are other numbers and texts among a module's
    attributes. A class whose file cannot be read counts by its name. Of a network that no name and options describe,
    the libraries' modules count by their class and settings too: another dilation or pooling is another model. What
    helpers in other files or a closure do is not seen.

    Example:
        >>> from torch import nn
        >>> source_hash(nn.LeakyReLU(0.1)) == source_hash(nn.LeakyReLU(0.2))
        False
    """
    classes = {type(module) for module in model.modules()}
    own = {kind for kind in classes if kind.__module__.partition(".")[0] not in LIBRARIES}
    digest = hashlib.sha256()
    for name, kind in sorted((f"{kind.__module__}.{kind.__qualname__}", kind) for kind in own):
        try:
            text = inspect.getsource(inspect.getmodule(kind) or kind)
        except (OSError, TypeError):
            text = ""
        digest.update(f"{name}\n{text}\n".encode())
    for name, module in model.named_modules():
        if type(module) in own:
            plain = {key: value for key, value in vars(module).items() if isinstance(value, (bool, int, float, str))}
            plain.pop("training", None)
            digest.update(f"{name} {sorted(plain.items())}\n".encode())
        elif not _is_described(model):
            digest.update(f"{name} {type(module).__qualname__} {module.extra_repr()}\n".encode())
    return digest.hexdigest()


def _is_described(model: nn.Module) -> bool:
    """Whether a name, options and weights say what a network is: all but a function of the user's own."""
    from robustbench_bi.models.sources import split_name

    name = getattr(model, "identity", {}).get("name")
    if not isinstance(name, str):
        return False
    elsewhere = split_name(name)
    return elsewhere is None or elsewhere[0].name != "function"


def _settings(model: nn.Module) -> dict[str, Any]:
    identity = getattr(model, "identity", {})
    names = ("class_names", "input_size", "resize_size", "interpolation", "mean", "std")
    attributes = {name: getattr(model, name) for name in names if getattr(model, name, None) is not None}
    settings = {"model": identity["name"]} if "name" in identity else {}
    return {**settings, **{key: identity[key] for key in ("options", "num_classes") if key in identity}, **attributes}


def decoded(value: str) -> Any:
    """A value of a file's metadata: JSON where it is that, else the text."""
    try:
        return json.loads(value)
    except json.JSONDecodeError:
        return value


def _unpickle(path: Path) -> Any:
    try:
        with torch.serialization.safe_globals([argparse.Namespace]), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's advice on foreign pickles; the error below says what to do
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a broken or hostile file can make the parser fail in any way
        with suppress(Exception):
            return read_lightning(path)
        wanted = re.search(r"GLOBAL (\S+)", str(error))
        if wanted:
            raise WeightsError(
                f"{path} is not a plain state dict: it needs {wanted[1]}, which was not run; "
                "save model.state_dict() and give that file"
            ) from error
        if isinstance(error, pickle.UnpicklingError):
            raise WeightsError(
                f"{path} is not a plain state dict, and nothing in it was run; "
                "save model.state_dict() and give that file"
            ) from error
        if not path.stat().st_size:
            raise WeightsError(f"{path} is empty; copy or download it again") from error
        reason = re.split(r"[.:\n]", str(error))[0] or type(error).__name__
        detail = f" ({reason})" if re.search("[a-z]", reason) else ""
        raise WeightsError(
            f"{path} is no checkpoint, or truncated, and cannot be read{detail}; copy or download it again"
        ) from error


def _state_of(content: Any, path: Path) -> Mapping[str, Tensor]:
    """The state dict in what was unpickled: that of a name in `WRAPPERS`, or the only one.

    Raises:
        WeightsError: there is none, or several of which no name says that it is meant.
    """
    for _ in WRAPPERS:  # not for ever: a dict may hold itself
        entries = content if isinstance(content, Mapping) else {}
        known = [key for key in WRAPPERS if isinstance(entries.get(key), Mapping)]
        states = [key for key in dict.fromkeys((*known, *entries)) if _is_state(entries[key])]
        if not known and (not states or any(isinstance(entry, Tensor) for entry in entries.values())):
            break
        if not known and len(states) > 1:
            held = ", ".join(map(repr, states))
            raise WeightsError(f"{path} holds several state dicts: {held}; save the one you mean to a file of its own")
        if states[1:]:
            _say_which(path, states[0], states[1:])
        content = entries[(states or known)[0]]
    if not isinstance(content, Mapping):
        raise WeightsError(f"{path} is not a state dict: expected tensors by name, got {type(content).__name__}")
    for key, value in content.items():
        if not isinstance(key, str) or not isinstance(value, Tensor):
            raise WeightsError(
                f"{path} is not a state dict: expected tensors by name, but {key!r} is {type(value).__name__}"
            )
    if not content:
        raise WeightsError(f"{path} holds no tensors")
    return content


def _is_state(value: Any) -> bool:
    """Whether it is weights by name, or holds such under a name of `WRAPPERS`."""
    if not isinstance(value, Mapping):
        return False
    tensors = [entry for key, entry in value.items() if isinstance(key, str) and isinstance(entry, Tensor)]
    plain = len(tensors) == len(value) and any(tensor.is_floating_point() for tensor in tensors)
    return plain or any(_is_state(value[key]) for key in WRAPPERS if key in value and value[key] is not value)


def _say_which(path: Path, chosen: str, others: list[str]) -> None:
    """Warn where there is more than one state dict, and the user may mean another."""
    logging.getLogger(__name__).warning(
        "%s holds several state dicts; %r is loaded and %s not. For another, save it to a file of its own",
        *(path, chosen, ", ".join(map(repr, others))),
    )

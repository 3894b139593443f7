"""What the networks of every source get: their preprocessing, their weights from a file, and failures in one line."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from robustbench_bi.errors import InputError, WeightsError
from robustbench_bi.ground.checks import check_side
from robustbench_bi.ground.sizes import pair, size_of
from robustbench_bi.models import attach

if TYPE_CHECKING:
    from torch import nn


USUAL_SIDE = 224
"""Of images, where neither a file nor its user says it."""


def finished(
    model: nn.Module,
    name: str,
    preprocessing: Mapping[str, Any],
    options: Mapping[str, Any],
    num_classes: int | None,
    file: str | Path | None,
) -> nn.Module:
    """A network with the attributes that `create_model` promises, and with its weights.

    Args:
        model: the network.
        preprocessing: what its source states, see `attach`.
        name, options, num_classes: what tells it from others.
        file: of the weights; None leaves those that it has.

    Raises:
        WeightsError: the weights do not fit.
    """
    from robustbench_bi.models.weights import load_weights

    attach(model, preprocessing, {"name": name, "options": dict(options), "num_classes": num_classes})
    if file is not None:
        load_weights(model, file)
    return model


def weights_file(weights: str | Path | None, name: str) -> str | Path | None:
    """The weights as a file, or None for none.

    Raises:
        WeightsError: they are neither.
    """
    from robustbench_bi.models.weights_files import is_file

    if weights is None or weights == "none":
        return None
    if not is_file(weights):
        raise WeightsError(f"{name} has no weights {str(weights)!r}; give a file (.safetensors, .pth, .pt) or 'none'")
    return weights


def file_of(source: str, name: str, weights: str | Path | None, options: Mapping[str, Any]) -> Path:
    """The file of a source whose files are whole networks.

    Raises:
        InputError: options are given that such a file does not take: `input_size` alone says something of it, the size
            of images where the file does not state it.
        WeightsError: there is no such file, or weights are named beside it.
    """
    path = Path(name).expanduser()
    unknown = sorted(options.keys() - {"input_size"})
    if unknown:
        raise InputError(f"{source}:{name} has one option, input_size, got {', '.join(unknown)}")
    for side in pair(size_of(options.get("input_size", USUAL_SIDE))):
        check_side("input_size", side)
    if weights is not None:
        raise WeightsError(f"{source}:{name} comes with its own weights; leave weights out")
    if not path.is_file():
        raise WeightsError(f"there is no file {path}")
    return path


def extra(module: str, name: str, what: str) -> Any:
    """A library that is not among the requirements.

    Args:
        module: what is imported.
        name: of the extra that installs it.
        what: needs it, for the message.

    Raises:
        InputError: it is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise InputError(
            f"{what} needs {module}, which is not installed; run: pip install 'bivo-robust[{name}]'"
        ) from error


def check_classes(what: str, own: int, wanted: int | None) -> None:
    """Refuse a network that brings its classifier where another number of classes is asked for.

    Raises:
        WeightsError: it is.
    """
    if wanted not in (None, own):
        raise WeightsError(
            f"{what} has {own} classes, but num_classes or the data ask for {wanted}; give data with {own} classes, or "
            f"list all {own} in --classes FILE"
        )


def built(name: str, build: Callable[[], nn.Module]) -> nn.Module:
    """What a library builds.

    Raises:
        InputError: it does not take the options.
    """
    try:
        return build()
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(f"{name} cannot be built with these options: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]

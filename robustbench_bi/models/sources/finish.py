"""What the networks of every source get: their preprocessing, their weights from a file, and failures in one line."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from robustbench_bi.errors import InputError, WeightsError
from robustbench_bi.models import attach

if TYPE_CHECKING:
    from torch import nn


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
    from robustbench_bi.models.weights import is_file

    if weights is None or weights == "none":
        return None
    if not is_file(weights):
        raise WeightsError(
            f"there are no weights {str(weights)!r} for {name}; give a file (.safetensors, .pth, .pt) or 'none'"
        )
    return weights


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


def last_side(size: Any) -> Any:
    """A side, given alone or as the last of (channels, height, width)."""
    return size[-1] if isinstance(size, Sequence) and size else size

"""Networks that a function of the user's own returns."""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from robustbench_bi.errors import BivoRobustError, InputError
from robustbench_bi.ground.checks import is_integer
from robustbench_bi.ground.registry import nearest
from robustbench_bi.ground.sizes import size_of
from robustbench_bi.models.sources import how_to_name_a_model
from robustbench_bi.models.sources.finish import finished, weights_file

if TYPE_CHECKING:
    from torch import nn

PREPROCESSING = ("mean", "std", "input_size", "resize_size", "interpolation", "crop_mode", "cut_as", "class_names")


def build(name: str, num_classes: int | None, weights: str | Path | None, options: Mapping[str, Any]) -> nn.Module:
    """Call a function of the user's own.

    Args:
        name: "package.module:function".
        num_classes: passed if the function has a parameter of that name.
        weights: a file, or None or "none" for those that the function has loaded or drawn.
        options: passed; the function must have parameters of these names.

    Raises:
        InputError: there is no such function, it fails, or what it returns does not fit.
        WeightsError: the weights are no file, or do not fit.
    """
    from torch import nn

    file = weights_file(weights, name)
    model = call_function(name, options, {} if num_classes is None else {"num_classes": num_classes})
    if not isinstance(model, nn.Module):
        raise InputError(f"{name} must return a torch.nn.Module, got {type(model).__name__}")
    return finished(model, name, _stated_preprocessing(model, name), options, num_classes, file)


def call_function(name: str, options: Mapping[str, Any], offered: Mapping[str, Any] | None = None) -> Any:
    """What a function of the user's own returns.

    Args:
        name: "package.module:function".
        options: passed; the function must have parameters of these names.
        offered: passed where it has.

    Raises:
        InputError: there is no such function, it takes no such option, or it fails.
    """
    factory = _function(name)
    parameters = inspect.signature(factory).parameters
    unknown = [option for option in options if option not in parameters]
    if unknown:
        raise InputError(f"{name} has no argument {unknown[0]!r}; it takes: {', '.join(parameters) or 'none'}")
    try:
        return factory(**options, **{key: value for key, value in (offered or {}).items() if key in parameters})
    except BivoRobustError:
        raise
    except Exception as error:  # a user's function may raise anything; it is shown as one line with its cause
        raise InputError(f"{name} failed: {_one_line(error)}") from error


def _stated_preprocessing(model: nn.Module, name: str) -> dict[str, Any]:
    """Which of the attributes of preprocessing the user has set, in our form."""
    taken = {*dict(model.named_buffers(recurse=False)), *dict(model.named_parameters(recurse=False))}
    for key in (*PREPROCESSING, "identity"):
        if key in taken or callable(getattr(model, key, None)):
            raise InputError(
                f"the attribute {key!r} of {name} is a {type(getattr(model, key)).__name__}, but that name is reserved "
                "for a plain value that describes the network or its preprocessing; rename it"
            )
    found: dict[str, Any] = {key: getattr(model, key, None) for key in PREPROCESSING}
    found = {key: value for key, value in found.items() if value is not None}
    if "input_size" in found:
        found["input_size"] = size_of(found["input_size"])
        if not is_integer(found["input_size"]) and not isinstance(found["input_size"], tuple):
            raise InputError(f"the attribute 'input_size' of {name} must be an integer, got {model.input_size!r}")
    for key in ("mean", "std"):
        if key in found and not _are_three_numbers(found[key]):
            raise InputError(f"the attribute {key!r} of {name} must be three numbers, got {found[key]!r}")
    return found


def _one_line(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())


def _are_three_numbers(values: Any) -> bool:
    try:
        return len([float(value) for value in values]) == 3
    except (TypeError, ValueError):
        return False


def _function(name: str) -> Callable[..., Any]:
    """Import "package.module:function"; as for a script, the current folder comes first in the search."""
    module_name, _, attribute = name.partition(":")
    advice = how_to_name_a_model()
    if not module_name or not attribute:
        raise InputError(f"there is no model {name!r}; {advice}")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        module = importlib.import_module(module_name)
    except Exception as error:  # a user's module may raise anything while it is imported
        raise InputError(f"cannot import {module_name} for the model {name!r}: {_one_line(error)}; {advice}") from error
    function = getattr(module, attribute, None)
    if not callable(function) or (hasattr(function, "state_dict") and not inspect.isclass(function)):
        functions = [key for key, value in vars(module).items() if inspect.isfunction(value)]
        raise InputError(f"the module {module_name} has no function {attribute!r}. {nearest(attribute, functions)}")
    return function  # type: ignore[no-any-return]

"""The weights in a checkpoint of Lightning, which keeps hyperparameters and callbacks of any class beside them."""

from __future__ import annotations

import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch._utils import _rebuild_parameter, _rebuild_tensor_v2

MARK = "pytorch-lightning_version"
"""What every checkpoint of Lightning has among its entries."""

_BUILDERS = {
    "collections.OrderedDict": OrderedDict,
    "torch._utils._rebuild_parameter": _rebuild_parameter,
    "torch._utils._rebuild_tensor_v2": _rebuild_tensor_v2,
}
"""All that a file may have called: what tensors and state dicts are made of."""


class _Inert(dict[Any, Any]):
    """Takes the place of every other class and function that a file names; it keeps nothing and does nothing."""

    def __init__(self, *_: Any, **__: Any) -> None:
        super().__init__()

    def __setstate__(self, _: Any) -> None:
        """Nothing is kept."""

    def __setitem__(self, _: Any, __: Any) -> None:
        """Nothing is kept."""

    def __hash__(self) -> int:  # type: ignore[override]
        return id(self)

    def append(self, _: Any) -> None:
        """Nothing is kept."""

    def extend(self, _: Any) -> None:
        """Nothing is kept."""


class _Unpickler(pickle.Unpickler):
    """Looks up nothing: a name is one of `_BUILDERS`, or stands for `_Inert`."""

    def find_class(self, module: str, name: str, /) -> Any:
        return _BUILDERS.get(f"{module}.{name}", _Inert)


def read_lightning(path: Path) -> Mapping[str, Any]:
    """The state dict of a Lightning checkpoint. Nothing that the file names is imported, looked up or called.

    Raises:
        UnpicklingError: it is another file; or whatever a broken file makes the parser raise.
    """
    if not zipfile.is_zipfile(path):  # torch reads what is older in other ways
        raise pickle.UnpicklingError(f"{path} is not a Lightning checkpoint")
    reader = SimpleNamespace(Unpickler=_Unpickler, __name__="inert")
    # With this reader torch's own word for safe, weights_only, cannot be asked for; it would refuse the other classes.
    content = torch.load(path, map_location="cpu", weights_only=False, pickle_module=reader)
    if not isinstance(content, dict) or MARK not in content:
        raise pickle.UnpicklingError(f"{path} is not a Lightning checkpoint")
    state: Mapping[str, Any] = content["state_dict"]
    return state

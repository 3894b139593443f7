"""Tensor operators. They know nothing of models."""

from typing import TYPE_CHECKING, Any

from robustbench_bi.ground.exports import exported
from robustbench_bi.ops.dynamic_filter import dynamic_filter as dynamic_filter
from robustbench_bi.ops.local_logits import local_logits as local_logits

if TYPE_CHECKING:
    from robustbench_bi.ops.backends import BACKENDS, Backend

_HOMES = {
    "BACKENDS": "robustbench_bi.ops.backends",
    "Backend": "robustbench_bi.ops.backends",
}

__all__ = [
    "BACKENDS",
    "Backend",
    "dynamic_filter",
    "local_logits",
]


def __getattr__(name: str) -> Any:
    return exported(__name__, _HOMES, name)


def __dir__() -> list[str]:
    return sorted(__all__)

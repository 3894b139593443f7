"""Tasks: what a network is asked about an image, and what is kept of its answer.

Loop, resume, sharing and file formats are the same for every task. What differs stands in the task's module, and
everything that needs it takes it from the row.

Example:
    >>> task_of({}).name
    'classification'
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from robustbench_bi.ground.registry import Table

if TYPE_CHECKING:
    from torch import Tensor, nn


@dataclass(frozen=True)
class Task:
    """A row of `TASKS`.

    Attributes:
        name: as in a run's configuration.
        code: its module. `robustbench_bi.tasks.classification` shows what a task's module must have.
        summary: one line.
    """

    name: str
    code: str
    summary: str

    def load(self, name: str) -> Any:
        """Import and return a function or a constant of the task's module."""
        return getattr(importlib.import_module(self.code), name)


class Asked(Protocol):
    """A network that can be asked: what a task sees of it."""

    @property
    def network(self) -> nn.Module:
        """On its device, in evaluation mode."""

    @property
    def name(self) -> str:
        """For messages."""

    @property
    def precision(self) -> str:
        """Of the forward pass."""

    @property
    def num_classes(self) -> int:
        """Of the data."""

    def prepared(self, images: Tensor) -> Tensor:
        """Uint8 images (B, 3, H, W) as the network wants them: normalised float32."""


TASKS = Table(
    "task",
    [
        Task(
            "classification",
            "robustbench_bi.tasks.classification",
            "one label an image; a network scores every class",
        )
    ],
)

DEFAULT = "classification"
"""The task of a run that names none: runs of before there were others."""


def task_of(config: Mapping[str, Any]) -> Task:
    """The task of a run, from its configuration.

    Raises:
        UnknownNameError: this version does not know it.
    """
    return TASKS[config.get("task", DEFAULT)]

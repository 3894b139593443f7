"""What lies on disk: a run's configuration and its records. Evaluation and analysis meet here; no torch."""

from typing import TYPE_CHECKING, Any

from robustbench_bi.ground.exports import exported

if TYPE_CHECKING:
    from robustbench_bi.runs.identity import BLOCK_SIZE, EvalConfig
    from robustbench_bi.runs.run import Run, open_run

_HOMES = {
    "BLOCK_SIZE": "robustbench_bi.runs.identity",
    "EvalConfig": "robustbench_bi.runs.identity",
    "Run": "robustbench_bi.runs.run",
    "open_run": "robustbench_bi.runs.run",
}

__all__ = [
    "BLOCK_SIZE",
    "EvalConfig",
    "Run",
    "open_run",
]


def __getattr__(name: str) -> Any:
    return exported(__name__, _HOMES, name)


def __dir__() -> list[str]:
    return sorted(__all__)

"""The evaluation of networks on clean and corrupted images: it fills runs with records."""

from typing import TYPE_CHECKING, Any

from robustbench_bi.ground.exports import exported

if TYPE_CHECKING:
    from robustbench_bi.evaluation.loop import evaluate, evaluate_models, evaluate_request
    from robustbench_bi.evaluation.request import EvalRequest
    from robustbench_bi.evaluation.sharing import ALONE, Share, share_of_environment
    from robustbench_bi.ground.cells import Progress

_HOMES = {
    "ALONE": "robustbench_bi.evaluation.sharing",
    "EvalRequest": "robustbench_bi.evaluation.request",
    "Progress": "robustbench_bi.ground.cells",
    "Share": "robustbench_bi.evaluation.sharing",
    "evaluate": "robustbench_bi.evaluation.loop",
    "evaluate_models": "robustbench_bi.evaluation.loop",
    "evaluate_request": "robustbench_bi.evaluation.loop",
    "share_of_environment": "robustbench_bi.evaluation.sharing",
}

__all__ = [
    "ALONE",
    "EvalRequest",
    "Progress",
    "Share",
    "evaluate",
    "evaluate_models",
    "evaluate_request",
    "share_of_environment",
]


def __getattr__(name: str) -> Any:
    return exported(__name__, _HOMES, name)


def __dir__() -> list[str]:
    return sorted(__all__)

"""Corruption robustness of image classifiers and detectors, and the networks of the Bi-volution paper (AAAI 2022).

Every public name is imported when it is first used, so that `import robustbench_bi` costs next to nothing.
"""

import importlib
import os
import sys
from typing import TYPE_CHECKING, Any

from robustbench_bi.ground.exports import exported
from robustbench_bi.models.timm_hook import register_when_imported

if TYPE_CHECKING:
    from robustbench_bi import imagecorruptions as imagecorruptions
    from robustbench_bi import ops as ops
    from robustbench_bi import transforms as transforms
    from robustbench_bi.corrupted_files import write_corrupted as write_corrupted
    from robustbench_bi.corruptions.apply import corrupt as corrupt
    from robustbench_bi.data.request import DataRequest as DataRequest
    from robustbench_bi.evaluation.detect import detect as detect
    from robustbench_bi.evaluation.loop import evaluate as evaluate
    from robustbench_bi.evaluation.loop import evaluate_models as evaluate_models
    from robustbench_bi.evaluation.request import EvalRequest as EvalRequest
    from robustbench_bi.models import create_model as create_model
    from robustbench_bi.runs.run import Run as Run
    from robustbench_bi.runs.run import open_run as open_run

if "torch" not in sys.modules:
    # Threads that wait without spinning leave a shared machine to others, and to the thread that they wait for. OpenMP
    # reads this once, when torch loads it.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

__version__ = "0.1.0"

_HOME = {
    "DataRequest": "robustbench_bi.data.request",
    "EvalRequest": "robustbench_bi.evaluation.request",
    "corrupt": "robustbench_bi.corruptions.apply",
    "create_model": "robustbench_bi.models",
    "detect": "robustbench_bi.evaluation.detect",
    "evaluate": "robustbench_bi.evaluation.loop",
    "evaluate_models": "robustbench_bi.evaluation.loop",
    "Run": "robustbench_bi.runs.run",
    "open_run": "robustbench_bi.runs.run",
    "write_corrupted": "robustbench_bi.corrupted_files",
}
_ROOMS = ("imagecorruptions", "ops", "transforms")

__all__ = [
    "DataRequest",
    "EvalRequest",
    "Run",
    "__version__",
    "corrupt",
    "create_model",
    "detect",
    "evaluate",
    "evaluate_models",
    "imagecorruptions",
    "open_run",
    "ops",
    "transforms",
    "write_corrupted",
]


def __getattr__(name: str) -> Any:
    if name in _ROOMS:
        return importlib.import_module(f"robustbench_bi.{name}")
    return exported(__name__, _HOME, name)


def __dir__() -> list[str]:
    return sorted(__all__)


register_when_imported()

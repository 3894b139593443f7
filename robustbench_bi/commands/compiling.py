"""The first evaluation of an installation compiles its kernels, for half a minute: it says so, and how far it is."""

from __future__ import annotations

from collections.abc import Callable

from robustbench_bi.data import named_source
from robustbench_bi.evaluation.request import EvalRequest
from robustbench_bi.ground.cells import Progress
from robustbench_bi.models import MODELS, resolve

LABEL = "compiling, once per installation"
LOADING = "loading networks"
LOADING_OWN = "loading networks; their kernels compile once per installation"


def say_loading(request: EvalRequest, progress: Callable[[Progress], None], done: bool = False) -> None:
    """Say that networks are loaded and tried out; those of our own with kernels of ours compile these then.

    Args:
        request: what will be evaluated.
        progress: called once.
        done: whether that is over.
    """
    own = [resolve(model, {})[0] for model in request.models if isinstance(model, str)]
    compiles = any(MODELS[name].family not in _WITHOUT_KERNELS for name in own if name in MODELS)
    total = len(request.models)
    progress(Progress(LOADING_OWN if compiles else LOADING, "networks", total if done else 0, total, 0, 0))


_WITHOUT_KERNELS = ("resnet", "resnext", "fcanet", "bam", "cbam", "aa", "axial")
"""Families whose layers are all torch's."""


def compile_kernels(request: EvalRequest, progress: Callable[[Progress], None]) -> None:
    """Compile the kernels of a request's corruptions, or load those that are kept, and report each corruption.

    Args:
        request: what will be evaluated.
        progress: called after each; no image is done yet.
    """
    import torch

    of_files = named_source(request.data.source)[0].corrupted_as is None
    on_gpu = request.device.startswith("cuda") or (request.device == "auto" and torch.cuda.is_available())
    if of_files or on_gpu or request.generator != "bivo-robust":
        return
    from robustbench_bi.corruptions import corrupt

    image, total = torch.full((1, 3, 64, 64), 128, dtype=torch.uint8), len(request.corruptions)
    for number, name in enumerate(request.corruptions, start=1):
        for severity in request.severities:
            corrupt(image, name, severity, table="auto")
        progress(Progress(LABEL, "corruptions", number, total, 0, 0))

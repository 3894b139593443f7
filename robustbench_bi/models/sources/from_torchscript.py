"""Networks in TorchScript files: TorchScript is old, but its files hold no Python and run without it."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from robustbench_bi.errors import WeightsError
from robustbench_bi.models.sources.compiled_file import FileNetwork, check_format, without_warnings
from robustbench_bi.models.sources.finish import file_of

OLD = "TorchScript is deprecated; save with torch.export.save instead and use export:FILE"


def build(name: str, num_classes: int | None, weights: str | Path | None, options: Mapping[str, Any]) -> nn.Module:
    """Open a TorchScript file.

    Args:
        name: the path.
        num_classes: None, or the file's number of classes.
        weights: None; the file brings its own.
        options: `input_size`, of images; such a file does not state it.

    Raises:
        InputError: the file is not a classifier of single images, or is in training mode.
        WeightsError: the file is missing or is no TorchScript; or weights are named beside it.
    """
    path = file_of("torchscript", name, weights, options)
    check_format(path, "a TorchScript file")
    logging.getLogger(__name__).warning("%s: %s", path, OLD)
    try:
        with without_warnings():
            load: Any = torch.jit.load
            script = load(str(path), map_location="cpu").eval()
    except Exception as error:  # a broken file can make the reader fail in any way
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)[:200]
        raise WeightsError(f"{path} cannot be read as a TorchScript file: {reason}") from error
    return FileNetwork.settled("torchscript", path, script, num_classes, size=options.get("input_size"))

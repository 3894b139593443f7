"""The weights of our own rows that go by a name: the bundled ones, and those that torchvision publishes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from robustbench_bi.errors import WeightsError
from robustbench_bi.models.sources.downloads import downloaded
from robustbench_bi.models.sources.from_torchvision import is_kept, preprocessing_of_entry, weights_entry
from robustbench_bi.models.weights import Checkpoint, demo_path, read_checkpoint
from robustbench_bi.models.weights_files import TORCHVISION_NAME, is_file

if TYPE_CHECKING:
    from pathlib import Path


def named_weights(name: str, weights: str | Path) -> Checkpoint | None:
    """The weights of a row of ours that go by a name: "demo", "pretrained", or torchvision's; None for a file.

    "pretrained" is IMAGENET1K_V1, the weights behind ImageNet-C's published ResNet-50 numbers.

    Raises:
        WeightsError: there are none of that name, or they cannot be downloaded.
    """
    if weights == "demo":
        return read_checkpoint(demo_path(name))
    if is_file(weights):
        return None
    if name not in TORCHVISION_NAME:
        raise WeightsError(
            f"{name} has no published weights {str(weights)!r}; give a file (.safetensors, .pth, .pt), 'demo' or 'none'"
        )
    entry = weights_entry(TORCHVISION_NAME[name], "IMAGENET1K_V1" if weights == "pretrained" else str(weights))
    state = downloaded(
        f"torchvision's {entry}",
        lambda: entry.get_state_dict(progress=False, check_hash=True),
        entry.url,
        is_kept(entry.url),
    )
    metadata = {**preprocessing_of_entry(entry), "model": name, "num_classes": len(entry.meta["categories"])}
    return Checkpoint(f"torchvision's {entry}", state, metadata)

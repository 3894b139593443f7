"""Corruptions as transforms for torchvision and Albumentations, and for `datasets.map`.

They are for measuring, and for training with corruptions that no test uses: a network that was trained on a corruption
says nothing about corruptions it has not seen.

A picture's random draws are keyed by its content: the key is a hash of its pixels (`content_ids`), so a result depends
on the pixels, the corruption, the severity, the table and the seed, and on nothing else. Workers, their number, the
order, the batch, the epoch and a restart do not matter, and neither does whether a picture comes as a Pillow image, an
array or a tensor. Whoever wants other keys, as `robustbench_bi.corrupt` and evaluations have them, gives ids.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from robustbench_bi.ground.exports import exported

if TYPE_CHECKING:
    from robustbench_bi.transforms.adapters import for_albumentations, for_map
    from robustbench_bi.transforms.keys import content_ids
    from robustbench_bi.transforms.pictures import Corrupt, RandomCorrupt

_HOMES = {
    "Corrupt": "robustbench_bi.transforms.pictures",
    "RandomCorrupt": "robustbench_bi.transforms.pictures",
    "content_ids": "robustbench_bi.transforms.keys",
    "for_albumentations": "robustbench_bi.transforms.adapters",
    "for_map": "robustbench_bi.transforms.adapters",
}

__all__ = ["Corrupt", "RandomCorrupt", "content_ids", "for_albumentations", "for_map"]


def __getattr__(name: str) -> Any:
    return exported(__name__, _HOMES, name)


def __dir__() -> list[str]:
    return sorted(__all__)

"""AP of a detector on clean pictures, as an evaluation would find it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import nn

from robustbench_bi.data import Dataset
from robustbench_bi.ground.cells import CLEAN
from robustbench_bi.models.detectors.adapters import BACKGROUND, Detector
from robustbench_bi.tasks import TASKS

_AT_ONCE = 16


@dataclass(frozen=True)
class _Asked:
    """A detector in the form that the task asks; see `evaluation.detectors.DetectorSubject`."""

    network: Detector
    name: str
    categories: NDArray[np.int64]
    precision: str = "fp32"


def average_precision(network: nn.Module, name: str, dataset: Dataset, device: torch.device) -> tuple[float, float]:
    """AP of boxes and of masks in percent; NaN where undefined.

    Args:
        network: in evaluation mode, on the device; its classes are the data's.
        name: for messages.
        dataset: pictures with boxes.
        device: where the network is.

    Raises:
        ModelOutputError: the network fails.
    """
    task, objects = TASKS["detection"], dataset.objects
    if objects is None:
        raise TypeError("images without boxes have no average precision")
    detector = Detector(network, None, [BACKGROUND[0], *dataset.class_names], {})
    asked = _Asked(detector, name, np.arange(len(dataset.class_names) + 1) - 1)
    parts = []
    for start in range(0, len(dataset), _AT_ONCE):
        rows = np.arange(start, min(start + _AT_ONCE, len(dataset)))
        pictures = [torch.from_numpy(picture).to(device) for picture in dataset.read(rows, None)]
        parts.append(task.load("ask")(asked, pictures, dataset.image_ids[rows], None, "on clean images"))
    records = pd.DataFrame({key: np.concatenate([part[key] for part in parts]) for key in parts[0]})
    records = records.assign(corruption=CLEAN[0], severity=CLEAN[1])
    sizes = objects.sizes_of(dataset.image_ids)
    images = pd.DataFrame({"image_id": dataset.image_ids, "width": sizes[:, 0], "height": sizes[:, 1]})
    truth = pd.DataFrame(objects.of(dataset.image_ids))
    names = np.array(dataset.class_names, dtype=object)[truth["category"].to_numpy()]
    truth["name"] = pd.Categorical(names, categories=list(dataset.class_names))
    cells: Any = task.load("cells")(records, images, [CLEAN], lambda: truth)
    return float(cells["AP"][0]), float(cells["mask_AP"][0])

"""Classification: one label an image, one row an image."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray
    from torch import Tensor

    from robustbench_bi.tasks import Asked

COLUMNS = {
    "image_id": "int64",
    "label": "int32",
    "prediction": "int32",
    "rank": "int32",
    "confidence": "float32",
    "loss": "float32",
}
"""The columns of a record file and their dtypes.

`rank` counts the classes scored above the label, `confidence` is the softmax of the prediction, `loss` the
cross-entropy in nats.
"""


def try_out(asked: Asked, images: Tensor) -> None:
    """Ask a network about a few images, so that what does not fit is found before anything is written.

    Raises:
        ModelOutputError: the network fails, or returns another shape than the data's classes ask for.
    """
    from robustbench_bi.models.inference import run_network

    run_network(asked.network, asked.prepared(images), asked.name, asked.precision, asked.num_classes)


def ask(
    asked: Asked, images: Tensor, image_ids: NDArray[np.int64], labels: NDArray[np.int32], place: str
) -> dict[str, NDArray[Any]]:
    """Ask a network about a batch.

    Args:
        asked: the network.
        images: uint8 (B, 3, H, W), on its device.
        image_ids: int64 (B,).
        labels: int32 (B,).
        place: where the images are from, for messages: "on fog severity 3".

    Returns:
        The record columns.

    Raises:
        ModelOutputError: logits of a wrong shape, or not finite.
    """
    import torch

    from robustbench_bi.models.inference import finite_logits, score

    logits = finite_logits(
        asked.network, asked.prepared(images), asked.name, asked.precision, asked.num_classes, place=place
    )
    return {"image_id": image_ids, **score(logits, torch.from_numpy(labels).to(images.device))}


def cells(records: pd.DataFrame, images: pd.DataFrame) -> pd.DataFrame:
    """One row a cell, in the order of the records.

    Args:
        records: of a run, with corruption and severity.
        images: of a run; each has one record a cell.

    Returns:
        A frame with corruption, severity, n, top1 and top5 (percent) and loss (mean, nats).
    """
    records = records.assign(top1=(records["rank"] < 1) * 100.0, top5=(records["rank"] < 5) * 100.0)
    grouped = records.groupby(["corruption", "severity"], observed=True, sort=False)
    numbers = grouped.agg(n=("rank", "size"), top1=("top1", "mean"), top5=("top5", "mean"), loss=("loss", "mean"))
    return numbers.reset_index().astype({"corruption": "str"})

"""Whether a detector's boxes are in pixels of the picture that it was given, and not of its own input."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from robustbench_bi.data import Dataset
from robustbench_bi.errors import ModelOutputError
from robustbench_bi.evaluation.label_order import check_labels
from robustbench_bi.tasks import TASKS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from robustbench_bi.evaluation.detectors import DetectorSubject

PICTURES = 8
_TOGETHER = 3
_SHARE = 1.5
_OUTSIDE = 0.1
_FAR = 0.75
_ENOUGH = 20
_FEW = 2

_WANTED = ("image_id", "x1", "y1", "x2", "y2", "category", "score")
_ADVICE = "boxes must be x1, y1, x2, y2 in pixels of the image that was given"


def check_scale(subject: DetectorSubject, dataset: Dataset) -> None:
    """Ask about a few pictures with many objects, and refuse boxes that cannot be in pixels of these, or mixed up.

    Boxes are refused where none ends beyond 1.5; where one in ten has its centre outside its picture, if these are more
    than two or more than half; and where twenty or more all end before objects begin, of which there are at least
    three: in the last quarter of the width or height, or beyond a pixel that no box in any picture passes.

    Raises:
        ModelOutputError: they are; or as `check_labels`; or answers come in another order than the pictures.
    """
    if dataset.objects is None:
        return
    objects = dataset.objects.of(dataset.image_ids)
    _, counts = np.unique(np.concatenate([objects["image_id"], dataset.image_ids]), return_counts=True)
    rows = np.sort(np.argsort(-counts, kind="stable")[:PICTURES])
    image_ids = dataset.image_ids[rows]
    pictures = [torch.from_numpy(own).to(subject.config.device) for own in dataset.read(rows, None)]
    ask = TASKS["detection"].load("ask")
    parts = [
        ask(subject, [own], image_ids[place : place + 1], None, "on clean images") for place, own in enumerate(pictures)
    ]
    _check_order(subject, parts, pictures, image_ids)
    found = {name: np.concatenate([part[name] for part in parts]) for name in _WANTED}
    if not len(found["image_id"]):
        return
    sizes = dict(zip(image_ids.tolist(), dataset.objects.sizes_of(image_ids).tolist(), strict=True))
    mine = _boxes(found, sizes)
    ends = np.stack([found["x2"], found["y2"]], axis=1)
    if len(ends) > 2 and ends.max() <= _SHARE:
        raise ModelOutputError(
            f"{subject.name} gives boxes that end at {ends.max():.2f} at most, which look like fractions of the "
            f"image; {_ADVICE}"
        )
    outside = ((mine.mean(axis=1) < 0) | (mine.mean(axis=1) > 1)).any(axis=1)
    if outside.sum() > max(_OUTSIDE * len(outside), min(_FEW, len(outside) / 2)):
        raise ModelOutputError(
            f"{subject.name} gives {outside.sum()} of {len(outside)} boxes whose centre lies outside their image; "
            f"{_ADVICE}, not of the network's own input"
        )
    wanted = {name: values[np.isin(objects["image_id"], image_ids)] for name, values in objects.items()}
    corners = {"x1": wanted["x"], "y1": wanted["y"], "x2": wanted["x"] + wanted["width"]}
    theirs = _boxes({**corners, "y2": wanted["y"] + wanted["height"], "image_id": wanted["image_id"]}, sizes)
    begins = np.stack([wanted["x"], wanted["y"]], axis=1)
    for axis, words in enumerate(("width", "height")):
        if mine[:, 1, axis].max() < _FAR:
            far = theirs[:, 0, axis] > _FAR
            _refuse_unreached(subject, found["image_id"], image_ids, far, f"the last quarter of the {words}")
        last = ends[:, axis].max()
        beyond = begins[:, axis] > last
        holding = np.unique(wanted["image_id"][beyond])
        _refuse_unreached(subject, found["image_id"], holding, beyond, f"beyond pixel {last:.0f} of the {words}")
    check_labels(subject.name, dataset.class_names, found, wanted)


def _check_order(
    subject: DetectorSubject, parts: list[dict[str, Any]], pictures: list[torch.Tensor], image_ids: NDArray[np.int64]
) -> None:
    """Ask about some of the pictures together, and refuse an answer that is another picture's."""
    some = slice(0, _TOGETHER)
    if not subject.network.asked_together or len(pictures) < 2:
        return
    together = TASKS["detection"].load("ask")(subject, pictures[some], image_ids[some], None, "on clean images")
    alone = [_numbers(part) for part in parts[some]]
    own = [_numbers(together)[together["image_id"] == image_id] for image_id in image_ids[some]]
    same = np.array([[_alike(first, second) for second in alone] for first in own])
    if same.any(axis=0).all() and same.any(axis=1).all() and not same.diagonal().all():
        raise ModelOutputError(
            f"{subject.name} answers {len(own)} images in a different order than given; the answers must be a "
            "list in the order of the images"
        )


def _numbers(columns: dict[str, Any]) -> NDArray[np.float64]:
    """Score and corners of detections, (N, 5)."""
    return np.stack([columns[name] for name in ("score", "x1", "y1", "x2", "y2")], axis=1)


def _alike(first: NDArray[np.float64], second: NDArray[np.float64]) -> bool:
    return first.shape == second.shape and bool(np.allclose(first, second, rtol=1e-3, atol=1e-3))


def _refuse_unreached(
    subject: DetectorSubject,
    found_in: NDArray[np.int64],
    pictures: NDArray[np.int64],
    unreached: NDArray[np.bool_],
    where: str,
) -> None:
    """Refuse boxes that never reach a part of some pictures, where that cannot be chance."""
    boxes, objects = int(np.isin(found_in, pictures).sum()), int(unreached.sum())
    if objects > _FEW and boxes >= _ENOUGH:
        raise ModelOutputError(
            f"{subject.name} gives {boxes} boxes on {len(pictures)} images, and none reaches {where}, where "
            f"{objects} objects lie; {_ADVICE}, not of the network's own input"
        )


def _boxes(columns: dict[str, NDArray[np.float64]], sizes: dict[int, list[int]]) -> NDArray[np.float64]:
    """Boxes as shares of their pictures: (N, 2, 2), beginning and end, across and down."""
    scale = np.array([sizes[image_id] for image_id in columns["image_id"].tolist()], dtype=np.float64).reshape(-1, 1, 2)
    corners = np.stack([columns[name] for name in ("x1", "y1", "x2", "y2")], axis=1).reshape(-1, 2, 2)
    shares: NDArray[np.float64] = corners / scale
    return shares

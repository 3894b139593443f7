"""Detection: the objects in each picture, found by boxes, and by masks where there are some. A row a detection."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from robustbench_bi.errors import DataError, ModelOutputError
from robustbench_bi.tasks import Measure
from robustbench_bi.tasks.detection_baseline import Matches
from robustbench_bi.tasks.detection_baseline import pack as pack
from robustbench_bi.tasks.detection_baseline import unpack as unpack

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray
    from torch import Tensor

    from robustbench_bi.ground.cells import Cell
    from robustbench_bi.metrics.detection.matching import Matched, Truth
    from robustbench_bi.metrics.detection.precision import Precision
    from robustbench_bi.metrics.intervals import Grid
    from robustbench_bi.metrics.statistics import Floats, Statistic

COLUMNS = {
    "image_id": "int64",
    "category": "int32",
    "score": "float64",
    "x1": "float64",
    "y1": "float64",
    "x2": "float64",
    "y2": "float64",
    "mask": "str",
}
"""The columns of a record file and their dtypes.

`category` is the class number of the data. The box is in pixels of the picture as its file has it. `mask` is the mask's
run lengths in COCO's text form, of the picture's size; empty where the network gives none.
"""

_NUMBERS: Mapping[str, tuple[str, int, str]] = {
    "AP": ("all", 0, "average precision (AP)"),
    "AP50": ("all", 1, "AP at an overlap of 0.5"),
    "AP75": ("all", 2, "AP at an overlap of 0.75"),
    "APs": ("small", 0, "AP of small objects"),
    "APm": ("medium", 0, "AP of medium objects"),
    "APl": ("large", 0, "AP of large objects"),
    "AR": ("all", 3, "average recall (AR) with 100 detections"),
}
"""The size of the objects, the place among `metrics.detection.precision.NUMBERS`, and words."""
_KINDS = {"": "box", "mask_": "mask"}

MEASURES = tuple(
    Measure(
        f"{prefix}{name}",
        f"{prefix.replace('_', ' ')}{name}",
        f"{prefix.replace('_', ' ')}{words}",
        "%",
        first=name == "AP" or (name in ("AP50", "AP75") and not prefix),
        compared=name == "AP" and bool(prefix),
    )
    for prefix in _KINDS
    for name, (_, _, words) in _NUMBERS.items()
)
PAIRING = "bootstrap"
EXTRAS = ("mean_performance",)
KEEPS_TRUTH = True

# A mask as a probability is inside from here on, as torchvision's detectors are scored.
_INSIDE = 0.5
# torchvision's detectors drop what scores less.
_LOW = 0.0501


def try_out(asked: Any, images: Sequence[Tensor]) -> None:
    """Ask a network about a few pictures, so that what does not fit is found before anything is written.

    Raises:
        ModelOutputError: the network fails, or answers in another form.
    """
    for answer, image in zip(_answers(asked, images), images, strict=True):
        _rows(answer, tuple(image.shape[1:]), asked, 0, f"{asked.name} on the first clean image:")


def ask(
    asked: Any, images: Sequence[Tensor], image_ids: NDArray[np.int64], labels: NDArray[np.int32], place: str
) -> dict[str, NDArray[Any]]:
    """Ask a network about pictures of any size.

    Args:
        asked: the network, with `network`, `name`, `precision`, and `categories`: by label, the class number of the
            data, or −1 for a class that they do not have.
        images: uint8 (3, H, W) each, on its device.
        image_ids: int64 (B,).
        labels: nothing.
        place: where the pictures are from, for messages: "on fog severity 3".

    Returns:
        The record columns.

    Raises:
        ModelOutputError: the network fails, or answers in another form.
    """
    import numpy as np

    parts = [
        _rows(answer, tuple(image.shape[1:]), asked, int(image_id), f"{asked.name} {place}, image {image_id}:")
        for answer, image, image_id in zip(_answers(asked, images), images, image_ids, strict=True)
    ]
    return {name: np.concatenate([part[name] for part in parts]) for name in COLUMNS}


def _answers(asked: Any, images: Sequence[Tensor]) -> list[Any]:
    """What a network answers, one for each picture.

    Raises:
        ModelOutputError: it fails, or gives another number of answers.
    """
    import torch

    from robustbench_bi.models.inference import autocast, failing_in_a_line, full_precision

    narrow = autocast(images[0].device, asked.precision)
    with torch.inference_mode(), full_precision(), narrow, failing_in_a_line(images[0], asked.name):
        answers = list(asked.network.detect(images))
    if len(answers) != len(images):
        raise ModelOutputError(f"{asked.name} must answer each of {len(images)} images, got {len(answers)} answers")
    return answers


def _rows(answer: Any, size: tuple[int, ...], asked: Any, image_id: int, said: str) -> dict[str, NDArray[Any]]:
    """The record columns of one picture's answer, checked; `said` begins a message."""
    import numpy as np

    missing = [
        key
        for key in ("boxes", "scores", "labels")
        if not (isinstance(answer, Mapping) and answer.get(key) is not None)
    ]
    if missing:
        raise ModelOutputError(f"{said} an answer must have boxes, scores and labels; missing: {', '.join(missing)}")
    boxes, scores, labels = (_array(answer[key]) for key in ("boxes", "scores", "labels"))
    count = len(scores)
    boxes = boxes.reshape(0, 4) if count == 0 and boxes.size == 0 else boxes
    if boxes.shape != (count, 4) or scores.shape != (count,) or labels.shape != (count,):
        shapes = f"{boxes.shape}, {scores.shape} and {labels.shape}"
        raise ModelOutputError(f"{said} boxes (N, 4), scores (N,) and labels (N,) are expected, got {shapes}")
    boxes, scores = boxes.astype(np.float64), scores.astype(np.float64)
    if not (np.isfinite(boxes).all() and np.isfinite(scores).all()):
        raise ModelOutputError(f"{said} boxes or scores are not finite")
    if count and (boxes[:, 2:] < boxes[:, :2]).any():
        wrong = boxes[(boxes[:, 2:] < boxes[:, :2]).any(axis=1)][0].round(2).tolist()
        raise ModelOutputError(f"{said} boxes must be x1, y1, x2, y2, got {wrong}, which end before they begin")
    if count and (labels.dtype.kind not in "iu" or labels.min() < 0 or labels.max() >= len(asked.categories)):
        raise ModelOutputError(
            f"{said} labels must be whole numbers from 0 to {len(asked.categories) - 1}, indices into class_names"
        )
    category = asked.categories[labels.astype(np.int64)]
    masks = _masks(answer.get("masks"), count, size, said)
    columns = {
        "image_id": np.full(count, image_id, dtype=np.int64),
        "category": category,
        "score": scores,
        **{name: boxes[:, number] for number, name in enumerate(("x1", "y1", "x2", "y2"))},
        "mask": masks,
    }
    return {name: values[category >= 0] for name, values in columns.items()}


def _array(values: Any) -> NDArray[Any]:
    import numpy as np

    return np.asarray(values.detach().cpu().numpy() if hasattr(values, "detach") else values)


def _masks(stored: Any, count: int, size: tuple[int, ...], said: str) -> NDArray[np.object_]:
    import numpy as np

    from robustbench_bi.ground.run_lengths import of_bitmap, to_text

    if stored is None:
        return np.full(count, "", dtype=object)
    masks = _array(stored)
    masks = masks[:, 0] if masks.ndim == 4 and masks.shape[1] == 1 else masks
    if masks.shape != (count, *size) and count:
        raise ModelOutputError(f"{said} masks must be {(count, *size)}, the image's size, got {masks.shape}")
    inside = masks.astype(bool) if masks.dtype.kind in "biu" else masks >= _INSIDE
    return np.array([to_text(of_bitmap(mask)) for mask in inside] + [None], dtype=object)[:count]


def remarks(records: pd.DataFrame) -> list[str]:
    """What a reader should know of a run's detections, a sentence each."""
    if not len(records):
        return ["The detector found nothing in any image."]
    lowest = float(records["score"].min())
    if lowest <= _LOW:
        return []
    return [f"The lowest score is {lowest:.2f}: detections below it were dropped, which lowers AP."]


class Found:
    """The detections of a run beside its truth; what each finds is told once, when it is first asked for.

    Args:
        records: `Run.records()`.
        truth: the objects.
        cells: of the run.
    """

    def __init__(self, records: pd.DataFrame, truth: Truth, cells: Sequence[Cell]) -> None:
        self.records, self.truth, self.cells = records, truth, tuple(cells)
        self._precision: dict[tuple[str, str], Precision] = {}

    @cached_property
    def parts(self) -> list[pd.DataFrame]:
        """The records of each cell."""
        corruption, severity = self.records["corruption"].astype(str), self.records["severity"]
        grouped = dict(iter(self.records.groupby([corruption, severity], sort=False)))
        nothing = self.records.iloc[:0]
        return [grouped.get((name, number), nothing) for name, number in self.cells]

    @cached_property
    def has_masks(self) -> bool:
        """Whether masks can be scored: each object has one, and the network gives some."""
        return self.truth.has_masks and bool((self.records["mask"].str.len() > 0).any())

    def precision(self, kind: str, size: str) -> Precision | None:
        """The cells' precision by boxes or masks; None where there are no masks."""
        if kind == "mask" and not self.has_masks:
            return None
        if (kind, size) not in self._precision:
            self._match(kind)
        return self._precision[kind, size]

    def _match(self, kind: str) -> None:
        from robustbench_bi.metrics.detection.matching import SIZES
        from robustbench_bi.metrics.detection.matching import Cell as OfCell
        from robustbench_bi.metrics.detection.precision import Objects, Precision

        matched: dict[str, list[Matched]] = {size: [] for size in SIZES}
        for part in self.parts:
            own = OfCell(part, self.truth, kind)
            for size, cells in matched.items():
                cells.append(own.matched(size))
        for size, cells in matched.items():
            self._precision[kind, size] = Precision(len(self.truth.image_ids), Objects.of(self.truth, size), cells)

    def number(self, measure: str) -> Statistic:
        """A measure of each cell."""
        from robustbench_bi.metrics.detection.precision import OneNumber, Undefined

        prefix = "mask_" if measure.startswith("mask_") else ""
        size, number, _ = _NUMBERS[measure.removeprefix("mask_")]
        precision = self.precision(_KINDS[prefix], size)
        if precision is None:
            return Undefined(len(self.truth.image_ids), len(self.cells))
        return OneNumber(precision, number)


def arrange(
    records: pd.DataFrame,
    images: Callable[[], pd.DataFrame],
    cells: Sequence[Cell],
    truth: Callable[[], pd.DataFrame],
) -> Grid:
    """The images and cells of a run, with its detections beside the truth.

    Raises:
        DataError: a record is of an image that the run does not list.
    """
    from dataclasses import replace

    import numpy as np

    from robustbench_bi.metrics.intervals import grid_of

    objects = truth()
    found = Found(records, _truth(objects, images()), cells)
    image_ids = found.truth.image_ids
    unknown = np.setdiff1d(records["image_id"], image_ids)
    if len(unknown):
        raise DataError(f"image {unknown[0]} has records, but is not in the list of images; evaluate again")
    return replace(grid_of(image_ids, _signs(objects, image_ids), tuple(cells)), more=found)


def _truth(objects: pd.DataFrame, images: pd.DataFrame) -> Truth:
    from robustbench_bi.metrics.detection.matching import Truth

    return Truth.of(objects, images, len(objects["name"].cat.categories))


def _signs(objects: pd.DataFrame, image_ids: NDArray[np.int64]) -> NDArray[np.int64]:
    """A number for each image that changes with what is in it, so that two runs can be told to have the same truth."""
    import numpy as np
    import pandas as pd

    signs = np.zeros(len(image_ids), dtype=np.uint64)
    others = objects.drop(columns="difficult").astype({"name": str})
    rows = pd.util.hash_pandas_object(others, index=False).to_numpy(dtype=np.uint64)
    # Baselines are older than this column: where nothing is difficult, the number is what it was.
    rows = np.where(objects["difficult"], ~rows, rows)
    np.add.at(signs, np.searchsorted(image_ids, objects["image_id"].to_numpy()), rows)
    return signs.view(np.int64)


def statistic(measure: str, records: pd.DataFrame, grid: Grid, weights: Floats) -> Statistic:
    """A measure as weighted sums over cells."""
    from robustbench_bi.metrics.statistics import Weighted

    found: Found = grid.more
    return Weighted(found.number(measure), weights)


def cells(
    records: pd.DataFrame,
    images: pd.DataFrame,
    names: Sequence[Cell],
    truth: Callable[[], pd.DataFrame],
) -> pd.DataFrame:
    """One row a cell.

    Returns:
        A frame with corruption, severity, n (images) and the measures in percent, NaN where undefined: there is no
        object of that size, or there are no masks.
    """
    import pandas as pd

    found = Found(records, _truth(truth(), images), names)
    frame = pd.DataFrame(list(names), columns=["corruption", "severity"]).assign(n=len(images))
    return frame.assign(**{measure.name: found.number(measure.name).value() for measure in MEASURES})


def categories(
    records: pd.DataFrame,
    images: pd.DataFrame,
    names: Sequence[Cell],
    truth: Callable[[], pd.DataFrame],
) -> pd.DataFrame:
    """One row a cell and class.

    Returns:
        A frame with corruption, severity, category, name, objects (to be found), and AP, AP50, AP75 and AR in percent,
        of masks with `mask_` in front; NaN where undefined.
    """
    import numpy as np
    import pandas as pd

    from robustbench_bi.metrics.detection.precision import NUMBERS

    objects = truth()
    known = objects["name"].cat.categories
    found, count = Found(records, _truth(objects, images), names), len(known)
    frame = pd.DataFrame(list(names), columns=["corruption", "severity"]).loc[np.repeat(np.arange(len(names)), count)]
    frame = frame.reset_index(drop=True).assign(category=np.tile(np.arange(count), len(names)))
    frame["name"] = pd.Categorical.from_codes(frame["category"], categories=known)
    for prefix, kind in _KINDS.items():
        precision = found.precision(kind, "all")
        if precision is not None and not prefix:
            frame["objects"] = np.tile(np.diff(precision.objects.starts), len(names))
        values = np.full((len(frame), len(NUMBERS)), np.nan) if precision is None else precision.by_category()
        frame[[f"{prefix}{name}" for name in NUMBERS]] = values.reshape(len(frame), len(NUMBERS))
    return frame


def keep(records: pd.DataFrame, grid: Grid) -> Matches:
    """What a baseline keeps: the detections of each cell in their order, with what they find."""
    found: Found = grid.more
    precision = found.precision("box", "all")
    if precision is None:
        raise TypeError("boxes are always there")
    return Matches(grid.labels.astype("int64"), precision.objects, precision.cells)

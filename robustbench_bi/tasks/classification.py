"""Classification: one label an image, one row an image."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from robustbench_bi.metrics import METRICS, load_scores
from robustbench_bi.metrics.rows import load_scored
from robustbench_bi.tasks import Measure

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray
    from torch import Tensor

    from robustbench_bi.ground.cells import Cell
    from robustbench_bi.metrics.intervals import Grid
    from robustbench_bi.metrics.rows import Metric
    from robustbench_bi.metrics.scored import Scored
    from robustbench_bi.metrics.statistics import Floats, ImageMeans, Statistic
    from robustbench_bi.models.inference import Asked

    Frames = tuple[pd.DataFrame, ...]

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

LATER_COLUMNS = {"brier": "float32"}
"""Columns that runs from before they were kept do not have.

`brier` is the sum over classes of (probability − 1 for the label, 0 for the others)².
"""


def _measures(*kinds: str) -> tuple[Measure, ...]:
    """The metrics of these kinds, as reports show them."""
    return tuple(
        Measure(
            metric.name,
            short=metric.short or metric.name,
            words=metric.words or metric.short or metric.name,
            unit=_UNITS.get(metric.unit, metric.unit),
            decimals=metric.decimals,
            better=metric.better,
            proportion=metric.proportion,
            chance=metric.bias,
            first=metric.first,
            rows=_ROWS.get(metric.of, "all"),
            column=metric.column,
        )
        for metric in METRICS
        if metric.of in kinds
    )


_UNITS = {"percent": "%"}
_ROWS: Mapping[str, Literal["corrupted", "severities"]] = {"changes": "corrupted", "severities": "severities"}

# A new row of METRICS is a new column: of images in every summary, the others where they are chosen.
MEASURES = _measures("images")
FURTHER = _measures("answers", "changes", "severities")
PAIRED = _measures("networks")
PAIRING = "scores"
EXTRAS = ("corruption_error", "reliability", "answers")


def try_out(asked: Asked, images: Tensor) -> None:
    """Ask a network about a few images, so that what does not fit is found before anything is written.

    Raises:
        ModelOutputError: the network fails, or returns another shape than the data's classes ask for.
    """
    from robustbench_bi.models.inference import logits_of

    logits_of(asked, images)


def ask(
    asked: Asked, images: Tensor, image_ids: NDArray[np.int64], labels: NDArray[np.int32], place: str
) -> Callable[[], dict[str, NDArray[Any]]]:
    """Ask a network about a batch.

    Args:
        asked: the network; where it has `answers`, these say which classes compete and count.
        images: uint8 (B, 3, H, W), on its device; or as `asked.prepared` gave them.
        image_ids: int64 (B,).
        labels: int32 (B,).
        place: where the images are from, for messages: "on fog severity 3".

    Returns:
        What gives the record columns, without the network; it raises ModelOutputError where logits are not finite.

    Raises:
        ModelOutputError: the network fails, or returns logits of a wrong shape.
    """
    from robustbench_bi.models.inference import check_finite, logits_of

    # A copy, since a network may put its next answers into the same memory before these are scored.
    logits = logits_of(asked, images).clone()

    def columns() -> dict[str, NDArray[Any]]:
        check_finite(logits, asked, place)
        return {"image_id": image_ids, **scored(asked, logits, image_ids, labels)}

    return columns


def scored(asked: Asked, logits: Tensor, image_ids: NDArray[np.int64], labels: NDArray[np.int32]) -> dict[str, Any]:
    """What logits (B, K) say of a batch, by the answers that compete and count."""
    import torch

    from robustbench_bi.models.inference import score

    answers = getattr(asked, "answers", None)
    accepted = None if answers is None else answers.accepted_of(image_ids)
    competing = None if answers is None else answers.competing
    sets = [None if own is None else torch.from_numpy(own).to(logits.device) for own in (accepted, competing)]
    return score(logits, torch.from_numpy(labels).to(logits.device), *sets)


def arrange(records: pd.DataFrame, images: Callable[[], pd.DataFrame], cells: Sequence[Cell]) -> Grid:
    """The images and cells of a run; the records alone tell them. See `metrics.intervals.arrange`."""
    from robustbench_bi.metrics.intervals import arrange as arrange_rows

    return arrange_rows(records)


def statistic(measure: str, records: pd.DataFrame, grid: Grid, weights: Floats) -> Statistic:
    """A metric of images, or a further one, as weighted sums over cells.

    Where it is a change from clean, the sums are over the other cells; where it is of all cells of a severity, each is
    of all the cells that have a weight.

    Raises:
        DataError: a score is not finite.
    """
    import numpy as np

    from robustbench_bi.ground.cells import CLEAN
    from robustbench_bi.metrics.intervals import image_scores

    metric = METRICS[measure]
    if metric.of == "images":
        return _means(metric, image_scores(records, grid, load_scores(measure), weights), weights)
    scored = load_scored(measure)
    if metric.of == "severities":
        return _means(metric, _of_several_cells(records, grid, scored.scores, weights), np.eye(weights.shape[1]))
    beside = [grid.records_of(records, grid.cells.index(CLEAN))] if metric.of == "changes" else []

    def of_cell(place: int) -> Frames:
        return (grid.records_of(records, place), *beside)

    return _linearised(metric, scored, grid, of_cell, weights)


def _of_several_cells(
    records: pd.DataFrame, grid: Grid, scores: Callable[[pd.DataFrame], Floats], weights: Floats
) -> Floats:
    """Scores (n, S), each of all the cells that have a weight."""
    import numpy as np
    import pandas as pd

    columns = [
        scores(pd.concat([grid.records_of(records, int(place)) for place in np.flatnonzero(of_number)]))
        for of_number in weights.T
    ]
    return np.stack(columns, axis=1) if columns else np.empty((len(grid.image_ids), 0))


def paired_statistic(
    measure: str, own: tuple[pd.DataFrame, Grid], other: tuple[pd.DataFrame, Grid], weights: Floats
) -> Statistic:
    """A metric of two networks as weighted sums over cells.

    Args:
        measure: its name.
        own: the records of a run and their grid.
        other: those of another one, of the same images and cells.
        weights: (C, S), by the cells of `own`.
    """
    (records, grid), (others, of_other) = own, other

    def of_cell(place: int) -> Frames:
        paired = of_other.records_of(others, of_other.cells.index(grid.cells[place]))
        return grid.records_of(records, place), paired

    return _linearised(METRICS[measure], load_scored(measure), grid, of_cell, weights)


def _linearised(
    metric: Metric, scored: Scored, grid: Grid, of_cell: Callable[[int], Frames], weights: Floats
) -> Statistic:
    """Weighted sums over cells of a metric from the frames of each, with what one more image could add to them."""
    import numpy as np

    from robustbench_bi.metrics.intervals import weighted_scores
    from robustbench_bi.metrics.statistics import Bounds

    scores = weighted_scores(grid, lambda place: scored.scores(*of_cell(place)), weights, may_be_undefined=True)
    means = _means(metric, scores, weights)
    if scored.reach is None:
        return means
    reach = np.zeros((len(weights), 2))
    for place in np.flatnonzero(weights.any(axis=1)):
        found = scored.reach(*of_cell(int(place)))
        reach[place] = found if np.isfinite(found).all() else (metric.least, metric.most)
    least, most = reach.T
    of_an_image = Bounds(least, most, np.ones(len(reach), dtype=bool)).weighted(weights)
    ends = means.limits.least, means.limits.most
    return replace(means, bounds=replace(of_an_image, single=means.limits.single, ends=ends))


def _means(metric: Metric, scores: Floats, weights: Floats) -> ImageMeans:
    """The means of per-image scores of a metric, within its bounds."""
    import numpy as np

    from robustbench_bi.metrics.statistics import ImageMeans, bounds_of

    bounds = bounds_of(weights, metric.least, metric.most)
    # Only of a share of all images is the interval of a single cell Wilson's.
    return ImageMeans(scores, bounds if metric.proportion else replace(bounds, single=np.zeros_like(bounds.single)))


def error(records: pd.DataFrame, grid: Grid, weights: Floats) -> Statistic:
    """The top-1 error as weighted sums over cells."""
    from robustbench_bi.metrics.intervals import image_scores
    from robustbench_bi.metrics.statistics import ImageMeans, bounds_of

    scores = image_scores(records, grid, lambda frame: 100.0 - load_scores("top1")(frame), weights)
    return ImageMeans(scores, bounds_of(weights, 0, 100))


def cells(records: pd.DataFrame, images: pd.DataFrame, names: Sequence[Cell]) -> pd.DataFrame:
    """One row a cell, in the order of the records.

    Args:
        records: of a run, with corruption and severity.
        images: of the run; each has one record a cell.
        names: the cells of the run; the records alone tell them.

    Returns:
        A frame with corruption, severity, n, top1 and top5 (percent) and loss (mean, nats).
    """
    import numpy as np
    import pandas as pd

    from robustbench_bi.metrics.intervals import cells_of

    cells, codes = cells_of(records)
    rank = records["rank"].to_numpy()
    counts = np.bincount(codes, minlength=len(cells))
    right = {name: np.bincount(codes[rank < most], minlength=len(cells)) for name, most in (("top1", 1), ("top5", 5))}
    shares = {name: 100.0 * number / counts for name, number in right.items()}
    loss = np.bincount(codes, records["loss"].to_numpy(), minlength=len(cells)) / counts
    corruptions, severities = zip(*cells, strict=True)
    return pd.DataFrame({"corruption": corruptions, "severity": severities, "n": counts, **shares, "loss": loss})


@dataclass(frozen=True, eq=False)
class Answers:
    """Which images of a run are right in which cell.

    Attributes:
        labels: int32 (n,).
        correct: bool (n, C), whether the label scores highest.
    """

    labels: NDArray[np.integer]
    correct: NDArray[np.bool_]

    def statistic(self, places: Sequence[int], weights: Floats) -> Statistic:
        """Top-1 as weighted sums over the cells at `places`."""
        from robustbench_bi.metrics.statistics import Shares

        return Shares(self.correct[:, list(places)], weights)


def keep(records: pd.DataFrame, grid: Grid) -> Answers:
    """What a baseline keeps: a bit an image and cell."""
    correct = load_scores("top1")(records) > 0
    return Answers(grid.labels, correct[grid.rows])


def pack(kept: Answers) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The labels, and of each cell the number of images that are right, for the reader, and their bits."""
    import numpy as np

    from robustbench_bi.tasks import packing

    of_cells = [{"correct": int(right.sum()), "images": packing.pack(np.packbits(right))} for right in kept.correct.T]
    return {"labels": packing.pack(kept.labels.astype("<i4"))}, of_cells


def unpack(contents: Mapping[str, Any], n: int) -> Answers:
    """The answers of a baseline's file.

    Raises:
        KeyError, TypeError, ValueError, zlib.error: it was made by another program, and wrongly.
    """
    import numpy as np

    from robustbench_bi.tasks import packing

    correct = np.empty((n, len(contents["cells"])), dtype=np.bool_)
    for place, cell in enumerate(contents["cells"]):
        correct[:, place] = np.unpackbits(packing.unpack(cell["images"], (n + 7) // 8, "u1"), count=n)
        if correct[:, place].sum() != cell["correct"]:
            raise ValueError(f"{cell['correct']} correct images, but their bits give {correct[:, place].sum()}")
    return Answers(packing.unpack(contents["labels"], n, "<i4"), correct)

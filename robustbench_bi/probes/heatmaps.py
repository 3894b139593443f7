"""Run networks for heat maps of their features, clean and corrupted: Fig. 4 (left) of the Bi-volution paper."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from robustbench_bi.analysis.captions import describe_data
from robustbench_bi.analysis.correlations import ANOTHER_IMAGE, HeatMaps
from robustbench_bi.analysis.groups import FIGURE_3_NOISES
from robustbench_bi.corruptions import resolve_suite
from robustbench_bi.corruptions.apply import check_severity
from robustbench_bi.data import Dataset, open_data
from robustbench_bi.data.pictures import open_pictures
from robustbench_bi.data.preprocess import Cut
from robustbench_bi.data.sources import named_source
from robustbench_bi.errors import DataError
from robustbench_bi.ground.cells import CLEAN, Cell, Progress
from robustbench_bi.ground.checks import check_integer
from robustbench_bi.ground.registry import unknown_name
from robustbench_bi.probes.features import REDUCTIONS, choose_layer, correlation, layer_maps, reduce_maps
from robustbench_bi.probes.subjects import Subject, describe_subjects, left_out, open_subjects, unchanged

if TYPE_CHECKING:
    from numpy.typing import NDArray

Maps = dict[Cell, Tensor]


def heat_maps(
    models: Sequence[str | nn.Module],
    data: str | Path | None = None,
    *,
    images: str | Path | None = None,
    corruptions: str | Sequence[str] = FIGURE_3_NOISES,
    severity: int = 3,
    layer: str | None = None,
    reduce: str = "mean",
    show: int = 1,
    limit: int | None = None,
    classes: str | Path | None = None,
    jpeg: int | str | None = "auto",
    progress: Callable[[Progress], None] | None = None,
    **options: Any,
) -> HeatMaps:
    """Compare what a layer puts out for corrupted images with what it puts out for the clean ones.

    The paper looks at such maps and finds that dynamic convolution "fails to distinguish meaningful information" under
    noise. Here that is a number: Pearson's correlation, over the positions of the layer's own grid, of the reduced map
    of the corrupted image with that of the clean one. It does not see a change of scale or level; and a corruption that
    moves the picture (elastic_transform, zoom_blur) lowers it also for a network that only follows the motion.

    Args:
        models: names or modules, as for `evaluate_models`.
        data: the images that correlations are taken on, with labels or without; None for `images`, or else "demo".
        images: the pictures of the grid, see `open_pictures`; None for the first ones of `data`.
        corruptions: a suite, a category, or names.
        severity: 1 to 5.
        layer: name of a module; None for each network's last block of the third stage, see `choose_layer`.
        reduce: how channels become one map, see `reduce_maps`.
        show: pictures of the grid.
        limit: take this many images of `data`, chosen by a hash of their ids.
        classes: as for `open_data`.
        jpeg: as for `evaluate_models`.
        progress: called after each batch of each model.
        **options: as for `open_subjects`.

    Raises:
        InputError: an option is out of range, or a layer puts out no maps.
        UnknownNameError: a name is in no table, or a network has no such layer.
        DataError: the pictures to draw may not be shown; or as `evaluate_models`.
        WeightsError, ModelOutputError: as `evaluate_models`.

    Example:
        >>> found = heat_maps(["resnet50"], corruptions="contrast", severity=1, limit=4)
        >>> mean = found.correlations.groupby("corruption")["correlation"].mean()
        >>> bool(mean["contrast"] > 0.8), bool(mean["another_image"] < 0.5)
        (True, True)
        >>> found.grid[["layer", "corruption"]].values.tolist()
        [['layer3.5', 'none'], ['layer3.5', 'contrast']]
    """
    chosen, severity = resolve_suite(corruptions), check_severity(severity)
    if reduce not in REDUCTIONS:
        raise unknown_name("reduction", reduce, REDUCTIONS)
    show = check_integer("show", show, 1)
    named_source(str(images or data or "demo"))[0].check_shown()
    if data is None and images is not None:
        dataset = open_pictures(images, limit=limit)
    else:
        dataset = open_data(data or "demo", limit=limit, classes=classes)
    with unchanged(models):
        dataset, subjects = open_subjects(
            models, dataset, corruptions=chosen, severities=(severity,), jpeg=jpeg, look_inside=True, **options
        )
        shown = dataset if data is None or images is None else open_pictures(images)
        shown.check_shown()
        for pictures in (dataset, shown):
            if pictures.stored_cells is not None and CLEAN not in pictures.stored_cells:
                raise DataError(f"heat maps need clean images, and {pictures.name} has none; choose other data")
        probe = _Probe(subjects, layer, reduce, shown)
        correlations = probe.correlations(dataset, progress)
        grid = probe.grid(shown, min(show, len(shown)))
    return HeatMaps(correlations, grid, _describe(subjects, dataset, severity, reduce, grid))


def _describe(subjects: list[Subject], dataset: Dataset, severity: int, reduction: str, grid: pd.DataFrame) -> str:
    """The caption: the images, the corruption, and what the maps are of."""
    # Pictures without labels have no kind that says anything.
    unlabelled = {} if dataset.num_classes > 1 else {"data": Path(dataset.name).resolve().name, "runtime": {}}
    about = [describe_data({**subject.config.as_json(), **unlabelled}, len(dataset)) for subject in subjects]
    described = " ".join(dict.fromkeys(about)) + left_out(subjects[0])
    described += f" {describe_subjects(subjects)}"
    layers = {name: "×".join(map(str, heat.shape)) for name, heat in zip(grid["layer"], grid["heat"], strict=True)}
    places = ", ".join(f"{name} ({size} positions)" for name, size in layers.items())
    return f"{described} Severity {severity}. {_REDUCED[reduction]} of {places}."


_REDUCED = {
    "mean": "Mean |activation| over the channels",
    "max": "Largest |activation| over the channels",
    "norm": "Euclidean norm over the channels",
    "pca": "Score on the first principal component of the clean channels",
}


class _Probe:
    """Networks, their layers and how their maps are reduced: what each pass over images needs."""

    def __init__(self, subjects: list[Subject], layer: str | None, reduction: str, sample: Dataset) -> None:
        self.subjects = subjects
        self.reduction = reduction
        self.layers = [
            choose_layer(subject, torch.from_numpy(sample.read([0], subject.preprocessing)), layer)
            for subject in subjects
        ]

    def correlations(self, dataset: Dataset, progress: Callable[[Progress], None] | None) -> pd.DataFrame:
        """`HeatMaps.correlations`, batch by batch."""
        n, batch_size = len(dataset), self.subjects[0].batch_size
        clean: list[list[Tensor]] = [[] for _ in self.subjects]
        frames, done, total = [], 0, -(-n // batch_size) * len(self.subjects)
        for start in range(0, n, batch_size):
            rows = np.arange(start, min(start + batch_size, n))
            for number, _, maps in self._passes(dataset, rows):
                clean[number].append(maps[CLEAN].cpu())
                frames += [
                    self._frame(number, dataset.image_ids[rows], cell, correlation(own, maps[CLEAN]))
                    for cell, own in maps.items()
                    if cell != CLEAN
                ]
                done += 1
                if progress is not None:
                    images = start * len(self.subjects) + len(rows) * (number + 1)
                    progress(
                        Progress(self.subjects[number].label, "batches", done, total, images, n * len(self.subjects))
                    )
        # Listings are sorted by class; a third of the set further on is an image of another class, but in small sets.
        for number, parts in enumerate(clean if n > 1 else []):
            maps_of_all = torch.cat(parts)
            others = maps_of_all.roll(-max(1, n // 3), dims=0)
            frames.append(self._frame(number, dataset.image_ids, ANOTHER_IMAGE, correlation(maps_of_all, others)))
        return pd.concat(frames, ignore_index=True)

    def _frame(self, number: int, ids: NDArray[np.int64], cell: Cell, correlations: Tensor) -> pd.DataFrame:
        own = {"model": self.subjects[number].label, "layer": self.layers[number], "image_id": ids}
        corruption, severity = cell
        values = correlations.cpu().numpy()
        return pd.DataFrame({**own, "corruption": corruption, "severity": severity, "correlation": values})

    def grid(self, dataset: Dataset, count: int) -> pd.DataFrame:
        """`HeatMaps.grid`."""
        rows = [
            {
                "picture": picture,
                "model": self.subjects[number].label,
                "layer": self.layers[number],
                "corruption": cell[0],
                "severity": cell[1],
                "image": pictures[cell][picture].permute(1, 2, 0).cpu().numpy(),
                "heat": own[picture].float().cpu().numpy(),
                "correlation": correlation(own[[picture]], maps[CLEAN][[picture]]).item(),
            }
            for number, pictures, maps in self._passes(dataset, np.arange(count))
            for cell, own in maps.items()
            for picture in range(count)
        ]
        return pd.DataFrame(rows)

    def _passes(self, dataset: Dataset, rows: NDArray[np.int64]) -> Iterator[tuple[int, Maps, Maps]]:
        """For each subject, its pictures in every cell and its reduced maps of them; those cut alike share pixels."""
        made: dict[Cut, Maps] = {}
        for number, (subject, layer) in enumerate(zip(self.subjects, self.layers, strict=True)):
            if subject.preprocessing.cut not in made:
                made[subject.preprocessing.cut] = _pictures(dataset, rows, subject)
            pictures = made[subject.preprocessing.cut]
            features = {cell: layer_maps(subject, own, layer) for cell, own in pictures.items()}
            maps = {cell: reduce_maps(own, self.reduction, features[CLEAN]) for cell, own in features.items()}
            yield number, pictures, maps


def _pictures(dataset: Dataset, rows: NDArray[np.int64], subject: Subject) -> Maps:
    """uint8 (B, 3, S, S) of each cell on the device, clean first: stored files, or pixels as `eval` makes them."""
    config = subject.config
    made_here = config.pixels
    pictures = {}
    for cell in (CLEAN, *(cell for cell in config.cells if cell != CLEAN)):
        if cell == CLEAN or dataset.stored_cells is not None:
            read = dataset.read(rows, subject.preprocessing, cell=cell, workers=config.workers or 0)
            pictures[cell] = torch.from_numpy(read).to(config.device)
        else:
            pictures[cell] = made_here.of_cell(pictures[CLEAN], cell, dataset.image_ids[rows])
    return pictures

"""Runs side by side on the same images, with their records and their pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from robustbench_bi.analysis.captions import describe_data, run_labels
from robustbench_bi.analysis.comparable import run_apart
from robustbench_bi.data.broken import as_text
from robustbench_bi.data.request import DataRequest, found_path
from robustbench_bi.errors import DataError, InputError, RunMismatchError
from robustbench_bi.ground.cells import CLEAN, Cell, cell_label
from robustbench_bi.reports.view.columns import RunColumns
from robustbench_bi.reports.view.pictures import PictureMaker
from robustbench_bi.runs.records import cell_file

if TYPE_CHECKING:
    from robustbench_bi.data import Dataset
    from robustbench_bi.runs.run import Run

TASK = "classification"


@dataclass(frozen=True, eq=False)
class Album:
    """Runs of classifiers on the same images.

    Attributes:
        runs: at least one.
        models: a label for each.
        image_ids: int64 (n,), increasing.
        labels: int32 (n,), class numbers.
        names: of the images, n.
        class_names: index = class number.
        cells: those that every run holds, clean first where it is there.
        columns: the records of each run.
        pictures: makes the pictures that each run saw.
    """

    runs: Sequence[Run]
    models: Sequence[str]
    image_ids: NDArray[np.int64]
    labels: NDArray[np.int32]
    names: Sequence[str]
    class_names: Sequence[str]
    cells: Sequence[Cell]
    columns: Sequence[RunColumns]
    pictures: PictureMaker

    def __len__(self) -> int:
        return len(self.image_ids)

    @property
    def has_clean(self) -> bool:
        """Whether there are answers on clean images, which a change to wrong or right needs."""
        return CLEAN in self.cells

    @cached_property
    def folded_names(self) -> NDArray[np.str_]:
        """The names as they are searched: without regard to upper and lower case."""
        return np.array([name.casefold() for name in self.names], dtype=np.str_)

    @property
    def notes(self) -> list[str]:
        """What must be said of what is shown, in sentences."""
        found = [describe_data(self.runs[0].config, len(self))]
        apart = {cell for run in self.runs for cell in run.cell_names} - set(self.cells)
        if apart:
            names = ", ".join(map(cell_label, sorted(apart)))
            found.append(f"Not shown, because not every run contains it: {names}.")
        return [*found, *self.pictures.notes]

    def place_of(self, image_id: int) -> int:
        """The position of an image.

        Raises:
            InputError: there is none with this id.
        """
        place = int(np.searchsorted(self.image_ids, image_id))
        if place == len(self) or self.image_ids[place] != image_id:
            raise InputError(f"there is no image {image_id} in these runs")
        return place


def open_album(runs: Sequence[Run], moved_to: str | None = None) -> Album:
    """Put finished runs side by side, and open their images.

    Args:
        runs: of classifiers, on the same images, with the same corruptions of them.
        moved_to: where the images are now, as `Run.open_data` takes it.

    Raises:
        InputError: there is no run, or one is not of classifiers.
        RunMismatchError: a run is not finished, or two are not of the same pictures.
        DataError: the images are not where they were, or are others now.
    """
    if not runs:
        raise InputError("view needs at least one run, got none")
    for run in runs:
        _check(run, runs[0])
    checksums = _checksums(runs[0])
    dataset = _opened(runs[0], moved_to, contents=checksums is None)
    shared = [cell for cell in runs[0].cell_names if all(cell in run.cell_names for run in runs)]
    return Album(
        runs=tuple(runs),
        models=tuple(run_labels(runs)),
        image_ids=dataset.image_ids,
        labels=dataset.labels,
        names=[as_text(name) for name in dataset.names()],
        class_names=dataset.class_names,
        cells=tuple(shared),
        columns=[RunColumns(run, dataset.image_ids) for run in runs],
        pictures=PictureMaker(dataset, [run.config for run in runs], checksums),
    )


def _check(run: Run, first: Run) -> None:
    name = run.directory.name
    if run.task.name != TASK:
        raise InputError(f"view shows the answers of classifiers, and {name} is a run of {run.task.name}; use report")
    # By their names alone: each file is checked when it is read, and a look into all of them takes a second.
    present = {path.name for path in (run.directory / "records").glob("*")}
    wanted = [cell_file(run.directory, cell, number).name for cell in run.cell_names for number, _ in run.blocks()]
    if missing := sum(name not in present for name in wanted):
        raise RunMismatchError(
            f"{name} is not finished: {missing:,} cell-blocks are missing. Run the same eval command again to finish it"
        )
    if run is not first and (found := run_apart(run, first)) is not None:
        raise RunMismatchError(
            f"view shows runs on the same images side by side, but {name} was made {found[0]}, and "
            f"{first.directory.name} {found[1]}; view them one by one"
        )


def _opened(run: Run, moved_to: str | None, contents: bool) -> Dataset:
    try:
        return run.open_data(moved_to, contents=contents)
    except DataError as error:
        raise DataError(f"{error}. {_looked(run, moved_to)}; say where they are with --data PATH") from error


def _checksums(run: Run) -> NDArray[np.uint32] | None:
    """Of the files that a run was evaluated on, uint32 (n,); None where it does not keep them."""
    images = run.images()
    known = "crc32" in images and images["crc32"].notna().all()
    return images["crc32"].to_numpy(dtype=np.uint32) if known else None


def _looked(run: Run, moved_to: str | None) -> str:
    """Where the images of a run were looked for."""
    runtime = run.config["runtime"]
    request = DataRequest.from_json(runtime.get("data_request") or {"source": runtime["source"]})
    source = (request if moved_to is None else request.moved_to(moved_to)).source
    path = source.partition(":")[2] or source
    started = runtime.get("started_in", "")
    places = [str(Path(path).absolute())]
    if moved_to is None and started and found_path(started, path) == path and not Path(path).is_absolute():
        places.append(str(Path(started, path)))
    return f"Looked in {' and '.join(dict.fromkeys(places))}"

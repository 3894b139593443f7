"""A run: the folder that an evaluation fills.

It holds `run.json`, the configuration; `images.parquet`, one row an image; `truth.parquet`, one row an object, where
the task is detection; and `records/`, one file a cell-block.
Everything a report needs is derived from these, without torch and without images.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from robustbench_bi.errors import DataError, RunMismatchError, UnknownNameError
from robustbench_bi.ground.cells import Cell
from robustbench_bi.ground.cores import available_cores
from robustbench_bi.runs.identity import RECORD_SCHEMA, fingerprint_of
from robustbench_bi.runs.images import difference, read_images
from robustbench_bi.runs.records import cell_file, has_images, is_whole, read_cell, write_cell, write_first_layout
from robustbench_bi.runs.truth import read_truth
from robustbench_bi.tasks import Task, task_of

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    import pyarrow as pa
    from numpy.typing import NDArray

    from robustbench_bi.data import Dataset


# Read by a thread before it takes the next ones: a file takes a millisecond, handing it over a part of that.
_FILES = 16


@dataclass(frozen=True)
class Run:
    """A run folder: what was evaluated, how, and every prediction.

    Attributes:
        directory: the folder, `<out>/<model>-<fingerprint>`.
    """

    directory: Path

    @cached_property
    def config(self) -> dict[str, Any]:
        """The configuration in `run.json`: identity fields, runtime fields, broken images."""
        loaded: dict[str, Any] = json.loads((self.directory / "run.json").read_text(encoding="utf-8"))
        return loaded

    @property
    def name(self) -> str:
        """The model as it was named on the command line."""
        return str(self.config["runtime"]["name"])

    @property
    def cell_names(self) -> list[Cell]:
        """The cells of the run, clean first, in the order of evaluation."""
        return [(str(corruption), int(severity)) for corruption, severity in self.config["cells"]]

    def blocks(self) -> Iterator[tuple[int, int]]:
        """Yield (block number, images in it)."""
        size, n = self.config["block_size"], self.config["n"]
        for number, start in enumerate(range(0, n, size)):
            yield number, min(size, n - start)

    @property
    def layout(self) -> int:
        """How its record files are laid out, see `robustbench_bi.runs.identity.LAYOUT`."""
        return int(self.config["runtime"].get("layout", 1))

    def write_block(self, cell: Cell, block: int, columns: Mapping[str, NDArray[np.generic]], images: int) -> None:
        """Write the records of one cell-block, in the layout that the run was begun with.

        Raises:
            InputError: the columns are not those of the task.
            DataError: the file cannot be written.
        """
        path, types, later = cell_file(self.directory, cell, block), self.task.load("COLUMNS"), self.task.later_columns
        if self.layout < 3:
            # As it was begun, so that all of its files are alike.
            columns = {name: values for name, values in columns.items() if name not in later}
        if self.layout == 1:
            write_first_layout(path, columns, types)
        else:
            write_cell(path, columns, types, cell, images, later)

    def has_whole(self, cell: Cell, block: int, images: int) -> bool:
        """Whether a cell-block's file is there and whole, see `is_whole`."""
        path, types = cell_file(self.directory, cell, block), self.task.load("COLUMNS")
        return is_whole(path, images, types, cell, self.task.later_columns)

    def read_block(self, cell: Cell, block: int, images: int | None = None) -> pa.Table:
        """The records of one cell-block: the columns of the task, and of the later ones those that the file has.

        Raises:
            DataError: the file is missing or damaged, or of another number of images than is given.
        """
        path, task = cell_file(self.directory, cell, block), self.task
        return read_cell(path, task.load("COLUMNS"), cell, task.later_columns, images)

    def missing(self) -> list[tuple[Cell, int]]:
        """The cell-blocks that have no whole file yet; empty when the run is finished."""
        blocks = [(cell, number, images) for cell in self.cell_names for number, images in self.blocks()]
        return [
            (cell, number)
            for cell, number, images in blocks
            if not has_images(cell_file(self.directory, cell, number), images)
        ]

    @property
    def task(self) -> Task:
        """What the network was asked."""
        return task_of(self.config)

    def images(self) -> pd.DataFrame:
        """The images of the run, in the order of their ids.

        Returns:
            A frame with image_id, name (the path inside its source, as listed), label, width and height (pixels, or
            missing where they are not known). Runs of before images.parquet was kept have ids and labels alone.

        Raises:
            DataError: images.parquet is damaged.
            RunMismatchError: such an older run is unfinished.
        """
        found = read_images(self.directory)
        if found is not None:
            return found
        labelled = self.records().drop_duplicates("image_id")[["image_id", "label"]]
        return labelled.sort_values("image_id", ignore_index=True)

    def truth(self) -> pd.DataFrame:
        """The objects in the images of a run whose task is detection.

        Returns:
            A frame with image_id, category (the class number), name (its name), x, y, width and height (of the box in
            pixels), area (pixels), crowd (whether it is a group that need not be found), mask (run lengths in COCO's
            text form, empty where there is none) and difficult (whether it is hard to see, and need not be found).

        Raises:
            DataError: truth.parquet is not there, or damaged.
        """
        return read_truth(self.directory)

    def records(self, names: bool = False) -> pd.DataFrame:
        """Every record of the run.

        Args:
            names: also say which image a record is of, in the column `name`, see `images`.

        Returns:
            A frame with `corruption` (categorical), `severity` and the columns of the task. For classification one row
            an image and cell: `rank` counts the classes scored above the label, `confidence` is the softmax of the
            prediction, `loss` the cross-entropy in nats, `brier` (not in older runs) the Brier score. For detection one
            row a detection: `category` is the class number, `x1` to `y2` the box in pixels, `mask` the run lengths.

        Raises:
            RunMismatchError: the run is not finished.
            DataError: a file is damaged; or names are asked for, and the run is of before they were kept.
        """
        # pandas copies when a copy is written to.
        frame = self._records.copy(deep=False)
        if not names:
            return frame
        images = self.images()
        if "name" not in images:
            raise DataError(
                f"{self.directory} does not hold the names of its images; run the same eval command again to add them"
            )
        frame["name"] = images.set_index("image_id")["name"].reindex(frame["image_id"]).to_numpy()
        return frame

    @cached_property
    def _records(self) -> pd.DataFrame:
        import numpy as np
        import pandas as pd
        import pyarrow as pa

        blocks = [(cell, number, images) for cell in self.cell_names for number, images in self.blocks()]
        tables = self._tables(blocks)
        everywhere = [name for name in tables[0].column_names if all(name in own.column_names for own in tables)]
        rows = [len(table) for table in tables]
        names = list(dict.fromkeys(corruption for corruption, _ in self.cell_names))
        codes = np.repeat([names.index(corruption) for (corruption, _), _, _ in blocks], rows)
        table = pa.concat_tables([own.select(everywhere) for own in tables])
        del tables
        # A block a column, each freed when it is made: so there is never more than one column twice.
        frame: pd.DataFrame = table.to_pandas(split_blocks=True, self_destruct=True)
        del table
        pa.default_memory_pool().release_unused()
        frame.insert(0, "severity", np.repeat([severity for (_, severity), _, _ in blocks], rows))
        frame.insert(0, "corruption", pd.Series(pd.Categorical.from_codes(codes, categories=pd.Index(names))))
        return frame

    def _tables(self, blocks: Sequence[tuple[Cell, int, int]]) -> list[pa.Table]:
        """The records of cell-blocks (cell, number, images), each read once.

        Raises:
            RunMismatchError: the run is not finished.
            DataError: a file is damaged.
        """

        def read(part: Sequence[tuple[Cell, int, int]]) -> list[pa.Table]:
            return [self.read_block(*block) for block in part]

        parts = [blocks[start : start + _FILES] for start in range(0, len(blocks), _FILES)]
        try:
            # Most of the time goes into reading and decompression, where other threads can go on.
            with ThreadPoolExecutor(available_cores()) as pool:
                return [table for tables in pool.map(read, parts) for table in tables]
        except DataError:
            self._check_finished()
            raise

    def _check_finished(self) -> None:
        missing = self.missing()
        if missing:
            (corruption, severity), number = missing[0]
            total = len(self.cell_names) * len(list(self.blocks()))
            raise RunMismatchError(
                f"{self.directory} is not finished: {len(missing)} of {total} cell-blocks are missing, the first is "
                f"{corruption} severity {severity}{self._damage((corruption, severity), number)}. Run the same eval "
                "command again to finish it"
            )

    def open_data(self, moved_to: str | None = None, *, contents: bool = True) -> Dataset:
        """Open the images that the run was evaluated on, with the options that it was evaluated with.

        Relative paths are looked for from here, and then from the folder that the run was started in.

        Args:
            moved_to: where they are now, a path or a source; None: where they were.
            contents: also compare what is in the files, where the run keeps that of a sample; who compares each file
                that is read needs it not.

        Raises:
            DataError: the source is not there any more, or holds other images now; or it would have to be fetched.
        """
        import numpy as np

        from robustbench_bi.data.request import DataRequest

        runtime = self.config["runtime"]
        # Older runs kept the source alone.
        request = DataRequest.from_json(runtime.get("data_request") or {"source": runtime["source"]})
        if moved_to is not None:
            request = request.moved_to(moved_to)
        try:
            found = request.found_from(runtime.get("started_in", ""))
            dataset = found.open(fetch=False, cells=self.cell_names)
        except (DataError, UnknownNameError) as error:
            # A plain name was a folder when the run was made, and now it could be a mistyped source.
            gone = moved_to is None and isinstance(error, UnknownNameError)
            now = f"there is no folder {request.source!r}" if gone else str(error).rstrip(".")
            where = f"were {request.source}, and now" if moved_to is None else f"are not in {request.source}"
            raise DataError(f"the images of {self.directory.name} {where}: {now}") from error
        images = self.images()
        kept = dataset.without(np.setdiff1d(dataset.image_ids, images["image_id"].to_numpy()))
        if kept.listing_hash != self.config["listing_hash"]:
            raise DataError(f"{request.source} no longer holds the same images{difference(images, dataset)}")
        if contents and self.config.get("content_hash", "") not in ("", kept.content_hash):
            raise DataError(
                f"{request.source} no longer holds the same images: their names and sizes are the same, but the "
                "contents of the files differ"
            )
        return kept

    def _damage(self, cell: Cell, number: int) -> str:
        """In words that the file of a missing cell-block is there, but cannot be used."""
        path = cell_file(self.directory, cell, number)
        return f" ({path.name} is damaged)" if path.exists() else ""

    def cells(self) -> pd.DataFrame:
        """One row a cell, in the order of evaluation.

        Returns:
            A frame with corruption, severity, n (images) and the task's numbers: for classification top1 and top5
            (percent) and loss (mean, nats); for detection AP, AP50, AP75, APs, APm, APl and AR (percent), and the same
            of masks with `mask_` in front, NaN where undefined. For intervals see `analysis.cells_frame`.

        Raises:
            RunMismatchError: the run is not finished.
        """
        return self._cells.copy()

    @cached_property
    def _cells(self) -> pd.DataFrame:
        truth = (self.truth,) if self.task.keeps_truth else ()
        cells: pd.DataFrame = self.task.load("cells")(self.records(), self.images(), self.cell_names, *truth)
        return cells

    def categories(self) -> pd.DataFrame:
        """One row a cell and class, of a run whose task is detection.

        Returns:
            A frame with corruption, severity, category (the class number), name (its name), objects (to be found), AP,
            AP50, AP75 and AR in percent, and the same of masks with `mask_` in front; NaN where undefined.

        Raises:
            RunMismatchError: the run is not finished.
            DataError: truth.parquet is not there, or damaged.
        """
        own = self.records(), self.images(), self.cell_names
        categories: pd.DataFrame = self.task.load("categories")(*own, self.truth)
        return categories


def open_run(path: str | Path) -> Run:
    """Open a run folder that `eval` wrote.

    Args:
        path: the folder that holds `run.json`.

    Raises:
        DataError: there is no run; or its `run.json` cannot be read, is of another record schema, or was changed.

    Example:
        >>> open_run("no/such/run")
        Traceback (most recent call last):
        ...
        robustbench_bi.errors.DataError: no run in no/such/run: expected a folder with run.json, as eval writes it
    """
    run = Run(Path(path).absolute())
    try:
        schema = run.config["record_schema"]
        list(run.blocks()), run.cell_names, run.name
    except (FileNotFoundError, NotADirectoryError) as error:
        held = f", but it holds runs: give these, as {path}/*" if any(Path(path).glob("*/run.json")) else ""
        raise DataError(f"no run in {path}: expected a folder with run.json, as eval writes it{held}") from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{Path(path) / 'run.json'} is not a run's configuration ({error})") from error
    if schema != RECORD_SCHEMA:
        raise DataError(f"{path} has record schema {schema}; this version reads {RECORD_SCHEMA}")
    if run.config.get("fingerprint") != fingerprint_of(run.config):
        raise DataError(
            f"{Path(path) / 'run.json'} was changed after the run started: its settings do not match its "
            "fingerprint. "
            "Restore the file, or evaluate again in another folder"
        )
    return run

"""Records: one row an image, one Parquet file a cell-block; and the run folder that holds them.

A run is a folder with `run.json`, its configuration, and `records/<corruption>-<severity>-<block>.parquet`.
Everything a report needs is derived from these, without torch and without images.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from robustbench_bi.errors import DataError, InputError, RunMismatchError
from robustbench_bi.ground.atomic import replacing
from robustbench_bi.ground.cells import Cell
from robustbench_bi.tasks.classification import COLUMNS

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    import pyarrow as pa
    from numpy.typing import NDArray

RECORD_SCHEMA = 1
ARROW_TYPES = {name: dtype.replace("float32", "float") for name, dtype in COLUMNS.items()}


def cell_file(directory: Path, cell: Cell, block: int) -> Path:
    """The file of one cell-block of a run.

    Example:
        >>> cell_file(Path("runs/binet50-1a2b"), ("fog", 3), 0).as_posix()
        'runs/binet50-1a2b/records/fog-3-0000.parquet'
    """
    corruption, severity = cell
    return directory / "records" / f"{corruption}-{severity}-{block:04d}.parquet"


def write_cell(path: Path, columns: Mapping[str, NDArray[np.generic]]) -> None:
    """Write one cell-block; the file appears whole or not at all.

    Args:
        path: from `cell_file`.
        columns: the arrays of `COLUMNS`, one entry an image, cast to the dtypes there.

    Raises:
        InputError: the columns are not those of `COLUMNS`.
        DataError: the file cannot be written.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    if set(columns) != set(COLUMNS):
        raise InputError(f"records must have the columns {', '.join(COLUMNS)}, got {', '.join(columns)}")
    table = pa.table({name: columns[name].astype(dtype) for name, dtype in COLUMNS.items()})
    with replacing(path) as partial:
        pq.write_table(table, partial, compression="zstd", write_page_checksum=True)


def is_whole(path: Path, rows: int) -> bool:
    """Whether a cell-block file is there, readable from end to end, and of the expected columns and length.

    What is not whole is made again when the evaluation is started again.
    """
    try:
        return len(_read_cell(path)) == rows
    except DataError:
        return False


def _has_rows(path: Path, rows: int) -> bool:
    """A cheap look at the end of the file."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return bool(pq.read_metadata(path).num_rows == rows)
    except (OSError, pa.ArrowException):
        return False


def _read_cell(path: Path) -> pa.Table:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(path, page_checksum_verification=True, use_threads=False)
        if {field.name: str(field.type) for field in table.schema} == ARROW_TYPES:
            return table
        reason = f"its columns are {', '.join(table.column_names)}"
    except (OSError, pa.ArrowException) as error:
        reason = " ".join(str(error).split())
    raise DataError(f"{path} is damaged ({reason}); run the same eval command again to mend it")


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

    def missing(self) -> list[tuple[Cell, int]]:
        """The cell-blocks that have no whole file yet; empty when the run is finished."""
        blocks = list(self.blocks())
        return [
            (cell, number)
            for cell in self.cell_names
            for number, rows in blocks
            if not _has_rows(cell_file(self.directory, cell, number), rows)
        ]

    def records(self) -> pd.DataFrame:
        """Every record of the run.

        Returns:
            A frame with `corruption` (categorical), `severity` and `COLUMNS`, one row an image and cell:
            `rank` counts the classes scored above the label, `confidence` is the softmax of the prediction,
            `loss` the cross-entropy in nats.

        Raises:
            RunMismatchError: the run is not finished.
        """
        return self._records.copy()

    @cached_property
    def _records(self) -> pd.DataFrame:
        import numpy as np
        import pandas as pd
        import pyarrow as pa

        missing = self.missing()
        if missing:
            (corruption, severity), number = missing[0]
            total = len(self.cell_names) * len(list(self.blocks()))
            raise RunMismatchError(
                f"{self.directory} is not finished: {len(missing)} of {total} cell-blocks are missing, the first is "
                f"{corruption} severity {severity}{self._damage((corruption, severity), number)}. Run the same eval "
                "command again to finish it"
            )
        blocks = [(cell, number) for cell in self.cell_names for number, _ in self.blocks()]
        tables = [_read_cell(cell_file(self.directory, cell, number)) for cell, number in blocks]
        rows = [len(table) for table in tables]
        names = list(dict.fromkeys(corruption for corruption, _ in self.cell_names))
        codes = np.repeat([names.index(corruption) for (corruption, _), _ in blocks], rows)
        frame: pd.DataFrame = pa.concat_tables(tables).to_pandas()
        frame.insert(0, "severity", np.repeat([severity for (_, severity), _ in blocks], rows))
        frame.insert(0, "corruption", pd.Series(pd.Categorical.from_codes(codes, categories=pd.Index(names))))
        return frame

    def _damage(self, cell: Cell, number: int) -> str:
        """In words that the file of a missing cell-block is there, but cannot be used."""
        path = cell_file(self.directory, cell, number)
        return f" ({path.name} is damaged)" if path.exists() else ""

    def cells(self) -> pd.DataFrame:
        """One row a cell, in the order of evaluation.

        Returns:
            A frame with corruption, severity, n, top1 and top5 (percent) and loss (mean, nats).

        Raises:
            RunMismatchError: the run is not finished.
        """
        records = self.records()
        records["top1"] = (records["rank"] < 1) * 100.0
        records["top5"] = (records["rank"] < 5) * 100.0
        grouped = records.groupby(["corruption", "severity"], observed=True, sort=False)
        cells = grouped.agg(n=("rank", "size"), top1=("top1", "mean"), top5=("top5", "mean"), loss=("loss", "mean"))
        return cells.reset_index().astype({"corruption": "str"})


def open_run(path: str | Path) -> Run:
    """Open a run folder that `eval` wrote.

    Args:
        path: the folder that holds `run.json`.

    Raises:
        DataError: there is no run, or its `run.json` cannot be read or is of another record schema.

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
        raise DataError(f"no run in {path}: expected a folder with run.json, as eval writes it") from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{Path(path) / 'run.json'} is not a run's configuration ({error})") from error
    if schema != RECORD_SCHEMA:
        raise DataError(f"{path} has record schema {schema}; this version reads {RECORD_SCHEMA}")
    return run

"""Record files: one Parquet file a cell-block, with the columns of the run's task.

In front of these stand `corruption` and `severity`, so that any program that reads a folder of them at once can tell
the cells apart. The file's own metadata say how many images it is of, since an image may have no row, or several.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from robustbench_bi.errors import DataError, InputError
from robustbench_bi.ground.atomic import replacing
from robustbench_bi.ground.cells import Cell

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq
    from numpy.typing import NDArray

_METADATA = b"bivo-robust"
_CELL_COLUMNS = ("corruption", "severity")


def cell_file(directory: Path, cell: Cell, block: int) -> Path:
    """The file of one cell-block of a run.

    Example:
        >>> cell_file(Path("runs/binet50-1a2b"), ("fog", 3), 0).as_posix()
        'runs/binet50-1a2b/records/fog-3-0000.parquet'
    """
    corruption, severity = cell
    return directory / "records" / f"{corruption}-{severity}-{block:04d}.parquet"


def write_cell(
    path: Path,
    columns: Mapping[str, NDArray[np.generic]],
    types: Mapping[str, str],
    cell: Cell,
    images: int,
    later: Mapping[str, str] | None = None,
) -> None:
    """Write one cell-block; the file appears whole or not at all.

    Args:
        path: from `cell_file`.
        columns: the arrays of `types`, all of one length, cast to the dtypes there.
        types: the columns of the task and their dtypes.
        cell: whose records they are.
        images: how many images were asked about, also where some have no row.
        later: columns of the task that older runs lack, and their dtypes; written where `columns` has them.

    Raises:
        InputError: the columns are not those of the task.
        DataError: the file cannot be written.
    """
    import numpy as np
    import pyarrow as pa

    table = _table(columns, types, later)
    corruption, severity = cell
    rows = len(table)
    names = pa.DictionaryArray.from_arrays(pa.array(np.zeros(rows, np.int8)), pa.array([corruption]))
    table = table.add_column(0, "severity", pa.array(np.full(rows, severity, np.int8)))
    table = table.add_column(0, "corruption", names)
    _write(path, table.replace_schema_metadata({_METADATA: json.dumps({"images": images})}))


def write_first_layout(path: Path, columns: Mapping[str, NDArray[np.generic]], types: Mapping[str, str]) -> None:
    """Write one cell-block of a run that was begun with the first layout: the columns of the task alone.

    Raises:
        InputError, DataError: as `write_cell`.
    """
    _write(path, _table(columns, types))


def _table(
    columns: Mapping[str, NDArray[np.generic]], types: Mapping[str, str], later: Mapping[str, str] | None = None
) -> pa.Table:
    import pyarrow as pa

    types = {**types, **{name: dtype for name, dtype in (later or {}).items() if name in columns}}
    if set(columns) != set(types):
        raise InputError(f"records must have the columns {', '.join(types)}, got {', '.join(columns)}")
    # As text straight from objects: NumPy would give each the length of the longest.
    return pa.table(
        {
            name: pa.array(columns[name], pa.string()) if dtype == "str" else columns[name].astype(dtype)
            for name, dtype in types.items()
        }
    )


def _write(path: Path, table: pa.Table) -> None:
    import pyarrow.parquet as pq

    with replacing(path) as partial:
        pq.write_table(table, partial, compression="zstd", write_page_checksum=True)


def is_whole(
    path: Path,
    images: int,
    types: Mapping[str, str],
    cell: Cell | None = None,
    later: Mapping[str, str] | None = None,
) -> bool:
    """Whether a cell-block file is there, readable from end to end, with the task's columns and of so many images.

    What is not whole is made again when the evaluation is started again.
    """
    try:
        return _read(path, types, cell, later)[1] == images
    except DataError:
        return False


def has_images(path: Path, images: int) -> bool:
    """A cheap look at the end of the file: whether it is of so many images."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return _images_of(pq.read_metadata(path)) == images
    except (OSError, pa.ArrowException, ValueError, KeyError, TypeError):
        return False


def read_cell(
    path: Path,
    types: Mapping[str, str],
    cell: Cell | None = None,
    later: Mapping[str, str] | None = None,
    images: int | None = None,
) -> pa.Table:
    """Read one cell-block.

    Args:
        path: from `cell_file`.
        types: the columns of the task and their dtypes.
        cell: whose records they must be, where the file says so; None to take any.
        later: columns of the task that a file may lack, and their dtypes.
        images: how many images it must be of; None for any number.

    Returns:
        The columns of the task, and of the later ones those that the file has; those of the cell, which the file's name
        tells too, are left out.

    Raises:
        DataError: the file is missing or damaged, has other columns, or is of another cell or of other images.
    """
    table, found = _read(path, types, cell, later)
    if images is not None and found != images:
        raise DataError(f"{path} has {found:,} images, not {images:,}; run the same eval command again to repair it")
    return table


def _read(
    path: Path, types: Mapping[str, str], cell: Cell | None, later: Mapping[str, str] | None
) -> tuple[pa.Table, int]:
    """The columns of the task, and how many images they are of."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            table, images = file.read(use_threads=False), _images_of(file.metadata)
        own = table.drop_columns([name for name in _CELL_COLUMNS if name in table.column_names])
        if not _is_of(table, cell):
            reason = "its records are of another cell"
        elif _has_columns(own, types, later or {}):
            return own.replace_schema_metadata(None), images
        else:
            reason = f"its columns are {', '.join(table.column_names)}"
    except (OSError, pa.ArrowException, ValueError, KeyError, TypeError) as error:
        reason = " ".join(str(error).split())
    raise DataError(f"{path} is damaged ({reason}); run the same eval command again to repair it")


def _has_columns(table: pa.Table, types: Mapping[str, str], later: Mapping[str, str]) -> bool:
    """Whether a table has the columns of the task, and beside them none but later ones."""
    found = {field.name: str(field.type) for field in table.schema}
    there = {name: dtype for name, dtype in later.items() if name in found}
    return found == _arrow_types({**types, **there})


def _is_of(table: pa.Table, cell: Cell | None) -> bool:
    """Whether all rows say that they are of a cell; those of the first layout do not say."""
    import pyarrow.compute as pc

    if cell is None or "corruption" not in table.column_names or not len(table):
        return True
    corruption, severity = table["corruption"].combine_chunks(), pc.min_max(table["severity"]).as_py()
    # As it is written, the column is one name and places in it; then no row need be looked at.
    named = {corruption.dictionary[0].as_py()} if _is_one_name(corruption) else set(corruption.unique().to_pylist())
    return named == {cell[0]} and severity == {"min": cell[1], "max": cell[1]}


def _is_one_name(corruption: pa.Array) -> bool:
    dictionary = getattr(corruption, "dictionary", ())
    return len(dictionary) == 1 and not corruption.null_count


def _images_of(metadata: pq.FileMetaData) -> int:
    """How many images a file is of; the first layout had a row for each."""
    stated = (metadata.metadata or {}).get(_METADATA)
    return int(metadata.num_rows if stated is None else json.loads(stated)["images"])


def _arrow_types(types: Mapping[str, str]) -> dict[str, Any]:
    return dict(_arrow_types_of(tuple(types.items())))


@cache
def _arrow_types_of(types: tuple[tuple[str, str], ...]) -> Mapping[str, str]:
    import pyarrow as pa

    return {name: str(pa.from_numpy_dtype(dtype)) if dtype != "str" else "string" for name, dtype in types}

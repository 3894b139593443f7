"""Images in parquet files, as Hugging Face keeps them: a column of bytes and paths, and one of class numbers."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from io import BytesIO
from typing import TYPE_CHECKING, Any, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from robustbench_bi.data.containers.image_files import File, in_threads
from robustbench_bi.errors import DataError

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

Result = TypeVar("Result")
ROWS_AT_ONCE = 64  # whose bytes are in memory
IMAGE_COLUMNS = ("image", "img")
LABEL_COLUMNS = ("label", "fine_label")
"""As ImageNet and CIFAR-10 have it, and CIFAR-100, whose `coarse_label` is of its 20 superclasses."""


@dataclass(frozen=True, eq=False)
class ParquetFiles:
    """Images in rows of parquet files.

    Args:
        tables: paths of the files.
        names: of each image: the path that its row states; empty where it states none.
        table, row: int (n,), which file holds each image, and in which row.
    """

    tables: Sequence[str]
    names: Sequence[str]
    table: NDArray[np.int32]
    row: NDArray[np.int64]

    def path(self, position: int) -> str:
        """The file and the row of an image."""
        return f"{self.tables[self.table[position]]}, row {self.row[position] + 1} ({self.names[position]})"

    def sizes(self, positions: NDArray[np.int64]) -> NDArray[np.int64]:
        """Their sizes in bytes; a pass over the files, since nothing else in them tells."""

        def size(_: int, file: File) -> int:
            return file.getbuffer().nbytes if isinstance(file, BytesIO) else -1

        return np.array(self.visit(positions, size, 0), dtype=np.int64)

    def visit(
        self, positions: NDArray[np.int64], function: Callable[[int, File], Result], workers: int
    ) -> list[Result]:
        """Call a function with the row and the bytes of each image, in the order of the files."""
        results: list[Any] = [None] * len(positions)
        order = np.lexsort((self.row[positions], self.table[positions]))
        for table in np.unique(self.table[positions]):
            wanted = order[self.table[positions[order]] == table]
            for places, contents in _contents(self.tables[table], self.row[positions[wanted]]):
                rows = wanted[places].tolist()

                def call(place: int, rows: list[int] = rows, contents: list[bytes | None] = contents) -> Result:
                    content = contents[place]
                    if content is None:
                        raise DataError(f"{self.path(positions[rows[place]])} is empty; expected an image")
                    return function(rows[place], BytesIO(content))

                for row, result in zip(rows, in_threads(call, range(len(rows)), workers), strict=True):
                    results[row] = result
        return results

    def taken(self, positions: Sequence[int]) -> Self:
        """The images at some positions, in that order."""
        rows = np.asarray(positions, dtype=np.int64)
        names = [self.names[position] for position in positions]
        return replace(self, names=names, table=self.table[rows], row=self.row[rows])


@dataclass(frozen=True, eq=False)
class ParquetRows:
    """What parquet files say of their images.

    Attributes:
        files: the images, in the order of the files.
        labels: as they stand there, class numbers or words; words that are names of classes are their numbers.
        class_names: as the files' own metadata have them; none where they have none.
    """

    files: ParquetFiles
    labels: Sequence[str]
    class_names: tuple[str, ...]


def open_parquet(tables: Sequence[str]) -> ParquetRows:
    """List the images of parquet files; their bytes are not read.

    Raises:
        DataError: a file cannot be read, or lacks the columns.
    """
    names: list[str] = []
    labels: list[str] = []
    counts: list[int] = []
    classes: tuple[str, ...] | None = None
    for table in tables:
        own_names, own_labels, own_classes = _listing(table)
        names += own_names
        labels += own_labels
        counts.append(len(own_names))
        if classes is not None and own_classes != classes:
            raise DataError(f"{table} names other classes than {tables[0]}; give the files of one data set")
        classes = own_classes
    table_of = np.repeat(np.arange(len(tables), dtype=np.int32), counts)
    row_of = np.concatenate([np.arange(count, dtype=np.int64) for count in counts])
    return ParquetRows(ParquetFiles(tables, names, table_of, row_of), labels, classes or ())


def _listing(table: str) -> tuple[list[str], list[str], tuple[str, ...]]:
    """Paths and labels of the rows of a file, and the names of its classes."""
    import pyarrow as pa

    with _opened(table) as file:
        schema = file.schema_arrow
        image, label = _columns(table, schema)
        kind = schema.field(image).type
        with_paths = any(kind.field(place).name == "path" for place in range(kind.num_fields))
        try:
            rows = file.read(columns=[label, *([f"{image}.path"] if with_paths else [])])
        except (OSError, pa.ArrowException) as error:
            raise DataError(f"cannot read {table}: {' '.join(str(error).split())}") from error
    classes = _class_names(schema.metadata or {}, label)
    paths = rows[image].combine_chunks().field("path").to_pylist() if with_paths else [None] * len(rows)
    return [path or "" for path in paths], _labels(table, label, rows[label], classes), classes


def _labels(table: str, name: str, column: pa.ChunkedArray, classes: Sequence[str]) -> list[str]:
    """The label of each row: a number, or a word; words that are names of the file's own classes are their numbers.

    Raises:
        DataError: a row has none, or a word that is none of these names.
    """
    import pyarrow as pa

    kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    words = pa.types.is_string(kind) or pa.types.is_large_string(kind)
    if column.null_count or not (words or pa.types.is_integer(kind)):
        got = "rows without one" if column.null_count else str(column.type)
        raise DataError(f"the column {name} of {table} must hold a class number in each row, got {got}")
    labels = [str(label) for label in column.to_pylist()]
    if not words or not classes:
        return labels
    numbers = {own: str(number) for number, own in enumerate(classes)}
    unknown = sorted(set(labels) - numbers.keys())
    if unknown:
        raise DataError(
            f"the column {name} of {table} holds {len(unknown)} words that are not among its {len(classes)} classes, "
            f"the first is {unknown[0]!r}; give the class numbers of all words with --classes FILE"
        )
    return [numbers[label] for label in labels]


def _columns(table: str, schema: pa.Schema) -> tuple[str, str]:
    """The names of the columns of images and of labels.

    Raises:
        DataError: there is none, or several.
    """
    images = [name for name in IMAGE_COLUMNS if name in schema.names and _holds_bytes(schema.field(name).type)]
    labels = [name for name in LABEL_COLUMNS if name in schema.names]
    if len(images) != 1 or len(labels) != 1:
        raise DataError(
            f"{table} must have one column {' or '.join(IMAGE_COLUMNS)} (bytes and path) and one column "
            f"{' or '.join(LABEL_COLUMNS)}, as Hugging Face's data sets do, got "
            f"{', '.join(f'{field.name}: {field.type}' for field in schema)}"
        )
    return images[0], labels[0]


def _holds_bytes(kind: pa.DataType) -> bool:
    return any(kind.field(place).name == "bytes" for place in range(kind.num_fields))


def _class_names(metadata: dict[bytes, bytes], label: str) -> tuple[str, ...]:
    """The names of the classes in the metadata of a Hugging Face data set."""
    try:
        features = json.loads(metadata[b"huggingface"])["info"]["features"]
        names = features[label]["names"]
        return tuple(map(str, names if isinstance(names, list) else (names[str(n)] for n in range(len(names)))))
    except (KeyError, ValueError, TypeError):
        return ()


def _contents(table: str, rows: NDArray[np.int64]) -> Iterator[tuple[NDArray[np.int64], list[bytes | None]]]:
    """The bytes of some rows of a file, in increasing order, a few at a time: places in `rows`, and bytes."""
    with _opened(table) as file:
        starts = np.cumsum([0, *(file.metadata.row_group(group).num_rows for group in range(file.num_row_groups))])
        image, _ = _columns(table, file.schema_arrow)
        groups = np.unique(np.searchsorted(starts, rows, side="right") - 1).tolist()
        for group in groups:
            first = int(starts[group])
            batches = file.iter_batches(ROWS_AT_ONCE, row_groups=[group], columns=[f"{image}.bytes"])
            for batch in batches:
                places = np.arange(*np.searchsorted(rows, [first, first + len(batch)]), dtype=np.int64)
                if len(places):
                    own = batch.column(0).field("bytes").take((rows[places] - first).tolist())
                    yield places, own.to_pylist()
                first += len(batch)


def _opened(table: str) -> pq.ParquetFile:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return pq.ParquetFile(table)
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"cannot read {table} as parquet: {' '.join(str(error).split())}") from error

"""The images of a run, once: their ids, their names as the source lists them, their labels, their sizes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from robustbench_bi.data.broken import as_text
from robustbench_bi.errors import DataError
from robustbench_bi.ground.atomic import replacing

if TYPE_CHECKING:
    import pandas as pd

    from robustbench_bi.data import Dataset

FILE = "images.parquet"


def write_images(directory: Path, dataset: Dataset) -> None:
    """Write `images.parquet` of a run: one row an image, in the order of image ids; unless it is there.

    Columns: image_id (int64), name (the path inside its source, as listed; bytes that are no text are escaped), label
    (int32, the class number), width and height (int32, pixels; null where they are not known without decoding), crc32
    (uint32, of the file's bytes; null where an image is no file of its own).

    Raises:
        DataError: it cannot be written.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = directory / FILE
    if path.exists():
        return
    n, sizes = len(dataset), dataset.sizes()
    sides = [pa.nulls(n, pa.int32())] * 2 if sizes is None else [pa.array(sizes[:, axis]) for axis in (0, 1)]
    names = [as_text(name) for name in dataset.names()]
    columns = {
        "image_id": pa.array(dataset.image_ids),
        "name": pa.array(names, pa.string()),
        "label": pa.array(dataset.labels),
        "width": sides[0],
        "height": sides[1],
        "crc32": pa.nulls(n, pa.uint32()) if dataset.checksums is None else dataset.checksums(dataset.image_ids),
    }
    with replacing(path) as partial:
        pq.write_table(pa.table(columns), partial, compression="zstd", write_page_checksum=True)


def read_images(directory: Path) -> pd.DataFrame | None:
    """The frame that `write_images` wrote; None where a run of an older version has none.

    Raises:
        DataError: it cannot be read.
    """
    import pandas as pd
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = directory / FILE
    if not path.exists():
        return None
    try:
        table = pq.read_table(path, page_checksum_verification=True)
    except (OSError, pa.ArrowException) as error:
        reason = " ".join(str(error).split())
        raise DataError(f"{path} is damaged ({reason}); remove it and run the same eval command again") from error
    frame: pd.DataFrame = table.to_pandas(types_mapper={pa.int32(): pd.Int32Dtype()}.get if _with_gaps(table) else None)
    return frame.astype({"label": "int32"})


def difference(images: pd.DataFrame, dataset: Dataset) -> str:
    """In what the images that a source holds now differ from those of a run, in words; empty where it is not known."""
    if "name" not in images:
        return ""
    before, now = images["name"].tolist(), {as_text(name) for name in dataset.names()}
    missing = [name for name in before if name not in now]
    if missing:
        return f": {len(missing):,} of {len(before):,} are not among them, the first is {missing[0]}"
    return ": all names are there, so some files have other sizes or labels, or there are more files"


def holds_others(directory: Path, dataset: Dataset) -> bool:
    """Whether the checksums that a run keeps say that its pictures were others; of a sample, where it keeps any."""
    images = read_images(directory)
    if images is None or dataset.checksums is None or "crc32" not in images or images["crc32"].isna().any():
        return False
    sampled = dataset.sampled_ids()
    kept = images.set_index("image_id")["crc32"].reindex(sampled)
    return bool((kept.to_numpy() != dataset.checksums(sampled)).any())


def _with_gaps(table: object) -> bool:
    return bool(table["width"].null_count)  # type: ignore[index]

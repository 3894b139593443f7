"""The truth of a run, once: the objects in its images, so that metrics need no data set."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from robustbench_bi.errors import DataError
from robustbench_bi.ground.atomic import replacing

if TYPE_CHECKING:
    import pandas as pd

    from robustbench_bi.data import Dataset

FILE = "truth.parquet"


def write_truth(directory: Path, dataset: Dataset) -> None:
    """Write `truth.parquet` of a run: one row an object; unless it is there, or the labels are no objects.

    Columns: image_id (int64), category (int32, the class number), name (of the class), x, y, width, height (float64, of
    the box in pixels), area (float64, pixels), crowd (bool, a group that need not be found), mask (run lengths in
    COCO's text form, empty where there is none), difficult (bool, an object so hard to see that it need not be found).

    Raises:
        DataError: it cannot be written.
    """
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = directory / FILE
    if dataset.objects is None or path.exists():
        return
    columns = dict(dataset.objects.of(dataset.image_ids))
    category = columns.pop("category").astype(np.int32)
    mask = pa.array(columns.pop("mask"), pa.string())
    names = pa.DictionaryArray.from_arrays(pa.array(category), pa.array(dataset.class_names))
    table = {"image_id": columns.pop("image_id"), "category": category, "name": names, **columns, "mask": mask}
    with replacing(path) as partial:
        pq.write_table(pa.table(table), partial, compression="zstd", write_page_checksum=True)


def read_truth(directory: Path) -> pd.DataFrame:
    """The frame that `write_truth` wrote; the categories of `name` are all classes of the data, by class number.

    Raises:
        DataError: it is not there, or cannot be read.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = directory / FILE
    try:
        frame: pd.DataFrame = pq.read_table(path, page_checksum_verification=True).to_pandas()
    except (OSError, pa.ArrowException) as error:
        reason = " ".join(str(error).split())
        raise DataError(f"{path} is damaged ({reason}); remove it and run the same detect command again") from error
    # Runs from before there were difficult objects do not say so.
    return frame.assign(difficult=frame.get("difficult", False)).astype({"mask": object})

"""Pictures for the report page, from the images that a run was evaluated on; torch is loaded when they are made."""

import base64
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

from robustbench_bi.analysis.measured import measured
from robustbench_bi.analysis.result import Result
from robustbench_bi.analysis.spectra import spectra_frame
from robustbench_bi.corruptions import PIXEL_VERSION, in_words
from robustbench_bi.errors import DataError
from robustbench_bi.ground.cells import CLEAN, Cell, cells_by_corruption
from robustbench_bi.metrics.spectra import measure_spectra
from robustbench_bi.reports.content import Report
from robustbench_bi.runs.identity import cut_of, pixels_of
from robustbench_bi.runs.run import Run

# Up to this side a picture is stored as it is; larger ones as JPEG, scaled down to `_SHOWN`.
_EXACT = 64
_SHOWN = 224
_QUALITY = 85
SPECTRA_IMAGES = 32


@dataclass(frozen=True, eq=False)
class Pictures:
    """Images of a run as its network saw them.

    Attributes:
        class_names: index = class number.
        cells: for each cell, uint8 (B, H, W, 3), in the order of the images asked for.
    """

    class_names: tuple[str, ...]
    cells: Mapping[Cell, NDArray[np.uint8]]


OpenPictures = Callable[[Run, Sequence[int] | NDArray[np.int64], Sequence[Cell]], Pictures]


def pictures_of(run: Run, image_ids: Sequence[int] | NDArray[np.int64], cells: Sequence[Cell]) -> Pictures:
    """Read images that a run was evaluated on, and corrupt them as it did.

    Args:
        run: whose data source is still where it was.
        image_ids: of images of the run; of a run on whole pictures, which differ in size, a single one.
        cells: those to make.

    Raises:
        DataError: the source is not there, has changed, or would have to be fetched; or the run's pixels were made by
            another package, or by another version of the corruptions; or its pictures may not be shown.
    """
    config = run.config
    dataset = run.open_data()
    dataset.check_shown()
    rows = np.searchsorted(dataset.image_ids, np.asarray(image_ids, dtype=np.int64))
    whole = config["input_size"] is None
    preprocessing = None if whole else cut_of(config)
    if whole:
        (picture,) = dataset.read(rows, None)
        images = _corrupted(picture[None], dataset.image_ids[rows], cells, config)
    elif dataset.stored_cells is None:
        images = _corrupted(dataset.read(rows, preprocessing), dataset.image_ids[rows], cells, config)
    else:
        images = {cell: dataset.read(rows, preprocessing, cell) for cell in cells}
    return Pictures(dataset.class_names, {cell: own.transpose(0, 2, 3, 1) for cell, own in images.items()})


def _corrupted(
    clean: NDArray[np.uint8], image_ids: NDArray[np.int64], cells: Sequence[Cell], config: Mapping[str, Any]
) -> dict[Cell, NDArray[np.uint8]]:
    if config["generator"] != "bivo-robust":
        raise DataError(
            f"the corrupted pixels were made by {config['generator']}; only this package's own can be drawn"
        )
    if (version := config.get("pixel_version")) != PIXEL_VERSION:
        raise DataError(
            f"the run used version {version} of the corruptions, but this program makes version {PIXEL_VERSION}"
        )
    recipe = pixels_of(config)
    # A few pictures are made sooner by plain torch than compiled kernels are loaded.
    return {cell: recipe.of_cell(clean, cell, image_ids, backend="reference") for cell in cells}


@dataclass(frozen=True)
class Answer:
    """What the model at a place of the report says of a picture, its confidence in percent, and whether it is right."""

    number: int
    answer: str
    confidence: float
    right: bool


@dataclass(frozen=True)
class Example:
    """A picture on the page: its cell in words, a data URL, and every model's answer."""

    name: str
    url: str
    answers: tuple[Answer, ...]


@dataclass(frozen=True, eq=False)
class Examples:
    """One image under every corruption.

    Attributes:
        image_id, label: of the image.
        severity: of its corruptions.
        pictures: clean and corrupted.
    """

    image_id: int
    label: str
    severity: int
    pictures: tuple[Example, ...]


def typical_image(runs: Sequence[Run]) -> int:
    """The image to show: one whose share of right answers, over all runs and cells, is nearest to the average.

    Images that a run gets wrong where they are clean are shown only if there are no others. Of several, it is the one
    with the smallest id.
    """
    shares, clean = [], []
    for run in runs:
        records = run.records()
        right = (records["rank"] < 1).groupby(records["image_id"]).mean()
        shares.append(right)
        own = records[records["corruption"] == CLEAN[0]]
        clean.append((own.set_index("image_id")["rank"] < 1).reindex(right.index, fill_value=True))
    share, known = sum(shares[1:], shares[0]) / len(runs), pd.concat(clean, axis=1).all(axis=1)
    distance = (share - share.mean()).abs()
    shown = distance[known] if known.any() else distance
    return int(shown.index.to_numpy()[int(shown.argmin())])


def middle_cells(run: Run) -> list[Cell]:
    """Clean, where it is there, and each corruption of a run at the middle one of its severities."""
    middle = [sorted(cells)[(len(cells) - 1) // 2] for cells in cells_by_corruption(run.cell_names).values()]
    return [*(cell for cell in run.cell_names if cell == CLEAN), *middle]


def example_pictures(report: Report, open_pictures: OpenPictures) -> Examples:
    """One image under every corruption of the first run, with each model's answers.

    Args:
        report: the runs.
        open_pictures: `pictures_of`, or what stands in for it.

    Raises:
        BivoRobustError: the pictures are not at hand.
    """
    image_id = typical_image(report.runs)
    cells = middle_cells(report.runs[0])
    pictures = open_pictures(report.runs[0], [image_id], cells)
    records = []
    for run in report.runs:
        own = run.records()
        own = own[own["image_id"] == image_id]
        records.append(own.set_index(["corruption", "severity"]).to_dict("index"))
    examples = []
    for cell in cells:
        answers = tuple(
            _answer(number, own[cell], pictures.class_names) for number, own in enumerate(records) if cell in own
        )
        name = "clean" if cell == CLEAN else in_words(cell[0])
        examples.append(Example(name, data_url(pictures.cells[cell][0]), answers))
    label = next(iter(records[0].values()))["label"]
    return Examples(image_id, pictures.class_names[label], cells[-1][1], tuple(examples))


def _answer(number: int, record: Mapping[Any, Any], class_names: Sequence[str]) -> Answer:
    return Answer(number, class_names[record["prediction"]], 100 * record["confidence"], record["rank"] < 1)


def power_spectra(report: Report, open_pictures: OpenPictures) -> Result | None:
    """`spectra_frame` of the first images of the first run, clean and under every corruption; None without clean.

    Args:
        report: the runs.
        open_pictures: `pictures_of`, or what stands in for it.

    Raises:
        BivoRobustError: the pictures are not at hand.
    """
    run = report.runs[0]
    if CLEAN not in run.cell_names:
        return None
    image_ids = measured(run).grid.image_ids[:SPECTRA_IMAGES]
    return spectra_frame(measure_spectra(open_pictures(run, image_ids, middle_cells(run)).cells.items()))


def data_url(picture: NDArray[np.uint8]) -> str:
    """A picture (H, W, 3) as the text of a file: PNG up to 64 pixels, above that JPEG of at most 224.

    Example:
        >>> data_url(np.zeros((2, 2, 3), np.uint8))[:22]
        'data:image/png;base64,'
    """
    kind, content = picture_file(picture)
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


def picture_file(picture: NDArray[np.uint8]) -> tuple[str, bytes]:
    """A picture (H, W, 3) as a small file, "png" or "jpeg", and its content; see `data_url`."""
    image = Image.fromarray(picture)
    exact = max(image.size) <= _EXACT
    image.thumbnail((_SHOWN, _SHOWN))
    buffer = io.BytesIO()
    if exact:
        image.save(buffer, format="PNG", optimize=True)
    else:
        image.save(buffer, format="JPEG", quality=_QUALITY)
    return ("png" if exact else "jpeg"), buffer.getvalue()

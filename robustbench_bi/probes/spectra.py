"""Measure power spectra of pictures, clean and corrupted: Fig. 4 (right) of the Bi-volution paper."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from robustbench_bi.analysis.captions import describe_data
from robustbench_bi.analysis.groups import FIGURE_3_NOISES
from robustbench_bi.corruptions import resolve_suite, resolve_table
from robustbench_bi.corruptions.pixels import Pixels
from robustbench_bi.data.pictures import PHOTOGRAPHS, open_pictures, picture_preprocessing, read_cells
from robustbench_bi.ground.cells import CLEAN, Progress, parse_severities
from robustbench_bi.metrics.spectra import Spectra, measure_spectra


def picture_spectra(
    images: str | Path = PHOTOGRAPHS,
    *,
    corruptions: str | Sequence[str] = FIGURE_3_NOISES,
    severities: str | int | Sequence[int] = 3,
    limit: int = 500,
    size: int | None = None,
    table: str = "auto",
    jpeg: int | None = None,
    seed: int = 0,
    progress: Callable[[Progress], None] | None = None,
) -> Spectra:
    """Measure the spectra of pictures, clean and in each cell; `ring_power` has the formula.

    Args:
        images: see `open_pictures`.
        corruptions: a suite, a category, or names.
        severities: such as "1-5", 3 or [1, 3, 5].
        limit: at most this many pictures, see `Dataset.limited`.
        size: side of the pictures, see `picture_preprocessing`.
        table: the severity constants.
        jpeg: quality of a JPEG round trip after each corruption; None for the corruption alone.
        seed: keys every random draw.
        progress: called after each cell of each batch of pictures.

    Returns:
        The spectra, of which `spectra_frame` makes curves, and `bands_frame` three bands of frequencies.

    Raises:
        InputError: an option is out of range.
        UnknownNameError, DataError: as `open_pictures`, or a corruption or a table is unknown.

    Example:
        >>> measured = picture_spectra("demo", corruptions="contrast", limit=4)
        >>> list(measured.power), measured.power["contrast", 3].shape
        ([('none', 0), ('contrast', 3)], (4, 90))
    """
    chosen = parse_severities(severities)
    cells = [CLEAN, *((name, severity) for name in resolve_suite(corruptions) for severity in chosen)]
    dataset = open_pictures(images, limit=limit)
    preprocessing = picture_preprocessing(dataset, size)
    table = resolve_table(table, preprocessing.side)
    about = {
        "data": Path(images).resolve().name,
        "input_size": preprocessing.input_size,
        "table": table,
        "jpeg": jpeg,
        "generator": "bivo-robust" if dataset.stored_cells is None else "files",
        "runtime": {"remarks": dataset.remarks},
    }
    corrupted = Pixels(table, jpeg, seed=seed).of_cell
    read = read_cells(dataset, preprocessing, cells, corrupted, progress=progress)
    return measure_spectra(read, describe_data(about, len(dataset)))

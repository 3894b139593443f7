"""Draw a sheet of pictures: what each corruption does at each severity."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from robustbench_bi.corruptions import in_words
from robustbench_bi.reports.figures.sheet import WIDTH
from robustbench_bi.reports.figures.style import CAPTION_SIZE, new_figure, styled

SEVERITIES = tuple(f"severity {severity}" for severity in range(1, 6))
_LABEL = 0.24  # inches, for a name beside its row or a heading above its column


def gallery_sheet(
    pictures: Mapping[str, NDArray[np.uint8]], caption: str = "", *, headings: Sequence[str] = SEVERITIES
) -> Figure:
    """Draw a row of pictures for each name and a column for each severity.

    Args:
        pictures: for each name, uint8 (columns, H, W, 3); all of one shape.
        caption: printed below.
        headings: of the columns.

    Returns:
        A figure 7.2 inches wide and as high as its rows are.

    Example:
        >>> sheet = gallery_sheet({"fog": np.zeros((5, 8, 8, 3), np.uint8)})
        >>> len(sheet.axes)
        5
    """
    columns, height, width, _ = next(iter(pictures.values())).shape
    cell_width = (WIDTH - _LABEL) / columns
    cell_height = cell_width * height / width
    total = 2 * _LABEL + cell_height * len(pictures)
    with styled():
        figure = new_figure(WIDTH, total)
        for row, (name, own) in enumerate(pictures.items()):
            bottom = total - _LABEL - (row + 1) * cell_height
            middle = (bottom + cell_height / 2) / total
            figure.text(_LABEL / 2 / WIDTH, middle, in_words(name), rotation=90, ha="center", va="center")
            for column, picture in enumerate(own):
                left = _LABEL + column * cell_width
                place = (left / WIDTH, bottom / total, 0.98 * cell_width / WIDTH, 0.98 * cell_height / total)
                axes = figure.add_axes(place)
                axes.imshow(picture, aspect="auto", interpolation="nearest")
                axes.set_axis_off()
        for column, heading in enumerate(headings):
            middle = _LABEL + (column + 0.49) * cell_width
            figure.text(middle / WIDTH, 1 - _LABEL / 2 / total, heading, ha="center", va="center")
        figure.text(_LABEL / WIDTH, _LABEL / 2 / total, caption, fontsize=CAPTION_SIZE, va="center")
    return figure

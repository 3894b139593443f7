"""Draw a sheet of pictures: what each corruption does at each severity."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from robustbench_bi.corruptions import in_words
from robustbench_bi.reports.figures.sheet import PAGE, Sheet
from robustbench_bi.reports.figures.style import (
    add_caption,
    caption_height,
    name_in_lines,
    new_figure,
    styled,
    wrapped,
)

SEVERITIES = tuple(f"severity {severity}" for severity in range(1, 6))
_LABEL = 0.24  # inches, for a name beside its row or a heading above its column
_LINE = 0.11  # inches, for each further line of a name


def gallery_sheet(
    pictures: Mapping[str, NDArray[np.uint8]],
    caption: str = "",
    *,
    headings: Sequence[str] = SEVERITIES,
    sheet: Sheet = PAGE,
) -> Figure:
    """Draw a row of pictures for each name and a column for each severity.

    Args:
        pictures: for each name, uint8 (columns, H, W, 3); all of one shape.
        caption: printed below.
        headings: of the columns.
        sheet: what it is drawn for.

    Returns:
        A figure as wide as the sheet and as high as its rows are.

    Example:
        >>> sheet = gallery_sheet({"fog": np.zeros((5, 8, 8, 3), np.uint8)})
        >>> len(sheet.axes)
        5
    """
    columns, height, width, _ = next(iter(pictures.values())).shape
    high, size = (sheet.width - _LABEL) / columns * height / width, 6.5 if sheet.narrow else 8.0
    names = [name_in_lines(in_words(name), high, size) for name in pictures]
    label = _LABEL + _LINE * max(name.count("\n") for name in names)
    cell_width = (sheet.width - label) / columns
    cell_height = cell_width * height / width
    caption = wrapped(caption, sheet.width - label - 0.1)
    below = _LABEL + caption_height(caption) - caption_height("")
    total = below + cell_height * len(pictures) + _LABEL
    with styled(sheet):
        figure = new_figure(sheet.width, total)
        for row, (name, own) in enumerate(zip(names, pictures.values(), strict=True)):
            bottom = total - _LABEL - (row + 1) * cell_height
            middle = (bottom + cell_height / 2) / total
            place = label / 2 / sheet.width
            centred = figure.text(place, middle, name, rotation=90, ha="center", va="center", fontsize=size)
            centred.set_linespacing(1.05)
            for column, picture in enumerate(own):
                left = label + column * cell_width
                shown = 0.98 * cell_width / sheet.width, 0.98 * cell_height / total
                axes = figure.add_axes((left / sheet.width, bottom / total, *shown))
                axes.imshow(picture, aspect="auto", interpolation="nearest")
                axes.set_axis_off()
        for column, heading in enumerate(headings):
            middle = label + (column + 0.49) * cell_width
            figure.text(middle / sheet.width, 1 - _LABEL / 2 / total, heading, ha="center", va="center")
        add_caption(figure, caption, bottom=0.06)
    return figure

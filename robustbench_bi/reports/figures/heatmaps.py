"""Draw heat maps of features over a few pictures, each with how much of the clean one is left over a set of images."""

from collections.abc import Sequence
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from numpy.typing import NDArray

from robustbench_bi.analysis.result import Result
from robustbench_bi.analysis.text import format_interval
from robustbench_bi.corruptions import in_words
from robustbench_bi.errors import InputError
from robustbench_bi.ground.cells import CLEAN, Cell
from robustbench_bi.metrics.spectra import LUMINANCE
from robustbench_bi.reports.figures.sheet import PAGE, Sheet
from robustbench_bi.reports.figures.style import (
    add_caption,
    caption_height,
    name_in_column,
    new_figure,
    styled,
    wrapped,
)

_SIDES = (0.9, 1.38)  # inches; bounds of a picture's side
_GAP = 0.05  # inches, between pictures
_LABELS = 0.42  # inches, for the names of models beside the pictures, where these are broken into lines
_NUMBER_SIZE = 6.0
_COLOURS, _OPACITY = "inferno", 0.65
_WHITE = 350  # shown as white, so that a bright picture does not wash out the colours laid over it
_NUMBERS = 0.29  # inches, for the two lines below a heat map and what parts them from the next
_READING = (
    "r: Pearson's correlation of the heat map with the clean one, over the positions; below it the mean over the n "
    "images with its interval, and below a clean map the mean for two different images. Each map has its own colour "
    "scale."
)


def heat_maps_figure(shown: Result, sheet: Sheet = PAGE) -> Figure:
    """Heat maps laid over their pictures, as Fig. 4 (left) of the Bi-volution paper, with their correlations.

    A block of rows a picture: the picture, then a row for each model; a column for each cell, clean first. Every map
    has its own colour scale, from its least to its greatest value, since a correlation does not see the scale either.

    Args:
        shown: from `heat_map_frame`; the caption is printed below.
        sheet: what it is drawn for.

    Returns:
        A figure as wide as the sheet for up to seven cells, and wider for more. In one column of a paper, cells stand
        in several lines.

    Raises:
        InputError: there is no heat map.
    """
    frame = shown.frame
    if not len(frame):
        raise InputError("the figure needs at least one heat map, got none")
    cells = list(dict.fromkeys(zip(frame["corruption"], frame["severity"], strict=True)))
    models = list(frame["model"].unique())
    across = min(len(cells), int((sheet.width - _LABELS) / (_SIDES[0] + _GAP))) if sheet.narrow else len(cells)
    parts = [cells[start : start + across] for start in range(0, len(cells), across)]
    lines = [(block, part) for _, block in frame.groupby("picture", sort=False) for part in parts]
    with styled(sheet):
        size = _points(matplotlib.rcParams["axes.labelsize"])
        labels = [name_in_column(model, _SIDES[0], size) for model in models]
        left = 2 * _GAP + max(label.count("\n") + 1 for label in labels) * 1.2 * size / 72
        side = float(np.clip((sheet.width - left) / across - _GAP, *_SIDES))
        whole = left + (side + _GAP) * across
        width = max(whole, sheet.width)
        caption = wrapped(f"{shown.caption} {_READING}".strip(), width - 0.2)
        title = 1.2 * _points(matplotlib.rcParams["axes.titlesize"]) / 72 + _GAP
        named = [number == 0 or len(parts) > 1 for number in range(len(lines))]
        of_line = side + _GAP + len(models) * (side + _NUMBERS)
        figure = new_figure(width, 0.1 + caption_height(caption) + len(lines) * of_line + sum(named) * title)
        top = 0.0
        for (block, part), is_named in zip(lines, named, strict=True):
            top += title * is_named
            corner = (left + (width - whole) / 2, top)
            panels = _add_panels(figure, corner, side, len(models), len(part))
            _draw_block(block, part, models, panels)
            for label, axes in zip(labels, panels[1:, 0], strict=True):
                axes.set_ylabel(label, labelpad=2)
            if is_named:
                _name_cells(part, panels[0])
            top += of_line
        add_caption(figure, caption, bottom=0.06)
    return figure


def _points(size: float | str) -> float:
    """A size of text in points; a matplotlib style may give it as a word."""
    return float(FontProperties(size=size).get_size_in_points())


def _add_panels(figure: Figure, corner: tuple[float, float], side: float, models: int, across: int) -> NDArray[Any]:
    """Panels for a line of pictures and, below it, one of heat maps for each model, (1 + models, across).

    They are placed by hand: a layout engine leaves what it does not need as empty strips.

    Args:
        figure: to draw on.
        corner: of the first picture, in inches from the left and upper edge.
        side: of a panel, in inches.
        models: how many.
        across: how many pictures.
    """
    width, height = figure.get_size_inches()
    panels = np.empty((1 + models, across), dtype=object)
    for row, column in np.ndindex(panels.shape):
        x = corner[0] + column * (side + _GAP)
        y = corner[1] + side + (_GAP + side + (row - 1) * (side + _NUMBERS) if row else 0)
        axes = figure.add_axes((x / width, 1 - y / height, side / width, side / height))
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set_visible(False)
        panels[row, column] = axes
    return panels


def _name_cells(cells: Sequence[Cell], row: NDArray[Any]) -> None:
    for (corruption, _), axes in zip(cells, row, strict=False):
        axes.set_title("clean" if corruption == CLEAN[0] else in_words(corruption), pad=2)


def _draw_block(block: pd.DataFrame, cells: Sequence[Cell], models: list[str], rows: NDArray[Any]) -> None:
    """A picture in every cell, and below it the heat maps of each model."""
    for column, (corruption, severity) in enumerate(cells):
        own = block[(block["corruption"] == corruption) & (block["severity"] == severity)]
        _draw_column(own.set_index("model").loc[models], rows[:, column])


def _draw_column(own: pd.DataFrame, column: NDArray[Any]) -> None:
    """A picture in one cell, and below it the heat map of each model, the rows of `own`."""
    clean = own["corruption"].iloc[0] == CLEAN[0]
    column[0].imshow(own["image"].iloc[0], interpolation="nearest")
    for axes, row in zip(column[1:], own.to_dict(orient="records"), strict=True):
        _draw_map(axes, row["image"], row["heat"])
        mean = format_interval(row["mean"], row["mean_low"], row["mean_high"], decimals=2)
        single = "different images" if clean else f"r = {format_interval(row['correlation'], decimals=2)}"
        axes.set_xlabel(f"{single}\n{mean}", fontsize=_NUMBER_SIZE, labelpad=1.5, linespacing=1.1)


def _draw_map(axes: Axes, image: NDArray[np.uint8], heat: NDArray[np.float32]) -> None:
    """A heat map over the grey picture, interpolated linearly between the middles of its cells."""
    height, width, _ = image.shape
    extent = (0, width, height, 0)
    axes.imshow(image @ np.array(LUMINANCE), cmap="gray", vmin=0, vmax=_WHITE, extent=extent)
    axes.imshow(heat, cmap=_COLOURS, alpha=_OPACITY, interpolation="bilinear", extent=extent)

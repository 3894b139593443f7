"""Draw heat maps of features over a few pictures, each with how much of the clean one is left over a set of images."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from robustbench_bi.analysis.result import Result
from robustbench_bi.analysis.text import format_interval
from robustbench_bi.corruptions import in_words
from robustbench_bi.errors import InputError
from robustbench_bi.ground.cells import CLEAN, Cell
from robustbench_bi.metrics.spectra import LUMINANCE
from robustbench_bi.reports.figures.sheet import PAGE, Sheet
from robustbench_bi.reports.figures.style import add_caption, caption_height, new_figure, styled, wrapped

_SIDES = (0.95, 1.38)  # inches; bounds of a picture's side
_LABEL = 0.2  # inches, for a line of text beside or above a picture
_NUMBER_SIZE = 6.0
_COLOURS, _OPACITY = "inferno", 0.65
_WHITE = 350  # shown as white, so that a bright picture does not wash out the colours laid over it
_NUMBERS = 0.27  # inches, for the two lines below a heat map
_READING = (
    "r: Pearson's correlation of the heat map with the clean one, over the positions; below it the mean over the n "
    "images with its interval, and below a clean map the mean for two different images. Each map has a colour scale of "
    "its own."
)


def heat_maps_figure(shown: Result, sheet: Sheet = PAGE) -> Figure:
    """Heat maps laid over their pictures, as Fig. 4 (left) of the Bi-volution paper, with their correlations.

    A block of rows a picture: the picture, then a row for each model; a column for each cell, clean first. Every map
    has its own colour scale, from its least to its greatest value, since a correlation does not see the scale either.

    Args:
        shown: from `heat_map_frame`; the caption is printed below.
        sheet: what it is drawn for.

    Returns:
        A figure as wide as the sheet for up to six cells, and wider for more. In one column of a paper, cells stand in
        several lines.

    Raises:
        InputError: there is no heat map.
    """
    frame = shown.frame
    if not len(frame):
        raise InputError("the figure needs at least one heat map, got none")
    cells = list(dict.fromkeys(zip(frame["corruption"], frame["severity"], strict=True)))
    models = list(frame["model"].unique())
    blocks = [block for _, block in frame.groupby("picture", sort=False)]
    across = min(len(cells), int((sheet.width - _LABEL) / _SIDES[0])) if sheet.narrow else len(cells)
    lines = -(-len(cells) // across)
    side = float(np.clip((sheet.width - _LABEL) / across, *_SIDES))
    width = max(_LABEL + side * across, sheet.width)
    caption = wrapped(f"{shown.caption} {_READING}".strip(), width - 0.2)
    bottom = 0.12 + caption_height(caption)
    height = bottom + len(blocks) * lines * (_LABEL + side + (side + _NUMBERS) * len(models))
    with styled(sheet):
        figure = new_figure(width, height)
        panels = figure.subplots(len(blocks) * lines * (1 + len(models)), across, squeeze=False)
        for axes in panels.flat:
            axes.set(xticks=[], yticks=[])
            axes.spines[:].set_visible(False)
        parts = [cells[start : start + across] for start in range(0, len(cells), across)]
        for number, rows in enumerate(np.split(panels, len(blocks) * lines)):
            block, part = blocks[number // lines], parts[number % lines]
            _draw_block(block, part, models, rows[:, : len(part)])
            if number == 0 or lines > 1:
                _name_cells(part, rows[0])
        add_caption(figure, caption, bottom=0.06)
        above = (height - bottom - 0.03) / height
        figure.set_layout_engine(
            "compressed", rect=(0, bottom / height, 1, above), w_pad=0.02, h_pad=0.01, wspace=0, hspace=0
        )
    return figure


def _name_cells(cells: Sequence[Cell], row: NDArray[Any]) -> None:
    for (corruption, _), axes in zip(cells, row, strict=False):
        axes.set_title("clean" if corruption == CLEAN[0] else in_words(corruption), pad=2)


def _draw_block(block: pd.DataFrame, cells: Sequence[Cell], models: list[str], rows: NDArray[Any]) -> None:
    """A picture in every cell, and below it the heat maps of each model."""
    for column, (corruption, severity) in enumerate(cells):
        own = block[(block["corruption"] == corruption) & (block["severity"] == severity)]
        _draw_column(own.set_index("model").loc[models], rows[:, column])
    for model, axes in zip(models, rows[1:, 0], strict=True):
        axes.set_ylabel(model.replace(":", ":\n"), labelpad=2)


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

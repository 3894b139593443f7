"""Draw power spectra: the curves of clean and corrupted pictures, and their ratios."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator

from robustbench_bi.analysis.result import Result
from robustbench_bi.analysis.spectra import BANDS
from robustbench_bi.corruptions import in_words
from robustbench_bi.errors import InputError
from robustbench_bi.ground.cells import CLEAN
from robustbench_bi.reports.figures.sheet import PAGE, Sheet
from robustbench_bi.reports.figures.style import (
    INK,
    add_caption,
    add_grid,
    caption_height,
    new_figure,
    styled,
    width_of,
    wrapped,
)

# In inches: the legend, a title, a panel, what lies between panels, and a pair of panels with its labels.
_LEGEND = 0.27
_TITLE = 0.2
_PANEL = 0.98
_GAP = 0.12
_LEFT, _RIGHT = 0.6, 0.05
_PAIR = _TITLE + 2 * _PANEL + _GAP + 0.3
# Beyond, rings hold few coefficients, and the geometric mean of a power that varies so much falls low.
_LAST_FREQUENCY = 0.65
_TICKS = {1 / 64: "1/64", 1 / 16: "1/16", 1 / 4: "1/4"}
_CLEAN = (0, (4, 1.2))
# From light to dark, as severity grows; in grey print the dashes tell clean from the darkest.
_SEVERITY_COLOURS = ("#e0a93b", "#d9822b", "#c2503a", "#93305a", "#541f66")


def spectra(curves: Result, sheet: Sheet = PAGE) -> Figure:
    """Power against frequency, clean against each corruption, and below each the ratio to clean.

    Both axes are logarithmic. Dotted lines part low, middle and high frequencies as `BANDS` does. The bands around the
    clean power and around the ratios are the frame's intervals; that of a corrupted power, which would hide its
    neighbours, is in the frame alone. So are the last rings, of a few coefficients in the corner.

    Args:
        curves: from `spectra_frame`; the caption is printed below.
        sheet: what it is drawn for.

    Returns:
        A figure as wide as the sheet, two panels a corruption, at most five corruptions across, or two in one column
        of a paper.

    Raises:
        InputError: the frame holds no corruption.
    """
    shown = curves.frame[curves.frame["frequency"] <= _LAST_FREQUENCY]
    corruptions = [name for name in shown["corruption"].unique() if name != CLEAN[0]]
    count = len(corruptions)
    if not count:
        raise InputError("spectra need at least one corruption, got only clean")
    # As few gaps in the last row as four or five across leave.
    across = min(count, 2 if sheet.narrow else min((4, 5), key=lambda number: -count % number))
    caption = wrapped(curves.caption, sheet.width - 0.2)
    bottom = 0.2 + caption_height(caption)
    legend_rows = 2 if sheet.narrow else 1
    height = _LEGEND * legend_rows + _PAIR * -(-count // across) + bottom
    with styled(sheet):
        figure = new_figure(sheet.width, height)
        pairs = [_add_pair(figure, *divmod(number, across), across, _LEGEND * legend_rows) for number in range(count)]
        for pair, corruption in zip(pairs, corruptions, strict=True):
            _draw_pair(*pair, shown, corruption)
        for panels, label in zip(zip(*pairs, strict=True), ("power", "ratio to clean"), strict=True):
            _share_scale(panels, across, label)
        for _, ratio in pairs[-across:]:
            ratio.set_xlabel("cycles per pixel", labelpad=1)
        legend = pairs[0][0].get_legend_handles_labels()
        figure.legend(*legend, loc="upper center", ncols=3 if sheet.narrow else 6, bbox_to_anchor=(0.5, 1))
        add_caption(figure, caption, bottom=0.05)
    return figure


def _add_pair(figure: Figure, row: int, column: int, across: int, above: float) -> tuple[Axes, Axes]:
    """Two panels, one below the other, in a grid of such pairs, so many inches below the upper edge.

    They are placed by hand: matplotlib's layout engines take seconds for many panels, and differ in the last bit from
    one time to the next.
    """
    whole, height = figure.get_size_inches()
    width = (whole - _LEFT - _RIGHT - _GAP * (across - 1)) / across
    left = _LEFT + column * (width + _GAP)
    top = height - above - row * _PAIR - _TITLE
    power, ratio = (
        figure.add_axes((left / whole, (top - below) / height, width / whole, _PANEL / height))
        for below in (_PANEL, 2 * _PANEL + _GAP)
    )
    return power, ratio


def _draw_pair(power: Axes, ratio: Axes, frame: pd.DataFrame, corruption: str) -> None:
    """The curves of clean and of each severity, and below them the ratios."""
    power.set_title(in_words(corruption), loc="left", pad=3)
    own = frame[frame["corruption"] == corruption]
    clean = frame[frame["corruption"] == CLEAN[0]]
    _draw_curve(power, clean, ("power", "low", "high"), INK, label="clean", linestyle=_CLEAN)
    ratio.axhline(1, color=INK, linewidth=1.1, linestyle=_CLEAN)
    for severity, curve in own.groupby("severity"):
        colour, label = _SEVERITY_COLOURS[int(str(severity)) - 1], f"severity {severity}"
        power.plot(curve["frequency"], curve["power"], color=colour, label=label, linewidth=1.1)
        _draw_curve(ratio, curve, ("ratio", "ratio_low", "ratio_high"), colour, label=label)
    for axes in (power, ratio):
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_xticks(list(_TICKS), list(_TICKS.values()))
        axes.set_xticks([], minor=True)
        axes.set_xlim(own["frequency"].min(), own["frequency"].max())
        for _, end in list(BANDS.values())[:-1]:
            axes.axvline(end, color=INK, linewidth=0.5, linestyle=(0, (1, 2)))
    power.tick_params(labelbottom=False)


def _draw_curve(axes: Axes, own: pd.DataFrame, columns: tuple[str, str, str], colour: str, **line: Any) -> None:
    value, low, high = (own[column] for column in columns)
    axes.fill_between(own["frequency"], low, high, color=colour, alpha=0.22, linewidth=0)
    axes.plot(own["frequency"], value, color=colour, linewidth=1.1, **line)


def _share_scale(panels: Sequence[Axes], across: int, label: str) -> None:
    """One vertical scale for panels that stand `across` in a row, labelled at the left."""
    limits = np.array([axes.get_ylim() for axes in panels])
    for number, axes in enumerate(panels):
        axes.set_ylim(limits[:, 0].min(), limits[:, 1].max())
        axes.yaxis.set_major_locator(LogLocator(numticks=6))
        add_grid(axes)
        axes.tick_params(axis="y", which="minor", length=0)
        if number % across:
            axes.tick_params(labelleft=False)
        else:
            place = axes.get_position()
            axes.set_ylabel(label)
            axes.yaxis.set_label_coords((0.17 / width_of(axes) - place.x0) / place.width, 0.5)

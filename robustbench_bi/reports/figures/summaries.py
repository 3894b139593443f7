"""More figures: a heat table of models and corruptions, and reliability diagrams."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from robustbench_bi.analysis.measured import Measurements
from robustbench_bi.analysis.reliability import ece_name
from robustbench_bi.analysis.result import Result
from robustbench_bi.analysis.text import format_interval
from robustbench_bi.corruptions import category_of, in_words
from robustbench_bi.errors import InputError
from robustbench_bi.reports.figures.accuracy import finish
from robustbench_bi.reports.figures.sheet import PAGE, Sheet
from robustbench_bi.reports.figures.style import GRID, INK, look, name_in_column, new_figure, styled

# From white for the best to a red on which dark letters are still legible, in grey print too.
_HEAT = LinearSegmentedColormap.from_list("heat", ["#ffffff", "#f6d7ca", "#e3937a"])
_LEAST_SPAN = 20.0  # points between the lightest and the darkest colour
_KEY, _STRIP = 0.2, 1.2  # inches: the key of the colours high, its strip wide
_WIDEST = 1.25  # inches, of a cell of the heat table
_NAMES = 1.35  # inches, for the names beside the heat table
_INTERVAL = 0.58  # inches, the least width of a cell that holds an interval
_LEFT_OUT = "The columns are too narrow for the intervals; compare writes them to summaries.csv."
_ACROSS = 4
_TITLE = 6.5  # points, of the titles of the reliability diagram
_TOP, _FOOT, _NUMBER = 102, -42, 34  # the ends of its vertical axis, and what a number at its foot takes of it


def heat_table(summaries: Measurements, sheet: Sheet = PAGE) -> Figure:
    """Top-1 of each model under each corruption, mean over severities, with intervals; the darker, the lower.

    The colours span at least 20 points, so that weak networks that differ by little look alike, and a key above says
    which they are.

    Args:
        summaries: from `summaries_frame`; its primary caption is printed below.
        sheet: what it is drawn for.

    Returns:
        A figure as wide as the sheet: a row for each corruption, a column for each model. Where columns are too narrow
        for them, intervals are left to summaries.csv, and the caption says so.

    Raises:
        InputError: the frame holds no corruption.
    """
    frame, name = summaries.frame, summaries.task.primary.name
    cells = frame[frame["kind"] == "corruption"]
    if not len(cells):
        raise InputError("a heat table needs at least one corruption, got only clean")
    names, models = list(cells["name"].unique()), list(cells["model"].unique())
    table = cells.pivot(index="name", columns="model", values=[name, f"{name}_low", f"{name}_high"]).loc[names]
    values = table[name][models].to_numpy()
    worst, best = _colour_scale(values)
    with styled(sheet):
        width = min(_WIDEST, (sheet.width - _NAMES) / len(models))
        small, room = width < _WIDEST, width >= _INTERVAL
        size = 6 if small else 7.5
        headings = [name_in_column(model, width, size) for model in models]
        # Without room for the headings' lines, columns would shrink below the width that the lines were broken to.
        above = max(heading.count("\n") for heading in headings) * 1.2 * size / 72
        figure = new_figure(sheet.width, 0.3 + 0.27 * len(names) + above)
        axes = figure.add_subplot()
        aspect = 0.27 / width
        axes.imshow(-values, cmap=_HEAT, aspect=aspect, vmin=-best, vmax=-worst)
        for (row, column), value in np.ndenumerate(values):
            if not np.isnan(value):
                ends = (float(table[f"{name}_{end}"][models].to_numpy()[row, column]) for end in ("low", "high"))
                text = format_interval(value, *ends) if room else format_interval(value)
                text = text.replace(" [", "\n[") if small else text
                axes.text(column, row, text, ha="center", va="center", fontsize=6 if small else 6.5, linespacing=0.95)
        axes.set_xticks(range(len(models)), headings, fontsize=size)
        _frame_table(axes, names)
        caption = summaries.primary_caption + ("" if room else f" {_LEFT_OUT}")
        below = finish(figure, axes, caption, summaries.header, room=_KEY)
        _draw_key(figure, below, worst, best, summaries.task.primary.short)
    return figure


def _colour_scale(values: NDArray[np.float64]) -> tuple[float, float]:
    """The values of the darkest and of the lightest colour: round numbers around all, at least 20 points apart."""
    worst, best = 10 * np.floor(np.nanmin(values) / 10), 10 * np.ceil(np.nanmax(values) / 10)
    missing = max(_LEAST_SPAN - (best - worst), 0)
    best = min(best + missing, 100)
    return min(worst, best - _LEAST_SPAN), best


def _draw_key(figure: Figure, below: float, worst: float, best: float, short: str) -> None:
    """A strip of the table's colours between the values of its ends, `below` the upper edge in inches."""
    width, height = figure.get_size_inches()
    left, steps = width - 2.0, 20
    bottom = 1 - (below + 0.14) / height
    for step in range(steps):
        place = ((left + step * _STRIP / steps) / width, bottom)
        size = {"width": 1.02 * _STRIP / steps / width, "height": 0.1 / height}
        colour = _HEAT(step / (steps - 1))
        figure.add_artist(Rectangle(place, **size, color=colour, linewidth=0, transform=figure.transFigure))
    ends = ((left - 0.06, f"{short} {best:g} %", "right"), (left + _STRIP + 0.06, f"{worst:g} %", "left"))
    for place, text, side in ends:
        figure.text(place / width, bottom, text, fontsize=6.5, ha=side, va="bottom")


def _frame_table(axes: Axes, names: list[str]) -> None:
    """Corruptions beside a table, and lines between their categories."""
    axes.set_yticks(range(len(names)), [in_words(name) for name in names])
    axes.xaxis.tick_top()
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    categories = [category_of(name) for name in names]
    for row in range(1, len(names)):
        if categories[row] != categories[row - 1]:
            axes.axhline(row - 0.5, color=INK, linewidth=0.6)


def reliability_diagram(reliability: Result, sheet: Sheet = PAGE) -> Figure:
    """Accuracy against confidence of each model, on clean and on corrupted images, with n of each bin.

    On the dashed line a network is calibrated; below it, it is too sure of itself. The bars at the foot are the numbers
    of predictions on a logarithmic scale, and the figures in them are these numbers.

    Args:
        reliability: from `reliability_frame`; its caption is printed below.
        sheet: what it is drawn for.

    Returns:
        A figure as wide as the sheet, up to four panels across, or two in one column of a paper.
    """
    frame = reliability.frame
    models = list(frame["model"].unique())
    parts = list(frame.groupby(["model", "part"], sort=False))
    across = min(2 if sheet.narrow else _ACROSS, len(parts))
    down = -(-len(parts) // across)
    with styled(sheet):
        # Side by side, the numbers of a narrow panel's bins would touch: every other one stands a step higher.
        foot = _FOOT - _NUMBER * sheet.narrow
        taller = (_TOP - foot) / (_TOP - _FOOT)
        figure = new_figure(sheet.width, 0.4 + (0.4 + 0.89 * taller * sheet.width / across) * down)
        panels = figure.subplots(down, across, sharex=True, sharey=True, squeeze=False)
        for axes, ((model, part), bins) in zip(panels.flat, parts, strict=False):
            _draw_reliability(axes, bins[bins["n"] > 0], models.index(model), foot)
            first = bins.iloc[0]
            gap = "\n" if sheet.narrow else " "
            shown = format_interval(first["ece"], first["ece_low"], first["ece_high"]).replace(" [", f"{gap}[")
            ece = f"{ece_name(str(part))} {shown} %"
            title = name_in_column(f"{model}, {part}", 0.85 * sheet.width / across, _TITLE)
            axes.set_title(f"{title}\n{ece}", loc="left", pad=3, fontsize=_TITLE)
        for axes in panels.flat[len(parts) :]:
            axes.remove()
        for axes in panels[:, 0]:
            axes.set_ylabel("accuracy (%)")
        for axes in panels.flat[len(parts) - across : len(parts)]:
            axes.set_xlabel("confidence (%)")
            axes.tick_params(labelbottom=True)
        finish(figure, panels[0, 0], reliability.caption, reliability.header)
    return figure


def _draw_reliability(axes: Axes, bins: pd.DataFrame, number: int, foot: float) -> None:
    style = look(number)
    axes.grid(color=GRID, linewidth=0.5)
    axes.set(xlim=(0, 100), ylim=(foot, _TOP), xticks=range(0, 101, 25), yticks=range(0, 101, 25))
    axes.plot([0, 100], [0, 100], color=INK, linewidth=0.6, linestyle=(0, (3, 3)))
    heights = (_FOOT + _NUMBER - foot) * np.log10(bins["n"] + 1) / np.log10(bins["n"].max() + 1)
    middles = (bins["bin_low"] + bins["bin_high"]) / 2
    axes.bar(middles, heights, 6, bottom=foot, color=style.fill, alpha=0.35, edgecolor=INK, linewidth=0.4)
    for place, middle, n in zip(bins.index, middles, bins["n"], strict=True):
        lowest = foot + 1.5 + (_FOOT - foot) * (place % 2)
        axes.text(middle, lowest, f"{n:,}", rotation=90, ha="center", va="bottom", fontsize=6)
    accuracy = bins["accuracy"].to_numpy()
    axes.errorbar(
        bins["confidence"],
        accuracy,
        np.clip([accuracy - bins["accuracy_low"], bins["accuracy_high"] - accuracy], 0, None),
        fmt=style.marker,
        color=style.line,
        markerfacecolor=style.fill,
        markersize=3.2,
        markeredgewidth=0.6,
        elinewidth=0.7,
        clip_on=False,
    )

"""Figures of accuracy: Fig. 3 of the paper, curves over severities, bars by category."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from robustbench_bi.analysis.comparison import Comparison
from robustbench_bi.analysis.groups import CATEGORIES, FIGURE_3_NOISES
from robustbench_bi.analysis.measured import Measurements
from robustbench_bi.corruptions import CORRUPTIONS, in_words
from robustbench_bi.errors import InputError
from robustbench_bi.ground.cells import CLEAN
from robustbench_bi.reports.figures.sheet import PAGE, Sheet
from robustbench_bi.reports.figures.style import (
    INK,
    add_caption,
    add_grid,
    caption_height,
    draw_curve,
    look,
    new_figure,
    styled,
    top_of_axis,
    wrapped,
)

# The paper's bars; clean and the mean over all stand beside them, set apart by a line.
_FIGURE_3 = ("clean", *FIGURE_3_NOISES, *(name for name in CATEGORIES if name != "noise"), "mean")
# Between categories, in widths of a place.
_APART = 0.4
# In inches, of a legend: its sign and gaps, and a letter of its label.
_SIGN, _LETTER = 0.55, 0.062


def figure_3(comparison: Comparison, sheet: Sheet = PAGE) -> Figure:
    """Δ top-1 (or Δ of the task's number) of models against a baseline, as Fig. 3 of the Bi-volution paper.

    The paper's seven bars are the four noises one by one and the means of blur, weather and digital. We add clean and
    the mean over ImageNet-C's corruptions, set apart, and whiskers: the paired intervals of the frame.

    Args:
        comparison: from `comparison_frame` with rows "bars"; its caption is printed below. A model looks as in the
            other figures of the comparison, where the baseline comes first.
        sheet: what it is drawn for.

    Returns:
        A figure as wide as the sheet, with a bar for each model in every group.

    Raises:
        InputError: the frame holds none of the bars.
    """
    names = figure_3_names(comparison.frame)
    with styled(sheet):
        figure, axes = _bars_over_baseline(comparison, {name: float(place) for place, name in enumerate(names)}, sheet)
        _name_bars(axes, names, sheet)
        finish(figure, axes, comparison.caption, comparison.header)
    return figure


def figure_3_of_paper(comparison: Comparison, sheet: Sheet = PAGE) -> Figure:
    """`figure_3` in the paper's own form: a bar a corruption or mean, in groups that are the categories.

    These are the paper's seven bars and no others: the four noises one by one, then the means of blur, weather and
    digital. The paper's bars have no intervals; ours do.

    Args:
        comparison: from `comparison_frame` with rows "bars"; its caption is printed below.
        sheet: what it is drawn for.

    Returns:
        A figure as wide as the sheet, with a bar for each model at every place.

    Raises:
        InputError: the frame holds none of the bars.
    """
    named = [str(name) for name in comparison.frame["name"].unique() if _bar(name) in _FIGURE_3[1:-1]]
    if not named:
        raise InputError("figure 3 needs noises, or means of blur, weather or digital, got none")
    groups: dict[str, list[str]] = {}
    for name in sorted(named, key=lambda name: _FIGURE_3.index(_bar(name))):
        groups.setdefault("noise" if name in FIGURE_3_NOISES else name, []).append(name)
    places: dict[str, float] = {}
    with styled(sheet):
        for number, names in enumerate(groups.values()):
            places |= {name: len(places) + place + _APART * number for place, name in enumerate(names)}
        figure, axes = _bars_over_baseline(comparison, places, sheet)
        labels = [in_words(name) if name in FIGURE_3_NOISES else "mean" for name in places]
        _label_places(axes, list(places.values()), labels, sheet)
        _head_groups(axes, groups, places)
        finish(figure, axes, comparison.caption, comparison.header)
    return figure


def _bars_over_baseline(comparison: Comparison, places: Mapping[str, float], sheet: Sheet) -> tuple[Figure, Axes]:
    """The differences of each model in these rows of a comparison, each row at its place."""
    frame = comparison.frame
    bars = frame[frame["name"].isin(list(places))]
    models = list(bars["model"].unique())
    width = 0.8 / len(models)
    figure = new_figure(sheet.width, 2.6 if sheet.narrow else 3.4)
    axes = figure.add_subplot()
    add_grid(axes)
    for number, model in enumerate(models):
        own = bars[bars["model"] == model].set_index("name")
        beside = (number - (len(models) - 1) / 2) * width
        standing = np.array([places[name] + beside for name in own.index])
        _draw_bars(axes, standing, own, "delta", width, number + 1, model)
    axes.axhline(0, color=INK, linewidth=0.9, zorder=3)
    axes.set_ylabel(f"Δ {comparison.task.primary.short} vs. {frame['baseline'].iloc[0]} (points)")
    return figure, axes


def figure_3_names(frame: pd.DataFrame) -> list[str]:
    """The names in a frame that are bars of figure 3, in its order; where there are none, its corruptions.

    Raises:
        InputError: there are none either.

    Example:
        >>> figure_3_names(pd.DataFrame({"name": ["noise", "blur (3 of 4)", "shot_noise", "clean"]}))
        ['clean', 'shot_noise', 'blur (3 of 4)']
    """
    names = [str(name) for name in frame["name"].unique() if _bar(name) in _FIGURE_3]
    if not names:
        names = [str(name) for name in frame["name"].unique() if name in CORRUPTIONS]
        if not names:
            raise InputError("figure 3 needs rows of comparison_frame with rows 'bars', got none")
        return names
    return sorted(names, key=lambda name: _FIGURE_3.index(_bar(name)))


def _bar(name: str) -> str:
    """The bar that a row belongs to: "blur" for "blur (3 of 4)"."""
    return name.partition(" (")[0]


def _draw_bars(
    axes: Axes, places: np.ndarray, own: pd.DataFrame, column: str, width: float, number: int, model: str
) -> None:
    style = look(number)
    values = own[column].to_numpy()
    whiskers = np.clip([values - own[f"{column}_low"], own[f"{column}_high"] - values], 0, None)
    axes.bar(
        places, values, width, label=model, color=style.fill, hatch=style.hatch, edgecolor=INK, linewidth=0.5, zorder=2
    )
    # A white halo, below the zero line, keeps the whisker readable over a dark or hatched bar.
    for colour, thickness, order in (("white", 2.2, 2.5), (INK, 0.9, 4)):
        axes.errorbar(places, values, whiskers, fmt="none", ecolor=colour, elinewidth=thickness, zorder=order)


def _name_bars(axes: Axes, names: Sequence[str], sheet: Sheet) -> None:
    """Names below the bars, and thin lines that set clean and the mean apart."""
    _label_places(axes, range(len(names)), [in_words(name) for name in names], sheet)
    if names[0] == "clean" and len(names) > 1:
        axes.axvline(0.5, color=INK, linewidth=0.5, linestyle=(0, (2, 2)))
    if names[-1].startswith("mean") and len(names) > 1:
        axes.axvline(len(names) - 1.5, color=INK, linewidth=0.5, linestyle=(0, (2, 2)))


def _label_places(axes: Axes, places: Sequence[float], labels: Sequence[str], sheet: Sheet) -> None:
    """A label below each place, which is where bars stand."""
    if sheet.narrow:
        axes.set_xticks(places, labels, rotation=40, ha="right", rotation_mode="anchor")
    else:
        axes.set_xticks(places, [label.replace(" ", "\n", 1) for label in labels])
    axes.tick_params(axis="x", length=0)
    axes.set_xlim(places[0] - 0.6, places[-1] + 0.6)


def _head_groups(axes: Axes, groups: Mapping[str, Sequence[str]], places: Mapping[str, float]) -> None:
    """The name of each group above its bars, and thin lines between groups."""
    above = axes.get_xaxis_transform()
    for heading, names in groups.items():
        first, last = places[names[0]], places[names[-1]]
        words = heading.replace(" (", "\n(")
        axes.text((first + last) / 2, 1.02, words, transform=above, ha="center", va="baseline", linespacing=1.05)
        if last < max(places.values()):
            axes.axvline(last + (1 + _APART) / 2, color=INK, linewidth=0.5, linestyle=(0, (2, 2)))


def category_bars(summaries: Measurements, sheet: Sheet = PAGE) -> Figure:
    """Top-1 of models on clean images, by category and on average, with the intervals of the frame.

    Args:
        summaries: from `summaries_frame`; its primary caption is printed below.
        sheet: what it is drawn for.

    Returns:
        A figure as wide as the sheet, with a bar for each model in every group.

    Raises:
        InputError: the frame holds none of these rows.
    """
    frame, measure = summaries.frame, summaries.task.primary
    kinds = ["clean", "category", "mean"]
    bars = frame[frame["kind"].isin(kinds)].sort_values("kind", key=lambda kind: kind.map(kinds.index), kind="stable")
    if not len(bars):
        raise InputError("category bars need the rows clean, mean or category of summaries_frame, got none")
    names, models = list(bars["name"].unique()), list(frame["model"].unique())
    width = 0.8 / len(models)
    with styled(sheet):
        figure = new_figure(sheet.width, 2.3 if sheet.narrow else 3.0)
        axes = figure.add_subplot()
        add_grid(axes)
        for number, model in enumerate(models):
            own = bars[bars["model"] == model].set_index("name")
            places = [names.index(name) + (number - (len(models) - 1) / 2) * width for name in own.index]
            _draw_bars(axes, np.array(places), own, measure.name, width, number, model)
        _name_bars(axes, names, sheet)
        axes.set_ylim(0, top_of_axis(bars[f"{measure.name}_high"].max()))
        axes.set_ylabel(f"{measure.short} (%)")
        finish(figure, axes, summaries.primary_caption, summaries.header)
    return figure


def severity_curves(cells: Measurements, sheet: Sheet = PAGE) -> Figure:
    """Top-1 against severity, one panel a corruption, one curve a model; severity 0 is clean.

    Accuracy need not fall with severity: snow is harder at 2 than at 3 by its published constants.

    Args:
        cells: from `cells_frame`; its caption is printed below.
        sheet: what it is drawn for.

    Returns:
        A figure as wide as the sheet, four or five panels across.

    Raises:
        InputError: the frame holds no corrupted cell.
    """
    frame, measure = cells.frame, cells.task.primary
    corruptions = [name for name in frame["corruption"].unique() if name != CLEAN[0]]
    if not corruptions:
        raise InputError("severity curves need at least one corruption, got only clean")
    models = list(frame["model"].unique())
    across = min(3, len(corruptions)) if sheet.narrow else panels_across(len(corruptions))
    down = -(-len(corruptions) // across)
    with styled(sheet):
        figure = new_figure(sheet.width, 0.5 + (1.05 if sheet.narrow else 1.35) * down)
        panels = figure.subplots(down, across, sharex=True, sharey=True, squeeze=False)
        for axes, corruption in zip(panels.flat, corruptions, strict=False):
            add_grid(axes)
            axes.set_title(in_words(str(corruption)), loc="left", pad=3)
            shown = frame[frame["corruption"].isin([corruption, CLEAN[0]])]
            for number, model in enumerate(models):
                own = shown[shown["model"] == model].sort_values("severity")
                draw_curve(axes, own, "severity", measure.name, number, model)
        panels[0, 0].set_xticks(range(6), ["0" if sheet.narrow else "clean", *"12345"])
        panels[0, 0].set_ylim(0, top_of_axis(frame[f"{measure.name}_high"].max()))
        for axes in panels[:, 0]:
            axes.set_ylabel(f"{measure.short} (%)")
        for axes in panels.flat[len(corruptions) - across : len(corruptions)]:
            axes.set_xlabel("severity, 0 clean" if sheet.narrow else "severity", labelpad=1)
            axes.tick_params(axis="x", labelsize=6.0 if sheet.narrow else 6.5, labelbottom=True)
        for axes in panels.flat[len(corruptions) :]:
            axes.remove()
        finish(figure, panels[0, 0], cells.caption, cells.header)
    return figure


def panels_across(count: int) -> int:
    """Four or five panels in a row, whichever leaves fewer gaps in the last one; less where there are fewer.

    Example:
        >>> panels_across(15), panels_across(16), panels_across(3)
        (5, 4, 3)
    """
    return min(count, min((4, 5), key=lambda number: -count % number))


def finish(figure: Figure, axes: Axes, words: str, header: str = "", room: float = 0.0) -> float:
    """Put the header and the legend of a panel above, the caption below, and the panels in the room between them.

    Args:
        figure: it is made higher by what is added.
        axes: the panel whose lines the legend names.
        words: the caption.
        header: what was evaluated.
        room: inches to leave between legend and panels.

    Returns:
        How far below the upper edge that room begins, in inches.
    """
    handles, labels = axes.get_legend_handles_labels()
    width, height = figure.get_size_inches()
    caption, heading = wrapped(words, width - 0.2), wrapped(header, width - 0.2)
    across = max(1, int((width - 0.2) / (_SIGN + _LETTER * max(map(len, labels), default=1))))
    legend_rows = -(-len(labels) // across)
    above = 0.08 + caption_height(heading) if heading else 0.0
    legend_height = 0.06 + 0.17 * legend_rows
    top, bottom = above + legend_height + room, 0.05 + (caption_height(caption) if caption else 0)
    figure.set_size_inches(width, height + top + bottom)
    height += top + bottom
    if labels:
        columns = -(-len(labels) // legend_rows)
        figure.legend(handles, labels, loc="upper center", ncols=columns, bbox_to_anchor=(0.5, 1 - above / height))
    add_caption(figure, caption, bottom=0.05)
    if heading:
        add_caption(figure, heading, bottom=height - above + 0.02)
    figure.set_layout_engine("constrained", rect=(0, bottom / height, 1, 1 - (top + bottom) / height))
    return above + legend_height

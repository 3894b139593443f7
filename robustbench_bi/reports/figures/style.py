"""One look for all figures: models differ in lightness and hatch first, in hue second, so that grey print will do."""

import re
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from robustbench_bi.errors import InputError
from robustbench_bi.ground.registry import unknown_name
from robustbench_bi.reports.figures.sheet import PAGE, WIDTH, Sheet

INK = "#222222"
GRID = "#d9d9d9"
CAPTION_SIZE = 6.5
_CAPTION_LINE = 0.115  # inches
_EXPECTED = "a style must be a matplotlib style file, with lines such as axes.grid: True"
_SETTINGS: dict[Any, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 8.0,
    "axes.titlesize": 8.0,
    "axes.labelsize": 8.0,
    "axes.edgecolor": INK,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "text.color": INK,
    "xtick.labelsize": 7.5,
    "ytick.labelsize": 7.5,
    "legend.fontsize": 7.5,
    "legend.frameon": False,
    "hatch.linewidth": 0.6,
}


# What becomes smaller in one column of a paper. No letter of any figure is below 6 points.
_NARROW_SIZES = dict.fromkeys(("font.size", "axes.titlesize", "axes.labelsize"), 7.0) | dict.fromkeys(
    ("xtick.labelsize", "ytick.labelsize", "legend.fontsize"), 6.5
)


@dataclass(frozen=True)
class Look:
    """How one model is drawn: fill and hatch of its bars; line colour, dashes and marker of its curves."""

    fill: str
    hatch: str
    line: str
    dashes: str | tuple[int, tuple[float, ...]]
    marker: str


# Lightness of the fills (CIELAB L*): 27, 80, 52, 93, 39, 69. Neighbours lie far apart, no two are alike, and red never
# stands beside green. Lines are darker, because a light line is lost on white; dashes and markers tell them apart.
LOOKS = (
    Look("#1f3f74", "", "#1f3f74", "-", "o"),
    Look("#f2c14e", "///", "#b07d00", "--", "s"),
    Look("#3a8785", "", "#2a7371", "-.", "^"),
    Look("#f6ead2", "...", "#8a7a55", ":", "D"),
    Look("#7d4a79", "\\\\\\", "#7d4a79", (0, (6, 1.5, 1, 1.5, 1, 1.5)), "v"),
    Look("#9fa9b8", "xxx", "#6b7585", (0, (1, 1)), "P"),
)


def look(number: int) -> Look:
    """The look of the model at a position; they repeat after six."""
    return LOOKS[number % len(LOOKS)]


def top_of_axis(highest: float) -> float:
    """Where an axis of percentages ends: at 100, or for weak networks a little above the highest value.

    Example:
        >>> [top_of_axis(highest) for highest in (3.1, 19.0, 38.0, 61.0)]
        [10.0, 20.0, 40.0, 100.0]
    """
    return next((top for top in (10.0, 20.0, 40.0) if highest <= top), 100.0)


@contextmanager
def styled(sheet: Sheet = PAGE) -> Iterator[None]:
    """Apply the style to what is drawn inside, and leave matplotlib's settings as they were.

    Raises:
        InputError: the sheet's style is not a matplotlib style file.
    """
    settings = _SETTINGS | (_NARROW_SIZES if sheet.narrow else {}) | read_style(sheet.style)
    with matplotlib.rc_context(settings):
        yield


def read_style(path: Path | None) -> dict[Any, Any]:
    """The settings of a matplotlib style file; none without one.

    Raises:
        InputError: it is missing, or no such file.
        UnknownNameError: a setting that matplotlib does not have.
    """
    if path is None:
        return {}
    if not path.is_file():
        raise InputError(f"{_EXPECTED}; there is no file {path}")
    try:
        # matplotlib itself passes over settings that it does not know.
        lines = [line.partition("#")[0] for line in path.read_text(encoding="utf-8").splitlines()]
        for key in (line.partition(":")[0].strip() for line in lines if line.strip()):
            if key not in matplotlib.rcParams:
                raise unknown_name("setting of matplotlib", key, list(matplotlib.rcParams))
        found = matplotlib.rc_params_from_file(path, fail_on_error=True, use_default_template=False)
    except (KeyError, ValueError, UnicodeDecodeError) as error:
        raise InputError(f"{_EXPECTED}; {path}: {' '.join(str(error).split())}") from error
    if not found:
        raise InputError(f"{_EXPECTED}; {path} sets nothing")
    return dict(found)


def new_figure(width: float, height: float) -> Figure:
    """An empty figure, size in inches, with a canvas of its own: pyplot's global state is not touched."""
    figure = Figure(figsize=(width, height))
    FigureCanvasAgg(figure)
    return figure


def width_of(axes: Axes) -> float:
    """The width of the figure that axes are in, in inches."""
    figure = axes.get_figure(root=True)
    return float(figure.get_figwidth()) if figure is not None else WIDTH


def add_grid(axes: Axes) -> None:
    """Light horizontal lines behind the data."""
    axes.grid(axis="y", color=GRID, linewidth=0.5)
    axes.tick_params(axis="both", length=2.5, width=0.6, color=INK)


def draw_curve(axes: Axes, points: pd.DataFrame, x: str, y: str, number: int, label: str | None = None) -> None:
    """Draw one model's points in its look, joined, with their intervals.

    Args:
        axes: to draw on.
        points: with the columns x, y, and the ends of y's intervals, "<y>_low" and "<y>_high".
        x: name of the column along the axis.
        y: name of the column above it.
        number: of the model, as for `look`.
        label: in the legend; None leaves the points out of it.
    """
    style = look(number)
    values = points[y].to_numpy()
    axes.errorbar(
        points[x],
        values,
        np.clip([values - points[f"{y}_low"], points[f"{y}_high"] - values], 0, None),
        label=label,
        color=style.line,
        linestyle=style.dashes,
        linewidth=1.1,
        marker=style.marker,
        markersize=3.2,
        markerfacecolor=style.fill,
        markeredgewidth=0.6,
        elinewidth=0.7,
    )


def wrapped(caption: str, width: float) -> str:
    """The caption broken into lines that fit a width in inches at the caption's size, but never within "n = 200".

    Example:
        >>> wrapped("Two networks on demo, n = 200", width=1.1).split("\\n")
        ['Two networks on demo,', 'n = 200']
    """
    held = re.sub(r" (?=[=<%])|(?<=[=<]) ", "\u00a0", caption)
    lines = textwrap.wrap(held, width=int(width * 72 / (CAPTION_SIZE * 0.53)))
    return "\n".join(lines).replace("\u00a0", " ")


def caption_height(caption: str) -> float:
    """Inches that the lines of a wrapped caption take.

    Example:
        >>> caption_height("Two lines\\nof text.")
        0.23
    """
    return _CAPTION_LINE * (caption.count("\n") + 1)


def add_caption(figure: Figure, caption: str, bottom: float) -> None:
    """Print a wrapped caption at the lower left, so many inches above the figure's edge."""
    width, height = figure.get_size_inches()
    figure.text(0.1 / width, bottom / height, caption, fontsize=CAPTION_SIZE, va="bottom", linespacing=1.15)


def name_in_lines(name: str, width: float, size: float) -> str:
    """A name broken into lines that fit a width in inches at a size, after underscores, hyphens, dots and the like.

    Example:
        >>> name_in_lines("binet50_dc_ca_without_sakg", width=1.25, size=7.5).split("\\n")
        ['binet50_dc_ca_', 'without_sakg']
    """
    letters = int(width * 72 / (size * 0.62))
    lines = [""]
    for part in re.findall(r"[^_\-.:/ ]*[_\-.:/ ]|[^_\-.:/ ]+", name):
        if lines[-1] and len(lines[-1]) + len(part.rstrip()) > letters:
            lines.append("")
        lines[-1] += part
    return "\n".join(line.rstrip() for line in lines)


def name_in_column(name: str, width: float, size: float) -> str:
    """`name_in_lines`, with parts that do not fit broken anywhere, since there is a neighbour on either side.

    Example:
        >>> name_in_column("averylongnamewithoutanyjoint", 0.9, 7.5).split("\\n")
        ['averylongname', 'withoutanyjoi', 'nt']
    """
    letters = max(1, int(width * 72 / (size * 0.62)))
    lines = name_in_lines(name, width, size).split("\n")
    return "\n".join(line[start : start + letters] for line in lines for start in range(0, max(len(line), 1), letters))

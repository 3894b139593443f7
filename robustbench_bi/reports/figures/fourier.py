"""Draw Fourier heat maps: error rates when one frequency is added to the images."""

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

from robustbench_bi.analysis.fourier import RINGS, FourierErrors, band_frame, error_frame
from robustbench_bi.errors import InputError
from robustbench_bi.reports.figures.sheet import PAGE, WIDTH, Sheet
from robustbench_bi.reports.figures.style import (
    INK,
    add_caption,
    add_grid,
    caption_height,
    draw_curve,
    name_in_lines,
    new_figure,
    styled,
    width_of,
    wrapped,
)

_CURVES = 2.2  # inches, the height of the lower panel
_CLEAN_PLACE = -0.075  # where the clean error stands on the axis of frequencies
_APART = 0.016  # of a cycle per pixel, shared out to the models, whose intervals would hide one another
_TICKS = (-0.5, 0, 0.5)
_COLOURS = "magma_r"


def fourier_figure(found: FourierErrors, sheet: Sheet = PAGE) -> Figure:
    """Fourier heat maps (Yin et al. 2019, Figs. 3 and 4), and the error against the length of the frequency.

    In a map, low frequencies are in the centre, and the axes are vertical and horizontal frequency in cycles per pixel;
    what was not measured stays white. The curves are means over rings, 1/32 of a cycle per pixel wide, with intervals;
    those of several models stand a little apart.

    Args:
        found: from `fourier_errors`.
        sheet: what it is drawn for.

    Returns:
        A figure as wide as the sheet, with a map for each model, up to four in a row, and the curves below; those of a
        single model stand beside its map. In one column of a paper two are in a row, and all curves are below.

    Raises:
        InputError: no frequency was added.
    """
    if not (found.frame["norm"] > 0).any():
        raise InputError("a Fourier heat map needs at least one frequency, got none")
    errors, curves = error_frame(found).frame, band_frame(found, RINGS)
    models = list(errors["model"].unique())
    # One scale for all, up to the next ten.
    top = 10 * np.ceil(max(errors["error"].max(), curves.frame["error_high"].max(), 10) / 10)
    across = min(2 if sheet.narrow else 4, max(2, len(models)))
    down = -(-len(models) // across)
    caption = wrapped(f"{curves.caption} The axes of the maps are in cycles per pixel.", sheet.width - 0.2)
    bottom = 0.12 + caption_height(caption)
    map_heights = down * ((sheet.width - 0.9) / across + 0.3)
    alone = len(models) == 1 and not sheet.narrow
    height = map_heights + (0 if alone else _CURVES) + bottom
    with styled(sheet):
        figure = new_figure(sheet.width, height)
        if alone:
            grid = figure.add_gridspec(1, 2)
        else:
            grid = figure.add_gridspec(down + 1, across, height_ratios=[map_heights / down] * down + [_CURVES])
        panels = [figure.add_subplot(grid[number // across, number % across]) for number in range(len(models))]
        _draw_maps(figure, panels, across, errors, top)
        _draw_curves(figure.add_subplot(grid[0, 1] if alone else grid[down, :]), curves.frame, models, top)
        add_caption(figure, caption, bottom=0.06)
        figure.set_layout_engine("constrained", rect=(0, bottom / height, 1, 1 - bottom / height))
    return figure


def _draw_maps(figure: Figure, panels: Sequence[Axes], across: int, errors: pd.DataFrame, top: float) -> None:
    """A map for each model, `across` in a row, and the scale that all share, up to `top`."""
    for axes, (model, own) in zip(panels, errors[errors["norm"] > 0].groupby("model", sort=False), strict=True):
        image = _draw_map(axes, own, top)
        axes.set_title(name_in_lines(str(model), 0.85 * width_of(axes) / across, 8), pad=3)
    for axes in panels[::across]:
        axes.set_ylabel("vertical", labelpad=0)
        axes.tick_params(labelleft=True)
    bar = figure.colorbar(image, ax=panels, fraction=0.02, pad=0.01)
    bar.set_label("error (%)")
    bar.outline.set_linewidth(0.6)


def _draw_map(axes: Axes, own: pd.DataFrame, top: float) -> AxesImage:
    """The error rates of one model over the plane of frequencies, 0 in the centre; `top` is the darkest."""
    side = int(own["side"].iloc[0])
    step = int(np.gcd.reduce(own[["vertical", "horizontal"]].to_numpy().ravel())) or 1
    reach = int(own[["vertical", "horizontal"]].abs().to_numpy().max()) // step
    errors = np.full((2 * reach + 1, 2 * reach + 1), np.nan)
    for vertical, horizontal, error in zip(own["vertical"], own["horizontal"], own["error"], strict=True):
        for row, column in _same_as(vertical, horizontal, side):
            errors[reach + row // step, reach + column // step] = error
    edge = (reach + 0.5) * step / side
    extent = (-edge, edge, -edge, edge)
    image = axes.imshow(errors, cmap=_COLOURS, vmin=0, vmax=top, extent=extent, origin="lower", interpolation="none")
    ticks = [tick for tick in _TICKS if abs(tick) <= edge]
    labels = [f"{tick:g}".replace("-", "−") for tick in ticks]
    axes.set_xticks(ticks, labels)
    axes.set_yticks(ticks, labels)
    axes.tick_params(length=2.5, width=0.6, labelleft=False)
    axes.set_xlabel("horizontal", labelpad=1)
    return image


def _same_as(vertical: int, horizontal: int, side: int) -> Iterator[tuple[int, int]]:
    """Where a frequency stands in the map: itself, its mirror image, and half the side at both edges."""
    for sign in (1, -1):
        for row in {sign * vertical} | ({vertical, -vertical} if 2 * abs(vertical) == side else set()):
            for column in {sign * horizontal} | ({horizontal, -horizontal} if 2 * abs(horizontal) == side else set()):
                yield row, column


def _draw_curves(axes: Axes, rings: pd.DataFrame, models: Sequence[str], top: float) -> None:
    """Error against the length of the frequency; the clean error stands apart, at the left."""
    add_grid(axes)
    for number, model in enumerate(models):
        own = rings[rings["model"] == model]
        clean = own["band"] == "clean"
        apart = _APART * (number - (len(models) - 1) / 2) / len(models)
        rings_apart = own[~clean].assign(frequency=own["frequency"] + apart)
        draw_curve(axes, rings_apart, "frequency", "error", number, model)
        beside = own[clean].assign(frequency=_CLEAN_PLACE + apart)
        draw_curve(axes, beside, "frequency", "error", number)
    axes.axvline(_CLEAN_PLACE / 2, color=INK, linewidth=0.5, linestyle=(0, (2, 2)))
    step = 0.125 if width_of(axes) > WIDTH / 2 else 0.25
    ticks = np.arange(0, rings["frequency"].max() + 0.01, step)
    axes.set_xticks([_CLEAN_PLACE, *ticks], ["clean", *(f"{tick:g}" for tick in ticks)])
    axes.set(xlabel="frequency (cycles per pixel)", ylabel="error (%)", ylim=(0, top))
    # Above the axes: what "best" finds may cover intervals.
    axes.legend(ncols=2, loc="lower right", bbox_to_anchor=(1, 1), borderaxespad=0.2)

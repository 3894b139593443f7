"""Heat maps of features: how much of the clean one is left, over a set of images, and the figure of a few.

What is drawn here comes from `robustbench_bi.probes.heatmaps`, which runs the networks; this file needs no torch.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from robustbench_bi.errors import InputError
from robustbench_bi.metrics.intervals import Floats, Resampling, bootstrap_means
from robustbench_bi.records import CLEAN
from robustbench_bi.reports.display import format_interval
from robustbench_bi.reports.style import CAPTION_SIZE, new_figure, styled, wrapped
from robustbench_bi.reports.write import write_csv, write_figure

ANOTHER_IMAGE = ("another_image", 0)
"""The cell of correlations between clean maps of two different images: the level that says nothing."""

_WIDTH = 7.2
_SIDES = (0.95, 1.38)  # inches; bounds of a picture's side
_LABEL = 0.2  # inches, for a line of text beside or above a picture
_NUMBER_SIZE = 6.0
_LUMINANCE = (0.299, 0.587, 0.114)
_COLOURS, _OPACITY = "inferno", 0.65
_WHITE = 350  # shown as white, so that a bright picture does not wash out the colours laid over it
_NUMBERS = 0.27  # inches, for the two lines below a heat map
_READING = (
    "r: Pearson's correlation of the heat map with the clean one, over the positions; below it the mean over the n "
    "images with its interval, and below a clean map the mean for two different images. Each map has a colour scale of "
    "its own."
)


def correlation_frame(correlations: pd.DataFrame, resampling: Resampling | None = None) -> pd.DataFrame:
    """Mean correlations over a set of images, with intervals, and what each model has over the first.

    Args:
        correlations: one row a model, image and corruption: model, layer, image_id, corruption, severity, correlation,
            NaN where it is not defined.
        resampling: of the intervals; images are resampled, all models and corruptions together.

    Returns:
        One row a model and corruption, in the order in which they come: model, layer, corruption, severity, n (images
        with a defined correlation), undefined (the others), correlation (mean), correlation_low, correlation_high;
        delta, delta_low, delta_high: the mean difference to the first model, over images defined for both.

    Raises:
        InputError: there is nothing to summarise.

    Example:
        >>> frame = pd.DataFrame({"model": "a", "layer": "layer3.5", "image_id": range(4), "corruption": "fog",
        ...     "severity": 3, "correlation": [0.5, 0.7, 0.6, np.nan]})
        >>> correlation_frame(frame)[["n", "undefined", "correlation"]].round(3).values.tolist()
        [[3.0, 1.0, 0.6]]
    """
    if not len(correlations):
        raise InputError("a summary of heat maps needs correlations, got none")
    keys = ["model", "layer", "corruption", "severity"]
    table = correlations.pivot(index="image_id", columns=keys, values="correlation")
    table = table[list(correlations[keys].drop_duplicates().itertuples(index=False, name=None))]
    first_model = correlations["model"].iloc[0]
    reference = {column[2:]: place for place, column in enumerate(table.columns) if column[0] == first_model}
    values = table.to_numpy(dtype=np.float64)
    delta = values - values[:, [reference[column[2:]] for column in table.columns]]
    resampling = resampling or Resampling()
    frame = table.columns.to_frame(index=False)
    defined = np.isfinite(values).sum(axis=0)
    frame["n"], frame["undefined"] = defined, len(values) - defined
    for name, scores in (("correlation", values), ("delta", delta)):
        frame[name], frame[f"{name}_low"], frame[f"{name}_high"] = _means_of_defined(scores, resampling)
    frame.loc[frame["model"] == first_model, ["delta", "delta_low", "delta_high"]] = np.nan
    frame.attrs["caption"] = (
        f"{correlations.attrs.get('caption', '')} {resampling.confidence * 100:g} % intervals: percentile bootstrap "
        f"over images ({resampling.repeats:,} resamples)."
    ).strip()
    return frame


def _means_of_defined(scores: Floats, resampling: Resampling) -> tuple[Floats, Floats, Floats]:
    """Means (S,) over the finite scores (n, S) of each column, and the ends of their intervals; NaN where none are.

    A resample's mean is over the finite scores that it holds, so it is a ratio of two means over all images.
    """
    defined = np.isfinite(scores)
    both = np.hstack([np.where(defined, scores, 0.0), defined])
    with np.errstate(invalid="ignore"):
        mean = np.divide(*np.split(both.mean(axis=0), 2))
        if len(scores) < 2:
            return mean, np.full_like(mean, np.nan), np.full_like(mean, np.nan)
        means = np.divide(*np.split(bootstrap_means(both, resampling), 2, axis=1))
    tail = (1 - resampling.confidence) / 2
    low, high = np.quantile(means, [tail, 1 - tail], axis=0)
    return mean, low, high


def heat_map_frame(grid: pd.DataFrame, summary: pd.DataFrame) -> pd.DataFrame:
    """What the figure is drawn from: the maps of a few pictures, each with the mean over the set.

    Args:
        grid: one row a picture, model and cell: picture, model, layer, corruption, severity, image (uint8 (S, S, 3)),
            heat (float (h, w)), correlation.
        summary: from `correlation_frame`. A clean map stands beside the correlation of two different images.

    Returns:
        `grid` with the columns mean, mean_low, mean_high, n.
    """
    columns = {"correlation": "mean", "correlation_low": "mean_low", "correlation_high": "mean_high"}
    means = summary.rename(columns=columns)[["model", "corruption", *columns.values(), "n"]]
    means = means.replace({"corruption": {ANOTHER_IMAGE[0]: CLEAN[0]}})
    joined = grid.merge(means, on=["model", "corruption"], how="left")
    joined.attrs = dict(summary.attrs)
    return joined


def heat_maps_figure(frame: pd.DataFrame) -> Figure:
    """Heat maps laid over their pictures, as Fig. 4 (left) of the Bi-volution paper, with their correlations.

    A block of rows a picture: the picture, then a row for each model; a column for each cell, clean first. Every map
    has its own colour scale, from its least to its greatest value, since a correlation does not see the scale either.

    Args:
        frame: from `heat_map_frame`; its caption is printed below.

    Returns:
        A figure, 7.2 inches wide for up to six cells.

    Raises:
        InputError: the frame is empty.
    """
    if not len(frame):
        raise InputError("the figure needs at least one heat map, got none")
    cells = list(dict.fromkeys(zip(frame["corruption"], frame["severity"], strict=True)))
    models = list(frame["model"].unique())
    blocks = [block for _, block in frame.groupby("picture", sort=False)]
    side = float(np.clip((_WIDTH - _LABEL) / len(cells), *_SIDES))
    width = max(_LABEL + side * len(cells), _WIDTH)
    caption = wrapped(f"{frame.attrs.get('caption', '')} {_READING}".strip(), width - 0.2)
    bottom = 0.12 + 0.115 * (caption.count("\n") + 1)
    height = bottom + len(blocks) * (_LABEL + side + (side + _NUMBERS) * len(models))
    with styled():
        figure = new_figure(width, height)
        panels = figure.subplots(len(blocks) * (1 + len(models)), len(cells), squeeze=False)
        for axes in panels.flat:
            axes.set(xticks=[], yticks=[])
            axes.spines[:].set_visible(False)
        for (corruption, _), axes in zip(cells, panels[0], strict=True):
            axes.set_title("clean" if corruption == CLEAN[0] else corruption, pad=2)
        for block, rows in zip(blocks, np.split(panels, len(blocks)), strict=True):
            for column, (corruption, severity) in enumerate(cells):
                own = block[(block["corruption"] == corruption) & (block["severity"] == severity)]
                _draw_column(own.set_index("model").loc[models], rows[:, column])
            for model, axes in zip(models, rows[1:, 0], strict=True):
                axes.set_ylabel(model.replace(":", ":\n"), labelpad=2)
        figure.text(0.1 / width, 0.06 / height, caption, fontsize=CAPTION_SIZE, va="bottom", linespacing=1.15)
        above = (height - bottom - 0.03) / height
        figure.set_layout_engine(
            "compressed", rect=(0, bottom / height, 1, above), w_pad=0.02, h_pad=0.01, wspace=0, hspace=0
        )
    return figure


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
    axes.imshow(image @ np.array(_LUMINANCE), cmap="gray", vmin=0, vmax=_WHITE, extent=extent)
    axes.imshow(heat, cmap=_COLOURS, alpha=_OPACITY, interpolation="bilinear", extent=extent)


def display_correlations(frame: pd.DataFrame) -> pd.DataFrame:
    """`correlation_frame` as text.

    Args:
        frame: one row a model and corruption.

    Returns:
        A frame of strings.
    """
    first = frame["model"].iloc[0]
    shown = frame[["model", "corruption"]].replace({"corruption": {ANOTHER_IMAGE[0]: "another image"}})
    shown["n"] = [f"{n:,}" for n in frame["n"]]
    for name, heading in (("correlation", "r with clean"), ("delta", f"Δ to {first}")):
        columns = [name, f"{name}_low", f"{name}_high"]
        shown[heading] = [
            format_interval(*row, signed=name == "delta", decimals=3)
            for row in frame[columns].itertuples(index=False, name=None)
        ]
    return shown if frame["model"].nunique() > 1 else shown.drop(columns=f"Δ to {first}")


def write_heat_maps(correlations: pd.DataFrame, grid: pd.DataFrame, out: Path) -> tuple[pd.DataFrame, list[Path]]:
    """Write the tables and the figure of heat maps.

    Args:
        correlations: one row a model, image and corruption, see `correlation_frame`.
        grid: the maps of a few pictures, see `heat_map_frame`.
        out: folder for heatmaps.csv (means over the set), heatmaps_images.csv (each image), heatmaps.png and .svg.

    Returns:
        `correlation_frame`, and the paths that were written.

    Raises:
        DataError: a file cannot be written.
    """
    summary = correlation_frame(correlations)
    tables = {out / "heatmaps.csv": summary, out / "heatmaps_images.csv": correlations}
    for path, table in tables.items():
        write_csv(table, path)
    figure = heat_maps_figure(heat_map_frame(grid, summary))
    return summary, [*tables, *write_figure(figure, out / "heatmaps")]

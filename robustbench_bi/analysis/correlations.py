"""Summaries of heat maps, with intervals: how much of the clean one is left under corruption, over a set of images."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from robustbench_bi.analysis.result import Result
from robustbench_bi.errors import InputError
from robustbench_bi.ground.cells import CLEAN
from robustbench_bi.metrics.intervals import Floats, Resampling, bootstrap_means

ANOTHER_IMAGE = ("another_image", 0)
"""In the place of a cell, for correlations between clean maps of two different images: the level that says nothing."""


@dataclass(frozen=True, eq=False)
class HeatMaps:
    """Heat maps of a layer, compared with those of the clean images.

    Attributes:
        correlations: one row a model, image and corruption: model, layer, image_id, corruption, severity, correlation
            (of the heat map with that of the clean image; NaN where one of them is constant). The rows of
            `ANOTHER_IMAGE`, severity 0, hold the correlation of clean maps of two different images, the level that says
            nothing.
        grid: one row a picture shown, model and cell, clean first: picture (its number), model, layer, corruption,
            severity, image (uint8 (S, S, 3)), heat (float32 (h, w)), correlation.
        caption: what all are of.
    """

    correlations: pd.DataFrame
    grid: pd.DataFrame
    caption: str = ""


def correlation_frame(found: HeatMaps, resampling: Resampling | None = None) -> Result:
    """Mean correlations over a set of images, with intervals, and what each model has over the first.

    Args:
        found: from `heat_maps`.
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
        >>> summary = correlation_frame(HeatMaps(frame, grid=pd.DataFrame())).frame
        >>> summary[["n", "undefined", "correlation"]].round(3).values.tolist()
        [[3.0, 1.0, 0.6]]
    """
    correlations = found.correlations
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
    caption = (
        f"{found.caption} {resampling.confidence * 100:g} % intervals: percentile bootstrap over images "
        f"({resampling.repeats:,} resamples)."
    )
    return Result(frame, caption.strip())


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


def heat_map_frame(found: HeatMaps, summary: Result) -> Result:
    """What the figure is drawn from: the maps of a few pictures, each with the mean over the set.

    Args:
        found: from `heat_maps`.
        summary: its `correlation_frame`. A clean map stands beside the correlation of two different images.

    Returns:
        The grid with the columns mean, mean_low, mean_high, n, and the caption of the summary.
    """
    columns = {"correlation": "mean", "correlation_low": "mean_low", "correlation_high": "mean_high"}
    means = summary.frame.rename(columns=columns)[["model", "corruption", *columns.values(), "n"]]
    means = means.replace({"corruption": {ANOTHER_IMAGE[0]: CLEAN[0]}})
    return Result(found.grid.merge(means, on=["model", "corruption"], how="left"), summary.caption)

"""The cells in which runs lose most of their clean accuracy."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from robustbench_bi.analysis.captions import run_labels
from robustbench_bi.analysis.groups import cell_groups, weight_matrix
from robustbench_bi.ground.cells import CLEAN, Cell
from robustbench_bi.metrics import load_scores
from robustbench_bi.metrics.intervals import (
    Floats,
    Resampling,
    arrange,
    bootstrap_interval,
    image_scores,
)
from robustbench_bi.runs.run import Run

DROPS = ("model", "corruption", "severity", "n", "clean_top1", "top1", "delta", "delta_low", "delta_high")


def drops_frame(runs: Sequence[Run], resampling: Resampling | None = None, number: int = 5) -> pd.DataFrame:
    """The cells in which runs lose most of their clean top-1, paired by image.

    They are picked because they look worst, so the true drops are, on the whole, a little smaller than these.

    Args:
        runs: finished runs; those without clean or without corrupted cells are passed over.
        resampling: of the intervals.
        number: cells picked for each run; shown are all that were picked for one of them.

    Returns:
        A row for each cell and run, the largest mean drop first: model, corruption, severity, n, clean_top1, top1
        (percent), delta, delta_low, delta_high (points).
    """
    resampling = resampling or Resampling()
    losses: dict[str, tuple[Floats, Floats, list[Cell]]] = {}
    picked: set[Cell] = set()
    for label, run in zip(run_labels(runs), runs, strict=True):
        records = run.records()
        grid = arrange(records)
        cells = [cell for cell in grid.cells if cell != CLEAN]
        if not cells or len(cells) == len(grid.cells):
            continue
        weights = weight_matrix(cell_groups([CLEAN, *cells]), grid.cells)
        top1 = image_scores(records, grid, load_scores("top1"), weights)
        losses[label] = top1[:, 0], top1[:, 1:] - top1[:, :1], cells
        picked |= {cells[place] for place in np.argsort(top1[:, 1:].mean(axis=0), kind="stable")[:number]}
    if not losses:
        return pd.DataFrame(columns=DROPS)
    joined = pd.concat([_drops(label, *loss, picked, resampling) for label, loss in losses.items()], ignore_index=True)
    order = joined.groupby(["corruption", "severity"])["delta"].transform("mean")
    return joined.iloc[np.argsort(order, kind="stable")].reset_index(drop=True)


def _drops(
    label: str, clean: Floats, losses: Floats, cells: Sequence[Cell], picked: set[Cell], resampling: Resampling
) -> pd.DataFrame:
    """The rows of one run, from its per-image clean score (n,) and differences to it (n, cells)."""
    places = [place for place, cell in enumerate(cells) if cell in picked]
    own = losses[:, places]
    top1, delta = clean.mean() + own.mean(axis=0), own.mean(axis=0)
    columns = (label, *zip(*(cells[place] for place in places), strict=True), len(own), clean.mean(), top1, delta)
    return pd.DataFrame(dict(zip(DROPS, (*columns, *bootstrap_interval(own, resampling)), strict=True)))

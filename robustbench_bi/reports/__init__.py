"""Reports from records: frames, figures and files, without torch and without images.

Example:
    >>> FIGURES["fig3"].frame
    'comparison'
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from robustbench_bi.ground.registry import Table


@dataclass(frozen=True)
class FigureRow:
    """A row of `FIGURES`.

    Attributes:
        name: its name on the command line and its file name without suffix.
        code: the function, what it is drawn from → matplotlib Figure.
        frame: what it is drawn from. Of finished runs of any task: "comparison" (`comparison_frame`), "cells"
            (`cells_frame`) or "summaries" (`summaries_frame`), of which it shows the primary number; of tasks that have
            "reliability", "reliability" (`reliability_frame`); of what a probe measured, by a command of its own:
            "spectra" (`spectra_frame`), "heat_maps" (`heat_map_frame`) or "fourier" (`FourierErrors`).
        summary: one line for `bivo-robust list figures`.
    """

    name: str
    code: str
    frame: Literal["comparison", "cells", "summaries", "reliability", "spectra", "heat_maps", "fourier"]
    summary: str


_FIGURES = "robustbench_bi.reports.figures.accuracy"
_SUMMARY_FIGURES = "robustbench_bi.reports.figures.summaries"

FIGURES = Table(
    "figure",
    [
        FigureRow(
            "fig3",
            f"{_FIGURES}:figure_3",
            "comparison",
            "Δ top-1 over a baseline by noise and category, as Fig. 3 of the Bi-volution paper, with intervals",
        ),
        FigureRow(
            "severity_curves", f"{_FIGURES}:severity_curves", "cells", "top-1 against severity, a panel a corruption"
        ),
        FigureRow(
            "category_bars",
            f"{_FIGURES}:category_bars",
            "summaries",
            "top-1 on clean images, by category and on average",
        ),
        FigureRow(
            "heat_table",
            f"{_SUMMARY_FIGURES}:heat_table",
            "summaries",
            "models × corruptions: top-1 with intervals, the darker the lower",
        ),
        FigureRow(
            "reliability_diagram",
            f"{_SUMMARY_FIGURES}:reliability_diagram",
            "reliability",
            "accuracy against confidence, clean and corrupted, with n of each bin",
        ),
        FigureRow(
            "spectra",
            "robustbench_bi.reports.figures.spectra:spectra",
            "spectra",
            "power of clean and corrupted pictures against frequency, and their ratio: see `bivo-robust spectra`",
        ),
        FigureRow(
            "heatmaps",
            "robustbench_bi.reports.figures.heatmaps:heat_maps_figure",
            "heat_maps",
            "features over pictures, clean and corrupted, with correlations: see `bivo-robust heatmaps`",
        ),
        FigureRow(
            "fourier",
            "robustbench_bi.reports.figures.fourier:fourier_figure",
            "fourier",
            "errors by the frequency that is added (Yin et al. 2019): see `bivo-robust fourier`",
        ),
    ],
    aliases={"figure_3": "fig3"},
)

"""Reports from records: frames, figures and files, without torch and without images.

Example:
    >>> FIGURES["fig3"].frame
    'comparison'
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from robustbench_bi.ground.exports import exported
from robustbench_bi.ground.registry import Table

if TYPE_CHECKING:
    from robustbench_bi.reports.figures.accuracy import category_bars, figure_3, figure_3_of_paper, severity_curves
    from robustbench_bi.reports.figures.fourier import fourier_figure
    from robustbench_bi.reports.figures.gallery import gallery_sheet
    from robustbench_bi.reports.figures.heatmaps import heat_maps_figure
    from robustbench_bi.reports.figures.spectra import spectra as spectra_figure
    from robustbench_bi.reports.figures.summaries import heat_table, reliability_diagram
    from robustbench_bi.reports.report import write_report
    from robustbench_bi.reports.tables.display import display_comparison, display_summary, markdown_table
    from robustbench_bi.reports.tables.fourier import display_bands as display_fourier_bands
    from robustbench_bi.reports.tables.gate import display_gate
    from robustbench_bi.reports.tables.heatmaps import display_correlations
    from robustbench_bi.reports.tables.spectra import display_bands as display_spectra_bands
    from robustbench_bi.reports.write import (
        write_comparison,
        write_csv,
        write_figure,
        write_fourier,
        write_heat_maps,
        write_markdown,
        write_spectra,
    )


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
            "Δ top-1 vs. a baseline by noise and category, as in Fig. 3 of the Bi-volution paper, with intervals",
        ),
        FigureRow(
            "fig3_paper",
            f"{_FIGURES}:figure_3_of_paper",
            "comparison",
            "the same in the paper's own form: only its seven bars, grouped by category, with intervals",
        ),
        FigureRow(
            "severity_curves",
            f"{_FIGURES}:severity_curves",
            "cells",
            "top-1 against severity, one panel per corruption",
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
            "models × corruptions: top-1 with intervals; darker is lower",
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
            "power of clean and corrupted images against frequency, and their ratio: see `bivo-robust spectra`",
        ),
        FigureRow(
            "heatmaps",
            "robustbench_bi.reports.figures.heatmaps:heat_maps_figure",
            "heat_maps",
            "features over images, clean and corrupted, with correlations: see `bivo-robust heatmaps`",
        ),
        FigureRow(
            "fourier",
            "robustbench_bi.reports.figures.fourier:fourier_figure",
            "fourier",
            "error rate by added frequency (Yin et al. 2019): see `bivo-robust fourier`",
        ),
    ],
    aliases={"figure_3": "fig3"},
)

_HOMES = {
    "category_bars": "robustbench_bi.reports.figures.accuracy",
    "display_comparison": "robustbench_bi.reports.tables.display",
    "display_correlations": "robustbench_bi.reports.tables.heatmaps",
    "display_fourier_bands": "robustbench_bi.reports.tables.fourier:display_bands",
    "display_gate": "robustbench_bi.reports.tables.gate",
    "display_spectra_bands": "robustbench_bi.reports.tables.spectra:display_bands",
    "display_summary": "robustbench_bi.reports.tables.display",
    "figure_3": "robustbench_bi.reports.figures.accuracy",
    "figure_3_of_paper": "robustbench_bi.reports.figures.accuracy",
    "fourier_figure": "robustbench_bi.reports.figures.fourier",
    "gallery_sheet": "robustbench_bi.reports.figures.gallery",
    "heat_maps_figure": "robustbench_bi.reports.figures.heatmaps",
    "heat_table": "robustbench_bi.reports.figures.summaries",
    "markdown_table": "robustbench_bi.reports.tables.display",
    "reliability_diagram": "robustbench_bi.reports.figures.summaries",
    "severity_curves": "robustbench_bi.reports.figures.accuracy",
    "spectra_figure": "robustbench_bi.reports.figures.spectra:spectra",
    "write_comparison": "robustbench_bi.reports.write",
    "write_csv": "robustbench_bi.reports.write",
    "write_figure": "robustbench_bi.reports.write",
    "write_fourier": "robustbench_bi.reports.write",
    "write_heat_maps": "robustbench_bi.reports.write",
    "write_markdown": "robustbench_bi.reports.write",
    "write_report": "robustbench_bi.reports.report",
    "write_spectra": "robustbench_bi.reports.write",
}

__all__ = [
    "FIGURES",
    "FigureRow",
    "category_bars",
    "display_comparison",
    "display_correlations",
    "display_fourier_bands",
    "display_gate",
    "display_spectra_bands",
    "display_summary",
    "figure_3",
    "figure_3_of_paper",
    "fourier_figure",
    "gallery_sheet",
    "heat_maps_figure",
    "heat_table",
    "markdown_table",
    "reliability_diagram",
    "severity_curves",
    "spectra_figure",
    "write_comparison",
    "write_csv",
    "write_figure",
    "write_fourier",
    "write_heat_maps",
    "write_markdown",
    "write_report",
    "write_spectra",
]


def __getattr__(name: str) -> Any:
    return exported(__name__, _HOMES, name)


def __dir__() -> list[str]:
    return sorted(__all__)

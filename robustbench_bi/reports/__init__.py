"""Reports from records: frames, figures and files, without torch and without images.

Example:
    >>> FIGURES["fig3"].frame
    'comparison'
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from robustbench_bi.registry import Table


@dataclass(frozen=True)
class FigureRow:
    """A row of `FIGURES`.

    Attributes:
        name: its name on the command line and its file name without suffix.
        code: the function, frame → matplotlib Figure.
        frame: what it is drawn from: "comparison" (`comparison_frame`) or "cells" (`cells_frame`).
        summary: one line for `bivo-robust list figures`.
    """

    name: str
    code: str
    frame: Literal["comparison", "cells"]
    summary: str


_FIGURES = "robustbench_bi.reports.figures"

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
    ],
    aliases={"figure_3": "fig3"},
)

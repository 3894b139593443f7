"""From records to frames: summaries, comparisons, the gate. No torch, no images, nothing drawn."""

from typing import TYPE_CHECKING, Any

from robustbench_bi.ground.exports import exported

if TYPE_CHECKING:
    from robustbench_bi.analysis.baseline import Outcomes, outcomes_of, read_baseline, write_baseline
    from robustbench_bi.analysis.captions import run_labels
    from robustbench_bi.analysis.categories import categories_frame
    from robustbench_bi.analysis.chosen_comparison import chosen_comparison as chosen_comparison_frame
    from robustbench_bi.analysis.comparison import Comparison, comparison_frame
    from robustbench_bi.analysis.correlations import HeatMaps, correlation_frame, heat_map_frame
    from robustbench_bi.analysis.drops import drops_frame
    from robustbench_bi.analysis.effective_robustness import effective_robustness_of
    from robustbench_bi.analysis.fourier import FourierErrors
    from robustbench_bi.analysis.fourier import band_frame as fourier_bands_frame
    from robustbench_bi.analysis.fourier import error_frame as fourier_error_frame
    from robustbench_bi.analysis.gate import Gate, gate_frame
    from robustbench_bi.analysis.measured import Measurements
    from robustbench_bi.analysis.reliability import reliability_frame
    from robustbench_bi.analysis.result import Result
    from robustbench_bi.analysis.score import read_cells
    from robustbench_bi.analysis.score import score as score_cells
    from robustbench_bi.analysis.score_detection import read_detection_cells
    from robustbench_bi.analysis.score_detection import score_detection as score_detector_cells
    from robustbench_bi.analysis.spectra import bands_frame as spectra_bands_frame
    from robustbench_bi.analysis.spectra import spectra_frame
    from robustbench_bi.analysis.summary import cells_frame, summaries_frame, summary_frame
    from robustbench_bi.analysis.text import format_interval, format_p_value

_HOMES = {
    "Comparison": "robustbench_bi.analysis.comparison",
    "FourierErrors": "robustbench_bi.analysis.fourier",
    "Gate": "robustbench_bi.analysis.gate",
    "HeatMaps": "robustbench_bi.analysis.correlations",
    "Measurements": "robustbench_bi.analysis.measured",
    "Outcomes": "robustbench_bi.analysis.baseline",
    "Result": "robustbench_bi.analysis.result",
    "categories_frame": "robustbench_bi.analysis.categories",
    "cells_frame": "robustbench_bi.analysis.summary",
    "chosen_comparison_frame": "robustbench_bi.analysis.chosen_comparison:chosen_comparison",
    "comparison_frame": "robustbench_bi.analysis.comparison",
    "correlation_frame": "robustbench_bi.analysis.correlations",
    "drops_frame": "robustbench_bi.analysis.drops",
    "effective_robustness_of": "robustbench_bi.analysis.effective_robustness",
    "format_interval": "robustbench_bi.analysis.text",
    "format_p_value": "robustbench_bi.analysis.text",
    "fourier_bands_frame": "robustbench_bi.analysis.fourier:band_frame",
    "fourier_error_frame": "robustbench_bi.analysis.fourier:error_frame",
    "gate_frame": "robustbench_bi.analysis.gate",
    "heat_map_frame": "robustbench_bi.analysis.correlations",
    "outcomes_of": "robustbench_bi.analysis.baseline",
    "read_baseline": "robustbench_bi.analysis.baseline",
    "read_cells": "robustbench_bi.analysis.score",
    "read_detection_cells": "robustbench_bi.analysis.score_detection",
    "reliability_frame": "robustbench_bi.analysis.reliability",
    "run_labels": "robustbench_bi.analysis.captions",
    "score_cells": "robustbench_bi.analysis.score:score",
    "score_detector_cells": "robustbench_bi.analysis.score_detection:score_detection",
    "spectra_bands_frame": "robustbench_bi.analysis.spectra:bands_frame",
    "spectra_frame": "robustbench_bi.analysis.spectra",
    "summaries_frame": "robustbench_bi.analysis.summary",
    "summary_frame": "robustbench_bi.analysis.summary",
    "write_baseline": "robustbench_bi.analysis.baseline",
}

__all__ = [
    "Comparison",
    "FourierErrors",
    "Gate",
    "HeatMaps",
    "Measurements",
    "Outcomes",
    "Result",
    "categories_frame",
    "cells_frame",
    "chosen_comparison_frame",
    "comparison_frame",
    "correlation_frame",
    "drops_frame",
    "effective_robustness_of",
    "format_interval",
    "format_p_value",
    "fourier_bands_frame",
    "fourier_error_frame",
    "gate_frame",
    "heat_map_frame",
    "outcomes_of",
    "read_baseline",
    "read_cells",
    "read_detection_cells",
    "reliability_frame",
    "run_labels",
    "score_cells",
    "score_detector_cells",
    "spectra_bands_frame",
    "spectra_frame",
    "summaries_frame",
    "summary_frame",
    "write_baseline",
]


def __getattr__(name: str) -> Any:
    return exported(__name__, _HOMES, name)


def __dir__() -> list[str]:
    return sorted(__all__)

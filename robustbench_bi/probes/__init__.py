"""Probes: why a network errs under corruption.

Which frequencies a corruption touches (`spectra`), what a layer keeps of a picture (`heatmaps`), and which frequencies
mislead a network (`fourier`). Probes read pictures, run corruptions and networks, and hand out what they measured. The
files of the same names under `analysis` summarise it with intervals, and those under `reports` draw it and show it as
text, all without torch.
"""

from typing import TYPE_CHECKING, Any

from robustbench_bi.ground.exports import exported

if TYPE_CHECKING:
    from robustbench_bi.probes.features import REDUCTIONS
    from robustbench_bi.probes.fourier import fourier_errors
    from robustbench_bi.probes.frequencies import add_frequency, fourier_basis
    from robustbench_bi.probes.heatmaps import heat_maps
    from robustbench_bi.probes.spectra import picture_spectra

_HOMES = {
    "REDUCTIONS": "robustbench_bi.probes.features",
    "add_frequency": "robustbench_bi.probes.frequencies",
    "fourier_basis": "robustbench_bi.probes.frequencies",
    "fourier_errors": "robustbench_bi.probes.fourier",
    "heat_maps": "robustbench_bi.probes.heatmaps",
    "picture_spectra": "robustbench_bi.probes.spectra",
}

__all__ = [
    "REDUCTIONS",
    "add_frequency",
    "fourier_basis",
    "fourier_errors",
    "heat_maps",
    "picture_spectra",
]


def __getattr__(name: str) -> Any:
    return exported(__name__, _HOMES, name)


def __dir__() -> list[str]:
    return sorted(__all__)

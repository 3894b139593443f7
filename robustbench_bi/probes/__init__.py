"""Probes: why a network errs under corruption.

Which frequencies a corruption touches (`spectra`), what a layer keeps of a picture (`heatmaps`), and which frequencies
mislead a network (`fourier`). Probes read pictures, run corruptions and networks, and hand out what they measured. The
files of the same names under `analysis` summarise it with intervals, and those under `reports` draw it and show it as
text, all without torch.
"""

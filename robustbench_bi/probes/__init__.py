"""Probes: why a network errs under corruption.

Which frequencies a corruption touches (`spectra`), what a layer keeps of a picture (`heatmaps`), and which frequencies
mislead a network (`fourier`). Probes run corruptions and networks and hand out frames; the files of the same names
under `reports` draw them without torch.
"""

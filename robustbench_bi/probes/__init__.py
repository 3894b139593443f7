"""Probes: why a network errs under corruption.

What a layer keeps of a picture (`heatmaps`), and which frequencies mislead a network (`fourier`). Probes run networks
and hand out frames; the files of the same names under `reports` draw them without torch.
"""

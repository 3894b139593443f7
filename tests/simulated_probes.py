"""What probes might have measured: errors by frequency, and correlations of heat maps."""

import numpy as np
import pandas as pd

from robustbench_bi.analysis.correlations import ANOTHER_IMAGE

N = 40


def simulated(models=("a", "b"), side=32, step=4, chance=lambda length: 0.1 + length / 2):
    """Simulated results: the chance of an error is a function of the frequency's length in cycles per pixel."""
    random = np.random.default_rng(0)
    half = side // 2
    pairs = [
        (vertical, horizontal)
        for vertical in range(0, half + 1, step)
        for horizontal in range(-half + step, half + 1, step)
        if horizontal >= 0 or 0 < vertical < half
    ]
    pairs.sort(key=lambda pair: (np.hypot(*pair), pair))
    rows = [
        {
            "model": model,
            "side": side,
            "vertical": vertical,
            "horizontal": horizontal,
            "norm": norm,
            "n": N,
            "wrong": np.packbits(random.random(N) < chance(np.hypot(vertical, horizontal) / side)).tobytes(),
        }
        for model in models
        for vertical, horizontal, norm in [(0, 0, 0.0), *((*pair, 4.0) for pair in pairs)]
    ]
    return pd.DataFrame(rows)


CORRUPTIONS = (("fog", 3), ("snow", 3))


def correlations(models=("a", "b"), n=60, cells=(*CORRUPTIONS, ANOTHER_IMAGE)):
    random = np.random.default_rng(0)
    frames = [
        pd.DataFrame(
            {
                "model": model,
                "layer": "layer3.5",
                "image_id": np.arange(n) * 3,
                "corruption": corruption,
                "severity": severity,
                "correlation": random.uniform(-0.2, 1, n),
            }
        )
        for corruption, severity in cells
        for model in models
    ]
    return pd.concat(frames, ignore_index=True)


def grid(models=("a", "b"), pictures=2):
    random = np.random.default_rng(1)
    rows = [
        {
            "picture": picture,
            "model": model,
            "layer": "layer3.5",
            "corruption": corruption,
            "severity": severity,
            "image": random.integers(0, 256, (16, 16, 3), dtype=np.uint8),
            "heat": random.random((4, 4), dtype=np.float32),
            "correlation": 1.0 if corruption == "none" else 0.25,
        }
        for picture in range(pictures)
        for model in models
        for corruption, severity in (("none", 0), *CORRUPTIONS)
    ]
    return pd.DataFrame(rows)

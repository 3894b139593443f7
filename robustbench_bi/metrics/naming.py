"""The name under which a mean corruption error may be printed: "mCE" only where published ones compare with it."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from robustbench_bi.ground.cells import MEAN, SEVERITIES, Cell
from robustbench_bi.metrics.robustness import benchmark_corruptions, corruption_error_weights

PUBLISHED_IMAGES = 50_000


def coverage(cells: Iterable[Cell], normaliser: Mapping[Cell, float] | None = None) -> list[str]:
    """In words, what a mean corruption error over these cells leaves out of the 15 × 5; empty when nothing.

    Example:
        >>> coverage([("fog", 1), ("fog", 2), ("snow", 0)])
        ['over 2 of 15 corruptions', '7 of their 10 cells']
    """
    weights = corruption_error_weights(cells, normaliser)
    counted = [corruption for corruption in benchmark_corruptions() if corruption in weights]
    number = sum(len(SEVERITIES) if cell[1] == MEAN else 1 for corruption in counted for cell in weights[corruption])
    missing = []
    if len(counted) < len(benchmark_corruptions()):
        missing.append(f"over {len(counted)} of {len(benchmark_corruptions())} corruptions")
    if number < len(counted) * len(SEVERITIES):
        missing.append(f"{number} of their {len(counted) * len(SEVERITIES)} cells")
    return missing


def qualify(reasons: Sequence[str]) -> str:
    """The name "mCE", or that of a number that is computed like it but does not compare with published ones.

    Example:
        >>> qualify([]), qualify(["over 12 of 15 corruptions", "n=500"])
        ('mCE', 'mCE* (over 12 of 15 corruptions, n=500)')
    """
    return f"mCE* ({', '.join(reasons)})" if reasons else "mCE"


def mce_name(
    config: Mapping[str, Any],
    cells: Iterable[Cell] | None = None,
    *,
    applies: bool = True,
    part_of_imagenet: str | None = None,
) -> str | None:
    """The name under which a run's mean corruption error may be printed.

    Plain "mCE" needs ImageNet-C as published: 1,000 classes, 50,000 images a cell, the 15 corruptions at five
    severities with their constants for 224 pixels, and either the published files or clean images resized to 256
    (bilinear), cropped to 224, corrupted, and stored as JPEG of quality 85. Anything else is named in the result.

    Args:
        config: a run's configuration: class_set, n, input_size, resize_size, interpolation, table, jpeg,
            corruptions, severities, generator.
        cells: the cells that there are, where they are not corruptions × severities.
        applies: whether AlexNet's errors can say something of the source of the images.
        part_of_imagenet: which part of ImageNet's classes the source holds, in words; None for all.

    Returns:
        "mCE", a qualified name, or None where AlexNet's errors do not apply: the classes are not ImageNet's 1,000, the
        source is of another kind, or there is no corruption that they cover.

    Example:
        >>> config = {"class_set": "imagenet-1k", "n": 200, "input_size": 224, "resize_size": 256,
        ...     "interpolation": "bilinear", "table": "imagenet-c", "jpeg": 85, "generator": "bivo-robust",
        ...     "corruptions": benchmark_corruptions(), "severities": [1, 2, 3, 4, 5]}
        >>> mce_name(config)
        'mCE* (n=200)'
        >>> mce_name(config | {"n": 50_000})
        'mCE'
    """
    if config["class_set"] != "imagenet-1k" or not applies:
        return None
    if cells is None:
        cells = [(corruption, severity) for corruption in config["corruptions"] for severity in config["severities"]]
    cells = list(cells)
    if not set(corruption_error_weights(cells)) & set(benchmark_corruptions()):
        return None
    reasons = coverage(cells)
    if part_of_imagenet is not None:
        reasons.append(part_of_imagenet)
    if config["n"] != PUBLISHED_IMAGES:
        reasons.append(f"n={config['n']:,}")
    return qualify(reasons + _pixel_reasons(config))


def _pixel_reasons(config: Mapping[str, Any]) -> list[str]:
    """What makes the corrupted pixels other than the published ones."""
    reasons = []
    if config["input_size"] != 224:
        reasons.append(f"{config['input_size']} px")
    if config["generator"] == "files":
        return reasons
    if (mode := config.get("crop_mode")) is not None:
        reasons.append(mode)
    if config["input_size"] == 224 and (config["resize_size"], config["interpolation"]) != (256, "bilinear"):
        reasons.append(f"resize {config['resize_size']} {config['interpolation']}")
    if config["table"] != "imagenet-c":
        reasons.append(f"table {config['table']}")
    if config["jpeg"] != 85:
        reasons.append("no JPEG" if config["jpeg"] is None else f"JPEG {config['jpeg']}")
    if config["generator"] != "bivo-robust":
        reasons.append(f"generator {config['generator']}")
    return reasons

"""The name under which a mean corruption error may be printed: "mCE" only where published ones compare with it."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from robustbench_bi.ground.cells import MEAN, SEVERITIES, Cell
from robustbench_bi.ground.sizes import in_pixels
from robustbench_bi.metrics.robustness import benchmark_corruptions, corruption_error_weights

PUBLISHED_IMAGES = 50_000


def coverage(cells: Iterable[Cell], normaliser: Mapping[Cell, float] | None = None) -> list[str]:
    """In words, what a mean corruption error over these cells leaves out of the 15 × 5; empty when nothing.

    Example:
        >>> coverage([("fog", 1), ("fog", 2), ("snow", 0)])
        ['over 2 of 15 corruptions', '7 of 10 cells']
    """
    weights = corruption_error_weights(cells, normaliser)
    counted = [corruption for corruption in benchmark_corruptions() if corruption in weights]
    number = sum(len(SEVERITIES) if cell[1] == MEAN else 1 for corruption in counted for cell in weights[corruption])
    missing = []
    if len(counted) < len(benchmark_corruptions()):
        missing.append(f"over {len(counted)} of {len(benchmark_corruptions())} corruptions")
    if number < len(counted) * len(SEVERITIES):
        missing.append(f"{number} of {len(counted) * len(SEVERITIES)} cells")
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
            corruptions, severities, generator; and, where it has them, corrupt_size, no_resize, channels, answers.
        cells: the cells that there are, where they are not corruptions × severities.
        applies: whether AlexNet's errors can say something of the source of the images.
        part_of_imagenet: which part of ImageNet's classes the source holds, in words; None for all.

    Returns:
        "mCE", a qualified name, or None where AlexNet's errors do not apply: the classes are not ImageNet's 1,000, the
        images are of some of them alone, the source is of another kind, or there is no corruption that they cover.

    Example:
        >>> config = {"class_set": "imagenet-1k", "n": 200, "input_size": 224, "resize_size": 256,
        ...     "interpolation": "bilinear", "table": "imagenet-c", "jpeg": 85, "generator": "bivo-robust",
        ...     "corruptions": benchmark_corruptions(), "severities": [1, 2, 3, 4, 5]}
        >>> mce_name(config)
        'mCE* (n=200)'
        >>> mce_name(config | {"n": 50_000})
        'mCE'
    """
    if config["class_set"] != "imagenet-1k" or not applies or config.get("class_space") is not None:
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
    return qualify(reasons + departures(config))


def departures(config: Mapping[str, Any]) -> list[str]:
    """In words, where a run's pixels and the answers that count are not ImageNet-C's; empty where all are.

    Example:
        >>> departures({"input_size": 64, "generator": "files"})
        ['64 px']
    """
    return _answer_reasons(config) + _pixel_reasons(config)


def _answer_reasons(config: Mapping[str, Any]) -> list[str]:
    """What makes the answers that count other than the published ones."""
    answers = config.get("answers") or {}
    reasons = [f"{answers['competing']} of 1,000 classes compete"] if "competing" in answers else []
    return [*reasons, "several labels an image"] if "accepted" in answers else reasons


_EVERY_CELL = {(name, severity): 1.0 for name in benchmark_corruptions() for severity in (MEAN, *SEVERITIES)}


def mean_performance_name(cells: Iterable[Cell], further: Sequence[str] = ()) -> str:
    """What the mean performance of a detector over these cells may be called: "mPC" for 15 × 5 alone.

    Args:
        cells: that there are.
        further: other reasons why it does not compare with published ones.

    Example:
        >>> mean_performance_name([("fog", 3)])
        'mPC* (over 1 of 15 corruptions, 1 of 5 cells)'
    """
    reasons = [*coverage(cells, _EVERY_CELL), *further]
    return f"mPC* ({', '.join(reasons)})" if reasons else "mPC"


def mpc_name(config: Mapping[str, Any], cells: Iterable[Cell]) -> str:
    """The name under which a run's mean performance under corruption may be printed (Michaelis et al. 2019).

    Plain "mPC" needs the 15 corruptions at five severities, made at native size with the constants of the package
    imagecorruptions, and not stored as JPEG again. The data may be any: it is the data's mPC.
    """
    further = []
    if config["table"] != "imagecorruptions" and config["generator"] != "imagecorruptions":
        further.append(f"table {config['table']}")
    if config["jpeg"] is not None:
        further.append(f"JPEG {config['jpeg']}")
    return mean_performance_name(cells, further)


def _pixel_reasons(config: Mapping[str, Any]) -> list[str]:
    """What makes the corrupted pixels other than the published ones."""
    fitted = config.get("corrupt_size")
    side = fitted or config["input_size"]
    reasons = [in_pixels(side)] if side != 224 else []
    reasons += [f"{side} px fitted to {in_pixels(config['input_size'])}"] if fitted and not reasons else []
    reasons += ["grey"] if config.get("channels") == 1 else []
    if config["generator"] == "files":
        return reasons
    if (mode := config.get("crop_mode")) is not None:
        reasons.append(mode)
    cut = (config["resize_size"], config["interpolation"] if fitted is None else "bilinear")
    if config.get("no_resize"):
        reasons.append("not resized")
    elif side == 224 and cut != (256, "bilinear"):
        reasons.append(f"resize {cut[0]} {cut[1]}")
    if config["table"] != "imagenet-c":
        reasons.append(f"table {config['table']}")
    if config["jpeg"] != 85:
        reasons.append("no JPEG" if config["jpeg"] is None else f"JPEG {config['jpeg']}")
    if config["generator"] != "bivo-robust":
        reasons.append(f"generator {config['generator']}")
    return reasons

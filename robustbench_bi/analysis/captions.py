"""What results are called and what is said below them: labels of runs, and sentences on data, means and intervals."""

from collections.abc import Mapping, Sequence
from typing import Any

from robustbench_bi.ground.cells import SEVERITIES
from robustbench_bi.metrics.intervals import Resampling
from robustbench_bi.runs.run import Run
from robustbench_bi.tasks import Measure

# Settings that make other pictures of the same images; runs of one network mostly differ in one of them.
_TELLING = ("generator", "table", "jpeg", "seed")


def run_labels(runs: Sequence[Run]) -> list[str]:
    """The models' names; where runs share one, with the setting that tells them apart, or else their folders' names."""
    return [_label(run, [other for other in runs if other.name == run.name]) for run in runs]


def _label(run: Run, namesakes: Sequence[Run]) -> str:
    if len(namesakes) == 1:
        return run.name
    for field in _TELLING:
        if len({other.config.get(field) for other in namesakes}) == len(namesakes):
            return f"{run.name} ({field} {run.config.get(field)})"
    return run.directory.name


def describe_data(config: Mapping[str, Any], n: int) -> str:
    """A sentence on what was evaluated.

    Example:
        >>> describe_data({"data": "demo", "input_size": 64, "table": "tiny-imagenet-c", "jpeg": None,
        ...     "generator": "bivo-robust"}, 500)
        'n = 500 images of demo, 64 px, constants of tiny-imagenet-c, no JPEG.'
    """
    pixels = "published files"
    if config["generator"] != "files":
        pixels = f"constants of {config['table']}, " + (f"JPEG {config['jpeg']}" if config["jpeg"] else "no JPEG")
        pixels += "" if config["generator"] == "bivo-robust" else f", generator {config['generator']}"
    images = "image" if n == 1 else "images"
    size = "native size" if config["input_size"] is None else f"{config['input_size']} px"
    objects = ""
    if config.get("truth_hash"):
        objects = f" with {config['objects']:,} objects of {config['object_classes']} classes"
    return f"n = {n:,} {images} of {config['data']}{objects}, {size}, {pixels}."


def describe_means(severities: Sequence[int]) -> str:
    """A sentence on the severities that means are over.

    Example:
        >>> describe_means([1, 3, 5])
        'Means over severities 1, 3, 5.'
    """
    if not severities:
        return "Clean images only."
    if len(severities) == 1:
        return f"Severity {severities[0]} only."
    if len(severities) == len(SEVERITIES):
        return "Means over five severities."
    return f"Means over severities {', '.join(map(str, severities))}."


def describe_bootstrap(resampling: Resampling) -> str:
    """The words on intervals by resampling, with no full stop.

    Example:
        >>> describe_bootstrap(Resampling())
        '95 % intervals: percentile bootstrap over images (2,000 resamples)'
    """
    return (
        f"{resampling.confidence * 100:g} % intervals: percentile bootstrap over images "
        f"({resampling.repeats:,} resamples)"
    )


def describe_intervals(resampling: Resampling, measure: Measure) -> str:
    """A sentence on how the intervals of a measure were made.

    Example:
        >>> describe_intervals(Resampling(), Measure("top1", "top-1", "top-1 accuracy", "%", proportion=True))
        '95 % intervals: percentile bootstrap over images (2,000 resamples); single cells: Wilson.'
    """
    return f"{describe_bootstrap(resampling)}{'; single cells: Wilson' if measure.proportion else ''}."


def joined_captions(captions: Mapping[str, Sequence[str]]) -> str:
    """One caption for several models, from those of each: caption → models; they are named where theirs differ."""
    if len(captions) == 1:
        return next(iter(captions))
    return " ".join(f"{', '.join(models)}: {text}" for text, models in captions.items())

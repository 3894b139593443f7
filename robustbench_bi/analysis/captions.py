"""What results are called and what is said below them: labels of runs, and sentences on data, means and intervals."""

import itertools
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from robustbench_bi.analysis.described import data_name, weights_in_words
from robustbench_bi.analysis.groups import Group
from robustbench_bi.corruptions import in_words
from robustbench_bi.ground.cells import CLEAN, MEAN, SEVERITIES, Cell, cells_by_corruption
from robustbench_bi.ground.sizes import in_pixels
from robustbench_bi.metrics.intervals import MANY, Resampling
from robustbench_bi.metrics.robustness import alexnet_errors, benchmark_corruptions, corruption_error_weights
from robustbench_bi.runs.run import Run
from robustbench_bi.tasks import Measure, Task

# Settings that make other pictures of the same images, or other answers; runs of one network mostly differ in one.
_TELLING = ("generator", "table", "jpeg", "seed", "adapt")


def run_labels(runs: Sequence[Run]) -> list[str]:
    """The models' names; where runs share one, with the setting or the weights that tell them apart, or else their
    folders' names.

    No two are alike: tables find their rows by them. Copies of a run in several folders have the upper folder's name
    too, and one that is given twice is numbered.
    """
    labels = [_label(run, [other for other in runs if other.name == run.name]) for run in runs]
    labels = [
        label if labels.count(label) == 1 else f"{run.directory.parent.name}/{label}"
        for run, label in zip(runs, labels, strict=True)
    ]
    before = [labels[:place].count(label) for place, label in enumerate(labels)]
    return [f"{label} ({count + 1})" if count else label for count, label in zip(before, labels, strict=True)]


def _label(run: Run, namesakes: Sequence[Run]) -> str:
    if len(namesakes) == 1:
        return run.name
    for field in _TELLING:
        if len({other.config.get(field) for other in namesakes}) == len(namesakes):
            return f"{run.name} ({_telling_words(field, run.config.get(field))})"
    weights = {weights_in_words(other.config) for other in namesakes}
    if len(weights) == len(namesakes) and all(weights):
        return f"{run.name} ({weights_in_words(run.config)})"
    return run.directory.name


def _telling_words(field: str, value: Any) -> str:
    if value is None:
        return {"adapt": "not adapted", "jpeg": "no JPEG"}.get(field, f"no {field}")
    return f"adapted by {value}" if field == "adapt" else f"{field} {value}"


def describe_data(config: Mapping[str, Any], n: int) -> str:
    """A sentence on what was evaluated.

    Example:
        >>> describe_data({"data": "demo", "input_size": 64, "table": "tiny-imagenet-c", "jpeg": None,
        ...     "generator": "bivo-robust"}, 500)
        'n = 500 images of demo, 64 px, constants of tiny-imagenet-c, no JPEG.'
        >>> describe_data({"data": "imagenet-c", "input_size": 384, "corrupt_size": 224, "generator": "files",
        ...     "left_out": {"not in every cell": 12}}, 49_988)
        'n = 49,988 images of imagenet-c, 224 px fitted to 384 px, stored files. Left out: 12 images not in every \
cell.'
    """
    pixels = "stored files"
    if config["generator"] != "files":
        pixels = f"constants of {config['table']}, " + (f"JPEG {config['jpeg']}" if config["jpeg"] else "no JPEG")
        pixels += "" if config["generator"] == "bivo-robust" else f", generator {config['generator']}"
    parts = [f"n = {_images(n)} of {data_name(config)}{_objects(config)}", _side(config), pixels, *_answers(config)]
    left_out = [f"{_images(number)} {why}" for why, number in (config.get("left_out") or {}).items()]
    remarks = [f"Left out: {', '.join(left_out)}"] if left_out else []
    remarks += config.get("runtime", {}).get("remarks", [])
    return " ".join(f"{sentence}." for sentence in (", ".join(parts), *remarks))


def _images(number: int) -> str:
    return f"{number:,} image{'' if number == 1 else 's'}"


def _objects(config: Mapping[str, Any]) -> str:
    if not config.get("truth_hash"):
        return ""
    objects, classes = config["objects"], config["object_classes"]
    return f" with {objects:,} object{'' if objects == 1 else 's'} of {classes} class{'' if classes == 1 else 'es'}"


def _side(config: Mapping[str, Any]) -> str:
    """At which side networks saw the images, and how they came to it."""
    if config["input_size"] is None:
        return "native size"
    fitted, seen = config.get("corrupt_size"), in_pixels(config["input_size"])
    side = seen if fitted is None else f"{fitted} px fitted to {seen}"
    stored = config.get("runtime", {}).get("stored_side")
    if fitted is None and stored is not None and stored != config["input_size"]:
        side = f"centre crop to {seen} of stored {stored}-px files"
    side += ", never resized" if config.get("no_resize") else ""
    side += f", {config['border']}-px border cut off" if config.get("border") else ""
    return side + (", grey" if config.get("channels") == 1 else "")


def _answers(config: Mapping[str, Any]) -> list[str]:
    """Which answers competed and counted, where it was not the label among all classes."""
    answers = config.get("answers") or {}
    competing = answers.get("competing", "all" if config.get("class_space") else None)
    parts = [] if competing is None else [f"{competing} of {config['num_classes']:,} classes compete"]
    return [*parts, "any of an image's labels counts as correct"] if "accepted" in answers else parts


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


def describe_outside(cells: Iterable[Cell]) -> list[str]:
    """A sentence on corruptions that the row "mean" leaves out; none where there is no such row, or nothing to say.

    Example:
        >>> describe_outside([("fog", 1), ("spatter", 1)])
        ["The mean is over ImageNet-C's 15 corruptions, without spatter."]
    """
    names = list(cells_by_corruption(cells))
    outside = [name for name in names if name not in benchmark_corruptions()]
    if not outside or len(outside) == len(names):
        return []
    return [f"The mean is over ImageNet-C's 15 corruptions, without {', '.join(map(in_words, outside))}."]


def describe_errors(errors: Iterable[Group], cells: Iterable[Cell]) -> list[str]:
    """Sentences on an mCE that has a star, and on corruptions without the CE that others of the table have.

    Args:
        errors: groups of errors; without an mCE among them nothing is said.
        cells: cells with an accuracy.

    Example:
        >>> cells = [("fog", 3), ("jpeg_compression", 3)]
        >>> for sentence in describe_errors([Group("mce", "mCE* (over 1 of 15 corruptions)", {})], cells):
        ...     print(sentence)
        CE* and mCE* are not comparable with published ones; the name of mCE* says why.
        No CE of jpeg_compression: AlexNet's errors there are published only as a mean over all five severities.
    """
    names = [group.name for group in errors if group.kind == "mce"]
    if not names:
        return []
    starred = any("*" in name for name in names)
    sentences = [STARRED] if starred else []
    cells = list(cells)
    weighed = corruption_error_weights(cells)
    lacking = [own for own in cells_by_corruption(cells) if own not in weighed and (own, MEAN) in alexnet_errors()]
    if lacking:
        why = "AlexNet's errors there are published only as a mean over all five severities"
        sentences.append(f"No CE of {', '.join(lacking)}: {why}.")
    return sentences


STARRED = "CE* and mCE* are not comparable with published ones; the name of mCE* says why."


def shared_words(runs: Sequence[Run], shared: Sequence[Cell]) -> str:
    """A sentence, with a space before it, on means over the cells that all runs share; empty where none has others."""
    if all(len(run.cell_names) == len(shared) for run in runs):
        return ""
    number = len([cell for cell in shared if cell != CLEAN])
    words = f"the {number} corrupted cell{'' if number == 1 else 's'} that all runs have" if number else "no corruption"
    return f" Means are over {words}; cells that only some runs have are left out."


def describe_halves(resampling: Resampling) -> str:
    """The words on intervals of what is no mean over images, such as AP, with no full stop.

    Example:
        >>> describe_halves(Resampling())
        '95 % intervals: t with 2,000 random halves of the images, corrected for bias'
    """
    return f"{resampling.confidence * 100:g} % intervals: {_halves_words(resampling)}"


def _halves_words(resampling: Resampling) -> str:
    return f"t with {2 * -(-resampling.repeats // 2):,} random halves of the images{_DEBIASED}"


def bootstrap_words(resampling: Resampling, n: int) -> str:
    """How the bootstrap of a mean over n images is made.

    Example:
        >>> bootstrap_words(Resampling(), 500), bootstrap_words(Resampling(), 50_000)
        ('percentile bootstrap (2,000 resamples)', 'percentile bootstrap (its limit for many resamples)')
    """
    made = f"{resampling.repeats:,} resamples" if n < MANY else "its limit for many resamples"
    return f"percentile bootstrap ({made})"


# `docs/metrics.md` has the bias of each.
_LINEARISED = "t of the linearised number"
_DEBIASED = ", corrected for bias"
_ERRORS = {"CE, mCE": {"mce", "relative_mce"}, "mean error": {"mean_error"}}
"""Numbers by the kinds of rows that show them."""


def interval_methods(
    resampling: Resampling,
    task: Task,
    errors: Collection[str] = (),
    measures: Sequence[Measure] | None = None,
    n: int = 0,
    changes: bool = True,
) -> dict[str, str]:
    """How the intervals of a task's summary are made: number → words. `docs/statistics.md` defines each method.

    Args:
        resampling, task, errors, measures, n, changes: as for `describe_intervals`.

    Example:
        >>> from robustbench_bi.tasks import TASKS
        >>> methods = interval_methods(Resampling(), TASKS["classification"])
        >>> methods["single cells"], methods["ECE"]
        ('Wilson', 't, debiased by folded normals')
    """
    methods: dict[str, str] = {}
    for measure in task.measures if measures is None else measures:
        if measure in task.further and not measure.proportion:
            methods[measure.short] = _LINEARISED + (_DEBIASED if measure.chance else "")
        elif measure.proportion:
            methods[measure.short] = "t with a worst and a best image added"
        elif measure.chance:
            methods[measure.short] = "t, debiased by folded normals"
        elif task.load("PAIRING") == "scores":
            methods[measure.short] = bootstrap_words(resampling, n)
        else:
            methods[measure.short] = _halves_words(resampling)
    for number, kinds in _ERRORS.items():
        if kinds & {*errors}:
            methods[number] = methods[task.primary.short]
    if task.primary.proportion:
        methods |= {"Δ": methods[task.primary.short]} if changes else {}
        methods["single cells"] = "Wilson"
    return methods


def describe_intervals(
    resampling: Resampling,
    task: Task,
    errors: Collection[str] = (),
    measures: Sequence[Measure] | None = None,
    n: int = 0,
    changes: bool = True,
) -> str:
    """A sentence on how the intervals of a task's summary are made.

    Args:
        resampling: of the intervals.
        task: what the runs were asked.
        errors: kinds of rows, in which some may be means of errors: "mce", "relative_mce", "mean_error".
        measures: the numbers that there are; by default those that every summary of the task has.
        n: images; of many, a bootstrap's limit is computed.
        changes: whether changes from clean are among the numbers.

    Example:
        >>> from robustbench_bi.tasks import TASKS
        >>> describe_intervals(Resampling(), TASKS["classification"])[:68]
        '95 % intervals over images: t with a worst and a best image added (t'
    """
    numbers: dict[str, list[str]] = {}
    for number, method in interval_methods(resampling, task, errors, measures, n, changes).items():
        numbers.setdefault(method, []).append(number)
    if len(numbers) == 1:
        return f"{resampling.confidence * 100:g} % intervals: {next(iter(numbers))}."
    methods = "; ".join(f"{method} ({', '.join(own)})" for method, own in numbers.items())
    return f"{resampling.confidence * 100:g} % intervals over images: {methods}."


def joined_captions(captions: Mapping[str, Sequence[str]]) -> str:
    """One caption for several models, from those of each: caption → models.

    Sentences before and after those in which theirs differ are said once; what differs follows the models' names.

    Example:
        >>> joined_captions({"n = 5. a assumes 256 px. Clean.": ["a"], "n = 5. Cut off. Clean.": ["b"]})
        'n = 5. a assumes 256 px. b: Cut off. Clean.'
    """
    sentences = [re.split(r"(?<=\.) ", text) for text in captions]
    before = _common_start(sentences)
    rest = [own[len(before) :] for own in sentences]
    after = _common_start([own[::-1] for own in rest])[::-1]
    between = []
    for own, models in zip(rest, captions.values(), strict=True):
        text = " ".join(own[: len(own) - len(after)])
        if text:
            between.append(text if text.startswith(f"{models[0]} ") else f"{', '.join(models)}: {text}")
    return " ".join([*before, *between, *after])


def _common_start(lists: Sequence[Sequence[str]]) -> list[str]:
    same = itertools.takewhile(lambda places: len({*places}) == 1, zip(*lists, strict=False))
    return [places[0] for places in same]

"""Groups of cells: the rows of every report. A group's accuracy is a weighted sum of its cells' accuracies."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from robustbench_bi.corruptions import CORRUPTIONS, SUITES
from robustbench_bi.ground.cells import CLEAN, MEAN, SEVERITIES, Cell, cell_label, cells_by_corruption
from robustbench_bi.metrics.intervals import Floats
from robustbench_bi.metrics.robustness import benchmark_corruptions, corruption_error_weights

CATEGORIES = tuple(dict.fromkeys(CORRUPTIONS[name].category for name in benchmark_corruptions()))
# Fig. 3 of the Bi-volution paper shows the noises one by one, speckle_noise among them, and the other three as means.
FIGURE_3_NOISES = ("gaussian_noise", "shot_noise", "impulse_noise", "speckle_noise")

# No errors are published to divide theirs by, so they have no mCE.
PLAIN_SUITES = ("imagenet-c-bar", "cifar-10-c-bar")

Kind = Literal["clean", "mean", "category", "corruption", "cell", "mce", "relative_mce", "mean_error", "severity"]
# Rows that are one number of corruption errors, and have no accuracy.
SCORES: tuple[Kind, ...] = ("mce", "relative_mce", "mean_error")
# Nor have those of all cells of a severity together.
APART: tuple[Kind, ...] = (*SCORES, "severity")


@dataclass(frozen=True)
class Group:
    """A row of a report.

    Attributes:
        kind: what sort of row it is.
        name: its label; a mean that lacks members says so, as "blur (3 of 4)".
        weights: of each cell. They sum to 1 for a mean of accuracies; for mCE they weigh errors.
    """

    kind: Kind
    name: str
    weights: Mapping[Cell, float]

    @property
    def size(self) -> int:
        """The number of cells; clean counts only where it stands alone, and a published mean counts as five."""
        corrupted = [cell for cell in self.weights if cell != CLEAN]
        return sum(len(SEVERITIES) if cell[1] == MEAN else 1 for cell in corrupted) or 1


def weight_matrix(groups: Sequence[Group], cells: Sequence[Cell]) -> Floats:
    """The weights as (C, S), for cells in the given order."""
    return np.array([[group.weights.get(cell, 0.0) for group in groups] for cell in cells]).reshape(len(cells), -1)


def weighted(group: Group, values: Mapping[Cell, float]) -> float:
    """The group's sum of weight × value."""
    return sum(weight * values[cell] for cell, weight in group.weights.items())


def first_alike(groups: Iterable[Group]) -> list[int]:
    """For each group the place of the first one that weighs the same cells alike: the two are one number and one test.

    Where a run has one corruption of a category, the category's mean is that corruption under another name.

    Example:
        >>> first_alike(summary_groups([("none", 0), ("fog", 1), ("noise", 1)]))
        [0, 1, 1, 1, 4]
    """
    seen: dict[frozenset[tuple[Cell, float]], int] = {}
    weighed = (frozenset((cell, round(weight, 9)) for cell, weight in group.weights.items()) for group in groups)
    return [seen.setdefault(weights, place) for place, weights in enumerate(weighed)]


def summary_groups(cells: Iterable[Cell]) -> list[Group]:
    """Clean, the mean over ImageNet-C's corruptions, each category, each corruption, as far as they are in `cells`.

    Example:
        >>> [group.name for group in summary_groups([("none", 0), ("fog", 1), ("spatter", 1)])]
        ['clean', 'mean (1 of 15)', 'weather (1 of 4)', 'fog', 'spatter']
    """
    cells = list(cells)
    corruptions = corruption_groups(cells)
    return [*_clean(cells), *_mean(corruptions), *_categories(corruptions), *corruptions]


def bar_groups(cells: Iterable[Cell]) -> list[Group]:
    """Clean, the bars of Fig. 3 of the Bi-volution paper, the noise mean and the mean over ImageNet-C's corruptions.

    Where the cells give none of these, as those of ImageNet-C-bar alone, each corruption is a bar.

    Example:
        >>> [group.name for group in bar_groups([("none", 0), ("speckle_noise", 2), ("snow", 2)])]
        ['clean', 'speckle_noise', 'weather (1 of 4)', 'mean (1 of 15)']
    """
    cells = list(cells)
    corruptions = corruption_groups(cells)
    noises = [group for group in corruptions if group.name in FIGURE_3_NOISES]
    return [*_clean(cells), *noises, *_categories(corruptions), *_mean(corruptions)] or corruptions


def corruption_groups(cells: Iterable[Cell]) -> list[Group]:
    """Each corruption, averaged over the severities that it has, in table order."""
    grouped = cells_by_corruption(cells)
    return [
        Group("corruption", name, {cell: 1 / len(grouped[name]) for cell in grouped[name]})
        for name in [*CORRUPTIONS.names, *(name for name in grouped if name not in CORRUPTIONS)]
        if name in grouped
    ]


def severity_groups(cells: Iterable[Cell]) -> list[Group]:
    """Each severity over ImageNet-C's corruptions, or over all where none of these is there; the name says how many.

    Example:
        >>> [group.name for group in severity_groups([("none", 0), ("fog", 1), ("snow", 1), ("fog", 5)])]
        ['severity 1 (2 corruptions)', 'severity 5 (1 corruption)']
    """
    grouped = cells_by_corruption(cells)
    own = {name: found for name, found in grouped.items() if name in benchmark_corruptions()} or grouped
    severities = sorted({severity for found in own.values() for _, severity in found})
    groups = []
    for severity in severities:
        members = [(name, severity) for name, found in own.items() if (name, severity) in found]
        words = f"severity {severity} ({len(members)} corruption{'' if len(members) == 1 else 's'})"
        groups.append(Group("severity", words, {cell: 1 / len(members) for cell in members}))
    return groups


def cell_groups(cells: Iterable[Cell]) -> list[Group]:
    """Each cell for itself."""
    return [Group("clean" if cell == CLEAN else "cell", cell_label(cell), {cell: 1.0}) for cell in cells]


def error_groups(cells: Iterable[Cell], mce: str, normaliser: Mapping[Cell, float] | None = None) -> list[Group]:
    """mCE and relative mCE over those of ImageNet-C's corruptions that are there; their weights are for errors.

    Args:
        cells: cells with an accuracy.
        mce: the name under which the mCE may be printed.
        normaliser: errors in percent by cell, AlexNet's published ones by default.

    Returns:
        The two groups; fewer where nothing can be normalised, or clean is missing.
    """
    cells = list(cells)
    absolute = corruption_error_weights(cells, normaliser)
    relative = corruption_error_weights(cells, normaliser, relative=True)
    counted = [corruption for corruption in benchmark_corruptions() if corruption in absolute]
    groups = []
    if counted:
        groups.append(Group("mce", mce, _average([absolute[corruption] for corruption in counted])))
    # The name tells what mCE is over; a relative mCE over fewer corruptions would bear it wrongly.
    if counted and all(corruption in relative for corruption in counted):
        weights = _average([relative[corruption] for corruption in counted])
        groups.append(Group("relative_mce", f"relative {mce}", weights))
    return groups


def mean_errors_beside(errors: Iterable[Group], cells: Iterable[Cell]) -> list[Group]:
    """For the row of each mCE, the plain mean of the errors that it normalises: the two are taken for one another.

    Args:
        errors: groups of errors, of which those that are an mCE count.
        cells: cells with an accuracy.

    Example:
        >>> cells = [("fog", 1), ("snow", 1), ("spatter", 1)]
        >>> [(group.name, dict(group.weights)) for group in mean_errors_beside(error_groups(cells, "mCE*"), cells)]
        [('mCE*', {('snow', 1): 0.5, ('fog', 1): 0.5})]
    """
    corruptions = corruption_groups(cells)
    groups = []
    for mce in (group for group in errors if group.kind == "mce"):
        over = {corruption for corruption, _ in mce.weights}
        groups.append(Group("mce", mce.name, _average([own.weights for own in corruptions if own.name in over])))
    return groups


def mean_error_groups(cells: Iterable[Cell]) -> list[Group]:
    """The plain mean error over ImageNet-C-bar, and over CIFAR-10-C-bar, each where all of its ten corruptions are.

    And over stored corruptions that are none of ours, as those of ImageNet-3DCC.

    Example:
        >>> cells = [(name, 3) for name in SUITES["imagenet-c-bar"].corruptions]
        >>> [group.name for group in mean_error_groups(cells)], mean_error_groups(cells[1:])
        (['mean error of imagenet-c-bar'], [])
    """
    weights = {group.name: group.weights for group in corruption_groups(cells)}
    groups = []
    for suite in PLAIN_SUITES:
        names = SUITES[suite].corruptions
        if all(name in weights for name in names):
            groups.append(Group("mean_error", f"mean error of {suite}", _average([weights[name] for name in names])))
    others = [own for name, own in weights.items() if name not in CORRUPTIONS]
    if others:
        words = f"mean error of {len(others)} stored corruption{'' if len(others) == 1 else 's'}"
        groups.append(Group("mean_error", words, _average(others)))
    return groups


def _clean(cells: Iterable[Cell]) -> list[Group]:
    return [Group("clean", "clean", {CLEAN: 1.0})] if CLEAN in cells else []


def _mean(corruptions: Iterable[Group]) -> list[Group]:
    members = [group for group in corruptions if group.name in benchmark_corruptions()]
    return _named_mean("mean", "mean", members, len(benchmark_corruptions()))


def _categories(corruptions: Sequence[Group]) -> list[Group]:
    groups = []
    for category in CATEGORIES:
        names = [name for name in benchmark_corruptions() if CORRUPTIONS[name].category == category]
        members = [group for group in corruptions if group.name in names]
        groups += _named_mean("category", category, members, len(names))
    return groups


def _named_mean(kind: Kind, name: str, members: Sequence[Group], expected: int) -> list[Group]:
    if not members:
        return []
    name = name if len(members) == expected else f"{name} ({len(members)} of {expected})"
    return [Group(kind, name, _average([member.weights for member in members]))]


def _average(members: Sequence[Mapping[Cell, float]]) -> dict[Cell, float]:
    """The mean of several weightings."""
    weights: dict[Cell, float] = {}
    for member in members:
        for cell, weight in member.items():
            weights[cell] = weights.get(cell, 0.0) + weight / len(members)
    return weights

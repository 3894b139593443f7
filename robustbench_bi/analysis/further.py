"""The numbers that are shown where they are chosen: which of them a run can give, and of which groups of cells."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from robustbench_bi.analysis.groups import Group, severity_groups
from robustbench_bi.analysis.measured import Measured
from robustbench_bi.ground.cells import CLEAN
from robustbench_bi.tasks import Measure

if TYPE_CHECKING:
    from robustbench_bi.metrics.statistics import Statistic


def groups_of(measure: Measure, groups: Sequence[Group], found: Measured) -> list[Group]:
    """The groups of cells of which a run has a measure; none where its clean cell is wanted and missing."""
    if measure.rows == "severities":
        return severity_groups(found.grid.cells)
    if measure.rows == "corrupted":
        return [group for group in groups if CLEAN not in group.weights] if CLEAN in found.grid.cells else []
    return list(groups)


def missing_words(measure: Measure, found: Measured, name: str) -> str:
    """Why a run cannot give a measure, in a sentence; empty where it can."""
    if measure.column and measure.column not in found.records:
        return (
            f"{name} has no {measure.words}: its records were written before this was stored; evaluate it again, with "
            "another --out, to get it"
        )
    if measure.rows == "corrupted" and CLEAN not in found.grid.cells:
        return f"{name} has no {measure.words}: it has no clean images to compare with"
    if measure.rows != "all" and set(found.grid.cells) <= {CLEAN}:
        return f"{name} has no {measure.words}: it has no corrupted images"
    return ""


def further_columns(
    measures: Sequence[Measure], groups: Sequence[Group], found: Measured, name: str
) -> tuple[dict[str, tuple[list[Group], Statistic]], list[str]]:
    """Of each measure that a run can give, the groups of cells and its numbers; and why it cannot give the others."""
    columns, notes = {}, []
    for measure in measures:
        reason = missing_words(measure, found, name)
        if reason:
            notes.append(reason)
            continue
        own = groups_of(measure, groups, found)
        columns[measure.name] = own, found.statistic(own, measure)
    return columns, notes

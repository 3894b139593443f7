"""Which of a task's numbers were chosen by the names of metrics."""

from __future__ import annotations

from collections.abc import Sequence

from robustbench_bi.errors import InputError
from robustbench_bi.ground.registry import unknown_name
from robustbench_bi.metrics.rows import METRICS
from robustbench_bi.tasks import Measure, Task

ALL = "all"
"""In the place of names: everything that the records give."""


def chosen_measures(task: Task, names: Sequence[str] | str, paired: bool = False) -> tuple[Measure, ...]:
    """The measures of these names, in the order of the table of metrics.

    Args:
        task: what the runs were asked.
        names: of metrics, or `ALL` for all further ones.
        paired: whether numbers of two runs may be chosen too; `ALL` then has all but the task's primary number, of
            which a comparison has a table of its own.

    Raises:
        UnknownNameError: there is no such metric.
        InputError: a metric is shown anyway, is of two runs, or is none of the task.

    Example:
        >>> from robustbench_bi.tasks import TASKS
        >>> [measure.short for measure in chosen_measures(TASKS["classification"], ["aurc", "flip_rate"])]
        ['flips', 'AURC']
    """
    offered = (*task.further, *(task.paired if paired else ()))
    if names == ALL:
        beside = [measure for measure in task.measures if measure != task.primary] if paired else []
        return (*beside, *offered)
    wanted = {_resolved(task, name, [measure.name for measure in offered], paired) for name in names}
    return tuple(measure for measure in (*task.measures, *offered) if measure.name in wanted)


def _resolved(task: Task, name: str, offered: Sequence[str], paired: bool) -> str:
    """The full name of a metric that can be chosen."""
    if name not in METRICS:
        known = [*(measure.name for measure in task.measures), *offered]
        raise unknown_name("metric", name, [*known, *(alias for one in known for alias in METRICS.aliases_of(one))])
    metric = METRICS[name]
    if metric.name in offered or metric.name in [measure.name for measure in task.measures]:
        return metric.name
    if metric.of == "networks":
        raise InputError(f"{metric.name} compares two networks; use compare --metrics {name}")
    if metric.of in ("cells", "pairs"):
        raise InputError(f"{metric.name} cannot be chosen; it is shown whenever a run has it")
    raise InputError(f"{metric.name} is not a metric of {task.name}; leave it out")

"""The runs in a folder: what each is of, how far it has come, its first numbers, and which are there twice."""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from robustbench_bi.analysis.described import data_name, weights_in_words
from robustbench_bi.analysis.groups import CATEGORIES, corruption_groups, summary_groups, weighted
from robustbench_bi.corruptions import category_of
from robustbench_bi.errors import BivoRobustError, DataError
from robustbench_bi.ground.cells import CLEAN, SEVERITIES, Cell, cells_by_corruption
from robustbench_bi.metrics.robustness import benchmark_corruptions
from robustbench_bi.runs.run import Run, open_run

# How records are laid out, and not what was measured: two runs that differ in these alone hold the same answers.
_LAID_OUT = ("block_size", "record_schema")
# Of `run.json`, what is not part of a run's identity.
_BESIDE = ("fingerprint", "cells", "runtime")
# Of the names of corruptions in a line of the list.
_SHOWN = 3
SAME_COMMAND = "run the same command as before"


@dataclass(frozen=True)
class Listed:
    """A run in a list.

    Attributes:
        run: its folder, from the folder that was searched.
        model, weights, data, n: what it is of; weights is as `weights_in_words`.
        cells, cells_done: how many there are, and how many of them are finished.
        metric: which number clean and mean are.
        clean, mean: of clean images, and the mean over corruptions; None where it is not finished or has none.
        mean_of: what the mean is over.
        over: the corruptions of the mean in words, and its severities, as "noise, fog at 1, 3".
        when: of its first start, ISO 8601.
        fingerprint: of its configuration.
        resume: the command that finishes it; empty where it is finished.
    """

    run: str
    model: str
    weights: str
    data: str
    n: int
    cells: int
    cells_done: int
    metric: str
    clean: float | None
    mean: float | None
    mean_of: str
    over: str
    when: str
    fingerprint: str
    resume: str


@dataclass(frozen=True)
class Listing:
    """The runs in a folder.

    Attributes:
        runs: by name of their folders.
        duplicates: groups of two or more that measured the same network on the same pictures.
        unreadable: folder → why what lies there cannot be read.
    """

    runs: tuple[Listed, ...]
    duplicates: tuple[tuple[str, ...], ...]
    unreadable: Mapping[str, str]


def list_runs(folder: Path) -> Listing:
    """The runs in a folder and below it.

    Args:
        folder: searched with all folders below it; what lies inside a run is not.

    Raises:
        DataError: there is no such folder.
    """
    if not folder.is_dir():
        raise DataError(f"there is no folder {folder}; runs are in the folder that eval was given as --out")
    listed: list[Listed] = []
    same: dict[str, list[str]] = {}
    unreadable: dict[str, str] = {}
    for directory in _run_folders(folder):
        name = directory.relative_to(folder).as_posix()
        try:
            run = open_run(directory)
            listed.append(_listed(run, name))
        except (BivoRobustError, KeyError, TypeError, ValueError) as error:
            unreadable[name] = " ".join(str(error).split())
            continue
        same.setdefault(_measured(run.config), []).append(name)
    duplicates = tuple(tuple(names) for names in same.values() if len(names) > 1)
    return Listing(tuple(listed), duplicates, unreadable)


def _run_folders(folder: Path) -> Iterator[Path]:
    for path, below, files in os.walk(folder):
        below.sort()
        if "run.json" in files:
            below.clear()
            yield Path(path)


def _measured(config: Mapping[str, Any]) -> str:
    """What a run measured: equal for two runs that hold the same answers."""
    return json.dumps(
        {key: value for key, value in config.items() if key not in (*_LAID_OUT, *_BESIDE)}, sort_keys=True
    )


def _listed(run: Run, name: str) -> Listed:
    config, runtime = run.config, run.config["runtime"]
    unfinished = {cell for cell, _ in run.missing()}
    clean, mean, mean_of = (None, None, "") if unfinished else _first_numbers(run)
    return Listed(
        run=name,
        model=run.name,
        weights=weights_in_words(config),
        data=data_name(config),
        n=int(config["n"]),
        cells=len(run.cell_names),
        cells_done=len(run.cell_names) - len(unfinished),
        metric=run.task.primary.name,
        clean=clean,
        mean=mean,
        mean_of=mean_of,
        over=_over(run.cell_names) if mean_of else "",
        when=str(runtime.get("started", "")),
        fingerprint=str(config["fingerprint"]),
        resume=_resume(runtime) if unfinished else "",
    )


def _first_numbers(run: Run) -> tuple[float | None, float | None, str]:
    """The primary number of clean images and the mean over corruptions, and what that is over."""
    frame = run.cells()
    rows = zip(frame["corruption"], frame["severity"], frame[run.task.primary.name], strict=True)
    values = {(str(corruption), int(severity)): float(value) for corruption, severity, value in rows}
    means = [group for group in summary_groups(values) if group.kind == "mean"]
    corruptions = corruption_groups(values)
    clean = values.get(CLEAN)
    if means:
        return clean, weighted(means[0], values), means[0].name
    if not corruptions:
        return clean, None, ""
    mean = sum(weighted(group, values) for group in corruptions) / len(corruptions)
    return clean, mean, f"mean of {len(corruptions)} corruptions"


def _over(cells: Sequence[Cell]) -> str:
    """The corruptions that a mean over these cells is of, whole categories by their names, and the severities.

    Example:
        >>> _over([("none", 0), ("gaussian_noise", 1), ("shot_noise", 1), ("impulse_noise", 1), ("fog", 1)])
        'noise, fog at 1'
    """
    names = [group.name for group in corruption_groups(cells)]
    names = [name for name in names if name in benchmark_corruptions()] or names
    members = cells_by_corruption(cells)
    severities = sorted({severity for name in names for _, severity in members[name]})
    whole = [group.name for group in summary_groups(cells) if group.name in CATEGORIES]
    shown = [*whole, *(name for name in names if category_of(name) not in whole)]
    words = "all 15" if len(whole) == len(CATEGORIES) else ", ".join(shown[:_SHOWN]) + ", …" * (len(shown) > _SHOWN)
    return f"{words} at {'1-5' if severities == list(SEVERITIES) else ', '.join(map(str, severities))}"


def _resume(runtime: Mapping[str, Any]) -> str:
    """The command that finishes a run, to be typed where it was started."""
    command, folder = str(runtime.get("command") or ""), str(runtime.get("started_in") or "")
    if not command.startswith("bivo-robust "):
        return SAME_COMMAND
    return f"cd {shlex.quote(folder)} && {command}" if folder else command


def as_rows(listing: Listing) -> Sequence[dict[str, Any]]:
    """The runs as dicts, for JSON."""
    return [vars(run).copy() for run in listing.runs]

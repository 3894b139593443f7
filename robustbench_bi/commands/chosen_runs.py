"""The runs that a command was given: opened, sorted by what can be compared, and those left out with the reason."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import click

from robustbench_bi.commands.endings import OneLineError
from robustbench_bi.errors import BivoRobustError
from robustbench_bi.runs.run import Run, open_run


@dataclass
class LeftOut:
    """What is left out of many, in words: reason → names."""

    names: dict[str, list[str]] = field(default_factory=dict)

    def add(self, name: str, reason: str) -> None:
        """Note one of them."""
        self.names.setdefault(reason, []).append(name)

    @property
    def lines(self) -> list[str]:
        """A line for each reason."""
        return [f"Left out: {', '.join(names)}: {reason}." for reason, names in self.names.items()]

    def say(self) -> None:
        """Show the lines, on standard error, where they do not mix with results."""
        for line in self.lines:
            click.echo(line, err=True)


def open_runs(paths: Iterable[Path], left_out: LeftOut) -> list[Run]:
    """Open runs, each once. Of several paths those that hold no finished run are left out.

    Raises:
        DataError: a single path holds no run.
        OneLineError: none of several does.
    """
    named = {path.resolve(): path for path in paths}
    if len(named) <= 1:
        return [open_run(path) for path in named.values()]
    opened = []
    for path in named.values():
        try:
            run = open_run(path)
        except BivoRobustError as error:
            # `runs/*` names the leaderboard's files too.
            left_out.add(path.name, "not a run" if path.is_file() else " ".join(str(error).split()))
            continue
        if missing := len(run.missing()):
            reason = f"not finished, {missing:,} cell-blocks are missing; run the same eval command again"
            left_out.add(path.name, reason)
        else:
            opened.append(run)
    if not opened:
        reasons = "; ".join(f"{', '.join(names)}: {reason}" for reason, names in left_out.names.items())
        raise OneLineError(f"none of the {len(named)} paths holds a finished run ({reasons})")
    return opened


def comparable_with(baseline: Run, runs: Sequence[Run], left_out: LeftOut, across: Sequence[str] = ()) -> list[Run]:
    """Those runs that can be compared with a baseline. A single one is never left out: comparing it says why not."""
    from robustbench_bi.analysis.comparable import run_apart

    chosen = []
    for run in runs:
        found = run_apart(run, baseline, across) if len(runs) > 1 else None
        if found is None:
            chosen.append(run)
        else:
            left_out.add(run.directory.name, f"made {found[0]}, the baseline {found[1]}")
    return chosen

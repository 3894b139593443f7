"""`runs`: the runs in a folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from robustbench_bi.commands.options import JSON
from robustbench_bi.commands.output import print_json
from robustbench_bi.commands.terminal import print_table

if TYPE_CHECKING:
    from robustbench_bi.analysis.listing import Listing


@click.command()
@click.argument("folder", default=Path("runs"), metavar="[FOLDER]", type=click.Path(path_type=Path))
@JSON
def runs(folder: Path, as_json: bool) -> None:
    """List the runs in FOLDER and below it, `runs` by default.

    Shows how far each has come and its main numbers, points out runs of the same network on the same images, and
    gives the command that finishes an unfinished run.
    """
    from robustbench_bi.analysis.listing import as_rows, list_runs

    listing = list_runs(folder)
    if as_json:
        found = {"runs": as_rows(listing), "duplicates": listing.duplicates, "unreadable": listing.unreadable}
        print_json({"folder": folder, **found})
        return
    if listing.runs:
        _print_runs(listing)
    else:
        click.echo(f"There are no runs in {folder}.")
    for names in listing.duplicates:
        click.echo(f"The same network on the same images: {', '.join(names)}")
    for run in listing.runs:
        if run.resume:
            click.echo(f"To finish {run.run}: {run.resume}")
    for name, reason in listing.unreadable.items():
        click.echo(f"Left out: {name}: {reason}")


def _print_runs(listing: Listing) -> None:
    import pandas as pd

    from robustbench_bi.analysis.text import NO_VALUE, format_interval
    from robustbench_bi.tasks import TASKS

    headings = {task.primary.name: task.primary.heading for task in TASKS}
    rows = [
        {
            "run": run.run,
            "model": f"{run.model} ({run.weights})" if run.weights else run.model,
            "data": run.data,
            "n": f"{run.n:,}",
            "cells": f"{run.cells_done}/{run.cells}",
            "number": headings[run.metric],
            "clean": NO_VALUE if run.clean is None else format_interval(run.clean),
            "mean": NO_VALUE if run.mean is None else format_interval(run.mean),
            "over": run.over or NO_VALUE,
            "when": run.when[:16].replace("T", " ") or NO_VALUE,
        }
        for run in listing.runs
    ]
    print_table(pd.DataFrame(rows))

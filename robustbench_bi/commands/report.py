"""`report`: a page, or tables for a paper."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from robustbench_bi.commands import completion
from robustbench_bi.commands.endings import OneLineError
from robustbench_bi.commands.options import METRICS, out_option

if TYPE_CHECKING:
    from robustbench_bi.commands.chosen_runs import LeftOut
    from robustbench_bi.reports.page.pictures import OpenPictures
    from robustbench_bi.runs.run import Run


@click.command()
@click.argument(
    "runs", nargs=-1, required=True, metavar="RUN...", type=click.Path(path_type=Path), shell_complete=completion.runs
)
@click.option(
    "--baseline",
    metavar="RUN",
    type=click.Path(path_type=Path),
    help="The run to compare the others with.  [default: the first]",
    shell_complete=completion.runs,
)
@out_option("report.html", "File to write: .html is a page, .md and .tex are tables for a paper.", file=True)
@click.option(
    "--format",
    "form",
    type=click.Choice(["html", "markdown", "latex"]),
    help="Output format.  [default: from the suffix of --out]",
)
@click.option(
    "--pictures",
    is_flag=True,
    help="Add example images and power spectra. Regenerates corruptions; takes seconds and 1 GB.",
)
@METRICS
def report(
    runs: tuple[Path, ...],
    baseline: Path | None,
    out: Path,
    form: Any,
    pictures: bool,
    metrics: tuple[str, ...] | str,
) -> None:
    """Write a report on finished runs: one self-contained page, or tables for a paper.

    The page shows accuracies with intervals, Fig. 3, severity curves, a table of models and corruptions, the worst
    drops, calibration, and how the runs were made. It uses only the saved records; no model runs. Runs that cannot be
    compared, such as runs on other images, get their own page; with --baseline they are left out.
    """
    from robustbench_bi.commands.chosen_runs import LeftOut, open_runs
    from robustbench_bi.reports.forms import form_of

    form = form or form_of(out)
    if pictures and form != "html":
        raise OneLineError(f"only HTML reports hold images, got {form}; leave out --pictures")
    left_out = LeftOut()
    opened = open_runs([run for run in runs if baseline is None or run.resolve() != baseline.resolve()], left_out)
    if baseline is not None and not opened:
        raise OneLineError("a report with --baseline needs at least one run besides the baseline, got none")
    groups = _groups(opened, baseline, left_out)
    left_out.say()
    from robustbench_bi.reports.report import write_report

    for group, path in zip(groups, _paths(groups, out), strict=True):
        shown = _pictures() if pictures else None
        named = baseline is not None
        made = write_report(group, path, form=form, open_pictures=shown, baseline_named=named, metrics=metrics)
        if made.bars is not None:
            click.echo(f"Compared with {made.models[0]}: {', '.join(made.models[1:])}")
            advice = "" if named else "; --baseline chooses another"
            click.echo(f"The baseline is {made.models[0]}, {made.baseline_words}{advice}.")
            for note in made.bars.notes:
                click.echo(note)
        click.echo(f"Written: {path} ({path.stat().st_size / 1000:,.0f} kB)")


def _pictures() -> OpenPictures:
    from robustbench_bi.reports.page.pictures import pictures_of

    return pictures_of


def _groups(opened: Sequence[Run], baseline: Path | None, left_out: LeftOut) -> list[list[Run]]:
    """Runs that can be compared, in a group for each page; with a baseline, those that can be compared with it."""
    from robustbench_bi.analysis.comparable import comparable_groups, run_apart
    from robustbench_bi.commands.chosen_runs import comparable_with
    from robustbench_bi.runs.run import open_run

    if baseline is not None:
        first = open_run(baseline)
        others = comparable_with(first, opened, left_out)
        if not others:
            left_out.say()
            raise OneLineError(f"none of these runs can be compared with {first.directory.name}")
        return [[first, *others]]
    groups = comparable_groups(opened)
    for group in groups[1:]:
        own, largest = run_apart(group[0], groups[0][0]) or ("", "")
        names = ", ".join(run.directory.name for run in group)
        click.echo(f"On a separate page: {names}: made {own}, the others {largest}.", err=True)
    return groups


def _paths(groups: Sequence[Sequence[Run]], out: Path) -> list[Path]:
    """Where the page of each group goes: the largest as was asked, the others beside it by the name of their data."""
    paths = [out]
    for group in groups[1:]:
        data = Path(str(group[0].config["runtime"].get("source") or group[0].config["data"])).name
        stem = f"{out.stem}-{re.sub('[^A-Za-z0-9._-]+', '-', data).strip('-.') or 'other'}"
        path = out.with_name(f"{stem}{out.suffix}")
        number = 1
        while path in paths:
            number += 1
            path = out.with_name(f"{stem}-{number}{out.suffix}")
        paths.append(path)
    return paths

"""`report`: a page, or tables for a paper."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from robustbench_bi.commands import completion
from robustbench_bi.commands.endings import OneLineError
from robustbench_bi.commands.options import out_option


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
@out_option("report.html", "File to write: .html is a page, .md and .tex are tables for a paper.")
@click.option(
    "--format",
    "form",
    type=click.Choice(["html", "markdown", "latex"]),
    help="Output format.  [default: from the suffix of --out]",
)
@click.option(
    "--pictures",
    is_flag=True,
    help="Add example pictures and power spectra. Regenerates corruptions; takes seconds and 1 GB.",
)
def report(runs: tuple[Path, ...], baseline: Path | None, out: Path, form: Any, pictures: bool) -> None:
    """Write a report on finished runs: one self-contained page, or tables for a paper.

    The page shows accuracies with intervals, Fig. 3, severity curves, a table of models and corruptions, the worst
    drops, calibration, and how the runs were made. It uses only the saved records; no model runs.
    """
    from robustbench_bi.reports.page.pictures import pictures_of
    from robustbench_bi.reports.report import write_report
    from robustbench_bi.runs.run import open_run

    named = {run.resolve(): run for run in ([*runs] if baseline is None else [baseline, *runs])}
    if baseline is not None and len(named) == 1:
        raise OneLineError("a report with --baseline needs at least one run beside the baseline, got none")
    opened = [open_run(path) for path in named.values()]
    made = write_report(opened, out, form=form, open_pictures=pictures_of if pictures else None)
    if made.bars is not None:
        click.echo(f"Compared with {made.models[0]}: {', '.join(made.models[1:])}")
        for note in made.bars.notes:
            click.echo(note)
    click.echo(f"Written: {out} ({out.stat().st_size / 1000:,.0f} kB)")

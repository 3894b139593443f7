"""`compare`: finished runs against a baseline run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from robustbench_bi.commands import completion
from robustbench_bi.commands.endings import OneLineError
from robustbench_bi.commands.options import JSON, METRICS, out_option, sheet_options
from robustbench_bi.commands.output import about, print_json, print_written
from robustbench_bi.commands.terminal import print_table
from robustbench_bi.tasks.chosen import ALL, chosen_measures


def _check_across(_: click.Context, __: click.Parameter, value: tuple[str, ...]) -> tuple[str, ...]:
    from robustbench_bi.analysis.comparable import check_across

    check_across(value)
    return value


@click.command()
@click.argument(
    "runs", nargs=-1, required=True, metavar="RUN...", type=click.Path(path_type=Path), shell_complete=completion.runs
)
@click.option(
    "--baseline",
    required=True,
    metavar="RUN",
    type=click.Path(path_type=Path),
    help="The run to compare with.",
    shell_complete=completion.runs,
)
@out_option(
    "comparison", "Folder for the figures of `list figures` as PNG, SVG and PDF, and the tables as CSV and Markdown."
)
@click.option(
    "--across",
    multiple=True,
    metavar="SETTING",
    callback=_check_across,
    help="Allow generator, seed, table, jpeg or adapt to differ between runs. Repeatable.",
)
@METRICS
@JSON
@sheet_options
def compare(
    runs: tuple[Path, ...],
    baseline: Path,
    out: Path,
    across: tuple[str, ...],
    metrics: tuple[str, ...] | str,
    as_json: bool,
    sheet: Any,
) -> None:
    """Compare finished runs with a baseline run, image by image.

    Prints Δ top-1 as in the paper's Fig. 3 and for each corruption, with paired intervals and tests, and writes figures
    and tables. --json has the differences of every metric and each pair's error consistency; --metrics chooses which to
    print.
    """
    from robustbench_bi.commands.chosen_runs import LeftOut, comparable_with, open_runs
    from robustbench_bi.runs.run import open_run

    left_out = LeftOut()
    baseline_run = open_run(baseline)
    opened = open_runs([run for run in runs if run.resolve() != baseline.resolve()], left_out)
    others = comparable_with(baseline_run, opened, left_out, across)
    left_out.say()
    if opened and not others:
        raise OneLineError(f"none of these runs can be compared with {baseline_run.directory.name}")
    from robustbench_bi.analysis.chosen_comparison import chosen_comparison
    from robustbench_bi.analysis.comparison import BESIDE_THE_GATE, comparison_frame, further_comparisons
    from robustbench_bi.analysis.measured import shared_cells
    from robustbench_bi.reports.drawing import drawing_aside
    from robustbench_bi.reports.tables.display import display_chosen, display_comparison
    from robustbench_bi.reports.write import write_comparison

    chosen_measures(baseline_run.task, metrics, paired=True)
    everything = [baseline_run, *others]
    shared = shared_cells(everything)
    with drawing_aside(sum(run.config["n"] * len(run.cell_names) for run in everything)) as begin:
        bars = comparison_frame(others, baseline_run, across=across, cells=shared)
        corruptions = comparison_frame(others, baseline_run, rows="corruptions", across=across, cells=shared)
        further = further_comparisons(others, baseline_run, across, shared)
        written = write_comparison(others, baseline_run, bars, out, across, corruptions, sheet, begin, further)
    if as_json:
        found = {"bars": bars.frame, "corruptions": corruptions.frame, "caption": bars.caption, "notes": bars.notes}
        chosen = chosen_comparison(others, baseline_run, metrics or ALL)
        found |= {"further": {own.number.name: own.frame for own in further}}
        found |= {"metrics": chosen.frame, "notes": [*bars.notes, *chosen.notes]}
        found |= {"header": bars.header, "left_out": left_out.lines, "files": written}
        print_json({"baseline": about(baseline_run), **found})
        return
    click.echo(bars.header)
    titles = ["Categories, as in Fig. 3 of the paper", "Each corruption", *(own.number.title for own in further)]
    for title, table in zip(titles, (bars, corruptions, *further), strict=True):
        print_table(display_comparison(table).drop(columns=["baseline %", table.number.heading]), title=title)
        click.echo(table.tests)
    for note in [f"{bars.caption} {BESIDE_THE_GATE}", *bars.notes]:
        click.echo(note)
    if metrics:
        chosen = chosen_comparison(others, baseline_run, metrics)
        print_table(display_chosen(chosen, bars.task), title="Chosen metrics")
        for note in (chosen.caption, *chosen.notes):
            click.echo(note)
    print_written(out, written)

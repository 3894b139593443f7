"""`score`: mCE of published accuracies."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import click

from robustbench_bi.commands.options import JSON
from robustbench_bi.commands.output import last_category, print_json
from robustbench_bi.commands.terminal import print_table


@click.command()
@click.argument("cells", type=click.Path(path_type=Path), metavar="CELLS.csv")
@click.option(
    "--normalizer",
    type=click.Path(path_type=Path),
    metavar="CELLS.csv",
    help="Accuracies of the reference network.  [default: AlexNet's published errors]",
)
@JSON
def score(cells: Path, normalizer: Path | None, as_json: bool) -> None:
    """Compute mCE, relative mCE and means from a table of published accuracies.

    CELLS.csv has the columns corruption, severity, top1 (percent) and, for several models, model. Clean is the
    corruption "clean" or "none"; an empty severity is the mean over five.
    """
    from robustbench_bi.analysis.score import read_cells
    from robustbench_bi.analysis.score import score as score_cells
    from robustbench_bi.reports.tables.display import display_summary

    scores = score_cells(read_cells(cells), None if normalizer is None else read_cells(normalizer))
    if as_json:
        print_json({"scores": scores.frame, "notes": scores.notes})
        return
    for model, own in scores.frame.groupby("model", sort=False):
        shown = display_summary(replace(scores, frame=own)).drop(columns="model")
        print_table(shown, title=str(model), rule_after=last_category(own))
    for note in [*scores.notes, scores.caption]:
        click.echo(note)

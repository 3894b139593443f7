"""`score`: mCE of published accuracies, and mPC of published detectors."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import click

from robustbench_bi.commands import early
from robustbench_bi.commands.options import JSON
from robustbench_bi.commands.output import last_category, print_json, print_scores
from robustbench_bi.commands.terminal import print_table


@click.command()
@click.argument("cells", callback=early.a_file, type=click.Path(path_type=Path), metavar="CELLS.csv")
@click.option(
    "--normalizer",
    callback=early.a_file,
    type=click.Path(path_type=Path),
    metavar="CELLS.csv",
    help="Accuracies of the reference network.  [default: AlexNet's published errors]",
)
@JSON
def score(cells: Path, normalizer: Path | None, as_json: bool) -> None:
    """Compute mCE of classifiers, or mPC of detectors, from a table of published results.

    CELLS.csv has the columns corruption, severity, top1 (percent) and, for several models, model. Clean is the
    corruption "clean" or "none"; an empty severity is the mean over five.

    For detectors, it has AP instead of top1 and optionally task (bbox, segm), AP50, AP75, APs, APm and APl. The values
    of a model are read as fractions if none is above 1, otherwise as percent; -1 means undefined.
    """
    from robustbench_bi.analysis.groups import SCORES
    from robustbench_bi.analysis.score import read_cells
    from robustbench_bi.analysis.score import score as score_cells
    from robustbench_bi.analysis.score_detection import is_of_detectors
    from robustbench_bi.reports.tables.display import display_summary

    if is_of_detectors(cells):
        _score_detectors(cells, normalizer, as_json)
        return
    scores = score_cells(read_cells(cells), None if normalizer is None else read_cells(normalizer))
    if as_json:
        print_json({"scores": scores.frame, "notes": scores.notes})
        return
    for model, own in scores.frame.groupby("model", sort=False):
        of_cells = own[~own["kind"].isin(SCORES)]
        shown = display_summary(replace(scores, frame=of_cells)).drop(columns="model")
        print_table(shown, title=str(model), rule_after=last_category(own))
        print_scores(own)
    for note in [*scores.notes, scores.caption]:
        click.echo(note)


def _score_detectors(cells: Path, normalizer: Path | None, as_json: bool) -> None:
    from robustbench_bi.analysis.score_detection import PRIMARY, read_detection_cells, score_detection
    from robustbench_bi.errors import InputError
    from robustbench_bi.reports.tables.display import display_detection_scores

    if normalizer is not None:
        raise InputError(
            f"{cells} holds detectors, and mPC is not normalised by another network; leave out --normalizer"
        )
    scores = score_detection(read_detection_cells(cells))
    frame = scores.frame
    if as_json:
        primary = frame[frame["metric"] == PRIMARY].drop(columns="metric")
        tables = {"scores": primary, "metrics": frame, "corruptions": scores.corruptions}
        print_json({**tables, "notes": scores.notes})
        return
    for (model, task), own in frame.groupby(["model", "task"], sort=False):
        print_table(display_detection_scores(own), title=f"{model} {task}")
    for note in [*scores.notes, scores.caption]:
        click.echo(note)

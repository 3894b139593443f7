"""`eval`: networks on clean and corrupted images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from robustbench_bi.commands.eval_options import EVAL_OPTIONS, eval_options
from robustbench_bi.commands.output import about, described, print_json, print_summary
from robustbench_bi.commands.terminal import cell_progress

if TYPE_CHECKING:
    from robustbench_bi.evaluation.sharing import Share
    from robustbench_bi.runs.run import Run


@click.command("eval")
@eval_options([*EVAL_OPTIONS])
def evaluate(
    models: tuple[str, ...], data: str, weights: tuple[str, ...], quiet: bool, as_json: bool, **options: Any
) -> None:
    """Evaluate networks on clean and corrupted images.

    Saves every prediction under --out, one folder per run. Run the same command to resume a run that was stopped.
    Processes started by torchrun, srun or a SLURM job array share the work; see docs/scale.md.
    """
    from robustbench_bi.analysis.summary import summary_frame
    from robustbench_bi.evaluation.loop import evaluate_request
    from robustbench_bi.evaluation.request import EvalRequest
    from robustbench_bi.evaluation.sharing import share_of_environment

    request = EvalRequest.of(models, data, weights=weights or None, **options)
    share = share_of_environment()
    quiet = quiet or share.follows or share.local_rank > 0
    if share.count > 1 and not quiet:
        _say_shared(share)
    with cell_progress(quiet) as progress:
        runs = evaluate_request(request, progress=progress, share=share)
    if share.follows or (not share.leads and _left_to_others(runs, share)):
        return
    summaries = [(run, summary_frame(run)) for run in runs]
    if as_json:
        print_json([{**about(run), **described(summary), "cells": run.cells()} for run, summary in summaries])
        return
    for number, (run, summary) in enumerate(summaries):
        if number:
            click.echo()
        print_summary(run, summary)


def _say_shared(share: Share) -> None:
    """Say that this is not all of the work, so that nobody is surprised who did not ask for it."""
    if share.leads:
        click.echo(f"{share.count} processes share the work; this one shows the progress of all.", err=True)
    else:
        click.echo(
            f"This is rank {share.rank} of {share.count} that share the work. To do all of it in each process, unset "
            "RANK, WORLD_SIZE and SLURM_ARRAY_TASK_ID.",
            err=True,
        )


def _left_to_others(runs: Sequence[Run], share: Share) -> bool:
    """Say which runs are not finished because other processes have not done their part, and tell whether any is."""
    unfinished = [(run, len(run.missing())) for run in runs if run.missing()]
    for run, missing in unfinished:
        total = len(run.cell_names) * len(list(run.blocks()))
        click.echo(
            f"Rank {share.rank} of {share.count} has done its part. {total - missing:,} of {total:,} cell-blocks of "
            f"{run.directory} are there; the others are left to the other ranks. The last to end prints the result.",
            err=True,
        )
    return bool(unfinished)

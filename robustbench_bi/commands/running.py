"""What `eval` and `detect` do with their requests: evaluate, alone or with others, and print what was found."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from robustbench_bi.commands.compiling import compile_kernels, say_loading
from robustbench_bi.commands.endings import OneLineError
from robustbench_bi.commands.output import (
    about,
    described,
    print_categories,
    print_json,
    print_leaderboard,
    print_summary,
)
from robustbench_bi.commands.terminal import cell_progress
from robustbench_bi.errors import BivoRobustError
from robustbench_bi.evaluation.opening import open_images
from robustbench_bi.evaluation.request import EvalRequest
from robustbench_bi.models.sources.downloads import ask_hubs
from robustbench_bi.tasks.chosen import ALL

if TYPE_CHECKING:
    from robustbench_bi.analysis.leaderboard import Leaderboard
    from robustbench_bi.evaluation.sharing import Share
    from robustbench_bi.ground.cells import Progress
    from robustbench_bi.runs.run import Run


def run_requests(
    requests: Mapping[str, EvalRequest],
    out: Path,
    quiet: bool,
    as_json: bool,
    board: bool,
    metrics: Sequence[str] | str = (),
    per_category: bool = False,
) -> None:
    """Evaluate, alone or with other processes, and print what was found: what `eval` and `detect` do.

    Args:
        requests: by data set.
        out: the folder of runs.
        quiet: no progress.
        as_json: print JSON.
        board: end with a leaderboard.
        metrics: names of those that the tables show, and that JSON has beside the usual ones; by default JSON has all.
        per_category: show a detector's classes one by one too.

    Raises:
        OneLineError: one of several data sets failed.
    """
    from robustbench_bi.evaluation.sharing import share_of_environment

    share = share_of_environment()
    quiet = quiet or share.follows or share.local_rank > 0
    if share.count > 1 and not quiet:
        _say_shared(share)
    found, failed = _evaluate_each(requests, quiet, share)
    everything = [run for runs in found.values() for run in runs]
    if not (share.follows or (not share.leads and _left_to_others(everything, share))):
        shown = _leaderboard(found, requests) if found and board else None
        written = [] if shown is None else _write_board(shown, out)
        if as_json:
            _print_json(everything, shown, written, metrics or ALL, per_category)
        else:
            _print_tables(everything if len(requests) == 1 else [], shown, written, metrics, per_category)
            if shown is not None:
                _print_cautions(found)
    if failed:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in failed.items())
        raise OneLineError(f"{len(failed)} of {len(requests)} data sets failed: {reasons}")


def _evaluate_each(
    requests: Mapping[str, EvalRequest], quiet: bool, share: Share
) -> tuple[dict[str, list[Run]], dict[str, str]]:
    """The runs of each data set; and of those that failed among several, why."""
    found: dict[str, list[Run]] = {}
    failed: dict[str, str] = {}
    for number, (name, request) in enumerate(requests.items(), start=1):
        if len(requests) > 1 and not quiet:
            click.echo(f"Data set {number} of {len(requests)}: {name}", err=True)
        try:
            with cell_progress(quiet) as progress:
                if progress is not None:
                    say_loading(request, progress)
                begun: list[bool] = []
                dataset = open_images(request)
                ask_hubs(request.models, request.weights or [None] * len(request.models))
                from robustbench_bi.evaluation.loop import evaluate_request  # torch, once the images are sound

                found[name] = evaluate_request(
                    request,
                    progress=progress,
                    share=share,
                    ready=partial(_get_ready, request, progress, begun),
                    dataset=dataset,
                )
            if not quiet and not begun and share.count == 1:
                _say_nothing_computed(found[name])
        except BivoRobustError as error:
            if len(requests) == 1:
                raise
            failed[name] = " ".join(str(error).split())
    return found, failed


def _get_ready(request: EvalRequest, progress: Callable[[Progress], None] | None, begun: list[bool]) -> None:
    """What is left before the first image, once the networks are there; note that there is something to compute."""
    begun.append(True)
    if progress is not None:
        say_loading(request, progress, done=True)
        compile_kernels(request, progress)


def _say_nothing_computed(runs: Sequence[Run]) -> None:
    folders = ", ".join(str(run.directory) for run in runs)
    click.echo(f"Already finished, nothing was computed: {folders}", err=True)


def _leaderboard(found: Mapping[str, Sequence[Run]], requests: Mapping[str, EvalRequest]) -> Leaderboard:
    """The leaderboard; a model that is given with several weights is named with them."""
    from robustbench_bi.analysis.leaderboard import leaderboard_frame

    request = next(iter(requests.values()))
    names = [str(model) for model in request.models]
    labels = [
        name if names.count(name) == 1 else f"{name} ({own})"
        for name, own in zip(names, request.weights or (), strict=True)
    ]
    return leaderboard_frame(found, labels, list(requests))


def _write_board(board: Leaderboard, out: Path) -> list[Path]:
    from robustbench_bi.reports.tables.leaderboard import write_leaderboard

    return write_leaderboard(board, out)


def _print_json(
    runs: Sequence[Run],
    board: Leaderboard | None,
    written: Sequence[Path],
    metrics: Sequence[str] | str,
    per_category: bool,
) -> None:
    """Everything of each run, and the leaderboard."""
    from robustbench_bi.analysis.summary import summary_frame
    from robustbench_bi.reports.tables.leaderboard import leaderboard_as_json

    summaries = [
        {**about(run), **described(summary_frame(run, metrics=metrics)), "cells": run.cells()}
        | ({"categories": run.categories()} if per_category else {})
        for run in runs
    ]
    of_board = {} if board is None else leaderboard_as_json(board)
    print_json(summaries if board is None else {"runs": summaries, "leaderboard": of_board, "files": written})


def _print_tables(
    runs: Sequence[Run],
    board: Leaderboard | None,
    written: Sequence[Path],
    metrics: Sequence[str] | str,
    per_category: bool,
) -> None:
    """The table of each run, and the leaderboard."""
    from robustbench_bi.analysis.summary import summary_frame

    for number, run in enumerate(runs):
        if number:
            click.echo()
        print_summary(run, summary_frame(run, metrics=metrics), metrics)
        if per_category:
            print_categories(run)
    if board is not None:
        print_leaderboard(board, written)


def _print_cautions(found: Mapping[str, Sequence[Run]]) -> None:
    from robustbench_bi.analysis.cautions import cautions

    for name, runs in found.items():
        for note in cautions(runs):
            click.echo(f"Warning: {name}: {note}")


def _say_shared(share: Share) -> None:
    """Say that this is not all of the work, so that nobody is surprised who did not ask for it."""
    if share.leads:
        click.echo(f"{share.count} processes share the work; this one shows their combined progress.", err=True)
    else:
        click.echo(
            f"This is rank {share.rank} of {share.count} that share the work. To do all the work in each process, "
            "unset RANK, WORLD_SIZE and SLURM_ARRAY_TASK_ID.",
            err=True,
        )


def _left_to_others(runs: Sequence[Run], share: Share) -> bool:
    """Say which runs are not finished because other processes have not done their part, and tell whether any is."""
    unfinished = [(run, len(run.missing())) for run in runs if run.missing()]
    for run, missing in unfinished:
        total = len(run.cell_names) * len(list(run.blocks()))
        click.echo(
            f"Rank {share.rank} of {share.count} has finished its part. {total - missing:,} of {total:,} cell-blocks "
            f"of {run.directory} are done; the rest are left to the other ranks. The last one to finish prints the "
            "result.",
            err=True,
        )
    return bool(unfinished)

"""`eval`: networks on clean and corrupted images, of one data set or of several."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from robustbench_bi.commands.configuration import CONFIG, PRINT_CONFIG, as_config
from robustbench_bi.commands.endings import OneLineError
from robustbench_bi.commands.eval_options import EVAL_OPTIONS, FOR_DETECTION, eval_options
from robustbench_bi.commands.options import METRICS
from robustbench_bi.commands.running import run_requests
from robustbench_bi.evaluation.request import EvalRequest
from robustbench_bi.tasks import task_of
from robustbench_bi.tasks.chosen import chosen_measures


@click.command("eval")
@eval_options([name for name in EVAL_OPTIONS if name not in FOR_DETECTION], several=True)
@METRICS
@CONFIG
@PRINT_CONFIG
def evaluate(
    models: tuple[str, ...],
    data: tuple[str, ...],
    weights: tuple[str, ...],
    metrics: tuple[str, ...] | str,
    config: Path | None,
    print_config: bool,
    quiet: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Evaluate networks on clean and corrupted images.

    Saves every prediction under --out, one folder per run. Run the same command to resume a run that was stopped.
    --json prints every metric; --metrics chooses those in the table.
    Several data sets, or --config, end with a leaderboard: one row per model, one column per data set. Processes
    started by torchrun, srun or a SLURM job array share the work; see docs/scale.md.
    """
    requests = _requests(models, data, weights=weights or None, **options)
    chosen_measures(task_of({}), metrics)
    if print_config:
        click.echo(as_config(click.get_current_context()), nl=False)
        return
    board = config is not None or len(requests) > 1
    run_requests(requests, Path(options["out"]), quiet, as_json, board, metrics)


def _requests(models: tuple[str, ...], data: tuple[str, ...], **options: Any) -> dict[str, EvalRequest]:
    """What is asked for, a request for each data set; what can be refused at once is."""
    if len(set(data)) < len(data):
        raise OneLineError("give each data set once; two are the same")
    requests = {name: EvalRequest.of(models, name, **options) for name in data}
    if len(requests) == 1:
        requests[data[0]].check_early()
        return requests
    # One of several may fail without the others; but a path that leads nowhere is a typo, and is told before they run.
    for request in requests.values():
        request.data.check_source()
    return requests

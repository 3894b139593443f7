"""`gate`: a verdict that stops a continuous integration."""

from __future__ import annotations

import os
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from robustbench_bi.commands import completion
from robustbench_bi.commands.endings import OneLineError
from robustbench_bi.commands.output import last_category
from robustbench_bi.commands.terminal import print_table
from robustbench_bi.errors import BivoRobustError


@click.command()
@click.argument(
    "runs", nargs=-1, required=True, metavar="RUN", type=click.Path(path_type=Path), shell_complete=completion.runs
)
@click.option("--baseline", metavar="FILE", type=click.Path(path_type=Path), help="Baseline to check against.")
@click.option("--save", metavar="FILE", type=click.Path(path_type=Path), help="Save the run as a baseline.")
@click.option(
    "--max-drop",
    type=click.FloatRange(0, 100),
    default=1.0,
    show_default=True,
    metavar="POINTS",
    help="Allowed drop in top-1, or in AP for detectors: clean, the mean, each category and each corruption.",
)
@click.option(
    "--confidence",
    type=click.FloatRange(0, 0.999, min_open=True),
    default=0.95,
    show_default=True,
    help="Family-wise confidence level (Bonferroni).",
)
@click.option("--junit", metavar="FILE", type=click.Path(path_type=Path), help="Also write the verdicts as JUnit XML.")
@click.option("--skip-new-cells", is_flag=True, help="Ignore cells that the baseline lacks, and report them.")
@click.option("--across", multiple=True, metavar="SETTING", help="Allow adapt to differ from the baseline's.")
def gate(runs: tuple[Path, ...], baseline: Path | None, save: Path | None, junit: Path | None, **options: Any) -> None:
    """Check a finished run against a saved baseline and fail on a regression.

    A row regresses if its top-1, or its AP for detectors, drops by more than --max-drop and the paired interval lies
    entirely below zero. Exit codes: 0 no regression, 1 regression, 2 error: data, settings or cells that differ from
    the baseline's, an unfinished run, or a damaged file. On GitHub, the rows also appear in the job summary.
    """
    run, *others = runs
    if others:
        # Of a folder's runs none is chosen silently.
        raise OneLineError(f"Got unexpected extra argument ({others[0]}): gate takes one run, got {len(runs)}")
    if (baseline is None) == (save is None):
        raise OneLineError("gate needs either --baseline FILE, to compare with, or --save FILE, to make a baseline")
    context, default = click.get_current_context(), click.core.ParameterSource.DEFAULT
    given = [name for name in ("junit", *options) if context.get_parameter_source(name) is not default]
    with _only_a_regression_is_1():
        if save is not None:
            _save_baseline(run, save, given)
        regressed = baseline is not None and _check_gate(run, baseline, junit, options)
    context.exit(1 if regressed else 0)


@contextmanager
def _only_a_regression_is_1() -> Iterator[None]:
    """Turn every failure into exit code 2, but a stop: Python ends with 1, which would read as a regression."""
    try:
        yield
    except (BivoRobustError, click.ClickException, KeyboardInterrupt, MemoryError):
        raise
    except (OSError, SystemExit) as error:
        # Rich answers a closed pipe with SystemExit.
        reason = getattr(error, "strerror", None) or "the pipe is closed"
        raise OneLineError(f"cannot write the output: {reason}") from error
    except BaseException as error:
        traceback.print_exc()
        raise click.exceptions.Exit(2) from error


def _check_gate(run: Path, baseline: Path, junit: Path | None, options: dict[str, Any]) -> bool:
    """Print the verdicts, and tell whether there is a regression."""
    from robustbench_bi.analysis.verdicts import check_baseline_file
    from robustbench_bi.reports.ci.verdicts import markdown_summary, publish, trouble, verdicts_of
    from robustbench_bi.runs.run import open_run

    try:
        opened = open_run(run)
        check_baseline_file(baseline)
        from robustbench_bi.analysis.baseline import outcomes_of, read_baseline
        from robustbench_bi.analysis.gate import gate_frame
        from robustbench_bi.reports.tables.gate import display_gate

        found = gate_frame(outcomes_of(opened), read_baseline(baseline), **options)
    except BivoRobustError as error:
        for line in publish(trouble(str(error)), str(error), junit, os.environ):
            click.echo(line)
        raise
    click.echo(found.header)
    print_table(display_gate(found), rule_after=last_category(found.frame))
    for text in (found.headline, *found.notes, found.caption):
        click.echo(text)
    for line in publish(verdicts_of(found), markdown_summary(found), junit, os.environ):
        click.echo(line)
    return found.regressed


def _save_baseline(run: Path, path: Path, options: list[str]) -> None:
    from robustbench_bi.runs.run import open_run

    if options:
        raise OneLineError(
            f"--{options[0].replace('_', '-')} belongs to --baseline; a saved baseline does not store it"
        )
    opened = open_run(run)
    from robustbench_bi.analysis.baseline import outcomes_of, write_baseline

    outcomes = outcomes_of(opened)
    verb = "Replaced" if path.exists() else "Written"
    write_baseline(outcomes, path)
    n, cells = len(outcomes.image_ids), len(outcomes.cells)
    click.echo(f"{verb}: {path}, the baseline of {outcomes.run['name']}: {n:,} images × {cells} cells.")

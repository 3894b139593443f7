"""`export`: finished runs in a form that another program reads."""

from __future__ import annotations

from pathlib import Path

import click

from robustbench_bi.commands import completion
from robustbench_bi.commands.endings import remember_out_file

FORMATS = ("csv", "timm", "model-card", "robustbench", "imagenet-x", "json")


@click.command()
@click.argument(
    "runs", nargs=-1, required=True, metavar="RUN...", type=click.Path(path_type=Path), shell_complete=completion.runs
)
@click.option("--format", "form", required=True, type=click.Choice(FORMATS), help="Output format.")
@click.option(
    "--out", required=True, type=click.Path(path_type=Path), callback=remember_out_file, help="File to write."
)
def export(runs: tuple[Path, ...], form: str, out: Path) -> None:
    """Write finished runs as a file for another program.

    csv is one table of all cells; json one flat list of names and numbers, for MLflow or W&B; timm the columns of
    timm's results tables; model-card the metadata of a Hugging Face model card; robustbench an entry of RobustBench's
    leaderboard, for a run on its 5,000 images; imagenet-x the predictions on ImageNet's clean images.
    """
    from robustbench_bi.reports.exports import EXPORTS, export_runs
    from robustbench_bi.runs.run import open_run

    opened = [open_run(path) for path in dict.fromkeys(path.resolve() for path in runs)]
    export_runs(opened, form, out)
    click.echo(f"Written: {out} ({out.stat().st_size / 1000:,.1f} kB)")
    if EXPORTS[form].to_do:
        click.echo(EXPORTS[form].to_do)

"""`heatmaps`: what features keep of images under corruption."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from robustbench_bi.commands import completion, early
from robustbench_bi.commands.eval_options import RUNNING, eval_options
from robustbench_bi.commands.options import CORRUPTIONS, out_option, sheet_options
from robustbench_bi.commands.output import print_json, print_written
from robustbench_bi.commands.terminal import cell_progress, print_table
from robustbench_bi.evaluation.request import PREPROCESSING


@click.command()
@eval_options(["models", "weights"])
@click.option(
    "--data",
    metavar="SOURCE",
    callback=early.a_source,
    help="Images to compute correlations on; see `list data`.  [default: those of --images, or demo]",
    shell_complete=completion.sources,
)
@click.option(
    "--images",
    callback=early.pictures,
    metavar="PATH",
    help="The images to draw: an image, a folder of images, a data source, or `photographs` (ten that ship with "
    "scikit-image).  [default: the first of --data]",
)
@click.option(
    "--show", type=click.IntRange(1), default=1, show_default=True, metavar="N", help="Number of images to draw."
)
@CORRUPTIONS
@click.option("--severity", type=click.IntRange(1, 5), default=3, show_default=True, help="Severity, 1 to 5.")
@click.option("--layer", metavar="NAME", help="A module of the network.  [default: the last block of the third stage]")
@click.option(
    "--reduce",
    type=click.Choice(["mean", "max", "norm", "pca"]),
    default="mean",
    show_default=True,
    help="How to reduce channels to one map: mean, max or norm, or the first principal component (pca).",
)
@out_option(
    "heatmaps",
    "Folder for heatmaps.png, .svg and .pdf, heatmaps.csv (the printed table) and heatmaps_images.csv.",
)
@sheet_options
@eval_options(["table", "jpeg", *RUNNING, *PREPROCESSING, "quiet", "as_json"])
def heatmaps(
    models: tuple[str, ...],
    weights: tuple[str, ...],
    out: Path,
    quiet: bool,
    as_json: bool,
    sheet: Any,
    **options: Any,
) -> None:
    """Show how well features survive corruption.

    Reproduces the left half of the paper's Fig. 4. Each number is the Pearson correlation between the heat maps of the
    corrupted and the clean image: 1 means identical maps. The correlation between different images is shown for
    reference.
    """
    shared = {name: value for name, value in options.items() if name not in ("images", "data")}  # pictures to draw
    early.check_request(models, options["data"] or "demo", weights=weights or None, **shared)
    from robustbench_bi.analysis.correlations import correlation_frame
    from robustbench_bi.probes.heatmaps import heat_maps
    from robustbench_bi.reports.tables.heatmaps import display_correlations
    from robustbench_bi.reports.write import write_heat_maps

    with cell_progress(quiet) as progress:
        found = heat_maps(models, weights=weights or None, progress=progress, **options)
    summary = correlation_frame(found)
    written = write_heat_maps(found, summary, out, sheet)
    if as_json:
        print_json({"correlations": summary.frame, "caption": summary.caption, "files": written})
        return
    print_table(display_correlations(summary.frame))
    click.echo(summary.caption)
    print_written(out, written)

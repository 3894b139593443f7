"""`fourier`: the frequencies that mislead networks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from robustbench_bi.commands import early
from robustbench_bi.commands.eval_options import RUNNING, eval_options
from robustbench_bi.commands.options import out_option, sheet_options
from robustbench_bi.commands.output import print_json, print_written
from robustbench_bi.commands.terminal import cell_progress, print_table
from robustbench_bi.evaluation.request import PREPROCESSING


@click.command()
@eval_options(["models", "weights", "data"])
@click.option(
    "--norm",
    type=float,
    callback=early.a_number(),
    metavar="NORM",
    help="Perturbation norm per channel, for pixels from 0 to 1.  [default: by image side, 4 at 32, 6.5 at 64, 15.7 at "
    "224]",
)
@click.option(
    "--step",
    type=click.IntRange(1),
    metavar="N",
    help="Use every N-th frequency along each axis.  [default: 1 at 32 pixels, 2 at 64, 7 at 224: about 500]",
)
@click.option(
    "--radius",
    type=float,
    callback=early.a_number(),
    metavar="CYCLES",
    help="Only use frequencies up to this many cycles per image.  [default: all]",
)
@out_option(
    "fourier",
    "Folder for fourier.png, .svg and .pdf, fourier.csv, fourier_bands.csv (the printed table), and one file per model "
    "to resume from.",
)
@sheet_options
@eval_options([*RUNNING, *PREPROCESSING, "quiet", "as_json"])
def fourier(
    models: tuple[str, ...],
    weights: tuple[str, ...],
    out: Path,
    quiet: bool,
    as_json: bool,
    sheet: Any,
    **options: Any,
) -> None:
    """Show which frequencies cause errors: the Fourier heat map of Yin et al. (2019).

    Adds one Fourier basis vector, of fixed norm and random sign, to every image and plots the error rate by frequency.
    Needs one pass over the images per frequency.
    """
    early.check_request(models, weights=weights or None, **options)
    from robustbench_bi.analysis.fourier import band_frame, band_names
    from robustbench_bi.probes.fourier import fourier_errors
    from robustbench_bi.reports.tables.fourier import display_bands
    from robustbench_bi.reports.write import write_fourier

    with cell_progress(quiet) as progress:
        found = fourier_errors(models, weights=weights or None, out=out, progress=progress, **options)
    bands = band_frame(found)
    written = write_fourier(found, bands, out, sheet)
    if as_json:
        print_json({"bands": bands.frame, "caption": bands.caption, "files": written})
        return
    print_table(display_bands(bands.frame))
    absent = [name for name in band_names() if name not in set(bands.frame["band"])]
    skipped = f" No measured frequency lies in {', '.join(absent)}." if absent else ""
    click.echo(f"Error in percent; frequency bands in cycles per pixel.{skipped}")
    click.echo(bands.caption)
    print_written(out, written)

"""`spectra`: the frequencies that a corruption touches."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from robustbench_bi.commands import early
from robustbench_bi.commands.eval_options import eval_options
from robustbench_bi.commands.options import CORRUPTIONS, JSON, QUIET, SIDE, out_option, sheet_options
from robustbench_bi.commands.output import print_json, print_written
from robustbench_bi.commands.terminal import cell_progress, print_table


@click.command()
@click.option(
    "--images",
    callback=early.pictures,
    default="photographs",
    show_default=True,
    metavar="PATH",
    help="An image, a folder of images, a data source (see `list data`), or `photographs` (ten that ship with "
    "scikit-image).",
)
@CORRUPTIONS
@click.option(
    "--severities", callback=early.severities, default="3", show_default=True, help='Such as "1-5" or "1,3,5".'
)
@click.option(
    "--limit", type=click.IntRange(1), default=500, show_default=True, metavar="N", help="Use at most N images."
)
@click.option("--size", type=SIDE, metavar="PIXELS", help="Image side.  [default: 224]")
@eval_options(["table"])
@click.option(
    "--jpeg",
    type=click.IntRange(1, 100),
    metavar="QUALITY",
    help="Quality of a JPEG round trip after each corruption.  [default: no round trip]",
)
@eval_options(["seed"])
@out_option("spectra", "Folder for spectra.png, .svg and .pdf, spectra.csv and spectra_bands.csv (the printed table).")
@sheet_options
@QUIET
@JSON
def spectra(images: str, out: Path, quiet: bool, as_json: bool, sheet: Any, **options: Any) -> None:
    """Show which frequencies a corruption changes: power spectra and their ratio to clean.

    Reproduces the right half of the paper's Fig. 4. Prints the ratio in three bands: low (periods longer than 16
    pixels), middle, and high (periods up to 4 pixels).
    """
    from robustbench_bi.analysis.spectra import bands_frame, spectra_frame
    from robustbench_bi.probes.spectra import picture_spectra
    from robustbench_bi.reports.tables.spectra import display_bands
    from robustbench_bi.reports.write import write_spectra

    with cell_progress(quiet) as progress:
        measured = picture_spectra(images, progress=progress, **options)
    bands = bands_frame(measured)
    written = write_spectra(spectra_frame(measured), bands, out, sheet)
    if as_json:
        print_json({"bands": bands.frame, "caption": bands.caption, "files": written})
        return
    print_table(display_bands(bands.frame))
    click.echo("Power relative to clean: low is below 1/16 cycle per pixel, high from 1/4.")
    click.echo(bands.caption)
    print_written(out, written)

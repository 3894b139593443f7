"""`bivo-robust view`: the images of runs in a browser."""

from __future__ import annotations

from pathlib import Path

import click

from robustbench_bi.commands import completion
from robustbench_bi.commands.options import QUIET
from robustbench_bi.commands.terminal import cell_progress


@click.command()
@click.argument(
    "runs", nargs=-1, required=True, metavar="RUN...", type=click.Path(path_type=Path), shell_complete=completion.runs
)
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    help="Write a selection to FOLDER/index.html instead, to share.",
    metavar="FOLDER",
)
@click.option(
    "--limit",
    type=click.IntRange(1),
    default=24,
    show_default=True,
    help="Images in --out: the first by loss, by confidence of wrong answers and by disagreement.",
)
@click.option("--port", type=click.IntRange(1, 65535), help="Port of the local page.  [default: a free one]")
@click.option("--data", metavar="PATH", help="Where the images are now, if they have moved.")
@QUIET
def view(runs: tuple[Path, ...], out: Path | None, limit: int, port: int | None, data: str | None, quiet: bool) -> None:
    """Browse the images of finished runs: a local page, or a folder of files.

    Shows clean and corrupted images side by side, made on the fly exactly as the networks saw them, with every
    network's answers. Sort by loss or confidence, filter images that flip, see all severities of an image and which
    classes are confused. The page works on this machine only, sends nothing elsewhere, and ends with Ctrl-C.
    """
    from robustbench_bi.commands.chosen_runs import LeftOut, open_runs

    left_out = LeftOut()
    opened = open_runs(runs, left_out)
    left_out.say()
    from robustbench_bi.reports.view.album import open_album

    album = open_album(opened, data)
    if out is not None:
        from robustbench_bi.reports.view.folder import write_folder

        with cell_progress(quiet) as progress:
            page, held = write_folder(album, out, limit, progress)
        click.echo(f"Written: {page} (with {held:,} of {len(album):,} images)")
        return
    from robustbench_bi.commands.browser import open_browser
    from robustbench_bi.reports.view.server import ViewServer

    with ViewServer(album, port or 0) as server:
        click.echo(server.address)
        click.echo("Press Ctrl-C to stop.", err=True)
        if not open_browser(server.address):
            click.echo("No browser was found here; open the address in yours.", err=True)
        server.serve_forever()

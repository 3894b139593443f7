"""`corrupt`: corrupted images as files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from robustbench_bi.commands import completion, early
from robustbench_bi.commands.endings import remember_out
from robustbench_bi.commands.eval_options import eval_options
from robustbench_bi.commands.options import QUIET, SIDE
from robustbench_bi.commands.terminal import cell_progress
from robustbench_bi.data.request import DataRequest


class SideType(click.ParamType):  # type: ignore[type-arg]
    """A side in pixels, or "native"."""

    name = "side"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The number, or the word."""
        return value if value == "native" else SIDE.convert(value, param, ctx)


@click.command()
@click.argument("source", metavar="SRC", callback=early.a_source, shell_complete=completion.sources)
@click.argument("destination", metavar="DST", type=click.Path(path_type=Path), callback=remember_out)
@eval_options(["suite", "severities", "table"])
@click.option(
    "--jpeg",
    metavar="QUALITY",
    callback=early.a_quality,
    help="JPEG quality, 1 to 95, or none for PNG files.  [default: 85; arrays store raw pixels]",
)
@click.option(
    "--clean",
    is_flag=True,
    help="Also write the clean images: none.npy, or none/0 as PNG data under the same file names.",
)
@click.option("--limit", type=click.IntRange(1), metavar="N", help="Use a fixed random subset of N images.")
@eval_options(["seed"])
@click.option(
    "--size", type=SideType(), metavar="PIXELS", help="Image side, or native to keep each image's size.  [default: 224]"
)
@click.option(
    "--resize",
    type=SIDE,
    metavar="PIXELS",
    help="Short side before the crop.  [default: 256 for 224, in proportion]",
)
@eval_options(["classes", "skip_broken"])
@click.option("--keep-format", is_flag=True, help="Keep suffix and format: JPEG stays JPEG, others become PNG.")
@click.option("--verify", is_flag=True, help="Check existing files by checksum, not only by size.")
@click.option("--workers", type=click.IntRange(1), metavar="N", help="Number of processes.  [default: one per core]")
@QUIET
def corrupt(source: str, destination: Path, jpeg: str | None, quiet: bool, **options: Any) -> None:
    """Write corrupted images to DST in ImageNet-C's folder layout.

    SRC is a data source of clean images, see `list data`; cifar-10 is written as CIFAR-10-C's arrays. The pixels are
    identical to those `eval` uses. Run the same command again to resume, and to regenerate damaged files.
    """
    import shlex

    DataRequest(source, classes=options["classes"]).check_source()
    from robustbench_bi.corrupted_files import write_corrupted

    with cell_progress(quiet) as progress:
        summary = write_corrupted(source, destination, jpeg=jpeg or "auto", progress=progress, **options)
    total = f"{summary.written + summary.whole:,} files"
    if not summary.written:
        click.echo(f"Nothing to do: all {total} already exist in {destination}.")
    elif not summary.whole:
        click.echo(f"Written to {destination}: {total}.")
    else:
        click.echo(f"Written to {destination}: {summary.written:,} of {total}; the others already existed.")
    if summary.broken:
        click.echo(f"Skipped because they cannot be decoded: {summary.broken} images; bivo-robust.json lists them.")
    if not summary.source:  # they have no classes
        return
    classes = [] if summary.classes is None else ["--classes", str(summary.classes)]
    # Not all of what eval asks for by default may be there.
    cells = {f"--{name}": options[name] for name in ("suite", "severities")}
    usual = {"--suite": "imagenet-c", "--severities": "1-5"}
    chosen = [word for pair in cells.items() if pair not in usual.items() for word in pair]
    command = ["bivo-robust", "eval", "--model", "NAME", "--data", summary.source, *classes, *chosen]
    click.echo(f"Evaluate them with: {shlex.join(command)}")

"""The command line. Heavy imports stay inside the command bodies, so that `--help` is immediate."""

from __future__ import annotations

import importlib
import json
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from robustbench_bi import __version__
from robustbench_bi.errors import BivoRobustError
from robustbench_bi.terminal import cell_progress, print_table, training_progress

if TYPE_CHECKING:
    import pandas as pd

    from robustbench_bi.records import Run


class OneLineError(click.ClickException):
    """An error the user can mend: one line on standard error, exit code 2."""

    exit_code = 2


class Commands(click.Group):
    """A group that shows what the user can mend as one line, without a traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the chosen command."""
        try:
            return super().invoke(ctx)
        except BivoRobustError as error:
            raise OneLineError(" ".join(str(error).split())) from error
        except click.UsageError as error:
            if isinstance(error, click.exceptions.NoArgsIsHelpError):
                raise
            raise OneLineError(" ".join(error.format_message().split())) from error


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="bivo-robust")
def cli() -> None:
    """Corruption robustness of image classifiers: ImageNet-C with intervals and paired tests, and BiNet.

    Exit codes: 0 done, 2 bad input or a failure that is explained in one line.
    """


def severities_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """The --suite and --severities that several commands take."""
    command = click.option("--severities", default="1-5", show_default=True, help='Such as "1-5" or "1,3,5".')(command)
    return click.option(
        "--suite",
        default="imagenet-c",
        show_default=True,
        help="A suite, a category, or corruption names with commas; see `bivo-robust list suites`.",
    )(command)


def json_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """The --json that commands with results take."""
    return click.option("--json", "as_json", is_flag=True, help="Print machine-readable results on stdout.")(command)


@cli.command("eval")
@click.option(
    "--model",
    "models",
    multiple=True,
    required=True,
    metavar="NAME",
    help="A row of `list models`, timm:NAME, torchvision:NAME, or your own package.module:function. Repeatable: "
    "several models share every corrupted batch.",
)
@click.option(
    "--weights",
    multiple=True,
    metavar="W",
    help="A checkpoint (.pth, .pt, .safetensors), a torchvision weights name, pretrained, none (random), or demo: one "
    "for all models, or one for each. The demo data default to demo; your own function brings its own.",
)
@click.option(
    "--data",
    default="demo",
    show_default=True,
    metavar="SOURCE",
    help="A folder of class folders, or a source such as imagenet-c:PATH; see `list data`.",
)
@severities_option
@click.option("--table", default="auto", show_default=True, help="Table of severity constants; auto: by image side.")
@click.option("--jpeg", default="auto", show_default=True, help="JPEG quality after a corruption, none, or auto.")
@click.option("--limit", type=click.IntRange(1), metavar="N", help="Evaluate N images, chosen by a hash of their ids.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Keys every random draw.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:1, …")
@click.option("--batch-size", type=click.IntRange(1), default=64, show_default=True, metavar="N")
@click.option(
    "--workers", type=click.IntRange(0), metavar="N", help="Decoding threads.  [default: one a core, up to 8]"
)
@click.option("--precision", type=click.Choice(["fp32", "bf16", "fp16"]), default="fp32", show_default=True)
@click.option("--out", type=click.Path(path_type=Path), default=Path("runs"), show_default=True, help="Folder of runs.")
@click.option("--classes", type=click.Path(path_type=Path), help="Tab-separated: class number, folder name, label.")
@click.option("--skip-broken", is_flag=True, help="Leave out images that cannot be decoded, and say so.")
@click.option(
    "--generator",
    type=click.Choice(["bivo-robust", "imagecorruptions"]),
    default="bivo-robust",
    show_default=True,
    help="Who makes the corrupted pixels; the other package serves comparison.",
)
@click.option("--mean", help="Overrides the model's, such as 0.5,0.5,0.5.")
@click.option("--std", help="Overrides the model's.")
@click.option("--input-size", type=int, metavar="PIXELS", help="Overrides the model's.")
@click.option("--resize-size", type=int, metavar="PIXELS", help="Overrides the model's: short side before the crop.")
@click.option("--interpolation", help="Overrides the model's: bilinear, bicubic, …")
@click.option("--quiet", is_flag=True, help="No progress.")
@json_option
def evaluate(
    models: tuple[str, ...],
    weights: tuple[str, ...],
    quiet: bool,
    as_json: bool,
    mean: str | None,
    std: str | None,
    **options: Any,
) -> None:
    """Evaluate networks on clean and corrupted images.

    Keeps every prediction under --out, one folder a run; the same command continues a run that was stopped.
    """
    from robustbench_bi.evaluate import evaluate_models
    from robustbench_bi.reports.frames import summary_frame

    means, stds = _numbers("--mean", mean), _numbers("--std", std)
    with cell_progress(quiet) as progress:
        runs = evaluate_models(models, weights=weights or None, mean=means, std=stds, progress=progress, **options)
    summaries = [(run, summary_frame(run)) for run in runs]
    if as_json:
        _print_json([{**_about(run), "summary": frame, "cells": run.cells()} for run, frame in summaries])
        return
    for number, (run, frame) in enumerate(summaries):
        if number:
            click.echo()
        _print_summary(run, frame)


@cli.command()
@click.argument("runs", nargs=-1, required=True, metavar="RUN...", type=click.Path(path_type=Path))
@click.option(
    "--baseline", required=True, metavar="RUN", type=click.Path(path_type=Path), help="The run compared with."
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=Path("comparison"),
    show_default=True,
    help="Folder for fig3.png and .svg, severity_curves.png and .svg, and the tables as CSV and Markdown.",
)
@click.option(
    "--across",
    multiple=True,
    metavar="SETTING",
    help="Let generator, seed, table or jpeg differ between the runs: other pictures of the same images. Repeatable.",
)
@json_option
def compare(runs: tuple[Path, ...], baseline: Path, out: Path, across: tuple[str, ...], as_json: bool) -> None:
    """Compare finished runs with a baseline run, image by image.

    Prints Δ top-1 for the bars of the paper's Fig. 3, with paired intervals and tests, and writes figures and tables.
    """
    from robustbench_bi.records import open_run
    from robustbench_bi.reports.comparison import comparison_frame
    from robustbench_bi.reports.display import display_comparison
    from robustbench_bi.reports.write import write_comparison

    baseline_run = open_run(baseline)
    others = [open_run(run) for run in dict.fromkeys(run.resolve() for run in runs) if run != baseline.resolve()]
    bars = comparison_frame(others, baseline_run, across=across)
    written = write_comparison(others, baseline_run, bars, out, across)
    if as_json:
        _print_json({"baseline": _about(baseline_run), "bars": bars, "notes": bars.attrs["notes"], "files": written})
        return
    print_table(display_comparison(bars).drop(columns=["baseline %", "top-1 %", "p"]))
    for note in [bars.attrs["caption"], bars.attrs["tests"], *bars.attrs["notes"]]:
        click.echo(note)
    click.echo(f"Written to {out}: {', '.join(path.name for path in written)}")


@cli.command()
@click.argument("cells", type=click.Path(path_type=Path), metavar="CELLS.csv")
@click.option(
    "--normalizer",
    type=click.Path(path_type=Path),
    metavar="CELLS.csv",
    help="Accuracies of the network to divide by.  [default: AlexNet's published errors]",
)
@json_option
def score(cells: Path, normalizer: Path | None, as_json: bool) -> None:
    """Compute mCE, relative mCE and means from a table of published accuracies.

    CELLS.csv has the columns corruption, severity, top1 (percent) and, for several models, model. Clean is the
    corruption "clean" or "none"; an empty severity is the mean over five.
    """
    from robustbench_bi.reports.display import display_summary
    from robustbench_bi.reports.score import read_cells
    from robustbench_bi.reports.score import score as score_cells

    scores = score_cells(read_cells(cells), None if normalizer is None else read_cells(normalizer))
    if as_json:
        _print_json({"scores": scores, "notes": scores.attrs["notes"]})
        return
    for model, own in scores.groupby("model", sort=False):
        print_table(display_summary(own).drop(columns="model"), title=str(model), rule_after=_last_category(own))
    for note in [*scores.attrs["notes"], scores.attrs["caption"]]:
        click.echo(note)


@cli.command()
@click.argument("source", metavar="SRC")
@click.argument("destination", metavar="DST", type=click.Path(path_type=Path))
@severities_option
@click.option("--table", default="auto", show_default=True, help="Table of severity constants; auto: by image side.")
@click.option(
    "--jpeg",
    metavar="QUALITY",
    help="JPEG quality, 1 to 95, or none for PNG files.  [default: 85; arrays hold the pixels as they are]",
)
@click.option(
    "--clean",
    is_flag=True,
    help="Write the clean images too: none.npy, or none/0 with PNG data under the names of the corrupted files.",
)
@click.option("--limit", type=click.IntRange(1), metavar="N", help="Take N images, chosen by a hash of their ids.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Keys every random draw.")
@click.option("--size", type=click.IntRange(32), metavar="PIXELS", help="Side of the images.  [default: 224]")
@click.option(
    "--resize",
    type=click.IntRange(32),
    metavar="PIXELS",
    help="Short side before the crop; files of the right size stay as they are.  [default: 256 for 224, in proportion]",
)
@click.option("--classes", type=click.Path(path_type=Path), help="Tab-separated: class number, folder name, label.")
@click.option("--skip-broken", is_flag=True, help="Leave out images that cannot be decoded, and say so.")
@click.option("--verify", is_flag=True, help="Compare the checksums of files that are there, not their sizes alone.")
@click.option("--workers", type=click.IntRange(1), metavar="N", help="Processes.  [default: one a core]")
@click.option("--quiet", is_flag=True, help="No progress.")
def corrupt(source: str, destination: Path, jpeg: str | None, quiet: bool, **options: Any) -> None:
    """Write corrupted images to DST, in the folder layout of ImageNet-C.

    SRC is a data source of clean images, see `list data`; cifar-10 becomes the arrays of CIFAR-10-C. The pixels are
    those that `eval` makes. The same command again continues what was stopped, and makes again what was damaged.
    """
    from robustbench_bi.corrupted_files import write_corrupted

    with cell_progress(quiet) as progress:
        summary = write_corrupted(source, destination, jpeg=jpeg or "auto", progress=progress, **options)
    total = f"{summary.written + summary.whole:,} files"
    if not summary.written:
        click.echo(f"Nothing to do: all {total} are there, in {destination}.")
    elif not summary.whole:
        click.echo(f"Written to {destination}: {total}.")
    else:
        click.echo(f"Written to {destination}: {summary.written:,} of {total}; the others were there.")
    if summary.broken:
        click.echo(f"Left out, because they cannot be decoded: {summary.broken} images; bivo-robust.json lists them.")
    classes = [] if summary.classes is None else ["--classes", str(summary.classes)]
    command = ["bivo-robust", "eval", "--model", "NAME", "--data", summary.source, *classes]
    click.echo(f"Evaluate them with: {shlex.join(command)}")


@cli.command()
@click.option("--model", required=True, metavar="NAME", help="A row of `list models`, or another library's network.")
@click.option("--data", default="demo", show_default=True, metavar="SOURCE", help="A source with a training split.")
@click.option(
    "--preset", type=click.Choice(["paper", "cifar", "demo"]), help="[default: demo for the demo data, else paper]"
)
@click.option("--epochs", type=click.IntRange(1), help="In place of the preset's.")
@click.option("--limit", type=click.IntRange(1), metavar="N", help="Train on N images.")
@click.option("--option", "options", multiple=True, metavar="KEY=VALUE", help="Of the network, such as width=0.25.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@click.option("--device", default="auto", show_default=True)
@click.option("--precision", type=click.Choice(["fp32", "bf16"]), default="fp32", show_default=True)
@click.option("--workers", type=click.IntRange(0), default=0, show_default=True, metavar="N", help="Decoding threads.")
@click.option("--classes", type=click.Path(path_type=Path), help="Tab-separated: class number, folder name, label.")
@click.option(
    "--out", type=click.Path(path_type=Path), default=Path("trained"), show_default=True, help="Folder of the results."
)
@click.option("--quiet", is_flag=True, help="No progress.")
def train(model: str, data: str, preset: str | None, options: tuple[str, ...], quiet: bool, **rest: Any) -> None:
    """Train a network from random weights; ends with OUT/NAME.safetensors.

    The checkpoint holds the network's options, classes and preprocessing: `eval --model NAME --weights FILE` needs no
    more. No corruption is ever shown in training.
    """
    from robustbench_bi.training.loop import train as run_training

    preset = preset or ("demo" if data == "demo" else "paper")
    chosen = dict(_option(text) for text in options)
    path = run_training(
        model, data, preset=preset, options=chosen, progress=None if quiet else training_progress(), **rest
    )
    click.echo(f"Written: {path}")


@cli.command()
@click.argument("models", nargs=-1, metavar="[MODEL]...")
@click.option("--size", type=click.IntRange(32), default=224, show_default=True, help="Side of the image, in pixels.")
@json_option
def profile(models: tuple[str, ...], size: int, as_json: bool) -> None:
    """Count parameters and multiply-accumulates (of one image) of networks; by default of all of our own."""
    import pandas as pd

    from robustbench_bi.models import MODELS
    from robustbench_bi.models.profile import profile as profile_model

    counts = {name: profile_model(name, size=size) for name in models or MODELS.names}
    if as_json:
        _print_json([{"model": name, **count} for name, count in counts.items()])
        return
    rows = [(name, f"{c['parameters'] / 1e6:.3f}", f"{c['macs'] / 1e9:.3f}") for name, c in counts.items()]
    print_table(pd.DataFrame(rows, columns=["model", "parameters (M)", "MACs (G)"]))


LISTED = {
    "models": ("robustbench_bi.models", "MODELS", ("name", "aliases", "family", "summary")),
    "corruptions": ("robustbench_bi.corruptions", "CORRUPTIONS", ("name", "category", "kernels", "summary")),
    "suites": ("robustbench_bi.corruptions", "SUITES", ("name", "summary")),
    "tables": ("robustbench_bi.corruptions", "TABLES", ("name", "side")),
    "metrics": ("robustbench_bi.metrics", "METRICS", ("name", "unit", "better", "summary")),
    "figures": ("robustbench_bi.reports", "FIGURES", ("name", "summary")),
    "data": ("robustbench_bi.data", "SOURCES", ("name", "summary")),
}

NOTES = {"corruptions": "On CUDA, those without a triton kernel run as plain torch; none passes through the CPU."}


@cli.command("list")
@click.argument("what", type=click.Choice(list(LISTED)))
@click.option(
    "--gallery",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="With corruptions: draw each of them at five severities on one sheet, DIR/corruptions.png.",
)
@json_option
def list_rows(what: str, gallery: Path | None, as_json: bool) -> None:
    """Show what there is."""
    if gallery is not None:
        _draw_gallery(what, gallery)
        return
    module, table_name, columns = LISTED[what]
    table = getattr(importlib.import_module(module), table_name)
    rows = [{**vars(row), "aliases": table.aliases_of(row.name)} for row in table]
    if as_json:
        hidden = ("code", "scores")
        shown = [{key: value for key, value in row.items() if key not in hidden} for row in rows]
        click.echo(json.dumps(shown, indent=1, ensure_ascii=False, default=dict))
        return
    texts = [[", ".join(row[key]) if isinstance(row[key], tuple) else str(row[key]) for key in columns] for row in rows]
    widths = [max(map(len, column)) for column in zip(*texts, strict=True)]
    for text in texts:
        click.echo("  ".join(f"{cell:<{width}}" for cell, width in zip(text, widths, strict=True)).rstrip())
    if what in NOTES:
        click.echo(NOTES[what])


def _draw_gallery(what: str, folder: Path) -> None:
    from robustbench_bi.corruptions.gallery import gallery, sample_photograph
    from robustbench_bi.reports.gallery import gallery_sheet
    from robustbench_bi.reports.write import write_png

    if what != "corruptions":
        raise OneLineError(f"--gallery is of corruptions, got {what!r}; try: list corruptions --gallery {folder}")
    sheet = gallery_sheet(gallery(sample_photograph()), "A photograph of 224×224 pixels; table imagenet-c, seed 0.")
    path = folder / "corruptions.png"
    write_png(sheet, path, dpi=160)
    click.echo(f"Written: {path}")


def _option(text: str) -> tuple[str, Any]:
    """A network's option from "key=value"; the value is read as JSON where it is JSON, else as a word."""
    key, equals, value = text.partition("=")
    if not equals:
        raise OneLineError(f"--option must be KEY=VALUE, such as width=0.25, got {text!r}")
    try:
        return key, json.loads(value)
    except ValueError:
        return key, value


def _numbers(option: str, text: str | None) -> tuple[float, ...] | None:
    if text is None:
        return None
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise OneLineError(f"{option} must be numbers with commas, such as 0.485,0.456,0.406, got {text!r}") from None


def _about(run: Run) -> dict[str, Any]:
    """What identifies a run in machine-readable results."""
    keys = ("fingerprint", "data", "n", "table", "jpeg", "generator", "seed")
    return {"name": run.name, "directory": run.directory, **{key: run.config[key] for key in keys}}


def _print_summary(run: Run, frame: pd.DataFrame) -> None:
    """The table of one run, and below it what it is of and where its records lie."""
    from robustbench_bi.reports.display import display_summary, format_interval

    scores = frame["kind"].isin(["mce", "relative_mce"])
    shown = display_summary(frame[~scores])
    wanted = [column for column in ("corruption", "n", "top-1 %", "Δ to clean", "CE / mCE %") if column in shown]
    print_table(shown[wanted], title=run.name, rule_after=_last_category(frame))
    for _, row in frame[scores].iterrows():
        ends = row[["corruption_error", "corruption_error_low", "corruption_error_high"]]
        click.echo(f"{row['name']}: {format_interval(*ends, decimals=2)}")
    for _, row in frame[frame["kind"].isin(["clean", "mean"])].iterrows():
        columns = (("top5", "top-5 %"), ("expected_calibration_error", "ECE %"), ("negative_log_likelihood", "NLL"))
        parts = [f"{label} {format_interval(*row[[name, f'{name}_low', f'{name}_high']])}" for name, label in columns]
        click.echo(f"{row['name']}: {', '.join(parts)}")
    click.echo(frame.attrs["caption"])
    broken = run.config["runtime"]["broken"]
    if broken:
        click.echo(f"Left out, because they cannot be decoded: {len(broken)} images; run.json lists them.")
    click.echo(f"Records: {run.directory / 'records'}")


def _last_category(frame: pd.DataFrame) -> int:
    """Number of the last row above the single corruptions."""
    return int((~frame["kind"].isin(["corruption", "mce", "relative_mce"])).sum()) - 1


def _print_json(value: Any) -> None:
    from robustbench_bi.reports.write import as_json

    click.echo(json.dumps(as_json(value), indent=1, ensure_ascii=False, allow_nan=False, default=str))

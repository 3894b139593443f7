"""The command line. Heavy imports stay inside the command bodies, so that `--help` is immediate."""

from __future__ import annotations

import importlib
import json
import os
import shlex
import textwrap
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from robustbench_bi import __version__
from robustbench_bi.commands.terminal import cell_progress, print_table, training_progress
from robustbench_bi.errors import BivoRobustError

if TYPE_CHECKING:
    import pandas as pd

    from robustbench_bi.evaluation.sharing import Share
    from robustbench_bi.runs.records import Run


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

    Exit codes: 0 done, 1 a regression (of `gate` alone), 2 bad input or a failure that is explained in one line.
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

    Keeps every prediction under --out, one folder a run; the same command continues a run that was stopped. Processes
    that torchrun, srun or a SLURM job array starts share the work; docs/scale.md describes it.
    """
    from robustbench_bi.analysis.summary import summary_frame
    from robustbench_bi.evaluation.loop import evaluate_models
    from robustbench_bi.evaluation.sharing import share_of_environment

    means, stds = _numbers("--mean", mean), _numbers("--std", std)
    share = share_of_environment()
    quiet = quiet or share.follows or share.local_rank > 0
    if share.count > 1 and not quiet:
        _say_shared(share)
    with cell_progress(quiet) as progress:
        runs = evaluate_models(
            models, weights=weights or None, mean=means, std=stds, progress=progress, share=share, **options
        )
    if share.follows or (not share.leads and _left_to_others(runs, share)):
        return
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
    help="Folder for the figures of `list figures` as PNG and SVG, and the tables as CSV and Markdown.",
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
    from robustbench_bi.analysis.comparison import comparison_frame
    from robustbench_bi.reports.tables.display import display_comparison
    from robustbench_bi.reports.write import write_comparison
    from robustbench_bi.runs.records import open_run

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
@click.argument("runs", nargs=-1, required=True, metavar="RUN...", type=click.Path(path_type=Path))
@click.option(
    "--baseline",
    metavar="RUN",
    type=click.Path(path_type=Path),
    help="The run that the others are compared with.  [default: the first of several]",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=Path("report.html"),
    show_default=True,
    help="File to write: .html is a page, .md and .tex are tables for a paper.",
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["html", "markdown", "latex"]),
    help="What to write.  [default: as the suffix of --out says]",
)
@click.option(
    "--pictures",
    is_flag=True,
    help="Show example pictures and power spectra too. Corruptions are made again: some seconds, and 1 GB.",
)
def report(runs: tuple[Path, ...], baseline: Path | None, out: Path, form: Any, pictures: bool) -> None:
    """Write a report of finished runs: one page that needs no network, or tables for a paper.

    The page holds accuracies with intervals, Fig. 3, severity curves, a table of models and corruptions, the worst
    drops, calibration, and how the runs were made. It is made from the records; no model is run.
    """
    from robustbench_bi.reports.page.pictures import pictures_of
    from robustbench_bi.reports.report import write_report
    from robustbench_bi.runs.records import open_run

    named = {run.resolve(): run for run in ([*runs] if baseline is None else [baseline, *runs])}
    if baseline is not None and len(named) == 1:
        raise OneLineError("a report with --baseline needs at least one run beside the baseline, got none")
    opened = [open_run(path) for path in named.values()]
    made = write_report(opened, out, form=form, open_pictures=pictures_of if pictures else None)
    if made.bars is not None:
        click.echo(f"Compared with {made.models[0]}: {', '.join(made.models[1:])}")
        for note in made.bars.attrs["notes"]:
            click.echo(note)
    click.echo(f"Written: {out} ({out.stat().st_size / 1000:,.0f} kB)")


@cli.command()
@click.argument("run", metavar="RUN", type=click.Path(path_type=Path))
@click.option("--baseline", metavar="FILE", type=click.Path(path_type=Path), help="Compare the run with this baseline.")
@click.option("--save", metavar="FILE", type=click.Path(path_type=Path), help="Make the run a baseline: write it here.")
@click.option(
    "--max-drop",
    type=float,
    default=1.0,
    show_default=True,
    metavar="POINTS",
    help="Top-1 that clean, the mean, a category or a corruption may lose.",
)
@click.option(
    "--confidence",
    type=float,
    default=0.95,
    show_default=True,
    help="That no row is called a regression by chance; the intervals hold together (Bonferroni).",
)
@click.option("--junit", metavar="FILE", type=click.Path(path_type=Path), help="Write the verdicts as JUnit XML too.")
@click.option("--skip-new-cells", is_flag=True, help="Leave out cells that the baseline lacks, and say so.")
def gate(run: Path, baseline: Path | None, save: Path | None, junit: Path | None, **options: Any) -> None:
    """Stop a network that got worse: compare a finished run with a baseline, image by image.

    A row regresses where its top-1 dropped by more than --max-drop and the paired interval lies below zero. Exit codes:
    0 all rows hold, 1 a regression, 2 trouble: other data, settings or cells than the baseline's, an unfinished run, a
    damaged file. On GitHub the rows are also shown beside the job.
    """
    if (baseline is None) == (save is None):
        raise OneLineError("gate needs either --baseline FILE, to compare with, or --save FILE, to make a baseline")
    context, default = click.get_current_context(), click.core.ParameterSource.DEFAULT
    given = [name for name in ("junit", *options) if context.get_parameter_source(name) is not default]
    with _only_a_regression_is_1():
        if save is not None:
            _save_baseline(run, save, given)
        regressed = baseline is not None and _check_gate(run, baseline, junit, options)
    context.exit(1 if regressed else 0)


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
    from robustbench_bi.analysis.score import read_cells
    from robustbench_bi.analysis.score import score as score_cells
    from robustbench_bi.reports.tables.display import display_summary

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
@click.option("--epochs", type=click.IntRange(1), help="In place of the preset's, as the next seven.")
@click.option("--batch-size", type=click.IntRange(1), metavar="N", help="Images a step, of all processes together.")
@click.option("--learning-rate", type=float, metavar="RATE", help="For 256 images a step; scaled with --batch-size.")
@click.option("--warmup-epochs", type=float, metavar="N", help="The learning rate rises linearly over these.")
@click.option("--label-smoothing", type=float, metavar="SHARE", help="Such as 0.1.")
@click.option("--ema", type=float, metavar="DECAY", help="Evaluate and save a moving average of the weights.")
@click.option("--augment", type=click.Choice(["none", "augmix", "noise"]), help="A baseline of robustness.")
@click.option("--recipe", "changes", multiple=True, metavar="KEY=VALUE", help="Another part, as weight_decay=5e-5.")
@click.option("--limit", type=click.IntRange(1), metavar="N", help="Train on N images.")
@click.option("--option", "options", multiple=True, metavar="KEY=VALUE", help="Of the network, such as width=0.25.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@click.option("--device", default="auto", show_default=True)
@click.option("--precision", type=click.Choice(["fp32", "bf16"]), default="fp32", show_default=True)
@click.option("--accumulate", type=click.IntRange(1), default=1, metavar="N", help="Micro-batches a step: less memory.")
@click.option("--compile", "compiled", is_flag=True, help="Use torch.compile.")
@click.option(
    "--sync-batch-norm/--no-sync-batch-norm",
    default=None,
    help="Batch normalisation over all processes.  [default: on CUDA]",
)
@click.option(
    "--workers", type=click.IntRange(0), metavar="N", help="Decoding threads.  [default: one a core, up to 8]"
)
@click.option("--classes", type=click.Path(path_type=Path), help="Tab-separated: class number, folder name, label.")
@click.option(
    "--out", type=click.Path(path_type=Path), default=Path("trained"), show_default=True, help="Folder of the results."
)
@click.option(
    "--save-every",
    type=click.FloatRange(0),
    default=600,
    show_default=True,
    metavar="SECONDS",
    help="Keep the state to go on from within an epoch too.",
)
@click.option("--tensorboard", "events", is_flag=True, help="Write TensorBoard's logs to OUT/NAME-tensorboard.")
@click.option("--quiet", is_flag=True, help="No progress.")
def train(
    model: str,
    data: str,
    preset: str | None,
    changes: tuple[str, ...],
    options: tuple[str, ...],
    quiet: bool,
    **rest: Any,
) -> None:
    """Train a network from random weights; ends with OUT/NAME.safetensors.

    The checkpoint holds the network's options, classes and preprocessing: `eval --model NAME --weights FILE` needs no
    more. No corruption is ever shown in training. The same command continues a training that was stopped, exactly.
    Under torchrun several processes share each batch; docs/training.md describes it.
    """
    from robustbench_bi.training.loop import train as run_training

    preset = preset or ("demo" if data == "demo" else "paper")
    frequent = ("batch_size", "learning_rate", "warmup_epochs", "label_smoothing", "ema", "augment")
    recipe = {name: value for name in frequent if (value := rest.pop(name)) is not None}
    recipe |= dict(_option(text, "--recipe", "weight_decay=5e-5") for text in changes)
    chosen = dict(_option(text) for text in options)
    follows = os.environ.get("RANK", "0") != "0"
    try:
        with training_progress(quiet or follows) as (progress, note):
            path = run_training(
                model, data, preset=preset, recipe=recipe, options=chosen, progress=progress, note=note, **rest
            )
    except KeyboardInterrupt as stopped:
        if not stopped.args:
            raise
        click.echo(str(stopped), err=True)
        raise click.exceptions.Exit(130) from stopped
    if not follows:
        click.echo(f"Written: {path}")


@cli.command()
@click.argument("models", nargs=-1, metavar="[MODEL]...")
@click.option("--table", type=click.Choice(["1", "4"]), help="Of the paper.  [default: 1, or the one with the MODEL]")
@click.option("--size", type=click.IntRange(32), default=224, show_default=True, help="Side of the image, in pixels.")
@json_option
def profile(models: tuple[str, ...], table: str | None, size: int, as_json: bool) -> None:
    """Count parameters and multiply-accumulates of networks, beside those that the paper prints.

    Without MODEL all rows of the paper's Table 1 or 4; `list variants` names the configurations of Table 4.
    """
    import pandas as pd

    from robustbench_bi.models.paper import as_text, compare_with_paper

    rows = compare_with_paper(models, None if table is None else int(table), size)
    if as_json:
        _print_json(rows)
        return
    titles, cells, lines = as_text(rows)
    print_table(pd.DataFrame(cells, columns=titles))
    for line in lines:
        click.echo(textwrap.fill(line, 100, subsequent_indent="    " if line.startswith("[") else ""))


@cli.command()
@click.argument("model", metavar="MODEL")
@click.option("--weights", required=True, metavar="FILE", help="The checkpoint: .pth, .pt or .safetensors.")
@click.option(
    "--out", required=True, metavar="FILE", type=click.Path(path_type=Path), help="What to write: a .safetensors file."
)
@click.option("--option", "options", multiple=True, metavar="KEY=VALUE", help="Of the network, such as width=0.25.")
@click.option("--resize-size", type=int, metavar="PIXELS", help="Short side before the crop.  [default: 256 for 224]")
@click.option("--interpolation", metavar="NAME", help="bilinear, bicubic, …  [default: bilinear]")
@click.option("--mean", help="Of pixels from 0 to 1.  [default: ImageNet's 0.485,0.456,0.406]")
@click.option("--std", help="Likewise.  [default: 0.229,0.224,0.225]")
@click.option("--force", is_flag=True, help="Replace what is there.")
def convert(
    model: str,
    weights: str,
    out: Path,
    options: tuple[str, ...],
    mean: str | None,
    std: str | None,
    force: bool,
    **preprocessing: Any,
) -> None:
    """Turn a checkpoint into a .safetensors that also says what network it is of.

    The published ones of RedNet (mmcls), DDF, FcaNet, torchvision and timm are recognised. What is written holds the
    network's options, number of classes and preprocessing: `eval --model MODEL --weights OUT` needs no more.
    """
    from dataclasses import asdict

    from robustbench_bi.data.preprocess import preprocessing_of
    from robustbench_bi.models import create_model, resolve
    from robustbench_bi.models.weights import save_checkpoint

    if out.exists() and not force:
        raise OneLineError(f"{out} is there already; give another --out, or --force to replace it")
    if ":" in resolve(model, {})[0]:
        raise OneLineError(f"convert is for rows of `list models`, got {model!r}; eval takes its checkpoint as it is")
    network: Any = create_model(model, weights=weights, **dict(_option(text) for text in options))
    prepared = preprocessing_of(network, mean=_numbers("--mean", mean), std=_numbers("--std", std), **preprocessing)
    save_checkpoint(out, network, {**asdict(prepared), "converted_from": Path(weights).name})
    classes = f"{network.num_classes:,} classes" if network.num_classes else "no classifier"
    click.echo(f"Written: {out} ({network.identity['name']}, {classes})")


@cli.command()
@click.option(
    "--images",
    default="photographs",
    show_default=True,
    metavar="PATH",
    help="An image, a folder of images, a data source (see `list data`), or ten photographs that ship with "
    "scikit-image.",
)
@click.option(
    "--corruptions",
    default="noise,speckle_noise",
    show_default=True,
    metavar="NAMES",
    help="Corruptions, categories or suites, with commas; see `list corruptions`.",
)
@click.option("--severities", default="3", show_default=True, help='Such as "1-5" or "1,3,5".')
@click.option("--limit", type=click.IntRange(1), default=500, show_default=True, metavar="N", help="At most N images.")
@click.option("--size", type=click.IntRange(32), metavar="PIXELS", help="Side of the images.  [default: 224]")
@click.option("--table", default="auto", show_default=True, help="Table of severity constants; auto: by image side.")
@click.option(
    "--jpeg",
    type=click.IntRange(1, 100),
    metavar="QUALITY",
    help="A JPEG round trip after each corruption.  [default: the corruption alone]",
)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Keys every random draw.")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=Path("spectra"),
    show_default=True,
    help="Folder for spectra.png and .svg, spectra.csv, and spectra_bands.csv, the table that is printed.",
)
@click.option("--quiet", is_flag=True, help="No progress.")
@json_option
def spectra(images: str, out: Path, quiet: bool, as_json: bool, **options: Any) -> None:
    """Show which frequencies a corruption touches: power spectra and their ratio to clean.

    As the right half of the paper's Fig. 4. Prints the ratio in three bands: low (periods longer than 16 pixels),
    middle, and high (up to 4 pixels).
    """
    from robustbench_bi.probes.spectra import picture_spectra
    from robustbench_bi.reports.figures.spectra import write_spectra
    from robustbench_bi.reports.tables.spectra import display_bands

    with cell_progress(quiet) as progress:
        frame, bands = picture_spectra(images, progress=progress, **options)
    written = write_spectra(frame, bands, out)
    if as_json:
        _print_json({"bands": bands, "caption": frame.attrs["caption"], "files": written})
        return
    print_table(display_bands(bands))
    click.echo("Ratio of the power to that of clean: low is below 1/16 cycle per pixel, high from 1/4.")
    click.echo(frame.attrs["caption"])
    click.echo(f"Written to {out}: {', '.join(path.name for path in written)}")


def options_of_eval(*names: str) -> Callable[[click.Command], click.Command]:
    """Add options of `eval` to another command: what tells a network and its images first, the others last."""

    def add(command: click.Command) -> click.Command:
        shared = [option for option in evaluate.params if option.name in names]
        first = [option for option in shared if option.name in ("models", "weights", "data")]
        command.params[:] = [*first, *command.params, *(option for option in shared if option not in first)]
        return command

    return add


_RUNNING = ("limit", "seed", "device", "batch_size", "workers", "precision", "classes", "skip_broken", "quiet")
_PREPROCESSING = ("mean", "std", "input_size", "resize_size", "interpolation")


@options_of_eval("models", "weights", "table", "jpeg", *_RUNNING, *_PREPROCESSING, "as_json")
@cli.command()
@click.option(
    "--data",
    metavar="SOURCE",
    help="The images that correlations are taken on, see `list data`.  [default: those of --images, or demo]",
)
@click.option(
    "--images",
    metavar="PATH",
    help="The pictures to draw: an image, a folder of images, a data source, or photographs, ten that ship with "
    "scikit-image.  [default: the first of --data]",
)
@click.option("--show", type=click.IntRange(1), default=1, show_default=True, metavar="N", help="Draw N pictures.")
@click.option(
    "--corruptions",
    default="noise,speckle_noise",
    show_default=True,
    metavar="NAMES",
    help="Corruptions, categories or suites, with commas; see `list corruptions`.",
)
@click.option("--severity", type=click.IntRange(1, 5), default=3, show_default=True, help="From 1 to 5.")
@click.option("--layer", metavar="NAME", help="A module of the network.  [default: the last block of the third stage]")
@click.option(
    "--reduce",
    type=click.Choice(["mean", "max", "norm", "pca"]),
    default="mean",
    show_default=True,
    help="How channels become one map: mean, max or norm of the activations, or their first principal component.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=Path("heatmaps"),
    show_default=True,
    help="Folder for heatmaps.png and .svg, heatmaps.csv, the table that is printed, and heatmaps_images.csv.",
)
def heatmaps(
    models: tuple[str, ...],
    weights: tuple[str, ...],
    out: Path,
    quiet: bool,
    as_json: bool,
    mean: str | None,
    std: str | None,
    **options: Any,
) -> None:
    """Show what the features of networks keep of pictures under corruption.

    As the left half of the paper's Fig. 4. The number is Pearson's correlation of a heat map with that of the clean
    picture: 1 is the same map; what two different pictures have in common is shown beside it.
    """
    from robustbench_bi.probes.heatmaps import heat_maps
    from robustbench_bi.reports.figures.heatmaps import write_heat_maps
    from robustbench_bi.reports.tables.heatmaps import display_correlations

    means, stds = _numbers("--mean", mean), _numbers("--std", std)
    with cell_progress(quiet) as progress:
        found = heat_maps(models, weights=weights or None, mean=means, std=stds, progress=progress, **options)
    summary, written = write_heat_maps(found.correlations, found.grid, out)
    if as_json:
        _print_json({"correlations": summary, "caption": summary.attrs["caption"], "files": written})
        return
    print_table(display_correlations(summary))
    click.echo(summary.attrs["caption"])
    click.echo(f"Written to {out}: {', '.join(path.name for path in written)}")


@options_of_eval("models", "weights", "data", *_RUNNING, *_PREPROCESSING, "as_json")
@cli.command()
@click.option(
    "--norm",
    type=float,
    metavar="NORM",
    help="Of what is added to a channel of pixels from 0 to 1.  [default: by image side, 4 at 32, 6.5 at 64, 15.7 at "
    "224]",
)
@click.option(
    "--step",
    type=click.IntRange(1),
    metavar="N",
    help="Take every N-th frequency along each axis.  [default: 1 at 32 pixels, 2 at 64, 7 at 224: about 500]",
)
@click.option(
    "--radius",
    type=float,
    metavar="CYCLES",
    help="Only frequencies of at most so many cycles per image.  [default: all]",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=Path("fourier"),
    show_default=True,
    help="Folder for fourier.png and .svg, fourier.csv, fourier_bands.csv, the table that is printed, and a file a "
    "model from which the same command continues.",
)
def fourier(
    models: tuple[str, ...],
    weights: tuple[str, ...],
    out: Path,
    quiet: bool,
    as_json: bool,
    mean: str | None,
    std: str | None,
    **options: Any,
) -> None:
    """Show which frequencies mislead networks: the Fourier heat map of Yin et al. (2019).

    Every image gets one Fourier basis vector added, of a fixed norm and with random signs; the error rate is drawn
    against its frequency. Takes as many passes over the images as there are frequencies.
    """
    from robustbench_bi.probes.fourier import fourier_errors
    from robustbench_bi.reports.figures.fourier import write_fourier
    from robustbench_bi.reports.tables.fourier import display_bands

    means, stds = _numbers("--mean", mean), _numbers("--std", std)
    with cell_progress(quiet) as progress:
        cells = fourier_errors(
            models, weights=weights or None, mean=means, std=stds, out=out, progress=progress, **options
        )
    bands, written = write_fourier(cells, out)
    if as_json:
        _print_json({"bands": bands, "caption": bands.attrs["caption"], "files": written})
        return
    print_table(display_bands(bands))
    click.echo("Error in percent; bands of frequencies are in cycles per pixel.")
    click.echo(bands.attrs["caption"])
    click.echo(f"Written to {out}: {', '.join(path.name for path in written)}")


LISTED = {
    "models": ("robustbench_bi.models", "MODELS", ("name", "aliases", "family", "summary")),
    "variants": ("robustbench_bi.models", "VARIANTS", ("name", "model", "summary")),
    "corruptions": ("robustbench_bi.corruptions", "CORRUPTIONS", ("name", "category", "kernels", "summary")),
    "suites": ("robustbench_bi.corruptions", "SUITES", ("name", "summary")),
    "tables": ("robustbench_bi.corruptions", "TABLES", ("name", "side")),
    "metrics": ("robustbench_bi.metrics", "METRICS", ("name", "unit", "better", "summary")),
    "figures": ("robustbench_bi.reports", "FIGURES", ("name", "summary")),
    "data": ("robustbench_bi.data", "SOURCES", ("name", "summary")),
}

NOTES = {
    "corruptions": "On CUDA, those without a triton kernel run as plain torch, and so do the variants of the table "
    "imagecorruptions; none passes through the CPU."
}


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
    from robustbench_bi.reports.figures.gallery import gallery_sheet
    from robustbench_bi.reports.write import write_png

    if what != "corruptions":
        raise OneLineError(f"--gallery is of corruptions, got {what!r}; try: list corruptions --gallery {folder}")
    sheet = gallery_sheet(gallery(sample_photograph()), "A photograph of 224×224 pixels; table imagenet-c, seed 0.")
    path = folder / "corruptions.png"
    write_png(sheet, path, dpi=160)
    click.echo(f"Written: {path}")


def _option(text: str, name: str = "--option", example: str = "width=0.25") -> tuple[str, Any]:
    """A name and a value from "key=value"; the value is read as JSON where it is JSON, else as a word."""
    key, equals, value = text.partition("=")
    if not equals:
        raise OneLineError(f"{name} must be KEY=VALUE, such as {example}, got {text!r}")
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


@contextmanager
def _only_a_regression_is_1() -> Iterator[None]:
    """Turn every failure into exit code 2: left alone, Python ends with 1, which would read as a regression."""
    try:
        yield
    except (BivoRobustError, click.ClickException):
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
    from robustbench_bi.analysis.baseline import outcomes_of, read_baseline
    from robustbench_bi.analysis.gate import REGRESSED, gate_frame
    from robustbench_bi.reports.ci.verdicts import markdown_summary, publish, trouble, verdicts_of
    from robustbench_bi.reports.tables.gate import display_gate
    from robustbench_bi.runs.records import open_run

    try:
        frame = gate_frame(outcomes_of(open_run(run)), read_baseline(baseline), **options)
    except BivoRobustError as error:
        for line in publish(trouble(str(error)), str(error), junit, os.environ):
            click.echo(line)
        raise
    print_table(display_gate(frame), rule_after=_last_category(frame))
    for text in (frame.attrs["headline"], *frame.attrs["notes"], frame.attrs["caption"]):
        click.echo(text)
    for line in publish(verdicts_of(frame), markdown_summary(frame), junit, os.environ):
        click.echo(line)
    return REGRESSED in set(frame["verdict"])


def _save_baseline(run: Path, path: Path, options: list[str]) -> None:
    from robustbench_bi.analysis.baseline import outcomes_of, write_baseline
    from robustbench_bi.runs.records import open_run

    if options:
        raise OneLineError(f"--{options[0].replace('_', '-')} belongs to --baseline; a saved baseline does not hold it")
    outcomes = outcomes_of(open_run(run))
    write_baseline(outcomes, path)
    n, cells = outcomes.correct.shape
    click.echo(f"Written: {path}, the baseline of {outcomes.run['name']}: {n:,} images × {cells} cells.")


def _say_shared(share: Share) -> None:
    """Say that this is not all of the work, so that nobody is surprised who did not ask for it."""
    if share.leads:
        click.echo(f"{share.count} processes share the work; this one shows the progress of all.", err=True)
    else:
        click.echo(
            f"This is rank {share.rank} of {share.count} that share the work. To do all of it in each process, unset "
            "RANK, WORLD_SIZE and SLURM_ARRAY_TASK_ID.",
            err=True,
        )


def _left_to_others(runs: Sequence[Run], share: Share) -> bool:
    """Say which runs are not finished because other processes have not done their part, and tell whether any is."""
    unfinished = [(run, len(run.missing())) for run in runs if run.missing()]
    for run, missing in unfinished:
        total = len(run.cell_names) * len(list(run.blocks()))
        click.echo(
            f"Rank {share.rank} of {share.count} has done its part. {total - missing:,} of {total:,} cell-blocks of "
            f"{run.directory} are there; the others are left to the other ranks. The last to end prints the result.",
            err=True,
        )
    return bool(unfinished)


def _about(run: Run) -> dict[str, Any]:
    """What identifies a run in machine-readable results."""
    keys = ("fingerprint", "data", "n", "table", "jpeg", "generator", "seed")
    return {"name": run.name, "directory": run.directory, **{key: run.config[key] for key in keys}}


def _print_summary(run: Run, frame: pd.DataFrame) -> None:
    """The table of one run, and below it what it is of and where its records lie."""
    from robustbench_bi.analysis.text import format_interval
    from robustbench_bi.reports.tables.display import display_summary

    scores = frame["kind"].isin(["mce", "relative_mce", "mean_error"])
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
    return int((~frame["kind"].isin(["corruption", "mce", "relative_mce", "mean_error"])).sum()) - 1


def _print_json(value: Any) -> None:
    from robustbench_bi.reports.write import as_json

    click.echo(json.dumps(as_json(value), indent=1, ensure_ascii=False, allow_nan=False, default=str))

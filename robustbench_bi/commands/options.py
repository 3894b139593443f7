"""Options that several commands take. Those of `eval` stand in one mapping, from which others pick theirs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click

from robustbench_bi.commands import completion
from robustbench_bi.commands.endings import OneLineError, remember_out

Decorator = Callable[[Any], Any]


def out_option(default: str, help_text: str) -> Decorator:
    """The --out of a command, which is named when the command is stopped."""
    return click.option(
        "--out",
        type=click.Path(path_type=Path),
        default=Path(default),
        show_default=True,
        callback=remember_out,
        help=help_text,
    )


SUITE = click.option(
    "--suite",
    default="imagenet-c",
    show_default=True,
    help="A suite, a category, or corruption names with commas; see `bivo-robust list suites`.",
    shell_complete=completion.suites,
)
SEVERITIES = click.option("--severities", default="1-5", show_default=True, help='Such as "1-5" or "1,3,5".')
CORRUPTIONS = click.option(
    "--corruptions",
    default="noise,speckle_noise",
    show_default=True,
    metavar="NAMES",
    help="Corruptions, categories or suites, with commas; see `list corruptions`.",
    shell_complete=completion.suites,
)
TABLE = click.option(
    "--table",
    default="auto",
    show_default=True,
    help="Table of severity constants; auto: by image side.",
    shell_complete=completion.tables,
)
SEED = click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Keys every random draw.")
CLASSES = click.option(
    "--classes", type=click.Path(path_type=Path), help="Tab-separated: class number, folder name, label."
)
SKIP_BROKEN = click.option("--skip-broken", is_flag=True, help="Leave out images that cannot be decoded, and say so.")
NETWORK_OPTION = click.option(
    "--option", "options", multiple=True, metavar="KEY=VALUE", help="Of the network, such as width=0.25."
)
QUIET = click.option("--quiet", is_flag=True, help="No progress.")
JSON = click.option("--json", "as_json", is_flag=True, help="Print machine-readable results on stdout.")

EVAL_OPTIONS: dict[str, Decorator] = {
    "models": click.option(
        "--model",
        "models",
        multiple=True,
        required=True,
        metavar="NAME",
        help="A row of `list models`, timm:NAME, torchvision:NAME, or your own package.module:function. Repeatable: "
        "several models share every corrupted batch.",
        shell_complete=completion.models,
    ),
    "weights": click.option(
        "--weights",
        multiple=True,
        metavar="W",
        help="A checkpoint (.pth, .pt, .safetensors), a torchvision weights name, pretrained, none (random), or demo: "
        "one for all models, or one for each. The demo data default to demo; your own function brings its own.",
    ),
    "data": click.option(
        "--data",
        default="demo",
        show_default=True,
        metavar="SOURCE",
        help="A folder of class folders, or a source such as imagenet-c:PATH; see `list data`.",
        shell_complete=completion.sources,
    ),
    "suite": SUITE,
    "severities": SEVERITIES,
    "table": TABLE,
    "jpeg": click.option(
        "--jpeg", default="auto", show_default=True, help="JPEG quality after a corruption, none, or auto."
    ),
    "limit": click.option(
        "--limit", type=click.IntRange(1), metavar="N", help="Evaluate N images, chosen by a hash of their ids."
    ),
    "seed": SEED,
    "device": click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:1, …"),
    "batch_size": click.option("--batch-size", type=click.IntRange(1), default=64, show_default=True, metavar="N"),
    "workers": click.option(
        "--workers", type=click.IntRange(0), metavar="N", help="Decoding threads.  [default: one a core, up to 8]"
    ),
    "precision": click.option(
        "--precision", type=click.Choice(["fp32", "bf16", "fp16"]), default="fp32", show_default=True
    ),
    "out": out_option("runs", "Folder of runs."),
    "classes": CLASSES,
    "skip_broken": SKIP_BROKEN,
    "generator": click.option(
        "--generator",
        type=click.Choice(["bivo-robust", "imagecorruptions"]),
        default="bivo-robust",
        show_default=True,
        help="Who makes the corrupted pixels; the other package serves comparison.",
    ),
    "mean": click.option("--mean", help="Overrides the model's, such as 0.5,0.5,0.5."),
    "std": click.option("--std", help="Overrides the model's."),
    "input_size": click.option("--input-size", type=int, metavar="PIXELS", help="Overrides the model's."),
    "resize_size": click.option(
        "--resize-size", type=int, metavar="PIXELS", help="Overrides the model's: short side before the crop."
    ),
    "interpolation": click.option("--interpolation", help="Overrides the model's: bilinear, bicubic, …"),
    "quiet": QUIET,
    "as_json": JSON,
}

RUNNING = ("limit", "seed", "device", "batch_size", "workers", "precision", "classes", "skip_broken")
PREPROCESSING = ("mean", "std", "input_size", "resize_size", "interpolation")


def eval_options(names: Sequence[str]) -> Decorator:
    """Options of `eval` for a command, in the order in which `eval` shows them.

    Args:
        names: keys of EVAL_OPTIONS.
    """

    def add(command: Any) -> Any:
        # What is applied last is shown first.
        for name in reversed([name for name in EVAL_OPTIONS if name in names]):
            command = EVAL_OPTIONS[name](command)
        return command

    return add


def key_and_value(text: str, name: str = "--option", example: str = "width=0.25") -> tuple[str, Any]:
    """A name and a value from "key=value"; the value is read as JSON where it is JSON, else as a word."""
    import json

    key, equals, value = text.partition("=")
    if not equals:
        raise OneLineError(f"{name} must be KEY=VALUE, such as {example}, got {text!r}")
    try:
        return key, json.loads(value)
    except ValueError:
        return key, value


def numbers(option: str, text: str | None) -> tuple[float, ...] | None:
    """Numbers from text with commas; none where the option is not given."""
    if text is None:
        return None
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise OneLineError(f"{option} must be numbers with commas, such as 0.485,0.456,0.406, got {text!r}") from None

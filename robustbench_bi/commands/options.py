"""Options that several commands take and `eval` does not declare; those that it does are in `eval_options`."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from robustbench_bi.commands import completion, early
from robustbench_bi.commands.endings import OneLineError, remember_out, remember_out_file
from robustbench_bi.ground.checks import LARGEST_SIDE, SMALLEST_SIDE, check_channels

Decorator = Callable[[Any], Any]


def out_option(default: str, help_text: str, file: bool = False) -> Decorator:
    """The --out of a command, a folder or a file, which is named when the command is stopped."""
    return click.option(
        "--out",
        type=click.Path(path_type=Path),
        default=Path(default),
        show_default=True,
        callback=remember_out_file if file else remember_out,
        help=help_text,
    )


CORRUPTIONS = click.option(
    "--corruptions",
    default="noise,speckle_noise",
    show_default=True,
    metavar="NAMES",
    help="Comma-separated corruptions, categories or suites; see `list corruptions`.",
    shell_complete=completion.suites,
    callback=early.a_suite,
)
NETWORK_OPTION = click.option(
    "--option", "options", multiple=True, metavar="KEY=VALUE", help="Network option, such as width=0.25."
)
QUIET = click.option("--quiet", is_flag=True, help="Hide progress.")
SIDE = click.IntRange(SMALLEST_SIDE, LARGEST_SIDE)
JSON = click.option("--json", "as_json", is_flag=True, help="Print machine-readable results on stdout.")

METRICS = click.option(
    "--metrics",
    metavar="NAMES",
    callback=early.metrics,
    help="Comma-separated metrics to show; see `list metrics`. `all` shows all.",
    shell_complete=completion.metrics,
)


def sheet_options(command: Any) -> Any:
    """--width and --style of a command that draws figures, as its argument `sheet`."""

    @functools.wraps(command)
    def with_sheet(*arguments: Any, width: float, style: Path | None, **options: Any) -> Any:
        from robustbench_bi.reports.figures.sheet import Sheet

        if style is not None:  # whether it is one is known before networks run
            from robustbench_bi.reports.figures.style import read_style

            read_style(style)
        return command(*arguments, sheet=Sheet(width, style), **options)

    for option in (
        click.option(
            "--style",
            type=click.Path(exists=True, dir_okay=False, path_type=Path),  # known before matplotlib is imported
            metavar="FILE",
            help="A matplotlib style file for the figures; its settings override ours.",
        ),
        click.option(
            "--width",
            type=click.FloatRange(2.5, 20),
            default=7.2,
            show_default=True,
            metavar="INCHES",
            help="Width of the figures: 7.2 fills both columns of a paper, 3.3 one.",
        ),
    ):
        with_sheet = option(with_sheet)
    return with_sheet


def numbers(_: click.Context, option: click.Parameter, text: str | None) -> tuple[float, ...] | None:
    """Callback of an option whose value is three numbers from 0 to 1 with commas between them."""
    if text is None:
        return None
    try:
        values = tuple(float(part) for part in text.split(","))
    except ValueError:
        raise OneLineError(
            f"{option.opts[0]} must be comma-separated numbers, such as 0.485,0.456,0.406, got {text!r}"
        ) from None
    check_channels(option.opts[0].lstrip("-"), values, values)
    return values


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

"""Options that several commands take, but for those of `eval`."""

from __future__ import annotations

from collections.abc import Callable
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


def numbers(_: click.Context, option: click.Parameter, text: str | None) -> tuple[float, ...] | None:
    """Callback of an option whose value is numbers with commas between them."""
    if text is None:
        return None
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise OneLineError(
            f"{option.opts[0]} must be numbers with commas, such as 0.485,0.456,0.406, got {text!r}"
        ) from None


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

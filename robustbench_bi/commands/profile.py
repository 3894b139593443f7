"""`profile`: the size of networks, beside what the paper prints."""

from __future__ import annotations

import click

from robustbench_bi.commands import completion, early
from robustbench_bi.commands.options import JSON, SIDE
from robustbench_bi.commands.output import print_json
from robustbench_bi.commands.terminal import print_table


@click.command()
@click.argument("models", nargs=-1, metavar="[MODEL]...", callback=early.a_model, shell_complete=completion.models)
@click.option(
    "--table", type=click.Choice(["1", "2", "4"]), help="Table of the paper.  [default: 1, or the one that lists MODEL]"
)
@click.option("--size", type=SIDE, default=224, show_default=True, help="Image side in pixels.")
@JSON
def profile(models: tuple[str, ...], table: str | None, size: int, as_json: bool) -> None:
    """Count parameters and MACs of networks, beside the paper's figures.

    Without MODEL, shows every row of the paper's Table 1, 2 (detectors, at 1280×800) or 4; `list variants` names the
    configurations of Table 4.
    """
    from robustbench_bi.models.paper import as_text, compare_with_paper

    if table == "2":
        _profile_detectors(models, as_json)
        return
    rows = compare_with_paper(models, None if table is None else int(table), size)
    if as_json:
        print_json(rows)
        return
    _print_rows(*as_text(rows))


def _profile_detectors(models: tuple[str, ...], as_json: bool) -> None:
    from robustbench_bi.errors import InputError
    from robustbench_bi.models.detectors.counts import as_text, table_2

    if models:
        raise InputError(f"Table 2 is always shown whole; leave out {models[0]}")
    rows = table_2()
    if as_json:
        print_json(rows)
        return
    _print_rows(*as_text(rows))


def _print_rows(titles: list[str], cells: list[list[str]], lines: list[str]) -> None:
    """The table, and the sentences below it; a numbered one is indented after its first line."""
    import textwrap

    import pandas as pd

    print_table(pd.DataFrame(cells, columns=titles))
    for line in lines:
        click.echo(textwrap.fill(line, 100, subsequent_indent="    " if line.startswith("[") else ""))

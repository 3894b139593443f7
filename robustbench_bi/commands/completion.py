"""What a shell offers for the values of options: names from the tables, and folders of runs."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import click
from click.shell_completion import CompletionItem

Items = list[CompletionItem]


def models(context: click.Context, parameter: click.Parameter, incomplete: str) -> Items:
    """Names of networks and of their variants."""
    from robustbench_bi.models import MODELS, VARIANTS

    return _beginning([*MODELS.names, *VARIANTS.names], incomplete)


def sources(context: click.Context, parameter: click.Parameter, incomplete: str) -> Items:
    """Names of data sources; else folders."""
    from robustbench_bi.data import SOURCES

    return _beginning(SOURCES.names, incomplete) or [CompletionItem(incomplete, type="dir")]


def suites(context: click.Context, parameter: click.Parameter, incomplete: str) -> Items:
    """Names of suites, categories and corruptions; after a comma the next one."""
    from robustbench_bi.corruptions import CORRUPTIONS, SUITES

    return _next_of([*SUITES.names, *CORRUPTIONS.names], incomplete)


def metrics(context: click.Context, parameter: click.Parameter, incomplete: str) -> Items:
    """Names of metrics of single cells; after a comma the next one."""
    from robustbench_bi.metrics import METRICS

    return _next_of([metric.name for metric in METRICS if metric.of not in ("cells", "pairs")], incomplete)


def _next_of(names: Iterable[str], incomplete: str) -> Items:
    """What may follow the last comma: the names that do not stand before it."""
    before, comma, _ = incomplete.rpartition(",")
    given = before.split(",")
    return _beginning([f"{before}{comma}{name}" for name in names if name not in given], incomplete)


def tables(context: click.Context, parameter: click.Parameter, incomplete: str) -> Items:
    """Names of tables of severity constants."""
    from robustbench_bi.corruptions import TABLES

    return _beginning(["auto", *TABLES.names], incomplete)


def runs(context: click.Context, parameter: click.Parameter, incomplete: str) -> Items:
    """Folders of runs, those below a folder that begins so too; where there are none, any folder."""
    begun = Path(incomplete)
    above = begun if incomplete.endswith("/") or not incomplete else begun.parent
    start = "" if above == begun else begun.name
    near = [folder for folder in _folders(above) if folder.name.startswith(start)]
    found = [folder for near_one in near for folder in (near_one, *_folders(near_one)) if _is_run(folder)]
    return [CompletionItem(str(folder)) for folder in found] or [CompletionItem(incomplete, type="dir")]


def _folders(folder: Path) -> list[Path]:
    try:
        return sorted(path for path in folder.iterdir() if path.is_dir())
    except OSError:
        return []


def _is_run(folder: Path) -> bool:
    return (folder / "run.json").is_file()


def _beginning(names: Iterable[str], incomplete: str) -> Items:
    return [CompletionItem(name) for name in names if name.startswith(incomplete)]

"""What commands print: results as JSON, the table of a run, and where files lie."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from robustbench_bi.commands.terminal import print_table
from robustbench_bi.data.sources import named_source

if TYPE_CHECKING:
    import pandas as pd

    from robustbench_bi.analysis.leaderboard import Leaderboard
    from robustbench_bi.analysis.measured import Measurements
    from robustbench_bi.runs.run import Run


def about(run: Run) -> dict[str, Any]:
    """What identifies a run in machine-readable results."""
    keys = ("fingerprint", "data", "n", "table", "jpeg", "generator", "seed")
    return {"name": run.name, "directory": run.directory, **{key: run.config[key] for key in keys}}


def described(summary: Measurements) -> dict[str, Any]:
    """The numbers of a run in machine-readable results, how their intervals were made, and what warns of them."""
    return {
        "header": summary.header,
        "summary": summary.frame,
        "intervals": summary.intervals,
        "caption": summary.caption,
        "notes": summary.notes,
    }


def print_summary(run: Run, summary: Measurements, metrics: Sequence[str] | str = ()) -> None:
    """The table of one run, and below it what it is of and where its records lie.

    Args:
        run: the run.
        summary: its `summary_frame`.
        metrics: names of those that the table shows beside the primary number; by default the usual columns.
    """
    from robustbench_bi.analysis.groups import APART
    from robustbench_bi.analysis.text import NO_VALUE, format_interval
    from robustbench_bi.reports.tables.display import display_summary, errors_heading
    from robustbench_bi.tasks.chosen import chosen_measures

    frame, (primary, *others) = summary.frame, summary.task.measures
    shown = display_summary(summary)[~frame["kind"].isin(APART)]
    usual = ("Δ to clean", "of clean / rPC %", errors_heading(frame))
    chosen = [measure.heading for measure in chosen_measures(summary.task, metrics)] or usual
    headings = dict.fromkeys(["corruption", "n", primary.heading, *chosen])
    wanted = [column for column in headings if column in shown and (shown[column] != NO_VALUE).any()]
    click.echo(summary.header)
    print_table(shown[wanted], rule_after=last_category(frame))
    print_scores(frame)
    for measure in (own for own in summary.further if own.rows == "severities"):
        for _, row in frame[frame["kind"] == "severity"].iterrows():
            ends = (row[f"{measure.name}{end}"] for end in ("", "_low", "_high"))
            click.echo(f"{measure.title}, {row['name']}: {format_interval(*ends)} {measure.unit}")
    for _, row in frame[frame["kind"].isin(["clean", "mean"])].iterrows():
        parts = []
        for measure in (own for own in others if row[own.name] == row[own.name]):
            ends = (row[f"{measure.name}{end}"] for end in ("", "_low", "_high"))
            parts.append(f"{measure.heading} {format_interval(*ends, decimals=measure.decimals)}")
        if parts:
            click.echo(f"{row['name']}: {', '.join(parts)}")
    click.echo(summary.caption)
    for note in summary.notes:
        click.echo(f"Warning: {note}")
    broken = run.config["runtime"]["broken"]
    if broken:
        click.echo(f"Skipped because they cannot be decoded: {len(broken)} images; run.json lists them.")
    if run.config["data"] == "folder" and run.config["class_set"] == "other" and not _was_given(run, "classes"):
        click.echo(f"Classes: {_classes(run)}")
    click.echo(f"Records: {run.directory / 'records'}")


def print_categories(run: Run) -> None:
    """AP of each class, clean and under corruption."""
    from robustbench_bi.analysis.categories import categories_frame
    from robustbench_bi.analysis.text import format_interval

    frame = categories_frame(run).rename(columns={"name": "class"})
    found = frame[frame["objects"] > 0]
    shown = found.map(lambda value: format_interval(value) if isinstance(value, float) else str(value))
    shown = shown.rename(columns={name: f"{name} %" for name in shown.columns[2:]})
    print_table(shown, "AP of each class")
    absent = len(frame) - len(found)
    click.echo("Only classes with objects; no intervals." + (f" Classes without objects: {absent}." if absent else ""))


def print_scores(frame: pd.DataFrame) -> None:
    """What is one number of corruption errors, a line each; beside an mCE the mean error that it normalises."""
    from robustbench_bi.analysis.groups import SCORES
    from robustbench_bi.analysis.text import format_interval

    def shown(row: pd.Series[Any], column: str) -> str:
        ends = (row.get(f"{column}{end}", math.nan) for end in ("", "_low", "_high"))
        return format_interval(*ends, decimals=2)

    for _, row in frame[frame["kind"].isin(SCORES)].iterrows():
        beside = f" (mean error, not normalised: {shown(row, 'mean_error')})" if row["kind"] == "mce" else ""
        click.echo(f"{row['name']}: {shown(row, 'corruption_error')}{beside}")


def _was_given(run: Run, file: str) -> bool:
    """Whether a file beside the images was given, such as "classes"."""
    return bool(run.config["runtime"].get("data_request", {}).get(file))


def _classes(run: Run) -> str:
    """By which rule the class folders of a plain folder, or its labels, got their numbers; what else they may be."""
    from robustbench_bi.models import IMAGENET_CLASSES

    count, labelled = run.config["num_classes"], _was_given(run, "labels")
    kind = "labels" if labelled else "folders"
    otherwise = "If the network has another order, give --classes FILE."
    if not _named_by_numbers(run):
        return f"the {count:,} {kind} in sorted order, numbered from 0. {otherwise}"
    by_number = f"the {count:,} {kind} by their own numbers, 0 to {count - 1}"
    if count != IMAGENET_CLASSES or labelled:
        return f"{by_number}. {otherwise}"
    _, path = named_source(run.config["runtime"]["source"])
    return f"{by_number}, which looks like ImageNet-V2. If it is, use imagenet-v2:{path}. {otherwise}"


def _named_by_numbers(run: Run) -> bool:
    """Whether the class folders have numbers for names: where one has, all have, or they are refused."""
    names = run.images().get("name")
    folder = "" if names is None else str(names.iloc[0]).partition("/")[0]
    return folder.isascii() and folder.isdigit()


def print_leaderboard(board: Leaderboard, written: Sequence[Path]) -> None:
    """The leaderboard, what its numbers are, and where it was written."""
    from robustbench_bi.reports.tables.leaderboard import display_leaderboard

    print_table(display_leaderboard(board), title="Leaderboard")
    click.echo(board.caption)
    print_written(written[0].parent, written)


def last_category(frame: pd.DataFrame) -> int:
    """Number of the last row above the single corruptions."""
    from robustbench_bi.analysis.groups import APART

    return int((~frame["kind"].isin(["corruption", *APART])).sum()) - 1


def print_json(value: Any) -> None:
    """Results as JSON on standard output; what is not a number is null."""
    from robustbench_bi.reports.write import dumped

    click.echo(dumped(value))


def print_written(folder: Path, paths: Sequence[Path]) -> None:
    """Which files a command wrote to its folder."""
    click.echo(f"Written to {folder}: {', '.join(path.name for path in paths)}")

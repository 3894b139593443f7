"""What a person sees on a terminal: progress on standard error, tables on standard output."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import pandas as pd
    from rich.table import Table

    from robustbench_bi.ground.cells import Progress
    from robustbench_bi.training.logs import Progress as TrainingProgress

PLAIN_PROGRESS_SECONDS = 15.0
PLAIN_PREPARATION_SECONDS = 3.0
WIDTH_OF_FILES = 160
LEAST_NAME = 12
NAMES = ("run", "model", "corruption", "architecture", "class", "detector")


@contextmanager
def cell_progress(quiet: bool) -> Iterator[Callable[[Progress], None] | None]:
    """A callback that shows progress on standard error: a bar on a terminal, otherwise a line now and then.

    What a user's network prints meanwhile goes there too: standard output is for results, JSON among them.
    """
    with redirect_stdout(sys.stderr):
        if quiet:
            yield None
        elif sys.stderr.isatty():
            with _progress_bar() as show:
                yield show
        else:
            yield _progress_lines()


@contextmanager
def _progress_bar() -> Iterator[Callable[[Progress], None]]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = (
        TextColumn("{task.description:<24}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[unit]}"),
        TextColumn("{task.fields[rate]:>6} images/s"),
        TimeRemainingColumn(),
    )
    started = time.monotonic()
    with Bar(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("preparing", total=None, unit="cells", rate="")

        def show(progress: Progress) -> None:
            rate = f"{progress.images / (time.monotonic() - started):.0f}"
            bar.update(
                task,
                description=progress.label,
                completed=progress.steps_done,
                total=progress.steps_total,
                unit=progress.unit,
                rate=rate,
            )

        yield show


def _progress_lines() -> Callable[[Progress], None]:
    started = time.monotonic()
    shown = started

    def show(progress: Progress) -> None:
        nonlocal shown
        now = time.monotonic()
        if not progress.images:  # nothing is evaluated yet
            if now - shown > PLAIN_PREPARATION_SECONDS:
                shown = now
                _say(f"{progress.label}: {progress.steps_done}/{progress.steps_total} {progress.unit}")
            return
        if now - shown < PLAIN_PROGRESS_SECONDS and progress.steps_done < progress.steps_total:
            return
        shown = now
        left = (now - started) / progress.images * (progress.images_total - progress.images)
        _say(
            f"{progress.steps_done}/{progress.steps_total} {progress.unit}, "
            f"{progress.images / (now - started):.0f} images/s, {left:.0f} s left",
        )

    return show


@contextmanager
def training_progress(
    quiet: bool,
) -> Iterator[tuple[Callable[[TrainingProgress], None] | None, Callable[[str], None]]]:
    """Callbacks that show a training's progress, as `cell_progress` does, and a line that is shown in any case."""
    if quiet:
        yield None, _say
    elif sys.stderr.isatty():
        with _training_bar() as callbacks:
            yield callbacks
    else:
        yield _training_lines(), _say


@contextmanager
def _training_bar() -> Iterator[tuple[Callable[[TrainingProgress], None], Callable[[str], None]]]:
    from rich.console import Console
    from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[state]}"), TimeRemainingColumn())
    with Bar(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("preparing", total=None, state="")
        begun = False

        def show(progress: TrainingProgress) -> None:
            nonlocal task, begun
            total, done = progress.epochs * progress.steps, (progress.epoch - 1) * progress.steps + progress.step
            if not begun:
                # A new task: steps that were done in an earlier start say nothing of the time that is left.
                bar.remove_task(task)
                task, begun = bar.add_task("", total=total, completed=done - 1, state=""), True
            state = f"step {progress.step}/{progress.steps}, loss {progress.loss:.3f}, "
            state += f"{progress.images_per_second:.0f} images/s"
            bar.update(task, description=f"epoch {progress.epoch}/{progress.epochs}", completed=done, state=state)

        yield show, lambda line: bar.console.print(line, highlight=False, soft_wrap=True)


def _training_lines() -> Callable[[TrainingProgress], None]:
    shown = time.monotonic()

    def show(progress: TrainingProgress) -> None:
        nonlocal shown
        if time.monotonic() - shown < PLAIN_PROGRESS_SECONDS and progress.step < progress.steps:
            return
        shown = time.monotonic()
        _say(
            f"epoch {progress.epoch}/{progress.epochs}, step {progress.step}/{progress.steps}, "
            f"loss {progress.loss:.3f}, {progress.images_per_second:.0f} images/s",
        )

    return show


def _say(line: str) -> None:
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


def print_table(frame: pd.DataFrame, title: str | None = None, rule_after: int = -1) -> None:
    """A frame of text on stdout, as wide as the terminal and at most as wide as needed.

    Where that is too narrow, each model that has several rows gets a table of its own, and the columns of numbers stand
    in several tables, the names of the rows before each: so no name and no number is broken over lines.
    """
    from rich.console import Console
    from rich.text import Text

    # A file or a pipe has no width of its own; there no cell is broken over lines.
    console = Console(highlight=False, width=None if sys.stdout.isatty() else WIDTH_OF_FILES)
    titles = [] if title is None else [title]
    for own_titles, part in _by_model(frame.reset_index(drop=True), console.width):
        for line in titles + own_titles:
            # A title of the table's own would be broken to the width of the columns.
            console.print(Text(line), soft_wrap=True)
        for places in _side_by_side(part, console.width):
            console.print(_table(part.iloc[:, places], console.width, rule_after))
        titles = []


def _table(frame: pd.DataFrame, width: int, rule_after: int) -> Table:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    table = Table(box=SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    whole = _numbers_fit(frame, width)
    for column in frame.columns:
        name = column in NAMES
        justify: Literal["left", "right"] = "left" if name else "right"
        table.add_column(Text(column), justify=justify, overflow="fold", no_wrap=whole and not name)
    for number, *row in frame.itertuples():
        table.add_row(*(Text(str(value)) for value in row), end_section=number == rule_after)
    return table


def _by_model(frame: pd.DataFrame, width: int) -> Iterator[tuple[list[str], pd.DataFrame]]:
    """Titles and rows: all at once where they fit, else those of each model that has several."""
    if "model" not in frame or not frame["model"].duplicated().any() or sum(_widths(frame)) <= width:
        yield [], frame
        return
    for model, own in frame.groupby("model", sort=False):
        yield [str(model)], own.drop(columns="model")


def _side_by_side(frame: pd.DataFrame, width: int) -> Iterator[list[int]]:
    """The places of the columns of each table: all where they fit, else the names and as many numbers as fit.

    Names are broken over lines only where they would not leave the width of one number.
    """
    widths = _widths(frame)
    names = [place for place, column in enumerate(frame) if column in NAMES]
    numbers = [place for place in range(len(widths)) if place not in names]
    if 0 not in names or sum(widths) <= width:
        yield list(range(len(widths)))
        return
    left = width - sum(widths[place] for place in names)
    if max((widths[place] for place in numbers), default=0) > left:
        left = width - (LEAST_NAME + 2) * len(names)
    part: list[int] = []
    for place in numbers:
        if part and sum(widths[own] for own in [*part, place]) > left:
            yield [*names, *part]
            part = []
        part.append(place)
    yield [*names, *part]


def _widths(frame: pd.DataFrame) -> list[int]:
    """How wide each column is, with the space around it."""
    # By place: several columns may have one name.
    columns = (frame.iloc[:, place] for place in range(frame.shape[1]))
    return [max(len(str(value)) for value in [column.name, *column]) + 2 for column in columns]


def _numbers_fit(frame: pd.DataFrame, width: int) -> bool:
    """Whether all columns but those of names can be as wide as they need, so that only names are broken over lines."""
    pairs = zip(frame, _widths(frame), strict=True)
    return sum(LEAST_NAME + 2 if column in NAMES else own for column, own in pairs) <= width

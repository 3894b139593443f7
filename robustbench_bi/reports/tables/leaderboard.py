"""The leaderboard as tables: text for terminal and Markdown, numbers for CSV and JSON."""

from pathlib import Path
from typing import Any

import pandas as pd

from robustbench_bi.analysis.leaderboard import Leaderboard
from robustbench_bi.analysis.text import NO_VALUE, format_interval
from robustbench_bi.ground.atomic import replacing
from robustbench_bi.reports.write import as_json, dumped, write_csv, write_markdown

NAME = "leaderboard"


def display_leaderboard(board: Leaderboard) -> pd.DataFrame:
    """A row a model, a column a data set, as text; a dash where a data set failed."""
    columns = _columns(board)
    texts = {
        name: [NO_VALUE if row is None else format_interval(*row) for row in (own.get(model) for model in board.models)]
        for name, own in columns.items()
    }
    return pd.DataFrame({"model": list(board.models), **texts})


def number_leaderboard(board: Leaderboard) -> pd.DataFrame:
    """A row a model; of each data set three columns: the mean, and the ends of its interval."""
    columns: dict[str, list[Any]] = {"model": list(board.models)}
    for name, own in _columns(board).items():
        for place, end in enumerate(("", "_low", "_high")):
            columns[f"{name}{end}"] = [own[model][place] if model in own else None for model in board.models]
    return pd.DataFrame(columns)


def leaderboard_as_json(board: Leaderboard) -> dict[str, Any]:
    """The leaderboard as it stands in `--json`: a row a model and data set."""
    plain: dict[str, Any] = as_json(
        {"models": board.models, "data": board.data, "caption": board.caption, "rows": board.frame}
    )
    return plain


def write_leaderboard(board: Leaderboard, out: Path) -> list[Path]:
    """Write leaderboard.md, leaderboard.csv and leaderboard.json to a folder.

    Returns:
        The paths that were written.

    Raises:
        DataError: a file cannot be written.
    """
    markdown, csv, json = (out / f"{NAME}.{suffix}" for suffix in ("md", "csv", "json"))
    write_markdown(display_leaderboard(board), markdown, title="Leaderboard", notes=[board.caption])
    write_csv(number_leaderboard(board), csv)
    with replacing(json) as partial:
        partial.write_text(dumped(leaderboard_as_json(board)) + "\n", encoding="utf-8")
    return [markdown, csv, json]


def _columns(board: Leaderboard) -> dict[str, dict[str, tuple[float, float, float]]]:
    """Of each data set, the mean of each model that has one, with the ends of its interval."""
    measure = board.task.primary.name
    found: dict[str, dict[str, tuple[float, float, float]]] = {name: {} for name in board.data}
    for row in board.frame.to_dict("records"):
        low, high = row[f"{measure}_low"], row[f"{measure}_high"]
        found[row["data"]][row["model"]] = (row[measure], low, high)
    return found

"""Tables for a paper, as Markdown and as LaTeX with booktabs."""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass

import pandas as pd

from robustbench_bi.analysis.captions import STARRED
from robustbench_bi.analysis.comparison import Comparison
from robustbench_bi.analysis.described import with_description
from robustbench_bi.analysis.text import NO_VALUE, format_interval
from robustbench_bi.corruptions import in_words
from robustbench_bi.reports.content import Report
from robustbench_bi.reports.tables.display import markdown_table

LEVELS = {0.001: "***", 0.01: "**", 0.05: "*"}
MARKS = "* p < 0.05, ** p < 0.01, *** p < 0.001 after Holm's correction; † p < 0.05 before the correction only."
_LATEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "Δ": r"$\Delta$", "±": r"$\pm$", "×": r"$\times$",
    "<": r"$<$", ">": r"$>$", "–": "--", "−": "$-$", "·": r"$\cdot$", "…": r"\dots{}",
    "†": r"$\dagger$",
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class PaperTable:
    """A table ready to print.

    Attributes:
        name: "summary" or "delta".
        title: heading, or first words of a caption.
        caption: what the numbers are, of how many images, with which intervals and tests.
        frame: text; the first column names the rows.
    """

    name: str
    title: str
    caption: str
    frame: pd.DataFrame


def significance(p_value: float, by_itself: float = math.nan) -> str:
    """Stars for a corrected p-value, or a dagger where only the uncorrected one is below 0.05.

    Args:
        p_value: corrected for all rows.
        by_itself: not corrected; the interval beside it excludes zero where it is below 0.05.

    Example:
        >>> significance(0.004), significance(0.2, 0.03), significance(float("nan"))
        ('**', '†', '')
    """
    stars = next((stars for level, stars in LEVELS.items() if p_value < level), "")
    return stars or ("†" if by_itself < max(LEVELS) else "")


def paper_tables(report: Report, cell: Callable[[str, str], str] = "{}{}".format) -> list[PaperTable]:
    """The summary of each model, and Δ of top-1 (or the task's number) over the baseline where there are several.

    Args:
        report: the runs.
        cell: puts a number with its interval, "61.3 [59.8, 62.8]", and its stars into the form of a document.

    Returns:
        One table or two.
    """
    tables = [_summary_table(report, cell)]
    return tables if report.bars is None else [*tables, _delta_table(report, report.bars, cell)]


def _summary_table(report: Report, cell: Callable[[str, str], str]) -> PaperTable:
    summaries, measure = report.summaries.frame, report.task.primary
    kinds = ("clean", "category", "mean", "mce")
    rows = summaries[summaries["kind"].isin(kinds)]
    names = [str(name) for kind in kinds for name in rows.loc[rows["kind"] == kind, "name"].unique()]
    texts: dict[str, list[str]] = {"model": list(report.models)}

    def add(heading: str, named: pd.DataFrame, column: str) -> None:
        ends = named.set_index("model")[[column, f"{column}_low", f"{column}_high"]]
        texts[heading] = [
            cell(format_interval(*ends.loc[model]), "") if model in ends.index else NO_VALUE for model in report.models
        ]

    for name in names:
        named = rows[rows["name"] == name]
        normalised = bool((named["kind"] == "mce").all())
        if normalised:
            add("mean error", rows[rows["kind"] == "mce"], "mean_error")
        add(in_words(name), named, "corruption_error" if normalised else measure.name)
    words = measure.words[:1].upper() + measure.words[1:]
    networks = ", ".join(
        with_description(name, run.config) for name, run in zip(report.models, report.runs, strict=True)
    )
    # Mean error and mCE are taken for one another again and again, so both stand there, and what sets them apart.
    error_words = ", mean error, and mean error relative to AlexNet's (mCE), with intervals made like those of means"
    errors = error_words if any("mCE" in name for name in names) else ""
    starred = [STARRED] if any("mCE*" in name for name in names) else []
    notes = [f"Note: {note}." for note in report.summaries.notes]
    told = [f"{networks}. {words} in percent{errors}.", report.summaries.primary_caption, *starred, *notes]
    return PaperTable("summary", "Robustness to corruptions", " ".join(told), pd.DataFrame(texts))


def _delta_table(report: Report, bars: Comparison, cell: Callable[[str, str], str]) -> PaperTable:
    texts: dict[str, list[str]] = {"corruption": [str(name) for name in bars.frame["name"].unique()]}
    for model, own in bars.frame.groupby("model", sort=False):
        rows = {row["name"]: row for row in own.to_dict("records")}
        texts[str(model)] = [
            cell(
                format_interval(*(rows[name][f"delta{end}"] for end in ("", "_low", "_high")), signed=True, decimals=2),
                significance(rows[name]["p_holm"], rows[name]["p_value"]),
            )
            if name in rows
            else NO_VALUE
            for name in texts["corruption"]
        ]
    texts["corruption"] = [in_words(name) for name in texts["corruption"]]
    baseline = f"The baseline is {report.models[0]}, {report.baseline_words}."
    caption = " ".join([baseline, bars.caption, bars.tests, MARKS, *(f"Note: {note}." for note in bars.notes)])
    return PaperTable(
        "delta", f"Change in {report.task.primary.short} from {report.models[0]}", caption, pd.DataFrame(texts)
    )


def as_markdown(report: Report) -> str:
    """The tables of a report as Markdown."""
    parts = []
    for table in paper_tables(report):
        parts += [f"## {table.title}", markdown_table(table.frame), table.caption.replace("*", "\\*")]
    return "\n\n".join(parts) + "\n"


def as_latex(report: Report) -> str:
    r"""The tables of a report as LaTeX, for `\usepackage{booktabs}`; each interval stands below its number."""
    tables = [_latex_table(table) for table in paper_tables(report, _latex_cell)]
    return "\n".join(["% Needs \\usepackage{booktabs}.", *tables])


def _latex_table(table: PaperTable) -> str:
    rows = []
    for name, *cells in table.frame.itertuples(index=False):
        pairs = [cell.partition("\n")[::2] for cell in cells]
        rows.append(" & ".join([latex_text(name), *(number for number, _ in pairs)]) + r" \\")
        rows.append(" & ".join(["", *(f"{{\\scriptsize {ends}}}" if ends else "" for _, ends in pairs)]) + r" \\")
        rows.append(r"\addlinespace")
    columns = table.frame.columns
    # What is too wide for a column of two goes over both.
    environment = "table*" if len(columns) > 5 else "table"
    lines = [
        rf"\begin{{{environment}}}[t]",
        r"\centering",
        rf"\caption{{{latex_text(table.title)}. {latex_text(table.caption)}}}",
        rf"\label{{tab:{table.name}}}",
        rf"\begin{{tabular}}{{l{'r' * (len(columns) - 1)}}}",
        r"\toprule",
        " & ".join(map(latex_text, columns)) + r" \\",
        r"\midrule",
        *rows[:-1],
        r"\bottomrule",
        r"\end{tabular}",
        rf"\end{{{environment}}}",
    ]
    return "\n".join(lines) + "\n"


def _latex_cell(text: str, stars: str) -> str:
    """A number, and in the next line its interval."""
    if text == NO_VALUE:
        return latex_text(text)
    value, _, interval = text.partition(" ")
    mark = stars.replace("†", r"\dagger")
    # The stars take no room, so that the digits stand below each other.
    return f"${value}$" + (rf"\rlap{{$^{{{mark}}}$}}" if stars else "") + (f"\n${interval}$" if interval else "")


def latex_text(text: str) -> str:
    r"""Text with what LaTeX would read as a command escaped.

    Example:
        >>> latex_text("gaussian_noise 95 %")
        'gaussian\\_noise 95 \\%'
    """
    return re.sub("|".join(map(re.escape, _LATEX)), lambda found: _LATEX[found[0]], text)

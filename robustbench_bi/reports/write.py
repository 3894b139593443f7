"""Files of reports: CSV, Markdown and figures; each appears whole or not at all."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from robustbench_bi.analysis.comparison import Comparison, comparison_frame
from robustbench_bi.analysis.correlations import HeatMaps, heat_map_frame
from robustbench_bi.analysis.fourier import FourierErrors, error_frame
from robustbench_bi.analysis.reliability import reliability_frame
from robustbench_bi.analysis.result import Result
from robustbench_bi.analysis.summary import cells_frame, summaries_frame
from robustbench_bi.errors import InputError
from robustbench_bi.ground.atomic import replacing
from robustbench_bi.reports import FIGURES
from robustbench_bi.reports.drawing import Begin, Written, when_asked
from robustbench_bi.reports.figures.sheet import PAGE, Sheet
from robustbench_bi.reports.tables.display import display_comparison, markdown_table
from robustbench_bi.runs.run import Run

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# The ids inside an SVG are hashes salted with this, so the same figure is the same file.
_SALT = "robustbench_bi"
# Of the places of axes, in parts of a figure: far below what can be seen, far above rounding errors.
_PLACES = 9


def write_csv(frame: pd.DataFrame, path: Path) -> None:
    """Write a frame as CSV, numbers to ten significant digits.

    Args:
        frame: its index is not written.
        path: of the file; its folder is made.

    Raises:
        DataError: it cannot be written.
    """
    with replacing(path) as partial:
        frame.to_csv(partial, index=False, float_format="%.10g", lineterminator="\n")


def write_markdown(frame: pd.DataFrame, path: Path, *, title: str = "", notes: Sequence[str] = ()) -> None:
    """Write a frame of text as a Markdown table, as GitHub shows it.

    Args:
        frame: from `display_summary` or `display_comparison`; its index is not written.
        path: of the file; its folder is made.
        title: heading above the table.
        notes: paragraphs below it, such as the caption.

    Raises:
        DataError: it cannot be written.
    """
    paragraphs = [f"# {title}"] * bool(title) + [markdown_table(frame), *notes]
    with replacing(path) as partial:
        partial.write_text("\n\n".join(paragraphs) + "\n", encoding="utf-8")


def as_json(value: Any) -> Any:
    """The value with frames as lists of rows, NumPy numbers as Python's, and NaN as null.

    Example:
        >>> as_json({"rows": pd.DataFrame({"name": ["fog"], "top1": [float("nan")]})})
        {'rows': [{'name': 'fog', 'top1': None}]}
    """
    if isinstance(value, pd.DataFrame):
        return [as_json(row) for row in value.to_dict(orient="records")]
    if isinstance(value, dict):
        return {str(key): as_json(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [as_json(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    if value is pd.NA or (isinstance(value, float) and not math.isfinite(value)):
        return None
    return value


def dumped(value: Any) -> str:
    """A value as JSON text; what JSON does not know becomes text."""
    return json.dumps(as_json(value), indent=1, ensure_ascii=False, allow_nan=False, default=str)


def write_figure(figure: Figure, path: Path) -> tuple[Path, Path, Path]:
    """Write a figure as PNG, SVG and PDF; the same figure gives the same bytes.

    The PDF embeds its fonts as TrueType (Type 42), as publishers ask for.

    Args:
        figure: from a row of `FIGURES`.
        path: of the files, without suffix; its folder is made.

    Returns:
        The paths of the PNG, the SVG and the PDF.

    Raises:
        DataError: they cannot be written.
    """
    import matplotlib

    png, svg, pdf = (path.with_name(f"{path.name}.{suffix}") for suffix in ("png", "svg", "pdf"))
    write_png(figure, png)
    with replacing(svg) as partial, matplotlib.rc_context({"svg.hashsalt": _SALT}):
        figure.savefig(partial, format="svg", metadata={"Date": None, "Creator": None})
    undated = {"CreationDate": None, "Creator": None, "Producer": None}
    with replacing(pdf) as partial, matplotlib.rc_context({"pdf.fonttype": 42}):
        figure.savefig(partial, format="pdf", metadata=undated)
    return png, svg, pdf


def write_png(figure: Figure, path: Path, *, dpi: int = 200) -> None:
    """Write a figure as PNG; the same figure gives the same bytes.

    Args:
        figure: any.
        path: of the file; its folder is made.
        dpi: dots an inch.

    Raises:
        DataError: it cannot be written.
    """
    _lay_out(figure)
    with replacing(path) as partial:
        figure.savefig(partial, format="png", dpi=dpi, metadata={"Software": None})


def _lay_out(figure: Figure) -> None:
    """Place the axes once and for all: layout engines differ in the last bit from one time to the next."""
    engine = figure.get_layout_engine()
    if engine is None:
        return
    import matplotlib

    engine.execute(figure)
    # With no engine at all, where "none" leaves one that does nothing and has each file drawn twice.
    with matplotlib.rc_context({"figure.autolayout": False, "figure.constrained_layout.use": False}):
        figure.set_layout_engine(None)
    for axes in figure.axes:
        axes.set_position(np.round(axes.get_position(original=True).bounds, _PLACES))


def write_comparison(
    runs: Sequence[Run],
    baseline: Run,
    bars: Comparison,
    out: Path,
    across: Sequence[str] = (),
    corruptions: Comparison | None = None,
    sheet: Sheet = PAGE,
    begin: Begin = when_asked,
    further: Sequence[Comparison] = (),
) -> list[Path]:
    """Write the tables and all figures of a comparison.

    Args:
        runs: the runs that were compared.
        baseline: the run that they were compared with.
        bars: `comparison_frame` of these with rows "bars".
        out: folder for comparison.csv (the bars), corruptions.csv (each corruption), cells.csv (every cell, with
            McNemar's test), summaries.csv (`summaries_frame` of all runs), comparison.md (these bars and
            corruptions), and a .png, a .svg and a .pdf of each row of `FIGURES` that is drawn from runs and for which
            they have rows.
        across: as for `comparison_frame`.
        corruptions: `comparison_frame` with rows "corruptions", where it is at hand.
        sheet: what the figures are drawn for.
        begin: how a figure is drawn: here, or as `drawing_aside` says.
        further: `further_comparisons`; each has a comparison_NAME.csv, such as comparison_mask_AP.csv.

    Returns:
        The paths that were written.

    Raises:
        DataError: a file cannot be written.
    """
    everything = [baseline, *runs]
    drawn: dict[str, Written] = {}

    def draw(frame: str, found: Any) -> None:
        for figure in (row for row in FIGURES if row.frame == frame):
            drawn[figure.name] = begin(_write_row, figure.name, found, out, sheet)

    # Whatever is worked out is drawn meanwhile, where figures are drawn aside.
    draw("comparison", bars)
    corruptions = corruptions or comparison_frame(runs, baseline, rows="corruptions", across=across)
    cells = comparison_frame(runs, baseline, rows="cells", across=across)
    draw("cells", cells_frame(everything))
    if bars.task.has("reliability"):
        draw("reliability", reliability_frame(everything))
    summaries = summaries_frame(everything)
    draw("summaries", summaries)
    tables = {"comparison.csv": bars.frame, "corruptions.csv": corruptions.frame, "cells.csv": cells.frame}
    tables["summaries.csv"] = summaries.frame
    tables |= {f"comparison_{own.number.name}.csv": own.frame for own in further}
    for name, table in tables.items():
        write_csv(table, out / name)
    title = f"Comparison with {bars.frame['baseline'].iloc[0]}"
    notes = [f"{bars.header}.", bars.caption, bars.tests, *bars.notes]
    notes += ["## Each corruption", markdown_table(display_comparison(corruptions)), corruptions.tests]
    for own in further:
        notes += [f"## {own.number.title}", markdown_table(display_comparison(own)), own.tests]
    write_markdown(display_comparison(bars), out / "comparison.md", title=title, notes=notes)
    written = [*(out / name for name in tables), out / "comparison.md"]
    for figure in (row for row in FIGURES if row.name in drawn):
        written += drawn[figure.name]()
    return written


def _write_row(figure: str, found: Any, out: Path, sheet: Sheet) -> list[Path]:
    """Draw and write a row of `FIGURES`, if there is something to draw."""
    try:
        made = FIGURES.load(figure)(found, sheet)
    except InputError:  # there is no clean cell and no category of ImageNet-C
        return []
    return list(write_figure(made, out / figure))


def write_spectra(curves: Result, bands: Result, out: Path, sheet: Sheet = PAGE) -> list[Path]:
    """Write spectra.csv, spectra_bands.csv, and the figure as spectra.png, .svg and .pdf.

    Args:
        curves: from `spectra_frame`.
        bands: from `bands_frame`.
        out: the folder.
        sheet: what the figure is drawn for.

    Returns:
        The paths that were written.

    Raises:
        InputError: there is no corruption.
        DataError: a file cannot be written.
    """
    return _write_all({"spectra": curves.frame, "spectra_bands": bands.frame}, "spectra", curves, out, sheet)


def write_heat_maps(found: HeatMaps, summary: Result, out: Path, sheet: Sheet = PAGE) -> list[Path]:
    """Write the tables and the figure of heat maps.

    Args:
        found: from `heat_maps`.
        summary: its `correlation_frame`.
        out: folder for heatmaps.csv (means over the set), heatmaps_images.csv (each image), and heatmaps.png, .svg and
            .pdf.
        sheet: what the figure is drawn for.

    Returns:
        The paths that were written.

    Raises:
        InputError: there is no heat map.
        DataError: a file cannot be written.
    """
    tables = {"heatmaps": summary.frame, "heatmaps_images": found.correlations}
    return _write_all(tables, "heatmaps", heat_map_frame(found, summary), out, sheet)


def write_fourier(found: FourierErrors, bands: Result, out: Path, sheet: Sheet = PAGE) -> list[Path]:
    """Write the tables and the figure of Fourier heat maps.

    Args:
        found: from `fourier_errors`.
        bands: its `band_frame`.
        out: folder for fourier.csv (each frequency), fourier_bands.csv (octaves), fourier.png, .svg and .pdf.
        sheet: what the figure is drawn for.

    Returns:
        The paths that were written.

    Raises:
        InputError: no frequency was added.
        DataError: a file cannot be written.
    """
    tables = {"fourier": error_frame(found).frame, "fourier_bands": bands.frame}
    return _write_all(tables, "fourier", found, out, sheet)


def _write_all(tables: Mapping[str, pd.DataFrame], figure: str, drawn: Any, out: Path, sheet: Sheet) -> list[Path]:
    """Draw a row of `FIGURES`, and when that has gone well write the tables and the figure."""
    made = FIGURES.load(figure)(drawn, sheet)
    paths = {name: out / f"{name}.csv" for name in tables}
    for name, path in paths.items():
        write_csv(tables[name], path)
    return [*paths.values(), *write_figure(made, out / figure)]

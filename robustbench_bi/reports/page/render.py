"""The report page: what its template shows, from the frames of a report.

The page is one file that needs neither a network nor a script: its style sheet, its charts (see `charts`) and its
pictures are in it. What a reader can do there, hide a model in all charts or open a table of numbers, is HTML and CSS;
a few lines of JavaScript make tables sortable where scripts run. A library for interactive plots would weigh up to four
megabytes and show nothing to those who read without scripts or by ear.
"""

import hashlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd
from markupsafe import Markup

from robustbench_bi.analysis.comparison import Comparison
from robustbench_bi.analysis.groups import SCORES
from robustbench_bi.analysis.reliability import ece_name
from robustbench_bi.analysis.text import format_interval, format_p_value
from robustbench_bi.corruptions import category_of, in_words
from robustbench_bi.errors import BivoRobustError, DataError
from robustbench_bi.ground.cells import CLEAN, cell_label
from robustbench_bi.reports.content import Report
from robustbench_bi.reports.figures.accuracy import figure_3_names, panels_across
from robustbench_bi.reports.page.boxes import box_examples
from robustbench_bi.reports.page.charts import (
    SIGNIFICANT,
    bar_chart,
    curve_panels,
    reliability_chart,
    spectrum_panels,
    swatch,
)
from robustbench_bi.reports.page.pictures import OpenPictures, example_pictures, power_spectra
from robustbench_bi.tasks import Measure

LOSSES = 10
# Of `run.json`, in the order of the page; what else is there is long, or stands elsewhere.
_SETTINGS = (
    "data", "listing_hash", "n", "num_classes", "table", "jpeg", "generator", "pixel_version", "seed", "severities",
    "input_size", "resize_size", "interpolation", "crop_mode", "cut_as", "mean", "std", "precision",
    "weights_hash", "fingerprint",
)  # fmt: skip
# The hash of a state dict that is empty, or of no code: it identifies nothing.
_OF_NOTHING = hashlib.sha256(b"").hexdigest()
_RUNTIME = ("source", "device", "batch_size", "workers", "versions", "started")

Row = dict[str, Any]


def render_page(report: Report, open_pictures: OpenPictures | None = None) -> str:
    """The page as text; the same runs give the same bytes.

    Args:
        report: the runs.
        open_pictures: `pictures_of`, or None for a page without pictures.

    Raises:
        RunMismatchError: a run is not finished, or two cannot be compared.
        DataError: pictures are asked for and are not at hand.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters["in_words"] = in_words
    bars, models, measure = report.bars, report.models, report.task.primary
    context = {
        "measure": measure,
        "measures": {own.name for own in report.task.measures},
        "corruption_error": report.task.has("corruption_error"),
        "models": [{"name": name, "number": n, "swatch": Markup(swatch(n))} for n, name in enumerate(models)],
        "what": report.summaries.header,
        "baseline_words": report.baseline_words,
        "notes": report.summaries.notes if bars is None else bars.notes,
        "caption": report.summaries.caption,
        "cards": [_card(report, model) for model in models],
        "delta": None if bars is None else _delta(report, bars),
        "losses": [] if bars is None else _losses(report),
        "categories": _categories(report),
        "across": panels_across,
        "snow_eases": _snow_eases(report),
        "panels": [(name, Markup(svg)) for name, svg in curve_panels(report.cells, models)],
        "cells": _table(_named_cells(report.cells.frame), models, lambda row: _ends(row, measure.name)),
        "cells_caption": report.cells.caption,
        "heat": _heat(report),
        "drops_picked": _picked(report),
        "drops": _table(_named_cells(report.drops.frame), models, lambda row: _drop(row, measure)),
        "further": _further(report),
        "reliability": [] if report.reliability is None else _reliability(report, report.reliability.frame),
        "reliability_caption": "" if report.reliability is None else report.reliability.caption,
        "provenance": _provenance(report),
        "version": version("bivo-robust"),
        **_pictures(report, open_pictures),
    }
    return environment.get_template("report.html.jinja").render(context)


def _records(frame: pd.DataFrame) -> list[Row]:
    return [{str(name): value for name, value in row.items()} for row in frame.to_dict("records")]


def _table(frame: pd.DataFrame, models: Sequence[str], cell: Callable[[Row], Any]) -> list[Row]:
    """A row for each name of a frame, in it what `cell` makes of each model's row, or None where it has none."""
    rows = []
    for name, own in frame.groupby("name", sort=False):
        found = {row["model"]: cell(row) for row in _records(own)}
        rows.append({"name": name, "cells": [found.get(model) for model in models]})
    return rows


def _named_cells(frame: pd.DataFrame) -> pd.DataFrame:
    cells = zip(frame["corruption"], frame["severity"], strict=True)
    return frame.assign(name=[cell_label(cell) for cell in cells])


def _ends(row: Row, column: str, *, signed: bool = False, decimals: int = 1) -> str:
    ends = (row[column], row[f"{column}_low"], row[f"{column}_high"])
    return format_interval(*ends, signed=signed, decimals=decimals)


def _card(report: Report, model: str) -> Row:
    """What stands first of a model: its primary number under corruption, and a few others below it."""
    frame, (primary, *others) = report.summaries.frame, report.task.measures
    summary = _records(frame[frame["model"] == model])
    rows = {row["kind"]: row for row in summary if row["kind"] in ("clean", "mean")}
    first = rows.get("mean", summary[0])
    numbers = []
    if len(rows) == 2:
        numbers.append((f"clean {primary.short}", f"{_ends(rows['clean'], primary.name)} %"))
        numbers.append(("change from clean", f"{_ends(first, 'delta', signed=True)} points"))
    numbers += _over_baseline(report, model, first)
    for measure in (measure for measure in others if measure.first and not math.isnan(first[measure.name])):
        text = f"{_ends(first, measure.name, decimals=measure.decimals)} {measure.unit}"
        numbers.append((measure.words, text.rstrip()))
    for row in summary:
        if row["kind"] in SCORES:
            numbers.append((row["name"], f"{_ends(row, 'corruption_error', decimals=2)} %"))
        if row["kind"] == "mce":
            numbers.append(("mean error", f"{_ends(row, 'mean_error', decimals=2)} %"))
    of = (
        first["name"]
        if first["kind"] == "clean"
        else f"{first['name']}, {first['cells']} cell{'' if first['cells'] == 1 else 's'}"
    )
    return {"value": _ends(first, primary.name), "of": of, "n": first["n"], "numbers": numbers}


def _further(report: Report) -> list[Row]:
    """A row for each chosen metric and group of cells that has it: clean, the mean, and each severity."""
    frame = report.summaries.frame
    rows = []
    for measure in report.summaries.further:
        own = frame[frame["kind"].isin(["clean", "mean", "severity"]) & frame[measure.name].notna()]
        for name, of_name in own.groupby("name", sort=False):
            texts = {row["model"]: _ends(row, measure.name, decimals=measure.decimals) for row in _records(of_name)}
            cells = [texts.get(model) for model in report.models]
            rows.append({"measure": f"{measure.words}, {measure.unit}".rstrip(", "), "name": name, "cells": cells})
    return [*rows, *_paired(report)]


def _paired(report: Report) -> list[Row]:
    """A row for each chosen metric of two networks: of each and the baseline, which has no number of its own."""
    rows = []
    for measure in report.task.paired if len(report.paired) else ():
        own = report.paired[report.paired["metric"] == measure.name]
        for name, of_name in own.groupby("name", sort=False):
            texts = {row["model"]: _ends(row, "value", decimals=measure.decimals) for row in _records(of_name)}
            cells = [texts.get(model) for model in report.models]
            rows.append({"measure": f"{measure.words} with {report.models[0]}", "name": name, "cells": cells})
    return rows


def _over_baseline(report: Report, model: str, first: Row) -> list[tuple[str, str]]:
    if report.bars is None:
        return []
    if model == report.models[0]:
        return [("role", "baseline")]
    numbers = []
    bars = report.bars.frame
    # A mean may have a longer name in the summary, such as mPC.
    same = (bars["kind"] == first["kind"]) & ((first["kind"] == "mean") | (bars["name"] == first["name"]))
    for row in _records(bars[(bars["model"] == model) & same]):
        numbers.append((f"change from {report.models[0]}", f"{_ends(row, 'delta', signed=True, decimals=2)} points"))
        numbers.append(
            ("p of the change", f"{format_p_value(row['p_value'])} (corrected by Holm {format_p_value(row['p_holm'])})")
        )
    return numbers


def _delta(report: Report, bars: Comparison) -> Row:
    """Fig. 3 and the tables of differences."""
    of = f"{report.task.primary.short} from {report.models[0]}"
    label = f"Change in {of} in points, by noise and category; numbers in the table beside it"
    names = figure_3_names(bars.frame)
    chart = bar_chart(bars.frame, names, report.models, column="delta", unit="points", label=label)
    return {
        "chart": Markup(chart),
        "models": report.models[1:],
        "rows": _delta_table(report, bars.frame),
        "corruptions": _delta_table(report, report.corruptions.frame),
        "corruption_tests": report.corruptions.tests,
        "caption": bars.caption,
        "tests": bars.tests,
        "notes": bars.notes,
    }


def _delta_table(report: Report, frame: pd.DataFrame) -> list[Row]:
    baseline = frame.drop_duplicates("name").set_index("name")[f"baseline_{report.task.primary.name}"]
    rows = _table(frame, report.models[1:], _difference)
    return [row | {"baseline": format_interval(baseline[row["name"]])} for row in rows]


def _difference(row: Row) -> Row:
    p = row["p_holm"]
    return {
        "text": _ends(row, "delta", signed=True, decimals=2),
        "p": format_p_value(p),
        "by_itself": format_p_value(row["p_value"]),
        "significant": p < SIGNIFICANT,
    }


def _losses(report: Report) -> list[Row]:
    """The cells in which models lose most against the baseline."""
    name = report.task.primary.name
    frame = report.compared_cells.frame.query("delta < 0").sort_values("delta", kind="stable")[:LOSSES]
    shown = {"baseline": f"baseline_{name}", "value": name}
    return [
        {field: row[field] for field in ("model", "name")}
        | {field: format_interval(row[column]) for field, column in shown.items()}
        | _difference(row)
        for row in _records(frame)
    ]


def _categories(report: Report) -> Row:
    """The primary number on clean images, by category and on average."""
    kinds, measure, frame = ["clean", "category", "mean"], report.task.primary, report.summaries.frame
    frame = frame[frame["kind"].isin(kinds)]
    frame = frame.sort_values("kind", key=lambda kind: kind.map(kinds.index), kind="stable")
    names = [str(name) for name in frame["name"].unique()]
    label = f"{measure.title} in percent of each model on clean images and by category; numbers in the table beside it"
    chart = bar_chart(frame, names, report.models, column=measure.name, unit="%", label=label)
    return {"chart": Markup(chart), "rows": _table(frame, report.models, lambda row: _ends(row, measure.name))}


def _heat(report: Report) -> Row:
    """Corruptions × models, with how strong the colour of each cell is: 0 for the best of all, 1 for the worst."""
    frame, name = report.summaries.frame, report.task.primary.name
    frame = frame[frame["kind"] == "corruption"]
    worst, best = frame[name].min(), frame[name].max()

    def cell(row: Row) -> Row:
        return {"text": _ends(row, name), "heat": round((best - row[name]) / max(best - worst, 1e-9), 3)}

    groups: dict[str, list[Row]] = {}
    for row in _table(frame, report.models, cell):
        groups.setdefault(category_of(row["name"]), []).append(row)
    return {
        "groups": groups,
        "worst": format_interval(worst),
        "best": format_interval(best),
        "spread": bool(best > worst),
    }


def _snow_eases(report: Report) -> bool:
    """Whether the page shows classifiers under snow whose published constants are harder at 2 than at 3."""
    cells = set(zip(report.cells.frame["corruption"].astype(str), report.cells.frame["severity"], strict=True))
    published = all(run.config["table"] == "imagenet-c" for run in report.runs)
    return report.task.primary.proportion and published and {("snow", 2), ("snow", 3)} <= cells


def _picked(report: Report) -> bool:
    """Whether the worst drops are some of several cells; where they are all, none was picked."""
    cells = report.cells.frame
    shown = report.drops.frame.drop_duplicates(["corruption", "severity"])
    corrupted = cells[cells["corruption"] != CLEAN[0]].drop_duplicates(["corruption", "severity"])
    return len(shown) < len(corrupted)


def _drop(row: Row, measure: Measure) -> Row:
    return {"text": _ends(row, "delta", signed=True), "left": format_interval(row[measure.name])}


def _reliability(report: Report, frame: pd.DataFrame) -> list[Row]:
    """For each model, the diagrams of its clean and its corrupted images."""
    shown = []
    for (model, part), bins in frame.groupby(["model", "part"], sort=False):
        rows = _records(bins)
        number = report.models.index(str(model))
        table = [
            {
                "bin": f"{row['bin_low']:.0f} – {row['bin_high']:.0f}",
                "n": row["n"],
                "confidence": format_interval(row["confidence"]),
                "accuracy": _ends(row, "accuracy"),
            }
            for row in rows
        ]
        shown.append(
            {
                "model": model,
                "part": part,
                "number": number,
                "chart": Markup(reliability_chart(bins, number)),
                "ece": _ends(rows[0], "ece"),
                "ece_name": ece_name(str(part)),
                "images": rows[0]["images"],
                "cells": rows[0]["cells"],
                "rows": table,
            }
        )
    return shown


def _provenance(report: Report) -> Row:
    """Settings and commands that all runs share, and for each run the others."""
    fields = [{**_fields(run.config, _SETTINGS), **_fields(run.config["runtime"], _RUNTIME)} for run in report.runs]
    commands = [str(run.config["runtime"].get("command", "")) for run in report.runs]
    several = len(fields) > 1
    shared = {name: text for name, text in fields[0].items() if all(own.get(name) == text for own in fields)}
    together = several and len(set(commands)) == 1
    own = [
        {
            "name": model,
            "folder": run.directory.name,
            "command": "" if together else command,
            "fields": {name: text for name, text in fields_of_run.items() if name not in shared or not several},
            "model": _text(run.config.get("model", "")),
            "resumed": len(run.config["runtime"].get("resumed", [])),
            "broken": len(run.config["runtime"].get("broken", [])),
        }
        for model, run, fields_of_run, command in zip(report.models, report.runs, fields, commands, strict=True)
    ]
    return {"shared": shared if several else {}, "command": commands[0] if together else "", "runs": own}


def _fields(config: Mapping[str, Any], names: tuple[str, ...]) -> dict[str, str]:
    known = (name for name in names if name in config and config[name] != _OF_NOTHING)
    return {name.replace("_", " "): _text(config[name]) for name in known}


def _text(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_text(item)}" for key, item in value.items() if item != _OF_NOTHING)
    if isinstance(value, list):
        return ", ".join(map(_text, value))
    if value is None:
        return "none"
    return value if isinstance(value, str) else json.dumps(value)


def _pictures(report: Report, open_pictures: OpenPictures | None) -> Row:
    """Example pictures and spectra, where they are asked for."""
    shown: Row = {"examples": None, "spectra": None, "boxes": None}
    if open_pictures is None:
        return shown
    try:
        if report.task.has("answers"):
            shown["examples"] = example_pictures(report, open_pictures)
        # Pictures that keep their sizes have no common spectrum.
        whole = report.task.has("mean_performance")
        shown["boxes"] = box_examples(report, open_pictures) if whole else None
        spectra = None if whole else power_spectra(report, open_pictures)
    except BivoRobustError as error:
        raise DataError(f"the page cannot show images: {error}; leave out --pictures") from error
    if spectra is not None:
        panels = [(name, Markup(svg)) for name, svg in spectrum_panels(spectra.frame)]
        shown["spectra"] = {"panels": panels, "caption": spectra.caption, "n": spectra.frame["n"].iloc[0]}
    return shown

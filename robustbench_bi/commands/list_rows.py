"""`list`: the rows of the tables."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import click

from robustbench_bi.commands.endings import OneLineError
from robustbench_bi.commands.options import JSON, sheet_options

LISTED = {
    "models": ("robustbench_bi.models", "MODELS", ("name", "aliases", "family", "summary")),
    "variants": ("robustbench_bi.models", "VARIANTS", ("name", "model", "summary")),
    "corruptions": ("robustbench_bi.corruptions", "CORRUPTIONS", ("name", "category", "kernels", "summary")),
    "suites": ("robustbench_bi.corruptions", "SUITES", ("name", "summary")),
    "tables": ("robustbench_bi.corruptions", "TABLES", ("name", "side")),
    "metrics": ("robustbench_bi.metrics", "METRICS", ("name", "unit", "better", "summary")),
    "figures": ("robustbench_bi.reports", "FIGURES", ("name", "summary")),
    "detectors": ("robustbench_bi.models.detectors", "DETECTORS", ("name", "summary")),
    "data": ("robustbench_bi.data", "SOURCES", ("name", "summary")),
}

NOTES = {
    "corruptions": "On CUDA, corruptions without a triton kernel run in plain torch, as do the variants of the table "
    "imagecorruptions; none passes through the CPU."
}


@click.command("list")
@click.argument("what", type=click.Choice(list(LISTED)))
@click.option(
    "--gallery",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="With corruptions: draw each at five severities on one sheet, DIR/corruptions.png.",
)
@JSON
@sheet_options
def list_rows(what: str, gallery: Path | None, as_json: bool, sheet: Any) -> None:
    """List models, corruptions, suites, metrics, figures and data sources."""
    if gallery is not None:
        _draw_gallery(what, gallery, sheet)
        return
    for name in ("width", "style"):
        if click.get_current_context().get_parameter_source(name) is not click.core.ParameterSource.DEFAULT:
            raise OneLineError(f"--{name} applies only to --gallery; add --gallery, or leave it out")
    module, table_name, columns = LISTED[what]
    table = getattr(importlib.import_module(module), table_name)
    rows = [{**vars(row), "aliases": table.aliases_of(row.name)} for row in table]
    if as_json:
        import json

        hidden = ("code", "scores")
        shown = [{key: value for key, value in row.items() if key not in hidden} for row in rows]
        click.echo(json.dumps(shown, indent=1, ensure_ascii=False, default=dict))
        return
    texts = [[", ".join(row[key]) if isinstance(row[key], tuple) else str(row[key]) for key in columns] for row in rows]
    widths = [max(map(len, column)) for column in zip(*texts, strict=True)]
    for text in texts:
        click.echo("  ".join(f"{cell:<{width}}" for cell, width in zip(text, widths, strict=True)).rstrip())
    if what in NOTES:
        click.echo(NOTES[what])


def _draw_gallery(what: str, folder: Path, sheet: Any) -> None:
    if what != "corruptions":
        raise OneLineError(f"--gallery is for corruptions, got {what!r}; try: list corruptions --gallery {folder}")
    from robustbench_bi.corruptions.gallery import gallery, sample_photograph
    from robustbench_bi.reports.figures.gallery import gallery_sheet
    from robustbench_bi.reports.write import write_png

    caption = "A photograph of 224×224 pixels; table imagenet-c, seed 0."
    path = folder / "corruptions.png"
    write_png(gallery_sheet(gallery(sample_photograph()), caption, sheet=sheet), path, dpi=300 if sheet.narrow else 160)
    click.echo(f"Written: {path}")

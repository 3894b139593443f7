"""The file that a report becomes: a page, or tables for a paper."""

from collections.abc import Sequence
from pathlib import Path

from robustbench_bi.errors import InputError
from robustbench_bi.ground.atomic import replacing
from robustbench_bi.metrics.intervals import Resampling
from robustbench_bi.reports.content import Report
from robustbench_bi.reports.forms import Form, form_of
from robustbench_bi.reports.page.pictures import OpenPictures
from robustbench_bi.reports.page.render import render_page
from robustbench_bi.reports.tables.paper import as_latex, as_markdown
from robustbench_bi.runs.run import Run


def write_report(
    runs: Sequence[Run],
    out: Path,
    *,
    form: Form | None = None,
    open_pictures: OpenPictures | None = None,
    resampling: Resampling | None = None,
    baseline_named: bool = False,
    metrics: Sequence[str] | str = (),
) -> Report:
    """Write a report of finished runs; the same runs give the same bytes.

    Args:
        runs: one, or several of the same images and settings; the others are compared with the first.
        out: of the file; its folder is made.
        form: "html" is a page, "markdown" and "latex" are tables for a paper; by default as the suffix of `out` says.
        open_pictures: how a page gets its pictures, such as `report_pictures.pictures_of`; None for none.
        resampling: of the intervals.
        baseline_named: whether the first run was chosen as the baseline; else the report says that it is the first.
        metrics: names of further metrics to show, or "all".

    Returns:
        What the file was made from.

    Raises:
        InputError: there is no run, pictures or metrics are asked for in tables, or the suffix says nothing and no form
            is given.
        RunMismatchError: a run is not finished, or two cannot be compared.
        DataError: records are damaged, pictures are asked for and not at hand, or the file cannot be written.
    """
    if not runs:
        raise InputError("a report needs at least one run, got none")
    form = form or form_of(out)
    if open_pictures is not None and form != "html":
        raise InputError(f"only HTML reports hold images, got {form}; leave them out")
    if metrics and form != "html":
        raise InputError(
            f"only HTML reports show further metrics, got {form}; leave them out, or use compare --metrics"
        )
    report = Report(tuple(runs), resampling or Resampling(), baseline_named, metrics)
    makers = {"html": lambda: render_page(report, open_pictures), "markdown": lambda: as_markdown(report)}
    text = makers.get(form, lambda: as_latex(report))()
    with replacing(out) as partial:
        partial.write_text(text, encoding="utf-8", newline="\n")
    return report

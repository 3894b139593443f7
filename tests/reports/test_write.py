import json
import math

import numpy as np
import pandas as pd
import pytest

from robustbench_bi.analysis.comparison import comparison_frame
from robustbench_bi.errors import DataError
from robustbench_bi.metrics.intervals import Resampling
from robustbench_bi.reports.figures.style import new_figure, styled
from robustbench_bi.reports.write import (
    as_json,
    write_comparison,
    write_csv,
    write_figure,
    write_markdown,
)

FRAME = pd.DataFrame({"name": ["a|b", "mCE* (n=5)"], "top1": [50.123456789012, math.nan]})


def figure(height=1.0):
    with styled():
        drawn = new_figure(2, 1)
        drawn.add_subplot().bar([0], [height], hatch="///")
    return drawn


def test_csv_is_read_back(tmp_path):
    path = tmp_path / "new" / "table.csv"
    write_csv(FRAME, path)
    back = pd.read_csv(path)
    assert back["name"].tolist() == FRAME["name"].tolist()
    assert back["top1"][0] == pytest.approx(50.123456789012, rel=1e-9)
    assert path.read_bytes().endswith(b"mCE* (n=5),\n")


def test_markdown_escapes_what_github_would_read(tmp_path):
    path = tmp_path / "table.md"
    write_markdown(FRAME.astype(str), path, title="Runs", notes=["n = 5 images."])
    assert path.read_text(encoding="utf-8").splitlines() == [
        "# Runs",
        "",
        "| name | top1 |",
        "| :--- | :--- |",
        "| a\\|b | 50.123456789012 |",
        "| mCE\\* (n=5) | nan |",
        "",
        "n = 5 images.",
    ]


def test_json_has_no_nan_and_no_numpy():
    value = {"rows": FRAME, "n": np.int64(5), "pair": (np.float32(0.5), math.inf), "ok": np.bool_(True), "none": None}
    assert json.loads(json.dumps(as_json(value), allow_nan=False)) == {
        "rows": [{"name": "a|b", "top1": 50.123456789012}, {"name": "mCE* (n=5)", "top1": None}],
        "n": 5,
        "pair": [0.5, None],
        "ok": True,
        "none": None,
    }
    assert as_json(pd.NA) is None


def test_figures_are_the_same_bytes_each_time(tmp_path):
    for name in ("a", "b"):
        png, svg, pdf = write_figure(figure(), tmp_path / name)
        assert (png.name, svg.name, pdf.name) == (f"{name}.png", f"{name}.svg", f"{name}.pdf")
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()
    assert (tmp_path / "a.pdf").read_bytes() == (tmp_path / "b.pdf").read_bytes()
    # TrueType outlines are embedded (Type 42); matplotlib's own choice would be Type 3, which publishers refuse.
    fonts = (tmp_path / "a.pdf").read_bytes()
    assert b"/FontFile2" in fonts and b"/Subtype /Type3" not in fonts and b"/CreationDate" not in fonts
    assert b"<dc:date>" not in (tmp_path / "a.svg").read_bytes()
    write_figure(figure(2.0), tmp_path / "c")
    assert (tmp_path / "a.svg").read_bytes() != (tmp_path / "c.svg").read_bytes()


def test_a_layout_that_differs_in_the_last_bit_makes_no_other_file(tmp_path):
    drawn = figure()
    drawn.set_layout_engine("constrained")
    write_figure(drawn, tmp_path / "a")
    (axes,) = drawn.axes
    ends = axes.get_position().bounds
    assert ends[0] > 0.05, "it was laid out"
    assert ends == pytest.approx([round(end, 9) for end in ends], abs=1e-15)


def test_a_name_with_a_dot_keeps_it(tmp_path):
    assert write_figure(figure(), tmp_path / "v1.2")[0].name == "v1.2.png"


def test_a_failed_write_leaves_the_old_file_and_nothing_half_written(tmp_path, monkeypatch):
    path = tmp_path / "table.csv"
    write_csv(FRAME, path)
    before = path.read_bytes()

    def fail(frame, target, **options):
        target.write_text("half")
        raise KeyboardInterrupt

    monkeypatch.setattr(pd.DataFrame, "to_csv", fail)
    with pytest.raises(KeyboardInterrupt):
        write_csv(FRAME.iloc[:1], path)
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["table.csv"]


def test_a_place_that_cannot_be_written_is_a_clear_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=r"cannot write .*table\.csv"):
        write_csv(FRAME, tmp_path / "file" / "table.csv")


def test_everything_of_a_comparison(make_run, tmp_path):
    baseline = make_run("a", n=40, corruptions=("fog", "snow"))
    runs = [make_run("b", n=40, corruptions=("fog", "snow"), luck=1)]
    bars = comparison_frame(runs, baseline, resampling=Resampling(repeats=100))
    out = tmp_path / "new" / "folder"
    written = write_comparison(runs, baseline, bars, out)
    assert sorted(path.name for path in written) == sorted(path.name for path in out.iterdir())
    assert {path.name for path in written} >= {"comparison.csv", "comparison.md", "cells.csv", "fig3.png", "fig3.svg"}
    assert pd.read_csv(out / "comparison.csv")["delta"].tolist() == pytest.approx(bars.frame["delta"].tolist())
    assert len(pd.read_csv(out / "cells.csv")) == 11
    summaries = pd.read_csv(out / "summaries.csv")
    assert summaries["model"].unique().tolist() == ["a", "b"] and {"top1_low", "top1_high"} <= set(summaries)
    assert pd.read_csv(out / "corruptions.csv")["name"].tolist() == ["snow", "fog"]
    text = (out / "comparison.md").read_text(encoding="utf-8")
    assert text.startswith("# Comparison with a\n\n| model | corruption |")
    assert bars.caption in text
    assert bars.tests in text

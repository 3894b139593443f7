import math
import re
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest

from robustbench_bi.analysis.comparison import comparison_frame
from robustbench_bi.analysis.reliability import reliability_frame
from robustbench_bi.analysis.summary import cells_frame
from robustbench_bi.metrics.intervals import Resampling
from robustbench_bi.reports.figures.style import LOOKS
from robustbench_bi.reports.page.charts import (
    bar_chart,
    curve_panels,
    nice_ticks,
    reliability_chart,
    spectrum_panels,
    swatch,
)

QUICK = Resampling(repeats=100)
MODELS = ["a", "<b> & c"]


@pytest.fixture
def runs(make_run):
    return [
        make_run(MODELS[0], corruptions=("fog",)),
        make_run(MODELS[1], corruptions=("fog",), luck=1, gains={"fog": 3}),
    ]


def titles(svg):
    return [title.text for title in ElementTree.fromstring(svg).iter("title")]


def test_a_bar_for_each_difference_with_its_numbers_as_tooltip(runs):
    frame = comparison_frame(runs[1:], runs[0], resampling=QUICK).frame
    svg = bar_chart(frame, ["clean", "mean (1 of 15)"], MODELS, column="delta", unit="points", label="differences")
    root = ElementTree.fromstring(svg)
    assert (root.get("role"), root.get("aria-label")) == ("img", "differences")
    assert len(root.findall(".//rect")) == 2
    row = frame.set_index("name").loc["mean (1 of 15)"]
    text = f"{row['delta']:+.2f} [{row['delta_low']:+.2f}, {row['delta_high']:+.2f}] points"
    assert titles(svg)[1] == f"<b> & c, mean (1 of 15): {text}, p <0.001, p (Holm) <0.001, n = 150"
    assert [text.text for text in root.iter("text")].count("*") == (frame.iloc[[0, -1]]["p_holm"] < 0.05).sum() == 1


def test_bars_start_at_zero_and_end_at_their_value():
    columns = {"model": "a", "name": ["x", "y"], "n": 5, "top1_low": [10.0, 70.0], "top1_high": [30.0, 90.0]}
    svg = bar_chart(
        pd.DataFrame(columns | {"top1": [20.0, 80.0]}), ["x", "y"], ["a"], column="top1", unit="%", label=""
    )
    first, second = ElementTree.fromstring(svg).findall(".//rect")
    assert first.get("x") == second.get("x")
    assert float(second.get("width")) == pytest.approx(4 * float(first.get("width")), rel=0.01)
    whiskers = re.findall(r'class="whisker" d="M([\d.]+) [\d.]+L([\d.]+)', svg)
    middle = float(first.get("x")) + float(first.get("width"))
    assert sum(map(float, whiskers[0])) / 2 == pytest.approx(middle, abs=0.2)


def test_a_single_image_has_bars_without_whiskers():
    columns = {"model": "a", "name": ["x"], "n": 1, "delta": 0.0, "delta_low": math.nan, "delta_high": math.nan}
    svg = bar_chart(pd.DataFrame(columns | {"p_holm": math.nan}), ["x"], ["a"], column="delta", unit="points", label="")
    assert "whisker" not in svg and "nan" not in svg


def test_a_panel_for_each_corruption_with_every_cell_as_tooltip(runs):
    cells = cells_frame(runs)
    frame = cells.frame
    ((name, svg),) = curve_panels(cells, MODELS)
    assert name == "fog"
    assert len(titles(svg)) == len(frame) == 12
    row = frame.query("model == 'a' and severity == 3").iloc[0]
    assert (
        f"a, fog, severity 3: {row['top1']:.1f} [{row['top1_low']:.1f}, {row['top1_high']:.1f}] %, n = 150"
        in titles(svg)
    )
    assert [line.get("points").count(",") for line in ElementTree.fromstring(svg).iter("polyline")] == [6, 6]


def test_a_point_and_a_count_for_each_bin_that_holds_something(runs):
    frame = reliability_frame(runs, QUICK).frame
    own = frame.query("model == 'a' and part == 'corrupted'")
    root = ElementTree.fromstring(reliability_chart(own, 0))
    counts = [text.text for text in root.iter("text") if text.get("transform")]
    assert counts == [f"{n:,}" for n in own["n"] if n]
    assert len([path for path in root.iter("path") if path.get("class") == "marker"]) == len(counts)
    assert f"ECE {own['ece'].iloc[0]:.1f} [" in root.get("aria-label")


def test_spectra_share_their_axes():
    frequency = np.array([1 / 64, 1 / 8, 1 / 4, 0.7])
    frames = []
    for name, factor in (("none", 1.0), ("fog", 1.0), ("contrast", 0.01)):
        ratio = np.full(4, factor)
        columns = {"corruption": name, "frequency": frequency, "ratio": ratio, "ratio_low": ratio, "ratio_high": ratio}
        frames.append(pd.DataFrame(columns))
    panels = dict(spectrum_panels(pd.concat(frames)))
    assert list(panels) == ["fog", "contrast"]
    heights = {}
    for name, svg in panels.items():
        root = ElementTree.fromstring(svg)
        points = root.find("polyline").get("points").split()
        assert len(points) == 3, "what is in the corner is left out"
        heights[name] = float(points[0].split(",")[1])
        heights[f"1 in {name}"] = next(float(t.get("y")) for t in root.iter("text") if t.text == "1")
    assert heights["1 in fog"] == heights["1 in contrast"]
    assert heights["fog"] < heights["contrast"]


def test_every_look_has_a_marker():
    assert len({re.search(r'class="marker" d="[^"]*"', swatch(number))[0] for number in range(len(LOOKS))}) == len(
        LOOKS
    )
    assert swatch(len(LOOKS)).replace(f"of-{len(LOOKS)}", "of-0") == swatch(0)


@pytest.mark.parametrize("values", [[0, 0.01], [-8.3, 2.1], [0, 100], [37, 37.4], [math.nan, 5.0], [-1e-9, 0]])
def test_ticks_are_round_and_span_the_values(values):
    ticks = nice_ticks(values)
    finite = [value for value in values if not math.isnan(value)]
    assert ticks[0] <= min(finite) and ticks[-1] >= max(finite)
    assert 3 <= len(ticks) <= 8
    steps = np.diff(ticks)
    assert steps == pytest.approx(steps[0])
    assert f"{steps[0]:e}"[0] in "125"

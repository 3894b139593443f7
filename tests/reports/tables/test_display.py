import math

import pandas as pd
import pytest

from robustbench_bi.analysis.comparison import comparison_frame
from robustbench_bi.analysis.summary import summary_frame
from robustbench_bi.analysis.text import format_interval, format_p_value
from robustbench_bi.metrics.intervals import Resampling
from robustbench_bi.reports.tables.display import display_comparison, display_summary, markdown_table


@pytest.mark.parametrize(
    ("arguments", "options", "text"),
    [
        ((76.13, 75.76, 76.5), {}, "76.1 [75.8, 76.5]"),
        ((0.04, -0.04, 1.0), {"signed": True}, "+0.0 [+0.0, +1.0]"),
        ((-12.345, -13, -11), {"signed": True, "decimals": 2}, "-12.35 [-13.00, -11.00]"),
        ((math.nan, math.nan, math.nan), {}, "–"),
        ((50.0,), {}, "50.0"),
    ],
)
def test_format_interval(arguments, options, text):
    assert format_interval(*arguments, **options) == text


def test_format_p_value():
    assert [format_p_value(p) for p in (1.0, 0.05, 0.0009, math.nan)] == ["1.000", "0.050", "<0.001", "–"]


def test_a_summary_shows_only_columns_with_values(make_run, imagenet):
    run, imagenet = make_run(), make_run(**imagenet)
    shown = display_summary(summary_frame(run, Resampling(repeats=100)))
    assert list(shown) == ["corruption", "n", "top-1 %", "Δ to clean", "top-5 %", "ECE %", "NLL"]
    assert shown.loc[0, ["corruption", "n", "Δ to clean"]].tolist() == ["clean", "150", "–"]
    assert shown["top-1 %"].str.fullmatch(r"\d+\.\d \[\d+\.\d, \d+\.\d\]").all()
    with_errors = display_summary(summary_frame(imagenet, Resampling(repeats=100)))
    assert list(with_errors)[-1] == "CE* / mCE* %"
    assert with_errors["corruption"].iloc[-2] == "mCE* (n=150)"
    assert with_errors["top-1 %"].iloc[-2] == "–"


def test_a_comparison_shows_signed_differences(make_run):
    run, baseline = make_run("b", luck=1, skill=1.0), make_run("a")
    shown = display_comparison(comparison_frame([run], baseline, resampling=Resampling(repeats=100)))
    assert shown["Δ top-1"].str.fullmatch(r"[+-]\d+\.\d\d \[[+-]\d+\.\d\d, [+-]\d+\.\d\d\]").all()
    assert shown.iloc[0][["model", "corruption", "n"]].tolist() == ["b", "clean", "150"]
    assert isinstance(shown, pd.DataFrame)


def test_columns_of_numbers_are_aligned_right():
    table = markdown_table(pd.DataFrame({"name": ["x"], "Δ": ["-1.0 [-2.0, 0.0]"], "p": ["<0.001"]}))
    assert table.splitlines()[1] == "| :--- | ----: | ----: |"

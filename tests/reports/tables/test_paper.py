import re
import shutil
import subprocess

import pytest

from robustbench_bi.metrics.intervals import Resampling
from robustbench_bi.reports.content import Report
from robustbench_bi.reports.tables.paper import as_latex, as_markdown, latex_text, paper_tables, significance

QUICK = Resampling(repeats=100)


@pytest.fixture
def report(make_run):
    names = ("resnet_50", "b&c", "100%")
    gains = ({}, {"fog": 5.0}, {})
    runs = [make_run(name, n=60, luck=i, gains=own) for i, (name, own) in enumerate(zip(names, gains, strict=True))]
    return Report(runs, QUICK)


def test_a_row_for_each_model_and_a_column_for_each_mean(report):
    summary, delta = paper_tables(report)
    assert list(summary.frame.columns) == ["model", "clean", "noise", "blur", "weather", "digital", "mean"]
    assert summary.frame["model"].tolist() == ["resnet_50", "b&c", "100%"]
    row = report.summaries.frame.query("model == 'b&c' and name == 'weather'").iloc[0]
    expected = f"{row['top1']:.1f} [{row['top1_low']:.1f}, {row['top1_high']:.1f}]"
    assert summary.frame["weather"][1] == expected
    assert list(delta.frame.columns) == ["corruption", "b&c", "100%"]
    row = report.bars.frame.query("model == 'b&c' and name == 'weather'").iloc[0]
    expected = f"{row['delta']:+.2f} [{row['delta_low']:+.2f}, {row['delta_high']:+.2f}]***"
    assert delta.frame.set_index("corruption").loc["weather", "b&c"] == expected
    assert row["p_holm"] < 0.001


def test_captions_say_n_intervals_and_tests(report):
    summary, delta = paper_tables(report)
    for table in (summary, delta):
        assert "n = 60 images of demo" in table.caption
        assert "95 % intervals over images: t with a worst and a best image added" in table.caption
    assert "(ECE)" not in summary.caption  # which the table does not show
    assert "resnet_50, the first run." in delta.caption
    assert "McNemar" in delta.caption and "after Holm's correction" in delta.caption
    assert delta.title == "Change in top-1 from resnet_50"


def test_a_single_run_has_one_table(make_run):
    assert [table.name for table in paper_tables(Report([make_run("a", n=30)], QUICK))] == ["summary"]


def test_mce_is_a_column_where_it_applies(make_run, imagenet):
    (table,) = paper_tables(Report([make_run("a", n=30, **imagenet)], QUICK))
    assert table.frame.columns[-1] == "mCE* (n=30)"
    assert float(table.frame["mCE* (n=30)"][0].split()[0]) > 50
    assert "relative to AlexNet's" in table.caption


def test_the_mean_error_stands_beside_mce_in_every_form(make_run, imagenet):
    """Of models whose mCE bear different names too; it is no mean of the errors that are normalised."""
    runs = [make_run("a", n=30, **imagenet), make_run("b", n=30, skill=1.0, **imagenet)]
    report = Report(runs, QUICK)
    summary, _ = paper_tables(report)
    assert list(summary.frame.columns)[-2:] == ["mean error", "mCE* (n=30)"]
    frame = report.summaries.frame
    for model, text in zip(report.models, summary.frame["mean error"], strict=True):
        row = frame[(frame["model"] == model) & (frame["kind"] == "mean")].iloc[0]
        assert text == f"{100 - row['top1']:.1f} [{100 - row['top1_high']:.1f}, {100 - row['top1_low']:.1f}]"
    for document in (as_markdown(report), as_latex(report)):
        assert "mean error" in document.partition("mCE* (n=30)")[0].partition("mCE\\* (n=30)")[0]
        assert f"{100 - row['top1']:.1f}" in document


def test_means_are_over_the_cells_of_all_models(make_run):
    """The third shares less with the first than the second does, so that pairs alone would be over other cells."""
    runs = [
        make_run(name, n=30, corruptions=names)
        for name, names in (("a", ("fog", "snow")), ("b", ("fog", "snow")), ("c", ("fog",)))
    ]
    summary, delta = paper_tables(Report(runs, QUICK))
    assert summary.frame.columns.tolist() == ["model", "clean", "weather (1 of 4)", "mean (1 of 15)"]
    assert "over the 5 corrupted cells that all runs have" in summary.caption
    assert delta.frame["corruption"].tolist() == ["clean", "weather (1 of 4)", "mean (1 of 15)"]
    assert not (delta.frame == "–").any(axis=None)
    assert "Note: 5 cells are only in a" in delta.caption


def test_markdown(report):
    lines = as_markdown(report).splitlines()
    assert lines[0] == "## Robustness to corruptions"
    assert lines[2].startswith("| model | clean |")
    assert lines[3] == "| :--- |" + " ----: |" * 6
    assert any(re.match(r"\| weather \| \+\d+\.\d\d \[.*\]\\\*\\\*\\\* \|", line) for line in lines)


def test_latex(report):
    text = as_latex(report)
    assert text.startswith("% Needs \\usepackage{booktabs}.")
    for rule in ("toprule", "midrule", "bottomrule"):
        assert text.count(f"\\{rule}") == 2
    assert text.count("{") - text.count("\\{") == text.count("}") - text.count("\\}")
    assert text.isascii()
    blocks = re.findall(r"\\begin\{tabular\}\{(lr*)\}(.*?)\\end\{tabular\}", text, re.DOTALL)
    assert len(blocks) == 2
    for block in blocks:
        rows = [line for line in block[1].splitlines() if line.endswith(r"\\")]
        assert {len(re.findall(r"(?<!\\)&", row)) for row in rows} == {len(block[0]) - 1}
    assert "resnet\\_50 & $" in text and "b\\&c" in text and "100\\%" in text
    row = report.bars.frame.query("model == 'b&c' and name == 'weather'").iloc[0]
    assert f"${row['delta']:+.2f}$\\rlap{{$^{{***}}$}}" in text
    assert f"{{\\scriptsize $[{row['delta_low']:+.2f}, {row['delta_high']:+.2f}]$}}" in text
    assert "\\label{tab:summary}" in text and "\\label{tab:delta}" in text


@pytest.mark.skipif(not shutil.which("pdflatex"), reason="pdflatex is not installed")
def test_latex_is_set_without_a_complaint(report, tmp_path):
    (tmp_path / "tables.tex").write_text(as_latex(report), encoding="utf-8")
    head = r"\documentclass{article}\usepackage{booktabs}\begin{document}"
    (tmp_path / "paper.tex").write_text(head + r"\input{tables}\end{document}", encoding="utf-8")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "paper.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:]
    assert "Overfull" not in done.stdout


def test_latex_text_has_no_commands_of_its_own():
    assert latex_text(r"a_b \c {d} 5 % Δ <x>") == (r"a\_b \textbackslash{}c \{d\} 5 \% $\Delta$ $<$x$>$")


@pytest.mark.parametrize(("p", "stars"), [(0.0009, "***"), (0.001, "**"), (0.049, "*"), (0.05, ""), (float("nan"), "")])
def test_stars(p, stars):
    assert significance(p) == stars

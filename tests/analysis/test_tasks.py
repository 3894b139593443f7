"""A second task goes from records to every report, without a line of its own in analysis or reports."""

import dataclasses
import json
from dataclasses import dataclass

import counting_task
import numpy as np
import pandas as pd
import pytest

import robustbench_bi.tasks
from robustbench_bi.analysis.baseline import outcomes_of, read_baseline, write_baseline
from robustbench_bi.analysis.comparison import comparison_frame
from robustbench_bi.analysis.drops import drops_frame
from robustbench_bi.analysis.gate import REGRESSED, gate_frame
from robustbench_bi.analysis.groups import summary_groups
from robustbench_bi.analysis.measured import measured
from robustbench_bi.analysis.summary import cells_frame, summaries_frame, summary_frame
from robustbench_bi.corruptions import SUITES
from robustbench_bi.errors import DataError, RunMismatchError
from robustbench_bi.metrics import METRICS
from robustbench_bi.metrics.intervals import Resampling, bootstrap_interval
from robustbench_bi.metrics.pairing import PAIRINGS
from robustbench_bi.metrics.statistics import ImageMeans
from robustbench_bi.reports import FIGURES
from robustbench_bi.reports.ci.verdicts import markdown_summary, verdicts_of
from robustbench_bi.reports.content import Report
from robustbench_bi.reports.page.pictures import Pictures
from robustbench_bi.reports.page.render import render_page
from robustbench_bi.reports.report import write_report
from robustbench_bi.reports.tables.display import display_comparison, display_summary
from robustbench_bi.reports.tables.gate import display_gate
from robustbench_bi.reports.write import write_comparison
from robustbench_bi.runs.run import Run
from robustbench_bi.tasks import TASKS

QUICK = Resampling(repeats=200)
FOG = ("none", 0), ("fog", 1)


@dataclass(frozen=True)
class CountingRun(Run):
    """A run whose records are in memory, of images of which some have none."""

    frame: pd.DataFrame
    listed: tuple[int, ...]

    def records(self, names=False):
        return self.frame.copy()

    def images(self):
        return pd.DataFrame({"image_id": self.listed, "name": [f"{image}.png" for image in self.listed]})


@pytest.fixture(autouse=True)
def known(monkeypatch):
    monkeypatch.setattr(robustbench_bi.tasks, "TASKS", counting_task.table_with_it())


@pytest.fixture
def make(make_run):
    """make(name, rows, images, cells) -> a run of the second task; a row is (cell, image, target, mark)."""

    def made(name, rows, images, cells, **config):
        corruptions = list(dict.fromkeys(corruption for corruption, _ in cells if corruption != "none"))
        severities = sorted({severity for _, severity in cells} - {0})
        run = make_run(name, n=len(images), corruptions=corruptions, severities=severities, task="counting", **config)
        found = [(*cell, image, bool(target), bool(mark)) for cell, image, target, mark in rows]
        frame = pd.DataFrame(found, columns=["corruption", "severity", *counting_task.COLUMNS])
        return CountingRun(run.directory, frame.astype({"corruption": "category"}), tuple(images))

    return made


@pytest.fixture
def simulated(make):
    """simulated(name, …) -> a run on 120 images of 0 to 3 targets, of which it misses more the higher the severity."""

    def made(name, miss=0.1, luck=0, corruptions=SUITES["imagenet-c"].corruptions, worse=None):
        generator = np.random.default_rng(luck)
        targets = np.random.default_rng(99).integers(0, 4, 120)
        hard = np.random.default_rng(98).normal(0, 0.25, 120)
        cells = [("none", 0), *((corruption, severity) for corruption in corruptions for severity in (1, 3))]
        rows = []
        for cell in cells:
            share = miss + 0.1 * cell[1] + (worse or {}).get(cell[0], 0.0)
            for image, number in enumerate(targets):
                rows += [(cell, image, True, hit) for hit in generator.random(number) > share + hard[image]]
                rows += [(cell, image, False, True)] * int(generator.random() < share + hard[image])
        return make(name, rows, range(120), cells)

    return made


@pytest.fixture
def small(make):
    """Image 5: clean 1 hit, 1 missed; in fog 2 missed. Image 7: clean 2 hits; in fog 2 hits, 1 false. Image 9: none."""
    clean, fog = FOG
    rows = [(clean, 5, 1, 1), (clean, 5, 1, 0), (clean, 7, 1, 1), (clean, 7, 1, 1)]
    rows += [(fog, 7, 1, 1), (fog, 5, 1, 0), (fog, 7, 0, 1), (fog, 5, 1, 0), (fog, 7, 1, 1)]
    return make("small", rows, (7, 5, 9), FOG)


def test_numbers_are_ratios_of_sums_over_images(small):
    frame = summary_frame(small, QUICK).frame.set_index("name")
    # Clean: 3 hits, 4 targets, 3 marks. Fog: 2 hits, 4 targets, 3 marks.
    assert frame.loc["clean", "f1"] == pytest.approx(100 * 6 / 7)
    assert frame.loc["fog", "f1"] == pytest.approx(100 * 4 / 7)
    assert frame.loc["fog", "delta"] == pytest.approx(-100 * 2 / 7)
    assert frame.loc["clean", "marks"] == frame.loc["fog", "marks"] == 1
    assert set(frame["n"]) == {3}
    assert not [column for column in frame if "corruption_error" in column or "top" in column]
    cells = cells_frame([small], QUICK).frame
    assert cells["f1"].tolist() == pytest.approx([600 / 7, 400 / 7])
    assert cells["n"].tolist() == [3, 3]


def test_images_without_any_record_are_images(small):
    assert measured(small).grid.image_ids.tolist() == [5, 7, 9]
    nothing = dataclasses.replace(small, frame=small.frame[:0])
    assert summary_frame(nothing, QUICK).frame["f1"].tolist() == [100.0] * 4, "nothing to find, nothing marked"
    unlisted = dataclasses.replace(small, listed=(5, 9))
    with pytest.raises(DataError, match="image 7 has records, but is not in the list of images"):
        measured(unlisted)


def test_a_number_is_computed_again_from_the_images_that_were_drawn(small):
    found = measured(small)
    groups = [group for group in summary_groups(found.grid.cells) if group.name in ("clean", "fog")]
    # Image 5 twice, 7 once, 9 never; then 9 alone.
    weights = np.array([[2.0, 1.0, 0.0], [0.0, 0.0, 3.0]])
    values = found.statistic(groups).resampled(weights)
    assert values[0].tolist() == pytest.approx([200 * 4 / (6 + 4), 200 * 2 / (6 + 3)])
    assert values[1].tolist() == [100.0, 100.0]


def test_the_interval_is_not_that_of_the_mean_of_each_images_ratio(simulated):
    run = simulated("a")
    row = summary_frame(run, QUICK).frame.set_index("name").loc["clean"]
    hits, targets, marks = counting_task.counts_of(run.records(), np.arange(120), run.cell_names)[:, :, 0]
    both = targets + marks
    ratios = np.where(both > 0, 200 * hits / np.maximum(both, 1), 100.0)
    low, high = bootstrap_interval(ImageMeans(ratios[:, None]), QUICK)
    assert row["f1"] == pytest.approx(200 * hits.sum() / both.sum())
    assert abs(row["f1"] - ratios.mean()) > 0.5
    assert max(abs(row["f1_low"] - low[0]), abs(row["f1_high"] - high[0])) > 1
    # The delta method's interval of a ratio of sums, for comparison.
    residuals = 2 * hits - row["f1"] / 100 * both
    half = 100 * 1.96 * np.sqrt((residuals**2).sum()) / both.sum()
    assert (row["f1_high"] - row["f1_low"]) / 2 == pytest.approx(half, rel=0.2)


def test_a_comparison_is_paired_and_tested_by_the_bootstrap(simulated):
    baseline, run = simulated("a"), simulated("b", luck=1, worse={"fog": 0.6})
    found = comparison_frame([run], baseline, resampling=QUICK)
    frame = found.frame.set_index("name")
    assert frame["delta"].tolist() == pytest.approx((frame["f1"] - frame["baseline_f1"]).tolist())
    assert set(frame["test"]) == {"paired bootstrap"}
    assert frame.loc["weather", "p_holm"] < 0.01 and frame.loc["weather", "delta_high"] < 0
    assert frame.loc["blur", "p_holm"] > 0.05
    assert found.caption.startswith("Δ F1 in points, compared with a, paired by image. n = 120 images of demo")
    assert found.tests.startswith("p: the difference over its standard error, from a paired bootstrap over images; ")
    shown = display_comparison(found)
    assert {"F1 %", "Δ F1"} <= set(shown) and "top-1 %" not in shown
    same = comparison_frame([baseline], baseline, resampling=QUICK).frame
    assert (same[["delta", "delta_low", "delta_high"]] == 0).all(axis=None)
    assert (same[["p_value", "p_holm"]] == 1).all(axis=None)


def test_pairing_makes_the_interval_narrower(simulated):
    baseline, run = simulated("a"), simulated("b", luck=1)
    paired = comparison_frame([run], baseline, resampling=QUICK).frame.set_index("name").loc["mean"]
    alone = [summary_frame(own, QUICK).frame.set_index("name").loc["mean"] for own in (run, baseline)]
    apart = np.hypot(*(row["f1_high"] - row["f1_low"] for row in alone))
    assert paired["delta_high"] - paired["delta_low"] < 0.8 * apart


def test_tasks_are_never_compared_with_one_another(simulated, make_run):
    of_labels, of_counts = make_run("a", n=120), simulated("b")
    with pytest.raises(RunMismatchError, match="a was made for classification, b for counting"):
        comparison_frame([of_labels], of_counts)
    with pytest.raises(RunMismatchError, match="must have the same task, got classification, counting"):
        summaries_frame([of_labels, of_counts])
    with pytest.raises(RunMismatchError, match="the run was made for counting, the baseline for classification"):
        gate_frame(outcomes_of(of_counts), outcomes_of(of_labels))


def test_words_and_columns_are_those_of_the_task(simulated):
    summary = summary_frame(simulated("a"), QUICK)
    assert list(display_summary(summary)) == ["corruption", "n", "F1 %", "Δ to clean", "marks"]
    assert "Wilson" not in summary.caption and "Wilson" not in cells_frame([simulated("a")], QUICK).caption
    drops = drops_frame([simulated("a")], QUICK, number=2).frame
    assert {"clean_f1", "f1"} <= set(drops) and len(drops) == 2
    assert drops["f1"].tolist() == pytest.approx((drops["clean_f1"] + drops["delta"]).tolist())


def test_every_report_is_made_of_it(simulated, tmp_path):
    runs = [simulated("a"), simulated("b", luck=1, worse={"fog": 0.3})]
    for name in ("report.html", "report.md", "report.tex"):
        write_report(runs, tmp_path / name, resampling=QUICK)
        text = (tmp_path / name).read_text(encoding="utf-8")
        assert "F1" in text
        for word in ("op-1", "mCE", "ECE", "NLL", "Wilson", "McNemar", "AlexNet"):
            assert word not in text, (name, word)
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert '<h2 id="headline-title">F1 under corruption</h2>' in page
    assert "<dt>marks an image</dt>" in page and "calibration" not in page
    row = summaries_frame(runs, QUICK).frame.query("model == 'b' and kind == 'mean'").iloc[0]
    assert f'{row["f1"]:.1f} % <span class="interval">[{row["f1_low"]:.1f}, {row["f1_high"]:.1f}]</span>' in page


def test_every_figure_of_a_primary_number_is_drawn(simulated, tmp_path):
    runs = [simulated("b", luck=1)]
    bars = comparison_frame(runs, simulated("a"), resampling=QUICK)
    written = {path.name for path in write_comparison(runs, simulated("a"), bars, tmp_path)}
    figures = {row.name for row in FIGURES if row.frame in ("comparison", "cells", "summaries")}
    assert len(figures) == 5
    assert {path.removesuffix(".png") for path in written if path.endswith(".png")} == figures
    assert FIGURES.load("fig3")(bars).axes[0].get_ylabel() == "Δ F1 vs. a (points)"
    assert pd.read_csv(tmp_path / "cells.csv")["baseline_f1"].notna().all()


def test_the_gate_keeps_what_the_number_is_made_of(simulated, tmp_path):
    baseline = outcomes_of(simulated("a"))
    write_baseline(baseline, tmp_path / "baseline.json")
    kept = read_baseline(tmp_path / "baseline.json")
    assert np.array_equal(kept.kept.counts, baseline.kept.counts)
    contents = json.loads((tmp_path / "baseline.json").read_text(encoding="utf-8"))
    assert contents["settings"]["task"] == "counting"
    hits, targets, marks = baseline.kept.counts[:, :, 0].sum(axis=1).tolist()
    first = contents["cells"][0]
    assert (first["hits"], first["targets"], first["marks"]) == (hits, targets, marks)
    write_baseline(kept, tmp_path / "again.json")
    assert (tmp_path / "again.json").read_bytes() == (tmp_path / "baseline.json").read_bytes()


def test_the_gate_finds_what_got_worse_and_nothing_else(simulated, tmp_path):
    write_baseline(outcomes_of(simulated("a")), tmp_path / "baseline.json")
    baseline = read_baseline(tmp_path / "baseline.json")
    same = gate_frame(outcomes_of(simulated("a")), baseline)
    assert set(same.frame["verdict"]) == {"holds"} and (same.frame["delta"] == 0).all()
    run = outcomes_of(simulated("b", luck=1, worse={"fog": 0.4}))
    found = gate_frame(run, baseline)
    assert found.regressed and not same.regressed
    assert {"fog", "weather"} >= set(found.frame.loc[found.frame["verdict"] == REGRESSED, "name"]) >= {"fog"}
    frame = found.frame.set_index("name")
    summary = summary_frame(simulated("a"), QUICK).frame.set_index("name")
    assert frame.loc["fog", "baseline_f1"] == pytest.approx(summary.loc["fog", "f1"])
    assert frame["delta"].tolist() == pytest.approx((frame["f1"] - frame["baseline_f1"]).tolist())
    assert "normal, with the standard error of a paired bootstrap over images" in found.caption
    assert {"F1 %", "Δ F1"} <= set(display_gate(found))
    assert any(verdict.text.startswith("fog: F1 ") for verdict in verdicts_of(found))
    assert "| fog | 120 |" in markdown_summary(found)
    assert gate_frame(run, baseline).frame.equals(found.frame), "the same two runs get the same verdict"


def test_a_page_shows_spectra_where_there_are_no_answers_to_show(simulated):
    def noise(run, image_ids, cells):
        generator = np.random.default_rng(0)
        shape = (len(image_ids), 32, 32, 3)
        return Pictures((), {cell: generator.integers(0, 256, shape, dtype=np.uint8) for cell in cells})

    text = render_page(Report([simulated("a", corruptions=("fog",))], QUICK), noise)
    assert "Effect of corruptions on the power spectrum" in text
    assert '<ul class="images">' not in text and "Not shown" not in text


@pytest.mark.parametrize("task", [*TASKS, counting_task.TASK], ids=lambda task: task.name)
def test_a_tasks_module_has_what_reports_take_from_it(task):
    for name in ("arrange", "statistic", "cells", "keep", "pack", "unpack"):
        assert callable(task.load(name))
    assert task.load("PAIRING") in PAIRINGS
    primary = task.primary
    assert (primary.unit, primary.better, primary.chance) == ("%", "higher", "")
    assert len({measure.name for measure in task.measures}) == len(task.measures)
    for measure in (measure for measure in task.measures if measure.chance):
        assert callable(measure.load_chance())
    if task.has("corruption_error"):
        assert callable(task.load("error"))


def test_every_metric_of_images_is_a_measure_of_classification():
    of_images = [metric.name for metric in METRICS if metric.of == "images"]
    assert [measure.name for measure in TASKS["classification"].measures] == of_images


def test_no_task_of_the_tests_is_in_the_table_that_users_have():
    assert TASKS.names == ("classification", "detection")

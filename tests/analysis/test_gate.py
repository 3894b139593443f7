from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import norm

from robustbench_bi.analysis.baseline import Outcomes, outcomes_of, read_baseline, write_baseline
from robustbench_bi.analysis.gate import REGRESSED, UNPROVEN, gate_frame
from robustbench_bi.analysis.groups import summary_groups, weight_matrix
from robustbench_bi.corruptions import SUITES
from robustbench_bi.errors import DataError, InputError, RunMismatchError
from robustbench_bi.metrics.intervals import Resampling, bootstrap_interval
from robustbench_bi.metrics.paired import paired_t_test
from robustbench_bi.reports.tables.gate import describe_rows, display_gate
from robustbench_bi.runs.identity import fields_compared
from robustbench_bi.runs.records import cell_file
from robustbench_bi.runs.run import open_run
from robustbench_bi.tasks.classification import Answers

CORRUPTIONS = SUITES["imagenet-c"].corruptions
CELLS = (("none", 0), *((corruption, severity) for corruption in CORRUPTIONS for severity in (1, 2, 3, 4, 5)))
ACCURACY = (0.80, 0.72, 0.66, 0.58, 0.48, 0.38)
SETTINGS = {
    "data": "folder", "listing_hash": "a" * 64, "num_classes": 10, "table": "imagenet-c", "jpeg": 85, "seed": 0,
    "generator": "bivo-robust", "pixel_version": 1, "input_size": 224, "resize_size": 256, "interpolation": "bilinear",
    "precision": "fp32", "mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5],
}  # fmt: skip


def outcomes(correct, cells=CELLS, first_image=0, **settings):
    n = len(correct)
    labels = np.arange(n) % 10
    ids = np.arange(first_image, first_image + n)
    run = {"name": "net", "fingerprint": "f" * 64}
    answers = Answers(labels, np.asarray(correct, dtype=bool))
    return Outcomes(run, {**SETTINGS, **settings}, ids, tuple(cells), answers)


def simulate(generator, n, drops=None):
    """Which of n images two networks of the same true accuracy get right in every cell, the second one's being a drop.

    How easy an image is, is the same for both. Each has luck of its own with an image, with an image under a corruption
    and in a cell, as networks have that are trained twice. They disagree on 17 % of the images of a cell; the networks
    of the demo do so on 7 to 13 %. `drops` lowers the second one's true accuracy by points, by corruption.
    """
    spreads = (1.0, 0.25, 0.25, 0.3)
    accuracy = np.array([[ACCURACY[severity] for _, severity in CELLS]] * 2)
    for place, (corruption, _) in enumerate(CELLS):
        accuracy[1, place] -= (drops or {}).get(corruption, 0.0) / 100
    bars = (norm.isf(accuracy) * np.linalg.norm(spreads)).astype(np.float32)
    ease = generator.standard_normal((n, 1), dtype=np.float32)
    both = []
    for bar in bars:
        own, under, within = (
            spread * generator.standard_normal((n, size), dtype=np.float32)
            for spread, size in zip(spreads[1:], (1, len(CORRUPTIONS) + 1, len(CELLS)), strict=True)
        )
        of_cell = np.repeat(np.arange(len(CORRUPTIONS) + 1), [1, *[5] * len(CORRUPTIONS)])
        both.append(ease + own + under[:, of_cell] + within > bar)
    return both


def regressed(frame):
    return frame.loc[frame["verdict"] == REGRESSED, "name"].tolist()


def test_a_drop_of_three_points_in_one_corruption_is_caught():
    """At n = 2,000, in 98 of 100 repeats; in 4 of them something else is called a regression too."""
    caught = others = 0
    for repeat in range(100):
        baseline, run = simulate(np.random.default_rng([1, repeat]), 2000, {"fog": 3.0})
        found = regressed(gate_frame(outcomes(run), outcomes(baseline)).frame)
        caught += "fog" in found
        # The mean over weather truly drops as well.
        others += bool(set(found) - {"fog", "weather"})
    assert caught >= 95
    assert others <= 5


def test_no_change_raises_few_alarms():
    """At most 5 % of 200 repeats, at 95 % confidence, even where the least drop counts that is not by chance: 6."""
    alarms = 0
    disagreement = []
    for repeat in range(200):
        baseline, run = simulate(np.random.default_rng([2, repeat]), 2000)
        disagreement.append((baseline != run).mean())
        alarms += bool(regressed(gate_frame(outcomes(run), outcomes(baseline), max_drop=0.0).frame))
    assert alarms <= 10
    assert 0.15 < np.mean(disagreement) < 0.19


def test_uncorrected_rows_would_raise_many_alarms():
    """That the test before this one can fail: at this confidence each of the 21 rows is tested by itself at 95 %."""
    alone = 1 - 21 * 0.05 + 0.051
    alarms = 0
    for repeat in range(60):
        baseline, run = simulate(np.random.default_rng([2, repeat]), 500)
        alarms += bool(regressed(gate_frame(outcomes(run), outcomes(baseline), max_drop=0.0, confidence=alone).frame))
    assert alarms > 60 * 0.15


@pytest.fixture(scope="module")
def pair():
    """A run and its baseline; the run's true accuracy under fog is 3 points lower."""
    baseline, run = simulate(np.random.default_rng(5), 1000, {"fog": 3.0})
    return outcomes(run), outcomes(baseline)


def changes_of(run, baseline):
    """Per-image changes of every row, in points."""
    weights = weight_matrix(summary_groups(CELLS), CELLS)
    return 100.0 * ((run.kept.correct.astype(float) - baseline.kept.correct) @ weights)


def test_rows_and_numbers(pair):
    run, baseline = pair
    frame = gate_frame(run, baseline).frame
    assert frame["name"].tolist() == [
        "clean", "mean", "noise", "blur", "weather", "digital", *CORRUPTIONS
    ]  # fmt: skip
    assert frame["cells"].tolist() == [1, 75, 15, 20, 20, 20, *[5] * 15]
    fog = [place for place, cell in enumerate(CELLS) if cell[0] == "fog"]
    row = frame.set_index("name").loc["fog"]
    assert row["top1"] == pytest.approx(100 * run.kept.correct[:, fog].mean())
    assert row["baseline_top1"] == pytest.approx(100 * baseline.kept.correct[:, fog].mean())
    assert frame["delta"].tolist() == pytest.approx((frame["top1"] - frame["baseline_top1"]).tolist())


def test_an_interval_excludes_zero_where_the_paired_test_rejects(pair):
    run, baseline = pair
    for confidence in (0.5, 0.9, 0.95, 0.999):
        frame = gate_frame(run, baseline, confidence=confidence).frame
        rejected = paired_t_test(changes_of(run, baseline)) < (1 - confidence) / len(frame)
        assert ((frame["delta_high"] < 0) | (frame["delta_low"] > 0)).tolist() == rejected.tolist()


def test_intervals_agree_with_a_bootstrap_over_images(pair):
    run, baseline = pair
    frame = gate_frame(run, baseline).frame
    each = 1 - 0.05 / len(frame)
    low, high = bootstrap_interval(changes_of(run, baseline), Resampling(confidence=each, repeats=20_000))
    width = (frame["delta_high"] - frame["delta_low"]).to_numpy()
    assert np.abs(low - frame["delta_low"]).max() < 0.06 * width.min()
    assert np.abs(high - frame["delta_high"]).max() < 0.06 * width.min()


def test_cells_are_no_samples():
    """Five severities that are one and the same say no more than one of them."""
    generator = np.random.default_rng(0)
    cells = [("fog", severity) for severity in (1, 2, 3, 4, 5)]
    run, baseline = (np.repeat(generator.random((200, 1)) < 0.6, 5, axis=1) for _ in range(2))
    five = gate_frame(outcomes(run, cells), outcomes(baseline, cells)).frame
    one = gate_frame(outcomes(run[:, :1], cells[:1]), outcomes(baseline[:, :1], cells[:1])).frame
    np.testing.assert_allclose(five[["delta_low", "delta_high"]], one[["delta_low", "delta_high"]])


def with_errors(number, of=200):
    """A run of one corrupted cell that errs on the first images."""
    return outcomes(np.arange(of)[:, None] >= number, [("fog", 1)])


def test_a_drop_must_be_both_large_and_beyond_chance():
    verdicts = {
        (wrong, allowed): gate_frame(with_errors(wrong), with_errors(0), max_drop=allowed).frame["verdict"].iloc[-1]
        for wrong in (0, 3, 40)
        for allowed in (1.0, 30.0)
    }
    assert verdicts == {
        (0, 1.0): "holds", (0, 30.0): "holds",
        (3, 1.0): UNPROVEN, (3, 30.0): "holds",
        (40, 1.0): REGRESSED, (40, 30.0): "holds",
    }  # fmt: skip


def test_a_drop_of_exactly_the_allowed_points_holds():
    """Also in a mean over cells, whose weights are no exact numbers."""
    correct = np.ones((500, len(CELLS)), dtype=bool)
    worse = correct.copy()
    worse[:50] = False
    assert set(gate_frame(outcomes(worse), outcomes(correct), max_drop=10.0).frame["verdict"]) == {"holds"}
    assert set(gate_frame(outcomes(worse), outcomes(correct), max_drop=9.99).frame["verdict"]) == {REGRESSED}


def test_what_got_better_holds():
    assert set(gate_frame(with_errors(0), with_errors(100)).frame["verdict"]) == {"holds"}


def test_a_network_that_broke_down_entirely_does_not_pass():
    """Every image changes alike, so that there is no spread to judge by."""
    assert set(gate_frame(with_errors(200), with_errors(0)).frame["verdict"]) == {REGRESSED}


def test_the_headline_names_what_regressed_and_counts_what_is_not_proven(pair):
    assert gate_frame(with_errors(3), with_errors(0)).headline == (
        "No regression in 1 row (rows over the same cells count once). 1 row dropped by more than 1 point, but the "
        "sample is too small to confirm it."
    )
    assert gate_frame(*pair, max_drop=2.5).headline == (
        "Regression: 1 of 21 rows dropped by more than 2.5 points: fog. "
        "1 row dropped by more than 2.5 points, but the sample is too small to confirm it."
    )


def test_rows_over_the_same_cells_are_one_test():
    """The mean and the category of a single corruption are that corruption: they widen nothing, and are one drop."""
    generator = np.random.default_rng(3)
    cells = (("none", 0), ("fog", 3), ("contrast", 3))
    other = generator.random((400, 3)) < 0.8
    own = other & (generator.random((400, 3)) < (1, 0.9, 1))
    found = gate_frame(outcomes(own, cells), outcomes(other, cells))
    frame = found.frame.set_index("name")
    assert len(frame) == 6
    assert "(Bonferroni: each of 4 at 98.75 %)" in found.caption
    assert "Rows over the same cells are one test: 4 tests in 6 rows." in found.caption
    # Without contrast, the mean is fog as well.
    alone = gate_frame(outcomes(own[:, :2], cells[:2]), outcomes(other[:, :2], cells[:2]))
    assert "each of 2 at 97.5 %" in alone.caption
    counted = "1 of 2 rows (rows over the same cells count once)"
    assert alone.headline == f"Regression: {counted} dropped by more than 1 point: fog."
    narrow, wide = (one.set_index("name").loc["fog"] for one in (alone.frame, found.frame))
    assert narrow["delta_high"] - narrow["delta_low"] < wide["delta_high"] - wide["delta_low"]


def test_the_caption_says_what_the_numbers_are(pair):
    caption = gate_frame(*pair).caption
    for text in (
        "net (ffffffffffff) against the baseline net (ffffffffffff), paired by image.",
        "n = 1,000 images of folder, 224 px, constants of imagenet-c, JPEG 85.",
        "Means over five severities.",
        "together at 95 % (Bonferroni: each of 21 at 99.76 %)",
        "more than 1 point and",
        "The widest is ±3.7 points (clean); smaller drops there cannot be confirmed with 1,000 images.",
    ):
        assert text in caption
    assert "The widest" not in gate_frame(pair[1], pair[1]).caption


def test_as_text(pair):
    found = gate_frame(*pair)
    shown = display_gate(found).set_index("corruption").loc["fog"]
    assert shown["n"] == "1,000"
    assert shown["verdict"] == REGRESSED
    assert shown["Δ top-1"] in next(text for text in describe_rows(found) if text.startswith("fog"))


def test_order_of_cells_does_not_matter(pair):
    run, baseline = pair
    turned = replace(run, cells=run.cells[::-1], kept=replace(run.kept, correct=run.kept.correct[:, ::-1]))
    assert gate_frame(turned, baseline).frame.equals(gate_frame(run, baseline).frame)


@pytest.mark.parametrize("field", [*fields_compared("must agree"), *fields_compared("noted")])
def test_other_settings_are_never_compared(pair, field):
    run, baseline = pair
    changed = replace(run, settings={**run.settings, field: "other"})
    compared = fields_compared("must agree")
    said = compared[field].said_of("other") if field in compared else f"{field.replace('_', ' ')} .*other"
    said = said.replace("on other images", "on one choice of the images of a folder or with one class numbering")
    with pytest.raises(RunMismatchError, match=f"the run and the baseline cannot be compared: .*{said}"):
        gate_frame(changed, baseline)


def test_published_files_do_not_depend_on_a_seed():
    run, baseline = (outcomes(np.ones((10, 1)), [("fog", 1)], generator="files", seed=seed) for seed in (0, 1))
    assert set(gate_frame(run, baseline).frame["verdict"]) == {"holds"}


def test_another_normalisation_belongs_to_the_network_and_is_noted(pair):
    run, baseline = pair
    changed = replace(run, settings={**run.settings, "mean": [0.4, 0.4, 0.4]})
    (note,) = gate_frame(changed, baseline).notes
    assert note == "mean of the run is [0.4, 0.4, 0.4], of the baseline [0.5, 0.5, 0.5]"


def test_other_images_are_never_compared():
    ones = np.ones((50, 1))
    baseline = outcomes(ones, [("fog", 1)])
    with pytest.raises(RunMismatchError, match="image 0 is only in the baseline"):
        gate_frame(outcomes(ones, [("fog", 1)], first_image=1), baseline)
    with pytest.raises(RunMismatchError, match="they hold 40 and 50"):
        gate_frame(outcomes(ones[:40], [("fog", 1)]), baseline)
    with pytest.raises(RunMismatchError, match="50 of 50 images differ"):
        gate_frame(replace(baseline, kept=replace(baseline.kept, labels=baseline.kept.labels + 1)), baseline)


def test_missing_cells_are_never_left_out(pair):
    run, baseline = pair
    less = replace(run, cells=run.cells[1:], kept=replace(run.kept, correct=run.kept.correct[:, 1:]))
    for skip in (False, True):
        with pytest.raises(RunMismatchError, match="the run lacks 1 of the baseline's 76 cells: clean; evaluate it"):
            gate_frame(less, baseline, skip_new_cells=skip)


def test_new_cells_are_left_out_on_demand_only(pair):
    run, baseline = pair
    answers = replace(baseline.kept, correct=baseline.kept.correct[:, :-5])
    less = replace(baseline, cells=baseline.cells[:-5], kept=answers)
    named = "jpeg_compression severity 1, jpeg_compression severity 2, jpeg_compression severity 3, …"
    with pytest.raises(RunMismatchError, match=f"the run has 5 cells that the baseline lacks: {named}; save a new"):
        gate_frame(run, less)
    found = gate_frame(run, less, skip_new_cells=True)
    frame = found.frame
    assert "jpeg_compression" not in set(frame["name"])
    assert "digital (3 of 4)" in set(frame["name"])
    assert list(found.notes) == [f"5 cells that the baseline lacks are not compared: {named}"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_drop": -1.0}, "max-drop must be points of top-1 from 0 to 100, got -1"),
        ({"max_drop": float("nan")}, "max-drop must be points of top-1 from 0 to 100, got nan"),
        ({"confidence": 95.0}, "confidence must be between 0 and 1, got 95"),
        ({"confidence": float("nan")}, "confidence must be between 0 and 1, got nan"),
    ],
)
def test_options_out_of_range(pair, options, message):
    with pytest.raises(InputError, match=message):
        gate_frame(*pair, **options)


def test_a_single_image_tells_nothing():
    with pytest.raises(InputError, match="a gate needs at least two images, got 1"):
        gate_frame(with_errors(1, of=1), with_errors(0, of=1))


@pytest.fixture
def write_run(make_config, write_run):
    """write_run(directory, correct) -> a finished run on disk with the given outcomes."""

    def make(directory, correct):
        n = len(correct)
        config = make_config(**SETTINGS, n=n, block_size=1200, corruptions=CORRUPTIONS, severities=(1, 2, 3, 4, 5))
        ids = np.arange(n)
        same = {"image_id": 3 * ids, "label": ids % 10, "confidence": np.ones(n), "loss": np.ones(n)}
        records = {
            cell: {**same, "prediction": (ids + ~right) % 10, "rank": 2 * ~right}
            for cell, right in zip(CELLS, correct.T, strict=True)
        }
        write_run(directory, config, records)
        return open_run(directory)

    return make


def test_from_record_files_through_a_baseline_file(tmp_path, write_run):
    baseline, run = simulate(np.random.default_rng([1, 0]), 2000, {"fog": 3.0})
    write_baseline(outcomes_of(write_run(tmp_path / "a", baseline)), tmp_path / "baseline.json")
    kept = read_baseline(tmp_path / "baseline.json")
    assert (kept.kept.correct == baseline).all()
    found = write_run(tmp_path / "b", run)
    frame = gate_frame(outcomes_of(found), kept).frame
    assert regressed(frame) == ["fog"]
    cell_file(found.directory, ("fog", 3), 1).unlink()
    with pytest.raises(RunMismatchError, match=r"is not finished: 1 of \d+ cell-blocks are missing, the first is fog"):
        outcomes_of(open_run(found.directory))
    cell_file(found.directory, ("fog", 3), 1).write_bytes(b"PAR1 and no more")
    with pytest.raises((DataError, RunMismatchError), match="fog"):
        outcomes_of(open_run(found.directory))


def test_no_level_of_confidence_reads_as_100_percent(make_run):
    run = make_run()
    caption = gate_frame(outcomes_of(run), outcomes_of(run), confidence=0.999).caption
    assert "together at 99.9 % (Bonferroni: each of 21 at 99.9952 %)" in caption

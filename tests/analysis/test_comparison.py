import numpy as np
import pytest
from scipy.stats import ttest_rel

from robustbench_bi.analysis.comparison import BESIDE_THE_GATE, comparison_frame
from robustbench_bi.errors import InputError, RunMismatchError
from robustbench_bi.metrics.intervals import Resampling
from robustbench_bi.metrics.paired import holm, mcnemar

QUICK = Resampling(repeats=300)
PAPER = ("gaussian_noise", "shot_noise", "impulse_noise", "defocus_blur", "glass_blur", "motion_blur", "zoom_blur",
         "snow", "frost", "fog", "brightness", "contrast", "elastic_transform", "pixelate", "jpeg_compression",
         "speckle_noise")  # fmt: skip


@pytest.fixture
def pair(make_run):
    return make_run("resnet50", corruptions=PAPER), make_run("binet50", corruptions=PAPER, luck=1, gains={"fog": 4.0})


def test_bars_of_figure_3(pair):
    baseline, run = pair
    frame = comparison_frame([run], baseline, resampling=QUICK).frame
    assert frame["name"].tolist() == [
        "clean", "gaussian_noise", "shot_noise", "impulse_noise", "speckle_noise",
        "noise", "blur", "weather", "digital", "mean",
    ]  # fmt: skip
    assert set(frame["model"]) == {"binet50"}
    assert set(frame["baseline"]) == {"resnet50"}
    assert frame["cells"].tolist() == [1, 5, 5, 5, 5, 15, 20, 20, 20, 75]
    assert (frame["n"] == 150).all()


def test_differences_are_those_of_the_cells(pair):
    baseline, run = pair
    frame = comparison_frame([run], baseline, resampling=QUICK).frame.set_index("name")
    cells, other = (r.cells().set_index("corruption")["top1"] for r in (run, baseline))
    weather = ["snow", "frost", "fog", "brightness"]
    assert frame.loc["weather", "top1"] == pytest.approx(cells[weather].mean())
    assert frame.loc["weather", "delta"] == pytest.approx(cells[weather].mean() - other[weather].mean())
    assert frame.loc["clean", "delta"] == pytest.approx(cells["none"] - other["none"])
    assert frame["delta"].tolist() == pytest.approx((frame["top1"] - frame["baseline_top1"]).tolist())
    assert (frame["delta_low"] <= frame["delta"]).all()
    assert (frame["delta"] <= frame["delta_high"]).all()


def test_what_is_better_is_found_and_what_is_not_is_not(pair):
    baseline, run = pair
    frame = comparison_frame([run], baseline, resampling=QUICK).frame.set_index("name")
    assert frame.loc["weather", "p_holm"] < 0.001
    assert frame.loc["weather", "delta_low"] > 0
    assert frame.loc["blur", "p_holm"] > 0.05


def test_a_run_against_itself_differs_nowhere(pair):
    baseline, _ = pair
    for rows in ("bars", "corruptions", "cells"):
        frame = comparison_frame([baseline], baseline, rows=rows, resampling=QUICK).frame
        assert (frame[["delta", "delta_low", "delta_high"]] == 0).all(axis=None)
        assert (frame[["p_value", "p_holm"]] == 1).all(axis=None)


def test_pairing_makes_intervals_narrower_than_two_separate_ones(make_run):
    baseline, run = make_run(n=300, corruptions=("fog",)), make_run("b", n=300, corruptions=("fog",), luck=1)
    frame = comparison_frame([run], baseline, resampling=QUICK).frame.set_index("name")
    width = frame.loc["weather (1 of 4)", "delta_high"] - frame.loc["weather (1 of 4)", "delta_low"]
    per_image = [r.records().query("severity > 0").groupby("image_id")["rank"].agg(lambda x: (x == 0).mean() * 100)
                 for r in (run, baseline)]  # fmt: skip
    separate = 2 * 1.96 * np.sqrt(sum(scores.var() for scores in per_image) / 300)
    assert width < 0.7 * separate


def test_single_cells_are_tested_by_mcnemar(pair):
    baseline, run = pair
    frame = comparison_frame([run], baseline, rows="cells", resampling=QUICK).frame
    assert len(frame) == 1 + 16 * 5
    assert set(frame["test"]) == {"McNemar"}
    own, other = (
        r.records().query("corruption == 'fog' and severity == 3")["rank"].to_numpy() == 0 for r in (run, baseline)
    )
    row = frame.set_index("name").loc["fog severity 3"]
    assert row["p_value"] == pytest.approx(float(mcnemar((other & ~own).sum(), (own & ~other).sum())))
    bars = comparison_frame([run], baseline, resampling=QUICK).frame.set_index("name")["test"]
    assert bars["clean"] == "McNemar"
    assert set(bars.drop("clean")) == {"paired t"}


def _blur_top1_of_images(run):
    records = run.records()
    blurs = records[records["corruption"].isin(["defocus_blur", "glass_blur", "motion_blur", "zoom_blur"])]
    return (blurs["rank"] == 0).groupby(blurs["image_id"]).mean()


def test_means_are_tested_with_the_image_as_the_unit(pair):
    baseline, run = pair
    frame = comparison_frame([run], baseline, resampling=QUICK).frame.set_index("name")
    own, other = (_blur_top1_of_images(r) for r in (run, baseline))
    assert len(own) == 150
    assert frame.loc["blur", "p_value"] == pytest.approx(ttest_rel(own, other).pvalue)


def test_holm_counts_every_test_of_the_table(make_run, pair):
    baseline, run = pair
    third = make_run("resnext50", corruptions=PAPER, luck=2)
    both = [comparison_frame(runs, baseline, resampling=QUICK) for runs in ([run], [run, third])]
    one, two = (found.frame for found in both)
    assert (len(one), len(two)) == (10, 20)
    assert two["p_holm"].tolist() == holm(two["p_value"]).tolist()
    assert (two["p_holm"][:10] >= one["p_holm"]).all()
    assert (two["p_holm"][:10] > one["p_holm"]).any()
    assert "for the 20 tests of this table" in both[1].tests


def test_rows_over_the_same_cells_are_one_test(make_run):
    """The weather and the mean of fog alone are fog; with several networks each has its own tests."""
    baseline, run = (make_run(name, corruptions=("fog",), luck=luck) for luck, name in enumerate("ab"))
    third = make_run("c", corruptions=("fog",), luck=2, gains={"fog": 4.0})
    found = comparison_frame([run, third], baseline, resampling=QUICK)
    frame = found.frame
    assert frame["name"].tolist() == 2 * ["clean", "weather (1 of 4)", "mean (1 of 15)"]
    once = frame.drop(index=[2, 5])
    assert once["p_holm"].tolist() == holm(once["p_value"]).tolist()
    assert frame["p_holm"][5] == frame["p_holm"][4] < holm(frame["p_value"])[4]
    assert "for the 4 tests of this table; rows over the same cells are one test." in found.tests


def test_cells_of_one_run_only_are_left_out_and_named(make_run):
    baseline = make_run("a", corruptions=("snow", "frost", "fog", "brightness"))
    run = make_run("b", corruptions=("snow", "frost", "fog", "contrast"), luck=1)
    found = comparison_frame([run], baseline, resampling=QUICK)
    frame = found.frame
    assert frame["name"].tolist() == ["clean", "weather (3 of 4)", "mean (3 of 15)"]
    assert list(found.notes) == [
        "5 cells are only in b and are not compared: contrast severity 1, contrast severity 2, contrast severity 3, …",
        "5 cells are only in a and are not compared: brightness severity 1, brightness severity 2, "
        "brightness severity 3, …",
    ]


def test_captions_tell_the_severities_that_are_shared(make_run):
    baseline = make_run("a", corruptions=("fog",))
    some, all_five = (make_run(f"m{len(s)}", corruptions=("fog",), severities=s) for s in ((1, 3), (1, 2, 3, 4, 5)))
    captions = [comparison_frame(r, baseline, resampling=QUICK).caption for r in ([some], [some, all_five])]
    assert "Means over severities 1, 3." in captions[0]
    assert "Means over the severities that each run shares with the baseline." in captions[1]


def test_order_of_cells_does_not_matter(make_run):
    """Sums in another order may differ in their last bits; that must not become a difference between models."""
    forth = make_run("a", corruptions=PAPER, severities=(1, 2, 3, 4, 5))
    back = make_run("b", corruptions=PAPER[::-1], severities=(3, 1, 5, 2, 4))
    frame = comparison_frame([back], forth, resampling=QUICK).frame
    assert (frame[["delta", "delta_low", "delta_high"]] == 0).all(axis=None)
    assert (frame["p_value"] == 1).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"listing_hash": "b" * 64},
            "b was made on one choice of the images of the demo set or with one class numbering, a on another",
        ),
        ({"listing_hash": "b" * 64, "n": 30}, "b was made on 30 images of the demo set, a on 150"),
        (
            {"listing_hash": "b" * 64, "data": "folder", "runtime": {"source": "photos"}},
            "b was made on photos/, a on the demo set",
        ),
        ({"table": "cifar-10-c"}, "b was made with the constants of cifar-10-c, a with the constants of tiny-imagenet"),
        ({"jpeg": 85}, "b was made with JPEG quality 85, a without JPEG"),
        ({"generator": "imagecorruptions"}, "with the corruptions of imagecorruptions, a with the corruptions of bivo"),
        ({"seed": 1}, "b was made with seed 1, a with seed 0"),
        ({"num_classes": 100}, "b was made with 100 classes, a with 10 classes"),
    ],
)
def test_other_pictures_are_never_compared(make_run, change, message):
    baseline, run = make_run("a", corruptions=("fog",)), make_run("b", corruptions=("fog",), **change)
    with pytest.raises(RunMismatchError, match=f"b and a cannot be compared: .*{message}"):
        comparison_frame([run], baseline, resampling=QUICK)


def test_the_same_pictures_under_other_class_numbers_are_not_called_other_pictures(make_run):
    run, baseline = (make_run(name, corruptions=("fog",), listing_hash=name * 64, content_hash="c") for name in "ba")
    message = r"b was made with one class numbering \(--classes, --labels\), a with another"
    with pytest.raises(RunMismatchError, match=message):
        comparison_frame([run], baseline, resampling=QUICK)


@pytest.mark.parametrize(
    "change", [{"generator": "imagecorruptions"}, {"seed": 1}, {"table": "cifar-10-c"}, {"jpeg": 85}]
)
def test_other_pictures_of_the_same_images_are_compared_on_demand(make_run, change):
    baseline, run = make_run("a", corruptions=("fog",)), make_run("b", corruptions=("fog",), **change)
    found = comparison_frame([run], baseline, resampling=QUICK, across=list(change))
    frame = found.frame
    (note,) = found.notes
    assert "b was made with" in note and str(next(iter(change.values()))) in note
    assert np.isfinite(frame["delta"]).all()


def test_networks_that_adapt_are_compared_with_others_on_demand_alone(make_run):
    baseline, run = (
        make_run("a", corruptions=("fog",)),
        make_run("b", corruptions=("fog",), adapt="bn:16", adapt_batch=8),
    )
    message = "same way, or compare them anyway with --across adapt$"
    with pytest.raises(RunMismatchError, match=message):
        comparison_frame([run], baseline, resampling=QUICK)
    assert np.isfinite(comparison_frame([run], baseline, resampling=QUICK, across=["adapt"]).frame["delta"]).all()
    seeded = make_run("c", corruptions=("fog",), adapt="bn:16", adapt_batch=8, seed=1)
    with pytest.raises(RunMismatchError, match=r"evaluate both in the same way$"):
        comparison_frame([seeded], baseline, resampling=QUICK)


def test_other_images_are_not_compared_on_demand_either(make_run):
    baseline = make_run("a", corruptions=("fog",))
    with pytest.raises(InputError, match="can be across table, jpeg, generator, seed, adapt, got 'listing_hash'"):
        comparison_frame([make_run("b", corruptions=("fog",))], baseline, across=["listing_hash"])


def test_published_files_do_not_depend_on_a_seed(make_run):
    files = {"generator": "files", "data": "imagenet-c"}
    baseline, run = make_run("a", corruptions=("fog",), **files), make_run("b", corruptions=("fog",), seed=7, **files)
    assert list(comparison_frame([run], baseline, resampling=QUICK).notes) == []
    with pytest.raises(RunMismatchError, match="of bivo-robust, a with the corruptions of published files"):
        comparison_frame([make_run("c", corruptions=("fog",))], baseline, resampling=QUICK)


def test_other_images_are_never_compared(make_run):
    baseline = make_run("a", corruptions=("fog",))
    with pytest.raises(RunMismatchError, match="they hold 90 and 150, 90 of them in both"):
        comparison_frame([make_run("b", n=90, corruptions=("fog",))], baseline, resampling=QUICK)
    with pytest.raises(RunMismatchError, match="image 0 is only in a"):
        comparison_frame([make_run("b", first_image=1, corruptions=("fog",))], baseline, resampling=QUICK)


def test_preprocessing_may_differ_and_is_noted(make_run):
    baseline, run = make_run("a", corruptions=("fog",)), make_run("b", corruptions=("fog",), interpolation="bicubic")
    notes = comparison_frame([run], baseline, resampling=QUICK).notes
    assert list(notes) == ["interpolation of b is bicubic, of a bilinear"]


def test_nothing_in_common_or_nothing_at_all(make_run):
    baseline, run = (make_run(c, corruptions=(c,), clean=False) for c in ("fog", "snow"))
    with pytest.raises(RunMismatchError, match="snow and fog share no corrupted cell"):
        comparison_frame([run], baseline)
    with pytest.raises(InputError, match="at least one run besides the baseline"):
        comparison_frame([], baseline)
    with pytest.raises(InputError, match="rows must be one of bars, corruptions, cells, got 'bar'"):
        comparison_frame([run], baseline, rows="bar")


@pytest.mark.parametrize("rows", ["bars", "corruptions", "cells"])
def test_interval_and_p_say_the_same_of_zero(make_run, rows):
    """Whatever the number of images and the level: an interval excludes zero exactly where its p is below 0.05."""
    disagreed = 0
    for n, skill in ((25, -3.0), (60, 1.0)):
        baseline = make_run("a", n=n, skill=skill, corruptions=PAPER)
        runs = [make_run(f"b{luck}", n=n, luck=luck, skill=skill + 0.1 * luck, corruptions=PAPER) for luck in (1, 2)]
        frame = comparison_frame(runs, baseline, rows=rows, resampling=QUICK).frame
        excluded = (frame["delta_low"] > 0) | (frame["delta_high"] < 0)
        assert excluded.tolist() == (frame["p_value"] < 0.05).tolist()
        assert (frame["delta_low"] < frame["delta_high"]).all()
        disagreed += int((excluded != (frame["p_holm"] < 0.05)).sum())
    assert disagreed > 0, "the corrected p is another one, and may say something else"


def test_two_networks_with_nothing_right_have_an_interval(make_run):
    runs = [make_run(name, corruptions=("fog",), luck=luck, skill=-60.0) for luck, name in enumerate("ab")]
    for run, answer in zip(runs, (1, 2), strict=True):
        run.frame["prediction"] = (run.frame["label"] + answer).astype("int32")
    frame = comparison_frame(runs[1:], runs[0], resampling=QUICK).frame
    assert (frame["delta"] == 0).all() and (frame["p_value"] == 1).all()
    assert (frame["delta_low"] < 0).all() and (frame["delta_high"] > 0).all()


def test_captions_tell_both_kinds_of_p_and_of_the_gate(pair):
    baseline, run = pair
    found = comparison_frame([run], baseline, resampling=QUICK)
    assert "pointwise: each excludes 0 if and only if p < 0.05" in found.caption
    # Readers of a figure or a paper do not know of a gate.
    assert "gate" not in found.caption and "gate's intervals are simultaneous" in BESIDE_THE_GATE
    assert "p (Holm) is corrected for the 10 tests" in found.tests
    assert found.header.startswith("resnet50 (64 px)") and "binet50 (resnet50, 64 px) on demo, n = 150" in found.header

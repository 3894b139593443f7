"""Golden numbers: published tables must give the published mCE."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from robustbench_bi.errors import InputError
from robustbench_bi.metrics.robustness import (
    alexnet_errors,
    benchmark_corruptions,
    category_means,
    corruption_error_weights,
    corruption_errors,
    delta_to_baseline,
    delta_to_clean,
    mean_corruption_accuracy,
    mean_corruption_error,
    missing_cells,
    relative_mean_corruption_error,
)

# Top-1 and CE of ResNet-50 (torchvision, IMAGENET1K_V1) on the published files, as bethgelab/game-of-noise and
# google-research/augmix report them.
RESNET50 = {
    "none": (76.13, None),
    "gaussian_noise": (29.29, 79.77),
    "shot_noise": (27.03, 81.58),
    "impulse_noise": (23.81, 82.58),
    "defocus_blur": (38.75, 74.71),
    "glass_blur": (26.79, 88.61),
    "motion_blur": (38.67, 78.03),
    "zoom_blur": (36.24, 79.86),
    "snow": (32.53, 77.83),
    "frost": (38.14, 74.84),
    "fog": (45.83, 66.11),
    "brightness": (68.02, 56.64),
    "contrast": (39.06, 71.43),
    "elastic_transform": (45.25, 84.75),
    "pixelate": (44.79, 76.92),
    "jpeg_compression": (53.41, 76.82),
}
CATEGORIES = dict(
    zip(benchmark_corruptions(), ["noise"] * 3 + ["blur"] * 4 + ["weather"] * 4 + ["digital"] * 4, strict=True)
)


@pytest.fixture
def resnet50():
    rows = [(name, 0, top1) for name, (top1, _) in RESNET50.items()]
    return pd.DataFrame(rows, columns=["corruption", "severity", "top1"])


@pytest.fixture(scope="module")
def robustbench():
    """RobustBench's 5,000-image cells (model_info of github.com/RobustBench/robustbench)."""
    return pd.read_csv(Path(__file__).parent / "robustbench_5k_cells.csv")


def test_resnet50(resnet50):
    assert mean_corruption_accuracy(resnet50) == pytest.approx(39.17, abs=0.005)
    assert mean_corruption_error(resnet50) == pytest.approx(76.70, abs=0.005)
    assert relative_mean_corruption_error(resnet50) == pytest.approx(104.95, abs=0.005)
    assert delta_to_clean(resnet50) == pytest.approx(39.17 - 76.13, abs=0.005)


def test_resnet50_by_corruption(resnet50):
    errors = corruption_errors(resnet50)
    assert list(errors.index) == list(benchmark_corruptions())
    for name, (_, published) in list(RESNET50.items())[1:]:
        assert errors[name] == pytest.approx(published, abs=0.011), name


def test_resnet50_by_category(resnet50):
    means = category_means(resnet50, CATEGORIES)
    assert means.round(2).to_dict() == {"noise": 26.71, "blur": 35.11, "weather": 46.13, "digital": 45.63}
    # The categories differ in size, so their mean is another number.
    assert means.mean() != pytest.approx(mean_corruption_accuracy(resnet50), abs=0.5)


def test_robustbench_with_its_own_alexnet(robustbench):
    own, alexnet = (robustbench[robustbench["model"] == name] for name in ("Standard_R50", "AlexNet"))
    assert mean_corruption_error(own, alexnet) == pytest.approx(76.3774, abs=5e-5)
    assert mean_corruption_error(alexnet, alexnet) == pytest.approx(100, abs=1e-9)


def test_the_ratio_is_taken_per_corruption_after_summing_severities(resnet50, robustbench):
    own, alexnet = (
        robustbench[robustbench["model"] == name].set_index(["corruption", "severity"])["top1"]
        for name in ("Standard_R50", "AlexNet")
    )
    per_severity = 100 * ((100 - own) / (100 - alexnet)).mean()
    assert per_severity != pytest.approx(76.3774, abs=0.5)
    corrupted = resnet50[resnet50["corruption"] != "none"]
    pooled = 100 * (100 - corrupted["top1"]).sum() / sum(alexnet_errors()[name, 0] for name in corrupted["corruption"])
    assert pooled == pytest.approx(77.09, abs=0.01)
    assert mean_corruption_error(resnet50) != pytest.approx(pooled, abs=0.3)


def test_alexnet_means_agree_with_its_severities():
    errors = alexnet_errors()
    assert errors["none", 0] == 43.48
    for name in set(benchmark_corruptions()) - {"jpeg_compression"}:
        assert np.mean([errors[name, s] for s in range(1, 6)]) == pytest.approx(errors[name, 0], abs=1e-9)
    assert ("jpeg_compression", 1) not in errors


def test_a_corruption_published_only_as_a_mean_is_normalised_by_five_times_it():
    five = pd.DataFrame({"corruption": "jpeg_compression", "severity": range(1, 6), "top1": [60.0, 55, 50, 45, 40]})
    assert corruption_errors(five)["jpeg_compression"] == pytest.approx(100 * 50 / 60.65)
    assert "jpeg_compression" not in corruption_errors(five[:3])


def test_single_severities_are_normalised_by_the_same_severities():
    fog = pd.DataFrame({"corruption": "fog", "severity": [1, 5], "top1": [60.0, 30.0]})
    assert corruption_errors(fog)["fog"] == pytest.approx(100 * (40 + 70) / (67.474 + 94.5))


def test_weights_reproduce_the_relative_error(resnet50):
    errors = {(row.corruption, row.severity): 100 - row.top1 for row in resnet50.itertuples()}
    weights = corruption_error_weights(errors, relative=True)
    values = [sum(weight * errors[cell] for cell, weight in own.items()) for own in weights.values()]
    by_hand = [
        100 * (errors[name, 0] - errors["none", 0]) / (alexnet_errors()[name, 0] - 43.48)
        for name in benchmark_corruptions()
    ]
    assert values == pytest.approx(by_hand)
    assert corruption_error_weights(set(errors) - {("none", 0)}, relative=True) == {}


def test_extra_corruptions_never_enter_the_means(resnet50):
    extra = pd.DataFrame({"corruption": ["spatter", "saturate"], "severity": 0, "top1": [1.0, 1.0]})
    both = pd.concat([resnet50, extra])
    assert mean_corruption_error(both) == mean_corruption_error(resnet50)
    assert mean_corruption_accuracy(both) == mean_corruption_accuracy(resnet50)
    assert corruption_errors(both)["spatter"] == pytest.approx(100 * 99 / 71.7512)


def test_a_part_has_no_mean_corruption_error(resnet50):
    with pytest.raises(InputError, match="mCE needs 15 corruptions at five severities, missing: fog"):
        mean_corruption_error(resnet50[resnet50["corruption"] != "fog"])
    with pytest.raises(InputError, match="missing: gaussian_noise, shot_noise, impulse_noise and 10 more"):
        mean_corruption_error(resnet50[-2:])
    with pytest.raises(
        InputError, match="relative mCE needs clean and 15 corruptions at five severities, missing: clean"
    ):
        relative_mean_corruption_error(resnet50[resnet50["corruption"] != "none"])
    alexnet = pd.DataFrame([("fog", 0, 20.0)], columns=["corruption", "severity", "top1"])
    with pytest.raises(InputError, match="the normaliser lacks gaussian_noise, shot_noise"):
        mean_corruption_error(resnet50, alexnet)


def test_missing_cells():
    cells = [(name, s) for name in benchmark_corruptions() for s in range(1, 6)]
    assert missing_cells(cells) == []
    assert missing_cells([cell for cell in cells if cell not in (("fog", 2), ("fog", 4))]) == [("fog", 2), ("fog", 4)]
    assert missing_cells([cell for cell in cells if cell[0] != "snow"]) == [("snow", 0)]


def test_a_perfect_normaliser_normalises_nothing():
    frame = pd.DataFrame({"corruption": ["fog", "snow"], "severity": 0, "top1": [90.0, 80.0]})
    perfect = pd.DataFrame({"corruption": ["fog", "snow"], "severity": 0, "top1": [100.0, 60.0]})
    assert corruption_errors(frame, perfect).to_dict() == {"snow": 50.0}


def test_bad_frames_are_refused(resnet50):
    with pytest.raises(InputError, match="cells need the columns corruption, severity and top1, got no top1"):
        corruption_errors(resnet50.drop(columns="top1"))
    with pytest.raises(InputError, match="clean appears twice"):
        corruption_errors(pd.concat([resnet50, resnet50]))
    for bad in (101.0, -1.0, float("nan")):
        with pytest.raises(InputError, match="top1 must be from 0 to 100 percent, got"):
            corruption_errors(resnet50.assign(top1=bad))
    with pytest.raises(InputError, match="at least one of ImageNet-C's 15, got none"):
        mean_corruption_accuracy(resnet50[:1])
    with pytest.raises(InputError, match="needs the clean cell"):
        delta_to_clean(resnet50[1:])


def test_delta_to_baseline_needs_the_same_cells(resnet50):
    better = resnet50.assign(top1=resnet50["top1"] + 1.5)
    assert delta_to_baseline(better, resnet50) == pytest.approx(1.5)
    with pytest.raises(InputError, match="jpeg_compression is only in one of them"):
        delta_to_baseline(better[:-1], resnet50)

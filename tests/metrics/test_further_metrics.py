"""The metrics that are shown where they are chosen, against numbers worked out by hand and other programs."""

import numpy as np
import pandas as pd
import pytest
from sklearn.calibration import calibration_curve
from sklearn.metrics import brier_score_loss, cohen_kappa_score

from robustbench_bi.errors import DataError, InputError
from robustbench_bi.metrics import METRICS
from robustbench_bi.metrics.calibration_by_order import (
    adaptive_calibration_error,
    brier_score,
    rms_calibration_bias,
    rms_calibration_error,
)
from robustbench_bi.metrics.changes import accuracy_kept, flip_rate
from robustbench_bi.metrics.intervals import Resampling, arrange, image_interval
from robustbench_bi.metrics.selective import area_under_risk_coverage, confidence_of_wrong_answers, risk_at_80_coverage
from robustbench_bi.metrics.worst_cases import right_under_all, worst_classes_accuracy, worst_classes_bias
from robustbench_bi.tasks import classification


def frame(**columns):
    return pd.DataFrame(columns)


def answers(n, seed=0, classes=20):
    generator = np.random.default_rng(seed)
    confidence = generator.uniform(0.05, 1, n).astype("float32")
    return frame(
        image_id=np.arange(n),
        confidence=confidence,
        rank=np.where(generator.random(n) < confidence**1.5, 0, 3),
        label=generator.integers(0, classes, n),
    )


def test_flips_have_three_parts():
    clean = frame(prediction=[1, 1, 2, 2, 3, 3], rank=[0, 0, 1, 1, 1, 0])
    corrupted = frame(prediction=[1, 5, 1, 4, 3, 9], rank=[0, 2, 0, 2, 1, 1])
    parts = [METRICS.load(f"flips_{name}")(corrupted, clean) for name in ("right_to_wrong", "wrong_to_right")]
    parts.append(METRICS.load("flips_wrong_to_wrong")(corrupted, clean))
    assert parts == pytest.approx([100 * 2 / 6, 100 / 6, 100 / 6])
    assert sum(parts) == pytest.approx(flip_rate(corrupted, clean))


def test_accuracy_kept_is_of_the_images_that_were_right():
    clean, corrupted = frame(rank=[0, 0, 0, 1, 1]), frame(rank=[0, 2, 0, 0, 0])
    assert accuracy_kept(corrupted, clean) == pytest.approx(100 * 2 / 3)  # and not 4/3 of the accuracy, or 2/5
    assert np.isnan(accuracy_kept(corrupted, frame(rank=[1] * 5)))


def test_confidence_of_wrong_answers_is_not_of_all():
    records = frame(confidence=[0.9, 0.5, 0.7], rank=[0, 1, 4])
    assert confidence_of_wrong_answers(records) == pytest.approx(60)
    assert np.isnan(confidence_of_wrong_answers(frame(confidence=[0.9], rank=[0])))


def test_aurc_is_the_mean_of_all_risks():
    records = answers(300)
    order = records.sort_values(["confidence", "image_id"], ascending=[False, True])
    wrong = (order["rank"] > 0).to_numpy()
    risks = [wrong[:k].mean() for k in range(1, 301)]
    assert area_under_risk_coverage(records) == pytest.approx(100 * np.mean(risks))
    right_first = frame(confidence=np.linspace(1, 0.1, 10), rank=[0] * 9 + [1])
    assert area_under_risk_coverage(right_first) == pytest.approx(100 * (1 / 10) / 10)


def test_equal_confidences_are_taken_by_image_id():
    records = frame(image_id=[3, 1, 2], confidence=[0.5] * 3, rank=[1, 0, 0])
    assert area_under_risk_coverage(records) == pytest.approx(100 * (1 / 3) / 3)
    assert area_under_risk_coverage(records.iloc[::-1]) == pytest.approx(100 * (1 / 3) / 3)


def test_risk_at_80_coverage_is_of_the_most_confident():
    records = frame(confidence=np.linspace(0.95, 0.05, 20), rank=[0] * 12 + [1] * 8)
    assert risk_at_80_coverage(records) == pytest.approx(100 * 4 / 16)
    eleven = frame(confidence=np.linspace(0.95, 0.05, 11), rank=[0] * 8 + [1] * 3)
    assert risk_at_80_coverage(eleven) == pytest.approx(100 / 9)  # 8.8 images, rounded up


def by_sklearn(records, bins):
    right, confidence = records["rank"] < 1, records["confidence"].astype(float)
    return calibration_curve(right, confidence, n_bins=bins, strategy="quantile")


def test_adaptive_calibration_error_has_the_bins_of_scikit_learn():
    records = answers(1500)
    accuracy, confidence = by_sklearn(records, 15)
    assert adaptive_calibration_error(records) == pytest.approx(100 * np.abs(accuracy - confidence).mean(), rel=1e-5)


def test_rms_calibration_error_counts_the_last_bin():
    records = answers(1500)
    accuracy, confidence = by_sklearn(records, 15)
    wanted = 100 * np.sqrt(((accuracy - confidence) ** 2).mean())
    assert rms_calibration_error(records) == pytest.approx(wanted, rel=1e-5)
    # 250 images: a bin of 100, and one of 150, by rising confidence.
    uneven = answers(250).sort_values("confidence")
    gap = (uneven["confidence"].astype(float) - (uneven["rank"] < 1)).to_numpy()
    square = 0.4 * gap[:100].mean() ** 2 + 0.6 * gap[100:].mean() ** 2
    assert rms_calibration_error(uneven) == pytest.approx(100 * np.sqrt(square))


def test_the_bias_of_the_rms_error_of_a_calibrated_network_is_all_of_it():
    generator = np.random.default_rng(1)
    found, left = [], []
    for _ in range(30):
        confidence = generator.uniform(0.2, 1, 1000)
        records = frame(confidence=confidence, rank=np.where(generator.random(1000) < confidence, 0, 1))
        error, (most, least) = rms_calibration_error(records), rms_calibration_bias(records)
        assert 0 <= least <= most <= error + 1e-9
        found.append(error)
        left.append(error - most)
    assert np.mean(found) > 3
    assert np.mean(np.array(left) > 1e-6) < 0.1


def test_brier_is_that_of_scikit_learn():
    import torch

    from robustbench_bi.models import score_logits

    logits, labels = torch.randn(40, 7, generator=torch.Generator().manual_seed(0)), torch.arange(40) % 7
    columns = score_logits(logits, labels)
    wanted = brier_score_loss(labels.numpy(), logits.softmax(1).numpy(), labels=range(7), scale_by_half=False)
    assert brier_score(pd.DataFrame(columns)) == pytest.approx(wanted, rel=1e-6)
    # Two labels count: they are one class.
    p = logits.softmax(1).double()
    pairs = torch.stack([labels, (labels + 1) % 7], dim=1)
    both = p.gather(1, pairs).sum(1)
    others = (p**2).sum(1) - (p.gather(1, pairs) ** 2).sum(1)
    found = score_logits(logits, labels, pairs)["brier"]
    np.testing.assert_allclose(found, (others + (1 - both) ** 2).numpy(), rtol=1e-5, atol=1e-7)


def test_old_records_say_that_they_have_no_brier_score():
    with pytest.raises(DataError, match="hold no Brier scores; evaluate again"):
        brier_score(frame(rank=[0]))


def test_worst_classes_count_alike_and_are_a_tenth():
    labels = np.repeat(np.arange(20), [1, 9, *[5] * 18])
    rank = np.zeros(len(labels), dtype=int)
    rank[labels == 1] = [0, 0, 0, 1, 1, 1, 1, 1, 1]
    rank[labels == 0] = 1
    rank[labels == 5] = [0, 0, 0, 0, 1]
    assert worst_classes_accuracy(frame(label=labels, rank=rank)) == pytest.approx((0 + 100 / 3) / 2)


def test_the_truth_about_worst_classes_lies_between_number_and_raised_end():
    generator = np.random.default_rng(0)
    accuracy = generator.uniform(0.6, 0.9, 100)
    truth = 100 * np.sort(accuracy)[:10].mean()
    label = np.repeat(np.arange(100), 50)
    numbers, crossed = [], []
    for _ in range(20):
        records = frame(label=label, rank=np.where(generator.random(len(label)) < accuracy[label], 0, 1))
        number, (most, least) = worst_classes_accuracy(records), worst_classes_bias(records)
        assert most == 0 >= least
        numbers.append(number)
        crossed.append(number - least)
    assert np.mean(numbers) < truth - 2
    assert truth < np.mean(crossed) < truth + 3


def test_right_under_all_is_of_images_and_not_of_cells():
    records = frame(image_id=[0, 1, 2, 0, 1, 2], rank=[0, 0, 1, 0, 1, 0])
    assert right_under_all(records) == pytest.approx(100 / 3)
    with pytest.raises(InputError, match="one record under every corruption"):
        right_under_all(records.iloc[:4])


def test_error_consistency_is_cohens_kappa_of_being_right():
    kappa = METRICS.load("kappa")
    own, other = answers(500), answers(500, seed=3)
    other["rank"] = np.where(np.arange(500) % 3 == 0, own["rank"], other["rank"])
    wanted = cohen_kappa_score(own["rank"] < 1, other["rank"] < 1)
    assert kappa(own, other) == pytest.approx(wanted)
    assert kappa(own, own) == pytest.approx(1)
    assert np.isnan(kappa(frame(rank=[0, 0]), frame(rank=[0, 0])))
    assert kappa(frame(rank=[0, 0]), frame(rank=[1, 1])) == 0


def outcomes(both, first, second, neither):
    """Ranks of two networks on so many images."""
    own = np.repeat([0, 0, 1, 1], [both, first, second, neither])
    other = np.repeat([0, 1, 0, 1], [both, first, second, neither])
    return frame(rank=own), frame(rank=other)


@pytest.mark.parametrize("counts", [(90, 4, 3, 3), (20, 10, 30, 40)])
def test_what_one_more_image_could_score_is_what_it_would_change(counts):
    """n + 1 times the number with the image, less n times the number without it, to first order."""
    kappa, n = METRICS.load("kappa"), 1000 * sum(counts)
    many = [1000 * count for count in counts]
    changed = []
    for place in range(4):
        more = [count + (number == place) for number, count in enumerate(many)]
        changed.append((n + 1) * kappa(*outcomes(*more)) - n * kappa(*outcomes(*many)))
    assert kappa.reach(*outcomes(*many)) == pytest.approx((min(changed), max(changed)), rel=0.01)


def test_what_one_more_image_could_score_in_a_ratio():
    sure = METRICS.load("confidence_of_wrong_answers")
    records = frame(rank=[0, 0, 1, 1], confidence=[0.9, 0.9, 0.5, 0.7])
    # Half of the images are wrong, so one more weighs twice: from 60 %, it can move the number by −120 and by +80.
    assert sure.reach(records) == pytest.approx((60 - 120, 60 + 80))


def interval(name, *frames):
    """The interval of a number in a cell of one network, or of two."""
    weights = np.ones((1, 1))
    placed = [own.assign(corruption="fog", severity=1, image_id=np.arange(len(own)), label=0) for own in frames]
    pairs = [(own, arrange(own)) for own in placed]
    if len(pairs) > 1:
        statistic = classification.paired_statistic(name, *pairs, weights)
    else:
        statistic = classification.statistic(name, *pairs[0], weights)
    return [float(end[0]) for end in image_interval(statistic, Resampling())]


def test_few_errors_say_little():
    """One error each of two networks, on different images of 200: nearly every κ is possible, and none beyond ±1."""
    low, high = interval("error_consistency", *outcomes(198, 1, 1, 0))
    assert low >= -1 and high > 0.9
    assert np.diff(interval("error_consistency", *outcomes(120, 20, 20, 40)))[0] < 0.4
    wrong = np.arange(200) < 3
    low, high = interval("confidence_of_wrong_answers", frame(rank=wrong.astype(int), confidence=np.full(200, 0.5)))
    assert low < 25 and high > 75 and low >= 0 and high <= 100


def test_worst_classes_of_which_no_image_is_right_have_an_upper_end():
    label = np.repeat(np.arange(20), 10)
    rank = np.where(np.arange(200) % 10 < 2, 0, 1)
    rank[label < 2] = 1
    records = frame(label=label, rank=rank)
    number, (_, least) = worst_classes_accuracy(records), worst_classes_bias(records)
    assert number == 0 and 8 < -least < 15

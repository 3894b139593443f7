"""Contracts over the table: a new row is tested without a new test."""

import numpy as np
import pandas as pd
import pytest

from robustbench_bi.errors import InputError
from robustbench_bi.metrics import METRICS, load_scores
from robustbench_bi.metrics.robustness import benchmark_corruptions

OF_IMAGES = [metric.name for metric in METRICS if metric.of == "images"]


def records(n=200, seed=0):
    generator = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "rank": generator.integers(0, 9, n).astype("int32"),
            "confidence": generator.uniform(0.1, 1, n).astype("float32"),
            "loss": generator.exponential(1, n).astype("float32"),
            "prediction": generator.integers(0, 9, n).astype("int32"),
            "label": generator.integers(0, 9, n).astype("int32"),
            "brier": generator.uniform(0, 2, n).astype("float32"),
            "image_id": np.arange(n),
        }
    )


def cells(top1=50.0):
    names = ["none", *benchmark_corruptions()]
    return pd.DataFrame(
        [(name, s, top1 - 3 * s) for name in names for s in ([0] if name == "none" else range(1, 6))],
        columns=["corruption", "severity", "top1"],
    )


def arguments_of(metric):
    """Frames of the kinds that a metric takes."""
    two_cells = pd.concat([records(), records(seed=1)])
    return {
        "images": (records(),),
        "answers": (records(),),
        "changes": (records(), records(seed=1)),
        "severities": (two_cells,),
        "networks": (records(), records(seed=1)),
        "cells": (cells(),),
        "pairs": (cells(), cells(40.0)),
    }[metric.of]


@pytest.mark.parametrize("name", METRICS.names)
def test_every_metric_gives_a_finite_python_float(name):
    value = METRICS.load(name)(*arguments_of(METRICS[name]))
    assert type(value) is float
    assert np.isfinite(value)


@pytest.mark.parametrize("name", OF_IMAGES)
def test_a_metric_of_images_is_the_mean_of_its_scores(name):
    frame = records()
    scores = load_scores(name)(frame)
    assert scores.shape == (len(frame),)
    assert scores.dtype == np.float64
    assert METRICS.load(name)(frame) == pytest.approx(scores.mean(), rel=1e-12)


@pytest.mark.parametrize("name", OF_IMAGES)
def test_a_metric_of_images_ignores_order_and_refuses_nothing_at_all(name):
    frame = records()
    shuffled = frame.sample(frac=1, random_state=1)
    assert METRICS.load(name)(frame) == pytest.approx(METRICS.load(name)(shuffled), rel=1e-12)
    with pytest.raises(InputError, match="at least one record, got none"):
        METRICS.load(name)(frame.iloc[:0])


def test_only_metrics_of_images_have_scores():
    assert [metric.name for metric in METRICS if metric.scores] == OF_IMAGES
    with pytest.raises(InputError, match="mean_corruption_error has no per-image scores"):
        load_scores("mce")


SCORED = [metric for metric in METRICS if metric.of in ("answers", "changes", "severities", "networks")]


@pytest.mark.parametrize("metric", SCORED, ids=lambda metric: metric.name)
def test_a_further_metric_is_the_mean_of_scores_one_an_image(metric):
    function, frames = METRICS.load(metric.name), arguments_of(metric)
    scores = function.scores(*frames)
    assert scores.shape == (200,)
    assert scores.dtype == np.float64
    assert function(*frames) == scores.mean()
    order = np.random.default_rng(3).permutation(len(frames[0]))
    assert function(*(frame.iloc[order] for frame in frames)) == pytest.approx(scores.mean(), rel=1e-9)
    with pytest.raises(InputError, match="at least one record, got none"):
        function(*(frame.iloc[:0] for frame in frames))


RATIOS = {"accuracy_kept", "confidence_of_wrong_answers", "rms_calibration_error", "area_under_risk_coverage"}
RATIOS |= {"risk_at_80_coverage", "error_consistency"}


@pytest.mark.parametrize("name", sorted(RATIOS))
def test_scores_tell_how_the_metric_would_change_with_an_image_twice(name):
    """What linearised scores must be: the spread over images is that of the metric to first order."""
    function, frames = METRICS.load(name), arguments_of(METRICS[name])
    n = len(frames[0])
    scores = function.scores(*frames)
    weights = np.random.default_rng(0).multinomial(n, np.full(n, 1 / n), size=300)
    again = [function(*(frame.iloc[np.repeat(np.arange(n), own)] for frame in frames)) for own in weights]
    foretold = weights @ scores / n
    assert np.std(again) == pytest.approx(np.std(foretold), rel=0.25), name
    assert np.corrcoef(again, foretold)[0, 1] > 0.85


def test_better_is_right():
    """A model that is right more often, or surer when right, must come out better on each metric."""
    worse, better = records(), records()
    better.loc[worse["rank"] > 0, ["rank", "loss"]] = 0
    better["confidence"] = 1.0
    # Half of the wrong answers are right; the other half less sure.
    less_wrong, wronger = records(), records()
    wrong = np.flatnonzero(worse["rank"] > 0)
    less_wrong.loc[wrong[::2], ["rank", "brier"]] = 0
    less_wrong["confidence"] = np.where(less_wrong["rank"] > 0, 0.2, 0.9)
    wronger["rank"], wronger["prediction"] = 1, wronger["prediction"] + 1
    better["prediction"] = worse["prediction"] + (worse["rank"] > 0)
    for metric in METRICS:
        function = METRICS.load(metric.name)
        if metric.of == "images":
            gain = function(better) - function(worse)
        elif metric.of in ("answers", "severities"):
            gain = function(less_wrong) - function(worse)
        elif metric.of == "changes":
            gain = function(better, worse) - function(wronger, worse)
        elif metric.of == "networks":
            gain = function(worse, worse) - function(worse, records(seed=1))
        elif metric.of == "pairs":
            gain = function(cells(60.0), cells(50.0))
        else:
            lower = cells()
            lower.loc[lower["corruption"] != "none", "top1"] -= 5
            gain = function(cells()) - function(lower)
        assert gain * (1 if metric.better == "higher" else -1) > 0, metric.name

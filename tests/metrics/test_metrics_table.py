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
        }
    )


def cells(top1=50.0):
    names = ["none", *benchmark_corruptions()]
    return pd.DataFrame(
        [(name, s, top1 - 3 * s) for name in names for s in ([0] if name == "none" else range(1, 6))],
        columns=["corruption", "severity", "top1"],
    )


@pytest.mark.parametrize("name", METRICS.names)
def test_every_metric_gives_a_finite_python_float(name):
    arguments = {"images": (records(),), "cells": (cells(),), "pairs": (cells(), cells(40.0))}[METRICS[name].of]
    value = METRICS.load(name)(*arguments)
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


def test_better_is_right():
    """A model that is right more often, or surer when right, must come out better on each metric."""
    worse, better = records(), records()
    better.loc[worse["rank"] > 0, ["rank", "loss"]] = 0
    better["confidence"] = 1.0
    for metric in METRICS:
        function = METRICS.load(metric.name)
        if metric.of == "images":
            gain = function(better) - function(worse)
        elif metric.of == "pairs":
            gain = function(cells(60.0), cells(50.0))
        else:
            lower = cells()
            lower.loc[lower["corruption"] != "none", "top1"] -= 5
            gain = function(cells()) - function(lower)
        assert gain * (1 if metric.better == "higher" else -1) > 0, metric.name

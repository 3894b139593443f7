"""How often the intervals of the numbers of docs/metrics.md hold the truth: the part "further" of coverage.py.

Two networks are simulated, each on clean pictures and under five corruptions, by 20 classes that are normal clouds: a
picture is a point, as far along its class's axis as the cell is easy, and a network's probabilities are those that the
distances give. Where all classes are alike they are calibrated; elsewhere classes differ, and networks are too sure.
Half of a point's noise is the picture's, and so shared by cells and networks. The first repeat of each scenario is also
written as a run, and its intervals must be those that `eval --json` and `compare --json` print.
"""

import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from pkgutil import resolve_name

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from tally import Row, Tally

from robustbench_bi.analysis import chosen_comparison_frame, summary_frame
from robustbench_bi.corruptions import PIXEL_VERSION
from robustbench_bi.data import CLEAN, Cell
from robustbench_bi.metrics import (
    METRICS,
    ImageMeans,
    Resampling,
    agreeing,
    bounds_of,
    image_interval,
    paired_t_test,
)
from robustbench_bi.runs import EvalConfig, Run, open_run

REPEATS = 500
MANY = 400_000
CLASSES, SEVERITY = 20, 3
NAMES = ("gaussian_noise", "defocus_blur", "snow", "fog", "contrast")
CELLS: list[Cell] = [CLEAN, *((name, SEVERITY) for name in NAMES)]
# How far a class lies from the others, in standard deviations of a picture, on clean pictures and in each cell.
LEVELS = {
    "strong": (5.0, 4.6, 4.3, 4.0, 3.7, 3.4),
    "middle": (3.2, 2.8, 2.4, 2.0, 1.6, 1.2),
    "weak": (1.2, 1.0, 0.8, 0.6, 0.4, 0.3),
}
# How much nearer and farther the worst and best class lie, and by how much networks take it for more than it is.
KINDS = {"alike classes, calibrated": (0.0, 1.0), "unlike classes, too sure": (0.3, 1.8)}
# Of the variance of a point: the picture, a network's view of it, and its view in a cell.
PARTS = (0.5, 0.2, 0.3)
GAIN = 0.15
"""By how much farther the second network sees classes apart."""
SETTINGS = EvalConfig(
    model={}, weights_hash="", data="folder", listing_hash="0" * 64, n=0, num_classes=CLASSES, class_set="other",
    corruptions=NAMES, severities=(SEVERITY,), table="imagenet-c", jpeg=85, generator="bivo-robust",
    pixel_version=PIXEL_VERSION, seed=0, input_size=224, resize_size=256, interpolation="bilinear", mean=(0.5,) * 3,
    std=(0.5,) * 3, precision="fp32", clean=True, device="cpu",
)  # fmt: skip

Floats = NDArray[np.float64]
Frames = Sequence[Mapping[Cell, pd.DataFrame]]


@dataclass(frozen=True, eq=False)
class Number:
    """A number with an interval: its per-image scores, their bounds, and by how much it may overstate the truth."""

    name: str
    scores: Floats
    least: float
    most: float
    single: bool = False
    bias: Floats = field(default_factory=lambda: np.zeros(2))


def answers(generator: np.random.Generator, n: int, level: str, kind: str) -> Frames:
    """The records of both networks by cell."""
    spread, sure = KINDS[kind]
    labels = generator.integers(0, CLASSES, n)
    far = 1 + spread * np.linspace(-1, 1, CLASSES)[labels]
    picture = generator.standard_normal((n, CLASSES), dtype=np.float32)
    found = []
    for gain in (0.0, GAIN):
        own = generator.standard_normal((n, CLASSES), dtype=np.float32)
        of_network = {}
        for cell, distance in zip(CELLS, LEVELS[level], strict=True):
            within = generator.standard_normal((n, CLASSES), dtype=np.float32)
            point = sum(np.sqrt(part) * noise for part, noise in zip(PARTS, (picture, own, within), strict=True))
            point[np.arange(n), labels] += (distance + gain) * far
            of_network[cell] = records(point * (sure * (distance + gain)), labels)
        found.append(of_network)
    return found


def records(logits: NDArray[np.float32], labels: NDArray[np.int64]) -> pd.DataFrame:
    """What a record file holds."""
    logits = logits - logits.max(axis=1, keepdims=True)
    of_classes = np.exp(logits)
    of_classes /= of_classes.sum(axis=1, keepdims=True)
    images = np.arange(len(labels))
    of_label = of_classes[images, labels]
    columns = {
        "image_id": images,
        "label": labels,
        "prediction": logits.argmax(axis=1),
        "rank": (logits > logits[images, labels][:, None]).sum(axis=1),
        "confidence": of_classes.max(axis=1),
        "loss": -np.log(np.maximum(of_label, 1e-30)),
        "brier": (of_classes**2).sum(axis=1) + 1 - 2 * of_label,
    }
    return pd.DataFrame(columns)


def truths(level: str, kind: str, n: int) -> dict[str, float]:
    """The numbers of endless images, under the names of `intervals`; the bins are as many as those of n images."""
    frames = answers(np.random.default_rng(0), MANY, level, kind)
    found: dict[str, float] = {}
    for metric in (metric for metric in METRICS if metric.of in ("answers", "changes")):
        of_cells = [
            [of_cell(metric.name, own[cell], own[CLEAN], n) for cell in CELLS if cell != CLEAN] for own in frames
        ]
        found[f"{metric.name}, single cell"] = of_cells[0][NAMES.index("fog")]
        means = [float(np.mean(own)) for own in of_cells]
        found[f"{metric.name}, mean of 5 cells"] = means[0]
        found[f"difference of {metric.name}, mean of 5 cells"] = means[1] - means[0]
    right = [pd.concat([own[cell] for cell in CELLS if cell != CLEAN]) for own in frames]
    under_all = [METRICS.load("right_under_all")(own) for own in right]
    found["right_under_all, 5 cells"] = under_all[0]
    found["difference of right_under_all, 5 cells"] = under_all[1] - under_all[0]
    kappa = {cell: METRICS.load("error_consistency")(frames[1][cell], frames[0][cell]) for cell in CELLS}
    found["error_consistency, single cell"] = kappa.pop(CLEAN)
    found["error_consistency, mean of 5 cells"] = float(np.mean(list(kappa.values())))
    return found


def of_cell(name: str, frame: pd.DataFrame, clean: pd.DataFrame, n: int) -> float:
    """A number of one cell."""
    if name == "rms_calibration_error":
        by_confidence = frame.sort_values("confidence")
        gaps = (by_confidence["confidence"] - (by_confidence["rank"] < 1)).to_numpy()
        return 100 * float(np.sqrt(np.mean([part.mean() ** 2 for part in np.array_split(gaps, max(1, n // 100))])))
    metric = METRICS.load(name)
    return float(metric(frame, clean) if METRICS[name].of == "changes" else metric(frame))


def intervals(both: Frames) -> dict[str, tuple[float, float]]:
    """The intervals of the first network's numbers, and of the second's beside it, made as summaries make them."""
    corrupted, fog = [cell for cell in CELLS if cell != CLEAN], NAMES.index("fog")
    numbers: list[Number] = []
    for metric in (metric for metric in METRICS if metric.of in ("answers", "changes")):
        own, other = (
            np.stack([scores_of(metric.name, frames[cell], frames[CLEAN]) for cell in corrupted], axis=1)
            for frames in both
        )
        bias = np.zeros((len(corrupted), 2))
        if metric.bias:
            bias = np.array([resolve_name(metric.bias)(both[0][cell]) for cell in corrupted])
        ends = metric.least, metric.most
        numbers += [
            Number(f"{metric.name}, single cell", own[:, fog], *ends, single=metric.proportion, bias=bias[fog]),
            Number(f"{metric.name}, mean of 5 cells", own.mean(axis=1), *ends, bias=bias.mean(axis=0)),
            Number(f"difference of {metric.name}, mean of 5 cells", (other - own).mean(axis=1), *apart(*ends)),
        ]
    all_cells = [pd.concat([frames[cell] for cell in corrupted]) for frames in both]
    own, other = (METRICS.load("right_under_all").scores(frame) for frame in all_cells)  # type: ignore[attr-defined]
    numbers += [Number("right_under_all, 5 cells", own, 0, 100, single=True)]
    numbers += [Number("difference of right_under_all, 5 cells", other - own, -100, 100)]
    kappa = [scores_of("error_consistency", both[1][cell], both[0][cell]) for cell in CELLS]
    numbers += [Number("error_consistency, single cell", kappa[0], -1, 1)]
    numbers += [Number("error_consistency, mean of 5 cells", np.mean(kappa[1:], axis=0), -1, 1)]
    return ends_of([number for number in numbers if np.isfinite(number.scores).all()])


def scores_of(name: str, frame: pd.DataFrame, other: pd.DataFrame) -> Floats:
    """The per-image scores of a number in one cell."""
    pair = (frame,) if METRICS[name].of == "answers" else (frame, other)
    scores: Floats = METRICS.load(name).scores(*pair)  # type: ignore[attr-defined]
    return scores


def apart(least: float, most: float) -> tuple[float, float]:
    """The bounds of a difference."""
    return least - most, most - least


def ends_of(numbers: Sequence[Number]) -> dict[str, tuple[float, float]]:
    """The ends of each interval: moved where the number is biased, and where a difference must agree with its test."""
    scores = np.stack([number.scores for number in numbers], axis=1)
    bounds = bounds_of(np.eye(1), 0, 100)
    named = {name: np.array([getattr(number, name) for number in numbers]) for name in ("least", "most", "single")}
    means = ImageMeans(scores, replace(bounds, **named))
    low, high = image_interval(means, Resampling())
    value, p_values = means.value(), paired_t_test(scores)
    agreed = agreeing((low, high), value, p_values, Resampling().confidence)
    ends = {}
    for place, number in enumerate(numbers):
        pair = low[place], high[place]
        if number.name.startswith("difference"):
            pair = agreed[0][place], agreed[1][place]
        elif number.bias.any():
            pair = max(pair[0] - number.bias[0], 0.0), min(max(pair[1] - number.bias[1], value[place]), 100.0)
        ends[number.name] = float(pair[0]), float(pair[1])
    return ends


def printed(both: Frames) -> dict[str, tuple[float, float]]:
    """The same intervals as `eval --json` and `compare --json` print them, from runs on disk."""
    with tempfile.TemporaryDirectory() as folder:
        first, second = (
            written(Path(folder), name, frames) for name, frames in zip(("first", "second"), both, strict=True)
        )
        summary = summary_frame(first, metrics="all").frame
        compared = chosen_comparison_frame([second], first, "all").frame
    found = {}
    rows = {"single cell": summary["name"] == "fog", "mean of 5 cells": summary["kind"] == "mean"}
    rows |= {"5 cells": summary["kind"] == "severity"}
    for place, chosen in rows.items():
        row = summary[chosen].iloc[0]
        for metric in (metric for metric in METRICS if f"{metric.name}_low" in row):
            found[f"{metric.name}, {place}"] = row[f"{metric.name}_low"], row[f"{metric.name}_high"]
    places = {"mean": "mean of 5 cells", "severity": "5 cells", "clean": "single cell"}
    for row in compared.to_dict(orient="records"):
        if row["metric"] == "error_consistency":
            found[f"error_consistency, {places[row['kind']]}"] = row["value_low"], row["value_high"]
        else:
            found[f"difference of {row['metric']}, {places[row['kind']]}"] = row["delta_low"], row["delta_high"]
    return found


def written(folder: Path, name: str, frames: Mapping[Cell, pd.DataFrame]) -> Run:
    """A finished run."""
    n = len(frames[CLEAN])
    config = replace(SETTINGS, n=n, name=name, model={"name": name})
    (folder / name).mkdir()
    (folder / name / "run.json").write_text(json.dumps(config.as_json()), encoding="utf-8")
    run = open_run(folder / name)
    for cell, frame in frames.items():
        run.write_block(cell, 0, {column: frame[column].to_numpy() for column in frame}, n)
    return run


def scenario(n: int, level: str, kind: str) -> list[Row]:
    """The rows of one scenario; numbers that are not defined are not counted."""
    true, tally, generator = truths(level, kind, n), Tally(), np.random.default_rng([7, n])
    for repeat in range(REPEATS):
        both = answers(generator, n, level, kind)
        found = intervals(both)
        if repeat == 0:
            same = printed(both)
            np.testing.assert_allclose([found[name] for name in found], [same[name] for name in found], atol=1e-4)
        for number, (low, high) in found.items():
            tally.add(number, "chosen", low, high, true[number])
    return list(tally.rows(scenario=f"{level}, {kind}", n=n))


def further(n: int) -> Iterator[Row]:
    """Every further number of a network, and of two networks."""
    for level in LEVELS:
        for kind in KINDS:
            yield from scenario(n, level, kind)

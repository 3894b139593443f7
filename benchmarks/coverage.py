"""How often intervals hold the truth, and how often the gate is right; `python benchmarks/coverage.py` writes
results/coverage.csv and results/gate_power.csv anew. docs/statistics.md shows what they say.

Networks are simulated, so the truth is known. How easy an image is, is shared by all cells and networks; beside that
stand what a network makes of an image, of an image under a corruption, and in a cell. Between images lies 0.43 of the
variance that the mean over 75 cells would have if an image were right in all cells or in none; for the networks of the
demo it is 0.35 to 0.45. Two networks disagree on about a fifth of the images of a cell.

The same seeds give the same tables. Arguments choose parts by how their names begin: `python benchmarks/coverage.py
gate`. All takes some ten minutes of two cores.
"""

if __name__ == "coverage":
    # numba looks for the package of this name, and scripts of this folder would find this one.
    raise ImportError("benchmarks/coverage.py is a study to run, not the package coverage")

import multiprocessing
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import pandas as pd
from coverage_further import further
from machine import RESULTS, machine
from numpy.typing import NDArray
from scipy.stats import norm, t
from tally import Row, Tally

from robustbench_bi.corruptions import SUITES
from robustbench_bi.data import CLEAN, Cell
from robustbench_bi.metrics import (
    ImageMeans,
    Resampling,
    Shares,
    agreeing,
    alexnet_errors,
    bounds_of,
    calibrated_level,
    calibration_bias,
    calibration_scores,
    image_interval,
    mcnemar,
    paired_t_test,
)

SIZES = (50, 200, 1000)
REPEATS = 2000
CONFIDENCE = 0.95
# Of the latent ease: the image, a network's own view of it, of it under a corruption, and in a cell.
SPREADS = (1.0, 0.25, 0.4, 0.6)
CORRUPTIONS = 15
CELLS: list[Cell] = [CLEAN, *((f"c{number}", severity) for number in range(CORRUPTIONS) for severity in range(1, 6))]
OF_CELL = np.repeat(np.arange(CORRUPTIONS + 1), [1, *[5] * CORRUPTIONS])
LEVELS = (0.005, 0.1, 0.6, 0.99)
RESAMPLES = 400

Floats = NDArray[np.float64]


def accuracy_of(level: float) -> Floats:
    """The true accuracy of each cell, around a level: higher on clean images, falling with severity."""
    ease = norm.ppf(level) + np.array([0.6, *np.tile(np.linspace(0.5, -0.5, 5), CORRUPTIONS)])
    return np.asarray(norm.cdf(ease), dtype=np.float64)


def correct(generator: np.random.Generator, n: int, accuracies: list[Floats]) -> list[NDArray[np.bool_]]:
    """Which of n images each network gets right in every cell (n, 76)."""
    ease = SPREADS[0] * generator.standard_normal((n, 1), dtype=np.float32)
    found = []
    for accuracy in accuracies:
        own, under, within = (
            spread * generator.standard_normal((n, size), dtype=np.float32)
            for spread, size in zip(SPREADS[1:], (1, CORRUPTIONS + 1, len(CELLS)), strict=True)
        )
        bar = (norm.isf(accuracy) * np.linalg.norm(SPREADS)).astype(np.float32)
        found.append(ease + own + under[:, OF_CELL] + within > bar)
    return found


def mean_weights(first: int, last: int) -> Floats:
    """Equal weights of the cells from `first` to before `last`."""
    weights = np.zeros(len(CELLS))
    weights[first:last] = 1 / (last - first)
    return weights


def error_weights(relative: bool) -> Floats:
    """The weights of cell errors in mCE: AlexNet's published errors under 15 corruptions divide ours."""
    known = alexnet_errors()
    names = [name for name, severity in known if severity == 0 and name != CLEAN[0]][:CORRUPTIONS]
    weights = np.zeros(len(CELLS))
    for place, name in enumerate(names):
        divisor = 5 * (known[name, 0] - (known[CLEAN] if relative else 0))
        weights[1 + 5 * place : 6 + 5 * place] = 100 / divisor / CORRUPTIONS
    weights[0] = -weights.sum() if relative else 0
    return weights


CLEAN_WEIGHTS = mean_weights(0, 1)
NUMBERS: dict[str, tuple[Floats, bool]] = {
    "single cell": (mean_weights(3, 4), False),
    "mean of 5 cells": (mean_weights(1, 6), False),
    "mean of 75 cells": (mean_weights(1, 76), False),
    "Δ to clean, 75 cells": (mean_weights(1, 76) - CLEAN_WEIGHTS, False),
    "mCE": (error_weights(relative=False), True),
    "relative mCE": (error_weights(relative=True), True),
}
"""The weights of each number's cells, and whether they weigh errors."""


def resamples(n: int, number: int = RESAMPLES) -> Floats:
    """Weightings of n images; one set serves all repeats, whose images are drawn anew."""
    return np.random.default_rng([6, n]).multinomial(n, np.full(n, 1 / n), number) / n


def percentiles(scores: Floats, drawn: Floats) -> tuple[Floats, Floats]:
    """The percentile bootstrap of each mean."""
    low, high = np.quantile(drawn @ scores, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2], axis=0)
    return low, high


def student(scores: Floats) -> tuple[Floats, Floats]:
    """Student's interval of each mean, as it is."""
    n, mean = len(scores), scores.mean(axis=0)
    half = t.isf((1 - CONFIDENCE) / 2, n - 1) * scores.std(axis=0, ddof=1) / np.sqrt(n)
    return mean - half, mean + half


def one_network(n: int) -> Iterator[Row]:
    """Cells, means, Δ to clean and mCE of one network, from nothing right to everything right."""
    weights = np.stack([own for own, _ in NUMBERS.values()], axis=1)
    errs = np.array([of_errors for _, of_errors in NUMBERS.values()])
    bounds, drawn = bounds_of(weights, 0, 100), resamples(n)
    for number, level in enumerate(LEVELS):
        accuracy, tally = accuracy_of(level), Tally()
        truth = 100 * np.where(errs, (1 - accuracy) @ weights, accuracy @ weights)
        generator = np.random.default_rng([1, n, number])
        for _ in range(REPEATS):
            (right,) = correct(generator, n, [accuracy])
            scores = 100.0 * np.where(errs, ~right @ weights, right @ weights)
            methods = {"chosen": image_interval(ImageMeans(scores, bounds), Resampling()), "t": student(scores)}
            methods["percentile bootstrap"] = percentiles(scores, drawn)
            for method, ends in methods.items():
                for name, low, high, true in zip(NUMBERS, *ends, truth, strict=True):
                    tally.add(name, method, low, high, true)
        yield from tally.rows(scenario=f"accuracy {100 * level:g} %", n=n)


def two_networks(n: int) -> Iterator[Row]:
    """Differences of two networks, paired by image, where there is none and where there is one."""
    names = ("single cell", "mean of 5 cells", "mean of 75 cells")
    weights = np.stack([NUMBERS[name][0] for name in names], axis=1)
    single = np.array([name == names[0] for name in names])
    drawn = resamples(n)
    for number, level in enumerate((0.02, 0.5, 0.95)):
        for gain in (0.0, 0.2):
            both = [accuracy_of(level), accuracy_of(float(norm.cdf(norm.ppf(level) + gain)))]
            truth, tally = 100 * (both[1] - both[0]) @ weights, Tally()
            generator = np.random.default_rng([2, n, number, int(10 * gain)])
            for _ in range(REPEATS):
                first, second = correct(generator, n, both)
                change = Shares(second, weights).minus(Shares(first, weights))
                for method, ends in paired_intervals(change, single, drawn).items():
                    for name, low, high, true in zip(names, *ends, truth, strict=True):
                        tally.add(f"difference of a {name}", method, low, high, true)
            yield from tally.rows(scenario=f"accuracy {100 * level:g} %, gain {gain:g}", n=n)


def paired_intervals(change: Any, single: NDArray[np.bool_], drawn: Floats) -> dict[str, tuple[Floats, Floats]]:
    """The intervals of `compare`, and what they might have been."""
    scores = change.scores
    exact = mcnemar((scores < 0).sum(axis=0), (scores > 0).sum(axis=0))
    p_values = np.where(single, exact, paired_t_test(scores))
    without = image_interval(change, Resampling())
    return {
        "chosen": agreeing(without, change.value(), p_values, CONFIDENCE),
        "chosen, without agreeing with p": without,
        "t": student(scores),
        "percentile bootstrap": percentiles(scores, drawn),
    }


CONFIDENCES: dict[str, Callable[[np.random.Generator, int], Floats]] = {
    "broad": lambda generator, n: generator.uniform(0.1, 1, n),
    "high": lambda generator, n: np.clip(1 - generator.beta(0.6, 5, n), 0.07, 1),
}
MISCALIBRATIONS: dict[str, Callable[[Floats], Floats]] = {
    "calibrated": lambda sure: sure,
    "10 points too sure": lambda sure: np.clip(sure - 0.1, 0, 1),
    "one bin wrong": lambda sure: np.where((sure > 0.6) & (sure <= 2 / 3), sure / 3, sure),
}
ECE_CELLS = 5


def calibration(n: int) -> Iterator[Row]:
    """ECE of a single cell and of the mean of 5, whose truth is that of the same bins with endless images."""
    drawn = resamples(n, 200)
    for sure, draw in CONFIDENCES.items():
        many = np.sort(draw(np.random.default_rng(0), 1_000_000))
        for name, probability in MISCALIBRATIONS.items():
            truth = 100 * float(np.abs(by_bin(many, many - probability(many)).mean(axis=0)).sum())
            generator, tally = np.random.default_rng([3, n]), Tally()
            for _ in range(REPEATS if n in SIZES else REPEATS // 4 if n < 1000 else REPEATS // 8):
                # Confidences and outcomes of an image's cells have a correlation of one half.
                places, outcomes = (norm.cdf(correlated(generator, n)) for _ in range(2))
                confidence = many[(places * len(many)).astype(np.int64)]
                wrong = outcomes >= probability(confidence)
                for cells in (1, ECE_CELLS) if n == 200 else (1,):
                    number = "ECE, single cell" if cells == 1 else f"ECE, mean of {cells}"
                    ends = calibration_intervals(confidence[:, :cells], wrong[:, :cells], drawn)
                    for method, (low, high) in ends.items():
                        tally.add(number, method, low, high, truth)
            yield from tally.rows(scenario=f"{sure} confidences, {name} ({truth:.1f} %)", n=n)


def correlated(generator: np.random.Generator, n: int) -> Floats:
    """Normal variables of n images in 5 cells, half of whose variance is the image's."""
    shared, own = generator.standard_normal((n, 1)), generator.standard_normal((n, ECE_CELLS))
    return np.asarray(np.sqrt(0.5) * (shared + own), dtype=np.float64)


def by_bin(confidence: Floats, gap: Floats) -> Floats:
    """Gaps laid out as images × 15 bins."""
    place = np.clip(np.ceil(confidence * 15).astype(np.int64) - 1, 0, 14)
    found = np.zeros((len(gap), 15))
    found[np.arange(len(gap)), place] = gap
    return found


def calibration_intervals(
    confidence: Floats, wrong: NDArray[np.bool_], drawn: Floats
) -> dict[str, tuple[float, float]]:
    """The interval of reports for the mean ECE of some cells (n, C), and what it might have been."""
    records = [
        pd.DataFrame({"confidence": confidence[:, cell], "rank": wrong[:, cell].astype(int)})
        for cell in range(confidence.shape[1])
    ]
    scores = np.mean([calibration_scores(own) for own in records], axis=0)[:, None]
    value, (most, least) = float(scores.mean()), np.mean([calibration_bias(own) for own in records], axis=0)
    bounds = bounds_of(np.ones((1, 1)), -100, 100)
    low, high = (float(end[0]) for end in image_interval(ImageMeans(scores, bounds), Resampling()))
    chosen = max(low - most, 0), max(high - least, value)
    if len(records) > 1:
        return {"chosen": chosen}
    level = calibrated_level(records[0])
    resampled = 100 * np.abs(drawn @ by_bin(confidence[:, 0], confidence[:, 0] - ~wrong[:, 0])).sum(axis=1)
    first, last = np.quantile(resampled, [0.025, 0.975])
    return {
        "chosen": chosen,
        "debiased at the observed gaps (Kumar et al.)": (max(low - least, 0), max(high - least, value)),
        "linearised, lowered by a calibrated network's error": (max(low - level, 0), high),
        "percentile bootstrap": (first, last),
        "basic bootstrap": (max(2 * value - last, 0), max(2 * value - first, value)),
    }


def likelihood(n: int) -> Iterator[Row]:
    """NLL of a single cell and of the mean of 5: losses have no upper bound and are skewed."""
    drawn = resamples(n)
    for name, scale in (("sure network", 4.0), ("unsure network", 1.5)):
        truth = likelihood_of(np.random.default_rng(0), 1_000_000, scale).mean(axis=0)
        generator, tally = np.random.default_rng([4, n]), Tally()
        for _ in range(REPEATS):
            losses = likelihood_of(generator, n, scale)
            methods = {"chosen": percentiles(losses, drawn), "t": student(losses)}
            for method, ends in methods.items():
                for number, low, high, true in zip(("NLL, single cell", "NLL, mean of 5"), *ends, truth, strict=True):
                    tally.add(number, method, low, high, true)
        yield from tally.rows(scenario=name, n=n)


def likelihood_of(generator: np.random.Generator, n: int, scale: float) -> Floats:
    """Losses of n images in one cell, and on average over five, (n, 2)."""
    margin = 1.0 + generator.standard_normal((n, 1)) + 0.7 * generator.standard_normal((n, 5))
    losses = np.logaddexp(0, -scale * margin)
    return np.stack([losses[:, 0], losses.mean(axis=1)], axis=1)


NAMES = SUITES["imagenet-c"].corruptions
DROPS = {"no change": (0.0, 0.0), "3 points in fog": (3.0, 0.0), "1.5 points everywhere": (1.5, 1.5)}
"""By how many points fog, and every other cell, truly got worse."""


def gate(n: int) -> Iterator[Row]:
    """How often the gate calls a row a regression that is none, and how often it finds one that is."""
    weights, before = gate_weights(), accuracy_of(0.55)
    repeats = REPEATS if n <= 1000 else REPEATS // 8
    for scenario, (fog, others) in DROPS.items():
        generator, true = np.random.default_rng([5, n]), true_drops(fog, others)
        is_fog = 1 + NAMES.index("fog") == OF_CELL
        after = before - np.where(is_fog, fog, others) / 100
        found = [significant_drops(correct(generator, n, [before, after]), weights) for _ in range(repeats)]
        for max_drop in (0.0, 1.0):
            verdicts = [{name for name, drop in own.items() if drop > max_drop} for own in found]
            yield {
                "scenario": scenario, "n": n, "max_drop": max_drop, "repeats": repeats,
                "false_alarms": share(bool(own - true) for own in verdicts),
                "regression_found": share(bool(own & true) for own in verdicts) if true else "",
                "fog_found": share("fog" in own for own in verdicts) if fog else "",
            }  # fmt: skip


def gate_weights() -> dict[str, Floats]:
    """The gate's rows: clean, the mean, the four categories, and each corruption."""
    rows = {"clean": CLEAN_WEIGHTS, "mean": mean_weights(1, 76)}
    for name, first, last in (("noise", 0, 3), ("blur", 3, 7), ("weather", 7, 11), ("digital", 11, 15)):
        rows[name] = mean_weights(1 + 5 * first, 1 + 5 * last)
    return rows | {name: mean_weights(1 + 5 * place, 6 + 5 * place) for place, name in enumerate(NAMES)}


def significant_drops(both: list[NDArray[np.bool_]], rows: dict[str, Floats]) -> dict[str, float]:
    """Drops of the rows that the paired t-test rejects at 0.05 / rows: there the gate's intervals lie below zero."""
    weights = np.stack(list(rows.values()), axis=1)
    changes = 100.0 * ((both[1].astype(np.int8) - both[0]) @ weights)
    drops, p_values = -changes.mean(axis=0), paired_t_test(changes)
    level = (1 - CONFIDENCE) / len(rows)
    return {name: float(drop) for name, drop, p in zip(rows, drops, p_values, strict=True) if drop > 0 and p < level}


def share(outcomes: Iterable[bool]) -> float:
    """How many are true, in percent."""
    return round(100 * float(np.mean(list(outcomes))), 2)


def true_drops(fog: float, others: float) -> set[str]:
    """The rows that truly got worse."""
    everything = {"clean", "mean", "noise", "blur", "weather", "digital", *NAMES}
    return everything if others else {"fog", "weather", "mean"} if fog else set()


PARTS: dict[str, tuple[Callable[[int], Iterator[Row]], tuple[int, ...]]] = {
    "one_network": (one_network, SIZES),
    "two_networks": (two_networks, SIZES),
    "calibration": (calibration, (50, 100, 200, 300, 1000, 10_000)),
    "likelihood": (likelihood, SIZES),
    "further": (further, (200, 1000)),
    "gate": (gate, (50, 200, 1000, 5000)),
}


def study(part: str, n: int) -> list[Row]:
    """The rows of one part at one number of images."""
    return [{"part": part, **row} for row in PARTS[part][0](n)]


def write(file: str, rows: list[Row]) -> None:
    """Put the rows of these parts in place of the old ones."""
    path, found = RESULTS / file, pd.DataFrame([{**row, **machine("numpy", "scipy")} for row in rows])
    if path.exists():
        before = pd.read_csv(path)
        found = pd.concat([before[~before["part"].isin(found["part"])], found])
    order = found["part"].map(list(PARTS).index)
    found.iloc[np.argsort(order, kind="stable")].to_csv(path, index=False, lineterminator="\n")


def main() -> None:
    """Study the chosen parts, in two processes, the longest first."""
    chosen = tuple(sys.argv[1:]) or ("",)
    jobs = [(part, n) for part, (_, sizes) in PARTS.items() for n in sizes if part.startswith(chosen)]
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        rows = pool.starmap(study, sorted(jobs, key=lambda job: -job[1]), chunksize=1)
    found = [row for own in rows for row in own]
    found.sort(key=lambda row: (list(PARTS).index(row["part"]), row["n"]))
    of_gate = [row for row in found if row["part"] == "gate"]
    of_intervals = [row for row in found if row["part"] != "gate"]
    for file, own in (("coverage.csv", of_intervals), ("gate_power.csv", of_gate)):
        if own:
            write(file, own)
            print(pd.DataFrame(own).to_string())


if __name__ == "__main__":
    main()

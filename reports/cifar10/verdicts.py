"""What the full study says, by rules that were written before its first network was trained.

A *value* is a number of one seed; a verdict rests on the values of all seeds, at least `LEAST` of them: their mean, and
Student's 95 % interval over seeds. Above zero as a whole, what was expected "above" *held*; below zero, it *did not
hold*; else it is *not decidable* (`reproduce.outcome`, which the reduced study has, too). Fewer seeds decide nothing.
No value is left out because of what it is, and no interval is corrected for the number of questions.

1. **The claims** of `reproduce.CLAIMS`: the difference of two networks in top-1 after the last epoch, on all pictures.
2. **Larger or more robust**: the same difference to a ResNet of as many parameters as the network has. It is read off
   between `resnet29_narrow` and `resnet29` of the same seed, on a straight line over the logarithm of the parameters.
3. **At equal clean accuracy**: how much more a network keeps under corruption than its baseline does *where both are
   equally right on clean pictures*. In each seed a straight line is fitted to the baseline's kept epochs, logit of the
   mean under corruption over logit of clean. A network's value is its mean excess over that line, in points, over those
   of its kept epochs whose clean accuracy lies within the range of the baseline's own. Where fewer than `INSIDE` epochs
   lie there, the seed has no value: the line is never drawn out.
"""

import math
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from reproduce import CLAIMS, outcome
from scipy.stats import t as student

from robustbench_bi.corruptions import SUITES
from robustbench_bi.metrics import mean_corruption_accuracy
from robustbench_bi.models import create_model
from robustbench_bi.reports import markdown_table, write_csv

LEAST = 5
"""Seeds without which nothing is decided."""

INSIDE = 3
"""Kept epochs that must lie within the baseline's range."""

SIZED = [
    (model, name) for model in ("ddf_resnet29", "binet29_dc", "binet29_dc_ca") for name in ("clean", "noise", "mean")
]
"""Networks that are compared with a ResNet of their size, and in what."""

EQUAL = [
    (model, baseline)
    for baseline in ("resnet29", "resnext29", "ddf_resnet29")
    for model in ("binet29_dc_ca", "binet29_dc")
]
"""Networks and baselines that are compared at equal clean accuracy."""

CONTROLS = {"resnet29_narrow": 0.375, "resnet29": 0.5}
"""What a ResNet of another size is read off from, with their widths."""

CATEGORIES = ("noise", "blur", "weather", "digital")


def accuracies(counts: pd.DataFrame) -> dict[str, float]:
    """Percent right, by the names that claims have: clean, a corruption, a category, and "mean" over ImageNet-C's 15.

    Args:
        counts: the cells of one network after one epoch, with the columns corruption, severity, n and right.
    """
    cells = counts.assign(top1=100.0 * counts["right"] / counts["n"])
    by_name = cells.groupby("corruption")["top1"].mean().to_dict()
    clean = by_name.pop("none")
    categories = {name: float(np.mean([by_name[each] for each in SUITES[name].corruptions])) for name in CATEGORIES}
    return {**by_name, **categories, "clean": clean, "mean": mean_corruption_accuracy(cells)}


def verdict(values: Mapping[int, float], expected: str) -> dict[str, object]:
    """The mean of the values of seeds, its interval, and whether that bears out what is expected."""
    numbers = np.array([value for value in values.values() if not math.isnan(value)])
    count = len(numbers)
    reach = student.ppf(0.975, count - 1) * numbers.std(ddof=1) / count**0.5 if count > 1 else math.nan
    mean = float(numbers.mean()) if count else math.nan
    decided = outcome(expected, mean - reach, mean + reach) if count >= LEAST else "not decidable"
    return {"seeds": count, "value": mean, "low": mean - reach, "high": mean + reach, "outcome": decided}


def excess(own: pd.DataFrame, baseline: pd.DataFrame) -> float:
    """Points that a network keeps under corruption beyond its baseline's line, or NaN where they are not comparable.

    Args:
        own: a kept epoch a row, with its `clean` and its `mean` under corruption in percent.
        baseline: likewise.
    """
    low, high = baseline["clean"].min(), baseline["clean"].max()
    inside = own[(own["clean"] >= low) & (own["clean"] <= high)]
    if len(inside) < INSIDE or len(baseline) < INSIDE or low == high:
        return math.nan
    slope, offset = np.polyfit(logit(baseline["clean"]), logit(baseline["mean"]), 1)
    expected = 100.0 / (1.0 + np.exp(-(offset + slope * logit(inside["clean"]))))
    return float((inside["mean"] - expected).mean())


def logit(percent: pd.Series) -> pd.Series:
    """Of a share in percent."""
    return np.log(percent / (100.0 - percent))


def of_size(parameters: float, controls: Mapping[float, float]) -> float:
    """What a ResNet of so many parameters does: on the line between two, over the logarithm of theirs.

    Args:
        parameters: between those of the controls.
        controls: an accuracy by the number of parameters, of two networks.
    """
    (small, less), (large, more) = sorted(controls.items())
    if not small <= parameters <= large:
        sys.exit(f"{parameters:.0f} parameters lie outside the controls' {small:.0f} to {large:.0f}")
    share = math.log(parameters / small) / math.log(large / small)
    return less + share * (more - less)


def parameters_of(name: str, width: float) -> int:
    """Of a network for ten classes."""
    network = create_model(name.removesuffix("_narrow"), num_classes=10, width=width)
    return sum(parameter.numel() for parameter in network.parameters())


def read_all(folder: Path) -> tuple[dict[str, dict[int, dict[str, float]]], dict[str, dict[int, pd.DataFrame]]]:
    """By network and seed: the accuracies after the last epoch, and the kept epochs of the probe."""
    final: dict[str, dict[int, dict[str, float]]] = {}
    kept: dict[str, dict[int, pd.DataFrame]] = {}
    for path in sorted(folder.glob("*-seed*.csv")):
        frame = pd.read_csv(path)
        name, seed = str(frame["network"].iloc[0]), int(frame["seed"].iloc[0])
        final.setdefault(name, {})[seed] = accuracies(frame[frame["part"] == "whole"])
        epochs = frame[frame["part"] == "probe"].groupby("epoch")
        kept.setdefault(name, {})[seed] = pd.DataFrame([accuracies(counts) for _, counts in epochs])
    return final, kept


def judged(folder: Path) -> pd.DataFrame:
    """A row for each question: what it compares, what was expected, the verdict, and the paper's number."""
    final, kept = read_all(folder)
    rows = []
    for claim in CLAIMS:
        values = differences(final, claim.model, claim.baseline, claim.name)
        about = {"rule": "claim", "model": claim.model, "baseline": claim.baseline, "name": claim.name}
        rows.append({**about, "expected": claim.expected, "paper": claim.paper, **verdict(values, claim.expected)})
    sizes = {name: parameters_of(name, width) for name, width in CONTROLS.items()}
    for model, name in SIZED:
        values = sized(final, model, name, sizes)
        about = {"rule": "equal size", "model": model, "baseline": "resnet29 of its size", "name": name}
        rows.append({**about, "expected": "above", "paper": math.nan, **verdict(values, "above")})
    for model, baseline in EQUAL:
        seeds = kept.get(model, {}).keys() & kept.get(baseline, {}).keys()
        values = {seed: excess(kept[model][seed], kept[baseline][seed]) for seed in sorted(seeds)}
        about = {"rule": "equal clean accuracy", "model": model, "baseline": baseline, "name": "mean"}
        rows.append({**about, "expected": "above", "paper": math.nan, **verdict(values, "above")})
    return pd.DataFrame(rows)


def differences(
    final: Mapping[str, Mapping[int, Mapping[str, float]]], model: str, baseline: str, name: str
) -> dict[int, float]:
    """Of two networks in one number, by seed."""
    one, other = final.get(model, {}), final.get(baseline, {})
    return {seed: one[seed][name] - other[seed][name] for seed in sorted(one.keys() & other.keys())}


def sized(
    final: Mapping[str, Mapping[int, Mapping[str, float]]], model: str, name: str, sizes: Mapping[str, int]
) -> dict[int, float]:
    """Of a network and a ResNet of as many parameters, by seed."""
    own = final.get(model, {})
    seeds = own.keys() & set.intersection(*(set(final.get(control, {})) for control in sizes))
    parameters = parameters_of(model, CONTROLS["resnet29"]) if seeds else 0
    return {
        seed: own[seed][name]
        - of_size(parameters, {size: final[control][seed][name] for control, size in sizes.items()})
        for seed in sorted(seeds)
    }


def write_all(folder: Path) -> None:
    """verdicts.csv beside the files of the networks; and the same on the screen."""
    frame = judged(folder)
    write_csv(frame, folder / "verdicts.csv")
    print(markdown_table(frame.round(2).astype(str).replace("nan", "")))

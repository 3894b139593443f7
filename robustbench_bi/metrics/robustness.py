"""Robustness over cells: means over corruptions, and errors relative to those of a normaliser, usually AlexNet.

A frame of cells has one row a cell: `corruption`, `severity` and `top1` in percent. Clean is corruption "none",
severity 0. In published tables, severity 0 of a corruption stands for its mean over the five severities.

Every number here is a weighted sum of cell errors, so its weights also give its bootstrap interval.
"""

from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path

import pandas as pd

from robustbench_bi.errors import InputError
from robustbench_bi.ground.cells import CLEAN, MEAN, SEVERITIES, Cell, cell_label, cells_by_corruption


@cache
def _alexnet_table() -> pd.DataFrame:
    return pd.read_csv(Path(__file__).with_name("alexnet_imagenet_c.csv"), comment="#", index_col="corruption")


@cache
def benchmark_corruptions() -> tuple[str, ...]:
    """The 15 corruptions that make mCE, in published order.

    Example:
        >>> len(benchmark_corruptions()), benchmark_corruptions()[0]
        (15, 'gaussian_noise')
    """
    table = _alexnet_table()
    return tuple(table.index[~table["category"].isin(["extra", "clean"])])


@cache
def alexnet_errors() -> Mapping[Cell, float]:
    """AlexNet's published top-1 errors in percent, by cell; severity 0 is the mean over five.

    jpeg_compression and the four extra corruptions are published only as their mean.

    Example:
        >>> alexnet_errors()["none", 0], alexnet_errors()["fog", 5], alexnet_errors()["jpeg_compression", 0]
        (43.48, 94.5, 60.65)
    """
    errors = {}
    for corruption, row in _alexnet_table().iterrows():
        name = str(corruption).replace("clean", CLEAN[0])
        errors[name, MEAN] = float(row["mean_error"])
        errors |= {(name, s): float(row[f"s{s}"]) for s in SEVERITIES if pd.notna(row[f"s{s}"])}
    return errors


def cell_errors(cells: pd.DataFrame) -> dict[Cell, float]:
    """Top-1 errors in percent by cell.

    Args:
        cells: one row a cell.

    Raises:
        InputError: a column is missing, a cell stands twice, or an accuracy is not within 0 to 100.
    """
    missing = [name for name in ("corruption", "severity", "top1") if name not in cells]
    if missing:
        raise InputError(f"cells need the columns corruption, severity and top1, got no {', '.join(missing)}")
    errors: dict[Cell, float] = {}
    for corruption, severity, top1 in zip(cells["corruption"], cells["severity"], cells["top1"], strict=True):
        cell = (str(corruption), int(severity))
        if cell in errors:
            raise InputError(f"{cell_label(cell)} appears twice; each cell must have one row")
        if not 0 <= top1 <= 100:
            raise InputError(f"top1 must be from 0 to 100 percent, got {top1} for {cell_label(cell)}")
        errors[cell] = 100.0 - float(top1)
    return errors


def corruption_error_weights(
    cells: Iterable[Cell], normaliser: Mapping[Cell, float] | None = None, *, relative: bool = False
) -> dict[str, dict[Cell, float]]:
    """Weights of the cell errors in each corruption error.

    CE_c = 100 Σ_s E_sc / Σ_s N_sc, and relative CE_c = 100 Σ_s (E_sc − E_clean) / Σ_s (N_sc − N_clean), with N the
    normaliser's errors: the ratio is taken per corruption, after summing over severities (Hendrycks & Dietterich 2019,
    sec. 4.2). The severities are those that the corruption has in `cells`; a mean stands for all five.

    Args:
        cells: cells with an error; clean is needed for the relative error.
        normaliser: errors in percent by cell, AlexNet's published ones by default.
        relative: whether errors are counted from the clean error.

    Returns:
        By corruption, the weights by cell: CE_c in percent is the sum of weight × error in percent. Corruptions that
        the normaliser cannot normalise are left out: a severity of it is not known, or its sum is not positive.

    Example:
        >>> corruption_error_weights([("fog", 1), ("fog", 2)], {("fog", 1): 20.0, ("fog", 2): 30.0})
        {'fog': {('fog', 1): 2.0, ('fog', 2): 2.0}}
    """
    cells = list(cells)
    normaliser = alexnet_errors() if normaliser is None else normaliser
    if relative and not (CLEAN in cells and CLEAN in normaliser):
        return {}
    weights = {}
    for corruption, own in cells_by_corruption(cells).items():
        counted = {cell: len(SEVERITIES) if cell[1] == MEAN else 1 for cell in own}
        number = sum(counted.values())
        total = _normaliser_total(corruption, [severity for _, severity in own], normaliser)
        if total is None:
            continue
        total -= number * normaliser[CLEAN] if relative else 0.0
        if total <= 0:
            continue
        weights[corruption] = {cell: 100.0 * count / total for cell, count in counted.items()}
        if relative:
            weights[corruption][CLEAN] = -100.0 * number / total
    return weights


def _normaliser_total(corruption: str, severities: Sequence[int], normaliser: Mapping[Cell, float]) -> float | None:
    """Sum of the normaliser's errors over severities, or None where it is not known."""
    wanted = SEVERITIES if MEAN in severities else tuple(sorted(severities))
    if all((corruption, severity) in normaliser for severity in wanted):
        return sum(normaliser[corruption, severity] for severity in wanted)
    if wanted == SEVERITIES and (corruption, MEAN) in normaliser:
        return len(SEVERITIES) * normaliser[corruption, MEAN]
    return None


def corruption_errors(
    cells: pd.DataFrame, normaliser: pd.DataFrame | None = None, *, relative: bool = False
) -> pd.Series:
    """The corruption error CE (or the relative one) of each corruption that can be normalised.

    Args:
        cells: one row a cell.
        normaliser: cells of the network to divide by, AlexNet's published errors by default.
        relative: see `corruption_error_weights`.

    Returns:
        Percent by corruption, in the order of `cells`.

    Raises:
        InputError: see `cell_errors`.

    Example:
        >>> frame = pd.DataFrame({"corruption": ["jpeg_compression"], "severity": [0], "top1": [53.41]})
        >>> corruption_errors(frame).round(2).to_dict()
        {'jpeg_compression': 76.82}
    """
    errors = cell_errors(cells)
    divisors = None if normaliser is None else cell_errors(normaliser)
    weights = corruption_error_weights(errors, divisors, relative=relative)
    values = {name: sum(weight * errors[cell] for cell, weight in own.items()) for name, own in weights.items()}
    return pd.Series(values, dtype=float)


def missing_cells(cells: Iterable[Cell]) -> list[Cell]:
    """What of ImageNet-C's 15 × 5 cells is not there; a corruption without any cell is named once, with severity 0.

    Example:
        >>> missing_cells([(name, 0) for name in benchmark_corruptions()[1:]])
        [('gaussian_noise', 0)]
    """
    grouped = cells_by_corruption(cells)
    missing = []
    for corruption in benchmark_corruptions():
        own = {severity for _, severity in grouped.get(corruption, [])}
        if not own:
            missing.append((corruption, MEAN))
        elif MEAN not in own:
            missing += [(corruption, severity) for severity in SEVERITIES if severity not in own]
    return missing


def mean_corruption_error(cells: pd.DataFrame, normaliser: pd.DataFrame | None = None) -> float:
    """mCE in percent: the mean of CE over the 15 corruptions of ImageNet-C, all of them at five severities.

    Args:
        cells: one row a cell; extra corruptions are passed over.
        normaliser: see `corruption_errors`.

    Raises:
        InputError: a cell is missing, here or in the normaliser. A part of the cells has no mCE: use
            `corruption_errors`, and say of which part it is.

    Example:
        >>> corruptions = benchmark_corruptions()
        >>> alexnet = [100.0 - alexnet_errors()[name, MEAN] for name in corruptions]
        >>> mean_corruption_error(pd.DataFrame({"corruption": corruptions, "severity": MEAN, "top1": alexnet}))
        100.0
    """
    return _mean_over_benchmark("mCE", cells, normaliser, relative=False)


def relative_mean_corruption_error(cells: pd.DataFrame, normaliser: pd.DataFrame | None = None) -> float:
    """Relative mCE in percent: the mean of the relative CE over the 15 corruptions, all of them at five severities.

    Args:
        cells: one row a cell, with clean.
        normaliser: see `corruption_errors`; with clean.

    Raises:
        InputError: a cell is missing, here or in the normaliser.
    """
    return _mean_over_benchmark("relative mCE", cells, normaliser, relative=True)


def _mean_over_benchmark(name: str, cells: pd.DataFrame, normaliser: pd.DataFrame | None, *, relative: bool) -> float:
    own = set(cell_errors(cells))
    missing = [CLEAN] if relative and CLEAN not in own else missing_cells(own)
    if missing:
        shown = ", ".join(cell_label(cell) for cell in missing[:3])
        more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
        raise InputError(
            f"{name} needs {'clean and ' if relative else ''}15 corruptions at five severities, missing: {shown}{more}"
        )
    errors = corruption_errors(cells, normaliser, relative=relative)
    lacking = [corruption for corruption in benchmark_corruptions() if corruption not in errors]
    if lacking:
        raise InputError(f"the normaliser lacks {', '.join(lacking)}, or its errors there sum to zero")
    return float(errors[list(benchmark_corruptions())].mean())


def corruption_means(cells: pd.DataFrame) -> pd.Series:
    """Top-1 of each corruption, averaged over the severities that it has; percent, without clean."""
    errors = cell_errors(cells)
    means = {name: sum(100.0 - errors[c] for c in own) / len(own) for name, own in cells_by_corruption(errors).items()}
    return pd.Series(means, dtype=float)


def category_means(cells: pd.DataFrame, categories: Mapping[str, str]) -> pd.Series:
    """Mean of `corruption_means` within each category.

    The mean of category means is not the mean over corruptions: the categories differ in size (3, 4, 4, 4).

    Args:
        cells: one row a cell.
        categories: corruption → category; corruptions without one are left out.

    Returns:
        Percent by category.

    Example:
        >>> frame = pd.DataFrame({"corruption": ["fog", "fog", "snow"], "severity": [1, 5, 1], "top1": [60, 40, 30]})
        >>> category_means(frame, {"fog": "weather", "snow": "weather"}).to_dict()
        {'weather': 40.0}
    """
    means = corruption_means(cells)
    known = means[[name for name in means.index if name in categories]]
    return known.groupby([categories[str(name)] for name in known.index], sort=False).mean()


def mean_corruption_accuracy(cells: pd.DataFrame) -> float:
    """Top-1 averaged over severities, then over those of the 15 corruptions of ImageNet-C that are there; percent.

    Raises:
        InputError: none of the 15 is there.

    Example:
        >>> frame = pd.DataFrame({"corruption": ["fog", "snow", "spatter"], "severity": 3, "top1": [60.0, 40.0, 5.0]})
        >>> mean_corruption_accuracy(frame)
        50.0
    """
    means = corruption_means(cells)
    counted = [name for name in benchmark_corruptions() if name in means]
    if not counted:
        raise InputError("a mean over corruptions needs at least one of ImageNet-C's 15, got none")
    return float(means[counted].mean())


def delta_to_clean(cells: pd.DataFrame) -> float:
    """`mean_corruption_accuracy` minus clean top-1, in points.

    Raises:
        InputError: clean, or every corruption, is missing.
    """
    errors = cell_errors(cells)
    if CLEAN not in errors:
        raise InputError("a difference to clean needs the clean cell (corruption none, severity 0), got none")
    return mean_corruption_accuracy(cells) - (100.0 - errors[CLEAN])


def delta_to_baseline(cells: pd.DataFrame, baseline: pd.DataFrame) -> float:
    """`mean_corruption_accuracy` minus the baseline's, in points.

    Raises:
        InputError: the two do not have the same corrupted cells.
    """
    own, other = (set(cell_errors(frame)) - {CLEAN} for frame in (cells, baseline))
    if own != other:
        first = sorted(own ^ other)[0]
        raise InputError(f"both must have the same cells, but {cell_label(first)} is only in one of them")
    return mean_corruption_accuracy(cells) - mean_corruption_accuracy(baseline)

"""Charts of the report page: frames as inline SVG.

The figures of `FIGURES` are for paper. A page has to fit a telephone, follow its reader into dark mode and answer when
pointed at, so it has charts of its own, from the same frames. They are plain SVG: an element for each number, with its
value, interval and n as `title`, which a browser shows as a tooltip and which needs no script; text stays text; and
colours come from the page's style sheet. No chart is wider than 360 units, so that on a telephone a unit is about a
pixel and letters stay legible; wide figures are many small panels, which the page puts side by side.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

import pandas as pd

from robustbench_bi.analysis.measured import Measurements
from robustbench_bi.analysis.reliability import ece_name
from robustbench_bi.analysis.text import format_interval, format_p_value
from robustbench_bi.corruptions import in_words
from robustbench_bi.ground.cells import CLEAN
from robustbench_bi.reports.figures.style import LOOKS, top_of_axis
from robustbench_bi.tasks import Measure

SIGNIFICANT = 0.05
# Cycles per pixel; beyond, few coefficients are left in the corner.
LAST_FREQUENCY = 0.65
# Letters beside a bar.
_FITS = 20
# Marks around a point, in the order of `LOOKS`.
_MARKERS = {
    "o": "m-2.6 0a2.6 2.6 0 1 0 5.2 0a2.6 2.6 0 1 0-5.2 0z",
    "s": "m-2.4-2.4h4.8v4.8h-4.8z",
    "^": "m0-3.2l3 5.2h-6z",
    "D": "m0-3.2l3.2 3.2l-3.2 3.2l-3.2-3.2z",
    "v": "m0 3.2l3-5.2h-6z",
    "P": "m-1-3h2v2h2v2h-2v2h-2v-2h-2v-2h2z",
}


@dataclass(frozen=True)
class Scale:
    """A linear map of values to places in a chart.

    Attributes:
        low, high: values.
        start, end: their places.

    Example:
        >>> Scale(0, 100, 30, 230)(50)
        130.0
    """

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        """The place of a value."""
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)


def bar_chart(
    frame: pd.DataFrame, names: Sequence[str], models: Sequence[str], *, column: str, unit: str, label: str
) -> str:
    """Horizontal bars with whiskers: a group for each name, in it a bar for each model.

    Args:
        frame: model, name, n, and `column` with its _low and _high. Where it has p_value and p_holm, these are in the
            tooltips, and a star stands behind what is below 0.05 after Holm's correction.
        names: the groups, from top to bottom.
        models: all models of the page; the place of one there gives its colour.
        column: a measure, such as "top1", or "delta"; differences are written with their sign.
        unit: of the axis.
        label: what the chart shows, for those who cannot see it.

    Returns:
        An SVG element.

    Example:
        >>> columns = {"model": "a", "name": ["fog", "snow"], "n": 500, "top1": [40.0, 30.0]}
        >>> frame = pd.DataFrame(columns | {"top1_low": [38.0, 28.0], "top1_high": [42.0, 32.0]})
        >>> svg = bar_chart(frame, ["fog", "snow"], ["a"], column="top1", unit="%", label="top-1")
        >>> svg.count("<rect"), "<title>a, fog: 40.0 [38.0, 42.0] %, n = 500</title>" in svg
        (2, True)
    """
    rows = [row for row in frame.to_dict("records") if row["name"] in names]
    shown = [model for model in models if any(row["model"] == model for row in rows)]
    bar, gap, top, gutter = max(5.0, 10.0 - len(shown) / 2), 8.0, 8.0, 112.0
    height = top + len(names) * (len(shown) * bar + gap) + 32
    ticks = nice_ticks([0.0, *(row[f"{column}{end}"] for row in rows for end in ("", "_low", "_high"))])
    x = Scale(ticks[0], ticks[-1], gutter, 346)
    svg = _svg(360, height, label)
    for tick in ticks:
        _line(svg, "grid" if tick else "zero", x(tick), 4, x(tick), height - 30)
        _write(svg, x(tick), height - 19, f"{tick:{'+' if column == 'delta' and tick else ''}g}", "middle")
    _write(svg, 358, height - 4, unit, "end")
    for number, name in enumerate(names):
        start = top + number * (len(shown) * bar + gap)
        _write(svg, gutter - 12, start + len(shown) * bar / 2 + 3.5, _beside(in_words(name)), "end")
        for row in rows:
            if row["name"] == name:
                place = start + shown.index(row["model"]) * bar
                _draw_bar(svg, row, column, unit, x, place, bar, models.index(row["model"]))
    return _as_text(svg)


def _beside(words: str) -> str:
    """A name beside a bar; what would not fit says no more than the table, so its bracket is left to that."""
    return words if len(words) <= _FITS else words.partition(" (")[0]


def _draw_bar(
    svg: Element, row: Mapping[Any, Any], column: str, unit: str, x: Scale, top: float, bar: float, model: int
) -> None:
    value, low, high = (row[f"{column}{end}"] for end in ("", "_low", "_high"))
    numbers = format_interval(value, low, high, signed=column == "delta", decimals=2 if column == "delta" else 1)
    tested = f", p (Holm) {format_p_value(row['p_holm'])}" if "p_holm" in row else ""
    if "p_value" in row:
        tested = f", p {format_p_value(row['p_value'])}{tested}"
    mark = _mark(svg, model, f"{row['model']}, {in_words(row['name'])}: {numbers} {unit}{tested}, n = {row['n']:,}")
    left, right = sorted((x(0), x(value)))
    ElementTree.SubElement(mark, "rect", _places(x=left, y=top, width=right - left, height=bar))
    middle = top + bar / 2
    if not math.isnan(low):
        _line(mark, "halo", x(low), middle, x(high), middle)
        _line(mark, "whisker", x(low), middle, x(high), middle)
    if row.get("p_holm", 1.0) < SIGNIFICANT:
        end = max(x(value), x(high)) if value > 0 else min(x(value), x(low))
        _write(mark, end + (3 if value > 0 else -3), middle + 5, "*", "" if value > 0 else "end")


def curve_panels(cells: Measurements, models: Sequence[str]) -> list[tuple[str, str]]:
    """Top-1, or the task's primary number, against severity, a small chart for each corruption.

    Args:
        cells: from `cells_frame`.
        models: see `bar_chart`.

    Returns:
        Names of corruptions, in words, with their SVG elements.
    """
    frame, measure = cells.frame, cells.task.primary
    names = [str(name) for name in frame["corruption"].unique() if name != CLEAN[0]]
    top = top_of_axis(frame[f"{measure.name}_high"].max())
    return [
        (in_words(name), _curve_panel(frame[frame["corruption"].isin([name, CLEAN[0]])], measure, name, models, top))
        for name in names
    ]


def _curve_panel(frame: pd.DataFrame, measure: Measure, name: str, models: Sequence[str], top: float) -> str:
    x, y = Scale(0, 5, 32, 188), Scale(0, top, 142, 6)
    ends = frame.sort_values("severity").groupby("model", sort=False)[measure.name].agg(["first", "last"])
    words = ", ".join(
        f"{model} {format_interval(first)} to {format_interval(last)}" for model, first, last in ends.itertuples()
    )
    what = f"{measure.title} in percent under {in_words(name)}"
    svg = _svg(200, 162, f"{what}, from the weakest setting to the strongest: {words}")
    for quarter in range(5):
        tick = top * quarter / 4
        _line(svg, "grid" if tick else "zero", 24, y(tick), 196, y(tick))
        if quarter % 2 == 0:
            _write(svg, 20, y(tick) + 3.5, f"{tick:g}", "end")
    for severity in range(6):
        _write(svg, x(severity), 156, str(severity or "clean"), "middle")
    shown = [model for model in models if (frame["model"] == model).any()]
    for place, model in enumerate(shown):
        # Beside each other, so that no whisker hides another.
        shift = (place - (len(shown) - 1) / 2) * min(3.0, 12 / len(shown))
        rows = frame[frame["model"] == model].sort_values("severity").to_dict("records")
        points = [(x(row["severity"]) + shift, y(row[measure.name])) for row in rows]
        series = _series(svg, models.index(model))
        ElementTree.SubElement(series, "polyline", {"points": _joined(points)})
        for row, (across, down) in zip(rows, points, strict=True):
            where = f"severity {row['severity']}" if row["severity"] else "clean"
            value, low, high = (row[f"{measure.name}{end}"] for end in ("", "_low", "_high"))
            numbers = format_interval(value, low, high)
            point = _titled(series, f"{model}, {in_words(name)}, {where}: {numbers} %, n = {row['n']:,}")
            _line(point, "whisker", across, y(low), across, y(high))
            _marker(point, models.index(model), across, down)
    return _as_text(svg)


def reliability_chart(bins: pd.DataFrame, number: int) -> str:
    """Accuracy against confidence, and below it how many predictions each bin holds.

    Args:
        bins: rows of `reliability_frame`'s frame, of one model and part.
        number: place of the model on the page.

    Returns:
        An SVG element.
    """
    x, y = Scale(0, 100, 30, 210), Scale(0, 100, 190, 10)
    tall = Scale(0, math.log10(bins["n"].max() + 1), 252, 212)
    first = bins.iloc[0]
    ece = f"{ece_name(first['part'])} {format_interval(first['ece'], first['ece_low'], first['ece_high'])}"
    filled = bins[bins["n"] > 0]
    words = ", ".join(
        f"{c:.0f}: {format_interval(a, decimals=0)}"
        for c, a in zip(filled["confidence"], filled["accuracy"], strict=True)
    )
    svg = _svg(220, 282, f"Reliability of {first['model']}, {first['part']}: {ece} %. Confidence and accuracy: {words}")
    for tick in (0, 25, 50, 75, 100):
        _line(svg, "grid", x(tick), y(0), x(tick), y(100))
        _line(svg, "grid", x(0), y(tick), x(100), y(tick))
        _write(svg, 25, y(tick) + 3.5, str(tick), "end")
        _write(svg, x(tick), 264, str(tick), "middle")
    _line(svg, "diagonal", x(0), y(0), x(100), y(100))
    _write(svg, 120, 278, "confidence (%)", "middle")
    _write(svg, 34, 20, "accuracy (%)", "")
    _write(svg, 25, 235, "n", "end")
    series = _series(svg, number)
    for row in filled.to_dict("records"):
        numbers = format_interval(row["accuracy"], row["accuracy_low"], row["accuracy_high"])
        text = (
            f"confidence {row['bin_low']:.0f} to {row['bin_high']:.0f} %, mean {format_interval(row['confidence'])} %: "
            f"accuracy {numbers} %, n = {row['n']:,}"
        )
        mark = _titled(series, text)
        _draw_count(mark, row["n"], x(row["bin_low"]), x(row["bin_high"]), tall)
        _line(
            mark, "whisker", x(row["confidence"]), y(row["accuracy_low"]), x(row["confidence"]), y(row["accuracy_high"])
        )
        _marker(mark, number, x(row["confidence"]), y(row["accuracy"]))
    _line(svg, "zero", x(0), 252, x(100), 252)
    return _as_text(svg)


def _draw_count(mark: Element, count: int, left: float, right: float, y: Scale) -> None:
    """A bar of a histogram with its count written upwards."""
    group = ElementTree.SubElement(mark, "g", {"class": "counts"})
    top = y(math.log10(count + 1))
    ElementTree.SubElement(group, "rect", _places(x=left + 0.5, width=right - left - 1, y=top, height=y.start - top))
    middle = (left + right) / 2 + 2.7
    turned = {"transform": f"translate({_short(middle)} {_short(y.start - 3)}) rotate(-90)"}
    ElementTree.SubElement(group, "text", turned).text = f"{count:,}"


def spectrum_panels(frame: pd.DataFrame) -> list[tuple[str, str]]:
    """Power relative to clean against frequency, both in logarithms, a small chart for each corruption.

    Args:
        frame: that of `spectra_frame`.

    Returns:
        Names of corruptions, in words, with their SVG elements; all have the same axes.
    """
    frame = frame[frame["frequency"] <= LAST_FREQUENCY]
    corrupted = frame[frame["corruption"] != CLEAN[0]]
    logs = [math.log10(value) for end in ("ratio", "ratio_low", "ratio_high") for value in corrupted[end] if value > 0]
    low, high = math.floor(min(logs, default=0.0)), math.ceil(max(logs, default=0.0))
    y = Scale(low, max(high, low + 1), 112, 6)
    x = Scale(math.log10(frame["frequency"].min()), math.log10(frame["frequency"].max()), 34, 194)
    return [
        (name, _spectrum_panel(own, name, x, y))
        for name, own in ((in_words(str(name)), own) for name, own in corrupted.groupby("corruption", sort=False))
    ]


def _spectrum_panel(frame: pd.DataFrame, name: str, x: Scale, y: Scale) -> str:
    slowest, fastest = (format(frame["ratio"].iloc[place], ".3g") for place in (0, -1))
    title = f"Power relative to clean under {name}: {slowest} at the lowest frequency, {fastest} at the highest"
    svg = _svg(200, 132, title)
    step = max(1, round((y.high - y.low) / 4))
    for power in range(int(y.low), int(y.high) + 1):
        _line(svg, "grid" if power else "zero", 34, y(power), 194, y(power))
        if power % step == 0:
            _write(svg, 30, y(power) + 3.5, f"{10.0**power:g}", "end")
    for denominator in (64, 16, 4):
        if x.low <= -math.log10(denominator):
            _write(svg, x(-math.log10(denominator)), 126, f"1/{denominator}", "middle")
    points = [(x(math.log10(row["frequency"])), row) for row in frame.to_dict("records")]
    upper = [(place, y(math.log10(row["ratio_high"]))) for place, row in points if row["ratio_high"] > 0]
    lower = [(place, y(math.log10(row["ratio_low"]))) for place, row in points if row["ratio_low"] > 0]
    ElementTree.SubElement(svg, "polygon", {"class": "band", "points": _joined(upper + lower[::-1])})
    middle = [(place, y(math.log10(row["ratio"]))) for place, row in points]
    ElementTree.SubElement(svg, "polyline", {"class": "curve", "points": _joined(middle)})
    return _as_text(svg)


def swatch(number: int) -> str:
    """The sign of the model at a place, for legends: its fill, and its line with marker.

    Example:
        >>> swatch(0)[:27]
        '<svg viewBox="0 0 34 12" cl'
    """
    svg = Element("svg", {"viewBox": "0 0 34 12", "class": "swatch", "aria-hidden": "true"})
    series = _series(svg, number)
    ElementTree.SubElement(series, "rect", _places(x=0.5, y=1.5, width=9, height=9))
    ElementTree.SubElement(series, "polyline", {"points": "13,6 33,6"})
    _marker(series, number, 23, 6)
    return _as_text(svg)


def nice_ticks(values: Iterable[float]) -> list[float]:
    """Three to eight round numbers, evenly apart, that span the values.

    Example:
        >>> nice_ticks([0.0, -3.2, 7.9]), nice_ticks([0.0])
        ([-4.0, -2.0, 0.0, 2.0, 4.0, 6.0, 8.0], [-1.0, -0.5, 0.0, 0.5, 1.0])
    """
    finite = [float(value) for value in values if math.isfinite(value)]
    low, high = min(finite), max(finite)
    if low == high:
        low, high = low - 1, high + 1
    raw = (high - low) / 6
    power = 10.0 ** math.floor(math.log10(raw))
    step = power * next(factor for factor in (1, 2, 5, 10) if factor * power >= raw * (1 - 1e-9))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(number * step, 10) + 0.0 for number in range(first, last + 1)]


def _svg(width: float, height: float, label: str) -> Element:
    return Element(
        "svg",
        {"viewBox": f"0 0 {_short(width)} {_short(height)}", "class": "chart", "role": "img", "aria-label": label},
    )


def _series(parent: Element, number: int) -> Element:
    """What is drawn of one model: its look, and a class by which the page shows or hides it."""
    return ElementTree.SubElement(parent, "g", {"class": f"look-{number % len(LOOKS)} of-{number}"})


def _mark(parent: Element, number: int, title: str) -> Element:
    mark = _series(parent, number)
    ElementTree.SubElement(mark, "title").text = title
    return mark


def _titled(parent: Element, title: str) -> Element:
    group = ElementTree.SubElement(parent, "g")
    ElementTree.SubElement(group, "title").text = title
    return group


def _line(parent: Element, kind: str, x1: float, y1: float, x2: float, y2: float) -> None:
    ElementTree.SubElement(
        parent, "path", {"class": kind, "d": f"M{_short(x1)} {_short(y1)}L{_short(x2)} {_short(y2)}"}
    )


def _marker(parent: Element, number: int, x: float, y: float) -> None:
    shape = _MARKERS[LOOKS[number % len(LOOKS)].marker]
    ElementTree.SubElement(parent, "path", {"class": "marker", "d": f"M{_short(x)} {_short(y)}{shape}"})


def _write(parent: Element, x: float, y: float, text: str, anchor: str) -> None:
    ElementTree.SubElement(parent, "text", {**_places(x=x, y=y), **({"class": anchor} if anchor else {})}).text = text


def _joined(points: Iterable[tuple[float, float]]) -> str:
    return " ".join(f"{_short(x)},{_short(y)}" for x, y in points)


def _places(**places: float) -> dict[str, str]:
    return {name: _short(value) for name, value in places.items()}


def _short(value: float) -> str:
    return f"{round(value, 1) + 0.0:g}"


def _as_text(svg: Element) -> str:
    return ElementTree.tostring(svg, encoding="unicode")

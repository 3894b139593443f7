import io
import re
import subprocess
import sys
from dataclasses import replace

import matplotlib
import numpy as np
import pytest

from robustbench_bi.analysis.comparison import comparison_frame
from robustbench_bi.analysis.reliability import reliability_frame
from robustbench_bi.analysis.summary import cells_frame, summaries_frame
from robustbench_bi.corruptions import CORRUPTIONS, SUITES
from robustbench_bi.errors import BivoRobustError, InputError
from robustbench_bi.metrics.intervals import Resampling
from robustbench_bi.reports import FIGURES
from robustbench_bi.reports.figures.accuracy import category_bars, figure_3, figure_3_of_paper, severity_curves
from robustbench_bi.reports.figures.sheet import Sheet
from robustbench_bi.reports.figures.style import LOOKS, look, name_in_lines, read_style, wrapped
from robustbench_bi.reports.figures.summaries import heat_table, reliability_diagram

QUICK = Resampling(repeats=100)
PAPER = SUITES["paper"].corruptions


@pytest.fixture
def frames(make_run):
    """Frames of a baseline and of `count` other models."""

    def make(count=2, corruptions=PAPER):
        runs = [make_run(f"model_{i}", n=40, corruptions=corruptions, luck=i, skill=i / 4) for i in range(count + 1)]
        comparison = comparison_frame(runs[1:], runs[0], resampling=QUICK)
        return {
            "comparison": comparison,
            "cells": cells_frame(runs),
            "summaries": summaries_frame(runs, QUICK),
            "reliability": reliability_frame(runs, QUICK),
        }

    return make


def labels(axes):
    return [label.get_text().replace("\n", " ") for label in axes.get_xticklabels()]


def overlapping(boxes):
    return [(a, b) for i, a in enumerate(boxes) for b in boxes[i + 1 :] if a.padded(-1).overlaps(b)]


def test_every_figure_has_its_function():
    assert all(callable(FIGURES.load(name)) for name in FIGURES.names)


OF_RUNS = [row.name for row in FIGURES if row.frame in ("comparison", "cells", "summaries", "reliability")]


@pytest.mark.parametrize("name", OF_RUNS)
@pytest.mark.parametrize("count", [1, 7])
def test_every_figure_draws_from_its_frame_and_holds_all_its_text(frames, name, count):
    found = frames(count)[FIGURES[name].frame]
    frame = found.frame
    settings = dict(matplotlib.rcParams)
    figure = FIGURES.load(name)(found)
    figure.canvas.draw()
    assert dict(matplotlib.rcParams) == settings
    page = figure.bbox
    texts = [text for text in figure.findobj(matplotlib.text.Text) if text.get_text() and text.get_visible()]
    assert len(texts) > 8
    beyond = _labels_beyond_their_axis(figure)
    for text in texts:
        box = text.get_window_extent()
        if box.width and text.axes is None and text not in beyond:
            assert page.x0 <= box.x0 and box.x1 <= page.x1 and page.y0 <= box.y0 and box.y1 <= page.y1, text
    models = list(frame["model"].unique())
    if figure.legends:
        assert [text.get_text() for text in figure.legends[0].get_texts()] == models
    else:
        words = " ".join(text.get_text().replace("\n", "") for text in texts)
        assert [model for model in models if model not in words] == []
    # Of a summary, figures show the primary number alone.
    caption = getattr(found, "primary_caption", "") or found.caption
    assert "ECE" not in caption or name == "reliability_diagram"
    assert caption.replace(" ", "") in "".join(
        text.get_text().replace("\n", "").replace(" ", "") for text in figure.texts
    )
    areas = [*(legend.get_window_extent() for legend in figure.legends), figure.texts[0].get_window_extent()]
    assert overlapping([*areas, *(axes.get_tightbbox() for axes in figure.axes)]) == []


def _labels_beyond_their_axis(figure):
    """Labels of ticks beyond what an axis shows: they have a place, and are not drawn."""
    labels = []
    for axis in (axis for axes in figure.axes for axis in (axes.xaxis, axes.yaxis)):
        low, high = sorted(axis.get_view_interval())
        ticks = [tick for tick in axis.get_major_ticks() if not low <= tick.get_loc() <= high]
        labels += [label for tick in ticks for label in (tick.label1, tick.label2)]
    return labels


@pytest.mark.parametrize("name", OF_RUNS)
@pytest.mark.parametrize("width", [3.3, 7.2])
def test_no_letter_is_too_small_or_beyond_the_edge_at_either_width(frames, name, width):
    figure = FIGURES.load(name)(frames(3)[FIGURES[name].frame], Sheet(width))
    figure.canvas.draw()
    assert figure.get_figwidth() == width
    texts = [text for text in figure.findobj(matplotlib.text.Text) if text.get_text() and text.get_visible()]
    assert min(text.get_fontsize() for text in texts) >= 6
    outer = figure.bbox.padded(1)
    boxes = [axes.get_tightbbox() for axes in figure.axes]
    assert all(outer.x0 <= box.x0 and box.x1 <= outer.x1 for box in boxes)
    assert not [text for text in texts if re.search(r"[a-z]_[a-z]+_?(noise|blur|compression)", text.get_text())]


def test_a_style_of_the_reader_wins_over_ours(frames, tmp_path):
    style = tmp_path / "own.mplstyle"
    style.write_text("ytick.labelsize: 9.5\naxes.spines.top: True\n", encoding="utf-8")
    (axes,) = category_bars(frames(1)["summaries"], Sheet(style=style)).axes
    assert axes.get_yticklabels()[0].get_fontsize() == 9.5 and axes.spines["top"].get_visible()
    assert not category_bars(frames(1)["summaries"]).axes[0].spines["top"].get_visible()
    for text, said in (
        ("font.sise: 9\n", r"unknown setting of matplotlib 'font.sise'\. Did you mean 'font.size'"),
        ("font.size: large and wide\n", "must be a matplotlib style file"),
        ("# nothing\n", "sets nothing"),
    ):
        style.write_text(text, encoding="utf-8")
        with pytest.raises(BivoRobustError, match=said):
            read_style(style)
    with pytest.raises(InputError, match="no file"):
        read_style(tmp_path / "missing")


def test_figure_3_has_the_bars_of_the_paper_in_its_order(frames):
    found = frames()["comparison"]
    frame = found.frame
    (axes,) = figure_3(found).axes
    assert labels(axes) == [
        "clean", "Gaussian noise", "shot noise", "impulse noise", "speckle noise", "blur", "weather", "digital", "mean",
    ]  # fmt: skip
    assert "model_0" in axes.get_ylabel()
    shown = frame[frame["name"] != "noise"].groupby("model", sort=False)
    for container, (_, own) in zip(_bars(axes), shown, strict=True):
        assert [bar.get_height() for bar in container] == pytest.approx(own["delta"].tolist())


def _bars(axes):
    return [c for c in axes.containers if isinstance(c, matplotlib.container.BarContainer)]


def test_figure_3_has_whiskers_and_a_zero_line(frames):
    found = frames(1)["comparison"]
    frame = found.frame
    (axes,) = figure_3(found).axes
    whiskers = [segment for c in axes.collections for segment in c.get_segments()]
    ends = {(round(low, 6), round(high, 6)) for (_, low), (_, high) in whiskers}
    shown = frame[frame["name"] != "noise"]
    assert ends == {
        (round(low, 6), round(high, 6)) for low, high in zip(shown["delta_low"], shown["delta_high"], strict=True)
    }
    assert any(set(line.get_ydata()) == {0} for line in axes.lines)


def test_figure_3_leaves_a_gap_where_a_model_lacks_a_bar(make_run):
    baseline = make_run("a", corruptions=PAPER)
    runs = [make_run("b", corruptions=PAPER, luck=1), make_run("c", corruptions=PAPER[:-1], luck=2)]
    (axes,) = figure_3(comparison_frame(runs, baseline, resampling=QUICK)).axes
    assert [len(container) for container in _bars(axes)] == [9, 8]
    assert labels(axes).count("speckle noise") == 1


def test_the_papers_own_form_has_its_seven_bars_alone_in_groups_that_are_categories(frames):
    found = frames()["comparison"]
    (axes,) = figure_3_of_paper(found).axes
    assert labels(axes) == ["Gaussian noise", "shot noise", "impulse noise", "speckle noise", *["mean"] * 3]
    headings = {text.get_text(): text.get_position()[0] for text in axes.texts}
    places = axes.get_xticks()
    assert headings == {"noise": np.mean(places[:4]), "blur": places[4], "weather": places[5], "digital": places[6]}
    # Within a category bars stand closer than between two.
    assert np.diff(places).round(6).tolist() == [1, 1, 1, 1.4, 1.4, 1.4]
    names = ["gaussian_noise", "shot_noise", "impulse_noise", "speckle_noise", "blur", "weather", "digital"]
    for container, (_, own) in zip(_bars(axes), found.frame.groupby("model", sort=False), strict=True):
        of_name = own.set_index("name").loc[names]
        assert [bar.get_height() for bar in container] == pytest.approx(of_name["delta"].tolist())
    whiskers = {(round(a, 6), round(b, 6)) for c in axes.collections for (_, a), (_, b) in c.get_segments()}
    shown = found.frame[found.frame["name"].isin(names)]
    ends = zip(shown["delta_low"].round(6), shown["delta_high"].round(6), strict=True)
    assert whiskers == set(ends)


def test_the_papers_own_form_says_which_means_lack_a_corruption_and_needs_one_of_its_bars(frames):
    (axes,) = figure_3_of_paper(frames(1, ("snow", "fog", "shot_noise"))["comparison"]).axes
    assert labels(axes) == ["shot noise", "mean"]
    assert [text.get_text() for text in axes.texts] == ["noise", "weather\n(2 of 4)"]
    with pytest.raises(InputError, match="needs noises, or means of blur, weather or digital, got none"):
        figure_3_of_paper(frames(1, ("spatter",))["comparison"])


def test_a_partial_category_is_labelled_as_such(frames):
    (axes,) = figure_3(frames(1, ("snow", "fog"))["comparison"]).axes
    assert labels(axes) == ["clean", "weather (2 of 4)", "mean (2 of 15)"]


@pytest.mark.parametrize(("suite", "panels"), [("imagenet-c", 15), ("all", 19), ("noise", 3)])
def test_a_panel_for_each_corruption(frames, suite, panels):
    figure = severity_curves(frames(1, SUITES[suite].corruptions)["cells"])
    assert [axes.get_title(loc="left") for axes in figure.axes] == [
        CORRUPTIONS[name].label for name in SUITES[suite].corruptions
    ]
    assert len(figure.axes) == panels


def test_curves_start_at_clean(frames):
    found = frames(1, ("fog",))["cells"]
    frame = found.frame
    (axes,) = severity_curves(found).axes
    first = axes.containers[0][0]
    assert first.get_xdata().tolist() == [0, 1, 2, 3, 4, 5]
    assert first.get_ydata() == pytest.approx(frame[frame["model"] == "model_0"]["top1"])


def test_category_bars_are_the_means_of_the_summary(frames):
    found = frames(1)["summaries"]
    frame = found.frame
    (axes,) = category_bars(found).axes
    assert labels(axes) == ["clean", "noise", "blur", "weather", "digital", "mean"]
    for container, (_, own) in zip(_bars(axes), frame.groupby("model", sort=False), strict=True):
        top1 = own.set_index("name")["top1"]
        assert [bar.get_height() for bar in container] == pytest.approx([top1[name] for name in labels(axes)])


def test_the_heat_table_holds_every_number_and_is_darkest_at_the_worst(frames):
    found = frames(2)["summaries"]
    frame = found.frame.query("kind == 'corruption'")
    (axes,) = heat_table(replace(found, frame=frame)).axes
    shown = {text.get_position(): text.get_text() for text in axes.texts}
    assert [label.get_text() for label in axes.get_yticklabels()] == [CORRUPTIONS[name].label for name in PAPER]
    for row in frame.itertuples():
        place = int(row.model[-1]), PAPER.index(row.name)
        assert shown[place] == f"{row.top1:.1f} [{row.top1_low:.1f}, {row.top1_high:.1f}]"
    (image,) = axes.images
    colours = [lightness(colour[:3]) for colour in image.cmap(image.norm(image.get_array())).reshape(-1, 4)]
    assert np.argmin(colours) == np.argmax(image.get_array())
    # Letters in the figures' ink stand out from the darkest of them: a contrast of at least 4.5 to 1.
    assert min(colours) > 60


def test_reliability_diagrams_hold_ece_and_n(frames):
    found = frames(1)["reliability"]
    frame = found.frame
    figure = reliability_diagram(found)
    assert len(figure.axes) == 4
    for axes, (_, own) in zip(figure.axes, frame.groupby(["model", "part"], sort=False), strict=True):
        first = own.iloc[0]
        assert f"ECE {first['ece']:.1f} [{first['ece_low']:.1f}, {first['ece_high']:.1f}] %" in axes.get_title(
            loc="left"
        )
        assert [text.get_text() for text in axes.texts] == [f"{n:,}" for n in own["n"] if n]
        (points,) = [container[0] for container in axes.containers if hasattr(container[0], "get_ydata")]
        assert points.get_ydata() == pytest.approx(own["accuracy"].dropna())


@pytest.mark.parametrize("name", ["heat_table", "reliability_diagram"])
def test_long_names_of_models_do_not_run_into_one_another(frames, name):
    found = frames(3)[FIGURES[name].frame]
    frame = found.frame
    frame["model"] = frame["model"].str.replace("model", "binet50_dc_ca_without_sakg_epoch")
    figure = FIGURES.load(name)(found)
    figure.canvas.draw()
    titles = [
        text
        for axes in figure.axes
        for text in (*axes.get_xticklabels(), axes.title, axes._left_title)
        if "without" in text.get_text().replace("\n", "")
    ]
    boxes = [text.get_window_extent() for text in titles]
    assert len(boxes) == {"heat_table": 4, "reliability_diagram": 8}[name]
    assert overlapping(boxes) == []
    assert all(figure.bbox.x0 <= box.x0 and box.x1 <= figure.bbox.x1 for box in boxes)


def test_names_are_broken_where_they_have_joints():
    assert name_in_lines("binet50", 1.25, 7.5) == "binet50"
    assert name_in_lines("tf_efficientnet-lite0.in1k, clean", 0.5, 7.5).split("\n") == [
        "tf_", "efficientnet-", "lite0.", "in1k,", "clean",
    ]  # fmt: skip
    assert name_in_lines("averylongnamewithoutanyjoint", 0.5, 7.5) == "averylongnamewithoutanyjoint"
    assert name_in_lines("", 1, 8) == ""


def only(found, chosen):
    """The result with a part of its rows."""
    return replace(found, frame=chosen(found.frame))


def test_frames_without_the_rows_are_refused(frames):
    found = frames(1)
    with pytest.raises(InputError, match="figure 3 needs rows of comparison_frame"):
        figure_3(only(found["comparison"], lambda frame: frame[:0]))
    with pytest.raises(InputError, match="at least one corruption, got only clean"):
        severity_curves(only(found["cells"], lambda frame: frame.query("corruption == 'none'")))
    with pytest.raises(InputError, match="a heat table needs at least one corruption"):
        heat_table(only(found["summaries"], lambda frame: frame.query("kind == 'clean'")))
    with pytest.raises(InputError, match="category bars need the rows clean, mean or category"):
        category_bars(only(found["summaries"], lambda frame: frame.query("kind == 'corruption'")))


def lightness(colour):
    """CIELAB L* of a colour, which is what is left of it in grey print."""
    rgb = np.array(matplotlib.colors.to_rgb(colour))
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    y = linear @ [0.2126, 0.7152, 0.0722]
    return 116 * np.cbrt(y) - 16 if y > 0.008856 else 903.3 * y


def test_models_can_be_told_apart_in_grey_print():
    shades = [lightness(style.fill) for style in LOOKS]
    assert [round(shade) for shade in shades] == [27, 80, 52, 93, 39, 69]
    assert np.diff(sorted(shades)).min() > 10
    assert np.abs(np.diff(shades)).min() > 25
    assert len({(style.hatch, style.fill) for style in LOOKS}) == len(LOOKS) == len({s.marker for s in LOOKS})
    # Lines must stand out from white paper: a contrast of at least 3 to 1.
    assert max(lightness(style.line) for style in LOOKS) < 62
    assert look(6) == look(0)


def test_captions_are_broken_between_words():
    text = "word " * 60
    assert wrapped(text, 7).replace("\n", " ") == text.strip()
    assert wrapped("", 7) == ""


def test_drawing_leaves_pyplot_alone():
    code = (
        "import sys; import robustbench_bi.reports.figures.accuracy, robustbench_bi.reports.write; "
        "sys.exit('matplotlib.pyplot' in sys.modules or 'torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
    meta = subprocess.run([sys.executable, "-c", f"import matplotlib.pyplot; {code}"], check=False)
    assert meta.returncode == 1


def test_a_figure_can_be_drawn_into_memory(frames):
    buffer = io.BytesIO()
    figure_3(frames(1)["comparison"]).savefig(buffer, format="png")
    assert buffer.getvalue().startswith(b"\x89PNG")


def test_weak_networks_fill_their_axes_and_are_not_painted_as_if_they_differed(make_run):
    runs = [make_run(f"model_{i}", n=40, corruptions=("fog", "snow"), luck=i, skill=-7.0) for i in range(2)]
    found = summaries_frame(runs, QUICK)
    assert found.frame["top1"].max() < 15
    figure = heat_table(found)
    (image,) = figure.axes[0].images
    assert image.norm.vmax - image.norm.vmin == 20
    values = found.frame.query("kind == 'corruption'")["top1"]
    assert -image.norm.vmax <= values.min() and values.max() <= -image.norm.vmin
    words = [text.get_text() for text in figure.texts]
    assert f"top-1 {-image.norm.vmin:g} %" in words and f"{-image.norm.vmax:g} %" in words
    assert category_bars(found).axes[0].get_ylim()[1] < 100
    assert severity_curves(cells_frame(runs)).axes[0].get_ylim()[1] < 100


def test_a_header_stands_above_the_panels(frames):
    found = frames(1)["summaries"]
    figure = category_bars(found)
    figure.canvas.draw()
    (header,) = [text for text in figure.texts if text.get_text().replace("\n", " ") == found.header]
    assert header.get_window_extent().y0 > max(axes.get_tightbbox().y1 for axes in figure.axes)


def test_names_without_joints_are_broken_in_a_heat_table(frames):
    found = frames(3)["summaries"]
    found.frame["model"] = found.frame["model"].str.replace("model", "averylongnamewithoutanyjointatall")
    figure = heat_table(found)
    figure.canvas.draw()
    assert overlapping([label.get_window_extent() for label in figure.axes[0].get_xticklabels()]) == []


def test_headings_of_many_lines_leave_the_columns_their_width(frames):
    found = frames(2)["summaries"]
    long = "names_of_networks_that_people_really_use:resnet50_with_augmix_and_a_very_long_name_of_an_experiment"
    found.frame["model"] = found.frame["model"].str.replace("model", long)
    figure = heat_table(found)
    figure.canvas.draw()
    labels = figure.axes[0].get_xticklabels()
    column = figure.axes[0].get_window_extent().width / len(labels)
    assert column / figure.dpi == pytest.approx(1.25, rel=0.03)
    assert all(label.get_window_extent().width < column for label in labels)

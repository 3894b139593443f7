"""Every figure as it is printed, in one column of a paper and in two: letters, overlaps, fonts of the PDF, and grey."""

import re
import zlib

import numpy as np
import pytest
from matplotlib.text import Text
from simulated_probes import correlations, grid
from simulated_probes import simulated as errors_by_frequency

from robustbench_bi.analysis.comparison import comparison_frame
from robustbench_bi.analysis.correlations import HeatMaps, correlation_frame, heat_map_frame
from robustbench_bi.analysis.fourier import FourierErrors
from robustbench_bi.analysis.reliability import reliability_frame
from robustbench_bi.analysis.spectra import spectra_frame
from robustbench_bi.analysis.summary import cells_frame, summaries_frame
from robustbench_bi.corruptions import CORRUPTIONS, SUITES
from robustbench_bi.ground.cells import CLEAN
from robustbench_bi.metrics.intervals import Resampling
from robustbench_bi.metrics.spectra import measure_spectra
from robustbench_bi.reports import FIGURES
from robustbench_bi.reports.figures.gallery import gallery_sheet
from robustbench_bi.reports.figures.sheet import Sheet
from robustbench_bi.reports.write import write_figure

QUICK = Resampling(repeats=100)
MODELS = ("resnet50", "resnext50", "ddf_resnet50", "binet50_dc_ca")
COLUMN, PAGE = 3.3, 7.2
PRINTED = 300  # dots an inch; letters on a screen are wider
EVERY = [*FIGURES.names, "gallery"]


@pytest.fixture(scope="module")
def drawn(make_module_run):
    """drawn(name, width) -> a figure of four models, or a sheet of pictures, each drawn once."""
    paper, found, kept = SUITES["paper"].corruptions, {}, {}
    runs = [make_module_run(name, n=300, corruptions=paper, luck=i, skill=i / 4) for i, name in enumerate(MODELS)]
    found["comparison"] = comparison_frame(runs[1:], runs[0], resampling=QUICK)
    found |= {"cells": cells_frame(runs), "summaries": summaries_frame(runs, QUICK)}
    found["reliability"] = reliability_frame(runs, QUICK)
    found["fourier"] = FourierErrors(errors_by_frequency(MODELS), "n = 40 images of demo.")
    maps = HeatMaps(correlations(MODELS), grid(MODELS, pictures=1), "n = 60 images of demo.")
    found["heat_maps"] = heat_map_frame(maps, correlation_frame(maps))
    pictures = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), dtype=np.uint8)
    cells = [CLEAN, *((name, severity) for name in SUITES["noise"].corruptions for severity in (1, 5))]
    found["spectra"] = spectra_frame(measure_spectra([(cell, pictures) for cell in cells]))

    def draw(name, width):
        if (name, width) not in kept:
            sheet = Sheet(width)
            if name == "gallery":
                shown = {corruption: np.repeat(pictures[:1], 5, axis=0) for corruption in CORRUPTIONS.names[:19]}
                kept[name, width] = gallery_sheet(shown, "A photograph of 224×224 pixels.", sheet=sheet)
            else:
                kept[name, width] = FIGURES.load(name)(found[FIGURES[name].frame], sheet)
        return kept[name, width]

    return draw


def texts_of(figure, monkeypatch):
    """The texts that are drawn: ticks beyond the ends of an axis have labels too."""
    found, draw = [], Text.draw

    def note(text, renderer):
        found.append(text)
        draw(text, renderer)

    monkeypatch.setattr(Text, "draw", note)
    figure.set_dpi(PRINTED)
    figure.canvas.draw()
    monkeypatch.undo()
    return [text for text in dict.fromkeys(found) if text.get_text().strip() and text.get_visible()]


def ink(text):
    """Where the letters of a text stand: its box without the room that is kept for letters it has not."""
    return text.get_window_extent().padded(-0.12 * text.get_fontsize() / 72 * text.figure.dpi)


@pytest.mark.parametrize("width", [COLUMN, PAGE])
@pytest.mark.parametrize("name", EVERY)
def test_letters_are_large_enough_and_none_stands_on_another_or_beyond_the_edge(drawn, name, width, monkeypatch):
    figure = drawn(name, width)
    assert figure.get_figwidth() == width
    texts = texts_of(figure, monkeypatch)
    assert len(texts) > 8 and min(text.get_fontsize() for text in texts) >= 6
    upright = [text for text in texts if text.get_rotation() % 90 == 0]
    boxes = [(text.get_text(), ink(text)) for text in upright]
    assert [(a, b) for i, (a, one) in enumerate(boxes) for b, other in boxes[i + 1 :] if one.overlaps(other)] == []
    page = figure.bbox
    outside = [
        text.get_text()
        for text in texts
        if (box := ink(text)).x0 < page.x0 or box.x1 > page.x1 or box.y0 < page.y0 or box.y1 > page.y1
    ]
    assert outside == []
    assert not [text for text in texts if re.search(r"[a-z]_(noise|blur|compression|transform)", text.get_text())]


@pytest.mark.parametrize("name", EVERY)
def test_the_fonts_of_a_pdf_are_truetype(drawn, name, tmp_path):
    _, _, pdf = write_figure(drawn(name, COLUMN), tmp_path / name)
    content = pdf.read_bytes()
    streams = re.findall(rb"stream\r?\n(.*?)\r?\nendstream", content, flags=re.DOTALL)
    objects = content + b"".join(opened(stream) for stream in streams)
    kinds = set(re.findall(rb"/Subtype\s*/(Type3|Type1|TrueType|CIDFontType2|Type0)\b", objects))
    assert kinds and kinds <= {b"TrueType", b"CIDFontType2", b"Type0"}
    assert b"/FontFile2" in objects


def opened(stream):
    try:
        return zlib.decompress(stream)
    except zlib.error:
        return b""


def test_intervals_that_do_not_fit_are_said_to_be_elsewhere(drawn):
    words = [" ".join(text.get_text() for text in drawn("heat_table", width).texts) for width in (COLUMN, PAGE)]
    narrow, wide = (" ".join(text.split()) for text in words)
    assert "too narrow for the intervals; compare writes them to summaries.csv." in narrow
    assert "summaries.csv" not in wide
    assert not [text for text in drawn("heat_table", COLUMN).axes[0].texts if "[" in text.get_text()]

import itertools
import re
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from robustbench_bi.analysis.chosen_comparison import chosen_comparison
from robustbench_bi.analysis.text import format_interval
from robustbench_bi.corruptions import SUITES, in_words
from robustbench_bi.errors import DataError, InputError, RunMismatchError
from robustbench_bi.metrics.intervals import Resampling
from robustbench_bi.metrics.robustness import mean_corruption_accuracy
from robustbench_bi.reports.content import Report
from robustbench_bi.reports.page import render as report_page
from robustbench_bi.reports.page.pictures import Pictures
from robustbench_bi.reports.page.render import render_page
from robustbench_bi.reports.report import form_of, write_report
from robustbench_bi.runs.run import Run

QUICK = Resampling(repeats=100)
PAPER = SUITES["paper"].corruptions
VOID = {"meta", "link", "img", "input", "br", "hr"}


class Page(HTMLParser):
    """A page as a list of (tag, attributes, text); every tag must be closed in its turn."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.open = [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        element = (tag, dict(attributes), [])
        self.elements.append(element)
        if tag not in VOID:
            self.open.append(element)

    def handle_startendtag(self, tag, attributes):
        self.elements.append((tag, dict(attributes), []))

    def handle_endtag(self, tag):
        assert self.open and self.open[-1][0] == tag, (tag, self.getpos())
        self.open.pop()

    def handle_data(self, data):
        for _, _, text in self.open:
            text.append(data)

    def find(self, tag, **attributes):
        """Texts and attributes of the elements of a kind; class_ is the attribute class."""
        wanted = {name.rstrip("_"): value for name, value in attributes.items()}
        return [
            (" ".join("".join(text).split()), own)
            for kind, own, text in self.elements
            if kind == tag and all(own.get(name) == value for name, value in wanted.items())
        ]


@pytest.fixture(scope="module")
def several(make_module_run):
    """A report of three runs over the paper's suite."""
    gains = ({}, {"fog": 3.0, "snow": 3.0}, {"contrast": -3.0})
    runs = [
        make_module_run(f"model_{i}", n=80, corruptions=PAPER, luck=i, gains=own, runtime={"command": f"eval {i}"})
        for i, own in enumerate(gains)
    ]
    return Report(runs, QUICK)


@pytest.fixture(scope="module")
def text(several):
    return render_page(several)


@pytest.fixture(scope="module")
def page(text):
    return Page(text)


def test_the_page_is_well_formed_and_stands_alone(page, text):
    assert text.startswith("<!doctype html>")
    for _, attributes, _ in page.elements:
        for name in ("src", "href", "action", "data", "poster"):
            if name in attributes and attributes[name] is not None:
                assert attributes[name].startswith(("#", "data:")), attributes
    assert "http://" not in text and "https://" not in text
    assert not re.search(r"@import|url\(", text)
    assert len(text.encode()) < 5_000_000
    ((_, policy),) = page.find("meta", **{"http-equiv": "Content-Security-Policy"})
    assert policy["content"].startswith("default-src 'none'")


def test_the_committed_example_stands_alone():
    text = (Path(__file__).parents[2] / "reports" / "demo" / "report.html").read_text(encoding="utf-8")
    page = Page(text)
    assert len(text.encode()) < 1_500_000
    assert "http://" not in text and "https://" not in text
    assert len(page.find("img")) == 17 and len(page.find("li", class_="card")) == 4


def test_a_tag_that_is_left_open_is_found():
    with pytest.raises(AssertionError):
        Page("<p><b>bold</p>")


def test_the_page_can_be_read_by_ear(page):
    ids = [own["id"] for _, own, _ in page.elements if "id" in own]
    for tag in ("th", "svg", "label"):
        assert page.find(tag), tag
    assert page.find("div", class_="scroll")
    assert [name for name, count in Counter(ids).items() if count > 1] == []
    for _, own, _ in page.elements:
        for name in ("for", "aria-labelledby"):
            assert name not in own or own[name] in ids
        if own.get("href", "").startswith("#"):
            assert own["href"][1:] in ids
    assert [len(page.find(tag)) for tag in ("h1", "main", "header", "footer", "nav")] == [1] * 5
    levels = [int(tag[1]) for tag, _, _ in page.elements if re.fullmatch("h[1-6]", tag)]
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))
    assert len(page.find("table")) == len(page.find("caption")) > 5
    assert all(own.get("scope") in ("col", "row", "rowgroup") for _, own in page.find("th"))
    for _, own in page.find("svg"):
        assert own.get("aria-hidden") == "true" or (own.get("role") == "img" and own["aria-label"])
    assert all(own["tabindex"] == "0" and own["aria-label"] for _, own in page.find("div", class_="scroll"))


def test_the_headline_numbers_are_those_of_the_frames(several, page):
    cards = [text for text, _ in page.find("li", class_="card")]
    assert len(cards) == 3
    for card, model in zip(cards, several.models, strict=True):
        row = several.summaries.frame.query(f"model == '{model}' and kind == 'mean'").iloc[0]
        shown = format_interval(row["top1"], row["top1_low"], row["top1_high"])
        assert shown.replace(" [", " % [") in card
        assert f"change from clean{row['delta']:+.1f} [" in card
        assert f"ECE){row['expected_calibration_error']:.1f} [" in card
        assert "mean, 75 cells, n = 80 images" in card
    row = several.bars.frame.query("model == 'model_1' and name == 'mean'").iloc[0]
    assert f"from model_0{row['delta']:+.2f} [{row['delta_low']:+.2f}, {row['delta_high']:+.2f}] points" in cards[1]
    assert "baseline" in cards[0] and "mCE" not in " ".join(cards)


def rows_of(page, caption):
    """The cells of the first table whose caption begins so, by row name."""
    start = next(i for i, e in enumerate(page.elements) if e[0] == "caption" and "".join(e[2]).startswith(caption))
    rows = {}
    for tag, own, words in page.elements[start:]:
        joined = " ".join("".join(words).split())
        if tag == "table":
            break
        if tag == "th" and own["scope"] == "row":
            cells = rows.setdefault(joined, [])
        if tag == "td":
            cells.append(joined)
    return rows


def test_the_table_of_differences(several, page):
    rows = rows_of(page, "Δ top-1 in points with")
    assert list(rows) == [in_words(name) for name in several.bars.frame["name"].unique()]
    for row in several.bars.frame.itertuples():
        star = " *" if row.p_holm < 0.05 else ""
        alone, p = ("<0.001" if own < 0.001 else f"{own:.3f}" for own in (row.p_value, row.p_holm))
        shown = f"{row.delta + 0.0:+.2f} p {alone}, Holm {p}{star} [{row.delta_low:+.2f}, {row.delta_high:+.2f}]"
        assert rows[in_words(row.name)][several.models.index(row.model)].replace("-0.00", "+0.00") == shown.replace(
            "-0.00", "+0.00"
        )
        assert rows[in_words(row.name)][0] == f"{row.baseline_top1:.1f}"
    assert any(" *" in cell for cells in rows.values() for cell in cells)


def test_every_cell_is_in_a_table(several, page):
    rows = rows_of(page, "Top-1 in percent of each corruption and severity")
    assert len(rows) == 81
    for row in several.cells.frame.itertuples():
        name = "clean" if row.corruption == "none" else in_words(f"{row.corruption} severity {row.severity}")
        shown = f"{row.top1:.1f} [{row.top1_low:.1f}, {row.top1_high:.1f}]"
        assert rows[name][several.models.index(row.model)] == shown


def test_the_heat_table_is_strongest_where_top1_is_lowest(several, page):
    frame = several.summaries.frame.query("kind == 'corruption'")
    heats = [float(own["style"].removeprefix("--at:")) for _, own in page.find("td") if "style" in own]
    shown = frame.pivot(index="name", columns="model", values="top1").loc[frame["name"].unique()].to_numpy().ravel()
    assert len(heats) == len(shown) == 48
    assert np.argmax(heats) == np.argmin(shown) and heats[np.argmin(shown)] == 1
    assert heats[np.argmax(shown)] == 0
    assert np.corrcoef(heats, shown)[0, 1] == pytest.approx(-1, abs=1e-4)
    groups = [text for text, _ in page.find("th", scope="rowgroup")]
    assert groups == ["noise", "blur", "weather", "digital", "extra"]


def test_worst_drops_and_losses(several, page):
    rows = rows_of(page, "Change from clean")
    cells = several.drops.frame[::3].itertuples()
    assert list(rows) == [in_words(f"{row.corruption} severity {row.severity}") for row in cells]
    first = several.drops.frame.iloc[0]
    assert next(iter(rows.values()))[several.models.index(first["model"])].startswith(f"{first['delta']:+.1f} leaves ")
    worst = several.compared_cells.frame.nsmallest(1, "delta").iloc[0]
    losses = [(name, cells) for name, cells in rows_of(page, "Single cells").items()]
    assert losses[0][0] == worst["model"] == "model_2"
    assert losses[0][1][0] == worst["name"] and losses[0][1][1].startswith(f"{worst['delta']:+.2f} p")


def test_calibration(several, page):
    notes = [text for text, own in page.find("p", class_="note") if text.startswith(("ECE", "Pooled ECE"))]
    first = several.reliability.frame.iloc[0]
    assert len(notes) == 6
    assert notes[0] == f"ECE {first['ece']:.1f} [{first['ece_low']:.1f}, {first['ece_high']:.1f}] %, 80 images"
    assert notes[1].startswith("Pooled ECE (all cells together) ") and notes[1].endswith("80 images in 75 cells")


def test_provenance(several, page, text):
    commands = [text for text, _ in page.find("code")]
    assert commands == [f"eval {i}" for i in range(3)]
    assert page.find("dd").count(("tiny-imagenet-c", {})) == 1, "what all runs share is said once"
    for run in several.runs:
        assert run.directory.name in text
        assert run.config["fingerprint"] in text
    assert str(several.runs[0].directory.parent) not in text


def test_the_same_runs_give_the_same_bytes(several, tmp_path):
    for name in ("a.html", "b.html"):
        write_report(several.runs, tmp_path / name, resampling=QUICK)
    assert (tmp_path / "a.html").read_bytes() == (tmp_path / "b.html").read_bytes()
    write_report(several.runs[::-1], tmp_path / "c.html", resampling=QUICK)
    assert (tmp_path / "a.html").read_bytes() != (tmp_path / "c.html").read_bytes()


def test_a_single_run_has_no_comparison(several, tmp_path):
    made = write_report(several.runs[:1], tmp_path / "one.html", resampling=QUICK)
    assert made.bars is None
    page = Page((tmp_path / "one.html").read_text(encoding="utf-8"))
    assert not page.find("section", id="baseline") and not page.find("input") and not page.find("label")
    assert len(page.find("section")) == 9


def test_chosen_metrics_of_two_networks_are_those_of_each_and_the_baseline(several):
    report = Report(several.runs, QUICK, metrics=["kappa", "flip_rate"])
    rows = rows_of(Page(render_page(report)), "Chosen with --metrics")
    found = chosen_comparison(several.runs[1:], several.runs[0], ["kappa"], QUICK).frame
    expected = []
    for name, own in found.groupby("name", sort=False):
        cells = [f"{row.value:.3f} [{row.value_low:.3f}, {row.value_high:.3f}]" for row in own.itertuples()]
        expected += [name, "–", *cells]
    assert rows["error consistency κ with model_0"] == expected and len(expected) == 8
    assert len(rows) == 2
    with pytest.raises(InputError, match="compares two networks"):
        render_page(Report(several.runs[:1], QUICK, metrics=["kappa"]))
    with pytest.raises(InputError, match="only HTML reports show further metrics, got latex"):
        write_report(several.runs, Path("tables.tex"), resampling=QUICK, metrics=["kappa"])


def test_names_cannot_break_the_page(make_run):
    runs = [
        make_run("<script>alert(1)</script>", n=30, corruptions=("fog",)),
        make_run("b&c", n=30, corruptions=("fog",)),
    ]
    page = Page(render_page(Report(runs, QUICK)))
    assert len(page.find("script")) == 1
    assert page.find("h3")[0][0] == "<script>alert(1)</script>"


def test_what_could_not_be_compared_stands_first(make_run):
    runs = [
        make_run("a", n=30, corruptions=("fog", "snow")),
        make_run("b", n=30, corruptions=("fog",), precision="bf16", clean=False),
    ]
    text = render_page(Report(runs, QUICK))
    notice = Page(text).find("div", role="note")[0][0]
    assert "precision of b is bf16, of a fp32" in notice and "6 cells are only in a" in notice
    assert text.index("Read with care") < text.index('id="headline"')


def test_runs_without_clean_or_benchmark_corruptions(make_run):
    page = Page(render_page(Report([make_run("a", n=30, corruptions=("spatter",), clean=False)], QUICK)))
    assert not page.find("section", id="drops")
    assert "spatter, 5 cells" in page.find("li", class_="card")[0][0]


def test_mce_keeps_its_qualified_name(make_run, imagenet):
    run = make_run("a", n=30, **imagenet)
    text = render_page(Report([run], QUICK))
    assert "mCE* (n=30)" in text
    assert re.search(r"<dt>mCE\* \(n=30\)</dt><dd>[\d.]+ \[[\d.]+, [\d.]+\] %</dd>", text)
    error = 100 - mean_corruption_accuracy(run.cells())
    assert re.search(rf"<dt>mean error</dt><dd>{error:.2f} \[[\d.]+, [\d.]+\] %</dd>", text)


def test_pictures_and_answers(several):
    def grey(run, image_ids, cells):
        images = {cell: np.full((len(image_ids), 40, 40, 3), 50 * cell[1], np.uint8) for cell in cells}
        return Pictures(tuple("abcdefghij"), images)

    page = Page(render_page(several, grey))
    images = page.find("img")
    assert len(images) == 17
    assert all(own["alt"] and own["src"].startswith("data:image/png;base64,") for _, own in images)
    answers = [text for text, _ in page.find("li") if text.startswith(("✓", "✗"))]
    assert len(answers) == 17 * 3
    assert re.fullmatch(r"[✓✗] model_0 is (right|wrong): [a-j] \d+ %", answers[0])
    assert len(page.find("h3")) == 3 + 1 + 1 + 1 + 3


def test_a_page_without_the_pictures_that_were_asked_for_is_not_made(several):
    def gone(run, image_ids, cells):
        raise DataError("photos no longer holds the same images")

    with pytest.raises(DataError, match=r"cannot show images: photos no longer .*; leave out --pictures"):
        render_page(several, gone)


def test_bad_runs_are_refused(make_run, tmp_path):
    runs = [make_run("a", n=30, corruptions=("fog",)), make_run("b", n=31, corruptions=("fog",), listing_hash="b" * 64)]
    out = tmp_path / "report.html"
    with pytest.raises(RunMismatchError, match=r"b was made on 31 images of the demo set, a on 30; evaluate"):
        write_report(runs, out)
    with pytest.raises(RunMismatchError, match="is not finished: 6 of 6 cell-blocks are missing"):
        write_report([Run(runs[0].directory)], out)
    with pytest.raises(InputError, match="a report needs at least one run, got none"):
        write_report([], out)
    with pytest.raises(
        InputError, match=r"the name of a report must end in \.html, \.htm, \.md, \.tex, got .*report\.pdf"
    ):
        write_report(runs[:1], tmp_path / "report.pdf")
    with pytest.raises(InputError, match="only HTML reports hold images, got markdown"):
        write_report(runs[:1], tmp_path / "report.md", open_pictures=lambda *_: None)
    assert not out.exists()


def test_a_form_may_be_chosen_against_the_suffix(several, tmp_path):
    write_report(several.runs, tmp_path / "table.txt", form="latex", resampling=QUICK)
    assert "\\toprule" in (tmp_path / "table.txt").read_text(encoding="utf-8")
    assert form_of(Path("A.HTML")) == "html"


def contrast(first, second):
    """The contrast ratio of WCAG 2 between two hexadecimal colours."""
    luminances = []
    for colour in (first, second):
        digits = colour.lstrip("#")
        digits = digits if len(digits) == 6 else "".join(2 * digit for digit in digits)
        rgb = np.array([int(digits[i : i + 2], 16) for i in (0, 2, 4)]) / 255
        luminances.append(
            np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4) @ [0.2126, 0.7152, 0.0722]
        )
    return (max(luminances) + 0.05) / (min(luminances) + 0.05)


def test_colours_can_be_told_from_the_page_in_light_and_dark():
    template = (Path(report_page.__file__).parent / "report.html.jinja").read_text(encoding="utf-8")
    schemes = [
        dict(re.findall(r"--([\w-]+): (#\w+);", block)) for block in re.findall(r":root \{(.*?)\}", template, re.S)
    ]
    assert len(schemes) == 2
    for scheme in schemes:
        for text in ("ink", "muted", "link"):
            for ground in ("paper", "raised"):
                assert contrast(scheme[text], scheme[ground]) >= 4.5, (text, ground)
        for number in range(6):
            assert contrast(scheme[f"line-{number}"], scheme["paper"]) >= 3, number


def test_snow_eases_only_where_it_does(make_run):
    """Harder at 2 than at 3 is a fact of ImageNet-C's constants, and of no other table."""
    pages = [
        render_page(Report([make_run("a", n=30, corruptions=names, severities=(2, 3), table=table)], QUICK))
        for names, table in ((("snow",), "imagenet-c"), (("snow",), "tiny-imagenet-c"), (("fog",), "imagenet-c"))
    ]
    assert ["snow is harder at 2 than at 3" in page for page in pages] == [True, False, False]
    assert all("It need not fall with severity" in page for page in pages)

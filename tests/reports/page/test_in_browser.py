"""The report page in a real browser."""

import base64

import pytest
from chromium import needs_chromium

from robustbench_bi.corruptions import SUITES
from robustbench_bi.metrics.intervals import Resampling
from robustbench_bi.reports.report import write_report

pytestmark = needs_chromium


@pytest.fixture(scope="module")
def path(make_module_run, tmp_path_factory):
    """A report of three runs, one with a name that fits on no telephone."""
    names = ("resnet50", "timm:convnextv2_huge.fcmae_ft_in22k_in1k_384", "binet50")
    runs = [
        make_module_run(name, n=60, corruptions=SUITES["paper"].corruptions, luck=i) for i, name in enumerate(names)
    ]
    out = tmp_path_factory.mktemp("page") / "report.html"
    write_report(runs, out, resampling=Resampling(repeats=100))
    return out


OVERFLOW = """[...document.querySelectorAll("body *")].filter(element =>
  !element.closest(".scroll, pre, .skip, .hidden") && element.getBoundingClientRect().right > innerWidth + 1)
  .map(element => element.outerHTML.slice(0, 80))"""


@pytest.mark.parametrize("width", [320, 375, 768, 1280])
def test_nothing_is_wider_than_the_screen(browser, path, width):
    browser.show(path, width)
    assert browser.ask("innerWidth") == width
    assert browser.ask(OVERFLOW) == []
    assert browser.ask("document.documentElement.scrollWidth") <= width


def test_what_is_too_wide_is_found(browser, path, tmp_path):
    wide = tmp_path / "wide.html"
    wide.write_text(path.read_text(encoding="utf-8").replace("<main", "<p style='width:500px'>wide</p><main"))
    browser.show(wide, 375)
    assert len(browser.ask(OVERFLOW)) == 1


def test_nothing_is_asked_of_the_network(browser, path):
    assert browser.show(path) == [path.as_uri()]


def test_letters_are_large_enough(browser, path):
    for width in (375, 1280):
        browser.show(path, width)
        sizes = browser.ask(
            """[...document.querySelectorAll("svg.chart text:not([transform])")].map(text =>
               parseFloat(getComputedStyle(text).fontSize) * text.ownerSVGElement.getScreenCTM().a)"""
        )
        assert len(sizes) > 200
        assert min(sizes) >= 9 and max(sizes) <= 17, width


def test_dark_mode_is_dark_and_print_is_light(browser, path):
    browser.show(path, scheme="light")
    assert browser.picture().mean() > 200
    browser.show(path, scheme="dark")
    assert browser.picture().mean() < 60
    browser.show(path, scheme="dark", media="print")
    assert browser.picture().mean() > 200
    assert browser.ask("getComputedStyle(document.querySelector('nav')).display") == "none"


def test_a_model_can_be_hidden_in_all_charts(browser, path):
    shown = "[...document.querySelectorAll('svg.chart .of-2')].filter(mark => mark.getClientRects().length).length"
    browser.show(path)
    before = browser.ask(shown)
    browser.ask("document.querySelector('.legend label[for=show-2]').click()")
    assert before > 30
    assert browser.ask(shown) == 0
    browser.ask("document.querySelector('#show-2').click()")
    assert browser.ask(shown) == before


def test_a_heading_sorts_its_column_and_at_last_restores_the_order(browser, path):
    browser.show(path)
    browser.ask("table = document.querySelector('#severity table'); table.closest('details').open = true")
    names = "[...table.tBodies[0].rows].map(row => row.cells[0].textContent)"
    values = "[...table.tBodies[0].rows].map(row => parseFloat(row.cells[1].textContent))"
    click = "table.tHead.rows[0].cells[1].querySelector('button').click()"
    before = browser.ask(names)
    browser.ask(click)
    rising = browser.ask(values)
    assert rising == sorted(rising) and rising[0] < rising[-1]
    assert browser.ask("table.tHead.rows[0].cells[1].ariaSort") == "ascending"
    browser.ask(click)
    assert browser.ask(values) == rising[::-1]
    browser.ask(click)
    assert browser.ask(names) == before


def test_the_page_can_be_read_without_scripts(browser, path):
    browser.show(path, scripts=False)
    tree = browser.call("Accessibility.getFullAXTree")["nodes"]
    roles = [node["role"]["value"] for node in tree if not node["ignored"]]
    names = [node.get("name", {}).get("value", "") for node in tree if not node["ignored"]]
    assert {"main", "banner", "navigation", "contentinfo"} <= set(roles)
    assert roles.count("table") >= 5 and roles.count("rowheader") > 50
    assert any(name.startswith("Top-1 in percent under fog") for name in names)
    assert [name for role, name in zip(roles, names, strict=True) if role == "checkbox"] == [
        "Show resnet50 in the charts",
        "Show timm:convnextv2_huge.fcmae_ft_in22k_in1k_384 in the charts",
        "Show binet50 in the charts",
    ]


def test_every_stop_of_the_keyboard_is_seen(browser, path):
    browser.show(path)
    stops = []
    for _ in range(16):
        browser.call("Input.dispatchKeyEvent", type="keyDown", key="Tab", code="Tab", windowsVirtualKeyCode=9)
        stops.append(
            browser.ask("[document.activeElement.tagName, getComputedStyle(document.activeElement).outlineStyle]")
        )
    assert {tag for tag, _ in stops} >= {"A", "INPUT", "DIV", "BUTTON"}
    assert {outline for _, outline in stops} <= {"solid", "auto"}


def test_the_page_prints(browser, path):
    browser.show(path)
    pages = base64.b64decode(browser.call("Page.printToPDF", paperWidth=8.27, paperHeight=11.69)["data"])
    assert pages.startswith(b"%PDF")
    assert 3 <= pages.count(b"/Type /Page\n") + pages.count(b"/Type /Page ") <= 15

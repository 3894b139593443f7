"""The page in a real browser, by use: what is clicked, chosen, typed and pressed, and what then stands there."""

from pathlib import Path

import numpy as np
import pytest
from chromium import needs_chromium
from PIL import Image

from robustbench_bi.data import open_data
from robustbench_bi.errors import DataError
from robustbench_bi.reports.view import answers
from robustbench_bi.reports.view.album import open_album
from robustbench_bi.reports.view.choices import chosen, query_of
from robustbench_bi.reports.view.folder import write_folder

pytestmark = needs_chromium

FOG = {"corruption": "fog", "severity": "3"}
READY = "document.getElementById('view')?.ariaBusy === 'false'"
IDS = (
    "[...document.querySelectorAll('.grid a.pair')].map(a => Number(new URLSearchParams(a.hash.slice(1)).get('image')))"
)
STATUS = "document.getElementById('status').textContent"
LOADED = "[...document.images].length > 0 && [...document.images].every(i => i.loading === 'lazy' || i.naturalWidth)"


@pytest.fixture(scope="module")
def live(album, serve):
    with serve(album) as server:
        yield server.address


@pytest.fixture(scope="module")
def folder(album, tmp_path_factory):
    page, _ = write_folder(album, tmp_path_factory.mktemp("folder"), 30)
    return page.as_uri()


@pytest.fixture(params=["live", "folder"])
def address(request):
    """The page from the server, and from a folder that holds all thirty images: both must behave alike."""
    return request.getfixturevalue(request.param)


@pytest.fixture
def opened(browser):
    """opened(address, hash, …) -> the browser with that page in it, fresh."""

    def show(address, anchor="", **options):
        browser.show("about:blank")
        asked = browser.show(f"{address}{anchor}", **options)
        browser.wait(READY)
        return asked

    return show


def choose(browser, name, value):
    """Choose an option, or type a text, as a user does: the control changes and says so."""
    browser.ask(
        f"(() => {{ const control = document.getElementById('choices').elements['{name}']; control.value = '{value}';"
        "control.dispatchEvent(new Event('input', { bubbles: true })); })()"
    )
    browser.wait(READY)


def severity(browser, number):
    browser.ask(f"document.querySelector('#severities input[value=\"{number}\"]').click()")
    browser.wait(READY)


def expected(album, **asked):
    return album.image_ids[chosen(album, query_of(album, FOG | asked))].tolist()


def settle(browser, ids):
    """Wait until the grid holds these images; of more than a page, those of the first."""
    browser.wait(f"JSON.stringify({IDS}) === '{str(ids[:24]).replace(' ', '')}'")


def test_choices_change_what_is_shown(browser, opened, address, album):
    opened(address)
    settle(browser, expected(album, corruption="gaussian_noise", show="right-to-wrong"))
    choose(browser, "corruption", "fog")
    settle(browser, expected(album, show="right-to-wrong"))
    severity(browser, 5)
    settle(browser, expected(album, severity="5", show="right-to-wrong"))
    choose(browser, "show", "wrong")
    choose(browser, "sort", "wrong-confidence")
    settle(browser, expected(album, severity="5", show="wrong", sort="wrong-confidence"))
    choose(browser, "model", 1)
    wrong = expected(album, severity="5", show="wrong", sort="wrong-confidence", model="1")
    settle(browser, wrong)
    assert browser.ask(STATUS).startswith(f"{len(wrong)} images of 30")


@pytest.mark.parametrize("show", ["only-first", "only-beside", "differ"])
def test_two_models_stand_side_by_side(browser, opened, address, album, show):
    opened(address, "#corruption=fog&show=all")
    assert (
        browser.ask(f"[...document.querySelectorAll('select[name=show] option')].some(o => o.value === '{show}')")
        is False
    )
    choose(browser, "beside", 1)
    choose(browser, "show", show)
    settle(browser, expected(album, show=show, beside="1"))
    names = "[...document.querySelector('.card').querySelectorAll('.model')].map(e => e.textContent)"
    assert browser.ask(names) == ["resnet50", "binet50"]


def test_class_answer_and_name_narrow_down(browser, opened, address, album):
    opened(address, "#corruption=fog&show=all&sort=disagreement")
    settle(browser, expected(album, sort="disagreement"))
    choose(browser, "label", 4)
    settle(browser, expected(album, sort="disagreement", label="4"))
    choose(browser, "label", "")
    choose(browser, "answer", 2)
    settle(browser, expected(album, sort="disagreement", answer="2"))
    choose(browser, "answer", "")
    browser.press("/")
    assert browser.ask("document.activeElement.name") == "name"
    for letter in "RING":
        browser.press(letter)
    settle(browser, expected(album, sort="disagreement", name="ring"))
    browser.ask("history.back()")
    browser.wait("document.querySelector('[name=answer]').value === '2'")


def test_pages_are_turned(browser, opened, address, album):
    opened(address, "#corruption=fog&show=all")
    loss = expected(album)
    settle(browser, loss)
    browser.ask("document.getElementById('page-next').click()")
    settle(browser, loss[24:])
    browser.press("p")
    settle(browser, loss)
    browser.press("n")
    settle(browser, loss[24:])


def test_a_picture_has_a_page_of_its_own(browser, opened, address, album):
    opened(address, "#corruption=fog&show=all")
    first, second = expected(album)[:2]
    browser.ask("document.querySelector('.grid a.pair').click()")
    browser.wait("document.querySelectorAll('ol.strip > li').length === 4")
    captions = "[...document.querySelectorAll('ol.strip figcaption')].map(e => e.textContent)"
    assert browser.ask(captions) == ["clean", "severity 1", "severity 3", "severity 5"]
    assert browser.ask("document.querySelector('h2').textContent") == album.names[first]
    rows = browser.ask(
        "[...document.querySelectorAll('main table tbody tr')].map(r => [...r.cells].map(c => c.textContent))"
    )
    assert [row[0] for row in rows] == ["resnet50", "binet50"] * 4
    columns = album.columns[1].cell(("fog", 5))
    model, cell, answer, confidence, _, _, loss, file, row = rows[-1]
    assert (model, cell) == ("binet50", "fog, severity 5")
    assert answer.endswith(album.class_names[columns.prediction[first]])
    assert confidence == f"{100 * columns.confidence[first]:.1f}\u00a0%"
    assert loss == f"{columns.loss[first]:.3f}"
    place = album.columns[1].place(("fog", 5), first)
    assert (file, row) == (f"{album.runs[1].directory.name}/{place.file}", str(place.row))
    browser.press("ArrowRight", 39)
    browser.wait(f"document.querySelector('h2').textContent === '{album.names[second]}'")
    choose(browser, "corruption", "gaussian_noise")
    browser.wait("document.querySelector('main table td').textContent === 'clean'")
    browser.wait("document.querySelector('main table tbody').lastChild.cells[1].textContent.startsWith('Gaussian')")
    browser.press("Escape", 27)
    browser.wait("document.querySelectorAll('.grid').length === 1")


def test_the_keyboard_reaches_every_picture_and_comes_back_to_it(browser, opened, address, album):
    opened(address, "#corruption=fog&show=all")
    loss = expected(album)
    settle(browser, loss)
    focused = "Number(new URLSearchParams(document.activeElement.hash?.slice(1)).get('image'))"
    browser.press("ArrowDown", 40)
    assert browser.ask(focused) == loss[0]
    browser.press("ArrowRight", 39)
    assert browser.ask(focused) == loss[1]
    across = browser.ask("getComputedStyle(document.querySelector('.grid')).gridTemplateColumns.split(' ').length")
    browser.press("ArrowDown", 40)
    assert browser.ask(focused) == loss[1 + across]
    browser.press("Enter", 13)
    browser.wait(f"document.querySelector('h2')?.textContent === '{album.names[loss[1 + across]]}'")
    browser.press("Escape", 27)
    browser.wait(f"{focused} === {loss[1 + across]}")
    browser.press("5")
    settle(browser, expected(album, severity="5"))
    browser.press("0")
    browser.wait(f"{STATUS}.startsWith('30') && document.querySelector('[name=corruption]').value === 'none'")


def test_mistakes_are_a_table_whose_counts_lead_to_their_pictures(browser, opened, address, album):
    opened(address, "#corruption=fog&show=all")
    browser.ask("document.getElementById('to-mistakes').click()")
    browser.wait("document.querySelectorAll('table.mistakes').length === 1")
    columns = album.columns[0].cell(("fog", 3))
    wrong = int((~columns.right).sum())
    assert f"resnet50: {wrong} wrong answers of 30" in browser.ask(STATUS)
    link = "document.querySelector('table.mistakes td a')"
    count = int(browser.ask(f"{link}.textContent"))
    browser.ask(f"{link}.click()")
    browser.wait(f"document.querySelectorAll('.grid a.pair').length === {count}")
    state = browser.ask("[...new URLSearchParams(location.hash.slice(1))]")
    label, answer = (int(dict(state)[name]) for name in ("label", "answer"))
    assert count == int((~columns.right & (album.labels == label) & (columns.prediction == answer)).sum())
    browser.ask("history.back()")
    browser.wait("document.querySelectorAll('table.mistakes').length === 1")
    pair = "document.querySelector('.pairs a')"
    most = int(browser.ask(f"{pair}.textContent.split(' ')[0]"))
    browser.ask(f"{pair}.click()")
    browser.wait(f"{STATUS}.startsWith('{most} ') && document.querySelectorAll('.grid a.pair').length === {most}")
    browser.ask("history.back()")
    browser.wait("document.querySelectorAll('table.mistakes').length === 1")
    choose(browser, "beside", 1)
    severity(browser, 0)
    browser.wait("document.querySelectorAll('table.mistakes').length === 2")
    browser.wait(f"{STATUS}.startsWith('fog, all severities. resnet50')")
    assert browser.ask("document.querySelectorAll('table.mistakes a, .pairs a').length") == 0


def test_of_many_classes_a_list_stands_where_the_table_would_be_nearly_empty(browser, opened, live, album, monkeypatch):
    monkeypatch.setattr(answers, "SHOWN_CLASSES", 1)
    opened(live, "#view=mistakes&corruption=fog")
    browser.wait("document.querySelectorAll('table.lists tbody tr').length === 1")
    first = answers.mistakes(album, 0, [("fog", 3)])["lists"][0]
    row = browser.ask("[...document.querySelectorAll('table.lists tbody tr > *')].map(cell => cell.textContent)")
    assert row[:3] == [album.class_names[first["label"]], str(first["wrong"]), str(first["right"])]
    answer, count = first["answers"][0]
    assert row[3].startswith(f"{album.class_names[answer]} {count}")
    browser.ask("document.querySelector('table.lists td a').click()")
    browser.wait(f"{STATUS}.startsWith('{count} ') && document.querySelectorAll('.grid a.pair').length === {count}")


def test_pictures_on_the_screen_are_those_of_the_run(browser, opened, address, album):
    opened(address, "#corruption=fog&show=all&image=7")
    browser.wait(LOADED)
    pixels = browser.ask(
        """(() => {
          const image = document.querySelectorAll('ol.strip img')[2], canvas = document.createElement('canvas');
          [canvas.width, canvas.height] = [image.naturalWidth, image.naturalHeight];
          const context = canvas.getContext('2d');
          context.drawImage(image, 0, 0);
          try { return [...context.getImageData(0, 0, canvas.width, canvas.height).data]; }
          catch { return image.src; }
        })()"""
    )
    if isinstance(pixels, str):  # a page from a file may not look into its pictures
        found = np.asarray(Image.open(Path(pixels.removeprefix("file://"))))
    else:
        found = np.array(pixels, dtype=np.uint8).reshape(64, 64, 4)[:, :, :3]
    assert (found == album.pictures.picture(0, 7, ("fog", 3))).all()


def test_nothing_is_asked_of_another_machine_and_nothing_is_refused(browser, opened, address):
    browser.call("Log.enable")
    browser.call("Runtime.enable")
    asked = opened(address, "#corruption=fog&show=all&beside=1")
    browser.wait(LOADED)
    base = address.rpartition("/")[0]
    assert asked and all(url.startswith(base) for url in [*asked, *browser.asked()])
    said = [one["params"] for one in browser.seen if one.get("method") in ("Log.entryAdded", "Runtime.exceptionThrown")]
    assert said == []


OVERFLOW = """[...document.querySelectorAll("body *")].filter(element =>
  !element.closest(".scroll, .skip, .hidden, #severities") && element.getBoundingClientRect().right > innerWidth + 1)
  .map(element => element.outerHTML.slice(0, 80))"""


@pytest.mark.parametrize("anchor", ["#show=all&beside=1", "#corruption=fog&image=7", "#view=mistakes&corruption=fog"])
@pytest.mark.parametrize("width", [320, 1280])
def test_nothing_is_wider_than_the_screen(browser, opened, live, width, anchor):
    opened(live, anchor, width=width)
    assert browser.ask(OVERFLOW) == []
    assert browser.ask("document.documentElement.scrollWidth") <= width
    # A table may be wider, in a region that scrolls; what it says of itself may not.
    captions = "[...document.querySelectorAll('caption span')].map(e => e.getBoundingClientRect().right)"
    assert all(right <= width for right in browser.ask(captions))


def test_who_sorts_by_loss_sees_the_loss(browser, opened, address, album):
    opened(address, "#corruption=fog&show=all&beside=1")
    shown = "[...document.querySelectorAll('.card .loss')].map(e => e.textContent)"
    losses = np.sort(album.columns[0].cell(("fog", 3)).loss)[::-1][:24]
    assert browser.ask(shown) == [f"loss {loss:.2f}" for loss in losses]
    choose(browser, "sort", "data")
    browser.wait(f"{shown}.length === 0")


def test_what_was_counted_before_is_not_said_of_a_new_choice(browser, opened, address):
    opened(address, "#corruption=fog&show=all")
    browser.ask("source.grid = () => new Promise(() => {})")
    said = """(() => {
      const control = document.getElementById('choices').elements.show;
      control.value = 'wrong';
      control.dispatchEvent(new Event('input', { bubbles: true }));
      return [document.getElementById('status').textContent, document.getElementById('status').ariaBusy];
    })()"""
    assert browser.ask(said) == ["Loading…", "true"]


def test_answers_of_two_models_are_parted_by_their_names_alone(browser, opened, live):
    opened(live, "#corruption=fog&show=all&beside=1")
    after = "getComputedStyle(document.querySelector('.card .answers li'), '::after').content"
    assert browser.ask(after) == "none"


def test_it_is_dark_where_the_screen_is(browser, opened, live):
    for scheme, between in (("light", (190, 256)), ("dark", (0, 90))):
        opened(live, "#view=mistakes", scheme=scheme)
        assert between[0] < browser.picture().mean() < between[1]


def test_a_screen_reader_is_told_what_stands_there(browser, opened, address, album):
    opened(address, "#corruption=fog&show=right-to-wrong")
    tree = [node for node in browser.call("Accessibility.getFullAXTree")["nodes"] if not node["ignored"]]
    named = [(node["role"]["value"], node.get("name", {}).get("value", "")) for node in tree]
    roles = {role for role, _ in named}
    assert {"main", "banner", "navigation", "contentinfo", "form", "status", "list", "combobox", "radio"} <= roles
    controls = {name for role, name in named if role in ("combobox", "searchbox", "radio")}
    assert controls == {
        "Model", "Compare with", "Corruption", "Show", "Order", "Class", "Answer", "Name contains", "1", "3", "5",
    }  # fmt: skip
    first = expected(album, show="right-to-wrong")[0]
    image = f"{album.names[first]}, {album.class_names[album.labels[first]]}"
    assert ("image", f"{image}, clean") in named and ("image", f"{image}, fog, severity 3") in named
    read = "".join(name for role, name in named if role == "StaticText")
    assert "right:" in read and ", then" in read and "wrong:" in read


def test_every_stop_of_the_keyboard_is_seen(browser, opened, live):
    opened(live, "#corruption=fog&show=all")
    stops = set()
    for _ in range(20):
        browser.press("Tab", 9)
        browser.wait("document.activeElement !== document.body")
        stops.add(
            tuple(
                browser.ask(
                    """(() => {
                      const stop = document.activeElement, seen = stop.type === 'radio' ? stop.nextSibling : stop;
                      return [stop.tagName, getComputedStyle(seen).outlineStyle];
                    })()"""
                )
            )
        )
    assert {tag for tag, _ in stops} >= {"A", "SELECT", "INPUT"}
    assert {outline for _, outline in stops} <= {"solid", "auto"}


def test_why_a_picture_is_not_shown_stands_in_its_place(browser, opened, live, album, monkeypatch):
    def broken(*_):
        raise DataError("cannot read image <b>0.png: not an image")

    monkeypatch.setattr(album.pictures, "png", broken)
    opened(live, "#corruption=fog&image=11")
    browser.wait("document.querySelectorAll('ol.strip .absent').length === 4")
    browser.wait("document.querySelector('.absent').textContent.includes('cannot read image <b>0.png: not an image')")
    monkeypatch.setattr(album.pictures, "refusal", "its licence")
    opened(live, "#corruption=fog&image=12")
    assert browser.ask("document.querySelectorAll('main img').length") == 0
    assert "No images: its licence." in browser.ask("document.getElementById('notes').textContent")


def test_names_are_text(browser, opened, photos, write_run, make_config, serve, tmp_path):
    """Of models, classes and files, with markup in them and with what would end a script."""
    dataset = open_data(photos)
    config = make_config(
        n=6, data="folder", source=str(photos), listing_hash=dataset.listing_hash, num_classes=3, corruptions=("fog",),
        severities=(3,), name="<u>net</u></script><script>window.bad = 1</script>", device="cpu",
    )  # fmt: skip
    columns = {
        "image_id": dataset.image_ids, "label": dataset.labels, "prediction": (dataset.labels + 1) % 3,
        "rank": np.ones(6), "confidence": np.ones(6), "loss": np.ones(6),
    }  # fmt: skip
    album = open_album([write_run(tmp_path / "run", config, dict.fromkeys(config.cells, columns))])
    page, _ = write_folder(album, tmp_path / "folder", 6)
    with serve(album) as server:
        for address in (server.address, page.as_uri()):
            for anchor, name in (("#show=all", "<b>0.png"), ("#image=0", "<b>0.png"), ("#view=mistakes", "<i>elk")):
                opened(address, anchor)
                assert name in browser.ask("document.body.innerText")
                assert browser.ask("document.querySelectorAll('main b, main i, u').length") == 0
                assert browser.ask("typeof window.bad") == "undefined"
                assert "<u>net</u></script>" in browser.ask("document.querySelector('.models').textContent")

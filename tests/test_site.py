"""What the documentation site is made of; `make site` builds it, with warnings as errors."""

import ast
from pathlib import Path

import yaml

ROOT = Path(__file__).parent.parent
MADE = {"index.md", "gallery.md", "reference.md"}


def pages_of(entry):
    """The pages below an entry of the navigation."""
    if isinstance(entry, str):
        return [entry]
    below = entry.values() if isinstance(entry, dict) else entry
    return [page for part in below for page in pages_of(part)]


def test_the_navigation_names_every_page_once():
    settings = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
    pages = pages_of(settings["nav"])
    assert len(pages) == len(set(pages))
    assert set(pages) - MADE == {path.name for path in (ROOT / "docs").glob("*.md")}
    assert settings["strict"] is True and settings["theme"]["font"] is False


def test_no_script_of_the_site_comes_from_another_machine():
    # Without this line, the plugin that lets the search work from a folder asks unpkg.com for its script.
    settings = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
    (script,) = [path for path in settings["extra"]["polyfills"] if "iframe-worker" in path]
    assert "offline" in settings["plugins"] and (ROOT / "docs" / script).is_file()


def test_what_the_gallery_shows_is_there():
    tree = ast.parse((ROOT / "docs" / "site_pages.py").read_text(encoding="utf-8"))
    shown = {
        node.targets[0].id: ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign) and node.targets[0].id in ("GALLERY", "PAGES")
    }
    paths = [ROOT / "reports" / path for rows in shown.values() for path, *_ in rows]
    assert len(paths) > 8 and all(path.is_file() for path in paths)

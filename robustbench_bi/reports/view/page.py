"""The page as one text: its style sheet and scripts stand in it, and nothing else may run there."""

from __future__ import annotations

import base64
import hashlib
import json
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

PARTS = Path(__file__).parent / "page"
SCRIPTS = ("elements.js", "sources.js", "state.js", "grid.js", "picture.js", "mistakes.js", "start.js", "keys.js")
STYLE = "view.css"


@cache
def policy(*sources: str) -> str:
    """The content security policy of the page: its own style and scripts by their hashes, and pictures.

    Args:
        sources: of pictures, and of what scripts may ask, such as "'self'".
    """
    own = " ".join(sources)
    scripts = " ".join(_hash(_part(name)) for name in SCRIPTS)
    return (
        f"default-src 'none'; script-src {scripts}; style-src {_hash(_part(STYLE))}; img-src data: {own}; "
        f"connect-src {own}; base-uri 'none'; form-action 'none'"
    )


def render(data: dict[str, Any], content_policy: str = "") -> str:
    """The page.

    Args:
        data: what it begins with, or all that it can ever show; see `sources.js`.
        content_policy: where no server sends one with it.
    """
    import jinja2
    from markupsafe import Markup

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(PARTS),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        undefined=jinja2.StrictUndefined,
    )
    return environment.get_template("index.html.jinja").render(
        title=", ".join(model["name"] for model in data["about"]["models"]),
        policy=content_policy,
        style=Markup(_part(STYLE)),
        scripts=[Markup(_part(name)) for name in SCRIPTS],
        data=Markup(_as_script(data)),
        version=version("bivo-robust"),
    )


def _as_script(data: dict[str, Any]) -> str:
    """JSON in which no text can end the element that it stands in."""
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


@cache
def _part(name: str) -> str:
    return f"\n{(PARTS / name).read_text(encoding='utf-8')}"


def _hash(text: str) -> str:
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
    return f"'sha256-{digest}'"

"""The forms of a report, and how the name of its file tells which."""

from pathlib import Path
from typing import Literal, get_args

from robustbench_bi.errors import InputError

Form = Literal["html", "markdown", "latex"]
FORMS: tuple[Form, ...] = get_args(Form)
_SUFFIXES: dict[str, Form] = {".html": "html", ".htm": "html", ".md": "markdown", ".tex": "latex"}


def form_of(out: Path) -> Form:
    """The form of a report by the suffix of its file.

    Raises:
        InputError: the suffix says nothing.

    Example:
        >>> form_of(Path("report.md"))
        'markdown'
    """
    if out.suffix.lower() not in _SUFFIXES:
        raise InputError(
            f"the name of a report must end in {', '.join(_SUFFIXES)}, got {out}; or choose a format with --format"
        )
    return _SUFFIXES[out.suffix.lower()]

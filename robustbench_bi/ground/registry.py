"""Tables of named rows. A row names its code as "module:function", which is imported when it is first used.

So a table can be listed without importing torch, and a typo is answered with a suggestion.

Example:
    >>> from dataclasses import dataclass
    >>> @dataclass(frozen=True)
    ... class Row:
    ...     name: str
    ...     code: str
    >>> shapes = Table("shape", [Row("circle", "math:sqrt"), Row("square", "math:pow")], aliases={"disk": "circle"})
    >>> shapes["disk"].name
    'circle'
    >>> shapes.load("square")(2.0, 3.0)
    8.0
    >>> shapes["cirle"]
    Traceback (most recent call last):
    ...
    robustbench_bi.errors.UnknownNameError: unknown shape 'cirle'. Did you mean 'circle'?
"""

import importlib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Any, Generic, Protocol, TypeVar

from robustbench_bi.errors import UnknownNameError

LISTED = 30
"""Names in a message, at most, where no command shows them."""
FEW = 12
"""Names in a message, at most, where a command shows them."""
SHOWN_BY = {
    "metric": "list metrics",
    "corruption": "list corruptions",
    "suite or corruption": "list suites",
    "model": "list models",
    "data source": "list data",
}
"""Of long tables, by what a row is: the command that shows it."""


class Named(Protocol):
    """What a row must have: its name and its code, "module:function"."""

    @property
    def name(self) -> str:
        """Unique name, as users type it."""

    @property
    def code(self) -> str:
        """Where the code is, "module:function"."""


Row = TypeVar("Row", bound=Named)


class Table(Generic[Row]):
    """An ordered, frozen collection of rows with unique names.

    Args:
        kind: what a row is, in the singular; it appears in error messages.
        rows: the rows, in the order in which they are listed and reported.
        aliases: other names for rows. They are accepted but not listed.

    Raises:
        ValueError: two rows, or a row and an alias, share a name.
    """

    def __init__(self, kind: str, rows: Iterable[Row], aliases: Mapping[str, str] | None = None) -> None:
        self.kind = kind
        self._rows: dict[str, Row] = {}
        for row in rows:
            if row.name in self._rows:
                raise ValueError(f"two rows of the {kind} table are named {row.name!r}")
            self._rows[row.name] = row
        self._aliases = dict(aliases or {})
        for alias, target in self._aliases.items():
            if alias in self._rows or target not in self._rows:
                raise ValueError(f"{kind} alias {alias!r} must be a new name for a row, got {target!r}")

    @property
    def names(self) -> tuple[str, ...]:
        """The names of all rows, in table order."""
        return tuple(self._rows)

    def aliases_of(self, name: str) -> tuple[str, ...]:
        """The other names that a row is found by."""
        return tuple(alias for alias, target in self._aliases.items() if target == name)

    def __getitem__(self, name: str) -> Row:
        if not isinstance(name, str) or name not in self:
            raise unknown_name(self.kind, str(name), [*self._rows, *self._aliases])
        return self._rows[self._aliases.get(name, name)]

    def __contains__(self, name: object) -> bool:
        return name in self._rows or name in self._aliases

    def __iter__(self) -> Iterator[Row]:
        return iter(self._rows.values())

    def __len__(self) -> int:
        return len(self._rows)

    def load(self, name: str) -> Callable[..., Any]:
        """Import and return the code of a row."""
        module, _, function = self[name].code.partition(":")
        loaded: Callable[..., Any] = getattr(importlib.import_module(module), function)
        return loaded


def unknown_name(kind: str, name: str, known: Collection[str]) -> UnknownNameError:
    """The error for a name that is not known, with the nearest known one, or else the known ones.

    Example:
        >>> print(unknown_name("preset", "papr", ["paper", "demo"]))
        unknown preset 'papr'. Did you mean 'paper'?
    """
    return UnknownNameError(f"unknown {kind} {name!r}. {nearest(name, known, SHOWN_BY.get(kind))}")


def closest(name: str, known: Collection[str]) -> str | None:
    """The known name that a mistyped one is most like; None where none is.

    Example:
        >>> closest("foog", ["fog", "frost"]), closest("elephant", ["fog", "frost"])
        ('fog', None)
    """
    import difflib

    return next(iter(difflib.get_close_matches(str(name), known, n=1)), None)


def nearest(name: str, known: Collection[str], shown_by: str | None = None) -> str:
    """The advice after an unknown name: the nearest known one, or else the known ones or some of them.

    Args:
        name: as it came.
        known: the names that there are.
        shown_by: the command that shows them, where there is one.

    Example:
        >>> nearest("zzz", ["fog", "frost"]), nearest("foog", ["fog", "frost"])
        ('Known: fog, frost.', "Did you mean 'fog'?")
    """
    if not known:
        return "There are none."
    close = closest(name, known)
    if close is not None:
        return f"Did you mean {close!r}?"
    if shown_by and len(known) > FEW:
        import difflib

        some = ", ".join(difflib.get_close_matches(str(name), known, n=3, cutoff=0))
        return f"There are {len(known):,}, such as {some}; `bivo-robust {shown_by}` shows them."
    more = f", … ({len(known):,} in all)" if len(known) > LISTED else ""
    return f"Known: {', '.join(list(known)[:LISTED])}{more}."

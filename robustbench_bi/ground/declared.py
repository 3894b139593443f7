"""What the fields of a request or a configuration are, said beside each of them.

A field says whether it changes what is measured, what a comparison does where two runs differ in it, and how the
command line shows it. So a new setting is one field.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

Compared = Literal["must agree", "where known", "noted", "normalisation", "own"]


@dataclass(frozen=True)
class Option:
    """How the command line shows a setting.

    Attributes:
        help: one sentence.
        kind: what is typed.
        metavar: what stands for the value in the help; None for click's own.
        choices: the values, where there are only these.
        least: the smallest value of an integer.
        word: what may be typed in place of an integer.
        name: of the option, where it is not the field's.
        shown: what the help gives as the default, where it is not the field's.
        multiple: whether it may be given several times.
        commas: whether its value is a list with commas; then a list in a configuration file means the same.
        complete: what a shell offers for its values, a function of `robustbench_bi.commands.completion`.
    """

    help: str = ""
    kind: Literal["text", "integer", "flag", "numbers", "path"] = "text"
    metavar: str | None = None
    choices: tuple[str, ...] = ()
    least: int | None = None
    word: str = ""
    name: str | None = None
    shown: str | None = None
    multiple: bool = False
    commas: bool = False
    complete: str = ""


@dataclass(frozen=True)
class Declaration:
    """What a field of a configuration is.

    Attributes:
        role: "identity" changes what is measured and enters the fingerprint; "recorded" is only written down;
            "request" says what to do and is not part of a run.
        compared: where two runs differ in it, a comparison is refused ("must agree"), refused unless one of them is too
            old to know it ("where known"), says so ("noted"), or has nothing to say, because it is what is compared
            ("own"). "normalisation" goes with the network, and is noted by the gate alone.
        words: what messages say of a run that has a value, with {} for the value, where it must agree: "with seed {}".
        without: the same of a run that has none.
        across: whether a user may ask to compare across it: other pictures, or answers, but of the same images.
        of_network: whether it says how networks are asked and changes no picture; then a gate may be across it too.
        part_of: the setting that it belongs to, and is across with.
        of_made_pictures: whether published files do not depend on it.
        added: whether it is younger than the first runs. Then its default enters neither fingerprint nor comparison,
            and where it is absent it has its default.
        option: how the command line shows it; None where it has no option.
    """

    role: Literal["identity", "recorded", "request"]
    compared: Compared = "own"
    words: str = ""
    without: str = ""
    across: bool = False
    of_network: bool = False
    part_of: str = ""
    of_made_pictures: bool = False
    added: bool = False
    option: Option | None = None

    def said_of(self, value: Any) -> str:
        """What messages say of a run with this value.

        Example:
            >>> Declaration("identity", words="with JPEG quality {}", without="without JPEG").said_of(85)
            'with JPEG quality 85'
        """
        return self.without if value is None and self.without else self.words.format(value)


def identity(
    *, default: Any = dataclasses.MISSING, compared: Compared = "own", option: Option | None = None, **declared: Any
) -> Any:
    """A field that changes what is measured: it enters the fingerprint."""
    declaration = Declaration("identity", compared, option=option, **declared)
    return dataclasses.field(default=default, metadata={"declaration": declaration})


def recorded(
    *,
    default: Any = dataclasses.MISSING,
    default_factory: Callable[[], Any] | Any = dataclasses.MISSING,
    option: Option | None = None,
) -> Any:
    """A field that changes only how it is computed or shown: written down, not part of the fingerprint."""
    metadata = {"declaration": Declaration("recorded", option=option)}
    if default_factory is not dataclasses.MISSING:
        return dataclasses.field(default_factory=default_factory, metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


def requested(*, default: Any = dataclasses.MISSING, option: Option | None = None) -> Any:
    """A field that says what to do, and that a run does not have."""
    return dataclasses.field(default=default, metadata={"declaration": Declaration("request", option=option)})


def declaration_of(field: dataclasses.Field[Any]) -> Declaration:
    """What a field was declared to be.

    Raises:
        TypeError: it was not; every field of a configuration is `identity`, `recorded` or `requested`.
    """
    declared = field.metadata.get("declaration")
    if not isinstance(declared, Declaration):
        raise TypeError(f"the field {field.name} must be declared as identity, recorded or requested")
    return declared

"""The settings of an evaluation: what a request asks for and a run records, each declared once.

A field says what it is: whether it changes what is measured, what a comparison does where two runs differ in it, and
how the command line shows it. So a new setting of `eval` is one field here.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from robustbench_bi.corruptions import PIXEL_VERSION
from robustbench_bi.ground.cells import SEVERITIES
from robustbench_bi.tasks import DEFAULT

PRECISIONS = ("fp32", "bf16", "fp16")
GENERATORS = ("bivo-robust", "imagecorruptions", "files")

Compared = Literal["must agree", "noted", "normalisation", "own"]


@dataclass(frozen=True)
class Option:
    """How the command line shows a setting.

    Attributes:
        help: one sentence.
        kind: what is typed.
        metavar: what stands for the value in the help; None for click's own.
        choices: the values, where there are only these.
        least: the smallest value of an integer.
        name: of the option, where it is not the field's.
        shown: what the help gives as the default, where it is not the field's; "" for nothing.
    """

    help: str = ""
    kind: Literal["text", "integer", "flag", "numbers", "path"] = "text"
    metavar: str | None = None
    choices: tuple[str, ...] = ()
    least: int | None = None
    name: str | None = None
    shown: str | None = None


@dataclass(frozen=True)
class Declaration:
    """What a field of a configuration is.

    Attributes:
        role: "identity" changes what is measured and enters the fingerprint; "recorded" is only written down;
            "request" says what to do and is not part of a run.
        compared: where two runs differ in it, a comparison is refused ("must agree"), says so ("noted"), or has nothing
            to say, because it is what is compared ("own"). "normalisation" is noted by the gate alone.
        words: what messages call it, where it must agree.
        across: whether a user may ask to compare across it: other pictures, but of the same images.
        of_made_pictures: whether published files do not depend on it.
        added: whether it is younger than the first runs. Then its default enters neither fingerprint nor comparison,
            and where it is absent it has its default.
        option: how the command line shows it; None where it has no option.
    """

    role: Literal["identity", "recorded", "request"]
    compared: Compared = "own"
    words: str = ""
    across: bool = False
    of_made_pictures: bool = False
    added: bool = False
    option: Option | None = None


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


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Settings that mean the same in a request and in a run. A request may leave some open; a run's are settled.

    Attributes:
        severities: integers from 1 to 5.
        table: the table of severity constants; "auto": by the side of the images.
        jpeg: quality of the JPEG round trip after a corruption, or None; "auto": as the table's published files have.
        generator: who makes the corrupted pixels: "bivo-robust", "imagecorruptions", or "files" (published).
        pixel_version: of the code that makes the corrupted pixels.
        seed: keys every random draw, together with corruption, severity and image id.
        input_size, resize_size: pixels; interpolation, mean, std: as in `Preprocessing`. None: as the network says.
        precision: of the forward pass: "fp32", "bf16" or "fp16".
        task: a row of `robustbench_bi.tasks.TASKS`.
        device, batch_size, workers: as chosen.
    """

    severities: tuple[int, ...] = identity(default=SEVERITIES, option=Option('Such as "1-5" or "1,3,5".', shown="1-5"))
    table: str = identity(
        default="auto",
        compared="must agree",
        words="the table of constants",
        across=True,
        of_made_pictures=True,
        option=Option("Table of severity constants; auto: by image side."),
    )
    jpeg: int | str | None = identity(
        default="auto",
        compared="must agree",
        words="the JPEG quality",
        across=True,
        option=Option("JPEG quality after a corruption, none, or auto."),
    )
    generator: str = identity(
        default="bivo-robust",
        compared="must agree",
        words="the generator of the corruptions",
        across=True,
        option=Option("Who makes the corrupted pixels; the other package serves comparison.", choices=GENERATORS[:2]),
    )
    pixel_version: int = identity(
        default=PIXEL_VERSION,
        compared="must agree",
        words="the version of the corruptions",
        of_made_pictures=True,
    )
    seed: int = identity(
        default=0,
        compared="must agree",
        words="the seed",
        across=True,
        of_made_pictures=True,
        option=Option("Keys every random draw.", "integer", least=0),
    )
    input_size: int | None = identity(
        default=None, compared="noted", option=Option("Overrides the model's.", "integer", "PIXELS")
    )
    resize_size: int | None = identity(
        default=None,
        compared="noted",
        option=Option("Overrides the model's: short side before the crop.", "integer", "PIXELS"),
    )
    interpolation: str | None = identity(
        default=None, compared="noted", option=Option("Overrides the model's: bilinear, bicubic, …")
    )
    precision: str = identity(default="fp32", compared="noted", option=Option(choices=PRECISIONS))
    mean: tuple[float, ...] | None = identity(
        default=None,
        compared="normalisation",
        option=Option("Overrides the model's, such as 0.5,0.5,0.5.", "numbers"),
    )
    std: tuple[float, ...] | None = identity(
        default=None, compared="normalisation", option=Option("Overrides the model's.", "numbers")
    )
    task: str = identity(default=DEFAULT, compared="must agree", words="the task", added=True)
    device: str = recorded(default="auto", option=Option("auto, cpu, cuda, cuda:1, …"))
    batch_size: int = recorded(default=64, option=Option("", "integer", "N", least=1))
    workers: int | None = recorded(
        default=None, option=Option("Decoding threads.  [default: one a core, up to 8]", "integer", "N", least=0)
    )

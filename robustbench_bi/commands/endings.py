"""How a command ends before its time: with one line on standard error, and an exit code."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import click

from robustbench_bi.commands import COMMANDS, NOTHING_KEPT
from robustbench_bi.errors import BivoRobustError, LostProcessError
from robustbench_bi.ground.atomic import check_writable
from robustbench_bi.ground.stops import exit_code_of, stops_as_exceptions

OUT = "robustbench_bi.out"  # where a command writes, in the context's meta


class OneLineError(click.ClickException):
    """An error the user can mend: one line on standard error, exit code 2."""

    exit_code = 2


@contextmanager
def one_line_endings(context: click.Context) -> Iterator[None]:
    """Show what the user can mend, and that the user stopped the command, as one line without a traceback.

    Args:
        context: of the program; it knows which of its commands was invoked, and where that writes.

    Raises:
        OneLineError: for a BivoRobustError, for click's usage errors, and where memory ran out; but a LostProcessError
            ends the program here.
        click.exceptions.Exit: 130 after Ctrl-C, 143 after SIGTERM.
    """
    try:
        with stops_as_exceptions():
            yield
    except LostProcessError as error:
        _end_at_once(OneLineError(str(error)))
    except BivoRobustError as error:
        raise OneLineError(" ".join(str(error).split())) from error
    except click.exceptions.NoArgsIsHelpError:
        raise
    except click.UsageError as error:
        raise OneLineError(_misused(error)) from error
    except (MemoryError, RuntimeError) as error:
        if not _ran_out_of_memory(error):
            raise
        said = (str(error).splitlines() or ["nothing is left"])[0]
        raise OneLineError(f"memory ran out ({said}); take smaller images, fewer at once, or fewer workers") from error
    except KeyboardInterrupt as stop:
        if not _follows():
            click.echo(str(stop) or _when_stopped(context), err=True)
        raise click.exceptions.Exit(exit_code_of(stop)) from stop


def remember_out(context: click.Context, _: click.Parameter, value: Any) -> Any:
    """Callback of the option or argument that says where a command writes: its last line may name the place."""
    check_writable(value, folder=True)
    context.meta[OUT] = value
    return value


def remember_out_file(context: click.Context, _: click.Parameter, value: Any) -> Any:
    """The same of a file."""
    check_writable(value, folder=False)
    context.meta[OUT] = value
    return value


def _ran_out_of_memory(error: BaseException) -> bool:
    """Whether an error is that memory ran out; torch's own are known once it is loaded."""
    if isinstance(error, MemoryError) or "torch" not in sys.modules:
        return isinstance(error, MemoryError)
    from robustbench_bi.models.batch_size import out_of_memory

    return out_of_memory(error)


def _end_at_once(error: OneLineError) -> NoReturn:
    """Say the line and end without Python's own clearing up.

    Threads of torch that still wait for the lost process abort the program when they meet an interpreter that is being
    cleared up, now and then, and the exit code is then another.
    """
    error.show()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(error.exit_code)


def _misused(error: click.UsageError) -> str:
    """What click says of wrong options and arguments, in one line and in plainer words."""
    if isinstance(error, click.NoSuchOption):
        return _other_option(error)
    if isinstance(error, click.MissingParameter):
        return _missing(error)
    return in_plain_words(error.format_message())


def in_plain_words(message: str) -> str:
    """A message of click's in one line, without words of its own.

    Example:
        >>> in_plain_words("'ten' is not a valid integer range.")
        "'ten' is not a whole number."
    """
    return " ".join(message.split()).replace("is not a valid integer range", "is not a whole number")


def _other_option(error: click.NoSuchOption) -> str:
    """What click says of an unknown option; the name that another command gives to the same thing is known."""
    options = [name for own in error.ctx.command.params for name in own.opts] if error.ctx else []
    from robustbench_bi.evaluation.request import OTHER_WORDS

    meant = f"--{OTHER_WORDS.get(error.option_name.removeprefix('--'), '')}"
    if meant in options:
        # In words of our own: click keeps only names that are spelt alike.
        return f"No such option {error.option_name!r}. Did you mean {meant!r}?"
    if error.possibilities == ["--help"]:
        # Only spelt alike: every command has it.
        return f"No such option {error.option_name!r}."
    return " ".join(error.format_message().split())


def _missing(error: click.MissingParameter) -> str:
    """What click says of an option that is missing, with what the option is for."""
    message, purpose = " ".join(error.format_message().split()), getattr(error.param, "help", None)
    if not purpose or isinstance(error.param.type if error.param else None, click.Choice):
        return message
    return f"{message.removesuffix('.')}: {purpose.partition('. ')[0].removesuffix('.')}."


def _when_stopped(context: click.Context) -> str:
    name = context.invoked_subcommand
    if name is None or name not in COMMANDS:
        return "Stopped before anything was started."
    sentence = COMMANDS[name].when_stopped
    out = context.meta.get(OUT)
    if "{out}" not in sentence:
        return f"Stopped. {sentence}"
    if out is None:
        return "Stopped before anything was started."
    return f"Stopped. {sentence.format(out=out) if Path(out).exists() else NOTHING_KEPT}"


def _follows() -> bool:
    """Whether another process of the same torchrun or srun speaks for this one."""
    return any(os.environ.get(name, "0") != "0" for name in ("RANK", "SLURM_PROCID"))

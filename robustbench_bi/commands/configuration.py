"""`--config` and `--print-config`: the options of a command in a file, and the file for the options that were typed."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click

from robustbench_bi.commands.endings import OneLineError, in_plain_words
from robustbench_bi.commands.eval_options import WITH_COMMAS
from robustbench_bi.ground.registry import nearest

ABOUT_FILES = ("config", "print_config")
RUN = "run.json"


def read_config(context: click.Context, _: click.Parameter, path: Path | None) -> Path | None:
    """Callback of --config: what the file says stands in for the options that are not typed.

    Raises:
        OneLineError: the file cannot be read, names an option that there is not, or gives it what it does not take.
    """
    if path is not None:
        options = dict(_parameters(context.command))
        found = _of_run(path) if path.name == RUN or path.is_dir() else _of_toml(path)
        values = {}
        for key, value in found.items():
            name = key.replace("_", "-")
            if name not in options:
                advice = nearest(name, list(options), f"{context.info_name} --help")
                if isinstance(value, Mapping):
                    advice = "Put the keys at the top level of the file, not in a table."
                raise OneLineError(f"unknown option {key!r} in {path}. {advice}")
            values[options[name].name] = _typed(value, options[name], f"{key} in {path}")
            _check(values[options[name].name], options[name], context, f"{key} in {path}")
        context.default_map = {**(context.default_map or {}), **values}
    return path


def _check(value: Any, option: click.Option, context: click.Context, where: str) -> None:
    """Refuse a value that the option's type refuses, naming the file; what a callback refuses names it itself."""
    try:
        option.type_cast_value(context, value)
    except click.BadParameter as error:
        raise OneLineError(f"{where}: {in_plain_words(error.message)}") from error


def as_config(context: click.Context) -> str:
    """The options that were typed, or came from a file, as the text of a file for --config."""
    unset = (click.core.ParameterSource.DEFAULT, None)
    lines = [
        f"{name} = {_as_toml(context.params[str(option.name)])}"
        for name, option in _parameters(context.command)
        if context.get_parameter_source(str(option.name)) not in unset
    ]
    return "".join(f"{line}\n" for line in lines)


def _parameters(command: click.Command) -> Iterator[tuple[str, click.Option]]:
    """The options of a command by their long names, as they stand in a file."""
    for option in command.params:
        if isinstance(option, click.Option) and option.name not in ABOUT_FILES:
            yield max(option.opts, key=len).lstrip("-"), option


def _of_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise OneLineError(f"{path} cannot be read: {error.strerror}") from error
    except ValueError as error:  # of TOML, or of UTF-8
        raise OneLineError(f"{path} is not a TOML file: {error}") from error


def _of_run(path: Path) -> dict[str, Any]:
    """The options that a run was made with; paths that lead nowhere from here are taken from where it was started."""
    from robustbench_bi.data.request import PATHS, DataRequest, found_path
    from robustbench_bi.runs.run import open_run

    run = open_run(path.parent if path.name == RUN else path)
    runtime = run.config["runtime"]
    options, folder = dict(runtime.get("requested", {})), runtime.get("started_in", "")
    if not options:
        command = runtime.get("command") or "unknown"
        raise OneLineError(f"{path} was written before runs kept their options; its command was: {command}")
    if "model" not in options:
        raise OneLineError(
            f"{path} was made from a module object; to repeat it, evaluate a function that returns the module: "
            "package.module:name"
        )
    given = {name: options[name] for name in PATHS if name in options}
    found = DataRequest(options["data"][0], **given).found_from(folder)
    options |= {"data": [found.source], "weights": [found_path(folder, own) for own in options.get("weights", [])]}
    return options | {name: getattr(found, name) for name in given}


def _typed(value: Any, option: click.Option, where: str) -> Any:
    """A value of a file as the option takes it, which reads what is typed.

    Raises:
        OneLineError: it is of a kind that the option does not take.
    """
    if option.is_flag:
        if not isinstance(value, bool):
            raise OneLineError(f"{where} must be true or false, got {_shown(value)}")
        return value
    values = value if isinstance(value, list) else [value]
    if not all(isinstance(one, str | int | float) and not isinstance(one, bool) for one in values):
        raise OneLineError(f"{where} must be text or a number, got {_shown(value)}")
    texts = [str(one) for one in values]
    if option.multiple:
        return texts
    if isinstance(value, list) and not (value and option.name in WITH_COMMAS):
        raise OneLineError(f"{where} must be one value, got {_shown(value)}")
    return ",".join(texts)


def _shown(value: Any) -> str:
    if isinstance(value, Mapping):
        return "a table; options are not in sections"
    return f"a list of {len(value)}" if isinstance(value, list) else json.dumps(value, default=str)


def _as_toml(value: Any) -> str:
    """A value, or values, as TOML; of these JSON writes the same."""
    if isinstance(value, tuple):
        value = list(value)
    # JSON leaves the one character bare that TOML does not.
    return json.dumps(value, ensure_ascii=False, default=str).replace("\x7f", "\\u007f")


CONFIG = click.option(
    "--config",
    metavar="FILE",
    type=click.Path(path_type=Path),
    is_eager=True,
    callback=read_config,
    help="A TOML file with these options as keys, or a run's run.json. Options on the command line override it. Ends "
    "with a leaderboard.",
)
PRINT_CONFIG = click.option("--print-config", is_flag=True, help="Only print this command's options as a TOML file.")

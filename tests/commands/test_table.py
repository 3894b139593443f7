"""The table of commands: what it says fits the commands, and showing help imports only what it must."""

import json
import subprocess
import sys
from itertools import groupby

import click
import pytest
from click.testing import CliRunner

from robustbench_bi.cli import cli
from robustbench_bi.commands import COMMANDS

HEAVY = ("torch", "numpy", "pandas", "matplotlib", "scipy", "PIL", "numba", "timm", "rich", "pyarrow")
LOADED_BY_EACH = """
import json, os, sys
from click.testing import CliRunner
from robustbench_bi.cli import cli
loaded = {}
for arguments in json.loads(sys.argv[1]):
    # Each in a process of its own: what one loads stays loaded.
    reading, writing = os.pipe()
    if os.fork() == 0:
        code = CliRunner().invoke(cli, arguments).exit_code
        os.write(writing, json.dumps([code, sorted(sys.modules)]).encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        loaded[" ".join(arguments)] = json.loads(pipe.read())
    os.wait()
print(json.dumps(loaded))
"""


@pytest.fixture(scope="module")
def loaded():
    """Exit code and loaded modules after each of several commands, by its arguments."""
    commands = [["--help"], ["evl"], *([name, "--help"] for name in COMMANDS.names)]
    program = [sys.executable, "-c", LOADED_BY_EACH, json.dumps(commands)]
    return json.loads(subprocess.run(program, capture_output=True, text=True, check=True).stdout)


def module_of(row):
    return row.code.partition(":")[0]


@pytest.mark.parametrize("arguments", ["--help", "evl"])
def test_the_program_alone_imports_no_command(loaded, arguments):
    code, modules = loaded[arguments]
    assert code == (2 if arguments == "evl" else 0)
    assert not {*HEAVY, *map(module_of, COMMANDS)} & set(modules)


@pytest.mark.parametrize("row", COMMANDS, ids=lambda row: row.name)
def test_help_of_a_command_imports_its_own_file_and_nothing_heavy(loaded, row):
    code, modules = loaded[f"{row.name} --help"]
    assert code == 0
    assert {*HEAVY, *map(module_of, COMMANDS)} & set(modules) == {module_of(row)}


@pytest.mark.parametrize("row", COMMANDS, ids=lambda row: row.name)
def test_a_row_fits_its_command(row):
    command = COMMANDS.load(row.name)
    assert command.name == row.name
    assert command.help.splitlines()[0] == row.summary


def test_help_shows_every_command_once_in_its_section():
    sections = [section for section, _ in groupby(row.section for row in COMMANDS)]
    assert len(sections) == len(set(sections)) == 5
    shown = CliRunner().invoke(cli, ["--help"]).stdout.splitlines()
    heading, found = "", []
    for line in shown:
        if line.endswith(":") and not line.startswith(" "):
            heading = line[:-1]
        elif heading in sections and line.startswith("  ") and line[2] != " ":
            found.append((heading, line.split()[0]))
    assert found == [(row.section, row.name) for row in COMMANDS]


@pytest.mark.parametrize(
    ("typed", "advice"), [("evl", "Did you mean 'eval'?"), ("heatmap", "Did you mean 'heatmaps'?"), ("zzz", "Known: ")]
)
def test_a_typo_is_answered_with_the_nearest_command(typed, advice):
    result = CliRunner().invoke(cli, [typed])
    assert result.exit_code == 2
    assert result.stderr.startswith(f"Error: No such command {typed!r}. {advice}")
    assert len(result.stderr.splitlines()) == 1


def test_heatmaps_and_fourier_share_the_options_of_eval():
    options = {name: {p.name: p for p in COMMANDS.load(name).params} for name in ("eval", "heatmaps", "fourier")}
    for name in ("heatmaps", "fourier"):
        for shared in ("models", "device", "precision", "input_size", "quiet"):
            mine, theirs = options[name][shared], options["eval"][shared]
            assert isinstance(mine, click.Option)
            assert mine.to_info_dict() == theirs.to_info_dict()

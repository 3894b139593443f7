"""What a shell is offered, through click's own protocol."""

import os
import subprocess
import sys

import pytest

from robustbench_bi.commands import COMMANDS
from robustbench_bi.models import MODELS

PROGRAM = "import sys; sys.argv[0] = 'bivo-robust'; from robustbench_bi.__main__ import main; main()"


def offered(line, folder):
    """What bash is offered after a line of words, the last of which is not complete: kind and value."""
    words = line.split(" ")
    variables = {
        "_BIVO_ROBUST_COMPLETE": "bash_complete",
        "COMP_WORDS": line,
        "COMP_CWORD": str(len(words) - 1),
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
    }
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env={**os.environ, **variables}, cwd=folder, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stderr == ""
    return [tuple(item.split(",", 1)) for item in done.stdout.splitlines()]


@pytest.mark.parametrize(
    ("line", "values"),
    [
        ("bivo-robust c", ["compare", "corrupt", "convert"]),
        ("bivo-robust eval --prec", ["--precision"]),
        ("bivo-robust eval --suite fo", ["fog"]),
        ("bivo-robust eval --suite fog,contr", ["fog,contrast"]),
        ("bivo-robust heatmaps --corruptions glass", ["glass_blur"]),
        ("bivo-robust corrupt imagenett", ["imagenette"]),
        ("bivo-robust train --data dem", ["demo", "demo-detection"]),
        ("bivo-robust spectra --table tiny", ["tiny-imagenet-c"]),
        ("bivo-robust list mod", ["models"]),
    ],
)
def test_names_are_offered(tmp_path, line, values):
    assert offered(line, tmp_path) == [("plain", value) for value in values]


@pytest.mark.parametrize("line", ["eval --model ", "train --model ", "profile ", "convert ", "fourier --model "])
def test_every_network_is_offered(tmp_path, line):
    assert {("plain", name) for name in MODELS.names} <= set(offered(f"bivo-robust {line}", tmp_path))


def test_every_command_is_offered(tmp_path):
    assert offered("bivo-robust ", tmp_path) == [("plain", name) for name in COMMANDS.names]


def test_folders_of_runs_are_offered_and_else_any_folder(tmp_path):
    for name in ("runs/binet50-1", "runs/resnet50-2", "loose-3"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "run.json").touch()
    (tmp_path / "runs" / "pictures").mkdir()
    every = ["loose-3", "runs/binet50-1", "runs/resnet50-2"]
    for line, values in (
        ("report ", every),
        ("gate ru", every[1:]),
        ("compare runs/b", every[1:2]),
        ("report --baseline runs/", every[1:]),
    ):
        assert offered(f"bivo-robust {line}", tmp_path) == [("plain", value) for value in values]
    assert offered("bivo-robust report x/", tmp_path) == [("dir", "x/")]

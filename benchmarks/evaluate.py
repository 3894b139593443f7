"""Whole commands as a user starts them; `python benchmarks/evaluate.py` appends its rows to results/evaluate.csv.

Each command is started three times in a process of its own, the slowest and the fastest are left out. Arguments choose
commands by how their names begin: `python benchmarks/evaluate.py help`.
"""

import subprocess
import sys
import tempfile
import time

from machine import append, machine

REPEATS = 3
COMMANDS = {
    "help": ["--help"],
    "eval binet50 on demo, 500 images x 76 cells": ["eval", "--model", "binet50", "--quiet", "--out"],
    "eval four models on demo, 500 images x 76 cells": [
        *("eval", "--model", "resnet50", "--model", "resnext50", "--model", "ddf_resnet50", "--model", "binet50"),
        *("--quiet", "--out"),
    ],
}


def seconds(arguments: list[str]) -> float:
    """Wall time of one start of the command line; a trailing --out gets a new folder."""
    with tempfile.TemporaryDirectory() as folder:
        out = [folder] if arguments[-1] == "--out" else []
        started = time.perf_counter()
        subprocess.run([sys.executable, "-m", "robustbench_bi", *arguments, *out], check=True, capture_output=True)
        return time.perf_counter() - started


def main() -> None:
    """Measure every command and append its median."""
    chosen = tuple(sys.argv[1:]) or ("",)
    for name, arguments in COMMANDS.items():
        if not name.startswith(chosen):
            continue
        median = sorted(seconds(arguments) for _ in range(REPEATS))[REPEATS // 2]
        print(f"{name}: {median:.3f} s")
        append("evaluate.csv", {"command": name, "seconds": round(median, 3), **machine("torch")})


if __name__ == "__main__":
    main()

"""Whole commands as a user starts them; `python benchmarks/evaluate.py` appends its rows to results/evaluate.csv.

Each command is started three times in a process of its own, the slowest and the fastest are left out. Arguments choose
commands by how their names begin: `python benchmarks/evaluate.py help`.
"""

import csv
import datetime
import os
import platform
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

RESULTS = Path(__file__).parent / "results" / "evaluate.csv"
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


def processor() -> str:
    """The processor's name, where the system tells it."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def main() -> None:
    """Measure every command and append its median."""
    machine = {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "processor": processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "python": platform.python_version(),
        "torch": version("torch"),
        "bivo_robust": version("bivo-robust"),
    }
    chosen = tuple(sys.argv[1:]) or ("",)
    for name, arguments in COMMANDS.items():
        if not name.startswith(chosen):
            continue
        median = sorted(seconds(arguments) for _ in range(REPEATS))[REPEATS // 2]
        row = {"command": name, "seconds": round(median, 3), **machine}
        print(f"{row['command']}: {row['seconds']} s")
        new = not RESULTS.exists()
        with RESULTS.open("a", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, fieldnames=list(row), lineterminator="\n")
            if new:
                writer.writeheader()
            writer.writerow(row)


if __name__ == "__main__":
    main()

"""What every row of results/*.csv says about the machine, and how a row gets there."""

import csv
import ctypes
import datetime
import os
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"


def processor() -> str:
    """The processor's name, where the system tells it."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def machine(*packages: str) -> dict[str, Any]:
    """The date, the machine, and the versions of Python, of this package and of others that matter."""
    return {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "processor": processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "python": platform.python_version(),
        **{package.replace("-", "_"): version(package) for package in (*packages, "bivo-robust")},
    }


def append(file: str, row: dict[str, Any], folder: Path = RESULTS) -> None:
    """Add a row to a file of results, which gets its header with its first row."""
    path = folder / file
    new = not path.exists()
    with path.open("a", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, fieldnames=list(row), lineterminator="\n")
        if new:
            writer.writeheader()
        writer.writerow(row)


def keep_freed_memory() -> None:
    """As an evaluation does where the C library is glibc: what is freed is not given back to the system."""
    if "CS_GNU_LIBC_VERSION" in getattr(os, "confstr_names", {}):
        # From malloc.h: no blocks of their own, no trimming, and no heap of a thread is given back.
        for option, value in ((-4, 0), (-1, 2**31 - 1), (-2, 64 << 20)):
            ctypes.CDLL(None).mallopt(option, value)

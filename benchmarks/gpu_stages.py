"""What the stages of `gpu.py` share: their rows, the time that they have left, and clocks that wait for the device."""

import csv
import functools
import hashlib
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from machine import append, machine, processor

GIGABYTE = 1e9


@dataclass(frozen=True)
class Bench:
    """What a stage works with.

    Attributes:
        device: that is measured.
        quick: whether everything is small: then the figures say nothing, but every line was run.
        out: folder of the results.
        ends: when the stage must end, as `time.monotonic` counts.
    """

    device: torch.device
    quick: bool
    out: Path
    ends: float

    @property
    def left(self) -> float:
        """Seconds that the stage has left."""
        return self.ends - time.monotonic()

    @property
    def compiler(self) -> str:
        """Of `torch.compile`; a small run only traces, because compiling for a CPU takes minutes."""
        return "eager" if self.quick else "inductor"

    @property
    def identity(self) -> dict[str, str]:
        """What a row must agree in so that it need not be measured again."""
        return {"device": device_name(self.device), "quick": str(self.quick), "source": source_hash()}

    def rows(self, file: str) -> list[dict[str, str]]:
        """The rows of a file that were measured on such a device with these sources."""
        path = self.out / file
        if not path.exists():
            return []
        with path.open(newline="", encoding="utf-8") as stream:
            return [row for row in csv.DictReader(stream) if self.identity.items() <= row.items()]

    def due(self, file: str, key: Mapping[str, Any]) -> bool:
        """Whether a row is still to be measured, and there is time for it."""
        wanted = {name: str(value) for name, value in key.items()}
        return self.left > 0 and not any(wanted.items() <= row.items() for row in self.rows(file))

    def add(self, file: str, key: Mapping[str, Any], values: Mapping[str, Any]) -> None:
        """Write a row at once, and show it."""
        print(file, *key.values(), *values.values(), sep=" | ", flush=True)
        append(file, {**key, **values, **self.identity, **machine("torch", "numba")}, self.out)


def device_name(device: torch.device) -> str:
    """The card's name; of a CPU, the processor's."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else processor()


@functools.cache
def source_hash() -> str:
    """A hash of the package's and the benchmarks' modules: after a change everything is measured again."""
    here = Path(__file__).parent
    package = here.parent / "robustbench_bi"
    files = sorted([*package.rglob("*.py"), *package.rglob("*.toml"), *here.glob("*.py")])
    return hashlib.sha256(b"\0".join(path.read_bytes() for path in files)).hexdigest()[:12]


def synchronise(device: torch.device) -> None:
    """Wait until the device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def seconds(work: Callable[[], object], device: torch.device, calls: int = 1, rounds: int = 3) -> float:
    """Wall time of a call, from an idle device to an idle device: the median of rounds of several calls, after one."""
    work()
    times = []
    for _ in range(rounds):
        synchronise(device)
        started = time.perf_counter()
        for _ in range(calls):
            work()
        synchronise(device)
        times.append((time.perf_counter() - started) / calls)
    return statistics.median(times)


def device_seconds(work: Callable[[], object], device: torch.device, rounds: int) -> float:
    """Time of a call on the device alone, without the launch, its caches cold: the median of rounds, after one."""
    if device.type != "cuda":
        return seconds(work, device, rounds=rounds)
    work()
    # More than any cache holds; and while it is cleared, the launch of the work catches up.
    cache = torch.empty(2**28, dtype=torch.uint8, device=device)
    times = []
    for _ in range(rounds):
        begun, ended = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        cache.zero_()
        begun.record()
        work()
        ended.record()
        torch.cuda.synchronize(device)
        times.append(begun.elapsed_time(ended) / 1e3)
    return statistics.median(times)


@functools.cache
def bandwidth(device: torch.device, quick: bool) -> float:
    """Bytes a second that the device reads and writes when it copies a gigabyte."""
    source = torch.empty(2**24 if quick else 2**30, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    return 2 * source.nbytes / device_seconds(lambda: target.copy_(source), device, 9)

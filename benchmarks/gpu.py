"""Tests and measures everything on a GPU, in one command of less than nine minutes; and trains the CIFAR-10 study.

    pip install torch torchvision && pip install -e . pytest pytest-xdist    # all that a bare machine needs
    python benchmarks/gpu.py --cifar10 FOLDER

It runs the stages of `STAGES`, each within its own seconds. Every row is written to a file of its stage as soon as it
is measured, and a row that is there, of the same card and the same sources, is not measured again: what had no time
left is made by the next start. `--out` chooses the folder; small files, to be copied from there.

    python benchmarks/gpu.py --stages bc                       some stages
    python benchmarks/gpu.py --device cpu --quick --out DIR    every line once, small, on a CPU; its figures say nothing

FOLDER holds CIFAR-10 as class folders under `train` and `val`, or is a Parquet file with the columns split, label and
jpeg. Without it the study is left out, but for a `--quick` run, which makes up pictures.
"""

import argparse
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch
from gpu_kernels import corruptions, networks, operators
from gpu_stages import Bench
from gpu_whole import end_to_end, training
from machine import RESULTS

ROOT = Path(__file__).parent.parent
STUDY = ROOT / "reports" / "cifar10" / "full.py"
SECONDS = 530.0
"""Of a start, so that it stays under nine minutes with what comes before and after."""


class Stage(NamedTuple):
    """A row of the table of stages.

    Attributes:
        letter: as users type it.
        summary: what it measures.
        seconds: that it may take; what is left of the earlier stages' goes to the later ones.
        run: does it.
    """

    letter: str
    summary: str
    seconds: float
    run: Callable[[Bench, argparse.Namespace], object]


def correctness(bench: Bench, _: argparse.Namespace) -> None:
    """The tests that are marked gpu, in a row that names those that failed; done only where all of them ended.

    Raises:
        RuntimeError: tests failed, or did not end.
    """
    tests = "tests/test_gpu.py" if bench.quick else "tests"
    if not bench.due("gpu_correctness.csv", {"tests": tests, "ended": True}):
        return
    started = time.monotonic()
    # Warnings of a machine that was never seen are no errors.
    command = [sys.executable, "-m", "pytest", "-m", "gpu", "-v", "--tb=line", "-p", "no:cacheprovider", "-Wdefault"]
    few = ["-k", "fog or begun"] if bench.quick else ["-n", "auto"]
    lines, code = output_within([*command, *few, str(ROOT / tests)], bench.left)
    outcomes = {word: outcome_lines(lines, word) for word in ("PASSED", "FAILED", "ERROR", "SKIPPED")}
    failed = sorted({test for word in ("FAILED", "ERROR") for test in outcomes[word]})
    ended = code in (0, 1)
    values = {"passed": len(set(outcomes["PASSED"])), "failed": len(failed), "skipped": len(set(outcomes["SKIPPED"]))}
    values |= {"seconds": round(time.monotonic() - started, 1), "failures": "; ".join(failed)[:4000]}
    bench.add("gpu_correctness.csv", {"tests": tests, "ended": ended}, values)
    if code:
        raise RuntimeError(f"pytest ended with {code}: {len(failed)} tests failed, see gpu_correctness.csv")


def outcome_lines(lines: list[str], word: str) -> list[str]:
    """The tests with an outcome: pytest puts it behind their names, and its workers before them."""
    found = (re.search(rf"(?:(\S+::.+?) {word}|{word} (\S+::.+?))(?: +\[ *\d+%\])?$", line) for line in lines)
    # The summary at the end says why, behind the name.
    return [(match[1] or match[2]).split(" - ")[0] for match in found if match]


def output_within(command: list[str], limit: float) -> tuple[list[str], int]:
    """The lines of a command's output, also shown, and its exit code; all it began is killed after its seconds."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True, "cwd": ROOT}
    with subprocess.Popen(command, **pipes, start_new_session=True) as process:
        try:
            output, _ = process.communicate(timeout=max(1.0, limit))
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            output, _ = process.communicate()
    print(output, flush=True)
    return output.strip().splitlines(), process.returncode


def study(bench: Bench, options: argparse.Namespace) -> None:
    """The full CIFAR-10 study: as many networks as the time allows; `reports/cifar10/full.py` says how.

    Raises:
        RuntimeError: a step of it failed.
    """
    if options.cifar10 is None and not bench.quick:
        print("f is left out: it needs --cifar10 FOLDER")
        return
    data = "made-up" if options.cifar10 is None else str(options.cifar10)
    small = ["--quick"] if bench.quick else []
    common = [data, str(bench.out / "cifar10"), "--device", str(bench.device), *small]
    for step in ("estimate", "train"):
        if bench.left > 0:
            command = [sys.executable, str(STUDY), step, *common, "--seconds", f"{bench.left:.0f}"]
            _, code = output_within(command, bench.left + 30)
            if code:
                raise RuntimeError(f"full.py {step} ended with {code}")


STAGES = (
    Stage("a", "correctness: the tests that need a GPU", 120, correctness),
    Stage("b", "speed of the corruptions", 70, lambda bench, _: corruptions(bench)),
    Stage(
        "c", "speed of the dynamic filter and of networks", 110, lambda bench, _: (operators(bench), networks(bench))
    ),
    Stage("d", "an evaluation, end to end", 60, lambda bench, _: end_to_end(bench)),
    Stage("e", "training", 60, lambda bench, _: training(bench)),
    Stage("f", "the CIFAR-10 study", 110, study),
)


def arguments() -> argparse.Namespace:
    """Of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0], epilog="; ".join(f"{stage.letter}: {stage.summary}" for stage in STAGES)
    )
    parser.add_argument("--device", default="cuda", help="cuda, or cpu for a trial")
    parser.add_argument("--quick", action="store_true", help="everything small: figures say nothing")
    parser.add_argument("--stages", default="".join(stage.letter for stage in STAGES), help="letters; default: all")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the results")
    parser.add_argument("--cifar10", type=Path, help="CIFAR-10, for the study")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="of all stages together")
    return parser.parse_args()


def main() -> None:
    """Run the stages; one that fails does not take the others with it."""
    options = arguments()
    if options.device.startswith("cuda") and not torch.cuda.is_available():
        sys.exit("this machine has no GPU that torch can use; --device cpu --quick tries every stage on the CPU")
    options.out.mkdir(parents=True, exist_ok=True)
    begun, planned, problems = time.monotonic(), 0.0, []
    chosen = [stage for stage in STAGES if stage.letter in options.stages]
    for number, stage in enumerate(chosen):
        planned += stage.seconds * options.seconds / SECONDS
        # The last one may take all that is left.
        planned = options.seconds if number == len(chosen) - 1 else planned
        print(f"== {stage.letter}: {stage.summary}", flush=True)
        try:
            stage.run(Bench(torch.device(options.device), options.quick, options.out, begun + planned), options)
        except Exception as error:
            problems.append(f"{stage.letter}: {type(error).__name__}: {error}")
            print(problems[-1], flush=True)
    print(f"{time.monotonic() - begun:.0f} s")
    sys.exit("\n".join(problems) or None)


if __name__ == "__main__":
    main()

"""The study in full: eight networks × five seeds × 60 epochs at half the usual width, each trained whole on a GPU.

    python reports/cifar10/full.py estimate DATA OUT    how many minutes what is left needs on this device, measured
    python reports/cifar10/full.py train DATA OUT       what has no file yet: OUT/NAME-seedN.csv, for --seconds
    python reports/cifar10/full.py judge OUT            what the finished networks say, by the rules in verdicts.py

DATA is a folder of class folders under `train` and `val`, a Parquet file with the columns split, label and jpeg, or
"made-up", pictures of noise for a trial. A file holds the counts of right answers of one network, nothing else is kept:
so a study may be spread over many starts and machines, if OUT travels with it.

All pictures lie on the device as bytes, and are moved, mirrored and corrupted there. A start works on one network at a
time, or by --processes on several, each in a process of its own on the same device; `estimate` measures which of both,
and which way of compiling, is the fastest here, and `train` takes that.
"""

import argparse
import csv
import itertools
import math
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch
from learning import WAYS, Learner, Pictures, card, read, synchronise

from robustbench_bi.corruptions import SUITES
from robustbench_bi.data import CLEAN
from robustbench_bi.models import profile_model
from robustbench_bi.training import Recipe, resolve_recipe

WIDTH, EPOCHS, SEEDS = 0.5, 60, range(5)
NETWORKS = {
    **dict.fromkeys(
        (
            *("resnet29", "binet29_dc_ca", "ddf_resnet29", "resnext29", "binet29_dc"),
            *("binet29_dc_ca_sakg5", "binet29_dc_ca_without_sakg"),
        ),
        WIDTH,
    ),
    # A ResNet next to DDF's parameters: verdicts.py reads off what one of exactly as many would do.
    "resnet29_narrow": 0.375,
}
"""In the order in which they are trained, with their widths."""

KEPT = (15, 20, 25, 30, 35, 40, 45, 50, 55, 60)
"""Epochs after which a network is asked about the probe."""

PROBE = [CLEAN, *((name, 3) for name in SUITES["all"].corruptions)]
PROBED = 5
"""Every so many pictures of the evaluation split are in the probe."""

WHOLE = [CLEAN, *((name, severity) for name in SUITES["all"].corruptions for severity in range(1, 6))]
"""What is asked after the last epoch, on the whole split."""

TRIED = (("compiled", 1), ("graphs", 1), ("graphs", 3), ("eager", 1))
"""Ways and processes that `estimate` measures, the likeliest first."""

TRIED_ON = ("resnet29", "binet29_dc_ca")
"""One network of convolutions, one of dynamic filters; the others are reckoned from these by their operations."""

MEASURED_STEPS = 60


def train_one(name: str, seed: int, splits: tuple[Pictures, Pictures], options: argparse.Namespace, path: Path) -> bool:
    """Train a network and write its file; False where the time would not do, which the first epochs show."""
    training, evaluation = splits
    recipe = recipe_for(options, training)
    learner = Learner(*network_of(name, options), seed, recipe, training.images.device, options.way)
    probe, begun = Pictures(*(part[::PROBED] for part in evaluation)), time.monotonic()
    rows: list[dict[str, Any]] = []
    for number in range(recipe.epochs):
        started = time.monotonic()
        losses = torch.stack(list(learner.epoch(training, seed, number)))
        mean = float(losses.mean())
        if not math.isfinite(mean):
            sys.exit(f"the loss of {name}, seed {seed}, became {mean} in epoch {number + 1}")
        # The first one compiles.
        if number == 1 and time.monotonic() + (recipe.epochs - 2) * (time.monotonic() - started) > options.ends:
            print(f"{name}, seed {seed}: left for another start, there is no time for all its epochs", flush=True)
            return False
        last = number + 1 == recipe.epochs
        asked = [("probe", probe, PROBE)] if last or number + 1 in KEPT else []
        asked += [("whole", evaluation, WHOLE)] if last else []
        for part, pictures, cells in asked:
            rows += [
                {"network": name, "seed": seed, "epoch": number + 1, "part": part, "loss": round(mean, 5)}
                | {"corruption": corruption, "severity": severity, "n": n, "right": right}
                for (corruption, severity), n, right in learner.right(pictures, cells[:3] if options.quick else cells)
            ]
    seconds = round(time.monotonic() - begun, 1)
    told = {"seconds": seconds, "way": options.way, "processes": options.processes}
    write(path, [{**row, **told, "device": card(training.images.device)} for row in rows])
    print(f"{path} after {seconds:.0f} s", flush=True)
    return True


def write(path: Path, rows: list[dict[str, Any]]) -> None:
    """A whole file or none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(f".{os.getpid()}")
    with partial.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, fieldnames=list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    partial.rename(path)


def recipe_for(options: argparse.Namespace, training: Pictures) -> Recipe:
    """That of the reduced study, but for its epochs."""
    small = {"epochs": 2, "batch_size": len(training.images) // 4} if options.quick else {"epochs": EPOCHS}
    return resolve_recipe("cifar", **small)


def units(options: argparse.Namespace) -> list[tuple[str, int, Path]]:
    """What has no file yet: network, seed and file; a seed is finished before the next one begins."""
    names, seeds = (TRIED_ON[:1], [0]) if options.quick else (NETWORKS, SEEDS)
    every = [(name, seed, options.out / f"{name}-seed{seed}.csv") for seed in seeds for name in names]
    return [(name, seed, path) for name, seed, path in every if not path.exists()]


def network_of(name: str, options: argparse.Namespace) -> tuple[str, float]:
    """The model of a row of `NETWORKS`, and its width."""
    return name.removesuffix("_narrow"), 0.125 if options.quick else NETWORKS[name]


def train(options: argparse.Namespace) -> None:
    """Train what is left, this process's share of it; or start the processes that share it."""
    if options.way is None:
        options.way, options.processes = fastest(options.out)
    if options.share is None and options.processes > 1:
        sys.exit(max(together(options, ["train"], options.processes)) or None)
    left = units(options)[options.share or 0 :: options.processes]
    if not left:
        return
    device = torch.device(options.device)
    splits = read(options.data, "training", device), read(options.data, "evaluation", device)
    for name, seed, path in left:
        if time.monotonic() > options.ends or not train_one(name, seed, splits, options, path):
            return


def together(options: argparse.Namespace, step: list[str], count: int) -> list[int]:
    """Start this file so many times at once, and wait; the exit codes."""
    common = [options.data, str(options.out), "--device", options.device, "--way", options.way]
    common += ["--seconds", str(options.ends - time.monotonic()), "--processes", str(count)]
    common += ["--quick"] if options.quick else []
    started = [
        subprocess.Popen([sys.executable, __file__, *step, *common, "--share", str(number)]) for number in range(count)
    ]
    return [process.wait() for process in started]


def estimate(options: argparse.Namespace) -> None:
    """Measure ways that are not measured yet, and say how long the rest of the study takes in the fastest."""
    tried = (("compiled", 2),) if options.quick else TRIED
    for way, count in tried:
        for name in TRIED_ON[:1] if options.quick else TRIED_ON:
            options.way = way
            if time.monotonic() < options.ends and (name, way, count) not in {row[:3] for row in measured(options.out)}:
                together(options, ["measure", name], count)
    way, count = fastest(options.out)
    rates = {name: sum(rates) for name, *which, rates in measured(options.out) if which == [way, count]}
    if not set(rates).issuperset(TRIED_ON[:1] if options.quick else TRIED_ON):
        print("not all is measured yet that the estimate needs")
        return
    minutes = sum(seconds_of(name, rates) for name, _, _ in units(options)) / 60
    print(f"{len(units(options))} networks are left: {minutes:.0f} minutes, {way}, {count} at a time", flush=True)


def seconds_of(name: str, rates: dict[str, float]) -> float:
    """Of training a network alone; the operations of one of its kind say how long, and what is asked adds a seventh."""
    like = TRIED_ON[0] if name.startswith("res") or len(rates) == 1 else TRIED_ON[1]
    operations = [
        profile_model(other.removesuffix("_narrow"), 32, width=NETWORKS[other], num_classes=10)["macs"]
        for other in (name, like)
    ]
    return EPOCHS * 50_000 / rates[like] * operations[0] / operations[1] * 8 / 7


def measure(options: argparse.Namespace, name: str) -> None:
    """Write how many pictures a second one of several processes trains on."""
    device = torch.device(options.device)
    training = read("made-up", "training", device)
    if not options.quick:
        training = Pictures(*(part.repeat(250, *(1 for _ in part.shape[1:])) for part in training))
    recipe = recipe_for(options, training)
    learner = Learner(*network_of(name, options), 0, recipe, device, options.way)
    warm, counted = (1, 3) if options.quick else (10, MEASURED_STEPS)
    steps = learner.epoch(training, 0, 0)
    for _ in itertools.islice(steps, warm):
        pass
    synchronise(device)
    started = time.perf_counter()
    taken = sum(1 for _ in itertools.islice(steps, counted))
    synchronise(device)
    rate = taken * recipe.batch_size / (time.perf_counter() - started)
    file = f"{name}-{options.way}-{options.processes}-{options.share}.csv"
    row = {"network": name, "way": options.way, "processes": options.processes, "share": options.share}
    write(options.out / "measured" / file, [{**row, "images_per_second": round(rate, 1), "device": card(device)}])


def measured(out: Path) -> list[tuple[str, str, int, list[float]]]:
    """Network, way, processes and the rates of all of these, where each has told its own."""
    found: dict[tuple[str, str, int], list[float]] = {}
    for path in sorted((out / "measured").glob("*.csv")):
        with path.open(newline="", encoding="utf-8") as stream:
            for row in csv.DictReader(stream):
                key = row["network"], row["way"], int(row["processes"])
                found.setdefault(key, []).append(float(row["images_per_second"]))
    return [(*key, rates) for key, rates in found.items() if len(rates) == key[2]]


def fastest(out: Path) -> tuple[str, int]:
    """The way and the number of processes that train the most a second; compiled and alone if none is known."""
    totals: dict[tuple[str, int], list[float]] = {}
    for _, way, count, rates in measured(out):
        totals.setdefault((way, count), []).append(math.log(sum(rates)))
    known = {
        which: sum(logs) / len(logs) for which, logs in totals.items() if len(logs) == max(map(len, totals.values()))
    }
    return max(known, key=known.__getitem__) if known else ("compiled", 1)


def arguments() -> argparse.Namespace:
    """Of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("step", choices=("estimate", "train", "measure", "judge"))
    parser.add_argument("given", nargs="+", help="DATA OUT; a network before them for measure; OUT alone for judge")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--seconds", type=float, default=math.inf, help="after which nothing new is begun")
    parser.add_argument("--way", choices=WAYS)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--share", type=int, help="which of the processes this is")
    parser.add_argument("--quick", action="store_true", help="a trial: two networks, two short epochs")
    options = parser.parse_args()
    wanted = {"measure": 3, "judge": 1}.get(options.step, 2)
    if len(options.given) != wanted:
        parser.error(f"{options.step} takes {wanted} arguments, got {len(options.given)}")
    options.out = Path(options.given[-1])
    options.data = options.given[-2] if wanted > 1 else ""
    options.ends = time.monotonic() + options.seconds
    return options


def main() -> None:
    """Do one of the steps."""
    options = arguments()
    match options.step:
        case "estimate":
            estimate(options)
        case "train":
            train(options)
        case "measure":
            measure(options, options.given[0])
        case "judge":
            import verdicts

            verdicts.write_all(options.out)


if __name__ == "__main__":
    main()

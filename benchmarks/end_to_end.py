"""What an evaluation costs beside eager forward passes: `python benchmarks/end_to_end.py [NETWORK …]`.

It appends to results/end_to_end_networks.csv (end_to_end.csv is of before networks were folded). A network of random
weights, uncompiled and compiled, is evaluated on photographs of 224×224 with the 19 corruptions at
severity 3 and the JPEG round trip, as `bivo-robust eval` does it; and the same number of batches only runs through the
network. Both alternate. The parts are timed inside the evaluation; "other" is reading, writing and the rest.
"""

import functools
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from corruptions import photographs
from machine import append, machine
from PIL import Image

from robustbench_bi.corruptions import SUITES, corrupt, jpeg_round_trip
from robustbench_bi.data import normalise, preprocessing_of
from robustbench_bi.evaluation import evaluate
from robustbench_bi.models import create_model, logits_of, score_logits
from robustbench_bi.runs import Run

IMAGES, BATCH, REPEATS = 32, 32, 3
PARTS: dict[str, Callable[..., Any]] = {
    "corrupt": corrupt,
    "jpeg_round_trip": jpeg_round_trip,
    "logits_of": logits_of,
    "score": score_logits,
    "write_cell": Run.write_block,
}
"""What is timed, by the columns of the results."""


def timed(function: Callable[..., Any], name: str, seconds: dict[str, float]) -> Callable[..., Any]:
    """The function, with its time added up under a name."""

    def measure(*arguments: Any, **options: Any) -> Any:
        started = time.perf_counter()
        result = function(*arguments, **options)
        seconds[name] += time.perf_counter() - started
        return result

    return measure


def timing(function: Callable[..., Any], name: str, seconds: dict[str, float]) -> Any:
    """Put the timed function where the evaluation looks it up: in its own module or class."""
    *owners, own_name = function.__qualname__.split(".")
    owner = functools.reduce(getattr, owners, sys.modules[function.__module__])
    return patch.object(owner, own_name, timed(function, name, seconds))


def evaluation(network: torch.nn.Module | str, photographs_folder: Path, **changes: Any) -> dict[str, float]:
    """Seconds of an evaluation in all, and of its parts; a cell is clean, the others have one corruption each.

    On a GPU, where work is only handed over, the seconds of the parts say little.
    """
    seconds: dict[str, float] = defaultdict(float)
    with tempfile.TemporaryDirectory() as out, ExitStack() as measured:
        for name, function in PARTS.items():
            measured.enter_context(timing(function, name, seconds))
        options = {"suite": "all", "severities": 3, "batch_size": BATCH, "block_size": IMAGES, "out": out, **changes}
        started = time.perf_counter()
        evaluate(network, str(photographs_folder), **options)
        seconds["eval"] = time.perf_counter() - started
    return seconds


def write_photographs(images: torch.Tensor, folder: Path) -> None:
    """The images as files in two class folders of ImageNet's."""
    for number, image in enumerate(images.permute(0, 2, 3, 1).numpy()):
        path = folder / ("n01440764", "n01443537")[number % 2] / f"{number:05}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(image).save(path, compress_level=1)


def forward_passes(network: torch.nn.Module, images: torch.Tensor) -> float:
    """Seconds of as many forward passes, of batches that are in memory."""
    prepared = preprocessing_of(network)
    started = time.perf_counter()
    with torch.inference_mode():
        for _ in range(1 + len(SUITES["all"].corruptions)):
            for batch in images.split(BATCH):
                network(normalise(batch, prepared))
    return time.perf_counter() - started


NETWORKS = ("torchvision:resnet50", "binet50")


def main() -> None:
    """Alternate both for each network, uncompiled and compiled, and write the medians."""
    images = photographs(IMAGES)
    with tempfile.TemporaryDirectory() as folder:
        write_photographs(images, Path(folder))
        for name in sys.argv[1:] or NETWORKS:
            for compiled in (False, True):
                row = measured(name, compiled, images, Path(folder))
                for key, value in row.items():
                    print(f"{key}: {value}")
                append("end_to_end_networks.csv", {**row, **machine("torch", "torchvision", "numba")})


def measured(name: str, compiled: bool, images: torch.Tensor, folder: Path) -> dict[str, Any]:
    """A network's medians, in milliseconds a forward pass. The forward passes alone are eager in both cases."""
    network = create_model(name, weights="none").eval()
    evaluation(network, folder, compile=compiled)
    pairs = [(evaluation(network, folder, compile=compiled), forward_passes(network, images)) for _ in range(REPEATS)]
    passes = IMAGES * (1 + len(SUITES["all"].corruptions))
    row: dict[str, Any] = {"network": name, "compiled": compiled, "threads": torch.get_num_threads()}
    row |= {"forward_passes": passes, "forward_alone_ms": per_pass([alone for _, alone in pairs], passes)}
    row |= {f"{part}_ms": per_pass([own[part] for own, _ in pairs], passes) for part in ("eval", *PARTS)}
    row["other_ms"] = per_pass([own["eval"] - sum(own[part] for part in PARTS) for own, _ in pairs], passes)
    row["ratio"] = round(statistics.median(own["eval"] / alone for own, alone in pairs), 3)
    return row


def per_pass(seconds: list[float], passes: int) -> float:
    """The median in milliseconds a pass."""
    return round(statistics.median(seconds) / passes * 1e3, 3)


if __name__ == "__main__":
    main()

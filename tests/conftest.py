"""How every test process runs: on one thread, and without a GPU with Triton's kernels in its interpreter.

And the one home of runs that no network made: their configuration, their files, and simulated records.
"""

from __future__ import annotations

import os

# Workers with several threads each wait for one another more than they work.
os.environ["OMP_NUM_THREADS"] = "1"

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch  # it reads the variable when it is imported

from robustbench_bi.corruptions import PIXEL_VERSION, SUITES
from robustbench_bi.ground.cells import Cell
from robustbench_bi.runs.identity import EvalConfig
from robustbench_bi.runs.run import Run
from robustbench_bi.tasks.classification import COLUMNS

if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"

SMALL = EvalConfig(
    model={"name": "resnet50"}, weights_hash="f" * 64, data="demo", listing_hash="a" * 64, n=500, num_classes=10,
    class_set="other", corruptions=("fog", "snow"), severities=(1, 5), table="tiny-imagenet-c", jpeg=None,
    generator="bivo-robust", pixel_version=PIXEL_VERSION, seed=0, input_size=64, resize_size=64,
    interpolation="bilinear", mean=(0.5,) * 3, std=(0.5,) * 3, precision="fp32", clean=True, block_size=64,
    name="resnet50",
)  # fmt: skip


@pytest.fixture(scope="session")
def make_config() -> Callable[..., EvalConfig]:
    """make_config(field=value, …) -> the configuration of a small run on images of the demo, but for these fields."""
    return partial(replace, SMALL)


@pytest.fixture(scope="session")
def write_run() -> Callable[..., Run]:
    """write_run(directory, configuration, records) -> a run on disk, as `eval` writes it.

    `records` holds the columns of all images by cell; a cell that it leaves out is still to do.
    """
    return _written


def _written(directory: Path, config: EvalConfig, records: Mapping[Cell, Mapping[str, np.ndarray]]) -> Run:
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "run.json").write_text(json.dumps(config.as_json()), encoding="utf-8")
    run = Run(directory)
    for cell, columns in records.items():
        for block, rows in run.blocks():
            first = block * config.block_size
            part = {name: values[first : first + rows] for name, values in columns.items()}
            run.write_block(cell, block, part, rows)
    return run


@pytest.fixture
def threads() -> Iterator[Callable[[int], None]]:
    """Sets the number of torch's threads; afterwards it is as before."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


@pytest.fixture
def imagenet() -> dict[str, object]:
    """What makes a run one on ImageNet as published, but for its number of images."""
    return {
        "data": "folder",
        "num_classes": 1000,
        "class_set": "imagenet-1k",
        "table": "imagenet-c",
        "jpeg": 85,
        "input_size": 224,
        "resize_size": 256,
    }


@dataclass(frozen=True)
class SimulatedRun(Run):
    """A run whose records are in memory and not in files."""

    frame: pd.DataFrame

    def records(self) -> pd.DataFrame:
        return self.frame.copy()


@pytest.fixture
def make_run(tmp_path) -> Callable[..., Run]:
    """make_run(name, …) -> a finished run with simulated predictions.

    All runs hold the same images: how hard an image is, and in which cell, is shared; `skill` moves a model's accuracy
    everywhere, `gains` that on single corruptions, and `luck` keys what is the model's own.
    """
    return maker_in(tmp_path)


@pytest.fixture(scope="module")
def make_module_run(tmp_path_factory) -> Callable[..., Run]:
    """`make_run`, for runs that the tests of a module share."""
    return maker_in(tmp_path_factory.mktemp("runs"))


def maker_in(folder: Path) -> Callable[..., Run]:
    def make(
        name: str = "resnet50",
        *,
        n: int = 150,
        corruptions: Sequence[str] = SUITES["imagenet-c"].corruptions,
        severities: Sequence[int] = (1, 2, 3, 4, 5),
        clean: bool = True,
        skill: float = 0.0,
        luck: int = 0,
        gains: dict[str, float] | None = None,
        first_image: int = 0,
        runtime: dict[str, object] | None = None,
        **config: object,
    ) -> Run:
        number = len(list(folder.iterdir()))
        own = {"weights_hash": f"{number:064x}", "name": name, **(runtime or {})}
        of_run = replace(
            SMALL, n=n, corruptions=tuple(corruptions), severities=tuple(severities), clean=clean, **own, **config
        )
        directory = folder / f"{re.sub('[^a-z0-9_]', '-', name)}-{number:012x}"
        frames = [_cell(cell, n, luck, skill + (gains or {}).get(cell[0], 0.0), first_image) for cell in of_run.cells]
        frame = pd.concat(frames, ignore_index=True).astype(COLUMNS | {"corruption": "category"})
        return SimulatedRun(_written(directory, of_run, {}).directory, frame)

    return make


def _cell(cell: tuple[str, int], n: int, luck: int, skill: float, first_image: int) -> pd.DataFrame:
    corruption, severity = cell
    ease = np.random.default_rng(1).normal(2.5, 1.5, n)
    labels = np.random.default_rng(2).integers(0, 10, n)
    hard = np.random.default_rng([severity, *corruption.encode()]).logistic(severity, 0.7, n)
    own = np.random.default_rng([luck, severity, *corruption.encode()])
    margin = ease - hard + skill + own.logistic(0, 0.5, n)
    return pd.DataFrame(
        {
            "corruption": corruption,
            "severity": severity,
            "image_id": np.arange(first_image, first_image + n),
            "label": labels,
            "prediction": np.where(margin > 0, labels, (labels + 1) % 10),
            "rank": np.where(margin > 0, 0, own.integers(1, 10, n)),
            "confidence": 1 / (1 + np.exp(-np.abs(margin) - 0.5)),
            "loss": np.log1p(np.exp(-margin)),
        }
    )

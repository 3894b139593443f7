"""The evaluation loop: blocks of images, cells of corruption × severity, models, records.

A block of images is decoded once and held as uint8; every cell and every model of the call runs on it from memory.
Each finished cell-block is one file, so a run that was stopped at any moment continues where it stood.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from robustbench_bi.atomic import replacing
from robustbench_bi.config import BLOCK_SIZE, GENERATORS, PRECISIONS, EvalConfig, configure_run, parse_severities
from robustbench_bi.corruptions import resolve_suite
from robustbench_bi.corruptions.apply import corrupt
from robustbench_bi.corruptions.digital import jpeg_round_trip
from robustbench_bi.data import Dataset, open_data
from robustbench_bi.data.preprocess import Preprocessing, normalise, preprocessing_of
from robustbench_bi.errors import DataError, InputError, ModelOutputError, RunMismatchError
from robustbench_bi.models import create_model
from robustbench_bi.models.inference import choose_device, memory_format, run_network, score
from robustbench_bi.models.weights import is_file
from robustbench_bi.records import CLEAN, Cell, Run, cell_file, is_whole, write_cell

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Progress:
    """Where a running evaluation stands, after each cell-block.

    Attributes:
        cell: the one just finished.
        cells_done: cell-blocks that are finished, those of earlier starts included.
        cells_total: cell-blocks in all.
        images: images classified since this start, counted once for each model.
        images_total: images to classify in this start.
    """

    cell: Cell
    cells_done: int
    cells_total: int
    images: int
    images_total: int


@dataclass(frozen=True)
class Candidate:
    """A model ready to run: the network, how its images are prepared, and the run it fills."""

    network: torch.nn.Module
    preprocessing: Preprocessing
    config: EvalConfig
    run: Run


@dataclass(frozen=True)
class Task:
    """A cell-block to fill: its number and size, its cell, how images are cut, and the models that still lack it."""

    block: int
    rows: int
    cell: Cell
    geometry: Preprocessing
    candidates: list[Candidate]


def evaluate(model: str | torch.nn.Module, data: str = "demo", **options: Any) -> Run:
    """Evaluate one model on clean and corrupted images, and keep every prediction.

    Args:
        model: a name as for `create_model`, or a module that maps normalised float images (B,3,H,W) to logits (B,K).
            A module's attributes `mean`, `std`, `input_size` are its preprocessing, where it has them.
        data: a data source, as in `bivo-robust list data`.
        **options: as for `evaluate_models`.

    Returns:
        The finished run.

    Example:
        >>> import tempfile
        >>> run = evaluate("resnet50", suite="contrast", severities=5, limit=8, out=tempfile.mkdtemp())
        >>> run.cells()[["corruption", "severity", "n"]].values.tolist()
        [['none', 0, 8], ['contrast', 5, 8]]
    """
    return evaluate_models([model], data, **options)[0]


def evaluate_models(
    models: Sequence[str | torch.nn.Module],
    data: str = "demo",
    *,
    weights: str | None = None,
    suite: str = "imagenet-c",
    severities: str | int | Iterable[int] = "1-5",
    table: str = "auto",
    jpeg: int | str | None = "auto",
    generator: str = "bivo-robust",
    limit: int | None = None,
    seed: int = 0,
    device: str = "auto",
    batch_size: int = 64,
    workers: int | None = None,
    precision: str = "fp32",
    out: str | Path = "runs",
    classes: str | Path | None = None,
    skip_broken: bool = False,
    preprocessing: dict[str, Any] | None = None,
    progress: Callable[[Progress], None] | None = None,
    block_size: int = BLOCK_SIZE,
) -> list[Run]:
    """Evaluate several models in one pass; models of equal image geometry share every corrupted batch.

    Args:
        models: names or modules, as for `evaluate`.
        data: a data source.
        weights: for models given by name: a file, a torchvision weights name, "pretrained", "none" or "demo".
            Without it the `demo` source takes the bundled demo weights; a user's own factory brings its own.
        suite: a suite, a category, or corruption names with commas.
        severities: "1-5", "1,3,5", an integer or integers.
        table: a table of severity constants, or "auto": by the side of the images.
        jpeg: quality of the JPEG round trip after each corruption, None or "none" for none, "auto": 85 for the tables
            of 224 and 299 pixels, whose published files are JPEG, none for the others.
        generator: "bivo-robust", or "imagecorruptions" to let that package make the pixels, for comparison.
        limit: evaluate this many images, chosen by a hash of their ids.
        seed: keys every random draw, 0 to 2**64 - 1.
        device: "auto" (CUDA where there is one), "cpu", "cuda", "cuda:1", …
        batch_size: images a forward pass.
        workers: decoding threads; None for one a core, up to eight.
        precision: of the forward pass, "fp32", "bf16" or "fp16" (autocast).
        out: folder of runs; each run is a folder in it.
        classes: tab-separated file of class number, folder name, label.
        skip_broken: leave out images that cannot be decoded and list them in the run, instead of stopping.
        preprocessing: overrides of `mean`, `std`, `input_size`, `resize_size`, `interpolation`.
        progress: called after each finished cell-block.
        block_size: images a block; part of the run's identity, because it sets the record files.

    Returns:
        One finished run for each model, in order.

    Raises:
        InputError: an option is out of range.
        UnknownNameError: a name is in no table.
        DataError: the data cannot be read or a result cannot be written.
        WeightsError: the weights do not fit.
        ModelOutputError: logits of a wrong shape or not finite; the cell is not written.
        RunMismatchError: a run's folder holds another configuration.
    """
    corruptions = resolve_suite(suite)
    chosen_severities = parse_severities(severities)
    _check_options(models, precision, generator, limit, seed, batch_size, block_size)
    target = choose_device(device)
    workers = min(8, os.cpu_count() or 1) if workers is None else workers
    dataset = open_data(data, limit=limit, classes=classes)
    networks = [_network(model, weights, dataset, target) for model in models]
    geometries = [_preprocessing(network, dataset, preprocessing or {}) for network in networks]

    def configure(dataset: Dataset, broken: tuple[dict[str, Any], ...] = ()) -> list[EvalConfig]:
        return [
            configure_run(
                *(_name(model), network, prepared, dataset),
                source=data,
                corruptions=corruptions,
                severities=chosen_severities,
                table=table,
                jpeg=jpeg,
                generator=generator,
                seed=seed,
                precision=precision,
                block_size=block_size,
                device=str(target),
                batch_size=batch_size,
                workers=workers,
                broken=broken,
            )
            for model, network, prepared in zip(models, networks, geometries, strict=True)
        ]

    configs = configure(dataset)
    if not all((Path(out) / config.folder / "run.json").exists() for config in configs):
        # A run folder is made only once every image has been decoded, so an existing one needs no second check.
        needed = None if dataset.stored_cells is None else configs[0].cells
        dataset, broken = _without_broken(dataset, needed, workers, skip_broken)
        configs = configure(dataset, broken)
    candidates = [
        Candidate(network, prepared, config, _open_folder(Path(out), config))
        for network, prepared, config in zip(networks, geometries, configs, strict=True)
    ]
    _Loop(dataset, candidates, target, batch_size, workers, progress).run()
    return [candidate.run for candidate in candidates]


class _Loop:
    """One pass over the blocks for all candidates: it holds what every step needs and counts the progress."""

    def __init__(
        self,
        dataset: Dataset,
        candidates: Sequence[Candidate],
        device: torch.device,
        batch_size: int,
        workers: int,
        progress: Callable[[Progress], None] | None,
    ) -> None:
        self.dataset = dataset
        self.device = device
        self.batch_size = batch_size
        self.workers = workers
        self.progress = progress
        self.tasks = list(_tasks(candidates))
        self.block_size = candidates[0].config.block_size
        self.images = 0

    def run(self) -> None:
        """Fill what is missing of every run; the images of a block are decoded once for each geometry."""
        block: tuple[int, Preprocessing] | None = None
        clean: NDArray[np.uint8] | None = None
        for done, task in enumerate(self.tasks, start=1):
            if not task.candidates:
                continue
            rows = np.arange(task.rows) + task.block * self.block_size
            if self.dataset.stored_cells is not None:
                images = self.dataset.read(rows, task.geometry, cell=task.cell, workers=self.workers)
            else:
                if clean is None or block != (task.block, task.geometry):
                    block = task.block, task.geometry
                    clean = self.dataset.read(rows, task.geometry, workers=self.workers)
                images = clean
            for candidate, columns in zip(task.candidates, self._classify(task, images, rows), strict=True):
                write_cell(cell_file(candidate.run.directory, task.cell, task.block), columns)
            self.images += task.rows * len(task.candidates)
            if self.progress is not None:
                total = sum(other.rows * len(other.candidates) for other in self.tasks)
                self.progress(Progress(task.cell, done, len(self.tasks), self.images, total))

    def _classify(
        self, task: Task, images: NDArray[np.uint8], rows: NDArray[np.int64]
    ) -> list[dict[str, NDArray[Any]]]:
        """Corrupt the images of a cell-block batch by batch and run every candidate on each batch."""
        made_here = task.cell != CLEAN and self.dataset.stored_cells is None
        parts: list[list[dict[str, NDArray[Any]]]] = [[] for _ in task.candidates]
        for start in range(0, len(images), self.batch_size):
            chosen = rows[start : start + self.batch_size]
            batch = torch.from_numpy(images[start : start + self.batch_size]).to(self.device)
            image_ids = self.dataset.image_ids[chosen]
            if made_here:
                batch = _corrupted(batch, task.cell, image_ids, task.candidates[0].config)
            labels = torch.from_numpy(self.dataset.labels[chosen]).to(self.device)
            for part, candidate in zip(parts, task.candidates, strict=True):
                logits = self._logits(candidate, batch, task.cell)
                part.append({"image_id": image_ids, **score(logits, labels)})
        return [{name: np.concatenate([p[name] for p in part]) for name in part[0]} for part in parts]

    def _logits(self, candidate: Candidate, batch: torch.Tensor, cell: Cell) -> torch.Tensor:
        """Float32 logits (B,K) of uint8 images (B,3,H,W), checked."""
        config = candidate.config
        images = normalise(batch, candidate.preprocessing).contiguous(memory_format=memory_format(config.name))
        logits = run_network(candidate.network, images, config.name, config.precision, self.dataset.num_classes)
        if not torch.isfinite(logits).all():
            corruption, severity = cell
            advice = "" if config.precision == "fp32" else "; try --precision fp32"
            raise ModelOutputError(
                f"{config.name} returned logits that are not finite on {corruption} severity {severity}; "
                f"the cell was not written{advice}"
            )
        return logits


def _tasks(candidates: Sequence[Candidate]) -> Iterator[Task]:
    """Every cell-block in the order of work, with the candidates that lack it and share its images."""
    for block, rows in candidates[0].run.blocks():
        for group in _by_geometry(candidates):
            for cell in candidates[0].config.cells:
                lacking = [c for c in group if not is_whole(cell_file(c.run.directory, cell, block), rows)]
                yield Task(block, rows, cell, group[0].preprocessing, lacking)


def _corrupted(batch: torch.Tensor, cell: Cell, image_ids: NDArray[np.int64], config: EvalConfig) -> torch.Tensor:
    """The pixels that a published file of this cell would hold."""
    corruption, severity = cell
    if config.generator == "imagecorruptions":
        from robustbench_bi.corruptions import original

        batch = original.corrupt(batch, corruption, severity, seed=config.seed, ids=image_ids)
    else:
        batch = corrupt(batch, corruption, severity, seed=config.seed, ids=image_ids, table=config.table)
    return batch if config.jpeg is None else jpeg_round_trip(batch, quality=config.jpeg)


def _name(model: str | torch.nn.Module) -> str:
    return model if isinstance(model, str) else type(model).__name__


def _by_geometry(candidates: Sequence[Candidate]) -> Iterator[list[Candidate]]:
    """Group candidates whose images are cut in the same way."""
    groups: dict[tuple[Any, ...], list[Candidate]] = {}
    for candidate in candidates:
        prepared = candidate.preprocessing
        key = (prepared.input_size, prepared.resize_size, prepared.interpolation)
        groups.setdefault(key, []).append(candidate)
    yield from groups.values()


def _network(
    model: str | torch.nn.Module, weights: str | None, dataset: Dataset, device: torch.device
) -> torch.nn.Module:
    """The model on its device, in evaluation mode, with the weights that the source asks for."""
    if isinstance(model, torch.nn.Module):
        return model.to(device).eval()
    brings_own = ":" in model and not model.startswith(("timm:", "torchvision:"))
    if weights is None and not brings_own:
        if dataset.kind != "demo":
            raise InputError(
                f"{model} on {dataset.kind} needs --weights: a checkpoint file, 'pretrained' or a torchvision weights "
                "name; 'none' evaluates random weights"
            )
        weights = "demo"
    # Published weights keep their own classifier: asked for another size, timm would put a random one in its place.
    own_classes = weights is not None and weights != "none" and not is_file(weights)
    network = create_model(model, num_classes=None if own_classes else dataset.num_classes, weights=weights)
    return network.to(device).to(memory_format=memory_format(model)).eval()


def _preprocessing(network: torch.nn.Module, dataset: Dataset, overrides: dict[str, Any]) -> Preprocessing:
    """The model's preprocessing; images of a fixed native size are used as they are."""
    if dataset.native_size is None:
        return preprocessing_of(network, **overrides)
    if {"input_size", "resize_size", "interpolation"} & set(overrides):
        raise InputError(f"{dataset.kind} images are {dataset.native_size} pixels and are not resized; leave out sizes")
    prepared = preprocessing_of(network, **overrides)
    return replace(prepared, input_size=dataset.native_size, resize_size=dataset.native_size)


def _without_broken(
    dataset: Dataset, cells: Sequence[Cell] | None, workers: int, skip: bool
) -> tuple[Dataset, tuple[dict[str, Any], ...]]:
    """Decode every image once before anything is written; stop at broken ones, or leave them out and list them."""
    broken = dataset.find_broken(workers, cells)
    if not broken:
        return dataset, ()
    if not skip:
        shown = "; ".join(f"{image.path} ({image.reason})" for image in broken[:3])
        more = f" and {len(broken) - 3} more" if len(broken) > 3 else ""
        raise DataError(
            f"{len(broken)} of {len(dataset.image_ids)} images cannot be decoded: {shown}{more}. "
            "Mend them, or leave them out with --skip-broken"
        )
    listed = tuple(
        {"image_id": int(image.image_id), "path": str(image.path), "reason": image.reason} for image in broken
    )
    return dataset.without([image.image_id for image in broken]), listed


def _open_folder(out: Path, config: EvalConfig) -> Run:
    """The run's folder: made with its `run.json` when new, checked when it is there."""
    directory = out / config.folder
    path = directory / "run.json"
    if path.exists():
        try:
            found = json.loads(path.read_text(encoding="utf-8")).get("fingerprint")
        except (OSError, ValueError, AttributeError) as error:
            raise RunMismatchError(f"{path} cannot be read ({error}). Move {directory} away or choose --out") from error
        if found != config.fingerprint:
            raise RunMismatchError(
                f"{directory} holds another configuration (fingerprint {str(found)[:12]}, this one is "
                f"{config.fingerprint[:12]}). Move it away or choose another --out"
            )
    else:
        with replacing(path) as partial:
            partial.write_text(json.dumps(config.as_json(), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return Run(directory)


def _check_options(
    models: Sequence[Any],
    precision: str,
    generator: str,
    limit: int | None,
    seed: int,
    batch_size: int,
    block_size: int,
) -> None:
    if not models:
        raise InputError("at least one model is needed")
    if precision not in PRECISIONS:
        raise InputError(f"precision must be one of {', '.join(PRECISIONS)}, got {precision!r}")
    if generator not in GENERATORS[:2]:
        raise InputError(f"generator must be one of {', '.join(GENERATORS[:2])}, got {generator!r}")
    if not 0 <= seed < 2**64:
        raise InputError(f"seed must be an integer from 0 to 2**64 - 1, got {seed}")
    for name, value in (("limit", limit), ("batch_size", batch_size), ("block_size", block_size)):
        if value is not None and value < 1:
            raise InputError(f"{name} must be at least 1, got {value}")

"""The evaluation loop: blocks of images, cells of corruption × severity, models, records.

A block of images is decoded once and held as uint8; every cell and every model of the call runs on it from memory.
Each finished cell-block is one file, so a run that was stopped at any moment continues where it stood, and several
processes can share a run: each fills its own part of the cell-blocks.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from robustbench_bi.corruptions import resolve_suite
from robustbench_bi.corruptions.apply import corrupt, jpeg_round_trip
from robustbench_bi.data import Dataset, open_data
from robustbench_bi.data.broken import without_broken
from robustbench_bi.data.preprocess import Cut
from robustbench_bi.errors import ModelOutputError
from robustbench_bi.evaluation.cell_blocks import Candidate, CellBlock, cell_blocks_of, there_already
from robustbench_bi.evaluation.configure import configure_run
from robustbench_bi.evaluation.folders import close_folder, open_folder
from robustbench_bi.evaluation.networks import (
    device_for,
    logits_of,
    name_of,
    network_for,
    preprocessing_for,
    try_out,
    weights_for,
)
from robustbench_bi.evaluation.prepare import check_options
from robustbench_bi.evaluation.sharing import ALONE, Share, owners, wait_until
from robustbench_bi.ground.cells import CLEAN, Cell, Progress, cell_label, parse_severities
from robustbench_bi.models.inference import score
from robustbench_bi.runs.identity import BLOCK_SIZE, EvalConfig
from robustbench_bi.runs.records import Run, write_cell

if TYPE_CHECKING:
    from numpy.typing import NDArray


def evaluate(model: str | torch.nn.Module, data: str | Path = "demo", **options: Any) -> Run:
    """Evaluate one model on clean and corrupted images, and keep every prediction.

    Args:
        model: a name as for `create_model`, or a module that maps normalised float images (B,3,H,W) to logits (B,K).
            A module's attributes `mean`, `std`, `input_size` are its preprocessing, where it has them.
        data: a data source, as in `bivo-robust list data`.
        **options: as for `evaluate_models`.

    Returns:
        The finished run; with a `share`, as for `evaluate_models`.

    Example:
        >>> import tempfile
        >>> run = evaluate("resnet50", suite="contrast", severities=5, limit=8, out=tempfile.mkdtemp())
        >>> run.cells()[["corruption", "severity", "n"]].values.tolist()
        [['none', 0, 8], ['contrast', 5, 8]]
    """
    return evaluate_models([model], data, **options)[0]


def evaluate_models(
    models: Sequence[str | torch.nn.Module],
    data: str | Path = "demo",
    *,
    weights: str | Sequence[str] | None = None,
    suite: str | Sequence[str] = "imagenet-c",
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
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    input_size: int | None = None,
    resize_size: int | None = None,
    interpolation: str | None = None,
    progress: Callable[[Progress], None] | None = None,
    block_size: int = BLOCK_SIZE,
    share: Share = ALONE,
) -> list[Run]:
    """Evaluate several models in one pass; models whose images are cut alike share every corrupted batch.

    Args:
        models: names or modules, as for `evaluate`.
        data: a data source.
        weights: for models given by name: a file, a torchvision weights name, "pretrained", "none" or "demo"; one for
            all, or one for each. Without it the `demo` source takes the bundled demo weights, and a user's own factory
            brings its own.
        suite: a suite, a category, or corruption names with commas, or a sequence of names.
        severities: "1-5", "1,3,5", an integer or integers.
        table: a table of severity constants, or "auto": by the side of the images.
        jpeg: quality of the JPEG round trip after each corruption, None or "none" for none, "auto": 85 for the tables
            of 224 and 299 pixels, as ImageNet-C was stored, none for the others (Tiny-ImageNet-C's published files are
            JPEG 85 too).
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
        mean, std, input_size, resize_size, interpolation: in place of the models' own; see `Preprocessing`.
        progress: called after each finished cell-block.
        block_size: images a block; part of the run's identity, because it sets the record files.
        share: which of several processes this is. Each makes the same call and fills its part of the cell-blocks; by
            default there is one. The command line takes it from torchrun or SLURM, by `ranks.share_of_environment`.

    Returns:
        One finished run for each model, in order. With a `share` only rank 0 of processes started together waits for
        the others; for every other one `Run.missing` tells what they have still to do.

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
    workers = min(8, os.cpu_count() or 1) if workers is None else workers
    check_options(
        precision, generator, seed, limit=limit, batch_size=batch_size, block_size=block_size, workers=workers
    )
    weights_of = weights_for(models, weights)
    target = device_for(device, share)
    states = [(model, _state_of(model)) for model in models if isinstance(model, torch.nn.Module)]
    dataset = open_data(str(data), limit=limit, classes=classes)
    networks = [network_for(model, own, dataset, target, seed) for model, own in zip(models, weights_of, strict=True)]
    given = {"mean": mean, "std": std, "input_size": input_size, "resize_size": resize_size}
    overrides = {name: value for name, value in {**given, "interpolation": interpolation}.items() if value is not None}
    preprocessings = [preprocessing_for(network, dataset, overrides) for network in networks]

    def configure(dataset: Dataset, broken: tuple[dict[str, Any], ...] = ()) -> list[EvalConfig]:
        return [
            configure_run(
                *(name_of(model), network, prepared, dataset),
                source=str(data),
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
            for model, network, prepared in zip(models, networks, preprocessings, strict=True)
        ]

    configs = configure(dataset)
    begun = all((Path(out) / config.folder / "run.json").exists() for config in configs)
    if not begun and (skip_broken or not share.follows):
        # A run folder is made only once every image has been decoded, so an existing one needs no second check. Of
        # processes started together rank 0 does it for all, unless each must know which images are left out.
        needed = None if dataset.stored_cells is None else configs[0].cells
        dataset, broken = without_broken(dataset, needed, workers, skip_broken)
        configs = configure(dataset, broken)
        for network, prepared, config in zip(networks, preprocessings, configs, strict=True):
            try_out(network, prepared, config, dataset)
    candidates = [
        Candidate(network, prepared, config, open_folder(Path(out), config, share))
        for network, prepared, config in zip(networks, preprocessings, configs, strict=True)
    ]
    try:
        _Loop(dataset, candidates, target, batch_size, workers, progress, share).run()
    finally:
        for candidate in candidates:
            close_folder(candidate.run, share)
        for model, (was_training, was_on) in states:
            model.train(was_training).to(was_on)
    return [candidate.run for candidate in candidates]


def _state_of(model: torch.nn.Module) -> tuple[bool, torch.device]:
    """Whether a module is in training mode, and where it is; evaluation leaves both as they were."""
    return model.training, next((parameter.device for parameter in model.parameters()), torch.device("cpu"))


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
        share: Share,
    ) -> None:
        self.dataset = dataset
        self.device = device
        self.batch_size = batch_size
        self.workers = workers
        self.progress = progress
        self.candidates = candidates
        self.block_size = candidates[0].config.block_size
        cell_blocks = list(cell_blocks_of(candidates))
        owned = list(
            zip(cell_blocks, owners([cell_block.images for cell_block in cell_blocks], share.count), strict=True)
        )
        self.cell_blocks = [cell_block.lacking() for cell_block, owner in owned if owner == share.rank]
        self.others = [cell_block for cell_block, owner in owned if owner != share.rank] if share.leads else []
        self.others_before = there_already(self.others)
        self.unit = "cells" if len({cell_block.block for cell_block in cell_blocks}) == 1 else "cell-blocks"
        self.images = 0

    def run(self) -> None:
        """Fill what is missing of the own part, then wait for the others where this process is to."""
        self._fill()
        if self.others:
            self._wait()

    def _fill(self) -> None:
        """Fill the own cell-blocks; the images of a block are decoded once for each way of cutting them."""
        block: tuple[int, Cut] | None = None
        clean: NDArray[np.uint8] | None = None
        images: NDArray[np.uint8] | None = None
        for done, cell_block in enumerate(self.cell_blocks, start=1):
            if not cell_block.candidates:
                continue
            rows = np.arange(cell_block.rows) + cell_block.block * self.block_size
            if self.dataset.stored_cells is not None:
                images = None  # so that the last block's memory is free before the next one is read
                images = self.dataset.read(rows, cell_block.preprocessing, cell=cell_block.cell, workers=self.workers)
            else:
                if clean is None or block != (cell_block.block, cell_block.preprocessing.cut):
                    block, images, clean = (cell_block.block, cell_block.preprocessing.cut), None, None
                    clean = self.dataset.read(rows, cell_block.preprocessing, workers=self.workers)
                images = clean
            for candidate, columns in zip(cell_block.candidates, self._classify(cell_block, images, rows), strict=True):
                write_cell(cell_block.file(candidate), columns)
            self.images += cell_block.images
            self._show(cell_block.cell, done, there_already(self.others))

    def _wait(self) -> None:
        """Wait until the others have done their part, and show how they come on; give up on those that died."""
        there = there_already(self.others)

        def look() -> int:
            nonlocal there
            before, there = there, there_already(self.others)
            if new := there - before:
                self._show(self.others[max(new)].cell, len(self.cell_blocks), there)
            return len(there)

        def finished() -> bool:
            return len(there) == len(self.others) and not any(c.run.missing() for c in self.candidates)

        wait_until(finished, look)

    def _show(self, cell: Cell, done: int, there: set[int]) -> None:
        """Report a finished cell-block: so many of the own ones are done, and these of the others'."""
        if self.progress is None:
            return
        of_others = sum(self.others[number].images for number in there - self.others_before)
        still = sum(
            cell_block.images for number, cell_block in enumerate(self.others) if number not in self.others_before
        )
        images_total = sum(cell_block.images for cell_block in self.cell_blocks) + still
        steps_done, steps_total = done + len(there), len(self.cell_blocks) + len(self.others)
        self.progress(
            Progress(cell_label(cell), self.unit, steps_done, steps_total, self.images + of_others, images_total)
        )

    def _classify(
        self, cell_block: CellBlock, images: NDArray[np.uint8], rows: NDArray[np.int64]
    ) -> list[dict[str, NDArray[Any]]]:
        """Corrupt the images of a cell-block batch by batch and run every candidate on each batch."""
        made_here = cell_block.cell != CLEAN and self.dataset.stored_cells is None
        parts: list[list[dict[str, NDArray[Any]]]] = [[] for _ in cell_block.candidates]
        for start in range(0, len(images), self.batch_size):
            chosen = rows[start : start + self.batch_size]
            batch = torch.from_numpy(images[start : start + self.batch_size]).to(self.device)
            image_ids = self.dataset.image_ids[chosen]
            if made_here:
                batch = _corrupted(batch, cell_block.cell, image_ids, cell_block.candidates[0].config)
            labels = torch.from_numpy(self.dataset.labels[chosen]).to(self.device)
            for part, candidate in zip(parts, cell_block.candidates, strict=True):
                logits = self._logits(candidate, batch, cell_block.cell)
                part.append({"image_id": image_ids, **score(logits, labels)})
        return [{name: np.concatenate([p[name] for p in part]) for name in part[0]} for part in parts]

    def _logits(self, candidate: Candidate, batch: torch.Tensor, cell: Cell) -> torch.Tensor:
        """Float32 logits (B,K) of uint8 images (B,3,H,W), checked."""
        config = candidate.config
        logits = logits_of(candidate.network, batch, candidate.preprocessing, config)
        if not torch.isfinite(logits).all():
            corruption, severity = cell
            advice = "" if config.precision == "fp32" else "; try --precision fp32"
            raise ModelOutputError(
                f"{config.name} returned logits that are not finite on {corruption} severity {severity}; "
                f"the cell was not written{advice}"
            )
        return logits


def _corrupted(batch: torch.Tensor, cell: Cell, image_ids: NDArray[np.int64], config: EvalConfig) -> torch.Tensor:
    """The pixels of this cell, after the JPEG round trip where the configuration has one."""
    corruption, severity = cell
    if config.generator == "imagecorruptions":
        from robustbench_bi.corruptions import original

        batch = original.corrupt(batch, corruption, severity, seed=config.seed, ids=image_ids)
    else:
        batch = corrupt(batch, corruption, severity, seed=config.seed, ids=image_ids, table=config.table)
    return batch if config.jpeg is None else jpeg_round_trip(batch, quality=config.jpeg)

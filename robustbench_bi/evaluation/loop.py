"""The evaluation loop: blocks of images, cells of corruption × severity, models, records.

A block of images is decoded once and held as uint8; every cell and every model of the call runs on it from memory.
Each finished cell-block is one file, so a run that was stopped at any moment continues where it stood, and several
processes can share a run: each fills its own part of the cell-blocks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from robustbench_bi.data.broken import without_broken
from robustbench_bi.errors import InputError, ModelOutputError
from robustbench_bi.evaluation.adapting import Plan
from robustbench_bi.evaluation.cell_blocks import Candidate, CellBlock, cell_blocks_of, there_already
from robustbench_bi.evaluation.folders import close_folder, note, open_folder
from robustbench_bi.evaluation.networks import load_networks
from robustbench_bi.evaluation.opening import open_images
from robustbench_bi.evaluation.pixels import BlockReader
from robustbench_bi.evaluation.request import EvalRequest, other_labels
from robustbench_bi.evaluation.sharing import ALONE, Share, owners, wait_until
from robustbench_bi.evaluation.threads import Threads
from robustbench_bi.ground.cells import CLEAN, Cell, Progress, cell_label
from robustbench_bi.ground.freed_memory import freed_memory_kept
from robustbench_bi.models.batch_size import out_of_memory
from robustbench_bi.models.detectors.adapters import LIMITS
from robustbench_bi.models.inference import unchanged
from robustbench_bi.tasks import task_of

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray
    from torch import nn

    from robustbench_bi.data import Dataset
    from robustbench_bi.data.request import DataRequest
    from robustbench_bi.evaluation.pixels import Images
    from robustbench_bi.runs.run import Run

    Pictures = torch.Tensor | list[torch.Tensor]
    Batch = tuple[NDArray[np.int64], list[Pictures]]
    Columns = dict[str, NDArray[Any]]
    Answer = Columns | Callable[[], Columns]


def evaluate(model: str | nn.Module, data: str | Path | DataRequest = "demo", **options: Any) -> Run:
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
    models: Sequence[str | nn.Module],
    data: str | Path | DataRequest = "demo",
    *,
    progress: Callable[[Progress], None] | None = None,
    share: Share = ALONE,
    **options: Any,
) -> list[Run]:
    """Evaluate several models in one pass; models whose images are cut alike share every corrupted batch.

    Args:
        models: names or modules, as for `evaluate`.
        data: a data source, or a `DataRequest`, which holds its options too.
        progress: called after each finished cell-block.
        share: which of several processes this is. Each makes the same call and fills its part of the cell-blocks; by
            default there is one. The command line takes it from torchrun or SLURM, by `sharing.share_of_environment`.
        **options: the fields of `EvalRequest` and `DataRequest`:

            weights: for models given by name: a file, a torchvision weights name, "pretrained", "none" or "demo"; one
                for all, or one for each. Without it the `demo` source takes the bundled demo weights, and a user's own
                factory brings its own.
            suite: a suite, a category, or corruption names with commas, or a sequence of names.
            severities: "1-5", "1,3,5", an integer or integers.
            table: a table of severity constants, or "auto": by the side of the images.
            jpeg: quality of the JPEG round trip after each corruption, None or "none" for none, "auto": 85 for the
                tables of 224 and 299 pixels, as ImageNet-C was stored, none for the others (Tiny-ImageNet-C's published
                files are JPEG 85 too).
            generator: "bivo-robust", or "imagecorruptions" to let that package make the pixels, for comparison.
            limit: evaluate this many images, chosen by a hash of their ids.
            seed: keys every random draw, 0 to 2**64 - 1.
            device: "auto" (CUDA where there is one), "cpu", "cuda", "cuda:1", …
            batch_size: images per forward pass, or "auto" for what fits.
            compile: run the networks compiled by torch.compile; one that does not compile runs without.
            adapt: "bn:N", to let batch norms adapt to each batch; see docs/adaptation.md.
            workers: decoding threads; None for one per core, up to eight.
            precision: of the forward pass, "fp32", "bf16" or "fp16" (autocast).
            out: folder of runs; each run is a folder in it.
            classes: tab-separated file of class number, folder name, label; or folders alone; or "imagenet-1k".
            labels, class_space, images, clean, common_images: which labels, classes and images; see `open_data`.
            fit, corrupt_size, no_resize, channels: at which side and in which colours networks see them; docs/data.md.
            skip_broken: leave out images that cannot be decoded and list them in the run, instead of stopping.
            mean, std, input_size, resize_size, interpolation: in place of the models' own; see `Preprocessing`.
            block_size: images a block; part of the run's identity, because it sets the record files.

    Returns:
        One finished run for each model, in order. With a `share` only rank 0 of processes started together waits for
        the others; for every other one `Run.missing` tells what they have still to do.

    Raises:
        InputError: an option is out of range.
        UnknownNameError: a name is in no table.
        DataError: the data cannot be read or a result cannot be written.
        WeightsError: the weights do not fit.
        ModelOutputError: logits of a wrong shape or not finite; the cell is not written.
        RunMismatchError: a run's folder holds a different configuration.
    """
    return evaluate_request(EvalRequest.of(models, data, **options), progress=progress, share=share)


def evaluate_request(
    request: EvalRequest,
    *,
    progress: Callable[[Progress], None] | None = None,
    share: Share = ALONE,
    ready: Callable[[], None] | None = None,
    dataset: Dataset | None = None,
) -> list[Run]:
    """Do what a request says; see `evaluate_models`.

    Args:
        request, progress, share: as there.
        ready: called before the first cell-block, when all that can be refused has been; not where none is missing.
        dataset: the images, where `open_images` has opened them already.
    """
    with unchanged(request.models):
        dataset, subjects = _prepare(request, open_images(request) if dataset is None else dataset, share)
        candidates = [
            Candidate(subject, open_folder(Path(request.out), subject.config, dataset, share)) for subject in subjects
        ]
        try:
            loop = _Loop(request, dataset, candidates, progress, share)
            if ready is not None and any(one.candidates for one in loop.cell_blocks):
                ready()
            with freed_memory_kept():
                loop.run()
        finally:
            for candidate in candidates:
                close_folder(candidate.run, share)
    return [candidate.run for candidate in candidates]


def _prepare(request: EvalRequest, dataset: Dataset, share: Share) -> tuple[Dataset, list[Any]]:
    """The images without broken ones, and the networks, tried out: what can be refused is, before anything is written.

    A run folder is made only once every image has been decoded, so an existing one needs no second check. Of processes
    started together rank 0 does it for all, unless each must know which images are left out.
    """
    networks = _loader(request, dataset)(request, dataset, share)
    subjects = networks.configured(dataset)
    begun = all((Path(request.out) / subject.config.folder / "run.json").exists() for subject in subjects)
    if begun or (share.follows and not request.skip_broken):
        return dataset, subjects
    cells = subjects[0].config.cells
    needed = None if dataset.stored_cells is None else cells
    dataset, broken = without_broken(dataset, needed, request.workers or 0, request.skip_broken)
    if broken:
        subjects = networks.configured(dataset, broken)
    reader = BlockReader(dataset, 0, networks.device)
    for subject in subjects:
        image = reader.read(0, np.array([0]), subject.preprocessing, cells[0])
        task_of({"task": request.task}).load("try_out")(
            subject, reader.batch(image, cells[0], dataset.image_ids[:1], subject.config)
        )
        if dataset.objects is not None:
            from robustbench_bi.evaluation.box_scale import check_scale

            check_scale(subject, dataset)
    return dataset, subjects


def _loader(request: EvalRequest, dataset: Dataset) -> Callable[..., Any]:
    """What loads the networks that a task asks; the labels of the data must be what it asks for.

    Raises:
        InputError: they are classes and the task is detection, or they are objects and it is another one.
    """
    if (request.task == "detection") != (dataset.objects is not None):
        raise other_labels(request.task, dataset.kind)
    if request.task == "detection":
        from robustbench_bi.evaluation.detectors import load_detectors

        return load_detectors
    limits = [name for name in LIMITS if getattr(request, name) is not None]
    if limits:
        raise InputError(f"{limits[0]} is for detectors; leave it out")
    return load_networks


class _Loop:
    """One pass over the blocks for all candidates: it holds what every step needs and counts the progress."""

    def __init__(
        self,
        request: EvalRequest,
        dataset: Dataset,
        candidates: Sequence[Candidate],
        progress: Callable[[Progress], None] | None,
        share: Share,
    ) -> None:
        self.request = request
        self.dataset = dataset
        self.candidates = candidates
        self.progress = progress
        self.ask = task_of({"task": request.task}).load("ask")
        self.reader = BlockReader(dataset, request.workers or 0, candidates[0].subject.config.device)
        planned = list(cell_blocks_of(candidates))
        owned = list(zip(planned, owners([one.images for one in planned], share.count), strict=True))
        self.cell_blocks = [one.lacking() for one, owner in owned if owner == share.rank]
        self.others = [one for one, owner in owned if owner != share.rank] if share.leads else []
        self.others_before = there_already(self.others)
        size = candidates[0].subject.batch_size
        self.plan = Plan(dataset, request.block_size, size, adapting=request.adapt is not None)
        self.unit = "cells" if len({one.block for one in planned}) == 1 else "cell-blocks"
        self.images = 0
        self.share = share
        configs = [one.subject.config for one in candidates]
        settled = any(one.device != "cpu" or one.forward == "compiled" for one in configs)
        # There is nothing to make beside a network that sees pictures as they are, so that is settled by itself.
        self.threads = {made: Threads(settled=settled) for made in (True, False)}

    def run(self) -> None:
        """Fill what is missing of the own part, then wait for the others where this process is to."""
        self._fill()
        if self.share.rank == 0:
            for candidate in self.candidates:
                smaller = self.plan.size if self.plan.size < candidate.subject.batch_size else None
                chosen = self.threads[True].chosen or self.threads[False].chosen
                note(candidate.run, threads=chosen, batch_size=smaller)
        if self.others:
            self._wait()

    def _fill(self) -> None:
        """Fill the own cell-blocks; the images of a block are decoded once for each way of cutting them."""
        for done, cell_block in enumerate(self.cell_blocks, start=1):
            if not cell_block.candidates:
                continue
            records = self._records(cell_block)
            for candidate, columns in zip(cell_block.candidates, records, strict=True):
                candidate.run.write_block(cell_block.cell, cell_block.block, columns, cell_block.rows)
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
        still = sum(one.images for number, one in enumerate(self.others) if number not in self.others_before)
        images_total = sum(one.images for one in self.cell_blocks) + still
        steps_done, steps_total = done + len(there), len(self.cell_blocks) + len(self.others)
        self.progress(
            Progress(cell_label(cell), self.unit, steps_done, steps_total, self.images + of_others, images_total)
        )

    def _records(self, cell_block: CellBlock) -> list[Columns]:
        """The record columns of a cell-block, for each candidate; they are asked about the same batches."""
        cell, preprocessing = cell_block.cell, cell_block.preprocessing
        rows = self.plan.rows(cell_block.block, cell_block.rows)
        images = self.reader.read(cell_block.block, rows, preprocessing, cell)
        batches = list(self.plan.batches(cell_block.block, cell_block.rows))
        makes = [partial(self._batch, cell_block, images[chosen], rows[chosen]) for chosen, _ in batches]
        parts: list[list[Columns]] = [[] for _ in cell_block.candidates]
        made = cell != CLEAN and self.dataset.stored_cells is None
        answers = self.threads[made].each(makes, partial(self._answers, cell_block), _columns)
        for (_, known), answered in zip(batches, answers, strict=True):
            for part, columns in zip(parts, answered, strict=True):
                part.append({name: column[known:] for name, column in columns.items()} if known else columns)
        return [_joined(part) for part in parts]

    def _batch(self, cell_block: CellBlock, images: Images, rows: NDArray[np.int64]) -> Batch:
        """The rows of a batch, and its pictures in the cell, as each candidate takes them."""
        candidates = cell_block.candidates
        config = candidates[0].subject.config
        made = self.reader.batch(images, cell_block.cell, self.dataset.image_ids[rows], config)
        if config.device != "cpu":  # there memory is scarce, and one candidate's pictures are prepared at a time
            return rows, [made for _ in candidates]
        # Of detectors it is a list of pictures, of classifiers a tensor.
        return rows, [candidate.subject.prepared(made) for candidate in candidates]  # type: ignore[arg-type]

    def _answers(self, cell_block: CellBlock, batch: Batch) -> list[list[Answer]]:
        """What each candidate answers to a batch, part by part.

        Where the batch size was left open and memory runs out, it is halved, for this batch and all that follow.
        """
        rows, images = batch
        parts: list[list[Answer]] = []
        done = 0
        while done < len(rows):
            some = slice(done, done + self.plan.size)
            try:
                parts.append(self._asked(cell_block, [own[some] for own in images], rows[some]))
                done += len(rows[some])
            except (RuntimeError, MemoryError, ModelOutputError) as error:
                tried = len(rows[some])
                if self.request.batch_size != "auto" or tried == 1 or not out_of_memory(error):
                    raise
                self.plan.size = tried // 2
        return parts

    def _asked(self, cell_block: CellBlock, images: Sequence[Pictures], rows: NDArray[np.int64]) -> list[Answer]:
        """Ask each candidate about pictures of a cell."""
        cell, image_ids, labels = cell_block.cell, self.dataset.image_ids[rows], self.dataset.labels[rows]
        place = "on clean images" if cell == CLEAN else f"on {cell[0]} severity {cell[1]}"
        return [
            self.ask(candidate.subject, own, image_ids, labels, place)
            for candidate, own in zip(cell_block.candidates, images, strict=True)
        ]


def _columns(parts: Sequence[Sequence[Answer]]) -> list[Columns]:
    """The record columns of a batch, for each candidate, from what they answered part by part."""
    return [_joined([answer() if callable(answer) else answer for answer in own]) for own in zip(*parts, strict=True)]


def _joined(parts: Sequence[Columns]) -> Columns:
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]} if len(parts) > 1 else parts[0]

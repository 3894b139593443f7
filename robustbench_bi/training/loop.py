"""Training, from a dataset to a checkpoint that `create_model` loads; stopped at any step, it goes on exactly there.

The order of the images and their crops depend on the seed and the epoch only, so two runs on one machine's CPU give
equal weights, and so does one that was interrupted. No corruption of the benchmark is ever applied.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from robustbench_bi.data import Dataset, open_data
from robustbench_bi.data.preprocess import Preprocessing, preprocessing_of
from robustbench_bi.errors import DataError, InputError
from robustbench_bi.ground.checks import check_integer, is_integer
from robustbench_bi.ground.cores import default_workers
from robustbench_bi.models import MODELS, create_model, resolve
from robustbench_bi.models.detectors import DETECTORS
from robustbench_bi.models.inference import memory_format
from robustbench_bi.models.weights import source_hash
from robustbench_bi.training.detection_start import prepare_detector
from robustbench_bi.training.distributed import Processes, join, losing_others
from robustbench_bi.training.files import Files
from robustbench_bi.training.images import TrainingImages, reader
from robustbench_bi.training.logs import Progress, Watchers, tensorboard
from robustbench_bi.training.recipe import Recipe, resolve_recipe, stated
from robustbench_bi.training.session import Prepared, Session
from robustbench_bi.training.state import Position, restore_state
from robustbench_bi.training.steps import Execution, Learner, share_out
from robustbench_bi.training.stopping import stop_requests

SAVE_EVERY = 600.0
"""Seconds after which the state is kept within an epoch."""


def train(
    model: str,
    data: str = "demo",
    *,
    preset: str = "paper",
    epochs: int | None = None,
    recipe: Mapping[str, Any] | None = None,
    limit: int | None = None,
    seed: int = 0,
    out: str | Path = "trained",
    device: str = "auto",
    precision: str = "fp32",
    accumulate: int = 1,
    compiled: bool = False,
    sync_batch_norm: bool | None = None,
    workers: int | None = None,
    classes: str | Path | None = None,
    options: Mapping[str, Any] | None = None,
    save_every: float = SAVE_EVERY,
    events: bool = False,
    progress: Callable[[Progress], None] | None = None,
    note: Callable[[str], None] | None = None,
) -> Path:
    """Train a model from random weights and write it as one file, with all that is needed to rebuild it.

    Beside the checkpoint lies `<model>.csv`, one line an epoch. While it trains, `<model>-state.safetensors` holds what
    the same call needs to go on where it stopped, and `<model>-last.safetensors` the weights of the last whole epoch;
    both go away at the end. The result is the last epoch, never a chosen one. A finished training is not repeated.

    Under torchrun the processes share each batch; the first writes the files.

    Args:
        model: a name as for `create_model`.
        data: a data source with a training and an evaluation split.
        preset: a key of `PRESETS`; of detectors "detection", "detection-dynamic" or "demo-detection".
        epochs: in place of the preset's.
        recipe: other fields of `Recipe`, in place of the preset's.
        limit: train on this many images, chosen by a hash of their ids; the evaluation split stays whole.
        seed: of the initial weights, the order of the images, their crops and augmentation.
        out: folder of the results.
        device: "auto" (CUDA where there is one), "cpu", "cuda", "cuda:1", …
        precision: of the forward pass, "fp32" or "bf16" (autocast).
        accumulate: micro-batches a step, where a batch does not fit into memory.
        compiled: use `torch.compile`.
        sync_batch_norm: batch normalisation takes its statistics over all processes; None does so on CUDA.
        workers: threads that decode and augment images; None for one a core, up to eight, shared by the processes.
        classes: a class file, for folders that hold only some classes.
        options: options of the model, over those of the preset; of a detector also `backbone_weights`, a checkpoint of
            its backbone, whose stem, first stage and statistics then stay as they are.
        save_every: seconds after which the state is kept within an epoch; it is kept after each epoch anyway.
        events: write TensorBoard's events to `<model>-tensorboard`.
        progress: called for each step, in the first process.
        note: called with a line for a person, where the training goes on or was finished before.

    Returns:
        The checkpoint, `<out>/<model>.safetensors`.

    Raises:
        InputError: an argument is out of range, or the processes cannot share the batch.
        DataError: the data cannot be read, lack a split, or `out` cannot be written.
        RunMismatchError: `out` holds this model, trained in another way.
        ModelOutputError: the loss is not finite; the checkpoint of the last whole epoch is kept.
        KeyboardInterrupt: Ctrl-C came, or SIGTERM (then it is a Terminated); the state is kept.

    Example:
        >>> import tempfile
        >>> path = train("resnet38", preset="demo", epochs=1, limit=8, out=tempfile.mkdtemp())
        >>> path.name
        'resnet38.safetensors'
    """
    with ExitStack() as stack:
        processes = stack.enter_context(join(device))
        cuda = processes.device.type == "cuda"
        stack.enter_context(torch.random.fork_rng(devices=[processes.device] if cuda else []))
        stack.enter_context(losing_others(processes, "Run the same command to resume from the last saved state"))

        def settle() -> tuple[Recipe, Execution]:
            _check(seed, precision, accumulate, save_every, workers)
            synchronised = processes.count > 1 and (cuda if sync_batch_norm is None else sync_batch_norm)
            execution = Execution(precision, memory_format(model), accumulate, compiled, synchronised)
            changes = recipe or {} if epochs is None else {**(recipe or {}), "epochs": epochs}
            return resolve_recipe(preset, **changes), execution

        chosen, execution = processes.together(settle)
        stack.enter_context(_fitting(chosen.batch_size // (processes.count * accumulate)))
        # What has to be downloaded the others then find.
        mine = processes.together(lambda: _open_splits(data, limit, classes) if processes.first else None)
        splits = processes.together(lambda: mine or _open_splits(data, limit, classes))

        def prepare() -> Prepared:
            start = _prepare if splits[0].objects is None else prepare_detector
            threads = default_workers(processes.neighbours) if workers is None else workers
            ready = start(model, data, splits, chosen, execution, options or {}, seed, threads, processes)
            if (side := (recipe or {}).get("input_size", ready.recipe.input_size)) != ready.recipe.input_size:
                raise InputError(f"{model} on {data} takes {ready.recipe.input_size} pixels, not {side}; leave it out")
            return ready

        prepared = processes.together(prepare)
        files = Files(Path(out), re.sub(r"[^A-Za-z0-9._-]+", "-", MODELS[model].name if model in MODELS else model))
        tell = note if note is not None and processes.first else lambda _: None
        if processes.tell(processes.together(lambda: processes.first and files.finished(prepared.about))):
            tell(f"Training already finished: {files.weights}. Nothing to do.")
            return files.weights
        kept = processes.tell(processes.together(lambda: files.kept(prepared.about) if processes.first else None))
        position = kept[1] if kept else Position()
        if kept:
            tell(f"Resuming after step {position.step} of epoch {position.epoch + 1}, from {files.state}.")
        watchers = [Watchers(step=progress)] if progress is not None and processes.first else []
        if events:
            done = position.epoch * prepared.steps + position.step
            shown = tensorboard(files.events, prepared.steps, done) if processes.first else nullcontext(Watchers())
            watchers.append(processes.together(lambda: stack.enter_context(shown)))
        stop_asked = stack.enter_context(stop_requests(patient=processes.count > 1))
        session = Session(prepared, files, position, watchers, stop_asked, save_every)
        if kept:
            restore_state(kept[0], session.learner.modules, session.learner.optimiser, processes)
        session.run()
        return files.weights


@contextmanager
def _fitting(images: int) -> Iterator[None]:
    """One line where the device's memory is too small for so many images at once."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        advice = "use more micro-batches (--accumulate), more processes, or a smaller --batch-size"
        raise InputError(f"{images} images at once do not fit in the device's memory; {advice}") from error


def _check(seed: int, precision: str, accumulate: int, save_every: float, workers: int | None) -> None:
    if not is_integer(seed) or not 0 <= seed < 2**63:
        raise InputError(f"seed must be an integer from 0 to 2**63 - 1, got {seed!r}")
    if precision not in ("fp32", "bf16"):
        raise InputError(f"precision must be fp32 or bf16, got {precision!r}")
    check_integer("accumulate", accumulate, 1)
    if not save_every >= 0:
        raise InputError(f"save_every must be at least 0 seconds, got {save_every!r}")
    if workers is not None:
        check_integer("workers", workers, 0)


def _prepare(
    model: str,
    data: str,
    splits: tuple[Dataset, Dataset],
    recipe: Recipe,
    execution: Execution,
    options: Mapping[str, Any],
    seed: int,
    workers: int,
    processes: Processes,
) -> Prepared:
    """Build the network, read what is kept in memory, and say what identifies the training."""
    training, evaluation = splits
    recipe = replace(recipe, batch_size=min(recipe.batch_size, len(training)))
    torch.manual_seed(seed)
    network = _network(model, training, recipe, options)
    if processes.rank:  # networks that drop out features do so differently for each share of a batch
        torch.manual_seed((seed + processes.rank) % 2**63)
    network.to(processes.device).to(memory_format=execution.layout)
    share, normalised_together = share_out(execution, network, recipe.batch_size, processes)
    preprocessing = _preprocessing(network, evaluation)
    recipe = replace(recipe, input_size=preprocessing.side)
    named = getattr(network, "identity", {})
    about = {
        "model": named.get("name", model),
        "options": named.get("options"),
        "source": source_hash(network),
        "num_classes": named.get("num_classes"),
        "class_names": training.class_names,
        "data": data,
        "images": len(training),
        "listing_hash": training.listing_hash,
        "content_hash": training.content_hash,
        "recipe": stated(recipe),
        "precision": execution.precision,
        "seed": seed,
        "batch_norm_images": normalised_together,
        "processes": processes.count,
        "accumulate": execution.accumulate,
        "compiled": execution.compiled,
        "device": processes.device.type,
    }
    images = TrainingImages(training, preprocessing, recipe, seed, workers)
    evaluation_labels = torch.from_numpy(evaluation.labels).long()
    read = reader(evaluation, preprocessing, workers)
    learner = partial(Learner, network, preprocessing, training.num_classes, recipe, execution, processes)
    return Prepared(network, recipe, execution, processes, images, read, evaluation_labels, share, about, learner)


def _open_splits(data: str, limit: int | None, classes: str | Path | None) -> tuple[Dataset, Dataset]:
    training = open_data(data, split="training", limit=limit, classes=classes)
    evaluation = open_data(data, split="evaluation", classes=classes)
    if training.class_names != evaluation.class_names:
        raise DataError(
            f"the training split of {data} has {training.num_classes} classes and the evaluation split "
            f"{evaluation.num_classes}, or their names differ; both must have the same class folders"
        )
    if len(training) < 2:
        raise DataError(f"training needs at least 2 images, but {data} has {len(training)}")
    if training.objects is not None:
        if training.listing_hash == evaluation.listing_hash:
            raise DataError(f"{data} has no training split; give COCO's folder, with train2017 and val2017")
        return training, evaluation
    whole = training if limit is None else open_data(data, split="training", classes=classes)
    rows, preprocessing = range(min(8, len(evaluation))), Preprocessing(32, 32)
    # Sizes of files without compression agree by chance.
    if whole.listing_hash == evaluation.listing_hash and np.array_equal(
        whole.read(rows, preprocessing), evaluation.read(rows, preprocessing)
    ):
        raise DataError(f"{data} has no evaluation split; expected the folders {data}/train and {data}/val")
    return training, evaluation


def _network(model: str, training: Dataset, recipe: Recipe, options: Mapping[str, Any]) -> torch.nn.Module:
    """The untrained model; our own networks take the preset's options and the side of the images."""
    for name in ("name", "num_classes", "weights", "pretrained"):
        if name in options:
            raise InputError(
                f"{name} cannot be set in training, which starts from random weights and takes the classes from the "
                "data; leave it out"
            )
    if model in DETECTORS:
        raise InputError(f"{model} is a detector; train it on coco:PATH or demo-detection")
    if resolve(model, {})[0] in MODELS:
        side = training.native_size or recipe.input_size
        options = {**recipe.model_options, "input_size": side, **options}
    return create_model(model, num_classes=training.num_classes, **options)


def _preprocessing(network: torch.nn.Module, dataset: Dataset) -> Preprocessing:
    """The network's preprocessing; images of a fixed side are used as they are."""
    side = dataset.native_size
    preprocessing = preprocessing_of(network, input_size=side, resize_size=side)
    if isinstance(preprocessing.input_size, tuple):
        raise InputError(f"training needs square images, but this network takes {preprocessing.input_size}")
    return preprocessing

"""The training loop: one process, SGD, from a dataset to a checkpoint that `create_model` loads.

The order of the images and their crops depend on the seed and the epoch only, so two runs on one machine give equal
weights. No corruption is ever applied.
"""

from __future__ import annotations

import csv
import math
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from robustbench_bi.atomic import replacing
from robustbench_bi.config import installed_versions
from robustbench_bi.data import Dataset, open_data
from robustbench_bi.data.preprocess import Preprocessing, normalise, preprocessing_of
from robustbench_bi.errors import DataError, InputError, ModelOutputError
from robustbench_bi.models import MODELS, create_model, resolve
from robustbench_bi.models.inference import choose_device, memory_format
from robustbench_bi.models.weights import load_weights, save_checkpoint
from robustbench_bi.training.augment import NUMBERS, augment
from robustbench_bi.training.recipe import Recipe, resolve_recipe

IN_MEMORY_BYTES = 2 * 1024**3
"""A split whose decoded pictures are smaller than this is decoded once and kept."""

LOG = ("epoch", "training_loss", "training_top1", "evaluation_loss", "evaluation_top1", "seconds")
"""Columns of the log: losses in nats, top-1 in percent; those of training are of augmented images, while it learns."""

Reader = Callable[[NDArray[np.int64]], torch.Tensor]


@dataclass(frozen=True)
class Progress:
    """Where a training stands, after each step."""

    epoch: int
    epochs: int
    step: int
    steps: int
    loss: float
    images_per_second: float


@dataclass(frozen=True)
class Result:
    """What a network does on a split: top-1 in percent, mean negative log-likelihood in nats, number of images."""

    top1: float
    loss: float
    n: int


def train(
    model: str,
    data: str = "demo",
    *,
    preset: str = "paper",
    epochs: int | None = None,
    limit: int | None = None,
    seed: int = 0,
    out: str | Path = "trained",
    device: str = "auto",
    precision: str = "fp32",
    workers: int = 0,
    classes: str | Path | None = None,
    options: Mapping[str, Any] | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> Path:
    """Train a model from random weights and write it as one file, with all that is needed to rebuild it.

    Beside the checkpoint lies `<model>.csv`, one line an epoch. After each epoch the weights are also kept as
    `<model>-last.safetensors`, which goes away at the end: the result is the last epoch, never a chosen one.

    Args:
        model: a name as for `create_model`.
        data: a data source with a training and an evaluation split.
        preset: "paper", "cifar" or "demo"; see `PRESETS`.
        epochs: in place of the preset's.
        limit: train on this many images, chosen by a hash of their ids; the evaluation split stays whole.
        seed: of the initial weights, the order of the images and their crops.
        out: folder of the results.
        device: "auto" (CUDA where there is one), "cpu", "cuda", "cuda:1", …
        precision: of the forward pass, "fp32" or "bf16" (autocast).
        workers: threads that decode images.
        classes: a class file, for folders that hold only some classes.
        options: options of the model, over those of the preset.
        progress: called after each step.

    Returns:
        The checkpoint, `<out>/<model>.safetensors`.

    Raises:
        InputError: an argument is out of range.
        DataError: the data cannot be read, lack a split, or `out` cannot be written.
        ModelOutputError: the loss is not finite; the checkpoint of the last whole epoch is kept.

    Example:
        >>> import tempfile
        >>> path = train("resnet38", preset="demo", epochs=1, limit=8, out=tempfile.mkdtemp())
        >>> path.name
        'resnet38.safetensors'
    """
    recipe = resolve_recipe(preset, epochs=epochs)
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 2**63:
        raise InputError(f"seed must be an integer from 0 to 2**63 - 1, got {seed!r}")
    if precision not in ("fp32", "bf16"):
        raise InputError(f"precision must be fp32 or bf16, got {precision!r}")
    training, evaluation = _open_splits(data, limit, classes)
    recipe = replace(recipe, batch_size=min(recipe.batch_size, len(training)))
    place = choose_device(device)
    with torch.random.fork_rng(devices=[place] if place.type == "cuda" else []):
        torch.manual_seed(seed)
        network = _network(model, training, recipe, options or {})
        network.to(place).to(memory_format=memory_format(model))
        session = _Session(
            network, memory_format(model), training, evaluation, recipe, seed, precision, workers, progress
        )
        return _run(session, model, data, training.class_names, Path(out))


def _run(session: _Session, model: str, data: str, class_names: tuple[str, ...], out: Path) -> Path:
    """All epochs, the log, and the files."""
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", MODELS[model].name if model in MODELS else model)
    path, kept, log = out / f"{name}.safetensors", out / f"{name}-last.safetensors", out / f"{name}.csv"
    half = session.recipe.half
    metadata = {
        "class_names": class_names,
        "data": data,
        "images": len(session.labels),
        "recipe": asdict(session.recipe),
        "precision": session.precision,
        "seed": session.seed,
        "versions": installed_versions(),
    }
    rows: list[dict[str, float]] = []
    _write_log(log, rows)
    for epoch in range(session.recipe.epochs):
        started = time.monotonic()
        try:
            fitted, held_out = session.run_epoch(epoch), session.evaluate()
        except ModelOutputError as error:
            advice = f"The weights of epoch {epoch} are kept in {kept}" if epoch else "No epoch was finished"
            raise ModelOutputError(f"{error}; training stops. {advice}") from error
        seconds = round(time.monotonic() - started, 1)
        scores = (fitted.loss, fitted.top1, held_out.loss, held_out.top1)
        rows.append(dict(zip(LOG, (epoch + 1, *(round(score, 4) for score in scores), seconds), strict=True)))
        _write_log(log, rows)
        save_checkpoint(kept, session.network, {**metadata, "epoch": epoch + 1}, half=half)
    load_weights(session.network, kept)
    accuracy = {"split": "evaluation", **asdict(session.evaluate())}
    save_checkpoint(path, session.network, {**metadata, "accuracy": accuracy}, half=half)
    kept.unlink(missing_ok=True)
    return path


def _write_log(path: Path, rows: Sequence[Mapping[str, float]]) -> None:
    with replacing(path) as partial, partial.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=LOG, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


class _Session:
    """What one training holds: the network, its optimiser, and the two splits ready to be read."""

    def __init__(
        self,
        network: torch.nn.Module,
        layout: torch.memory_format,
        training: Dataset,
        evaluation: Dataset,
        recipe: Recipe,
        seed: int,
        precision: str,
        workers: int,
        progress: Callable[[Progress], None] | None,
    ) -> None:
        self.network = network
        self.layout = layout
        self.recipe = recipe
        self.seed = seed
        self.precision = precision
        self.progress = progress
        self.geometry = _geometry(network, evaluation)
        whole = self.geometry.resize_size if recipe.crop == "inception" else self.geometry.input_size
        self.read = _reader(training, replace(self.geometry, input_size=whole, resize_size=whole), workers)
        self.read_evaluation = _reader(evaluation, self.geometry, workers)
        self.labels = torch.from_numpy(training.labels).long()
        self.evaluation_labels = torch.from_numpy(evaluation.labels).long()
        self.num_classes = training.num_classes
        self.steps_per_epoch = len(training) // recipe.batch_size
        self.optimiser = torch.optim.SGD(
            network.parameters(), lr=0.0, momentum=recipe.momentum, weight_decay=recipe.weight_decay
        )

    def run_epoch(self, epoch: int) -> Result:
        """Train on every image once (but for an incomplete last batch); the result is of the augmented images."""
        order = np.random.default_rng((self.seed, epoch, 0)).permutation(len(self.labels))
        numbers = torch.from_numpy(np.random.default_rng((self.seed, epoch, 1)).random((len(order), NUMBERS)))
        self.network.train()
        loss_sum, correct, started = 0.0, 0, time.monotonic()
        for number in range(self.steps_per_epoch):
            rows = order[number * self.recipe.batch_size : (number + 1) * self.recipe.batch_size]
            images = augment(self.read(rows), numbers[rows], self.recipe, self.geometry.input_size)
            step = epoch * self.steps_per_epoch + number
            loss, right = self._step(images, self.labels[rows], step)
            if not math.isfinite(loss):
                raise ModelOutputError(
                    f"the loss became {loss} in epoch {epoch + 1}, step {number + 1}; try a lower learning rate"
                )
            loss_sum, correct = loss_sum + loss, correct + right
            if self.progress is not None:
                speed = (number + 1) * self.recipe.batch_size / (time.monotonic() - started)
                self.progress(Progress(epoch + 1, self.recipe.epochs, number + 1, self.steps_per_epoch, loss, speed))
        seen = self.steps_per_epoch * self.recipe.batch_size
        return Result(100.0 * correct / seen, loss_sum / self.steps_per_epoch, seen)

    def _step(self, images: torch.Tensor, labels: torch.Tensor, step: int) -> tuple[float, int]:
        """One update; the loss before it, and how many images were right."""
        for group in self.optimiser.param_groups:
            group["lr"] = self.recipe.learning_rate_at(step, self.steps_per_epoch)
        logits = self._logits(images)
        labels = labels.to(logits.device)
        loss = F.cross_entropy(logits, labels, label_smoothing=self.recipe.label_smoothing)
        self.optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimiser.step()
        return loss.item(), int((logits.argmax(dim=1) == labels).sum())

    @torch.no_grad()
    def evaluate(self) -> Result:
        """The network on the evaluation split, as it is."""
        self.network.eval()
        loss, correct, n = 0.0, 0, len(self.evaluation_labels)
        for start in range(0, n, self.recipe.batch_size):
            rows = np.arange(start, min(start + self.recipe.batch_size, n))
            logits = self._logits(self.read_evaluation(rows))
            labels = self.evaluation_labels[rows].to(logits.device)
            loss += F.cross_entropy(logits, labels, reduction="sum").item()
            correct += int((logits.argmax(dim=1) == labels).sum())
        if not math.isfinite(loss):
            raise ModelOutputError(f"the loss on the evaluation split is {loss / n}")
        return Result(100.0 * correct / n, loss / n, n)

    def _logits(self, images: torch.Tensor) -> torch.Tensor:
        device = next(self.network.parameters()).device
        prepared = normalise(images.to(device), self.geometry).contiguous(memory_format=self.layout)
        with torch.autocast(device.type, torch.bfloat16, enabled=self.precision == "bf16"):
            logits: torch.Tensor = self.network(prepared)
        if logits.shape != (len(images), self.num_classes):
            raise ModelOutputError(
                f"the model must return logits of shape {(len(images), self.num_classes)} for data of "
                f"{self.num_classes} classes, got {tuple(logits.shape)}"
            )
        return logits.float()


def _open_splits(data: str, limit: int | None, classes: str | Path | None) -> tuple[Dataset, Dataset]:
    training = open_data(data, split="training", limit=limit, classes=classes)
    evaluation = open_data(data, split="evaluation", classes=classes)
    if training.class_names != evaluation.class_names:
        raise DataError(
            f"the training split of {data} has {training.num_classes} classes and the evaluation split "
            f"{evaluation.num_classes}, or their names differ; both must have the same class folders"
        )
    if len(training) < 2:
        raise DataError(f"training needs at least 2 images, {data} gives {len(training)}")
    whole = training if limit is None else open_data(data, split="training", classes=classes)
    if whole.listing_hash == evaluation.listing_hash:
        raise DataError(f"{data} has no evaluation split of its own: expected the folders {data}/train and {data}/val")
    return training, evaluation


def _network(model: str, training: Dataset, recipe: Recipe, options: Mapping[str, Any]) -> torch.nn.Module:
    """The untrained model; our own networks take the preset's options and the side of the images."""
    if resolve(model, {})[0] in MODELS:
        side = training.native_size or recipe.input_size
        options = {**recipe.model_options, "input_size": side, **options}
    return create_model(model, num_classes=training.num_classes, **options)


def _geometry(network: torch.nn.Module, dataset: Dataset) -> Preprocessing:
    """The network's preprocessing; images of a fixed side are used as they are."""
    side = dataset.native_size
    return preprocessing_of(network, input_size=side, resize_size=side)


def _reader(dataset: Dataset, geometry: Preprocessing, workers: int) -> Reader:
    """Read rows of a dataset: from memory where the whole of it is small, else decoded again each time."""
    if 3 * geometry.input_size**2 * len(dataset) > IN_MEMORY_BYTES:
        return lambda rows: torch.from_numpy(dataset.read(rows, geometry, workers=workers))
    kept = torch.from_numpy(dataset.read(np.arange(len(dataset)), geometry, workers=workers))
    return lambda rows: kept[torch.from_numpy(rows)]

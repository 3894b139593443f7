"""What a training tells while it runs: its progress, one line an epoch as CSV, and TensorBoard's events."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from robustbench_bi.errors import BackendUnavailableError, DataError
from robustbench_bi.ground.atomic import replacing

COLUMNS = ("epoch", "training_loss", "training_top1", "evaluation_loss", "evaluation_top1", "seconds")
"""Of a classifier's log: losses in nats, top-1 in percent; those of training are of augmented images, while it learns.

A detector's has evaluation_ap, in percent, in place of top-1 and of the evaluation's loss.
"""


@dataclass(frozen=True)
class Progress:
    """Where a training stands, after a step.

    Attributes:
        epoch: from 1; epochs: of how many.
        step: of the epoch, from 1; steps: of how many.
        loss: of the step, over all processes, in nats.
        learning_rate: of the step.
        images_per_second: of all processes, since the epoch was begun or gone on with.
    """

    epoch: int
    epochs: int
    step: int
    steps: int
    loss: float
    learning_rate: float
    images_per_second: float


@dataclass(frozen=True)
class Watchers:
    """Whom a training tells; the processes but the first tell nobody.

    Attributes:
        step: called after a step, or on CUDA after every few for each of them.
        epoch: called with the rows of the log after each epoch.
    """

    step: Callable[[Progress], None] = lambda _: None
    epoch: Callable[[Sequence[Mapping[str, float]]], None] = lambda _: None


def write_log(path: Path, rows: Sequence[Mapping[str, float]]) -> None:
    """Write the whole log as CSV; there is at least one row, whose names become the header.

    Raises:
        DataError: it cannot be written.
    """
    with replacing(path) as partial, partial.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


@contextmanager
def tensorboard(folder: Path, steps_per_epoch: int, steps_done: int) -> Iterator[Watchers]:
    """Write TensorBoard's events to a folder; those of steps that are done again replace what was there.

    Args:
        folder: made where it is missing.
        steps_per_epoch: so that the numbers of steps and of epochs share one axis.
        steps_done: of the whole training, before it goes on.

    Raises:
        BackendUnavailableError: TensorBoard is not installed.
        DataError: the folder cannot be written.
    """
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise BackendUnavailableError(
            "--tensorboard needs TensorBoard; run: pip install 'bivo-robust[tensorboard]', or leave --tensorboard out"
        ) from error
    try:
        writer = SummaryWriter(str(folder), purge_step=steps_done + 1)
    except OSError as error:
        raise DataError(f"cannot write {folder}: {error.strerror or error}") from error

    def scalar(name: str, value: float, step: int) -> None:
        writer.add_scalar(name, value, step)

    def step(progress: Progress) -> None:
        number = (progress.epoch - 1) * progress.steps + progress.step
        for name in ("loss", "learning_rate", "images_per_second"):
            scalar(f"step/{name}", getattr(progress, name), number)

    def epoch(rows: Sequence[Mapping[str, float]]) -> None:
        for name, value in rows[-1].items():
            if name != "epoch":
                scalar(f"epoch/{name}", value, len(rows) * steps_per_epoch)
        writer.flush()

    try:
        yield Watchers(step, epoch)
    finally:
        writer.close()

"""A training from where it stands to its end: epochs of steps, the log, and the files that are kept on the way."""

from __future__ import annotations

import math
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from robustbench_bi.errors import ModelOutputError
from robustbench_bi.ground.stops import Terminated, exit_code_of
from robustbench_bi.models.weights import load_weights, save_checkpoint
from robustbench_bi.runs.identity import installed_versions
from robustbench_bi.training.distributed import Processes
from robustbench_bi.training.files import Files
from robustbench_bi.training.images import TrainingImages, prefetched
from robustbench_bi.training.logs import Progress, Watchers, write_log
from robustbench_bi.training.recipe import Recipe
from robustbench_bi.training.state import Position, generator_states, save_state
from robustbench_bi.training.steps import Execution, Learner, Result

if TYPE_CHECKING:
    from robustbench_bi.training.detection import DetectionImages, DetectionLearner, DetectionResult

STEPS_TO_READ = 10
"""On CUDA losses are read after so many steps: reading one waits for the device, which then has nothing to do."""

Pending = list[tuple[float, torch.Tensor, torch.Tensor]]


@dataclass(frozen=True)
class Prepared:
    """A training before its first step.

    Attributes:
        network: with its first weights, on its device.
        recipe: what changes the result, with the batch size that the data allow.
        execution: how it is computed.
        processes: that share the batches.
        images: of the training split.
        read_evaluation: reads the evaluation split, whose labels are `evaluation_labels`.
        share: images of this process a step.
        about: metadata of its files, with what identifies it.
        learner: makes what learns, a `Learner` or what stands in for it.
    """

    network: torch.nn.Module
    recipe: Recipe
    execution: Execution
    processes: Processes
    images: TrainingImages | DetectionImages
    read_evaluation: Any
    evaluation_labels: Any
    share: int
    about: Mapping[str, Any]
    learner: Callable[[], Learner | DetectionLearner]

    @property
    def steps(self) -> int:
        """Steps of an epoch; an incomplete last batch is left out."""
        return len(self.images) // self.recipe.batch_size


class Session:
    """A training while it runs.

    Args:
        prepared: what is trained, on what, and how.
        files: where its results go.
        position: where it stands.
        watchers: who is told.
        stop_asked: the number of the signal that asked it to stop, or 0.
        save_every: seconds between two states within an epoch.
    """

    def __init__(
        self,
        prepared: Prepared,
        files: Files,
        position: Position,
        watchers: Sequence[Watchers],
        stop_asked: Callable[[], int],
        save_every: float,
    ) -> None:
        self.prepared, self.recipe, self.processes = prepared, prepared.recipe, prepared.processes
        self.files = files
        self.position = position
        self.watchers = watchers
        self.stop_asked = stop_asked
        self.save_every = save_every
        self.saved = time.monotonic()
        self.metadata = {**prepared.about, "versions": installed_versions()}
        self.learner = prepared.learner()

    def run(self) -> None:
        """All that is left, to the checkpoint.

        Raises:
            ModelOutputError: the loss is not finite.
            DataError: a picture cannot be read, or a file not be written.
            KeyboardInterrupt: a stop was asked for, in the first process (Terminated by SIGTERM); SystemExit in the
                others.
        """
        try:
            while self.position.epoch < self.recipe.epochs:
                self._run_epoch()
        except ModelOutputError as error:
            epoch = self.position.epoch
            advice = f"The weights of epoch {epoch} are in {self.files.last}" if epoch else "No epoch had finished"
            raise ModelOutputError(f"{error}; training stopped. {advice}") from error
        if self.processes.first:
            load_weights(self.learner.shown, self.files.last)  # as they were rounded for the file
        accuracy = {"split": "evaluation", **self._evaluate().summary()}
        if self.processes.first:
            metadata = {**self.metadata, "accuracy": accuracy}
            save_checkpoint(self.files.weights, self.learner.shown, metadata, half=self.recipe.half)
            self.files.clear()

    def _run_epoch(self) -> None:
        """Train on every image once (but for an incomplete last batch), evaluate, and keep everything."""
        self._train_epoch()
        started, position = time.monotonic(), self.position
        seen, held_out = self.prepared.steps * self.recipe.batch_size, self._evaluate()
        row = {
            "epoch": position.epoch + 1,
            "training_loss": round(position.loss / self.prepared.steps, 4),
            **self.learner.training_row(position.correct, seen),
            **held_out.row(),
            "seconds": round(position.seconds + time.monotonic() - started, 1),
        }
        self.position = Position(position.epoch + 1, log=[*position.log, row])
        if self.processes.first:
            metadata = {**self.metadata, "epoch": self.position.epoch}
            save_checkpoint(self.files.last, self.learner.shown, metadata, half=self.recipe.half)
        self._save()
        if self.processes.first:
            write_log(self.files.log, self.position.log)
        for watcher in self.watchers:
            watcher.epoch(self.position.log)

    def _train_epoch(self) -> None:
        """The steps that are left of the epoch."""
        prepared, epoch, first = self.prepared, self.position.epoch, self.position.step
        begun, before = time.monotonic(), self.position.seconds
        self.learner.network.train()
        every = STEPS_TO_READ if self.processes.device.type == "cuda" else 1
        pending: Pending = []
        with closing(prefetched(self._batches(epoch, first))) as batches:
            for step, batch in enumerate(batches, start=first):
                rate = self.recipe.learning_rate_at(epoch * prepared.steps + step, prepared.steps)
                pending.append((rate, *self.learner.step(batch, rate)))
                if len(pending) < every and step + 1 < prepared.steps:
                    continue
                stop, due = self._read(pending, first, begun)
                pending = []
                self.position.seconds = before + time.monotonic() - begun
                if stop or due:
                    self._save()
                if stop:
                    self._stop()

    def _batches(self, epoch: int, first: int) -> Iterator[Any]:
        """This process's share of each batch from a step on; for a GPU in memory that it copies from while it works."""
        size, share, cuda = self.recipe.batch_size, self.prepared.share, self.processes.device.type == "cuda"
        starts = (step * size + self.processes.rank * share for step in range(first, self.prepared.steps))
        for images, labels in self.prepared.images.batches(epoch, (slice(start, start + share) for start in starts)):
            if cuda and isinstance(images, torch.Tensor) and isinstance(labels, torch.Tensor):
                yield images.pin_memory(), labels.pin_memory()
            else:
                yield images, labels

    def _read(self, pending: Pending, first: int, begun: float) -> tuple[bool, bool]:
        """Add steps to the position; whether a stop was asked for, and whether it is time to keep the state.

        The processes send what they ask for with their losses, so that all do the same.

        Raises:
            ModelOutputError: a loss is not finite.
        """
        values = [loss.double() for _, loss, _ in pending] + [right.double() for _, _, right in pending]
        due = self.processes.first and time.monotonic() - self.saved >= self.save_every
        asked = torch.tensor([self.stop_asked() > 0, due], dtype=torch.float64, device=values[0].device)
        *told, stopped, overdue = self.processes.sum(torch.cat([torch.stack(values), asked])).tolist()
        position, count = self.position, len(pending)
        for (rate, _, _), total, right in zip(pending, told[:count], told[count:], strict=True):
            loss = total / self.processes.count
            position.step += 1
            position.loss += loss
            position.correct += int(right)
            if not math.isfinite(loss):
                where = f"epoch {position.epoch + 1}, step {position.step}"
                text = f"the loss became {loss} in {where}; try a lower learning rate and another --out"
                self.processes.fail(ModelOutputError(text))
            speed = (position.step - first) * self.recipe.batch_size / (time.monotonic() - begun)
            where_now = (position.epoch + 1, self.recipe.epochs, position.step, self.prepared.steps)
            for watcher in self.watchers:
                watcher.step(Progress(*where_now, loss, rate, speed))
        return stopped > 0, overdue > 0

    def _evaluate(self) -> Result | DetectionResult:
        return self.learner.score(self.prepared.read_evaluation, self.prepared.evaluation_labels)

    def _save(self) -> None:
        generators = generator_states(self.processes)
        if self.processes.first:
            learner = self.learner
            save_state(self.files.state, learner.modules, learner.optimiser, generators, self.position, self.metadata)
        self.saved = time.monotonic()

    def _stop(self) -> None:
        # Another process may have been asked and this one not; then it ends as on Ctrl-C.
        kind = Terminated if self.stop_asked() == signal.SIGTERM else KeyboardInterrupt
        if not self.processes.first:
            raise SystemExit(exit_code_of(kind()))
        raise kind(
            f"stopped after step {self.position.step} of epoch {self.position.epoch + 1}; run the same command to "
            "resume"
        )

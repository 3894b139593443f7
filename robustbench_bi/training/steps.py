"""One training step, and the scores of a network: on one device or several, in micro-batches, with averaged weights."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.parallel import DistributedDataParallel
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from robustbench_bi.data.preprocess import Preprocessing, normalise
from robustbench_bi.errors import BackendUnavailableError, InputError, ModelOutputError
from robustbench_bi.models.inference import autocast, checked_logits, failing_in_a_line, full_precision
from robustbench_bi.training.distributed import Processes, is_of_lost_process
from robustbench_bi.training.images import Batch, Reader
from robustbench_bi.training.recipe import Recipe


@dataclass(frozen=True)
class Execution:
    """How a training is computed, in what may change from one start to the next.

    Attributes:
        precision: of the forward pass, "fp32" or "bf16" (autocast).
        layout: memory format of the images.
        accumulate: micro-batches a step.
        compiled: by `torch.compile`.
        sync_batch_norm: batch normalisation takes its statistics over all processes.
    """

    precision: str
    layout: torch.memory_format
    accumulate: int
    compiled: bool
    sync_batch_norm: bool


@dataclass(frozen=True)
class Result:
    """What a network does on a split: top-1 in percent, mean negative log-likelihood in nats, number of images."""

    top1: float
    loss: float
    n: int

    def row(self) -> dict[str, float]:
        """Its columns of the log."""
        return {"evaluation_loss": round(self.loss, 4), "evaluation_top1": round(self.top1, 4)}

    def summary(self) -> dict[str, Any]:
        """What the checkpoint says of it."""
        return asdict(self)


class Learner:
    """A network while it learns: its optimiser, and the average of its weights where the recipe has one.

    Args:
        network: on its device, in its memory format.
        preprocessing: mean and std of its images.
        num_classes: of the data.
        recipe: of the optimiser.
        execution: how it is computed.
        processes: that share a step.
    """

    def __init__(
        self,
        network: nn.Module,
        preprocessing: Preprocessing,
        num_classes: int,
        recipe: Recipe,
        execution: Execution,
        processes: Processes,
    ) -> None:
        if execution.sync_batch_norm:
            network = nn.SyncBatchNorm.convert_sync_batchnorm(network)  # type: ignore[no-untyped-call]
        self.network = network
        self.preprocessing = preprocessing
        self.num_classes = num_classes
        self.name = str(getattr(network, "identity", {}).get("name", "the network"))
        self.recipe = recipe
        self.execution = execution
        self.processes = processes
        self.optimiser = torch.optim.SGD(
            network.parameters(),
            lr=0.0,
            momentum=recipe.momentum,
            nesterov=recipe.nesterov,
            weight_decay=recipe.weight_decay,
        )
        self.average = None
        if recipe.ema:
            towards = get_ema_multi_avg_fn(recipe.ema)  # type: ignore[no-untyped-call]
            self.average = AveragedModel(network, multi_avg_fn=towards, use_buffers=True)
        if execution.compiled:
            network.compile()
        self.shared: nn.Module = network
        if processes.count > 1:
            own = [processes.device] if processes.device.type == "cuda" else None
            self.shared = DistributedDataParallel(network, device_ids=own, gradient_as_bucket_view=True)

    @property
    def shown(self) -> nn.Module:
        """The network that is evaluated and saved: with averaged weights where the recipe says so."""
        return self.network if self.average is None else self.average.module

    @property
    def modules(self) -> dict[str, nn.Module]:
        """Everything with weights, by the name under which its state is kept."""
        return {"network": self.network} if self.average is None else {"network": self.network, "average": self.average}

    def training_row(self, correct: int, seen: int) -> dict[str, float]:
        """Further columns of the log, from how many of the images seen were right."""
        return {"training_top1": round(100.0 * correct / seen, 4)}

    def step(self, batch: Batch, learning_rate: float) -> tuple[Tensor, Tensor]:
        """One update.

        Args:
            batch: this process's share of the images, uint8 (B, 3, S, S), and labels.
            learning_rate: of this step.

        Returns:
            The mean loss before the update, and how many images were right, of this share and on its device: reading
            them waits for the device.
        """
        images, labels = (part.to(self.processes.device, non_blocking=True) for part in batch)
        for options in self.optimiser.param_groups:
            options["lr"] = learning_rate
        self.optimiser.zero_grad()
        parts = self.execution.accumulate
        losses, right = [], []
        for number, (some, own) in enumerate(zip(images.chunk(parts), labels.chunk(parts), strict=True)):
            with self._last_of_step(number == parts - 1):
                logits = self._logits(self.shared, some)
                loss = F.cross_entropy(logits, own, label_smoothing=self.recipe.label_smoothing) / parts
                loss.backward()  # type: ignore[no-untyped-call]
            losses.append(loss.detach())
            right.append((logits.detach().argmax(dim=1) == own).sum())
        self.optimiser.step()
        if self.average is not None:
            self.average.update_parameters(self.network)
        return torch.stack(losses).sum(), torch.stack(right).sum()

    @torch.no_grad()
    def score(self, read: Reader, labels: Tensor) -> Result:
        """What the network that is shown does on a split; each process takes its share of the batches.

        Raises:
            ModelOutputError: the loss is not finite.
        """
        network, n = self.shown, len(labels)
        # As many at once as in training, so that what fits there fits here.
        size = self.recipe.batch_size // (self.processes.count * self.execution.accumulate)
        self.processes.share(network)
        network.eval()
        loss, correct = 0.0, 0
        for start in range(self.processes.rank * size, n, self.processes.count * size):
            rows = np.arange(start, min(start + size, n))
            with full_precision():
                logits = self._logits(network, read(rows).to(self.processes.device))
            own = labels[rows].to(logits.device)
            loss += F.cross_entropy(logits, own, reduction="sum").item()
            correct += int((logits.argmax(dim=1) == own).sum())
        loss, correct = self.processes.sum(torch.tensor([loss, correct], dtype=torch.float64)).tolist()
        if not math.isfinite(loss):
            self.processes.fail(ModelOutputError(f"the loss on the evaluation split is {loss / n}"))
        return Result(100.0 * correct / n, loss / n, n)

    def _last_of_step(self, last: bool) -> AbstractContextManager[Any]:
        """Gradients travel between processes with the last micro-batch only."""
        return nullcontext() if last or not isinstance(self.shared, DistributedDataParallel) else self.shared.no_sync()

    def _logits(self, network: nn.Module, images: Tensor) -> Tensor:
        prepared = normalise(images, self.preprocessing).contiguous(memory_format=self.execution.layout)
        try:
            with (
                autocast(images.device, self.execution.precision),
                failing_in_a_line(prepared, self.name, passes=not_the_networks),
                _compiling(self.execution.compiled),
            ):
                logits = network(prepared)
            return checked_logits(logits, prepared, self.name, self.num_classes)
        except ModelOutputError as error:
            self.processes.fail(error)


def share_out(
    execution: Execution, network: nn.Module, batch_size: int, processes: Processes
) -> tuple[int, int | None]:
    """Check how a batch is cut, and say what batch normalisation sees.

    Args:
        execution: how a training is computed.
        network: the network.
        batch_size: of a step, all processes together.
        processes: that share it.

    Returns:
        Images of this process a step, and images whose statistics batch normalisation takes at once, or None for a
        network without it.

    Raises:
        InputError: the batch cannot be shared out evenly, or batch normalisation cannot be synchronised here.

    Example:
        >>> execution = Execution("fp32", torch.contiguous_format, 2, False, False)
        >>> share_out(execution, nn.BatchNorm2d(3), 256, Processes(torch.device("cpu"), rank=1, count=4))
        (64, 32)
    """
    parts = processes.count * execution.accumulate
    if batch_size % parts:
        raise InputError(
            f"a batch of {batch_size} images cannot be split evenly over {processes.count} processes × "
            f"{execution.accumulate} micro-batches; choose a multiple of {parts}"
        )
    if execution.sync_batch_norm and processes.device.type != "cuda":
        raise InputError("batch normalisation can be synchronised on CUDA only; leave --sync-batch-norm out")
    together = processes.count if execution.sync_batch_norm else 1
    normalises = any(isinstance(module, _BatchNorm) for module in network.modules())
    return batch_size // processes.count, batch_size // parts * together if normalises else None


def not_the_networks(error: Exception) -> bool:
    """Whether an error in a network is the device's or another process's."""
    return isinstance(error, torch.OutOfMemoryError) or is_of_lost_process(error)


@contextmanager
def _compiling(compiled: bool) -> Iterator[None]:
    """One line where `torch.compile` fails, which it does in the first step."""
    try:
        yield
    except RuntimeError as error:
        if not compiled or not type(error).__module__.startswith(("torch._dynamo", "torch._inductor")):
            raise
        reason = " ".join(str(error).split())[:200]
        raise BackendUnavailableError(f"torch.compile failed: {reason}; leave --compile out") from error

"""The processes of one training, over torch.distributed: which one this is, and what they do together.

torchrun starts them and says by environment variables how many there are. A single process needs none of it, and every
method is then the plain thing.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NoReturn, TypeVar

import torch
import torch.distributed as group

from robustbench_bi.errors import BivoRobustError, InputError, LostProcessError
from robustbench_bi.models.inference import choose_device

Result = TypeVar("Result")


@dataclass(frozen=True)
class Processes:
    """One process among those that train a network together.

    Attributes:
        device: what this one computes on.
        rank: its number, from 0. The first writes the files and speaks for all.
        count: how many they are.
        neighbours: how many of them are on this machine.
    """

    device: torch.device
    rank: int = 0
    count: int = 1
    neighbours: int = 1

    @property
    def first(self) -> bool:
        """Whether this is the one that writes."""
        return self.rank == 0

    def together(self, function: Callable[[], Result]) -> Result:
        """Do the same thing in every process; when one of them fails, all end, and a single one says why.

        Raises:
            BivoRobustError: what this process raised, if it is the first that failed.
            SystemExit: another one failed; 2, without a word.
        """
        result, error = None, None
        try:
            result = function()
        except BivoRobustError as caught:
            error = caught
        failed = torch.zeros(self.count)
        failed[self.rank] = error is not None
        ranks = self.sum(failed).nonzero().flatten().tolist()
        if error is not None and ranks[0] == self.rank:
            raise error
        if ranks:
            _leave_quietly()
        return result  # type: ignore[return-value]

    def fail(self, error: BivoRobustError) -> NoReturn:
        """End with an error that all processes have come to, and that one is to tell.

        Raises:
            BivoRobustError: in the first process.
            SystemExit: in the others.
        """
        if self.first:
            raise error
        _leave_quietly()

    def sum(self, values: torch.Tensor) -> torch.Tensor:
        """The sum over processes, on the CPU; it waits for all of them."""
        if self.count > 1:
            values = values.to(self.device)
            group.all_reduce(values)
        return values.cpu()

    def gather(self, values: torch.Tensor) -> list[torch.Tensor]:
        """The tensors of all processes, of one shape, in the order of their ranks, on the CPU."""
        if self.count == 1:
            return [values.cpu()]
        own = values.to(self.device)
        gathered = [torch.empty_like(own) for _ in range(self.count)]
        group.all_gather(gathered, own)
        return [part.cpu() for part in gathered]

    def tell(self, value: Result) -> Result:
        """What the first process has under this name, in every process."""
        told = [value]
        if self.count > 1:
            group.broadcast_object_list(told, 0)
        return told[0]

    def share(self, module: torch.nn.Module) -> None:
        """Give every process the weights and buffers of the first, in place."""
        if self.count > 1:
            for tensor in module.state_dict().values():
                group.broadcast(tensor, 0)


@contextmanager
def join(device: str) -> Iterator[Processes]:
    """Find the other processes that torchrun has started, and leave them at the end.

    Args:
        device: "auto", "cpu", "cuda", or, for a process alone, any of torch's. Each process on a machine takes the GPU
            of its number there.

    Raises:
        InputError: the device cannot be used, the variables of torchrun are incomplete, or srun has started several
            processes without it.
    """
    count = _number("WORLD_SIZE", 1)
    if "WORLD_SIZE" not in os.environ and _number("SLURM_STEP_NUM_TASKS", 1) > 1:
        raise InputError(
            "srun started several copies of this training; have srun start torchrun instead, which splits the work"
        )
    if count == 1:
        yield Processes(choose_device(device))
        return
    place = _own_device(device)
    try:
        group.init_process_group("nccl" if place.type == "cuda" else "gloo")
    except (ValueError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(
            f"the {count} processes cannot connect to each other: {reason}; start them with torchrun"
        ) from error
    try:
        yield Processes(place, group.get_rank(), count, max(1, _number("LOCAL_WORLD_SIZE", 1)))
    finally:
        group.destroy_process_group()


@contextmanager
def losing_others(processes: Processes, advice: str) -> Iterator[None]:
    """Turn what torch raises when another process is gone into one line, with advice.

    Raises:
        LostProcessError: in the first two processes, of which at least one is still there.
        SystemExit: in the others.
    """
    try:
        yield
    except RuntimeError as error:
        if processes.count == 1 or isinstance(error, BivoRobustError) or not is_of_lost_process(error):
            raise
        if processes.rank > 1:
            _leave_quietly()
        raise LostProcessError(f"another of the {processes.count} processes has stopped. {advice}") from error


def is_of_lost_process(error: Exception) -> bool:
    """Whether torch raised it because another process is gone."""
    return isinstance(error, group.DistError) or any(name in str(error) for name in ("gloo", "NCCL"))


def _leave_quietly() -> NoReturn:
    """End after the process that tells why: torchrun ends all others as soon as one has ended."""
    time.sleep(1)
    raise SystemExit(2)


def _number(name: str, default: int) -> int:
    text = os.environ.get(name, str(default))
    if not (text.isascii() and text.isdigit()):
        raise InputError(f"{name} must be an integer of at least 0, as torchrun sets it, got {text!r}")
    return int(text)


def _own_device(device: str) -> torch.device:
    """The GPU whose number is that of the process on its machine, or the CPU."""
    number = _number("LOCAL_RANK", 0)
    if device == "cpu" or (device == "auto" and not torch.cuda.is_available()):
        return torch.device("cpu")
    if device not in ("auto", "cuda"):
        raise InputError(f"with several processes, device must be auto, cpu or cuda, got {device!r}")
    place = choose_device(f"cuda:{number}")
    torch.cuda.set_device(place)
    return place

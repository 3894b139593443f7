"""The processes that share one piece of work: which one this is, and which part of the work is its own.

They never talk. Every process computes the same split, and what is done is told by the files that are there.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate

from robustbench_bi.errors import InputError

PATIENCE = 3600.0  # seconds after which a process that nothing came from is taken for dead
INTERVAL = 1.0  # seconds between two looks at the files


@dataclass(frozen=True)
class Share:
    """One of the processes that share the work; by default the only one.

    Attributes:
        rank: its number, from 0.
        count: how many they are.
        local_rank: its number on its machine, which picks the GPU.
        together: all were started at once and end at once, as by torchrun and srun. Then rank 0 makes the folders,
            shows the progress of all and ends last. Without it, as in a job array, each stands for itself: they may
            start days apart.

    Raises:
        InputError: a number is out of range.

    Example:
        >>> Share(rank=2, count=8, together=True).follows
        True
    """

    rank: int = 0
    count: int = 1
    local_rank: int = 0
    together: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.rank < self.count or self.local_rank < 0:
            raise InputError(
                f"a rank must be from 0 to {self.count - 1} where {self.count} processes share the work, got "
                f"{self.rank}, on its machine {self.local_rank}"
            )

    @property
    def leads(self) -> bool:
        """Whether this process is to end last and speak for the others."""
        return self.together and self.count > 1 and self.rank == 0

    @property
    def follows(self) -> bool:
        """Whether another process begins and ends the work, and speaks for this one."""
        return self.together and self.rank > 0


ALONE = Share()


def owners(weights: Sequence[int], count: int) -> list[int]:
    """The rank that each piece of work belongs to: neighbours together, and as even as whole pieces allow.

    The split depends on nothing but the pieces, so processes that start at different times agree on it.

    Args:
        weights: of the pieces, in their order, positive.
        count: ranks.

    Returns:
        A rank for each piece, in ascending order. The weight of a rank is less than one piece away from an even part.

    Example:
        >>> owners([1, 1, 1, 1, 1], 2)
        [0, 0, 1, 1, 1]
        >>> owners([8, 8, 1], 2)
        [0, 1, 1]
    """
    total = sum(weights)
    # A piece belongs to the rank in whose part its middle lies; in integers, so that no rounding differs.
    return [(2 * end - weight) * count // (2 * total) for end, weight in zip(accumulate(weights), weights, strict=True)]


def share_of_environment(environment: Mapping[str, str] = os.environ) -> Share:
    """The share that torchrun or SLURM gave this process by environment variables.

    `RANK` and `WORLD_SIZE` come first, from torchrun or set by hand; then the step of `srun`. A job array is on top of
    either: with 4 array tasks of 8 processes there are 32 ranks. By hand they say all there is to say, so that
    `RANK=$SLURM_ARRAY_TASK_ID` works too.

    Args:
        environment: the variables.

    Raises:
        InputError: a variable is missing beside another one, is no number, or is out of range.

    Example:
        >>> share_of_environment({"RANK": "1", "WORLD_SIZE": "2"})
        Share(rank=1, count=2, local_rank=0, together=False)
        >>> array = {"SLURM_ARRAY_TASK_ID": "3", "SLURM_ARRAY_TASK_MIN": "1", "SLURM_ARRAY_TASK_COUNT": "4"}
        >>> share_of_environment(array)
        Share(rank=2, count=4, local_rank=0, together=False)
    """
    inner = ALONE
    if "RANK" in environment or "WORLD_SIZE" in environment:
        by_torchrun = "TORCHELASTIC_RUN_ID" in environment
        inner = _share(environment, "RANK", "WORLD_SIZE", "LOCAL_RANK", by_torchrun)
        if not by_torchrun:
            return inner
    elif "SLURM_STEP_NUM_TASKS" in environment:
        # SLURM_NTASKS is also set in a batch script, outside srun, where there is one process.
        inner = _share(environment, "SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "SLURM_LOCALID", True)
    task, tasks = _array_task(environment)
    if tasks == 1:
        return inner
    return Share(task * inner.count + inner.rank, tasks * inner.count, inner.local_rank)


def wait_until(done: Callable[[], bool], came: Callable[[], object] = lambda: None) -> bool:
    """Wait for other processes; give up when nothing came from them for as long as `PATIENCE`.

    Args:
        done: whether there is nothing more to wait for.
        came: what came from the others until now. When it changes, the patience starts anew.

    Returns:
        Whether it is done.

    Example:
        >>> wait_until(lambda: True)
        True
    """
    before, since = came(), time.monotonic()
    while not done():
        if time.monotonic() - since > PATIENCE:
            return False
        time.sleep(INTERVAL)
        if (now := came()) != before:
            before, since = now, time.monotonic()
    return True


def _share(environment: Mapping[str, str], rank: str, count: str, local: str, together: bool) -> Share:
    number, total = _number(environment, rank, beside=count), _number(environment, count, beside=rank)
    if number >= total:
        raise InputError(f"{rank} must be less than {count}, got {rank}={number} and {count}={total}")
    return Share(number, total, _number(environment, local, default=0), together)


def _array_task(environment: Mapping[str, str]) -> tuple[int, int]:
    """The number of this task of a job array, from 0, and how many there are."""
    name = "SLURM_ARRAY_TASK_ID"
    if name not in environment:
        return 0, 1
    task, count = _number(environment, name), _number(environment, "SLURM_ARRAY_TASK_COUNT", beside=name)
    first, step = (_number(environment, f"SLURM_ARRAY_TASK_{key}", default=key == "STEP") for key in ("MIN", "STEP"))
    number, rest = divmod(task - first, step or 1)
    if rest or not 0 <= number < count:
        raise InputError(
            f"a job array that shares the work must have evenly spaced tasks, such as --array=0-{count - 1}; got task "
            f"{task} of {count} that start at {first}. Unset {name} to do all of the work in each task"
        )
    return number, count


def _number(environment: Mapping[str, str], name: str, beside: str | None = None, default: int | None = None) -> int:
    text = environment.get(name)
    if text is None and default is not None:
        return int(default)
    if text is None:
        raise InputError(f"{beside} is set and {name} is not; set both, or neither for one process")
    if not (text.isascii() and text.isdigit()):
        raise InputError(f"{name} must be an integer of at least 0, as torchrun and SLURM set it, got {text!r}")
    return int(text)

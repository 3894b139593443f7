"""What a training needs to go on where it stopped, as one safetensors file; and whether a file is of this training.

Nothing in such a file is ever run: it holds tensors by name and a JSON text.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor, nn

from robustbench_bi.errors import RunMismatchError
from robustbench_bi.ground.atomic import replacing
from robustbench_bi.models.weights import read_metadata
from robustbench_bi.runs.identity import differing
from robustbench_bi.training.distributed import Processes

IDENTITY = {
    "model": "the network",
    "options": "the network's options",
    "source": "your network's source files",
    "num_classes": "number of classes",
    "class_names": "class names",
    "backbone_weights": "backbone weights",
    "listing_hash": "training images",
    "content_hash": "contents of the training images",
    "recipe": "recipe",
    "precision": "precision",
    "seed": "seed",
    "batch_norm_images": "images per batch-norm statistic",
}
"""The metadata that must agree for a training to go on, in words."""

_UNREADABLE = ("source", "class_names", "listing_hash", "content_hash", "backbone_weights")
_LATER = ("content_hash",)
"""Which files of older versions lack."""


@dataclass
class Position:
    """Where a training stands: steps done in an epoch, what they add to its line of the log, and the lines before it.

    Attributes:
        epoch: from 0.
        step: steps of the epoch that are done.
        loss: sum of their losses, nats.
        correct: how many of their images were right.
        seconds: that they took.
        log: a row for each epoch before.
    """

    epoch: int = 0
    step: int = 0
    loss: float = 0.0
    correct: int = 0
    seconds: float = 0.0
    log: list[dict[str, float]] = field(default_factory=list)


def require_same(path: Path, stored: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    """Refuse a file of another training.

    Args:
        path: the file, for the message.
        stored: its metadata.
        wanted: of this training.

    Raises:
        RunMismatchError: with what differs, and what to do.

    Example:
        >>> stored, wanted = {"seed": 0, "recipe": {"epochs": 2}}, {"seed": 0, "recipe": {"epochs": 3}}
        >>> require_same(Path("a-state.safetensors"), stored, wanted)
        Traceback (most recent call last):
        ...
        robustbench_bi.errors.RunMismatchError: a-state.safetensors belongs to another training run: epochs was 2, now \
3. Choose another --out, or delete that file to start over
    """
    wanted = json.loads(json.dumps(wanted))
    found: list[str] = []
    compared = [name for name in IDENTITY if name in stored or name not in _LATER]
    different = differing({n: stored.get(n) for n in compared}, {n: wanted.get(n) for n in compared})
    for name in different:
        if name == "source" and "options" in different:
            continue  # other options give a network of the user's other layers
        before, now, words = stored.get(name), wanted.get(name), IDENTITY[name]
        if name in ("recipe", "options") and isinstance(before, dict) and isinstance(now, dict):
            keys = [key for key in {**before, **now} if before.get(key) != now.get(key)]
            found += [f"{key} was {before.get(key)}, now {now.get(key)}" for key in keys]
        else:
            found.append(f"{words} differ" if name in _UNREADABLE else f"{words} was {before}, now {now}")
    if found:
        raise RunMismatchError(
            f"{path} belongs to another training run: {'; '.join(found)}. Choose another --out, or delete that file "
            "to start over"
        )


def save_state(
    path: Path,
    modules: Mapping[str, nn.Module],
    optimiser: torch.optim.Optimizer,
    generators: Mapping[str, Tensor],
    position: Position,
    metadata: Mapping[str, Any],
) -> None:
    """Write all that `read_state` and `restore_state` need, whole or not at all.

    Args:
        path: ends with .safetensors.
        modules: with weights and buffers, by a name of their own.
        optimiser: its momentum.
        generators: states of random generators, uint8, as `generator_states` gives them.
        position: where the training stands.
        metadata: what identifies it, of anything JSON can hold.

    Raises:
        DataError: the file cannot be written.
    """
    tensors = {f"generator.{name}": state for name, state in generators.items()}
    for prefix, module in modules.items():
        tensors |= {f"{prefix}.{name}": tensor for name, tensor in module.state_dict().items()}
    for number, state in optimiser.state_dict()["state"].items():
        tensors |= {f"optimiser.{number}.{name}": value for name, value in state.items() if isinstance(value, Tensor)}
    # Tensors may share memory or lie in another order; safetensors takes neither.
    copies = {name: tensor.detach().to("cpu", copy=True).contiguous() for name, tensor in tensors.items()}
    entries = {key: json.dumps(value) for key, value in {**metadata, "position": asdict(position)}.items()}
    with replacing(path) as partial:
        safetensors.torch.save_file(copies, partial, entries)


def read_state(path: Path) -> tuple[dict[str, Tensor], Position]:
    """The tensors of a file, and where its training stands.

    Raises:
        WeightsError: the file is missing or broken.
    """
    position = Position(**read_metadata(path)["position"])
    return safetensors.torch.load_file(path), position


def restore_state(
    tensors: Mapping[str, Tensor],
    modules: Mapping[str, nn.Module],
    optimiser: torch.optim.Optimizer,
    processes: Processes,
) -> None:
    """Put weights, momentum and this process's random generators back, in place."""
    for prefix, module in modules.items():
        for name, tensor in module.state_dict().items():
            tensor.copy_(tensors[f"{prefix}.{name}"])
    parameters = [parameter for one in optimiser.param_groups for parameter in one["params"]]
    for name, tensor in tensors.items():
        if name.startswith("optimiser."):
            _, number, entry = name.split(".")
            parameter = parameters[int(number)]
            held = torch.empty_like(parameter)  # in its memory format, which is faster
            optimiser.state[parameter][entry] = held.copy_(tensor)
    # A process that was not there before has no generators.
    if (state := tensors.get(f"generator.cpu.{processes.rank}")) is not None:
        torch.set_rng_state(state)
    if (state := tensors.get(f"generator.cuda.{processes.rank}")) is not None and processes.device.type == "cuda":
        torch.cuda.set_rng_state(state, processes.device)


def generator_states(processes: Processes) -> dict[str, Tensor]:
    """The random generators of all processes, by "cpu.RANK" and "cuda.RANK"; all of them must call this."""
    own = {"cpu": torch.get_rng_state()}
    if processes.device.type == "cuda":
        own["cuda"] = torch.cuda.get_rng_state(processes.device)
    return {f"{kind}.{rank}": state for kind, mine in own.items() for rank, state in enumerate(processes.gather(mine))}

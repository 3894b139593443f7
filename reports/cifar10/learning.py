"""What `full.py` trains with: pictures that lie on the device, and a network that learns from them there."""

import io
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from robustbench_bi.corruptions import corrupt
from robustbench_bi.data import CLEAN, Cell, Preprocessing, normalise, open_data, preprocessing_of
from robustbench_bi.models import create_model
from robustbench_bi.training import Recipe

WAYS: dict[str, dict[str, Any] | None] = {
    "eager": None,
    "compiled": {},
    # CUDA graphs: a step is one launch, where it would be some hundred.
    "graphs": {"mode": "reduce-overhead"},
}
MADE_UP = 40
"""Pictures of a split that is made up."""


class Pictures(NamedTuple):
    """A split on the device: uint8 (N, 3, 32, 32) and labels (N,)."""

    images: Tensor
    labels: Tensor


def read(data: str, split: str, device: torch.device) -> Pictures:
    """A split, "training" or "evaluation", of what was given as DATA."""
    if data == "made-up":
        generator = torch.Generator().manual_seed(len(split))
        images = torch.randint(0, 256, (MADE_UP, 3, 32, 32), dtype=torch.uint8, generator=generator)
        return Pictures(images.to(device), (torch.arange(MADE_UP) % 10).to(device))
    if Path(data).is_file():
        return from_table(Path(data), {"training": "train", "evaluation": "test"}[split], device)
    dataset = open_data(data, split=split)
    images = torch.from_numpy(dataset.read(np.arange(len(dataset)), Preprocessing(32, 32), workers=8))
    return Pictures(images.to(device), torch.from_numpy(dataset.labels).long().to(device))


def from_table(path: Path, split: str, device: torch.device) -> Pictures:
    """The rows of a split of a Parquet file."""
    import pyarrow.parquet

    rows = pyarrow.parquet.read_table(path, filters=[("split", "==", split)]).to_pydict()
    with ThreadPoolExecutor() as threads:
        images = np.stack(list(threads.map(decoded, rows["jpeg"])))
    batch = torch.from_numpy(images).permute(0, 3, 1, 2).contiguous()
    return Pictures(batch.to(device), torch.tensor(rows["label"]).to(device))


def decoded(content: bytes) -> NDArray[np.uint8]:
    """The pixels (H, W, 3) of a file."""
    return np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))


def batches(pictures: Pictures, recipe: Recipe, seed: int, epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Batches of an epoch in random order, each picture moved by up to `recipe.shift` pixels and mirrored or not."""
    images, labels = pictures
    device, count, side, shift = images.device, len(images), images.shape[2], recipe.shift
    generator = torch.Generator(device).manual_seed(1000 * seed + epoch)
    order = torch.randperm(count, generator=generator, device=device)
    moves = torch.randint(0, 2 * shift + 1, (2, count, 1), generator=generator, device=device)
    mirrored = torch.randint(0, 2, (count, 1), generator=generator, device=device).bool()
    padded = F.pad(images, (shift, shift, shift, shift))
    line, channels = torch.arange(side, device=device), torch.arange(3, device=device)[:, None, None]
    rows, columns = moves[0] + line, moves[1] + torch.where(mirrored, side - 1 - line, line)
    for chosen in order[: count - count % recipe.batch_size].split(recipe.batch_size):
        places = (
            chosen[:, None, None, None],
            channels,
            rows[chosen][:, None, :, None],
            columns[chosen][:, None, None, :],
        )
        yield padded[places], labels[chosen]


class Learner:
    """A network in training.

    Args:
        name: of the network, as for `create_model`.
        width: of its channels.
        seed: of its first weights, and of the order and the moves of its pictures.
        recipe: of the optimiser.
        device: where it learns, in bfloat16 by autocast.
        way: a row of `WAYS`.
    """

    def __init__(self, name: str, width: float, seed: int, recipe: Recipe, device: torch.device, way: str) -> None:
        # What was compiled for the network before would count towards the limit after which torch compiles no more.
        torch._dynamo.reset()
        torch.manual_seed(seed)
        options = {**recipe.model_options, "width": width}
        self.network = create_model(name, num_classes=10, **options).to(device)
        self.network.to(memory_format=torch.channels_last)
        self.recipe, self.preprocessing = recipe, preprocessing_of(self.network)
        compiling = WAYS[way] if device.type == "cuda" or WAYS[way] is None else {"backend": "eager"}
        self.run = self.network if compiling is None else torch.compile(self.network, **compiling)
        self.optimiser = torch.optim.SGD(
            self.network.parameters(), lr=0.0, momentum=recipe.momentum, weight_decay=recipe.weight_decay
        )

    def logits(self, run: nn.Module, images: Tensor) -> Tensor:
        """Of pictures, uint8 (B, 3, S, S)."""
        prepared = normalise(images, self.preprocessing).contiguous(memory_format=torch.channels_last)
        with torch.autocast(images.device.type, torch.bfloat16):
            output: Tensor = run(prepared)
        return output.float()

    def epoch(self, pictures: Pictures, seed: int, number: int) -> Iterator[Tensor]:
        """The loss of each step of an epoch, counted from 0; reading one waits for the device."""
        self.network.train()
        steps = len(pictures.images) // self.recipe.batch_size
        for step, (images, labels) in enumerate(batches(pictures, self.recipe, seed, number)):
            for options in self.optimiser.param_groups:
                options["lr"] = self.recipe.learning_rate_at(number * steps + step, steps)
            loss = F.cross_entropy(self.logits(self.run, images), labels)
            self.optimiser.zero_grad()
            loss.backward()
            self.optimiser.step()
            yield loss.detach().clone()

    @torch.no_grad()
    def right(self, pictures: Pictures, cells: Sequence[Cell], size: int = 2500) -> list[tuple[Cell, int, int]]:
        """Each cell with its pictures and right answers; the pixels of a cell are the same for every network."""
        self.network.eval()
        counted = []
        for cell in cells:
            right = torch.zeros((), dtype=torch.long, device=pictures.labels.device)
            for start in range(0, len(pictures.labels), size):
                images, labels = (part[start : start + size] for part in pictures)
                if cell != CLEAN:
                    ids = np.arange(start, start + len(images))
                    images = corrupt(images, *cell, ids=ids, table="auto")
                right += (self.logits(self.network, images).argmax(dim=1) == labels).sum()
            counted.append((cell, len(pictures.labels), int(right)))
        return counted


def synchronise(device: torch.device) -> None:
    """Wait until the device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def card(device: torch.device) -> str:
    """The device by its maker's name."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type

"""The pictures of a training in the order of its epochs: read, cut, mirrored and augmented in threads, ahead of time.

A picture of a batch depends on the seed, the epoch and the image only, its crop on its place among those trained on. So
neither the number of threads nor that of processes, nor a restart, changes one.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from robustbench_bi.data import Dataset
from robustbench_bi.data.containers.image_files import in_threads
from robustbench_bi.data.preprocess import Preprocessing
from robustbench_bi.training.augment import AUGMENTATIONS
from robustbench_bi.training.crops import NUMBERS, crop_and_flip, flip, inception_crop
from robustbench_bi.training.recipe import Recipe

IN_MEMORY_BYTES = 2 * 1024**3
"""A split whose decoded pictures are smaller than this is decoded once and kept."""

AHEAD = 2
"""Batches that are made while the network works."""

_ORDER, _CROPS, _AUGMENTATION, _NEXT_BOXES = range(4)

Batch = tuple[torch.Tensor, torch.Tensor]
Item = TypeVar("Item")
Reader = Callable[[NDArray[np.int64]], torch.Tensor]


class TrainingImages:
    """A training split with a recipe's crops and augmentation.

    Pictures that have sizes of their own are decoded whole for an inception crop, each time. Others are brought to
    one size first, and kept in memory where they are few.

    Args:
        dataset: the split.
        preprocessing: side and resize of the network's images.
        recipe: its `crop`, `shift`, `flip` and `augment`.
        seed: keys every draw, with the epoch and the image.
        workers: threads that read and augment.
    """

    def __init__(self, dataset: Dataset, preprocessing: Preprocessing, recipe: Recipe, seed: int, workers: int) -> None:
        self.dataset = dataset
        self.recipe = recipe
        self.seed = seed
        self.workers = workers
        self.side = preprocessing.side
        self.labels = torch.from_numpy(dataset.labels).long()
        self.open_image = dataset.open_image if recipe.crop == "inception" else None
        whole = preprocessing.resize_size if recipe.crop == "inception" else self.side
        if self.open_image is None:
            self.read = reader(dataset, replace(preprocessing, input_size=whole, resize_size=whole), workers)

    def __len__(self) -> int:
        return len(self.labels)

    def batches(self, epoch: int, rows_of_step: Iterable[slice]) -> Iterator[Batch]:
        """The batches of an epoch.

        Args:
            epoch: from 0.
            rows_of_step: for each batch, its places in the epoch's order.

        Yields:
            Images, uint8 (B, 3, S, S), and labels, int64 (B,), on the CPU.

        Raises:
            DataError: a picture cannot be read.
        """
        order = np.random.default_rng((self.seed, epoch, _ORDER)).permutation(len(self))
        numbers = np.random.default_rng((self.seed, epoch, _CROPS)).random((len(order), NUMBERS))
        for places in rows_of_step:
            rows = order[places]
            images = self._augmented(self._cut(rows, numbers[rows], epoch), rows, epoch)
            yield images, self.labels[torch.from_numpy(rows)]

    def _cut(self, rows: NDArray[np.int64], numbers: NDArray[np.float64], epoch: int) -> torch.Tensor:
        open_image = self.open_image
        if open_image is None:
            return crop_and_flip(self.read(rows), torch.from_numpy(numbers), self.recipe, self.side)
        cut = np.empty((len(rows), 3, self.side, self.side), dtype=np.uint8)

        def fill(place: int) -> None:
            image_id = int(self.dataset.image_ids[rows[place]])
            again = self._generator(epoch, _NEXT_BOXES, image_id)
            cut[place] = inception_crop(open_image(image_id), numbers[place], again, self.side)

        in_threads(fill, range(len(rows)), self.workers)
        images = torch.from_numpy(cut)
        return flip(images, torch.from_numpy(numbers)) if self.recipe.flip else images

    def _augmented(self, images: torch.Tensor, rows: NDArray[np.int64], epoch: int) -> torch.Tensor:
        if self.recipe.augment == "none":
            return images
        augment = AUGMENTATIONS[self.recipe.augment]
        pictures = images.numpy()
        changed = np.empty_like(pictures)

        def fill(place: int) -> None:
            generator = self._generator(epoch, _AUGMENTATION, int(self.dataset.image_ids[rows[place]]))
            changed[place] = augment(pictures[place], generator)

        in_threads(fill, range(len(rows)), self.workers)
        return torch.from_numpy(changed)

    def _generator(self, epoch: int, purpose: int, image_id: int) -> np.random.Generator:
        return np.random.default_rng((self.seed, epoch, purpose, image_id))


def reader(dataset: Dataset, preprocessing: Preprocessing, workers: int) -> Reader:
    """Read rows of a dataset: from memory where the whole of it is small, else decoded again each time."""
    if 3 * preprocessing.side**2 * len(dataset) > IN_MEMORY_BYTES:
        return lambda rows: torch.from_numpy(dataset.read(rows, preprocessing, workers=workers))
    kept = torch.from_numpy(dataset.read(np.arange(len(dataset)), preprocessing, workers=workers))
    return lambda rows: kept[torch.from_numpy(rows)]


def prefetched(items: Iterable[Item], ahead: int = AHEAD) -> Generator[Item, None, None]:
    """The same items in the same order, made by a thread, up to `ahead` of them before they are asked for.

    Example:
        >>> list(prefetched(range(4)))
        [0, 1, 2, 3]
    """
    iterator = iter(items)
    waiting: deque[Future[Item | None]] = deque()
    thread = ThreadPoolExecutor(1)
    try:
        waiting.extend(thread.submit(next, iterator, None) for _ in range(ahead))
        while (item := waiting.popleft().result()) is not None:
            waiting.append(thread.submit(next, iterator, None))
            yield item
    finally:
        thread.shutdown(cancel_futures=True)

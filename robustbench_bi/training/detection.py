"""Training of detectors: their pictures with boxes, their step, and their score; the session is that of classifiers.

A network on a pretrained backbone keeps its stem, its first stage and all of the backbone's statistics of batch
normalisation as they are, as mmdet's recipe does. A backbone from random weights has nothing worth keeping: it is
trained whole.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from robustbench_bi.data import Dataset
from robustbench_bi.errors import DataError, InputError, ModelOutputError
from robustbench_bi.ground.run_lengths import of_text, to_bitmap
from robustbench_bi.models.inference import autocast, failing_in_a_line, full_precision
from robustbench_bi.training.distributed import Processes
from robustbench_bi.training.images import IN_MEMORY_BYTES
from robustbench_bi.training.recipe import Recipe
from robustbench_bi.training.steps import Execution, not_the_networks

_ORDER, _FLIPS = 0, 1

Pictures = list[Tensor]
Targets = list[dict[str, Tensor]]


@dataclass(frozen=True)
class DetectionResult:
    """What a detector does on a split: AP of boxes, and of masks where it finds some, in percent; pictures."""

    ap: float
    mask_ap: float
    n: int

    def row(self) -> dict[str, float]:
        """Its columns of the log."""
        masks = {} if math.isnan(self.mask_ap) else {"evaluation_mask_ap": round(self.mask_ap, 4)}
        return {"evaluation_ap": round(self.ap, 4), **masks}

    def summary(self) -> dict[str, Any]:
        """What the checkpoint says of it."""
        masks = {} if math.isnan(self.mask_ap) else {"mask_ap": self.mask_ap}
        return {"ap": self.ap, **masks, "n": self.n}


class DetectionImages:
    """A training split of pictures with boxes; pictures without any are passed over, as in COCO's recipes.

    Args:
        dataset: the split.
        recipe: its `flip`.
        seed: keys the order and the mirroring, with the epoch.
        workers: threads that decode.
        masks: whether the network learns masks, so that each object needs one.

    Raises:
        DataError: no picture has a box, or an object lacks a mask.
    """

    def __init__(self, dataset: Dataset, recipe: Recipe, seed: int, workers: int, masks: bool) -> None:
        if dataset.objects is None:
            raise DataError(f"{dataset.name} has no boxes; train detectors on coco:PATH, voc:PATH or demo-detection")
        if masks and not dataset.objects.has_masks:
            raise DataError(f"Mask R-CNN needs a mask for every object, and {dataset.name} lacks some")
        self.dataset, self.objects, self.recipe = dataset, dataset.objects, recipe
        self.seed, self.workers = seed, workers
        self.masks = masks
        plain = ~(self.objects.columns["crowd"] | self.objects.columns["difficult"])
        self.columns = {name: values[plain] for name, values in self.objects.columns.items()}
        self.rows = np.flatnonzero(np.isin(dataset.image_ids, self.columns["image_id"]))
        if not len(self.rows):
            raise DataError(f"none of the images of {dataset.name} has a box")
        self.starts = np.searchsorted(self.columns["image_id"], dataset.image_ids[self.rows])
        self.ends = np.searchsorted(self.columns["image_id"], dataset.image_ids[self.rows], side="right")
        sizes = self.objects.sizes_of(dataset.image_ids[self.rows]).astype(np.int64)
        self.kept: dict[int, NDArray[np.uint8]] | None = {} if 3 * sizes.prod(axis=1).sum() < IN_MEMORY_BYTES else None

    def __len__(self) -> int:
        return len(self.rows)

    def batches(self, epoch: int, rows_of_step: Iterable[slice]) -> Iterator[tuple[Pictures, Targets]]:
        """The batches of an epoch: pictures uint8 (3, H, W), and for each its boxes, labels from 1, and masks."""
        order = np.random.default_rng((self.seed, epoch, _ORDER)).permutation(len(self))
        mirrored = np.random.default_rng((self.seed, epoch, _FLIPS)).random(len(self)) < 0.5
        for places in rows_of_step:
            chosen = order[places]
            pairs = [
                self._mirrored(*pair) if self.recipe.flip and mirrored[place] else pair
                for place, pair in zip(chosen, self._read(chosen), strict=True)
            ]
            yield [picture for picture, _ in pairs], [target for _, target in pairs]

    def _read(self, places: NDArray[np.int64]) -> list[tuple[Tensor, dict[str, Tensor]]]:
        known = self.kept if self.kept is not None else {}
        missing = [place for place in places.tolist() if place not in known]
        read = dict(zip(missing, self.dataset.read(self.rows[missing], None, workers=self.workers), strict=True))
        if self.kept is not None:
            self.kept.update(read)
        found = {**known, **read} if self.kept is None else self.kept
        return [(torch.from_numpy(found[place]), self._target(place)) for place in places.tolist()]

    def _target(self, place: int) -> dict[str, Tensor]:
        own = slice(self.starts[place], self.ends[place])
        left, top, wide, high = (self.columns[name][own] for name in ("x", "y", "width", "height"))
        width, height = self.objects.sizes[int(self.dataset.image_ids[self.rows[place]])]
        boxes = np.stack([left, top, left + wide, top + high], axis=1)
        boxes = np.clip(boxes, 0, [width, height, width, height]).astype(np.float32)
        target = {"boxes": torch.from_numpy(boxes), "labels": torch.from_numpy(self.columns["category"][own] + 1)}
        if self.masks:
            runs = [of_text(text, width * height) for text in self.columns["mask"][own]]
            bitmaps = np.array([to_bitmap(one, height, width) for one in runs], dtype=np.uint8)
            target["masks"] = torch.from_numpy(bitmaps)
        return target

    def _mirrored(self, picture: Tensor, target: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        boxes = target["boxes"].clone()
        boxes[:, [0, 2]] = picture.shape[2] - boxes[:, [2, 0]]
        masks = {"masks": target["masks"].flip(2)} if "masks" in target else {}
        return picture.flip(2), {**target, "boxes": boxes, **masks}


class DetectionLearner:
    """A detector while it learns; see `steps.Learner`.

    Args:
        network: on its device.
        recipe: of the optimiser.
        execution: how it is computed.
        processes: that share a step.
        pretrained: whether the backbone came with weights, so that part of it stays as it is.
    """

    def __init__(
        self, network: nn.Module, recipe: Recipe, execution: Execution, processes: Processes, pretrained: bool
    ) -> None:
        if execution.compiled or execution.accumulate > 1 or recipe.ema or execution.sync_batch_norm:
            raise InputError("detectors cannot be trained with --compile, --accumulate, --ema or --sync-batch-norm")
        self.network, self.recipe, self.execution, self.processes = network, recipe, execution, processes
        self.name = str(getattr(network, "identity", {}).get("name", "the network"))
        self.pretrained = pretrained
        if not pretrained:
            network.requires_grad_(True)
        self.learned = [own for own in network.parameters() if own.requires_grad]
        options: dict[str, Any] = {"momentum": recipe.momentum, "nesterov": recipe.nesterov}
        self.optimiser = torch.optim.SGD(self.learned, lr=0.0, weight_decay=recipe.weight_decay, **options)
        self.shared: nn.Module = network
        if processes.count > 1:
            devices = [processes.device] if processes.device.type == "cuda" else None
            self.shared = DistributedDataParallel(network, device_ids=devices)

    @property
    def shown(self) -> nn.Module:
        """The network that is evaluated and saved."""
        return self.network

    @property
    def modules(self) -> dict[str, nn.Module]:
        """Everything with weights, by the name under which its state is kept."""
        return {"network": self.network}

    def training_row(self, correct: int, seen: int) -> dict[str, float]:
        """Further columns of the log: none, since a step tells the loss alone."""
        return {}

    def step(self, batch: tuple[Pictures, Targets], learning_rate: float) -> tuple[Tensor, Tensor]:
        """One update: the sum of the detector's losses before it, and nothing that counts as right."""
        device = self.processes.device
        images = [picture.to(device).float() / 255 for picture in batch[0]]
        targets = [{name: own.to(device) for name, own in target.items()} for target in batch[1]]
        for options in self.optimiser.param_groups:
            options["lr"] = learning_rate
        if self.pretrained:
            body: Any = self.network.backbone
            body.body.eval()
        self.optimiser.zero_grad()
        try:
            with (
                autocast(device, self.execution.precision),
                failing_in_a_line(images[0], self.name, passes=not_the_networks),
            ):
                losses: Mapping[str, Tensor] = self.shared(images, targets)
                loss = torch.stack(list(losses.values())).sum()
        except ModelOutputError as error:
            self.processes.fail(error)
        loss.backward()  # type: ignore[no-untyped-call]
        if self.recipe.clip:
            nn.utils.clip_grad_norm_(self.learned, self.recipe.clip)
        self.optimiser.step()
        return loss.detach(), torch.zeros((), device=device)

    @torch.no_grad()
    def score(self, read: Any, labels: Any) -> DetectionResult:
        """AP on a split, whose reader is the data set itself; the first process does it for all."""
        values = torch.zeros(2, dtype=torch.float64)
        self.processes.share(self.network)
        if self.processes.first:
            values = torch.tensor(self._average_precision(read), dtype=torch.float64)
        box, mask = self.processes.sum(torch.nan_to_num(values, nan=-1.0)).tolist()
        return DetectionResult(box, math.nan if mask < 0 else mask, len(read))

    def _average_precision(self, dataset: Dataset) -> tuple[float, float]:
        from robustbench_bi.training.detection_score import average_precision

        self.network.eval()
        with full_precision():
            return average_precision(self.network, self.name, dataset, self.processes.device)

"""A training of a detector before its first step."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from robustbench_bi.data import Dataset
from robustbench_bi.errors import InputError
from robustbench_bi.models import create_model
from robustbench_bi.models.detectors import DETECTORS
from robustbench_bi.models.weights import load_weights, source_hash, weights_hash
from robustbench_bi.training.detection import DetectionImages, DetectionLearner
from robustbench_bi.training.distributed import Processes
from robustbench_bi.training.recipe import Recipe, stated
from robustbench_bi.training.session import Prepared
from robustbench_bi.training.steps import Execution, share_out

BACKBONE_WEIGHTS = "backbone_weights"
"""The option that names a checkpoint of the backbone."""


def prepare_detector(
    model: str,
    data: str,
    splits: tuple[Dataset, Dataset],
    recipe: Recipe,
    execution: Execution,
    options: Mapping[str, Any],
    seed: int,
    workers: int,
    processes: Processes,
) -> Prepared:
    """Build the detector, and say what identifies the training.

    Raises:
        InputError: the model is no row of ours, an option does not fit, or the recipe is one of classifiers.
        WeightsError: the backbone's weights do not fit.
        DataError: the data lack boxes or masks.
    """
    training, evaluation = splits
    if model not in DETECTORS:
        raise InputError(f"{data} has boxes and trains only detectors ({', '.join(DETECTORS.names)}), got {model}")
    if recipe.crop != "none" or recipe.augment != "none" or recipe.label_smoothing:
        raise InputError("detectors cannot be trained with crop, augment or label_smoothing; use --preset detection")
    row = DETECTORS[model]
    torch.manual_seed(seed)
    chosen = {**recipe.model_options, **{name: value for name, value in options.items() if name != BACKBONE_WEIGHTS}}
    network: Any = create_model(model, num_classes=training.num_classes, **chosen)
    network.class_names = training.class_names
    file = options.get(BACKBONE_WEIGHTS)
    if file is not None:
        _load_backbone(network, row.backbone, file)
    network.to(processes.device)
    images = DetectionImages(training, recipe, seed, workers, row.masks)
    recipe = replace(recipe, batch_size=min(recipe.batch_size, len(images)))
    share, normalised_together = share_out(execution, network, recipe.batch_size, processes)
    about = {
        "model": model,
        "options": network.identity["options"],
        "source": source_hash(network),
        "num_classes": training.num_classes,
        "class_names": training.class_names,
        BACKBONE_WEIGHTS: None if file is None else weights_hash(network.backbone.body),
        "data": data,
        "images": len(images),
        "listing_hash": f"{training.listing_hash} {images.objects.digest(training.image_ids)}",
        "content_hash": training.content_hash,
        "recipe": stated(recipe),
        "precision": execution.precision,
        "seed": seed,
        "batch_norm_images": normalised_together,
        "processes": processes.count,
        "accumulate": execution.accumulate,
        "compiled": execution.compiled,
        "device": processes.device.type,
    }
    learner = partial(DetectionLearner, network, recipe, execution, processes, file is not None)
    return Prepared(network, recipe, execution, processes, images, evaluation, None, share, about, learner)


def _load_backbone(network: nn.Module, backbone: str, file: str | Path) -> None:
    options = network.identity["options"]  # type: ignore[index]
    if "stem_kernel" in options:
        raise InputError("pretrained backbones have a 3×3 stem; leave out stem_kernel or backbone_weights")
    stem: dict[str, Any] = {name: options[name] for name in ("width", "stem")}  # type: ignore[index]
    whole = create_model(backbone, num_classes=0, **stem)
    load_weights(whole, file)
    network.backbone.body.load_state_dict(whole.state_dict())  # type: ignore[union-attr]

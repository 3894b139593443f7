"""The networks that a probe looks at, loaded and fed exactly as `eval` does it."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from robustbench_bi.data import Dataset
from robustbench_bi.data.broken import without_broken
from robustbench_bi.data.preprocess import Preprocessing
from robustbench_bi.errors import InputError
from robustbench_bi.evaluation.configure import configure_run
from robustbench_bi.evaluation.networks import name_of, network_for, preprocessing_for, weights_for
from robustbench_bi.evaluation.prepare import check_options
from robustbench_bi.models import create_model
from robustbench_bi.models.inference import choose_device, memory_format
from robustbench_bi.models.sources import brings_weights
from robustbench_bi.runs.identity import EvalConfig


@dataclass(frozen=True)
class Subject:
    """A network that is ready to run.

    Attributes:
        label: its name in frames and figures; where two share one, the fingerprint is added.
        network: on its device, in evaluation mode.
        preprocessing: how its images are cut and normalised.
        config: what it is and on what; its device, batch size and workers are those to use.
    """

    label: str
    network: nn.Module
    preprocessing: Preprocessing
    config: EvalConfig


def open_subjects(
    models: Sequence[str | nn.Module],
    dataset: Dataset,
    *,
    weights: str | Sequence[str] | None = None,
    corruptions: tuple[str, ...] = (),
    severities: tuple[int, ...] = (),
    table: str = "auto",
    jpeg: int | str | None = None,
    seed: int = 0,
    device: str = "auto",
    batch_size: int = 64,
    workers: int | None = None,
    precision: str = "fp32",
    skip_broken: bool = False,
    **preprocessing: Any,
) -> tuple[Dataset, list[Subject]]:
    """Load networks for a dataset, with every option checked.

    Args:
        models: names or modules, as for `evaluate_models`.
        dataset: images with labels, or pictures without: then a network has as many outputs as its weights say.
        corruptions, severities: of the cells; none for clean images only.
        skip_broken: leave out images that cannot be decoded, instead of stopping.
        weights, table, jpeg, seed, device, batch_size, workers, precision: as for `evaluate_models`.
        **preprocessing: in place of the models' own, see `Preprocessing`; None means "as the model says".

    Returns:
        The dataset without broken images, and the networks in order.

    Raises:
        InputError: two models are the same, or as `evaluate_models`.
        UnknownNameError, DataError, WeightsError: as `evaluate_models`.

    Example:
        >>> from robustbench_bi.data import open_data
        >>> dataset, (subject,) = open_subjects(["resnet50"], open_data("demo", limit=8))
        >>> subject.label, subject.preprocessing.cut, subject.config.n
        ('resnet50', (64, 64, 'bilinear'), 8)
    """
    workers = min(8, os.cpu_count() or 1) if workers is None else workers
    check_options(precision, "bivo-robust", seed, batch_size=batch_size, workers=workers)
    weights_of = weights_for(models, weights)
    target = choose_device(device)
    networks = [_network(model, own, dataset, target, seed) for model, own in zip(models, weights_of, strict=True)]
    overrides = {name: value for name, value in preprocessing.items() if value is not None}
    prepared = [preprocessing_for(network, dataset, overrides) for network in networks]
    dataset, broken = without_broken(dataset, None, workers, skip_broken)
    configs = [
        configure_run(
            *(name_of(model), network, own, dataset),
            source=dataset.name,
            corruptions=corruptions,
            severities=severities,
            table=table,
            jpeg=jpeg,
            generator="bivo-robust",
            seed=seed,
            precision=precision,
            device=str(target),
            batch_size=batch_size,
            workers=workers,
            broken=broken,
        )
        for model, network, own in zip(models, networks, prepared, strict=True)
    ]
    names = [config.name for config in configs]
    labels = [config.name if names.count(config.name) == 1 else config.folder for config in configs]
    if len(set(labels)) < len(labels):
        raise InputError("each model must be given once, but two are the same network with the same weights")
    return dataset, [Subject(*parts) for parts in zip(labels, networks, prepared, configs, strict=True)]


def _network(
    model: str | nn.Module, weights: str | None, dataset: Dataset, device: torch.device, seed: int
) -> nn.Module:
    """As `network_for`; for pictures of one nameless class, a network as it comes with its weights."""
    if isinstance(model, nn.Module) or dataset.num_classes > 1:
        return network_for(model, weights, dataset, device, seed)
    if weights is None and not brings_weights(model):
        raise InputError(
            f"{model} on pictures without labels needs --weights: a checkpoint file, 'pretrained', a torchvision "
            "weights name, 'demo', or 'none' for random weights"
        )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed % 2**63)
        network = create_model(model, weights=weights)
    return network.to(device).to(memory_format=memory_format(model)).eval()


def left_out(subject: Subject) -> str:
    """A sentence on images that were left out, for a caption; empty where there are none."""
    broken = len(subject.config.broken)
    images = "image" if broken == 1 else "images"
    return f" Left out, because they cannot be decoded: {broken} {images}." if broken else ""


@contextmanager
def unchanged(models: Sequence[str | nn.Module]) -> Iterator[None]:
    """Leave the modules among the models in the modes, and on the device, in which they came.

    Example:
        >>> block = nn.Sequential(nn.Dropout().eval(), nn.ReLU())
        >>> with unchanged([block]):
        ...     _ = block.eval()
        >>> [module.training for module in block.modules()]
        [True, False, True]
    """
    states = [
        (
            model,
            next((parameter.device for parameter in model.parameters()), torch.device("cpu")),
            [module for module in model.modules() if module.training],
        )
        for model in models
        if isinstance(model, nn.Module)
    ]
    try:
        yield
    finally:
        for model, device, training in states:
            model.eval().to(device)
            for module in training:
                module.training = True

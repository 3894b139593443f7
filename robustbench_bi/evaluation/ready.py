"""Networks made ready for many forward passes, and which of two forms of one a run is filled with."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from robustbench_bi.data.preprocess import normalise
from robustbench_bi.errors import InputError
from robustbench_bi.evaluation.adapting import source_count_of
from robustbench_bi.ground.sizes import pair
from robustbench_bi.models.adapting import adapted
from robustbench_bi.models.batch_size import batch_size_that_fits
from robustbench_bi.models.forward_pass import ForwardPass, forward_pass
from robustbench_bi.models.inference import memory_format
from robustbench_bi.runs.images import holds_others

if TYPE_CHECKING:
    from torch import Tensor, nn

    from robustbench_bi.data import Dataset
    from robustbench_bi.evaluation.request import EvalRequest
    from robustbench_bi.evaluation.views import View
    from robustbench_bi.runs.identity import EvalConfig


def made_ready(
    request: EvalRequest,
    names: Sequence[str],
    networks: Sequence[nn.Module],
    views: Sequence[View],
    device: torch.device,
    look_inside: bool,
) -> tuple[tuple[ForwardPass, ...], int]:
    """The networks as they are asked, and the batch size.

    Args:
        request: what was asked for.
        names: of the networks.
        networks: on their device, in evaluation mode.
        views: how they get to see the images.
        device: where they are.
        look_inside: the layers of the networks are to be seen, so they stay as they came.

    Raises:
        InputError: a network runs in a precision of its own, and another is asked for.
    """
    for name, network in zip(names, networks, strict=True):
        if request.precision != "fp32" and getattr(network, "own_precision", False):
            raise InputError(f"{name} runs in the precision of its file; leave out --precision {request.precision}")
    images = [_noise(name, view, device) for name, view in zip(names, views, strict=True)]
    size = request.batch_size
    if not isinstance(size, int):
        size = min(batch_size_that_fits(network, image) for network, image in zip(networks, images, strict=True))
    if look_inside:
        if request.compile:
            logging.getLogger(__name__).warning("Layers of a compiled network cannot be seen, so it runs without.")
        return tuple(ForwardPass(network) for network in networks), size
    if request.adapt is not None:
        count, about = source_count_of(request.adapt), {"folded": 0, "reason": "batch norms adapt to each batch"}
        made = [adapted(network, count, size, name) for network, name in zip(networks, names, strict=True)]
        return tuple(ForwardPass(network, about=about) for network in made), size
    compiled_for = size if request.compile else None
    asked = zip(networks, images, names, strict=True)
    made_for = compiled_for, request.precision, size
    return tuple(forward_pass(network, image, name, *made_for) for network, image, name in asked), size


def as_begun(
    network: nn.Module, forward: ForwardPass, config: EvalConfig, out: str | Path
) -> tuple[nn.Module, EvalConfig]:
    """The network to ask, and what it is. A run that was begun with the network as it came goes on with it.

    Whoever asks for a compiled network gets it, in a run of its own.
    """
    begun = (Path(out) / config.folder / "run.json").exists()
    if forward.how is not None and begun and forward.how != "compiled":
        about = {"folded": 0, "reason": "the run started with the network unmodified"}
        return network, replace(config, forward_pass=about)
    return forward.network, replace(config, forward=forward.how, forward_pass=forward.about)


def as_known(config: EvalConfig, forms: Sequence[str | None], dataset: Dataset, out: str | Path) -> EvalConfig:
    """What a run is; one from before contents were part of that goes on without, unless its pictures were others.

    Args:
        config: of the run.
        forms: of the network that a run may have been begun with, see `EvalConfig.forward`.
        dataset: the images.
        out: the folder of runs.
    """
    older = replace(config, content_hash="")
    for form in dict.fromkeys(forms) if config.content_hash else ():
        folder = Path(out) / replace(older, forward=form).folder
        if (folder / "run.json").exists() and not holds_others(folder, dataset):
            return older
    return config


def _noise(name: str, view: View, device: torch.device) -> Tensor:
    """A picture of noise as a network takes it."""
    shape, generator = (1, 3, *pair(view.seen)), torch.Generator().manual_seed(0)
    noise = torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8)
    return normalise(noise.to(device), view.preprocessing).contiguous(memory_format=memory_format(name))

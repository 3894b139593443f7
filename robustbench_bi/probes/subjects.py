"""The networks that a probe looks at, loaded and fed exactly as `eval` does it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn

from robustbench_bi.analysis.described import with_description
from robustbench_bi.data import Dataset
from robustbench_bi.evaluation import networks
from robustbench_bi.evaluation.networks import Subject as Subject
from robustbench_bi.evaluation.request import EvalRequest
from robustbench_bi.models.inference import unchanged as unchanged


def open_subjects(
    models: Sequence[str | nn.Module],
    dataset: Dataset,
    *,
    corruptions: tuple[str, ...] = (),
    severities: tuple[int, ...] = (1,),
    jpeg: int | str | None = None,
    look_inside: bool = False,
    **options: Any,
) -> tuple[Dataset, list[Subject]]:
    """Load networks for a dataset, with every option checked.

    Args:
        models: names or modules, as for `evaluate_models`.
        dataset: images with labels, or pictures without: then a network has as many outputs as its weights say.
        corruptions, severities: of the cells; none for clean images only.
        jpeg: as for `evaluate_models`; by default none.
        look_inside: the layers of the networks are to be seen, so they are neither folded nor compiled.
        **options: as for `evaluate_models`.

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
    request = EvalRequest.of(models, dataset.name, suite=corruptions, severities=severities, jpeg=jpeg, **options)
    return networks.open_subjects(request, dataset, look_inside=look_inside)


def describe_subjects(subjects: Sequence[Subject]) -> str:
    """A sentence on the networks, for a caption: each with what its name does not say."""
    networks = [with_description(own.label, own.config.as_json()) for own in subjects]
    return f"Network{'' if len(networks) == 1 else 's'}: {', '.join(networks)}."


def left_out(subject: Subject) -> str:
    """A sentence on images that were left out, for a caption; empty where there are none."""
    broken = len(subject.config.broken)
    images = "image" if broken == 1 else "images"
    return f" Skipped because they cannot be decoded: {broken} {images}." if broken else ""

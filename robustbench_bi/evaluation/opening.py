"""The images of a request, opened before torch is loaded: what is wrong with them is said in a second."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from robustbench_bi.errors import DataError, InputError

if TYPE_CHECKING:
    from robustbench_bi.data import Dataset
    from robustbench_bi.evaluation.request import EvalRequest

INDICES = ".indices"
"""The folder beside the runs that keeps the indices of archives."""


def open_images(request: EvalRequest) -> Dataset:
    """Open the images of a request; they are listed but not yet decoded.

    Args:
        request: which images, and how they are to be prepared.

    Raises:
        DataError: they cannot be listed; or as `check_images`.
        InputError: as `DataRequest.open` or `check_images`.

    Example:
        >>> from robustbench_bi.evaluation.request import EvalRequest
        >>> len(open_images(EvalRequest.of(["resnet50"], "demo", limit=8)))
        8
    """
    from robustbench_bi.data.containers.tar import index_folder  # numpy and Pillow, which --help does without

    with index_folder(Path(request.out) / INDICES):
        dataset = request.data.open(cells=request.cells)
    check_images(request, dataset)
    return dataset


def check_images(request: EvalRequest, dataset: Dataset) -> None:
    """Refuse images that no network can be evaluated on as the request says.

    Args:
        request: how they are to be prepared.
        dataset: the images.

    Raises:
        DataError: all belong to one class, or there are images of one class alone.
        InputError: as `check_resizable`.
    """
    if dataset.num_classes == 1 and dataset.objects is None:
        raise DataError(
            f"{request.data.source} has only one class, {dataset.class_names[0]!r}, so every answer would be right; "
            "expected a folder with one subfolder per class"
        )
    # Where a user gave the classes there are others, and where the source is a published set they are known.
    if dataset.held_classes == 1 and dataset.source.class_file and request.data.classes is None:
        held = dataset.class_names[dataset.labels[0]]
        raise DataError(
            f"{request.data.source} has images of only one class, {held!r}; expected a folder with one subfolder per "
            "class, or all classes by --classes FILE (imagenet-1k for ImageNet's)"
        )
    if not request.fit and request.corrupt_size is None:
        check_resizable(dataset, request.preprocessing)


def check_resizable(dataset: Dataset, overrides: Mapping[str, Any]) -> None:
    """Refuse sizes for images that all have one size and are used as they are.

    Args:
        dataset: the images.
        overrides: what a user set of the preprocessing.

    Raises:
        InputError: one of them is a size or a way to get to it.
    """
    sizes = {"input_size", "resize_size", "interpolation", "crop_mode", "cut_as"} & set(overrides)
    if dataset.native_size is not None and sizes:
        raise InputError(
            f"{dataset.kind} images are {dataset.native_size} pixels and are not resized; leave out {min(sizes)}, "
            "or give fit"
        )

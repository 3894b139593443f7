"""The images of a request, opened before torch is loaded: what is wrong with them is said in a second."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from robustbench_bi.corruptions import CORRUPTIONS
from robustbench_bi.data import expand_user, named_source
from robustbench_bi.data.containers.folders import subfolders
from robustbench_bi.data.containers.tar import index_folder
from robustbench_bi.errors import DataError, InputError
from robustbench_bi.ground.cells import SEVERITIES

if TYPE_CHECKING:
    from robustbench_bi.data import Dataset
    from robustbench_bi.evaluation.request import EvalRequest

_SEVERITIES = frozenset(map(str, SEVERITIES))
INDICES = ".indices"
"""The folder beside the runs that keeps the indices of archives."""


def open_images(request: EvalRequest) -> Dataset:
    """Open the images of a request; they are listed but not yet decoded.

    Args:
        request: which images, and how they are to be prepared.

    Raises:
        DataError: they cannot be listed; or as `check_clean` and `check_images`.
        InputError: as `DataRequest.open` or `check_images`.

    Example:
        >>> from robustbench_bi.evaluation.request import EvalRequest
        >>> len(open_images(EvalRequest.of(["resnet50"], "demo", limit=8)))
        8
    """
    check_clean(request.data.source)
    with index_folder(Path(request.out) / INDICES):
        dataset = request.data.open(cells=request.cells)
    check_images(request, dataset)
    return dataset


def check_clean(source: str) -> None:
    """Refuse a folder of ImageNet-C's layout, or a part of it, as a folder of clean pictures.

    Args:
        source: as it was typed.

    Raises:
        DataError: it is one; the message says how to read it.
    """
    row, path = named_source(source)
    root = expand_user(path or "").resolve()
    if row.name != "folder" or not root.is_dir():
        return
    of_severity = root.parent if root.name in _SEVERITIES else root
    above = [of_severity.parent] if of_severity.name in CORRUPTIONS else []
    whole = [folder for folder in (root, *above) if _holds_corruptions(folder)]
    if whole:
        raise DataError(
            f"{path} holds corrupted pictures in ImageNet-C's layout, not clean ones; read them as "
            f"imagenet-c:{whole[0]}, and choose some with --suite and --severities"
        )


def _holds_corruptions(folder: Path) -> bool:
    """Whether its folders are corruptions, and theirs the severities; others, as of class files, may lie beside."""
    corruptions = [name for name in subfolders(folder) if name in CORRUPTIONS]
    inner = [subfolders(folder / name) for name in corruptions]
    return bool(inner) and all(own and set(own) <= _SEVERITIES for own in inner)


def check_images(request: EvalRequest, dataset: Dataset) -> None:
    """Refuse images that no network can be evaluated on as the request says.

    Args:
        request: how they are to be prepared.
        dataset: the images.

    Raises:
        DataError: all belong to one class.
        InputError: as `check_resizable`.
    """
    if dataset.num_classes == 1 and dataset.objects is None:
        raise DataError(
            f"{request.data.source} has only one class, {dataset.class_names[0]!r}, so every answer would be right; "
            "expected a folder with one subfolder per class"
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

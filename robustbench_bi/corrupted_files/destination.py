"""The folder that corrupted images are written to: where it may lie, what it says it holds, and how files are named."""

from __future__ import annotations

import datetime
import json
import os
from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from robustbench_bi.corrupted_files.manifests import MANIFESTS
from robustbench_bi.data import Dataset, expand_user, named_source
from robustbench_bi.data.class_spaces.shift_sets import DESCRIPTION
from robustbench_bi.errors import DataError, InputError, RunMismatchError
from robustbench_bi.ground.atomic import replacing
from robustbench_bi.runs.identity import differing, installed_versions

CLASS_FILE = "classes.tsv"
LABEL_FILE = "labels.npy"
_OF_IMAGES = {
    "listing_hash": "the names, sizes or labels of the images differ",
    "content_hash": "the images there have the same names and sizes but different contents",
}
"""What it means that a hash of the images differs, which tells nobody anything."""


def check_destination(root: Path, dataset: Dataset) -> None:
    """Refuse a folder that may not or cannot be written to, before any work is done.

    Raises:
        InputError: it lies in the folder of the source.
        DataError: it is a file, holds what we did not write, or is closed to us.
    """
    source, place = _source_folder(dataset), Path(os.path.realpath(root))
    if source is not None and source in (place, *place.parents):
        raise InputError(f"{root} is inside the folder of the clean images, {source}; choose a folder outside it")
    try:
        held = os.listdir(root)  # noqa: PTH208 - as names
    except FileNotFoundError:
        held = []
    except NotADirectoryError:
        raise DataError(f"{root} must be a folder, but is a file") from None
    except OSError as error:
        raise DataError(f"cannot list {root}: {error.strerror}") from error
    if DESCRIPTION in held:
        return
    foreign = sorted(name for name in held if name == MANIFESTS or not name.startswith("."))
    if foreign:
        raise DataError(
            f"{root} must be empty or hold {DESCRIPTION}, which describes its contents, but it holds {foreign[0]}; "
            "choose another folder"
        )
    existing = next(folder for folder in (place, *place.parents) if os.path.exists(folder))  # noqa: PTH110
    if not os.access(existing, os.W_OK | os.X_OK):
        raise DataError(f"cannot write in {existing}: Permission denied; choose another folder")


def _source_folder(dataset: Dataset) -> Path | None:
    """The folder that a user named as the source, where one was named."""
    path = named_source(dataset.name)[1]
    return Path(os.path.realpath(expand_user(path))) if path else None


def read_description(root: Path) -> dict[str, Any] | None:
    """What a folder says it holds: its identity, and at runtime the images left out; None where it is new.

    Raises:
        RunMismatchError: it cannot be read.
    """
    path = root / DESCRIPTION
    try:
        loaded: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        dict(loaded["identity"]), [int(image["image_id"]) for image in loaded["runtime"]["broken"]]
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise RunMismatchError(f"{path} cannot be read ({error!r}). Choose another folder") from error
    return loaded


def write_description(root: Path, identity: Mapping[str, Any], source: str, broken: Sequence[Any]) -> None:
    """Write down what a folder holds.

    Raises:
        DataError: it cannot be written.
    """
    runtime = {
        "source": source,
        "broken": list(broken),
        "versions": installed_versions(),
        "started": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }
    content = json.dumps({"identity": identity, "runtime": runtime}, indent=1)
    _keep_file(root / DESCRIPTION, f"{content}\n".encode())


def check_same(root: Path, held: Mapping[str, Any], identity: Mapping[str, Any], advice: str) -> None:
    """Refuse to mix files of other images or settings into a folder.

    Args:
        root: the folder.
        held: the identity that it has.
        identity: the one that it would need.
        advice: what to do, as the end of the message.

    Raises:
        RunMismatchError: the two differ.
    """
    for key in differing({name: held.get(name) for name in identity}, identity):
        settings = f"{key} is {held.get(key)} there and {identity[key]} here"
        raise RunMismatchError(
            f"{root} holds files of other images or settings: {_OF_IMAGES.get(key, settings)}. {advice}"
        )


def full_path(path: str | Path) -> Path:
    """An absolute path; links in it stay as they were typed."""
    return Path(os.path.abspath(expand_user(path)))  # noqa: PTH100


def _keep_file(path: Path, content: bytes) -> None:
    """Write a small file, unless it is there with that content."""
    try:
        if path.read_bytes() == content:
            return
    except OSError:
        pass
    with replacing(path) as partial:
        partial.write_bytes(content)


def target_names(dataset: Dataset, suffix: str, kept: Sequence[str] = ()) -> dict[int, str]:
    """The name of each image's file in the folder of a cell: its own, with another suffix.

    Args:
        dataset: the images.
        suffix: in place of their own.
        kept: suffixes in lower case that stay.

    Returns:
        image id -> class folder/name.

    Raises:
        DataError: two images would get the same name.

    Example:
        >>> from robustbench_bi.data import open_data
        >>> target_names(open_data("demo", limit=2), ".JPEG")
        {196: 'ring/00196.JPEG', 472: 'triangle/00472.JPEG'}
    """
    sources: dict[str, str] = {}
    for file in dataset.names():
        own = Path(file).suffix
        target = file if own.lower() in kept else file.removesuffix(own) + suffix
        if target in sources:
            raise DataError(f"{sources[target]} and {file} would both become {target}; rename one of them")
        sources[target] = file
    return dict(zip(dataset.image_ids.tolist(), sources, strict=True))


def write_class_file(root: Path, dataset: Dataset, classes: str | Path | None) -> Path | None:
    """Write the class file that goes with class folders, unless it is there.

    ImageNet's folders need none. Others are numbered by their names, which fails where a limit leaves some of them
    empty, and for the demo set.

    Args:
        root: where it belongs.
        dataset: all images of the source.
        classes: the user's class file, which is copied.

    Returns:
        Its path; None where none is needed.

    Raises:
        DataError: it cannot be written.
    """
    if classes is not None:
        content = expand_user(classes).read_bytes()
    elif dataset.class_set == "imagenet-1k":
        return None
    else:
        folders = (file.partition("/")[0] for file in dataset.names())
        numbers = dict(zip(folders, dataset.labels.tolist(), strict=True))
        lines = (f"{number}\t{folder}\t{dataset.class_names[number]}\n" for folder, number in numbers.items())
        content = "".join(lines).encode("utf-8", "surrogateescape")
    _keep_file(root / CLASS_FILE, content)
    return root / CLASS_FILE


def write_labels(root: Path, dataset: Dataset) -> None:
    """Write labels.npy, the labels of arrays of images: int64, once for each severity; unless it is there.

    Raises:
        DataError: it cannot be written.
    """
    file = BytesIO()
    np.save(file, np.tile(dataset.labels.astype(np.int64), 5))
    _keep_file(root / LABEL_FILE, file.getvalue())

"""The whole way from a data source to a folder of files: what is asked for, what is there, what is lacking."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from robustbench_bi.corrupted_files.destination import (
    check_destination,
    check_same,
    full_path,
    read_description,
    target_names,
    write_class_file,
    write_description,
    write_labels,
)
from robustbench_bi.corrupted_files.image_files import (
    JPEG_SUFFIXES,
    NATIVE,
    Job,
    Order,
    Plan,
    jobs_of,
    lacking_arrays,
    lacking_images,
    write_array,
    write_images,
)
from robustbench_bi.corrupted_files.manifests import MANIFESTS
from robustbench_bi.corrupted_files.worker_pool import in_processes
from robustbench_bi.corruptions import resolve_suite, resolve_table
from robustbench_bi.corruptions.apply import check_seed
from robustbench_bi.data import Dataset, find_source, open_data
from robustbench_bi.data.broken import without_broken
from robustbench_bi.data.containers.folders import EXTENSIONS, existing_folder, image_names
from robustbench_bi.data.listed import Labelled, clean_dataset
from robustbench_bi.data.preprocess import Preprocessing, preprocessing_of
from robustbench_bi.data.sources.archives import folder_files
from robustbench_bi.errors import DataError, InputError
from robustbench_bi.ground.atomic import remove_partial_files
from robustbench_bi.ground.cells import CLEAN, Progress, cell_label, parse_severities
from robustbench_bi.ground.checks import check_integer, check_quality
from robustbench_bi.ground.cores import available_cores

SEVERITIES = (1, 2, 3, 4, 5)
JPEG_QUALITY = 85
DECODING_THREADS = 8


@dataclass(frozen=True)
class Summary:
    """What `write_corrupted` did.

    Attributes:
        source: the name under which `bivo-robust eval --data` reads the files; empty where they have no classes.
        classes: the class file that goes with them, where one is needed.
        written: image files, or arrays, that were made.
        whole: those that were there.
        broken: images left out because they cannot be decoded.
    """

    source: str
    classes: Path | None
    written: int
    whole: int
    broken: int


def write_corrupted(
    source: str | Path,
    destination: str | Path,
    *,
    suite: str | Sequence[str] = "imagenet-c",
    severities: str | int | Iterable[int] = "1-5",
    table: str = "auto",
    jpeg: int | str | None = "auto",
    clean: bool = False,
    limit: int | None = None,
    seed: int = 0,
    size: int | str | None = None,
    resize: int | None = None,
    classes: str | Path | None = None,
    keep_format: bool = False,
    skip_broken: bool = False,
    verify: bool = False,
    workers: int | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> Summary:
    """Write corrupted images in the published layouts; files that are there, and whole, are left as they are.

    Folders of images, and the demo set, become DESTINATION/<corruption>/<severity>/<class folder>/<name>.JPEG, as in
    ImageNet-C. Images without class folders become DESTINATION/<corruption>/<severity>/<name>, nested as they are, and
    JPEG files keep their whole names. CIFAR-10 becomes DESTINATION/<corruption>.npy and labels.npy, as in CIFAR-10-C. A
    file is whole when it has the size that was noted when it was written.

    Worker processes start afresh, so a script that calls this needs the usual `if __name__ == "__main__":`.

    Args:
        source: a data source of clean images, as in `bivo-robust list data`.
        destination: a folder that is new or empty, or was filled from the same images with the same settings.
        suite: a suite, a category, or corruption names with commas, or a sequence of names.
        severities: "1-5", "1,3,5", an integer or integers; an array always holds all five.
        table: a table of severity constants, or "auto": by the side of the images.
        jpeg: quality of the JPEG files, 1 to 95, or None or "none" for PNG files; "auto" is 85, as in ImageNet-C. An
            array holds the pixels as they are.
        clean: write the clean images as well, without loss, where our readers look for them: none.npy, or PNG data in
            none/0 under the names of the corrupted files, suffix included.
        limit: take this many images, chosen by a hash of their ids.
        seed: keys every random draw, 0 to 2**64 - 1.
        size: side of the images in pixels, 224 by default; or "native" for pictures as they are, of any sizes from 32
            pixels on. The table is imagenet-c then, unless another is named.
        resize: what the short side is resized to before the crop; by default 256 for 224, else in proportion.
        classes: tab-separated file of class number, folder name, label.
        keep_format: files keep their suffixes and formats: JPEG stays JPEG, all others become PNG data.
        skip_broken: leave out images that cannot be decoded, instead of stopping.
        verify: compare the checksum of every file that is there, not its size alone.
        workers: processes, one a core by default. With one, the calling process does the work.
        progress: called after each corruption of a block of images.

    Returns:
        What was done.

    Raises:
        InputError: an option is out of range or does not go with the source.
        UnknownNameError: a name is in no table.
        DataError: the images cannot be read, or a file cannot be written; what is written stays good.
        RunMismatchError: the destination holds files of other images or settings.

    Example:
        >>> import tempfile
        >>> folder = tempfile.mkdtemp()
        >>> write_corrupted("demo", folder, suite="contrast", severities=5, limit=4).written
        4
        >>> write_corrupted("demo", folder, suite="contrast", severities="4,5", limit=4).whole
        4
    """
    workers = available_cores() if workers is None else workers
    check_integer("workers", workers, 1)
    root, chosen = full_path(destination), parse_severities(severities)
    cells = ({CLEAN[0]: (CLEAN[1],)} if clean else {}) | dict.fromkeys(resolve_suite(suite), chosen)
    everything, plain = _open(source, classes)
    arrays, layout = everything.source.arrays, everything.source.corrupted_as
    if layout is None:
        raise InputError(f"corruptions are made from clean images, but {source} holds corrupted ones")
    if arrays and chosen != SEVERITIES:
        raise InputError(f"an array holds all five severities, got {severities!r}; leave them out")
    dataset = everything if limit is None else everything.limited(limit)
    preprocessing, quality = _preprocessing(dataset, size, resize), _jpeg_quality(jpeg, arrays)
    suffix = ".png" if quality is None else ".JPEG"
    own = EXTENSIONS if keep_format else (".png",) if quality is None else JPEG_SUFFIXES
    kept = own if plain or keep_format or size == NATIVE else ()
    order = Order(
        root=root,
        dataset=dataset,
        preprocessing=preprocessing,
        cells=cells,
        names=None if arrays else target_names(dataset, suffix, kept),
        table=resolve_table(table, 224 if preprocessing is None else preprocessing.side),
        seed=check_seed(seed),
        jpeg=quality,
        keep_format=keep_format,
    )
    check_destination(root, dataset)
    order, broken = _begin(order, str(source), skip_broken, min(DECODING_THREADS, workers))
    class_file = None
    if arrays:
        write_labels(root, order.dataset)
        plan = lacking_arrays(order, verify)
    else:
        class_file = None if plain else write_class_file(root, everything, classes)
        plan = lacking_images(order, verify)
    written = _fill(order, plan, workers, progress)
    return Summary(
        source="" if plain else f"{layout}:{root}",
        classes=class_file,
        written=written,
        whole=order.file_count - written,
        broken=broken,
    )


def _begin(order: Order, source: str, skip_broken: bool, threads: int) -> tuple[Order, int]:
    """Write down what the folder is to hold, or check what it says; without the images that cannot be decoded.

    Every image is decoded before a folder is begun, so one that was begun needs no second look.
    """
    held = read_description(order.root)
    if held is None:
        dataset, broken = without_broken(order.dataset, None, threads, skip_broken)
        order = replace(order, dataset=dataset)
        write_description(order.root, order.identity, source, broken)
        return order, len(broken)
    left_out = [image["image_id"] for image in held["runtime"]["broken"]]
    if left_out and skip_broken:
        order = replace(order, dataset=order.dataset.without(left_out))
    advice = "Choose another folder"
    if left_out and not skip_broken:
        advice += ", or leave out broken images as there, with --skip-broken"
    needed = order.identity
    if "content_hash" not in held["identity"]:  # begun by a version that did not keep it
        needed.pop("content_hash", None)
    check_same(order.root, held["identity"], needed, advice)
    return order, len(left_out)


def _fill(order: Order, plan: Plan, workers: int, progress: Callable[[Progress], None] | None) -> int:
    """Make what is lacking, and return the number of files."""
    steps_total = len(order.blocks) * order.cell_count
    unit = "cells" if len(order.blocks) == 1 else "cell-blocks"
    lacking = [severities for block in plan.values() for severities in block.values()]
    steps_done = steps_total - sum(len(severities) for severities in lacking)
    images_total = sum(len(rows) for severities in lacking for rows in severities.values())
    images = 0

    def finished(job: Job) -> None:
        nonlocal steps_done, images
        steps_done += len(job.lacking)
        images += sum(len(rows) for rows in job.lacking.values())
        if progress is not None:
            label = cell_label((job.corruption, max(job.lacking)))
            progress(Progress(label, unit, steps_done, steps_total, images, images_total))

    remove_partial_files(order.root)
    remove_partial_files(order.root / MANIFESTS)
    if lacking:
        write = write_array if order.names is None else write_images
        jobs = jobs_of(order, plan, min(DECODING_THREADS, workers))
        in_processes(write, jobs, min(workers, len(lacking)), finished)
    return len(lacking) if order.names is None else images_total


def _open(source: str | Path, classes: str | Path | None) -> tuple[Dataset, bool]:
    """The clean images, and whether they are plain pictures: a folder with images that lie in no class folders."""
    row, path = find_source(str(source))
    if row.name == "folder" and path is not None and classes is None:
        try:
            if not image_names(existing_folder(path)):
                return open_data(source), False
        except DataError:
            if not _has_images(path):
                raise
        files = folder_files(path)
        labels = np.zeros(len(files.names), dtype=np.int32)
        return clean_dataset(str(source), files, Labelled(files.names, labels, ("picture",))), True
    return open_data(source, classes=classes), False


def _has_images(path: str) -> bool:
    with suppress(DataError):
        return bool(folder_files(path).names)
    return False


def _preprocessing(dataset: Dataset, size: int | str | None, resize: int | None) -> Preprocessing | None:
    """How images are cut; those of a fixed native size are used as they are. None: all keep their sizes."""
    if size == NATIVE and dataset.native_size is None:
        if resize is not None:
            raise InputError(f"images keep their sizes with size {NATIVE}; leave out resize")
        return None
    if size == NATIVE:
        size = None
    if isinstance(size, str):
        raise InputError(f"size must be a number of pixels or {NATIVE!r}, got {size!r}")
    if dataset.native_size is None:
        return preprocessing_of(None, input_size=size, resize_size=resize)
    if size is not None or resize is not None:
        raise InputError(
            f"{dataset.kind} images are {dataset.native_size} pixels and are not resized; leave out size and resize"
        )
    return Preprocessing(dataset.native_size, dataset.native_size)


def _jpeg_quality(jpeg: int | str | None, arrays: bool) -> int | None:
    if jpeg == "auto":
        return None if arrays else JPEG_QUALITY
    if jpeg is None or jpeg == "none":
        return None
    quality = check_quality(jpeg, 95, " or 'none'")
    if arrays:
        raise InputError(f"arrays store raw pixels, got jpeg {jpeg!r}; leave it out")
    return quality

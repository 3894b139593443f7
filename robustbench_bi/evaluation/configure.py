"""From what a user asked for to the configuration of a run: "auto" is settled, what cannot be done is refused."""

from __future__ import annotations

import dataclasses
import datetime
import re
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from robustbench_bi.corruptions import PIXEL_VERSION, resolve_table
from robustbench_bi.errors import DataError, InputError
from robustbench_bi.ground.cells import CLEAN, Cell
from robustbench_bi.models.weights import source_hash, weights_hash
from robustbench_bi.runs.identity import EvalConfig, installed_versions

if TYPE_CHECKING:
    from torch import nn

    from robustbench_bi.data import Dataset
    from robustbench_bi.data.preprocess import Preprocessing

# Published files were saved as JPEG of quality 85 (make_imagenet_c.py and its variants in hendrycks/robustness). Those
# of 64 pixels were too, but images of that size rarely come from JPEG files, so there the round trip is on demand.
JPEG_TABLES = ("imagenet-c", "imagenet-c-299")


def configure_run(
    name: str,
    network: nn.Module,
    prepared: Preprocessing,
    dataset: Dataset,
    *,
    source: str,
    corruptions: tuple[str, ...],
    severities: tuple[int, ...],
    table: str,
    jpeg: int | str | None,
    generator: str,
    **fields: Any,
) -> EvalConfig:
    """The configuration of one model on one dataset, with "auto" settled and what cannot be done refused.

    Args:
        name: the model as the user typed it.
        network: the model, with its weights.
        prepared: its preprocessing on this dataset.
        dataset: the images.
        source: the data source as the user typed it.
        corruptions: names.
        severities: 1 to 5.
        table: a table of constants, or "auto".
        jpeg: a quality, None, "none" or "auto".
        generator: "bivo-robust" or "imagecorruptions"; a source of published files overrides it.
        **fields: the other fields of `EvalConfig`, as they are.

    Raises:
        InputError: an option is out of range, or two contradict each other.
        DataError: the source holds files, but not of all the cells asked for.
    """
    stored = dataset.stored_cells
    if stored is not None:
        _check_stored(dataset, source, [(c, severity) for c in corruptions for severity in severities])
        generator = "files"
        # Published files do not depend on these, and their names are not part of what is measured.
        table, fields["seed"] = "auto", 0
        prepared = dataclasses.replace(prepared, resize_size=prepared.input_size)
    if generator == "imagecorruptions" and resolve_table(table, 224) != "imagenet-c":
        raise InputError(f"imagecorruptions has the constants of imagenet-c only, got table {table!r}")
    constants = "imagenet-c" if generator == "imagecorruptions" else resolve_table(table, prepared.input_size)
    return EvalConfig(
        model={**getattr(network, "identity", {"name": name}), "source": source_hash(network)},
        weights_hash=weights_hash(network),
        data=dataset.kind,
        listing_hash=dataset.listing_hash,
        n=len(dataset),
        num_classes=dataset.num_classes,
        class_set=dataset.class_set,
        corruptions=corruptions,
        severities=severities,
        table=constants,
        jpeg=None if stored is not None else _jpeg_quality(jpeg, constants),
        generator=generator,
        input_size=prepared.input_size,
        resize_size=prepared.resize_size,
        interpolation=prepared.interpolation,
        mean=prepared.mean,
        std=prepared.std,
        pixel_version=PIXEL_VERSION,
        clean=stored is None or CLEAN in stored,
        name=name,
        source=source,
        command=_command(),
        versions=installed_versions(),
        started=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        **fields,
    )


def _check_stored(dataset: Dataset, source: str, wanted: list[Cell]) -> None:
    missing = [cell for cell in wanted if cell not in (dataset.stored_cells or ())]
    if missing:
        raise DataError(
            f"{source} lacks {len(missing)} of the {len(wanted)} cells asked for, the first is "
            f"{missing[0][0]} severity {missing[0][1]}. Choose others with --suite and --severities"
        )


def _jpeg_quality(jpeg: int | str | None, table: str) -> int | None:
    if jpeg == "auto":
        return 85 if table in JPEG_TABLES else None
    if jpeg is None or jpeg == "none":
        return None
    if isinstance(jpeg, bool) or not re.fullmatch(r"[0-9]+", str(jpeg)) or not 1 <= int(jpeg) <= 100:
        raise InputError(f"jpeg must be a quality from 1 to 100, 'none' or 'auto', got {jpeg!r}")
    return int(jpeg)


def _command() -> str:
    """The command line that started this process, where it is ours."""
    program = Path(sys.argv[0])
    ours = program.name == "bivo-robust" or program.parts[-2:] == ("robustbench_bi", "__main__.py")
    return shlex.join(["bivo-robust", *sys.argv[1:]]) if ours else "rb.evaluate(…)"

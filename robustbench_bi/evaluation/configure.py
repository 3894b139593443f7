"""From what a user asked for to the configuration of a run: "auto" is settled, what cannot be done is refused."""

from __future__ import annotations

import dataclasses
import datetime
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from robustbench_bi.corruptions import resolve_table
from robustbench_bi.errors import DataError, InputError
from robustbench_bi.evaluation.request import EvalRequest
from robustbench_bi.ground.cells import CLEAN
from robustbench_bi.ground.sizes import CROP_MODES, CUT_AS
from robustbench_bi.models.weights import source_hash, weights_hash
from robustbench_bi.runs.identity import EvalConfig, installed_versions
from robustbench_bi.runs.settings import Settings

if TYPE_CHECKING:
    import torch
    from torch import nn

    from robustbench_bi.data import Dataset
    from robustbench_bi.data.preprocess import Preprocessing

# Published files were saved as JPEG of quality 85 (make_imagenet_c.py and its variants in hendrycks/robustness). Those
# of 64 pixels were too, but images of that size rarely come from JPEG files, so there the round trip is on demand.
JPEG_TABLES = ("imagenet-c", "imagenet-c-299")


def configure_run(
    request: EvalRequest,
    name: str,
    network: nn.Module,
    prepared: Preprocessing,
    dataset: Dataset,
    device: torch.device,
    broken: tuple[dict[str, Any], ...] = (),
) -> EvalConfig:
    """The configuration of one model on one dataset, with "auto" settled and what cannot be done refused.

    Args:
        request: what was asked for, of this model alone.
        name: the model as the user typed it.
        network: the model, with its weights.
        prepared: its preprocessing on this dataset.
        dataset: the images.
        device: where the network is.
        broken: images that were left out.

    Raises:
        InputError: two options contradict each other.
        DataError: the source holds files, but not of all the cells asked for.
    """
    settings = {field.name: getattr(request, field.name) for field in dataclasses.fields(Settings)}
    return EvalConfig(
        **{**settings, **_pixels(request, prepared, dataset), "device": str(device)},
        model={**getattr(network, "identity", {"name": name}), "source": source_hash(network)},
        weights_hash=weights_hash(network),
        data=dataset.kind,
        listing_hash=dataset.listing_hash,
        n=len(dataset),
        num_classes=dataset.num_classes,
        class_set=dataset.class_set,
        corruptions=request.corruptions,
        clean=dataset.stored_cells is None or CLEAN in dataset.stored_cells,
        block_size=request.block_size,
        name=name,
        source=request.data.source,
        data_request=request.data.as_json(),
        requested=request.as_options(),
        started_in=str(Path.cwd()),
        broken=broken,
        command=_command(),
        versions=installed_versions(),
        started=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    )


def _pixels(request: EvalRequest, prepared: Preprocessing, dataset: Dataset) -> dict[str, Any]:
    """The settings that decide the pixels, settled."""
    cut = {field.name: getattr(prepared, field.name) for field in dataclasses.fields(prepared)}
    for name, usual in (("crop_mode", CROP_MODES[0]), ("cut_as", CUT_AS[0])):  # runs from before these have None
        cut[name] = None if cut[name] == usual else cut[name]
    side, stored = prepared.side, dataset.stored_cells
    if stored is not None:
        _check_stored(dataset, request)
        # Published files do not depend on these, and their names are not part of what is measured.
        made = {"generator": "files", "table": resolve_table("auto", side), "seed": 0, "jpeg": None}
        return {**cut, **made, "resize_size": side, "crop_mode": None, "cut_as": None}
    table = resolve_table(request.table, side)
    if request.generator == "imagecorruptions":
        if resolve_table(request.table, 224) != "imagenet-c":
            raise InputError(f"imagecorruptions has the constants of imagenet-c only, got table {request.table!r}")
        table = "imagenet-c"
    jpeg = request.jpeg
    if jpeg == "auto":
        jpeg = 85 if table in JPEG_TABLES else None
    return {**cut, "table": table, "jpeg": jpeg}


def _check_stored(dataset: Dataset, request: EvalRequest) -> None:
    wanted = [(corruption, severity) for corruption in request.corruptions for severity in request.severities]
    missing = [cell for cell in wanted if cell not in (dataset.stored_cells or ())]
    if missing:
        raise DataError(
            f"{request.data.source} lacks {len(missing)} of the {len(wanted)} cells asked for, the first is "
            f"{missing[0][0]} severity {missing[0][1]}. Choose others with --suite and --severities"
        )


def _command() -> str:
    """The command line that started this process, where it is ours."""
    program = Path(sys.argv[0])
    ours = program.name == "bivo-robust" or program.parts[-2:] == ("robustbench_bi", "__main__.py")
    return shlex.join(["bivo-robust", *sys.argv[1:]]) if ours else "rb.evaluate(…)"

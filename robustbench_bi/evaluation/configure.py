"""From what a user asked for to the configuration of a run: "auto" is settled, what cannot be done is refused."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from robustbench_bi.corruptions import resolve_table
from robustbench_bi.data.preprocess import preprocessing_of
from robustbench_bi.errors import DataError, InputError
from robustbench_bi.evaluation import adapting
from robustbench_bi.evaluation.request import EvalRequest
from robustbench_bi.ground.cells import CLEAN
from robustbench_bi.ground.checks import SMALLEST_SIDE
from robustbench_bi.ground.sizes import CROP_MODES, CUT_AS, in_pixels, pair
from robustbench_bi.models import ASSUMED, MODELS, VARIANTS
from robustbench_bi.models.weights import source_hash, weights_hash
from robustbench_bi.runs.identity import EvalConfig, installed_versions
from robustbench_bi.runs.settings import Settings

if TYPE_CHECKING:
    import torch
    from torch import nn

    from robustbench_bi.data import Dataset
    from robustbench_bi.data.preprocess import Preprocessing
    from robustbench_bi.evaluation.views import View

# Published files were saved as JPEG of quality 85 (make_imagenet_c.py and its variants in hendrycks/robustness). Those
# of 64 pixels were too, but images of that size rarely come from JPEG files, so there the round trip is on demand.
JPEG_TABLES = ("imagenet-c", "imagenet-c-299")

LOOKED_AT = 16
ENLARGED = 1.5
"""From how many times their side the enlarging of pictures is remarked on: a few pixels are in any set."""


def configure_run(
    request: EvalRequest,
    name: str,
    network: nn.Module,
    view: View | None,
    dataset: Dataset,
    device: torch.device,
    broken: tuple[dict[str, Any], ...] = (),
    stated: Mapping[str, Any] | None = None,
) -> EvalConfig:
    """The configuration of one model on one dataset, with "auto" settled and what cannot be done refused.

    Args:
        request: what was asked for, of this model alone.
        name: the model as the user typed it.
        network: the model, with its weights.
        view: how it gets to see the images; None where pictures keep their sizes.
        dataset: the images.
        device: where the network is.
        broken: images that were left out.
        stated: further settings, as the network has them.

    Raises:
        InputError: two options contradict each other.
        DataError: the source holds files, but not of all the cells asked for.
    """
    settings = {field.name: getattr(request, field.name) for field in dataclasses.fields(Settings)}
    settled = {**_pixels(request, view, dataset), **_truth(dataset), **(stated or {}), "device": str(device)}
    settled |= adapting.settled(request, dataset)
    return EvalConfig(
        **{**settings, **settled},
        model={**getattr(network, "identity", {"name": name}), "source": source_hash(network)},
        weights_hash=weights_hash(network),
        data=dataset.kind,
        listing_hash=dataset.listing_hash,
        content_hash=dataset.content_hash,
        n=len(dataset),
        num_classes=dataset.num_classes,
        class_set=dataset.class_set,
        class_space=dataset.class_space,
        answers=None if dataset.answers is None else dataset.answers.described(),
        border=dataset.border,
        clean_hash=dataset.clean_hash,
        left_out=dict(dataset.left_out) or None,
        corruptions=request.corruptions,
        clean=dataset.stored_cells is None or CLEAN in dataset.stored_cells,
        block_size=request.block_size,
        name=name,
        parameters=sum(parameter.numel() for parameter in network.parameters()),
        source=request.data.source,
        data_request=request.data.as_json(),
        requested=request.as_options(),
        started_in=str(Path.cwd()),
        stored_side=dataset.one_stored_side(),
        remarks=(
            *dataset.remarks,
            *_enlarged(view, dataset),
            *_assumed(request, name, network, view, dataset),
            *_not_resized(name, network, view, dataset),
            *_followed(name, view, dataset),
        ),
        broken=broken,
        command=_command(),
        versions=installed_versions(),
        started=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    )


def _truth(dataset: Dataset) -> dict[str, Any]:
    """What tells the objects in the images from others, where the labels are objects."""
    if dataset.objects is None:
        return {}
    category = dataset.objects.of(dataset.image_ids)["category"]
    return {
        "truth_hash": dataset.objects.digest(dataset.image_ids),
        "objects": len(category),
        "object_classes": len(set(category.tolist())),
    }


def _pixels(request: EvalRequest, view: View | None, dataset: Dataset) -> dict[str, Any]:
    """The settings that decide the pixels, settled.

    Pictures that keep their sizes are corrupted as Michaelis et al. (2019) do it for detection: in native size, with
    the constants of the package that was written for that, and not stored again.
    """
    if view is None:
        return {
            "table": "imagecorruptions" if request.table == "auto" else request.table,
            "jpeg": None if request.jpeg == "auto" else request.jpeg,
        }
    cut = _cut(view, dataset)
    side = view.preprocessing.side
    if dataset.stored_cells is not None:
        _check_stored(dataset, request)
        # Published files do not depend on these, and their names are not part of what is measured.
        made = {"generator": "files", "table": resolve_table("auto", side), "seed": 0, "jpeg": None}
        whole = view.fitted_to is not None or dataset.one_stored_side() == side
        return {**cut, **made, "resize_size": cut["resize_size"] if dataset.clean_hash and whole else side}
    table = resolve_table(request.table, side)
    if request.generator == "imagecorruptions":
        if resolve_table(request.table, 224) != "imagenet-c":
            raise InputError(f"imagecorruptions has the constants of imagenet-c only, got table {request.table!r}")
        table = "imagenet-c"
    jpeg = request.jpeg
    if jpeg == "auto":
        jpeg = 85 if table in JPEG_TABLES else None
    return {**cut, "table": table, "jpeg": jpeg}


def _cut(view: View, dataset: Dataset) -> dict[str, Any]:
    """The settings that decide how images are cut and fitted, settled: what changes nothing has its default."""
    own = view.preprocessing
    settled = {field.name: getattr(own, field.name) for field in dataclasses.fields(own)}
    fitted = view.fitted_to is not None
    resized_by_rule = dataset.native_size is None and dataset.stored_cells is None
    settled |= {"input_size": view.seen, "interpolation": view.interpolation}
    settled |= {"fit": fitted, "corrupt_size": own.input_size if fitted else None}
    settled |= {"no_resize": own.no_resize if resized_by_rule else None}
    # Runs from before there were others have None for the usual way; files that are only cropped have no other.
    cropped = dataset.stored_cells is not None and not dataset.clean_hash
    for name, usual in (("crop_mode", CROP_MODES[0]), ("cut_as", CUT_AS[0])):
        settled[name] = None if cropped or settled[name] == usual else settled[name]
    return settled | {"channels": None if own.channels == 3 else own.channels}


def _enlarged(view: View | None, dataset: Dataset) -> list[str]:
    """The remark on small pictures that are enlarged before they are corrupted; none on others.

    Corruptions are made for a side: on pictures of 32 pixels that were enlarged to 224 they are not CIFAR-10-C's.
    """
    clean = dataset.native_size is None and dataset.stored_cells is None
    if view is None or not clean or view.preprocessing.no_resize:
        return []
    short_sides = sorted(_short_sides(dataset))
    side, median = view.preprocessing.side, short_sides[len(short_sides) // 2] if short_sides else 0
    if not median or median * ENLARGED > side:
        return []
    return [
        f"Images are small (median short side {median} px over {len(short_sides)} sampled) and are enlarged to "
        f"{side} px before the corruption; --corrupt-size {max(median, SMALLEST_SIDE)} corrupts them first"
    ]


def _assumed(request: EvalRequest, name: str, network: nn.Module, view: View | None, dataset: Dataset) -> list[str]:
    """The remark on preprocessing that a network does not state; a wrong one lowers accuracy without an error.

    The networks of this package are of the paper, whose preprocessing is ImageNet's.
    """
    if view is None or name in MODELS or name in VARIANTS:
        return []
    unstated = getattr(network, "assumed", [own for own in ASSUMED if getattr(network, own, None) is None])
    resized = dataset.native_size is None and dataset.stored_cells is None and not view.preprocessing.no_resize
    # Fitted pictures are cut at a side of their own, and the caption says to which one they are fitted.
    sizes = _sizes_in_words(view.preprocessing) if resized and view.fitted_to is None else {}
    used = {**sizes, **_colours_in_words(view.preprocessing)}
    missing = [own for own in used if own in unstated and own not in request.preprocessing]
    if not missing:
        return []
    nouns = _enumerated([own.replace("_", " ") for own in missing])
    options = _enumerated([f"--{own.replace('_', '-')}" for own in missing])
    return [
        f"{name} does not state its {nouns}, so ImageNet's usual preprocessing was assumed: "
        f"{', '.join(used[own] for own in missing)}. If it was trained differently, give {options}"
    ]


def _not_resized(name: str, network: nn.Module, view: View | None, dataset: Dataset) -> list[str]:
    """The remark on a network that states another size than that of images which are given as they are."""
    stated = getattr(network, "input_size", None) is not None and "input_size" not in getattr(network, "assumed", ())
    if view is None or view.fitted_to is not None or not stated or name in MODELS or name in VARIANTS:
        return []
    size = preprocessing_of(network).input_size
    if dataset.native_size is None or pair(size) == pair(dataset.native_size):
        return []
    advice = "; --fit resizes them" if isinstance(size, int) else ""
    return [
        f"{name} states {in_pixels(size)}, but these images are given as they are, at "
        f"{in_pixels(dataset.native_size)}{advice}"
    ]


def _followed(name: str, view: View | None, dataset: Dataset) -> list[str]:
    """The remark on which image processor of transformers is followed: a repository often does not say."""
    if view is None or (dataset.stored_cells is not None and not dataset.clean_hash):
        return []
    which = {"transformers": "slow (PIL)", "transformers-fast": "fast (torchvision)"}.get(view.preprocessing.cut_as)
    return [f"Images for {name} are cut as by its {which} image processor in transformers"] if which else []


def _sizes_in_words(own: Preprocessing) -> dict[str, str]:
    return {
        "resize_size": f"resize {in_pixels(own.resize_size)} ({own.interpolation})",
        "input_size": f"crop {in_pixels(own.input_size)}",
    }


def _colours_in_words(own: Preprocessing) -> dict[str, str]:
    return {name: f"{name} " + "/".join(f"{value:g}" for value in getattr(own, name)) for name in ("mean", "std")}


def _enumerated(words: Sequence[str]) -> str:
    """Words with commas, and "and" before the last."""
    return " and ".join([", ".join(words[:-1])] * (len(words) > 1) + [words[-1]])


def _short_sides(dataset: Dataset) -> Iterator[int]:
    """Of a fixed sample of pictures; those that cannot be read are told of elsewhere."""
    if dataset.open_image is not None:
        for image_id in dataset.limited(LOOKED_AT).image_ids.tolist():
            with contextlib.suppress(DataError):
                yield min(dataset.open_image(image_id).size)


def _check_stored(dataset: Dataset, request: EvalRequest) -> None:
    wanted = [(corruption, severity) for corruption in request.corruptions for severity in request.severities]
    missing = [cell for cell in wanted if cell not in (dataset.stored_cells or ())]
    if missing:
        held = sorted({corruption for corruption, _ in dataset.stored_cells or ()} - {CLEAN[0]})
        raise DataError(
            f"{request.data.source} lacks {len(missing)} of the {len(wanted)} cells asked for, the first is "
            f"{missing[0][0]} severity {missing[0][1]}; it holds {', '.join(held)}. Choose others with --suite and "
            "--severities"
        )


def _command() -> str:
    """The command line that started this process, where it is ours."""
    program = Path(sys.argv[0])
    ours = program.name == "bivo-robust" or program.parts[-2:] == ("robustbench_bi", "__main__.py")
    return shlex.join(["bivo-robust", *sys.argv[1:]]) if ours else "rb.evaluate(…)"

"""How a network gets to see the images of a source: the side at which they are cut and corrupted, and its own.

The two are one unless a user asks for `fit` or `corrupt_size`. Then what was cut, and corrupted or stored, at one side
is resized to the network's by the network's interpolation, as the last step before normalisation.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from robustbench_bi.data.preprocess import Preprocessing, preprocessing_of
from robustbench_bi.errors import InputError
from robustbench_bi.ground.sizes import Shape, pair

if TYPE_CHECKING:
    from robustbench_bi.data import Dataset
    from robustbench_bi.evaluation.request import EvalRequest


@dataclass(frozen=True)
class View:
    """How images come to a network.

    Attributes:
        preprocessing: how they are cut, at the side where they are corrupted; and how they are normalised.
        seen: the side that the network sees.
        interpolation: the network's own, by which the one becomes the other.
    """

    preprocessing: Preprocessing
    seen: int | Shape
    interpolation: str

    @property
    def fitted_to(self) -> int | None:
        """The side that the network sees, where it is another than that of the corruption."""
        return None if self.seen == self.preprocessing.input_size else min(pair(self.seen))


def plain_view(preprocessing: Preprocessing, dataset: Dataset, request: EvalRequest) -> View:
    """Images are seen as they were cut; clean files go through the network's transform, or are never resized."""
    if request.no_resize and dataset.native_size is None:
        preprocessing = replace(preprocessing, no_resize=True)
    return View(preprocessing, preprocessing.input_size, preprocessing.interpolation)


def fitted_view(network: object, dataset: Dataset, request: EvalRequest) -> View:
    """Images are cut and corrupted at a side of their own, and resized to the network's.

    Raises:
        InputError: the images have no such side, or one that is not to be chosen.
        DataError: the side of stored images cannot be read.
    """
    own = preprocessing_of(network, **request.preprocessing)
    if own.shape != (own.side, own.side):
        raise InputError(f"images are fitted to squares, and this model takes {own.shape}")
    side = _own_side(dataset, request)
    # Those that are cut here are cut as the published files were: bilinear, 256 for 224.
    usual = preprocessing_of(None, input_size=side)
    resize = side if dataset.native_size is not None else usual.resize_size
    cut = replace(own, input_size=side, resize_size=resize, interpolation=usual.interpolation)
    cut = replace(cut, crop_mode=usual.crop_mode, cut_as=usual.cut_as)
    return View(cut, own.input_size, own.interpolation)


def _own_side(dataset: Dataset, request: EvalRequest) -> int:
    """The side at which images are corrupted, or were stored."""
    side = dataset.stored_side() if dataset.native_size is None and dataset.stored_side else dataset.native_size
    asked = request.corrupt_size
    if dataset.stored_cells is not None and asked is not None:
        raise InputError(
            f"corrupt_size is for corruptions made here; those of {dataset.kind} are stored, so give fit alone"
        )
    if side is None and asked is None:
        raise InputError(
            f"fit is for images that all have one size; {dataset.kind} images differ in size, so give corrupt_size, "
            "the size at which they are corrupted"
        )
    if side is not None and asked not in (None, side):
        raise InputError(
            f"corrupt_size is for clean images of any size; {dataset.kind} images have {side}×{side} pixels, so give "
            "fit alone"
        )
    return asked or side  # type: ignore[return-value]

"""From a decoded picture to the uint8 square that a model sees, and from there to its normalised tensor.

Resize and crop give the same bytes as torchvision's `Resize` and `CenterCrop` on PIL images, which the published
ImageNet-C files and nearly all published accuracies were made with; `ground/cut.py` has the other ways.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from robustbench_bi.errors import DataError, InputError
from robustbench_bi.ground.checks import (
    check_channels,
    check_resize,
    check_side,
    check_std,
    plain_integer,
)
from robustbench_bi.ground.cut import INTERPOLATIONS as INTERPOLATIONS
from robustbench_bi.ground.cut import CutRule
from robustbench_bi.ground.cut import centre_crop as centre_crop
from robustbench_bi.ground.cut import cut_image as cut_by_rule
from robustbench_bi.ground.sizes import CROP_MODES, CUT_AS, Shape, pair, proportional

if TYPE_CHECKING:
    import torch

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

LUMINANCE = (0.299, 0.587, 0.114)
"""Weights of red, green and blue in a grey picture (ITU-R BT.601, as PIL's mode "L")."""

_READ = ("input_size", "resize_size", "interpolation", "mean", "std", "crop_mode", "cut_as")

Cut = tuple[int | str | bool | Shape, ...]
"""Input size, resize size and interpolation; then what is not as usual of `crop_mode`, `cut_as` and `no_resize`."""


@dataclass(frozen=True)
class Preprocessing:
    """How a model wants its images.

    Args:
        input_size: side of the square that the model sees, in pixels, 32 to 4096; or its height and width.
        resize_size: the short side is resized to this before the centre crop; at least `input_size`, but see
            `crop_mode`.
        interpolation: one of `INTERPOLATIONS`, always antialiased, as PIL does.
        mean: of red, green, blue, for pixels scaled to [0, 1].
        std: likewise.
        crop_mode: one of `CROP_MODES`: "squash" resizes both sides to `resize_size`, "border" the long side; with
            "border" and "padded" it may be less than `input_size`.
        cut_as: one of `CUT_AS`: whose resize and crop are followed to the byte.
        no_resize: a picture is cropped at most, as stored corrupted files are.
        channels: 3, or 1 for a network that takes grey pictures: they are made grey after the corruption, and mean and
            std count by `LUMINANCE`.

    Raises:
        InputError: a value is outside these bounds.

    Example:
        >>> Preprocessing(input_size=299, resize_size=342).interpolation
        'bilinear'
        >>> Preprocessing(mean=(123.675, 116.28, 103.53))
        Traceback (most recent call last):
        ...
        robustbench_bi.errors.InputError: mean must be three numbers from 0 to 1 (pixels are scaled to [0, 1]), got \
(123.675, 116.28, 103.53)
    """

    input_size: int | Shape = 224
    resize_size: int | Shape = 256
    interpolation: str = "bilinear"
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    crop_mode: str = CROP_MODES[0]
    cut_as: str = CUT_AS[0]
    no_resize: bool = False
    channels: int = 3

    def __post_init__(self) -> None:
        for name in ("input_size", "resize_size"):
            object.__setattr__(self, name, _size(name, getattr(self, name)))
        known = {"interpolation": tuple(INTERPOLATIONS), "crop_mode": CROP_MODES, "cut_as": CUT_AS}
        for name, values in known.items():
            if getattr(self, name) not in values:
                raise InputError(f"{name} must be one of {', '.join(values)}, got {getattr(self, name)!r}")
        check_resize(self.input_size, self.resize_size, self.crop_mode)
        for name in ("mean", "std"):
            values = getattr(self, name)
            alone = self.channels == 1 and np.size(values) == 1
            object.__setattr__(self, name, _three(name, np.repeat(values, 3) if alone else values))
        check_std(self.std)
        if self.channels not in (1, 3):
            raise InputError(f"channels must be 1 (grey) or 3 (red, green, blue), got {self.channels!r}")

    @property
    def cut(self) -> Cut:
        """What decides how an image is cut; models that agree in it see the same pixels.

        Example:
            >>> Preprocessing(64, 64).cut
            (64, 64, 'bilinear')
        """
        usual = (self.crop_mode, self.cut_as) == (CROP_MODES[0], CUT_AS[0])
        cut: Cut = (self.input_size, self.resize_size, self.interpolation)
        cut = cut if usual else (*cut, self.crop_mode, self.cut_as)
        return (*cut, True) if self.no_resize else cut

    @property
    def shape(self) -> Shape:
        """Height and width of what the model sees.

        Example:
            >>> Preprocessing(64, 64).shape
            (64, 64)
        """
        return pair(self.input_size)

    @property
    def side(self) -> int:
        """The short side of what the model sees, by which severities are chosen."""
        return min(self.shape)


def preprocessing_of(model: object, **overrides: Any) -> Preprocessing:
    """Preprocessing from a model's attributes, each of which an override replaces.

    Attributes that the model lacks take ImageNet's usual values. Where `input_size` is given but `resize_size` is
    not, the two keep the proportion they had: 256 to 224, unless the model says otherwise.

    Args:
        model: anything; `input_size`, `resize_size`, `interpolation`, `mean`, `std`, `crop_mode`, `cut_as` and
            `in_chans` (the channels) are read where present.
        **overrides: fields of `Preprocessing`; None means "as the model says".

    Raises:
        InputError: an override is no field of `Preprocessing`, or a value is out of range.

    Example:
        >>> preprocessing_of(object(), input_size=112).resize_size
        128
    """
    names = [field.name for field in fields(Preprocessing)]
    unknown = sorted(overrides.keys() - names)
    if unknown:
        raise InputError(f"preprocessing has {', '.join(names)}; got {', '.join(unknown)}")
    stated = {name: getattr(model, name) for name in _READ if getattr(model, name, None) is not None}
    if getattr(model, "in_chans", None) is not None:
        stated["channels"] = plain_integer(model.in_chans)  # type: ignore[attr-defined]
    if "input_size" in stated:
        stated.setdefault("resize_size", proportional(224, 256, _size("input_size", stated["input_size"])))
    own = Preprocessing(**stated)
    given = {name: value for name, value in overrides.items() if value is not None}
    if "input_size" in given:
        size = _size("input_size", given["input_size"])
        given.setdefault("resize_size", proportional(own.input_size, own.resize_size, size))
    return replace(own, **given)


def fit_image(image: Image.Image, preprocessing: Preprocessing) -> NDArray[np.uint8]:
    """Resize and crop as the network wants it; an image that already has the model's size is taken as it is.

    This is for what was cut before, such as arrays; a clean file is brought to the side by `cut_image`.

    Args:
        image: RGB.
        preprocessing: how it is cut, see `cut_image`.

    Returns:
        uint8 (3, H, W).

    Example:
        >>> fit_image(Image.new("RGB", (500, 375)), Preprocessing()).shape
        (3, 224, 224)
    """
    if (image.height, image.width) == preprocessing.shape:
        return np.asarray(image).transpose(2, 0, 1)
    return cut_image(image, preprocessing)


def cut_image(image: Image.Image, preprocessing: Preprocessing, name: str = "the image") -> NDArray[np.uint8]:
    """The network's own transform of a clean picture, whatever its size: resize and crop.

    Args:
        image: RGB.
        preprocessing: its sizes, interpolation, `crop_mode` and `cut_as`.
        name: what messages call it.

    Returns:
        uint8 (3, H, W).

    Raises:
        DataError: nothing is resized, and the picture is smaller than the side.

    Example:
        >>> picture = Image.linear_gradient("L").resize((224, 224)).convert("RGB")
        >>> (cut_image(picture, Preprocessing()) == fit_image(picture, Preprocessing())).all()
        np.False_
    """
    if preprocessing.no_resize:
        return crop_image(image, preprocessing.side, name)
    names = [field.name for field in fields(CutRule)]
    cut = cut_by_rule(image, CutRule(**{name: getattr(preprocessing, name) for name in names}))
    return np.asarray(cut).transpose(2, 0, 1)


def beside_stored(preprocessing: Preprocessing, stored: int | None) -> Preprocessing:
    """How clean pictures are cut that stand beside stored corrupted ones, before a centre crop to the model's side.

    Where a model sees only the middle of stored files, it sees the same middle of clean pictures: these are brought to
    the stored side as the published files were (bilinear, 256 for 224). Where stored files have sizes of their own,
    they were never resized, so neither are clean ones.

    Args:
        preprocessing: the model's.
        stored: the side of the stored files; None where they have sizes of their own.

    Example:
        >>> beside_stored(Preprocessing(64, 72), 224).cut, beside_stored(Preprocessing(224, 235), 224).cut
        ((224, 256, 'bilinear'), (224, 235, 'bilinear'))
    """
    if preprocessing.no_resize or (stored is not None and stored <= preprocessing.side):
        return preprocessing
    return replace(preprocessing, no_resize=True) if stored is None else preprocessing_of(None, input_size=stored)


def crop_image(image: Image.Image, side: int, name: str = "the image") -> NDArray[np.uint8]:
    """A centre crop at most, never a resize: for what was resized when it was made.

    Resizing stored files of 224×224 to 256 and cropping again would cost about 1.6 points of top-1.

    Returns:
        uint8 (3, S, S).

    Raises:
        DataError: the picture is smaller than the side.
    """
    if min(image.size) < side:
        raise DataError(
            f"images that are not resized must be at least as large as the model's input: {name} has "
            f"{image.width}×{image.height} pixels, and the model takes {side}×{side}"
        )
    return np.asarray(centre_crop(image, side)).transpose(2, 0, 1)


def centre_crops(images: NDArray[np.uint8], shape: Shape) -> NDArray[np.uint8]:
    """The middle of pictures (B, 3, H, W), by the rule of `centre_crop`; the very same array where all is taken.

    Example:
        >>> centre_crops(np.arange(16, dtype=np.uint8).reshape(1, 1, 4, 4), (2, 2)).ravel().tolist()
        [5, 6, 9, 10]
    """
    if images.shape[2:] == shape:
        return images
    top, left = (round((whole - part) / 2) for whole, part in zip(images.shape[2:], shape, strict=True))
    return np.ascontiguousarray(images[:, :, top : top + shape[0], left : left + shape[1]])


def resize_images(images: NDArray[np.uint8], side: int, interpolation: str) -> NDArray[np.uint8]:
    """Square pictures at another side, by PIL, so that every device gives the same bytes.

    Args:
        images: uint8 (B, 3, H, H), RGB.
        side: S, in pixels.
        interpolation: one of `INTERPOLATIONS`.

    Returns:
        uint8 (B, 3, S, S).

    Example:
        >>> resize_images(np.full((2, 3, 32, 32), 7, dtype=np.uint8), 48, "bicubic")[1, 2, 40, 40]
        np.uint8(7)
    """
    resized = np.empty((len(images), 3, side, side), dtype=np.uint8)
    for row, image in zip(resized, images, strict=True):
        picture = Image.fromarray(np.ascontiguousarray(image.transpose(1, 2, 0)))
        row[...] = np.asarray(picture.resize((side, side), INTERPOLATIONS[interpolation])).transpose(2, 0, 1)
    return resized


def fit_images(images: NDArray[np.uint8], preprocessing: Preprocessing) -> NDArray[np.uint8]:
    """`fit_image` for a batch that is already decoded.

    Args:
        images: uint8 (B, 3, H, W), RGB.
        preprocessing: side, resize and interpolation.

    Returns:
        uint8 (B, 3, S, S); the very same array where H = W = S.

    Example:
        >>> fit_images(np.zeros((2, 3, 32, 32), dtype=np.uint8), Preprocessing()).shape
        (2, 3, 224, 224)
    """
    if images.shape[2:] == preprocessing.shape:
        return images
    fitted = np.empty((len(images), 3, *preprocessing.shape), dtype=np.uint8)
    for row, image in zip(fitted, images, strict=True):
        row[...] = fit_image(Image.fromarray(np.ascontiguousarray(image.transpose(1, 2, 0))), preprocessing)
    return fitted


def normalise(images: torch.Tensor, preprocessing: Preprocessing, dtype: torch.dtype | None = None) -> torch.Tensor:
    """Scale pixels to [0, 1], subtract the mean, divide by the standard deviation; for one channel, make grey first.

    Args:
        images: uint8 (B, 3, H, W), on any device.
        preprocessing: its mean and std, and its channels C.
        dtype: of the result, float32 by default. The arithmetic is at least float32, so half precision rounds once.

    Returns:
        (B, C, H, W) on the device of `images`.

    Raises:
        InputError: `images` is not a uint8 tensor of that shape.

    Example:
        >>> import torch
        >>> white = torch.full((1, 3, 1, 1), 255, dtype=torch.uint8)
        >>> normalise(white, Preprocessing(mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))).flatten().tolist()
        [1.0, 1.0, 1.0]
    """
    import torch

    if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[1] != 3:
        raise InputError(f"images must be uint8 of shape (B, 3, H, W), got {images.dtype} {tuple(images.shape)}")
    target = dtype or torch.float32
    work = torch.promote_types(target, torch.float32)
    mean = torch.tensor(preprocessing.mean, dtype=work, device=images.device).view(3, 1, 1)
    std = torch.tensor(preprocessing.std, dtype=work, device=images.device).view(3, 1, 1)
    if preprocessing.channels == 1:
        weights = torch.tensor(LUMINANCE, dtype=work, device=images.device).view(3, 1, 1)
        mean, std = (weights * mean).sum(0, keepdim=True), (weights * std).sum(0, keepdim=True)
        images = grey(images)
    return images.to(work).div_(255).sub_(mean).div_(std).to(target)


def grey(images: torch.Tensor) -> torch.Tensor:
    """Grey pictures by `LUMINANCE`, rounded as PIL's `convert("L")` rounds.

    Args:
        images: uint8 (B, 3, H, W).

    Returns:
        uint8 (B, 1, H, W).

    Example:
        >>> import torch
        >>> grey(torch.tensor([255, 0, 0], dtype=torch.uint8).view(1, 3, 1, 1)).item()
        76
    """
    import torch

    whole = images.to(torch.int32)
    summed: torch.Tensor = whole[:, :1] * 19595 + whole[:, 1:2] * 38470 + whole[:, 2:] * 7471
    return ((summed + 0x8000) >> 16).to(torch.uint8)


def _size(name: str, value: Any) -> int | Shape:
    """A side, or (height, width) where these differ."""
    if not isinstance(value, tuple | list) or len(value) != 2:
        return check_side(name, value)
    height, width = (check_side(name, side) for side in value)
    return height if height == width else (height, width)


def _three(name: str, values: Any) -> tuple[float, float, float]:
    try:
        first, second, third = np.asarray(values, dtype=np.float64).ravel().tolist()
    except (TypeError, ValueError, RuntimeError):  # not numbers, not three, or a tensor that is elsewhere
        first = second = third = math.nan
    check_channels(name, (first, second, third), values)
    return first, second, third

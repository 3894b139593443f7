"""How a decoded picture is resized and cropped to what a network sees, to the byte as other libraries do it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageOps

from robustbench_bi.ground.sizes import CUT_AS, Shape, pair

if TYPE_CHECKING:
    from robustbench_bi.data.preprocess import Preprocessing

INTERPOLATIONS = {
    "nearest": Image.Resampling.NEAREST,
    "box": Image.Resampling.BOX,
    "bilinear": Image.Resampling.BILINEAR,
    "hamming": Image.Resampling.HAMMING,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}


def cut_image(image: Image.Image, preprocessing: Preprocessing) -> Image.Image:
    """Resize and crop a picture of any size.

    Args:
        image: RGB.
        preprocessing: its sizes, interpolation, `crop_mode` and `cut_as`. Where the resized picture is smaller than the
            crop, the rest is black; in the mode "border" it has the mean colour.

    Returns:
        RGB, of the network's size.

    Example:
        >>> from robustbench_bi.data.preprocess import Preprocessing
        >>> cut_image(Image.new("RGB", (500, 375)), Preprocessing(224, 224, crop_mode="squash")).size
        (224, 224)
    """
    resized = _resized(image, _resized_shape((image.height, image.width), preprocessing), preprocessing)
    colour = tuple(round(255 * value) for value in preprocessing.mean) if preprocessing.crop_mode == "border" else 0
    return centre_crop(_padded(resized, preprocessing, colour), preprocessing.shape, preprocessing.cut_as)


def centre_crop(image: Image.Image, shape: int | Shape, cut_as: str = CUT_AS[0]) -> Image.Image:
    """The centre of an image that is large enough, at the pixel where torchvision's `CenterCrop` takes it."""
    height, width = pair(shape)
    whole = round if cut_as == "torchvision" else math.floor
    left, top = whole((image.width - width) / 2), whole((image.height - height) / 2)
    return image.crop((left, top, left + width, top + height))


def _resized_shape(shape: Shape, preprocessing: Preprocessing) -> Shape:
    target = preprocessing.resize_size
    if preprocessing.crop_mode == "squash":
        return pair(target)
    if preprocessing.crop_mode != "border" and isinstance(target, int):
        short, long = min(shape), max(shape)
        far = int(target * long / short)
        return (far, target) if shape[1] <= shape[0] else (target, far)
    height, width = pair(target)
    ratios = (shape[0] / height, shape[1] / width)
    ratio = max(ratios) if preprocessing.crop_mode == "border" else min(ratios)
    return round(shape[0] / ratio), round(shape[1] / ratio)


def _resized(image: Image.Image, shape: Shape, preprocessing: Preprocessing) -> Image.Image:
    height, width = shape
    if preprocessing.cut_as == "transformers-fast":
        return _resized_as_tensor(image, shape, preprocessing.interpolation)
    if (width, height) == image.size:
        return image
    return image.resize((width, height), INTERPOLATIONS[preprocessing.interpolation])


def _resized_as_tensor(image: Image.Image, shape: Shape, interpolation: str) -> Image.Image:
    import torch
    from torchvision.transforms.v2 import InterpolationMode
    from torchvision.transforms.v2.functional import resize

    pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous()
    resized = resize(pixels, list(shape), interpolation=InterpolationMode(interpolation), antialias=True)
    return Image.fromarray(resized.permute(1, 2, 0).numpy())


def _padded(image: Image.Image, preprocessing: Preprocessing, colour: int | tuple[int, ...]) -> Image.Image:
    """The image with a border where it is smaller than the crop; an odd pixel goes right and below, or for the slow
    processors of transformers left and above.
    """
    height, width = preprocessing.shape
    spare = max(0, width - image.width), max(0, height - image.height)
    if not any(spare):
        return image
    left, top = (part // 2 for part in spare)
    if preprocessing.cut_as == "transformers":
        left, top = (-(-part // 2) for part in spare)
    return ImageOps.expand(image, (left, top, spare[0] - left, spare[1] - top), fill=colour)

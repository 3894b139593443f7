"""How a decoded picture is resized and cropped to what a network sees, to the byte as other libraries do it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageOps

from robustbench_bi.ground import sizes
from robustbench_bi.ground.sizes import CROP_MODES, CUT_AS, Shape, pair

INTERPOLATIONS = {name: Image.Resampling[name.upper()] for name in sizes.INTERPOLATIONS}


@dataclass(frozen=True)
class CutRule:
    """A way to cut pictures; `robustbench_bi.ground.sizes` explains the names.

    Attributes:
        input_size: of what comes out.
        resize_size: of the short side, of both, or of the long side, by `crop_mode`.
        interpolation: one of `INTERPOLATIONS`.
        crop_mode: one of `CROP_MODES`.
        cut_as: one of `CUT_AS`.
        mean: the colour of borders, from 0 to 1.
    """

    input_size: int | Shape
    resize_size: int | Shape
    interpolation: str = "bilinear"
    crop_mode: str = CROP_MODES[0]
    cut_as: str = CUT_AS[0]
    mean: tuple[float, ...] = (0.0, 0.0, 0.0)


def cut_image(image: Image.Image, rule: CutRule) -> Image.Image:
    """Resize and crop a picture of any size.

    Args:
        image: RGB.
        rule: how. Where the resized picture is smaller than the crop, the rest is black; in the mode "border" it has
            the mean colour.

    Returns:
        RGB, of the rule's input size.

    Example:
        >>> cut_image(Image.new("RGB", (500, 375)), CutRule(224, 224, crop_mode="squash")).size
        (224, 224)
    """
    resized = _resized(image, _resized_shape((image.height, image.width), rule), rule)
    colour = tuple(round(255 * value) for value in rule.mean) if rule.crop_mode == "border" else 0
    return centre_crop(_padded(resized, rule, colour), rule.input_size, rule.cut_as)


def centre_crop(image: Image.Image, shape: int | Shape, cut_as: str = CUT_AS[0]) -> Image.Image:
    """The centre of an image that is large enough, at the pixel where torchvision's `CenterCrop` takes it."""
    height, width = pair(shape)
    whole = round if cut_as == "torchvision" else math.floor
    left, top = whole((image.width - width) / 2), whole((image.height - height) / 2)
    return image.crop((left, top, left + width, top + height))


def _resized_shape(shape: Shape, rule: CutRule) -> Shape:
    target = rule.resize_size
    if rule.crop_mode == "squash":
        return pair(target)
    if rule.crop_mode != "border" and isinstance(target, int):
        short, long = min(shape), max(shape)
        far = int(target * long / short)
        return (far, target) if shape[1] <= shape[0] else (target, far)
    height, width = pair(target)
    ratios = (shape[0] / height, shape[1] / width)
    ratio = max(ratios) if rule.crop_mode == "border" else min(ratios)
    return round(shape[0] / ratio), round(shape[1] / ratio)


def _resized(image: Image.Image, shape: Shape, rule: CutRule) -> Image.Image:
    height, width = shape
    if rule.cut_as == "transformers-fast":
        return _resized_as_tensor(image, shape, rule.interpolation)
    if (width, height) == image.size:
        return image
    return image.resize((width, height), INTERPOLATIONS[rule.interpolation])


def _resized_as_tensor(image: Image.Image, shape: Shape, interpolation: str) -> Image.Image:
    import torch
    from torchvision.transforms.v2 import InterpolationMode
    from torchvision.transforms.v2.functional import resize

    pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous()
    # torchvision's own "nearest" rounds down, where PIL and transformers take the nearest.
    mode = InterpolationMode("nearest-exact" if interpolation == "nearest" else interpolation)
    resized = resize(pixels, list(shape), interpolation=mode, antialias=True)
    return Image.fromarray(resized.permute(1, 2, 0).numpy())


def _padded(image: Image.Image, rule: CutRule, colour: int | tuple[int, ...]) -> Image.Image:
    """The image with a border where it is smaller than the crop; an odd pixel goes right and below, or for the slow
    processors of transformers left and above.
    """
    height, width = pair(rule.input_size)
    spare = max(0, width - image.width), max(0, height - image.height)
    if not any(spare):
        return image
    left, top = (part // 2 for part in spare)
    if rule.cut_as == "transformers":
        left, top = (-(-part // 2) for part in spare)
    return ImageOps.expand(image, (left, top, spare[0] - left, spare[1] - top), fill=colour)

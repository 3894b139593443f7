"""Augmentations against corruptions, as baselines: AugMix, and Gaussian noise.

Random numbers are an argument. Neither is a corruption of the benchmark; `noise` is of the kind of gaussian_noise, so
what a network trained with it does there says nothing of corruptions it has not seen.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

CHAINS = 3
SEVERITY = 3
BINS = 10
LARGEST_NOISE = 0.1
"""Of pixels scaled to [0, 1]. ImageNet-C's gaussian_noise has 0.08 at severity 1 and 0.38 at 5."""


def augmix(picture: NDArray[np.uint8], generator: np.random.Generator) -> NDArray[np.uint8]:
    """Mix a picture with three chains of one to three mild operations on it (Hendrycks et al. 2020).

    The operations are those of torchvision's v2 `AugMix(severity=3, all_ops=False)`: brightness, contrast, colour and
    sharpness are left out, as the benchmark has them as corruptions. Unlike there, the draws come from `generator`,
    so that a picture does not depend on what other threads draw. The Jensen-Shannon loss of the paper, over three
    copies of each picture, is not used.

    Args:
        picture: uint8 (3, H, W).
        generator: of all its draws.

    Returns:
        uint8 (3, H, W).

    Example:
        >>> grey = np.full((3, 32, 32), 128, dtype=np.uint8)
        >>> mixed = augmix(grey, np.random.default_rng(0))
        >>> mixed.shape, mixed.dtype
        ((3, 32, 32), dtype('uint8'))
    """
    original = Image.fromarray(np.ascontiguousarray(picture.transpose(1, 2, 0)))
    own, mixed = generator.dirichlet((1.0, 1.0))
    total = own * np.asarray(original, dtype=np.float64)
    for weight in generator.dirichlet((1.0,) * CHAINS):
        chained = original
        for _ in range(generator.integers(1, 4)):
            chained = _operate(chained, generator)
        total += mixed * weight * np.asarray(chained, dtype=np.float64)
    # The weights add up to 1 only nearly.
    result: NDArray[np.uint8] = np.floor(total + 1e-6).astype(np.uint8).transpose(2, 0, 1)
    return result


def noise(picture: NDArray[np.uint8], generator: np.random.Generator) -> NDArray[np.uint8]:
    """Add Gaussian noise to every other picture, of a standard deviation that is uniform up to `LARGEST_NOISE`.

    Args:
        picture: uint8 (3, H, W).
        generator: of all its draws.

    Returns:
        uint8 (3, H, W).

    Example:
        >>> grey = np.full((3, 32, 32), 128, dtype=np.uint8)
        >>> noisy = [noise(grey, np.random.default_rng(seed)).std() for seed in range(4)]
        >>> [round(float(deviation)) for deviation in noisy]
        [7, 25, 0, 0]
    """
    chance, strength = generator.random(2)
    if chance < 0.5:
        return picture
    draws = generator.standard_normal(picture.shape, dtype=np.float32)
    noisy = picture + np.float32(255 * LARGEST_NOISE * strength) * draws
    return np.clip(np.rint(noisy), 0, 255).astype(np.uint8)


AUGMENTATIONS: Mapping[str, Callable[[NDArray[np.uint8], np.random.Generator], NDArray[np.uint8]]] = {
    "augmix": augmix,
    "noise": noise,
}


def _operate(picture: Image.Image, generator: np.random.Generator) -> Image.Image:
    """One of the operations, of a random strength and direction."""
    operations = list(_operations().values())
    operation = operations[generator.integers(len(operations))]
    share = generator.integers(SEVERITY) / (BINS - 1) * generator.choice((-1, 1))
    return operation(picture, float(share))


@cache
def _operations() -> Mapping[str, Callable[[Image.Image, float], Image.Image]]:
    """What AugMix does to a picture, by torchvision's names; from -1 to 1 of the greatest strength."""
    from torchvision.transforms.v2 import functional

    bilinear = functional.InterpolationMode.BILINEAR

    def move(image: Image.Image, shear: tuple[float, float] = (0, 0), shift: tuple[float, float] = (0, 0)) -> Any:
        degrees = [math.degrees(math.atan(slope)) for slope in shear]
        pixels = [int(shift[0] * image.width), int(shift[1] * image.height)]
        return functional.affine(image, 0.0, pixels, 1.0, degrees, bilinear, center=[0, 0])

    return {
        "ShearX": lambda image, share: move(image, shear=(0.3 * share, 0)),
        "ShearY": lambda image, share: move(image, shear=(0, 0.3 * share)),
        "TranslateX": lambda image, share: move(image, shift=(share / 3, 0)),
        "TranslateY": lambda image, share: move(image, shift=(0, share / 3)),
        "Rotate": lambda image, share: functional.rotate(image, 30.0 * share, bilinear),
        "Posterize": lambda image, share: functional.posterize(image, round(4 - 4 * abs(share))),
        "Solarize": lambda image, share: functional.solarize(image, 255.0 * (1 - abs(share))),
        "AutoContrast": lambda image, _: functional.autocontrast(image),
        "Equalize": lambda image, _: functional.equalize(image),
    }

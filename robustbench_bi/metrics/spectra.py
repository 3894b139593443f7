"""Power spectra of pictures, measured over rings of equal frequency."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.fft import dctn

from robustbench_bi.errors import InputError
from robustbench_bi.ground.cells import CLEAN, Cell
from robustbench_bi.metrics.intervals import Floats

# Of red, green and blue: the luma of ITU-R BT.601, which JPEG and Pillow's grey have too.
LUMINANCE = (0.299, 0.587, 0.114)


@dataclass(frozen=True, eq=False)
class Rings:
    """Rings of equal radial frequency in the plane of DCT coefficients.

    Attributes:
        frequency: (R,), of the middle of each ring, cycles per pixel; the first is 0, the mean brightness alone.
        counts: (R,), coefficients in each ring.
        ring: (H, W), the ring that each coefficient belongs to.
    """

    frequency: Floats
    counts: NDArray[np.int64]
    ring: NDArray[np.int64]


def rings_of(height: int, width: int) -> Rings:
    """Divide the coefficients of an image into rings, each coefficient into one.

    Coefficient (u, v) has u / 2H cycles per pixel down and v / 2W across, so its radial frequency is
    f = √((u / 2H)² + (v / 2W)²), at most 0.71. Ring k holds what is nearest to f = k / 2L, where L is the shorter side,
    that is half a cycle over it; only the mean brightness, u = v = 0, is in ring 0. Above f = 0.5 a ring is but the
    part that lies in the corner, of diagonal patterns.

    Args:
        height: H, in pixels.
        width: W, in pixels.

    Example:
        >>> rings = rings_of(2, 3)
        >>> rings.ring.tolist()
        [[0, 1, 1], [1, 1, 2]]
        >>> rings.frequency.tolist(), rings.counts.tolist()
        ([0.0, 0.25, 0.5], [1, 4, 1])
    """
    shorter = min(height, width)
    radius = 2 * shorter * np.hypot(np.arange(height)[:, None] / (2 * height), np.arange(width) / (2 * width))
    nearest = np.maximum(np.rint(radius), 1).astype(np.int64)
    nearest[0, 0] = 0
    numbers, ring, counts = np.unique(nearest, return_inverse=True, return_counts=True)
    return Rings(numbers / (2 * shorter), counts, ring.reshape(height, width))


def ring_power(images: NDArray[np.uint8], rings: Rings) -> Floats:
    """Mean power of the luminance in each ring.

    With the luminance Y(i, j) = 0.299 R + 0.587 G + 0.114 B of pixels scaled to [0, 1], its orthonormal DCT-II

        X(u, v) = c(u) c(v) Σᵢ Σⱼ Y(i, j) cos(π u (2i + 1) / 2H) cos(π v (2j + 1) / 2W),

    c(u) = √(1/H) for u = 0 and √(2/H) else, likewise c(v), and a ring's power P is the mean of X² over its
    coefficients. So the sum of all X² is the sum of all Y², white noise of variance s² has P = s² in every ring, and
    such noise in each channel by itself has P = 0.447 s². The borders of a picture add no power of their own, as they
    would to a Fourier transform, because a cosine transform continues it by its mirror image. The luminance is of the
    pixel values as they are stored, not of light.

    Args:
        images: uint8 (n, H, W, 3), RGB.
        rings: `rings_of(H, W)`.

    Returns:
        (n, R), squared units of a pixel scale from 0 to 1.

    Raises:
        InputError: the images are not of that kind or size.

    Example:
        >>> grey = np.full((1, 4, 4, 3), 51, dtype=np.uint8)
        >>> ring_power(grey, rings_of(4, 4)).round(9)[0].tolist()
        [0.64, 0.0, 0.0, 0.0, 0.0]
    """
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[1:] != (*rings.ring.shape, 3):
        height, width = rings.ring.shape
        raise InputError(f"images must be uint8 (n, {height}, {width}, 3), got {images.dtype} {images.shape}")
    # Channel by channel: a matrix product with bytes takes six times as long.
    luminance = sum(images[..., channel] * (weight / 255) for channel, weight in enumerate(LUMINANCE))
    coefficients = dctn(luminance, type=2, norm="ortho", axes=(1, 2))
    power = np.empty((len(images), len(rings.counts)))
    for own, squared in zip(power, coefficients**2, strict=True):
        own[:] = np.bincount(rings.ring.ravel(), squared.ravel()) / rings.counts
    return power


@dataclass(frozen=True, eq=False)
class Spectra:
    """The spectrum of every picture in every cell.

    Attributes:
        rings: those of the pictures' size.
        power: for each cell, clean among them, (n, R) in the same order of pictures.
        pictures: a sentence on what they are; empty where nobody has said it.
    """

    rings: Rings
    power: Mapping[Cell, Floats]
    pictures: str = ""


def measure_spectra(pictures: Iterable[tuple[Cell, NDArray[np.uint8]]], described: str = "") -> Spectra:
    """Measure pictures as they come.

    Args:
        pictures: cells, each with uint8 (B, H, W, 3); the cells of one batch of pictures, then those of the next, so
            that a large set is never in memory. The clean cell must be among them.
        described: a sentence on what they are.

    Raises:
        InputError: there is no clean cell, or the pictures differ in size or in number between cells.

    Example:
        >>> noise = np.random.default_rng(0).integers(0, 256, (2, 8, 8, 3), dtype=np.uint8)
        >>> measured = measure_spectra([(("none", 0), noise), (("contrast", 1), noise // 2)])
        >>> measured.power["contrast", 1].shape
        (2, 11)
    """
    rings: Rings | None = None
    parts: dict[Cell, list[Floats]] = {}
    for cell, images in pictures:
        rings = rings or rings_of(*images.shape[1:3])
        parts.setdefault(cell, []).append(ring_power(images, rings))
    if rings is None or CLEAN not in parts:
        raise InputError("spectra need the clean images beside the corrupted ones, got none")
    power = {cell: np.concatenate(own) for cell, own in parts.items()}
    for cell, own in power.items():
        if len(own) != len(power[CLEAN]):
            raise InputError(
                f"every cell must hold the same images, got {len(power[CLEAN])} of none severity 0 and {len(own)} of "
                f"{cell[0]} severity {cell[1]}"
            )
    return Spectra(rings, power, described)

"""The blurs of ImageNet-C, and gaussian_blur of its four validation corruptions.

Each takes uint8 images (B, 3, H, W), random draws and the constants of a severity, and returns new uint8 images of the
same shape and device. Source: hendrycks/robustness, ImageNet-C/create_c.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from robustbench_bi.corruptions.filters import (
    DirectionalBlur,
    centre_crop,
    correlate,
    directional_blur,
    disk_kernel,
    gaussian,
    separable,
    to_unit,
    truncate,
    zoom_matrix,
    zoom_places,
)

if TYPE_CHECKING:
    from robustbench_bi.corruptions.draws import Draws


def defocus_blur(images: Tensor, draws: Draws, *, radius: float, alias_blur: float) -> Tensor:
    """Replace every pixel by a disk, as a lens out of focus does.

    Args:
        images: uint8 (B, 3, H, W).
        draws: not used.
        radius: of the disk, in pixels.
        alias_blur: standard deviation, in pixels, of the Gaussian that smooths the edge of the disk.

    Returns:
        uint8 (B, 3, H, W).

    Example:
        >>> from robustbench_bi.corruptions.apply import corrupt
        >>> image = np.zeros((64, 64, 3), dtype=np.uint8)
        >>> image[32, 32] = 255
        >>> corrupt(image, "defocus_blur", 1)[32, 28:37, 0]
        array([0, 8, 8, 8, 8, 8, 8, 8, 0], dtype=uint8)
    """
    return truncate(correlate(images.double(), disk_kernel(radius, alias_blur)))


def gaussian_blur(images: Tensor, draws: Draws, *, sigma: float) -> Tensor:
    """Blur with a Gaussian (scikit-image's: truncated at 4 sigma, the border pixel repeated).

    Args:
        images: uint8 (B, 3, H, W).
        draws: not used.
        sigma: standard deviation in pixels.

    Returns:
        uint8 (B, 3, H, W).

    Example:
        >>> from robustbench_bi.corruptions.apply import corrupt
        >>> image = np.full((64, 64, 3), 77, dtype=np.uint8)
        >>> bool((corrupt(image, "gaussian_blur", 5) == 77).all())
        True
    """
    return truncate(gaussian(images.double(), sigma))


def glass_blur(images: Tensor, draws: Draws, *, sigma: float, max_delta: int, iterations: int) -> Tensor:
    """Look through frosted glass: blur, copy pixels over from near by, blur again.

    The published loop means to swap a pixel with a random neighbour, but copies: swapping two views of a NumPy array
    sets x[h, w] to x[h + dy, w + dx] and nothing else. It visits h from H - max_delta down to max_delta + 1 and, within
    a row, w from W - max_delta down to max_delta + 1, `iterations` times, so that a copy sees the copies before it. We
    compute exactly that, all pixels at once (`_copied_from`).

    Draws, for each iteration: integers (H - 2 max_delta, W - 2 max_delta) below (2 max_delta)², for the pixels in their
    usual order, not in that of the visits. Of a division by 2 max_delta, the remainder is dx + max_delta and the
    quotient dy + max_delta.

    Args:
        images: uint8 (B, 3, H, W).
        draws: the random variates.
        sigma: standard deviation of both Gaussians, in pixels.
        max_delta: dx and dy are integers from -max_delta to max_delta - 1.
        iterations: passes over the image.

    Returns:
        uint8 (B, 3, H, W).

    Example:
        >>> from robustbench_bi.corruptions.apply import corrupt
        >>> stripes = np.full((64, 64, 3), 200, dtype=np.uint8) * (np.arange(64) % 2 == 0)[:, None].astype(np.uint8)
        >>> shaken = corrupt(stripes, "glass_blur", 1, table="tiny-imagenet-c")
        >>> bool((shaken[:, 0] == stripes[:, 0]).all()), bool((shaken == stripes).all())
        (True, False)
    """
    count, _, height, width = images.shape
    blurred = truncate(gaussian(images.double(), sigma))
    source = torch.arange(count * height * width, device=images.device)
    for _ in range(iterations):
        moves = draws.integers(0, (2 * max_delta) ** 2, height - 2 * max_delta, width - 2 * max_delta)
        source = source[_copied_from(moves, height, width, max_delta)]
    planes = blurred.movedim(1, 0).reshape(3, -1)
    moved = planes[:, source].view(3, count, height, width).movedim(0, 1)
    return truncate(gaussian(moved.double(), sigma))


def _copied_from(moves: Tensor, height: int, width: int, max_delta: int) -> Tensor:
    """Find the pixel whose value from before a pass every pixel holds after it.

    A pixel copies from its target. The pass runs from the end of the image to its beginning, so a target further on was
    visited before, and holds what it has copied itself: then the pixel's source is its target's source. Following all
    such chains at once, and doubling the reach each time, takes about log2 of the longest chain in steps.

    Args:
        moves: int64 (B, H - 2 max_delta, W - 2 max_delta), which neighbour each visited pixel copies.
        height: H.
        width: W.
        max_delta: the visited pixels are those with max_delta < h <= H - max_delta, likewise w.

    Returns:
        int64 (B * H * W), indices into the flattened batch.
    """
    step = torch.arange(-max_delta, max_delta, device=moves.device)
    steps = (step[:, None] * width + step).flatten()
    pixel = torch.arange(len(moves) * height * width, device=moves.device)
    target = pixel.clone()
    visited = slice(max_delta + 1, height - max_delta + 1), slice(max_delta + 1, width - max_delta + 1)
    target.view(-1, height, width)[:, *visited] += steps.index_select(0, moves.flatten()).view(moves.shape)
    # A pixel that is never visited is its own target, which ends a chain like any target that was not visited before.
    settled = target <= pixel
    pending = (~settled).nonzero().squeeze(1)
    while len(pending):
        following = target[pending]
        target[pending] = target[following]
        now_settled = settled[following]
        settled[pending] = now_settled
        pending = pending[~now_settled]
    return target


def motion_blur(
    images: Tensor, draws: Draws, directional_blur: DirectionalBlur = directional_blur, *, radius: int, sigma: float
) -> Tensor:
    """Blur along a random direction, as a moving camera does (`filters.directional_blur`).

    The published files went through ImageMagick's motion blur; this is the stand-in of `imagecorruptions`, with its
    truncation; in photographs, at most 0.7 % of the bytes differ from it, by one, where the rounding errors of its sums
    decide. Draws: the direction, uniform (B,), in degrees. Images are blurred one after the other.

    Args:
        images: uint8 (B, 3, H, W).
        draws: the random variates.
        directional_blur: `filters.directional_blur`, or a twin of it.
        radius: half the length of the blur, in pixels.
        sigma: standard deviation of the half Gaussian along it, in pixels.

    Returns:
        uint8 (B, 3, H, W).

    Example:
        >>> from robustbench_bi.corruptions.apply import corrupt
        >>> image = np.zeros((64, 64, 3), dtype=np.uint8)
        >>> image[32, 32] = 255
        >>> rows, columns, _ = corrupt(image, "motion_blur", 5).nonzero()
        >>> int(np.ptp(columns)) > int(np.ptp(rows))
        True
    """
    degrees = draws.uniform(low=-45.0, high=45.0)
    return directional_blur(images, degrees, radius=radius, sigma=sigma, rounded=False)


def zoom_blur(images: Tensor, draws: Draws, *, zoom_stop: float, zoom_step: float) -> Tensor:
    """Average the image and its magnifications, as a camera that zooms during the exposure does.

    The magnifications are by numpy.arange(1, zoom_stop, zoom_step), of the centre, bilinear; the image itself is added
    once more. Layers are summed in float32, as in the published code, whose truncation shows every rounding error.

    Args:
        images: uint8 (B, 3, H, W).
        draws: not used.
        zoom_stop: the magnifications stay below it.
        zoom_step: difference between two magnifications.

    Returns:
        uint8 (B, 3, H, W).

    Example:
        >>> from robustbench_bi.corruptions.apply import corrupt
        >>> image = np.full((64, 64, 3), 255, dtype=np.uint8)
        >>> bool((corrupt(image, "zoom_blur", 5) >= 254).all())
        True
    """
    height, width = images.shape[-2:]
    unit = to_unit(images, torch.float32)
    exact = unit.double()
    total = torch.zeros_like(unit)
    factors = np.arange(1, zoom_stop, zoom_step).tolist()
    for factor in factors:
        part = exact[..., centre_crop(height, factor), centre_crop(width, factor)]
        total += separable(part, zoom_matrix(height, factor), zoom_matrix(width, factor)).to(torch.float32)
    mean = total.add_(unit).div_(torch.tensor(len(factors) + 1.0, device=images.device))
    return mean.clamp_(0, 1).mul_(255).to(torch.uint8)


@functools.lru_cache(maxsize=16)
def zoom_layers(height: int, width: int, zoom_stop: float, zoom_step: float) -> list[tuple[Tensor, Tensor]]:
    """Return where the layers of `zoom_blur` are read, for the rows and for the columns.

    Returns:
        Two pairs: int64 (layers, side), the pixel of the image before each place, and float32 (layers, side), the share
        of the next pixel, both on the CPU. They are cached: do not write into them.

    Example:
        >>> (rows, shares), _ = zoom_layers(32, 32, 1.06, 0.01)
        >>> rows[-1, :5].tolist(), shares[-1, :3]
        ([0, 0, 1, 2, 3], tensor([0.0000, 0.9375, 0.8750]))
    """
    factors = np.arange(1, zoom_stop, zoom_step).tolist()
    layers = []
    for side in (height, width):
        places, shares = zip(*(zoom_places(side, factor) for factor in factors), strict=True)
        starts = torch.tensor([[centre_crop(side, factor).start] for factor in factors])
        layers.append((torch.stack(places) + starts, torch.stack(shares).to(torch.float32)))
    return layers

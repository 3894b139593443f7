"""Linear filters that the corruptions share, each equal to what the library that the published code called computes.

Images are tensors (..., H, W), filtered along the last two dimensions, on any device. Sums are taken in float64 or in
integers, so that their order, and with it the batch, the thread count and the device, cannot change a byte.
"""

import functools
import math
from collections.abc import Callable
from typing import Literal

import numpy as np
import scipy.fft
import torch
from torch import Tensor
from torch.nn import functional as F

# Grey levels; sums of float64 products are off by 1e-12 or less.
_ROUNDING_ERROR = 1e-9
# A wider matrix is applied in pieces of so many rows, each to no more of the image than its non-zero columns reach.
_PIECE = 64
# 1/255 in two parts: a level times the first is exact, so the sum of both products is the correctly rounded quotient.
UNIT_HIGH, UNIT_LOW = 257 / 65536, 1 / (255 * 65536)
# Fractional bits of the fixed-point sums of `directional_blur`: with 8 for the grey level they fill an int32.
DIRECTIONAL_BITS = 23
HALF_A_LEVEL = 1 << (DIRECTIONAL_BITS - 1)

Border = Literal["nearest", "reflect"]
DirectionalBlur = Callable[..., Tensor]


def to_unit(images: Tensor, dtype: torch.dtype) -> Tensor:
    """Return uint8 or int32 grey levels divided by 255, correctly rounded on every device.

    The divisor is a tensor because by a Python number CUDA multiplies with the reciprocal, which rounds differently.

    Example:
        >>> to_unit(torch.tensor([0, 51, 255], dtype=torch.uint8), torch.float32)
        tensor([0.0000, 0.2000, 1.0000])
    """
    return images.to(dtype).div_(torch.tensor(255, dtype=dtype, device=images.device))


def truncate(levels: Tensor) -> Tensor:
    """Return grey levels as uint8, clipped to 0..255 and truncated, never rounded, as the published code does.

    The levels themselves are overwritten.

    A level that misses an integer by less than 1e-9 counts as that integer: the rounding errors of a sum, which depend
    on its order, must not decide over a byte. In flat regions the published code gives the integer or one less, as
    those errors happen to fall: in photographs, at most 0.5 % of the bytes are one less than ours.

    Example:
        >>> truncate(torch.tensor([-3.0, 6.9, 41.9999999999, 300.0], dtype=torch.float64))
        tensor([  0,   6,  42, 255], dtype=torch.uint8)
    """
    return levels.add_(_ROUNDING_ERROR).clamp_(0, 255).to(torch.uint8)


@functools.lru_cache(maxsize=16)
def gaussian_taps(sigma: float, *, truncate: float = 4.0) -> Tensor:
    """Return one half of the kernel of `scipy.ndimage.gaussian_filter1d`, from its centre to its end.

    Args:
        sigma: standard deviation in pixels; 0 gives the identity.
        truncate: radius of the kernel in standard deviations; it is int(truncate * sigma + 0.5) pixels.

    Returns:
        float64 (radius + 1,). The whole kernel, in which all but the first stand twice, sums to one. It is cached: do
        not write into it.

    Example:
        >>> (gaussian_taps(0.5, truncate=1) * 100).round()
        tensor([79., 11.], dtype=torch.float64)
    """
    offsets = torch.arange(int(truncate * sigma + 0.5) + 1, dtype=torch.float64)
    weights = torch.exp(-0.5 * (offsets / max(sigma, 1e-12)) ** 2)
    return weights / (2 * weights.sum() - weights[0])


@functools.lru_cache(maxsize=16)
def gaussian_matrix(side: int, sigma: float, *, truncate: float = 4.0, mode: Border = "nearest") -> Tensor:
    """Return the matrix that smooths a line of pixels with a Gaussian.

    The numbers are those of `scipy.ndimage.gaussian_filter1d`: a kernel of radius int(truncate * sigma + 0.5),
    normalised to one. The border is folded into the matrix, so that a radius of many lengths of the line is exact too.

    Args:
        side: number of pixels.
        sigma: standard deviation in pixels; 0 gives the identity.
        truncate: radius of the kernel in standard deviations.
        mode: beyond the border, "nearest" repeats the last pixel, "reflect" mirrors the line with its last pixel
            doubled.

    Returns:
        float64 (side, side) on the CPU. It is cached: do not write into it.

    Example:
        >>> (gaussian_matrix(3, 0.5, truncate=1) * 100).round()
        tensor([[89., 11.,  0.],
                [11., 79., 11.],
                [ 0., 11., 89.]], dtype=torch.float64)
    """
    half = gaussian_taps(sigma, truncate=truncate)
    weights = torch.cat([half[1:].flip(0), half])
    sources = torch.arange(side)[:, None] + torch.arange(1 - len(half), len(half))
    if mode == "nearest":
        sources = sources.clamp(0, side - 1)
    else:
        sources = sources.remainder(2 * side)
        sources = torch.minimum(sources, 2 * side - 1 - sources)
    return torch.zeros(side, side, dtype=torch.float64).scatter_add_(1, sources, weights.expand(side, -1))


def centre_crop(side: int, zoom: float) -> slice:
    """Return the middle part of a line of pixels that, magnified by zoom, covers the line: ceil(side / zoom) pixels.

    Example:
        >>> centre_crop(224, 1.5)
        slice(37, 187, None)
    """
    length = math.ceil(side / zoom)
    start = (side - length) // 2
    return slice(start, start + length)


def zoom_matrix(side: int, zoom: float) -> Tensor:
    """Return the matrix that magnifies the `centre_crop` of a line of pixels back to the whole line.

    The numbers are those of `scipy.ndimage.zoom` of order 1: first and last pixel stay in place, linear between. What
    is longer than the line is cut off at both ends, of an odd number of pixels one more at the end. For some other
    sizes than the published 32, 64, 224 and 299, SciPy misses the last pixel by a rounding error and puts a zero there;
    we keep the pixel.

    Args:
        side: number of pixels of the line, at least 2.
        zoom: at least 1.

    Returns:
        float64 (side, length of the crop) on the CPU.

    Example:
        >>> zoom_matrix(3, 1.5)
        tensor([[1.0000, 0.0000],
                [0.5000, 0.5000],
                [0.0000, 1.0000]], dtype=torch.float64)
    """
    left, share = zoom_places(side, zoom)
    matrix = torch.zeros(side, math.ceil(side / zoom), dtype=torch.float64)
    return matrix.scatter_(1, left[:, None], 1 - share[:, None]).scatter_(1, left[:, None] + 1, share[:, None])


def zoom_places(side: int, zoom: float) -> tuple[Tensor, Tensor]:
    """Return between which two pixels of the crop each pixel of the magnified line lies (`zoom_matrix`).

    Returns:
        int64 (side,), the first of the two; and float64 (side,), the weight of the second, 0 to 1.

    Example:
        >>> zoom_places(3, 1.5)
        (tensor([0, 0, 0]), tensor([0.0000, 0.5000, 1.0000], dtype=torch.float64))
    """
    length = math.ceil(side / zoom)
    magnified = round(length * zoom)
    shown = torch.arange(side, dtype=torch.float64) + (magnified - side) // 2
    position = shown * ((length - 1) / (magnified - 1))
    left = position.long().clamp(max=length - 2)
    return left, (position - left).clamp(max=1)


def separable(images: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Apply one linear map along the height and one along the width: rows @ image @ columns.T.

    Args:
        images: (..., H, W).
        rows: (H', H), on the CPU, of the dtype of the images.
        columns: (W', W), likewise.

    Returns:
        (..., H', W'), a new tensor.

    Example:
        >>> column = torch.tensor([[1.0], [2.0], [3.0]])
        >>> separable(column, torch.tensor([[0.5, 0.5, 0.0]]), torch.ones(4, 1))
        tensor([[1.5000, 1.5000, 1.5000, 1.5000]])
    """
    result = images.new_empty(*images.shape[:-2], len(rows), len(columns))
    across = _pieces(columns, images.device)
    for down, height, top in _pieces(rows, images.device):
        strip = down @ images[..., height, :]
        for right, width, left in across:
            result[..., top, left] = strip[..., width] @ right.T
    return result


def _pieces(matrix: Tensor, device: torch.device) -> list[tuple[Tensor, slice, slice]]:
    """Cut a matrix into groups of rows, without the zero columns on either side that filters mostly consist of.

    Returns:
        For each group: what is left of it, the columns where that lies, and the rows.
    """
    pieces = []
    for start in range(0, len(matrix), _PIECE):
        rows = slice(start, start + _PIECE)
        occupied = matrix[rows].any(dim=0).nonzero()
        columns = slice(int(occupied[0]), int(occupied[-1]) + 1)
        pieces.append((matrix[rows, columns].to(device), columns, rows))
    return pieces


def gaussian(images: Tensor, sigma: float) -> Tensor:
    """Smooth float64 images (..., H, W) as `skimage.filters.gaussian` does: truncate 4, border "nearest".

    Example:
        >>> gaussian(torch.tensor([[0.0, 0.0, 90.0, 0.0]], dtype=torch.float64), 0.5).round()
        tensor([[ 0., 10., 71., 10.]], dtype=torch.float64)
    """
    height, width = images.shape[-2:]
    return separable(images, gaussian_matrix(height, sigma), gaussian_matrix(width, sigma))


@functools.lru_cache(maxsize=16)
def disk_kernel(radius: float, alias_blur: float) -> Tensor:
    """Return a disk that sums to one, its edge smoothed by a small Gaussian: the kernel of defocus_blur.

    Args:
        radius: in pixels. Up to 8 the kernel is 17 × 17 and smoothed over 3 × 3 pixels, beyond it has the side
            2 * radius + 1 and is smoothed over 5 × 5, at its border by mirroring (`cv2.GaussianBlur`).
        alias_blur: standard deviation of that Gaussian in pixels.

    Returns:
        float64 (side, side) on the CPU, rounded to float32 where OpenCV rounds: there are so few grey levels that these
        roundings decide, by the truncation that follows, over up to one byte in twenty. It is cached: do not write into
        it.

    Example:
        >>> kernel = disk_kernel(3, 0.1)
        >>> kernel.shape, round(float(1 / kernel.max()))
        (torch.Size([17, 17]), 29)
    """
    reach, smoothing = (8.0, 1) if radius <= 8 else (radius, 2)
    line = torch.arange(-reach, reach + 1)
    disk = (line[:, None] ** 2 + line**2 <= radius**2).float()
    taps = torch.exp(-0.5 * (torch.arange(-smoothing, smoothing + 1).double() / alias_blur) ** 2)
    taps = (taps / taps.sum()).float().double()
    across = _smooth_rows((disk / disk.sum()).double(), taps)
    return _smooth_rows(across.T, taps).T


def _smooth_rows(image: Tensor, taps: Tensor) -> Tensor:
    """Convolve each row with symmetric taps, the border mirrored (reflect-101), by fused multiply-adds in float32.

    Float64 holds the product of two float32 numbers exactly, so rounding after the addition is a fused multiply-add.
    """
    radius, length = len(taps) // 2, image.shape[1]
    padded = F.pad(image, (radius, radius), mode="reflect")
    result = (padded[:, radius : radius + length] * taps[radius]).float().double()
    for distance in range(1, radius + 1):
        before, after = radius - distance, radius + distance
        pair = (padded[:, before : before + length] + padded[:, after : after + length]).float().double()
        result = (result + pair * taps[after]).float().double()
    return result


def correlate(images: Tensor, kernel: Tensor) -> Tensor:
    """Slide a kernel over float64 images, as `cv2.filter2D` does with its default border (reflect-101).

    It goes through Fourier transforms, as OpenCV does with kernels of this size; its error is about 1e-13 of the range.

    Args:
        images: (B, C, H, W).
        kernel: float64 (K, K), K odd and K // 2 less than H and W.

    Returns:
        (B, C, H, W).

    Example:
        >>> ramp = torch.tensor([10.0, 20.0, 30.0], dtype=torch.float64).expand(1, 1, 3, 3)
        >>> ahead = torch.zeros(3, 3, dtype=torch.float64)
        >>> ahead[1, 2] = 1
        >>> correlate(ramp, ahead)[0, 0, 0].round()
        tensor([20., 30., 20.], dtype=torch.float64)
    """
    height, width = images.shape[-2:]
    radius = len(kernel) // 2
    padded = F.pad(images, (radius, radius, radius, radius), mode="reflect")
    size = [scipy.fft.next_fast_len(side, real=True) for side in padded.shape[-2:]]
    response = torch.fft.rfft2(kernel.to(images.device), s=size).conj()
    filtered: Tensor = torch.fft.irfft2(torch.fft.rfft2(padded, s=size) * response, s=size)
    return filtered[..., :height, :width]


def directional_blur(images: Tensor, degrees: Tensor, *, radius: int, sigma: float, rounded: bool) -> Tensor:
    """Blur each image along its own direction with one half of a Gaussian, by shifting and adding.

    Tap i of the 2 * radius + 1 has the weight exp(-i² / 2 sigma²) / sum and looks i pixels ahead along the direction,
    rounded to whole pixels; beyond the border the last pixel is repeated. Where a shift reaches the side of the image
    the blur stops, and what is left of the weights is lost. This is the NumPy stand-in of `imagecorruptions` for the
    motion blur of ImageMagick, which the published files went through; but here the weights are rounded to multiples of
    2**-23, the first so that they still sum to one, and the result is exact on every device.

    Args:
        images: uint8 (B, C, H, W).
        degrees: (B,), 0 looks to the right, 90 down.
        radius: half the number of taps.
        sigma: in pixels.
        rounded: to the nearest grey level, halves up; otherwise the fraction is cut off.

    Returns:
        uint8 (B, C, H, W).

    Example:
        >>> spot = torch.tensor([[[[0, 0, 90, 0]]]], dtype=torch.uint8)
        >>> directional_blur(spot, torch.tensor([0.0]), radius=1, sigma=100.0, rounded=True)
        tensor([[[[30, 30, 30,  0]]]], dtype=torch.uint8)
    """
    height, width = images.shape[-2:]
    weights = half_gaussian(2 * radius + 1, sigma).tolist()
    down, right = directional_steps(degrees, len(weights))
    top, left = max(0, -int(down.min())), max(0, -int(right.min()))
    padded = _repeat_border(images, top, max(0, int(down.max())), left, max(0, int(right.max())))
    sums = torch.full(images.shape, HALF_A_LEVEL if rounded else 0, dtype=torch.int32, device=images.device)
    for image, source, rows, columns in zip(sums, padded, down.tolist(), right.tolist(), strict=True):
        for weight, row, column in zip(weights, rows, columns, strict=True):
            if abs(row) >= height or abs(column) >= width:
                break
            y, x = top + row, left + column
            image.add_(source[:, y : y + height, x : x + width], alpha=weight)
    return (sums >> DIRECTIONAL_BITS).to(torch.uint8)


@functools.lru_cache(maxsize=16)
def half_gaussian(width: int, sigma: float) -> Tensor:
    """Return exp(-i² / 2 sigma²) for i from 0 to width - 1, scaled to integers that sum to 2**DIRECTIONAL_BITS.

    The tensor is cached: do not write into it.

    Example:
        >>> int(half_gaussian(21, 3.0).sum()) == 2**DIRECTIONAL_BITS
        True
    """
    values = torch.exp(-0.5 * (torch.arange(width, dtype=torch.float64) / sigma) ** 2)
    weights: Tensor = (values / values.sum() * 2**DIRECTIONAL_BITS).round().long()
    weights[0] += 2**DIRECTIONAL_BITS - weights.sum()
    return weights


def directional_steps(degrees: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Return how far down and how far to the right each step along a direction looks, rounded to whole pixels.

    Args:
        degrees: (B,), 0 to the right, 90 down.
        count: number of steps, from 0 to count - 1 pixels long.

    Returns:
        Two int64 tensors (B, count) on the CPU.

    Example:
        >>> down, right = directional_steps(torch.tensor([45.0]), 4)
        >>> down.tolist(), right.tolist()
        ([[0, 1, 1, 2]], [[0, 1, 1, 2]])
    """
    angles = np.deg2rad(degrees.cpu().numpy().astype(np.float64))[:, None]
    down, right = (np.ceil(np.arange(count) * part(angles) - 0.5).astype(np.int64) for part in (np.sin, np.cos))
    return torch.from_numpy(down), torch.from_numpy(right)


def _repeat_border(images: Tensor, top: int, bottom: int, left: int, right: int) -> Tensor:
    """Return images as int32, their border pixels repeated outwards by so many pixels."""
    height, width = images.shape[-2:]
    rows = torch.arange(-top, height + bottom, device=images.device).clamp(0, height - 1)
    columns = torch.arange(-left, width + right, device=images.device).clamp(0, width - 1)
    return images.index_select(-2, rows).index_select(-1, columns).to(torch.int32)

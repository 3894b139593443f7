"""Digital corruptions: contrast, elastic transform, pixelate, JPEG, and saturate, after Hendrycks' ImageNet-C code.

That code works in float64 on [0, 1] and ends with a conversion to uint8, which truncates. Many of its results fall on
whole grey levels, where the last bit decides which way they go; where that shows, the order of operations is kept, and
divisors are tensors on the images' device: CUDA replaces a Python number by its reciprocal, which rounds otherwise.
"""

from __future__ import annotations

import functools

import torch
from torch import Tensor
from torch.nn import functional as F

from robustbench_bi.corruptions import filters
from robustbench_bi.corruptions.draws import Draws
from robustbench_bi.corruptions.jpeg import jpeg_round_trip

# A flat region stays flat under interpolation, but its float32 weights may add up to a little less than one, and
# truncation would then take a whole grey level off.
ROUNDING_ERROR = 1e-4


def contrast(images: Tensor, draws: Draws, *, factor: float) -> Tensor:
    """Shrink each image towards its mean colour.

    A level depends on the level before and the mean of its channel alone, so 256 levels a channel are computed and the
    rest is a look-up. The mean is that of the exact sum and leaves a flat image as it is; the original adds up rounded
    shares, which can take one grey level off a flat image.

    Args:
        images: uint8 (B, 3, H, W).
        draws: not used.
        factor: the distance to the mean that remains; 1 leaves the image.

    Returns:
        uint8 (B, 3, H, W).

    Example:
        >>> ramp = torch.arange(0, 256, 8, dtype=torch.uint8).expand(1, 3, 32, 32)
        >>> contrast(ramp, Draws(torch.tensor([0]), seed=0, stream=12, severity=5), factor=0.05).unique().tolist()
        [117, 118, 119, 120, 121, 122, 123, 124, 125, 126, 127, 128, 129, 130]
    """
    height, width = images.shape[2:]
    means = images.sum(dim=(2, 3)).cpu().double()[..., None] / (255 * height * width)
    levels = torch.arange(256, dtype=torch.float64) / 255
    tables = _to_uint8((levels - means) * factor + means).flatten().to(images.device)
    starts = torch.arange(0, len(tables), 256, dtype=torch.int32, device=images.device).view(-1, 3, 1, 1)
    entries = images.to(torch.int32).add_(starts)
    return torch.index_select(tables, 0, entries.flatten()).view(images.shape)


def elastic_transform(images: Tensor, draws: Draws, *, alpha: float, sigma: float, affine: float) -> Tensor:
    """Move three corners of a square at random (an affine map), then displace every pixel by a smooth random field.

    The constants are pixels of the table's own image side and are not scaled: at another side the same constants bend
    more or less. At side 224 they come from 244, a slip of the published code that made the published files. The affine
    map is exact here; OpenCV before version 5, with which those files were made, rounded its source coordinates to 1/32
    pixel (0.1 grey levels on average). The package `imagecorruptions` has another algorithm under this name.

    Args:
        images: uint8 (B, 3, H, W).
        draws: three points, then a uniform field for each direction, x first.
        alpha: factor of the smoothed field; 0 leaves only the affine map.
        sigma: standard deviation of the field's Gaussian (borders mirrored, cut at three sigma).
        affine: largest move of a corner in each direction.

    Returns:
        uint8 (B, 3, H, W).

    Example:
        >>> ramp = torch.arange(0, 256, 8, dtype=torch.uint8).expand(1, 3, 32, 32)
        >>> draws = Draws(torch.tensor([0]), seed=0, stream=13, severity=1)
        >>> torch.equal(elastic_transform(ramp, draws, alpha=0, sigma=0, affine=2.56), ramp)
        False
    """
    height, width = images.shape[2:]
    moves = draws.uniform(3, 2, low=-affine, high=affine)
    moved = _bilinear(images.to(torch.float32), *_affine_sources(moves, height, width), doubled_border=False)
    if alpha != 0:
        rows, columns = (filters.gaussian_matrix(side, sigma, truncate=3, mode="reflect") for side in (height, width))
        fields = [draws.uniform(height, width, low=-1, high=1).double() for _ in range(2)]
        x, y = (filters.separable(field, rows, columns).mul_(alpha).float() for field in fields)
        x += torch.arange(width, device=x.device)
        y += torch.arange(height, device=y.device)[:, None]
        moved = _bilinear(moved, x, y, doubled_border=True)
    return moved.add_(ROUNDING_ERROR).to(torch.uint8)


def inverse_maps(moves: Tensor, height: int, width: int) -> Tensor:
    """Return what takes an output pixel to the place in the image that it comes from, when three points move.

    The points are the published ones, which take (row, column) for (x, y): only square images turn about their centre.

    Args:
        moves: float32 (B, 3, 2), of the points, in pixels.
        height: of the images.
        width: of the images.

    Returns:
        float32 (B, 3, 2) on the device of the moves: (x, y, 1) of an output pixel times it is (x, y) of its source.

    Example:
        >>> inverse_maps(torch.full((1, 3, 2), 4.0), 32, 32)[0, 2].round().tolist()
        [-4.0, -4.0]
    """
    row, column, arm = height // 2, width // 2, min(height, width) // 3
    corners = [[row + arm, column + arm], [row + arm, column - arm], [row - arm, column - arm]]
    points = torch.tensor(corners, dtype=torch.float32)
    moved = F.pad((points + moves.cpu()).double(), (0, 1), value=1)
    inverse: Tensor = torch.linalg.solve_ex(moved, points.double().expand(len(moves), 3, 2)).result
    return inverse.to(moves.device, torch.float32)


def _affine_sources(moves: Tensor, height: int, width: int) -> tuple[Tensor, Tensor]:
    """Where each output pixel comes from, x and y float32 (B, H, W), when three points move by float32 (B, 3, 2)."""
    inverse = inverse_maps(moves, height, width)[..., None, None]
    columns = torch.arange(width, dtype=torch.float32, device=moves.device)
    rows = torch.arange(height, dtype=torch.float32, device=moves.device)[:, None]
    x, y = (inverse[:, 0, axis] * columns + inverse[:, 1, axis] * rows + inverse[:, 2, axis] for axis in range(2))
    return x, y


def _bilinear(images: Tensor, x: Tensor, y: Tensor, *, doubled_border: bool) -> Tensor:
    """Read float32 images (B, 3, H, W) at the places x and y, float32 (B, H, W).

    Beyond its border an image is mirrored, with its last pixel doubled (SciPy's "reflect") or not (OpenCV's
    reflect-101). For `grid_sample` the two differ in what -1 and 1 stand for: edges or centres of the outer pixels.
    """
    height, width = images.shape[2:]
    offset = 1 if doubled_border else 0
    extents = (width - 1 + offset, height - 1 + offset)
    places = [place * (2 / extent) + (offset / extent - 1) for place, extent in zip((x, y), extents, strict=True)]
    return F.grid_sample(
        images, torch.stack(places, dim=-1), padding_mode="reflection", align_corners=not doubled_border
    )


def pixelate(images: Tensor, draws: Draws, *, scale: float) -> Tensor:
    """Shrink images to int(side * scale) with Pillow's box filter and enlarge them again by repeating pixels.

    The arithmetic is Pillow's own: columns first, fixed-point weights of 22 bits, each pass rounded to uint8. Of images
    more than about twice as high as wide Pillow takes the rows first, and single bytes differ by one.

    Args:
        images: uint8 (B, 3, H, W).
        draws: not used.
        scale: new side as a share of the old, 0 to 1.

    Returns:
        uint8 (B, 3, H, W).

    Example:
        >>> ramp = torch.arange(0, 256, 8, dtype=torch.uint8).expand(1, 3, 32, 32)
        >>> pixelate(ramp, Draws(torch.tensor([0]), seed=0, stream=14, severity=5), scale=0.25).unique().tolist()
        [12, 44, 76, 108, 140, 172, 204, 236]
    """
    height, width = images.shape[2:]
    small_height, small_width = int(height * scale), int(width * scale)
    windows, weights = box_windows(width, small_width, images.device)
    small = _box_means(images.to(torch.float32) @ windows.T, weights)
    windows, weights = box_windows(height, small_height, images.device)
    small = _box_means(windows @ small, weights[:, None]).to(torch.uint8)
    wide = torch.index_select(small, 3, nearest_places(small_width, width, images.device))
    return torch.index_select(wide, 2, nearest_places(small_height, height, images.device))


def _box_means(sums: Tensor, weights: Tensor) -> Tensor:
    """Fixed-point means of window sums. Sums of whole grey levels are exact in float32, whatever their order."""
    return sums.to(torch.int32).mul_(weights).add_(1 << 21).bitwise_right_shift_(22).to(torch.float32)


@functools.lru_cache(maxsize=16)
def box_windows(side: int, small_side: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return which pixels each output of a box filter averages, and the weight of each as Pillow has it.

    Args:
        side: pixels of the line.
        small_side: outputs, at most as many.
        device: of the results.

    Returns:
        float32 (small_side, side), 0 or 1; and int32 (small_side,), in units of 2**-22.

    Example:
        >>> windows, weights = box_windows(4, 2, torch.device("cpu"))
        >>> windows.tolist(), weights.tolist()
        ([[1.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 1.0]], [2097152, 2097152])
    """
    begins, lengths, weights = box_bounds(side, small_side)
    places = torch.arange(side) - begins[:, None]
    windows = (places >= 0) & (places < lengths[:, None])
    return windows.to(device, torch.float32), weights.to(device)


def box_bounds(side: int, small_side: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return the first pixel of each window of `box_windows`, their number and their weight, each (small_side,).

    Example:
        >>> [part.tolist() for part in box_bounds(5, 2)]
        [[0, 3], [3, 2], [1398101, 2097152]]
    """
    ratio = side / small_side
    centres = (torch.arange(small_side, dtype=torch.float64) + 0.5) * ratio
    # Pillow limits each window to whole pixels first, and then asks which of them the box covers. Both matter on ties.
    first, last = ((centres + half + 0.5).to(torch.int64) for half in (-0.5 * ratio, 0.5 * ratio))
    pixels = first[:, None] + torch.arange(int((last - first).max()))
    places = (pixels - centres[:, None] + 0.5) * (1 / ratio)
    covered = (pixels < last[:, None]) & (places > -0.5) & (places <= 0.5)
    lengths = covered.sum(dim=1)
    weights = (0.5 + (1 << 22) / lengths.double()).to(torch.int32)
    return first + covered.int().argmax(dim=1), lengths, weights


def nearest_places(small_side: int, side: int, device: torch.device) -> Tensor:
    """Return which of small_side pixels each of side pixels repeats, int32 (side,).

    Example:
        >>> nearest_places(2, 5, torch.device("cpu")).tolist()
        [0, 0, 1, 1, 1]
    """
    places = (torch.arange(side, dtype=torch.float64) + 0.5) * (small_side / side)
    return places.to(torch.int32).to(device)


def jpeg_compression(images: Tensor, draws: Draws, *, quality: int) -> Tensor:
    """Compress images as JPEG and read them back, with the bytes that Pillow gives (`jpeg.jpeg_round_trip`).

    Args:
        images: uint8 (B, 3, H, W).
        draws: not used.
        quality: as Pillow counts it, 1 to 100, with its default chroma subsampling (4:2:0).

    Returns:
        uint8 (B, 3, H, W).

    Example:
        >>> ramp = torch.arange(0, 256, 8, dtype=torch.uint8).expand(1, 3, 32, 32)
        >>> draws = Draws(torch.tensor([0]), seed=0, stream=15, severity=5)
        >>> torch.equal(jpeg_compression(ramp, draws, quality=7), ramp)
        False
    """
    return jpeg_round_trip(images, quality=quality)


def saturate(images: Tensor, draws: Draws, *, factor: float, offset: float) -> Tensor:
    """Change the saturation of HSV: s * factor + offset, clipped to [0, 1].

    Args:
        images: uint8 (B, 3, H, W).
        draws: not used.
        factor: of the saturation.
        offset: added to the saturation. It tints grey pixels red, since their hue counts as 0.

    Returns:
        uint8 (B, 3, H, W).

    Example:
        >>> brown = torch.tensor([120, 80, 40], dtype=torch.uint8).view(1, 3, 1, 1)
        >>> draws = Draws(torch.tensor([0]), seed=0, stream=19, severity=1)
        >>> saturate(brown, draws, factor=0.3, offset=0).flatten().tolist()
        [120, 108, 96]
    """
    hue, saturation, value = rgb_to_hsv(
        images.double().div_(torch.full((), 255, dtype=torch.float64, device=images.device))
    )
    return _to_uint8(hsv_to_rgb(hue, saturation.mul_(factor).add_(offset).clamp_(0, 1), value))


def rgb_to_hsv(rgb: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Hue, saturation and value of colours, each in [0, 1], as scikit-image's `rgb2hsv` computes them.

    Args:
        rgb: (B, 3, H, W) in [0, 1]; in float64 the result equals scikit-image's bit for bit.

    Returns:
        Three tensors (B, H, W). Grey has hue 0.

    Example:
        >>> red = torch.tensor([1.0, 0.0, 0.0], dtype=torch.float64).view(1, 3, 1, 1)
        >>> [float(part) for part in rgb_to_hsv(red)]
        [0.0, 1.0, 1.0]
    """
    red, green, blue = rgb.unbind(1)
    value = rgb.amax(1)
    spread = value - rgb.amin(1)
    grey, green_leads, blue_leads = spread == 0, green == value, blue == value
    ahead = torch.where(blue_leads, red - green, torch.where(green_leads, blue - red, green - blue))
    sector = green_leads.to(rgb.dtype).mul_(2).masked_fill_(blue_leads, 4)
    hue = ahead.div_(spread).add_(sector).div_(rgb.new_full((), 6)).remainder_(1).masked_fill_(grey, 0)
    return hue, spread.div_(value).masked_fill_(grey, 0), value


def hsv_to_rgb(hue: Tensor, saturation: Tensor, value: Tensor) -> Tensor:
    """Colours (B, 3, H, W) in [0, 1] of hue, saturation and value (B, H, W), as scikit-image's `hsv2rgb` has them.

    Example:
        >>> third = torch.full((1, 1, 1), 1 / 3, dtype=torch.float64)
        >>> hsv_to_rgb(third, torch.ones_like(third), torch.ones_like(third)).flatten().tolist()
        [0.0, 1.0, 0.0]
    """
    sixths = hue * 6
    sector = sixths.floor()
    fraction = sixths.sub_(sector)
    falling = (1 - fraction * saturation).mul_(value)
    rising = fraction.neg_().add_(1).mul_(saturation).neg_().add_(1).mul_(value)
    levels = torch.stack([value, falling, (1 - saturation).mul_(value), rising], dim=1)
    # For each of the six sectors of the colour circle, which level is red, green and blue.
    choice = torch.tensor([[0, 3, 2], [1, 0, 2], [2, 0, 3], [2, 1, 0], [3, 2, 0], [0, 2, 1]], device=hue.device)
    chosen = choice[sector.to(torch.int64).remainder_(6)]
    return levels.gather(1, chosen.permute(0, 3, 1, 2))


def _to_uint8(pixels: Tensor) -> Tensor:
    return pixels.clamp(0, 1).mul_(255).to(torch.uint8)

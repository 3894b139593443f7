"""The distortions of ImageNet-C-bar and CIFAR-10-C-bar (Mintun et al., NeurIPS 2021): water, whirls and ripples.

Each takes uint8 images (B, 3, H, W), random draws and the constants of a severity, and returns new uint8 images of the
same shape and device. Source: facebookresearch/augmentation-corruption, imagenet_c_bar; what is drawn there for an
image is drawn here, from the same distributions. Lengths that are shares of the side count the shorter one.

Pictures are read between pixels by bilinear means; beyond its border a picture is black.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn import functional as F

from robustbench_bi.corruptions import filters
from robustbench_bi.corruptions.digital import ROUNDING_ERROR
from robustbench_bi.corruptions.series import power, root, sine

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from robustbench_bi.corruptions.draws import Draws

PER_TURN, RADIANS = 0.15915494309189535, 6.283185307179586
# The light under water: iterations of its pattern, whose coordinates begin at -250 radians, and how thin its lines are.
WAVES, ORIGIN, THINNESS = 5, -250.0, 0.005
BRIGHTEST, SHARPNESS = 1.17, 1.4
# How much the water refracts, and the slope (as a cosine) up to which it does not at all.
REFRACTION, FLAT = 4.0, 1 - 1e-3


def caustic_refraction(images: Tensor, draws: Draws, *, lens: float, lighting: float) -> Tensor:
    """Look through a rippled surface of water, which bends the picture and lights its slopes.

    The surface is the pattern of light at the bottom of a pool (`caustics`). Where it is nearly flat, it does not
    refract at all, as published, so the picture has steps there.

    Draws: as `caustic_draws`.

    Args:
        images: uint8 (B, 3, H, W).
        draws: the random variates.
        lens: how far it bends, as a share of the side.
        lighting: of the slopes, in full ranges (255 grey levels) for a slope of 1.

    Returns:
        uint8 (B, 3, H, W).

    Example:
        >>> from robustbench_bi.corruptions.apply import corrupt
        >>> grey = torch.full((1, 3, 64, 64), 100, dtype=torch.uint8)
        >>> lit = corrupt(grey, "caustic_refraction", 3)
        >>> bool((lit < 90).any() and (lit > 110).any())
        True
    """
    height, width = images.shape[-2:]
    time, size = caustic_draws(draws, min(height, width)).unbind(1)
    surface = F.pad(_smooth(caustics(time, size, height, width)), (1, 1, 1, 1))
    down = surface[:, 2:, 1:-1] - surface[:, :-2, 1:-1]
    across = surface[:, 1:-1, 2:] - surface[:, 1:-1, :-2]
    steepness = down * down + across * across
    upright = 1 / root(steepness + 1)
    bent = root(1 - steepness * upright * upright * (1 / REFRACTION**2)) - upright * (1 / REFRACTION)
    reach = torch.where(upright >= FLAT, 0, upright * bent * (lens * min(height, width)))
    y = torch.arange(height, dtype=torch.float32, device=images.device)[:, None] + down * reach
    x = torch.arange(width, dtype=torch.float32, device=images.device) + across * reach
    light = (down - across) * (255 * lighting)
    return _as_levels(_read(images, y, x) + light[:, None])


def caustic_draws(draws: Draws, side: int) -> Tensor:
    """Return the time and the size of the pattern of light, in pixels: float32 (B, 2). Draws: uniform (2,)."""
    time, size = draws.uniform(2).unbind(1)
    return torch.stack([time * 1.5 + 0.5, (size * 0.5 + 0.75) * side], dim=1)


def wave_times() -> list[float]:
    """Return the factor of time in each iteration of the pattern, in turns."""
    return [(1 - 3.5 / (number + 1)) * PER_TURN for number in range(WAVES)]


def caustics(time: Tensor, size: Tensor, height: int, width: int) -> Tensor:
    """Return the pattern of light under water, float32 (B, H, W) from 0 to 1; it repeats itself after `size` pixels.

    Args:
        time: float32 (B,).
        size: float32 (B,).
        height: H.
        width: W.
    """
    time, size = time[:, None, None], size[:, None, None]
    down, across = (torch.arange(side, dtype=torch.float32, device=time.device) for side in (height, width))
    down, across = down[:, None] / size, across / size
    down, across = (part.expand(-1, height, width) for part in (down - down.floor(), across - across.floor()))
    deep, wide = ((place * RADIANS + ORIGIN) * THINNESS for place in (down, across))
    start_y, start_x = down + ORIGIN * PER_TURN, across + ORIGIN * PER_TURN
    y, x = start_y, start_x
    light = torch.ones_like(y)
    for factor in wave_times():
        moment = time * factor
        y, x = (
            start_y + (sine(moment - y + 0.25) + sine(moment + x)) * PER_TURN,
            start_x + (sine(moment - x) + sine(moment + y + 0.25)) * PER_TURN,
        )
        one, two = sine(y + moment), sine(x + moment + 0.25)
        deeper, wider = deep * two, wide * one
        light = light + (one * two).abs() / root(deeper * deeper + wider * wider).clamp(min=1e-30)
    dark = BRIGHTEST - power(light * 0.2, SHARPNESS)
    square = dark * dark
    fourth = square * square
    return (fourth * fourth).clamp(max=1)


def _smooth(surface: Tensor) -> Tensor:
    """A Gaussian of one pixel over float32 (B, H, W), the border mirrored with its last pixel doubled."""
    taps = filters.gaussian_taps(1.0).tolist()
    for axis in (1, 2):
        side = surface.shape[axis]
        place = torch.arange(side, device=surface.device)
        total = surface * taps[0]
        for distance in range(1, len(taps)):
            before, after = (mirrored(place + step, side) for step in (-distance, distance))
            total = total + (surface.index_select(axis, before) + surface.index_select(axis, after)) * taps[distance]
        surface = total
    return surface


def mirrored(places: Tensor, side: int) -> Tensor:
    """Return places, at most `side` beyond the ends of a line of pixels, mirrored into it, the last pixel doubled.

    Example:
        >>> mirrored(torch.tensor([-2, -1, 0, 3, 4]), 4).tolist()
        [1, 0, 0, 3, 3]
    """
    return torch.where(places < 0, -1 - places, torch.where(places >= side, 2 * side - 1 - places, places))


def ripple(images: Tensor, draws: Draws, *, amplitude: float) -> Tensor:
    """Shift the rows of a picture by a sine of their place, and its columns by another.

    Draws: as `ripple_places`.

    Args:
        images: uint8 (B, 3, H, W).
        draws: the random variates.
        amplitude: of both sines, as a share of the side.

    Returns:
        uint8 (B, 3, H, W).

    Example:
        >>> from robustbench_bi.corruptions.apply import corrupt
        >>> stripes = torch.zeros(1, 3, 64, 64, dtype=torch.uint8)
        >>> stripes[:, :, 16:48] = 255
        >>> bool((corrupt(stripes, "ripple", 5) != stripes).any())
        True
    """
    y, x = ripple_places(draws, images.shape[2], images.shape[3], amplitude)
    return _as_levels(_read(images, y[:, :, None], x[:, None, :]))


def ripple_places(draws: Draws, height: int, width: int, amplitude: float) -> tuple[Tensor, Tensor]:
    """Return which row each row of a picture comes from, and which column each column, float32 (B, H) and (B, W).

    Draws: uniform (4,): the wavelengths of rows and columns, 0.1 to 0.3 of the side, and their phases.
    """
    side = min(height, width)
    drawn = draws.uniform(4)
    wavelengths, phases = (drawn[:, :2] * 0.2 + 0.1) * side, drawn[:, 2:]
    places = []
    for axis, extent in enumerate((height, width)):
        line = torch.arange(extent, dtype=torch.float32, device=drawn.device)
        turns = line / wavelengths[:, axis, None] + phases[:, axis, None]
        places.append(line + sine(turns) * (amplitude * side))
    return places[0], places[1]


def pinch_and_twirl(images: Tensor, draws: Draws, *, cells: int, angle: float, amount: float) -> Tensor:
    """Turn and squeeze the discs of a grid, each to a random side.

    Draws: as `whirl_signs`.

    Args:
        images: uint8 (B, 3, H, W).
        draws: the random variates.
        cells: discs along each axis.
        angle: by which the middle of a disc is turned, in degrees.
        amount: exponent of the squeeze; 0 is none.

    Returns:
        uint8 (B, 3, H, W).

    Example:
        >>> from robustbench_bi.corruptions.apply import corrupt
        >>> ramp = torch.arange(0, 256, 4, dtype=torch.uint8).expand(1, 3, 64, 64)
        >>> whirls = corrupt(ramp, "pinch_and_twirl", 5)
        >>> torch.equal(whirls[..., 0], ramp[..., 0]), torch.equal(whirls, ramp)
        (True, False)
    """
    height, width = images.shape[-2:]
    signs = whirl_signs(draws, cells, height, width)
    maps = torch.from_numpy(whirls(height, width, cells, angle, amount)).to(images.device)
    return _as_levels(_read(images, maps[0] - maps[1] * signs, maps[2] + maps[3] * signs))


def whirl_signs(draws: Draws, cells: int, height: int, width: int) -> Tensor:
    """Return to which side each pixel is turned, -1 or 1, float32 (B, H, W). Draws: integers (cells, cells) below 2."""
    signs = draws.integers(0, 2, cells, cells).to(torch.float32) * 2 - 1
    rows, columns = (
        (torch.arange(side, device=signs.device) // (side // cells)).clamp(max=cells - 1) for side in (height, width)
    )
    return signs[:, rows[:, None], columns]


@functools.lru_cache(maxsize=16)
def whirls(height: int, width: int, cells: int, angle: float, amount: float) -> NDArray[np.float32]:
    """Return from where the pixels of `pinch_and_twirl` come.

    Returns:
        float32 (4, H, W), cached: do not write into it. For a sign of s, row [0] - s [1] and column [2] + s [3].

    Example:
        >>> maps = whirls(32, 32, 1, 90.0, 0.1)
        >>> maps[::2, 3, 5].tolist(), maps[:, 16, 16].tolist()
        ([3.0, 5.0], [16.0, 0.0, 16.0, 0.0])
    """
    sides = height // cells, width // cells
    lines = [np.arange(extent, dtype=np.float64) for extent in (height, width)]
    middles = [np.minimum(line // side, cells - 1) * side + side / 2 for line, side in zip(lines, sides, strict=True)]
    down, across = np.meshgrid(lines[0] - middles[0], lines[1] - middles[1], indexing="ij")
    distance, radius = np.hypot(down, across), min(sides) / 2
    moved = (distance <= radius) & (distance > 0)
    share = np.where(moved, distance / radius, 1)
    scale = np.sin(np.pi / 2 * share) ** -amount
    turn = np.deg2rad(angle) * (1 - share) ** 2
    along, aside = scale * np.cos(turn), scale * np.sin(turn)
    maps = [down * along + middles[0][:, None], across * aside, across * along + middles[1], down * aside]
    return np.stack(maps).astype(np.float32)


def _read(images: Tensor, y: Tensor, x: Tensor) -> Tensor:
    """Bilinear means of uint8 images (B, 3, H, W) at rows and columns that together are float32 (B, H, W)."""
    count, channels, height, width = images.shape
    top, left = y.floor(), x.floor()
    lower, right = (y - top)[:, None], (x - left)[:, None]
    # One black pixel on each side stands for all beyond it.
    planes = F.pad(images, (1, 1, 1, 1)).to(torch.float32).flatten(2)
    rows = [(top + step).clamp(0, height + 1).to(torch.int64) for step in (1, 2)]
    columns = [(left + step).clamp(0, width + 1).to(torch.int64) for step in (1, 2)]

    def corner(row: Tensor, column: Tensor) -> Tensor:
        places = (row * (width + 2) + column).view(count, 1, -1).expand(-1, channels, -1)
        return planes.gather(2, places).view(images.shape)

    before, after = (
        one + (two - one) * lower for one, two in ((corner(rows[0], c), corner(rows[1], c)) for c in columns)
    )
    return before + (after - before) * right


def _as_levels(levels: Tensor) -> Tensor:
    return levels.add_(ROUNDING_ERROR).clamp_(0, 255).to(torch.uint8)

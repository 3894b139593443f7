"""The noises of ImageNet-C-bar and CIFAR-10-C-bar (Mintun et al., NeurIPS 2021): sines, clouds and random spectra.

Each takes uint8 images (B, 3, H, W), random draws and the constants of a severity, and returns new uint8 images of the
same shape and device. Source: facebookresearch/augmentation-corruption, imagenet_c_bar; what is drawn there for an
image is drawn here, from the same distributions. Lengths that are shares of the side count the shorter one.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import numpy as np
import torch

from robustbench_bi.corruptions.series import root, sine

if TYPE_CHECKING:
    from torch import Tensor

    from robustbench_bi.corruptions.draws import Draws

# The warp of plasma_noise: from one iteration to the next waves are so much shorter, and move so much more slowly.
ITERATIONS = 6
SHORTER, SLOWER = 1.93, 1.15
PER_TURN = 0.15915494309189535  # 1 / 2π
# Perlin noise has so many cells along the shorter side, and octaves up to 16 times as fine, repeated every 256 cells.
CELLS, OCTAVES, PERIOD = 7, 5, 256


def single_frequency_greyscale(images: Tensor, draws: Draws, *, amplitude: float) -> Tensor:
    """Add one plane wave, the same to all channels.

    Draws: uniform (4,): the greater of the two frequencies, the other as a share of it, which of them is that along the
    width, and the phase.

    Args:
        images: uint8 (B, 3, H, W).
        draws: the random variates.
        amplitude: of the wave, in grey levels.

    Returns:
        uint8 (B, 3, H, W).

    Example:
        >>> from robustbench_bi.corruptions.apply import corrupt
        >>> grey = np.full((64, 64, 3), 128, dtype=np.uint8)
        >>> waves = corrupt(grey, "single_frequency_greyscale", 1)
        >>> int(waves.min()) >= 108, int(waves.max()) <= 147, bool((waves[..., 0] == waves[..., 2]).all())
        (True, True, True)
    """
    across, down = plane_waves(draws, *images.shape[-2:])
    wave = sine(across[:, None, :] + down[:, :, None]) * amplitude
    return _as_levels(images.to(torch.float32) + wave[:, None])


def plane_waves(draws: Draws, height: int, width: int) -> tuple[Tensor, Tensor]:
    """Return what the column and the row of a pixel add to the phase of its image's wave, in turns.

    Returns:
        float32 (B, W) and (B, H).
    """
    great, share, choice, phase = draws.uniform(4).unsqueeze(2).unbind(1)
    great = great - 0.5
    small = (share * 2 - 1) * great
    columns, rows = (torch.arange(side, dtype=torch.float32, device=great.device) for side in (width, height))
    across, down = torch.where(choice < 0.5, great, small), torch.where(choice < 0.5, small, great)
    return columns * across, rows * down + phase


def plasma_noise(images: Tensor, draws: Draws, *, strength: float) -> Tensor:
    """Blend with an iridescent cloud: sines of coordinates that sines have bent four to six times.

    Draws: uniform (3,): time, sharpness and scale; and the number of iterations, integers ().

    Args:
        images: uint8 (B, 3, H, W).
        draws: the random variates.
        strength: of the cloud, in grey levels; it swings to both sides of black, so that pictures grow darker.

    Returns:
        uint8 (B, 3, H, W).

    Example:
        >>> from robustbench_bi.corruptions.apply import corrupt
        >>> black = np.zeros((64, 64, 3), dtype=np.uint8)
        >>> int(corrupt(black, "plasma_noise", 5).max())
        63
    """
    height, width = images.shape[-2:]
    time, step, gains, iterations = (part[..., None, None] for part in plasma_draws(draws, min(height, width)))
    x = torch.arange(width, dtype=torch.float32, device=images.device) * step
    y = torch.arange(height, dtype=torch.float32, device=images.device)[:, None] * step
    x, y = (place.expand(-1, height, width) for place in (x, y))
    for iteration in range(ITERATIONS):
        moment, gain = time * SLOWER**-iteration, gains[:, iteration]
        down = sine(y * SHORTER**iteration + moment + 0.25) * gain
        across = sine(x * SHORTER**iteration + moment) * gain
        going = iteration < iterations
        x, y = torch.where(going, x + (down - across * 0.3), x), torch.where(going, y + (across + down * 0.3), y)
    green = (x + y + sine(time) * PER_TURN) * 0.5
    cloud = sine(torch.stack([x - time, green, y + time], dim=1))
    return _as_levels(images.to(torch.float32) * (1 - strength / 255) + cloud * strength)


def plasma_draws(draws: Draws, side: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return what `plasma_noise` draws for each image.

    Args:
        draws: the random variates.
        side: the shorter one of the images.

    Returns:
        The time in turns, float32 (B,); the turns from a pixel to the next, float32 (B,); how far each iteration moves
        a coordinate, in turns, float32 (B, 6); and how many iterations there are, int64 (B,).
    """
    time, sharpness, scale = draws.uniform(3).unbind(1)
    step = PER_TURN / ((scale * 0.125 + 0.075) * side)
    divisor = 1.75 - sharpness * 0.5
    gains = [torch.full_like(time, PER_TURN)]
    for _ in range(ITERATIONS - 1):
        gains.append(gains[-1] / divisor)
    return time * 3, step, torch.stack(gains, dim=1), draws.integers(4, 7)


def perlin_noise(images: Tensor, draws: Draws, *, share: float) -> Tensor:
    """Blend with a bright marbled cloud: the sizes of five octaves of gradient noise, added up.

    All octaves read the same gradients, as published: each is the one before at half the size.

    Draws: as `perlin_lattice`.

    Args:
        images: uint8 (B, 3, H, W).
        draws: the random variates.
        share: of the cloud, against the picture.

    Returns:
        uint8 (B, 3, H, W).

    Example:
        >>> from robustbench_bi.corruptions.apply import corrupt
        >>> black = np.zeros((64, 64, 3), dtype=np.uint8)
        >>> int(corrupt(black, "perlin_noise", 1).min())
        29
    """
    height, width = images.shape[-2:]
    side = min(height, width)
    offsets, gradients = perlin_lattice(draws)
    total = torch.zeros(len(images), height, width, device=images.device)
    for octave in range(OCTAVES):
        rows, columns = (_cells(extent, side, octave, images.device) for extent in (height, width))
        total = total + _gradient_noise(offsets, gradients, rows, columns).abs() * (1.5 * 0.5**octave)
    cloud = (total * 0.5 + 0.5).clamp(max=1) * (255 * share)
    return _as_levels(images.to(torch.float32) * (1 - share) + cloud[:, None])


def perlin_lattice(draws: Draws) -> tuple[Tensor, Tensor]:
    """Return the gradients of Perlin noise, at the corners of its cells.

    The gradient in row r and column c is number (offset of r mod 256 + c) mod 256. Offsets are a permutation of 0 to
    255. A gradient is the direction of a random point of a square, so diagonals are likelier.

    Draws: uniform (256,), whose ranks are the offsets; then uniform (2, 256), the points.

    Returns:
        int64 (B, 256) and float32 (B, 256, 2), of unit length, down and to the right.
    """
    offsets = draws.uniform(PERIOD).argsort(dim=1, stable=True)
    points = draws.uniform(2, PERIOD, low=-1.0, high=1.0)
    lengths = root(points[:, 0] * points[:, 0] + points[:, 1] * points[:, 1]).clamp(min=1e-6)
    return offsets, torch.stack([points[:, 0] / lengths, points[:, 1] / lengths], dim=2)


def cell_places(extent: int, side: int, octave: int) -> tuple[Tensor, Tensor]:
    """Return in which cell of an octave each pixel of a line lies, int64 (n,), and where in it, float32 (n,) in [0, 1).

    Example:
        >>> cell_places(6, 14, 1)
        (tensor([0, 1, 2, 3, 4, 5]), tensor([0., 0., 0., 0., 0., 0.]))
    """
    places = torch.arange(extent, dtype=torch.float32) * (CELLS / side) * 2**octave
    cells = places.floor()
    return cells.long(), places - cells


def _cells(extent: int, side: int, octave: int, device: torch.device) -> tuple[Tensor, Tensor]:
    cells, places = cell_places(extent, side, octave)
    return cells.to(device), places.to(device)


def _gradient_noise(
    offsets: Tensor, gradients: Tensor, rows: tuple[Tensor, Tensor], columns: tuple[Tensor, Tensor]
) -> Tensor:
    """Gradient noise (B, H, W): first between the corners above and below, which is linear along a row of a cell."""
    (top, down), (left, right) = rows, columns
    corners = torch.arange(int(left[-1]) + 2, device=offsets.device)
    levels, slopes = [], []
    for row, below in ((top, down), (top + 1, down - 1)):
        numbers = (offsets[:, row % PERIOD, None] + corners) % PERIOD
        gradient = gradients[torch.arange(len(offsets), device=offsets.device)[:, None, None], numbers]
        levels.append(gradient[..., 0] * below[:, None])
        slopes.append(gradient[..., 1])
    smooth = _ease(down)[:, None]
    level, slope = (one + smooth * (two - one) for one, two in (levels, slopes))
    before, after = (
        level[..., left] + slope[..., left] * right,
        level[..., left + 1] + slope[..., left + 1] * (right - 1),
    )
    return before + _ease(right) * (after - before)


def _ease(places: Tensor) -> Tensor:
    return places * places * (3 - places * 2)


def blue_noise_sample(images: Tensor, draws: Draws, *, threshold: float) -> Tensor:
    """Blacken the pixels where a noise without low frequencies does not exceed a threshold.

    Draws: as `spectrum`.

    Args:
        images: uint8 (B, 3, H, W).
        draws: the random variates.
        threshold: in standard deviations of the noise.

    Returns:
        uint8 (B, 3, H, W).

    Example:
        >>> from robustbench_bi.corruptions.apply import corrupt
        >>> white = np.full((64, 64, 3), 255, dtype=np.uint8)
        >>> np.unique(corrupt(white, "blue_noise_sample", 3)).tolist()
        [0, 255]
    """
    height, width = images.shape[-2:]
    waves = spectrum(_phases(draws, 1, height, width), distances(height, width).to(images.device))
    noise = unit_noise(waves, height, width)
    return images * (noise > threshold)


def brownish_noise(images: Tensor, draws: Draws, *, std: float) -> Tensor:
    """Add to each channel a noise of low frequencies, and with it a cast of colour.

    Draws: as `spectrum`, three times.

    Args:
        images: uint8 (B, 3, H, W).
        draws: the random variates.
        std: standard deviation of the noise within a picture, in grey levels. Its mean over a picture is random too.

    Returns:
        uint8 (B, 3, H, W).

    Example:
        >>> from robustbench_bi.corruptions.apply import corrupt
        >>> grey = np.full((64, 64, 3), 128, dtype=np.uint8)
        >>> bool((corrupt(grey, "brownish_noise", 2)[..., 0].std() / 12.8 - 1) < 0.05)
        True
    """
    height, width = images.shape[-2:]
    amplitudes = (1 / (distances(height, width) ** 2 + 1)).to(images.device)
    noise = unit_noise(spectrum(_phases(draws, 3, height, width), amplitudes), height, width)
    return _as_levels(images + noise * std)


def _phases(draws: Draws, channels: int, height: int, width: int) -> Tensor:
    """Phases of all waves as 16 bits, int32 (B, channels, H, W): the second half is the first, read backwards."""
    drawn = draws.bits16(channels, -(-height * width // 2))
    mirrored = drawn[..., : height * width // 2].flip(-1)
    return torch.cat([drawn, mirrored], dim=-1).view(-1, channels, height, width)


def spectrum(phases: Tensor, amplitudes: Tensor) -> Tensor:
    """Return the spectrum of the real part of waves with given amplitudes and random phases.

    Draws: 16 bits for the phase of each wave in the first half of the plane of frequencies, whose zero lies at
    (H // 2, W // 2). The other half has the phases of the first, mirrored at the middle of the plane, as published.
    That is half a pixel from the zero, so noise at opposite places of a picture goes together, or against each other.

    Args:
        phases: int32 (B, C, H, W), of 16 bits.
        amplitudes: float64 (H, W // 2 + 1), in the order of `torch.fft.rfft2`.

    Returns:
        complex128 (B, C, H, W // 2 + 1).
    """
    height, width = phases.shape[-2:]
    (rows, columns), (mirrored_rows, mirrored_columns) = wave_places(height, width)
    circle = unit_circle().to(phases.device)
    half = phases[..., rows.to(phases.device)[:, None], columns.to(phases.device)]
    opposite = phases[..., mirrored_rows.to(phases.device)[:, None], mirrored_columns.to(phases.device)]
    return (circle[half] + circle[opposite].conj()) * amplitudes


@functools.cache
def unit_circle() -> Tensor:
    """Return the points at 65,536 equal angles of the unit circle, complex128; cached: do not write into it."""
    angles = torch.arange(65536, dtype=torch.float64) * (2 * np.pi / 65536)
    return torch.complex(angles.cos(), angles.sin())


def wave_places(height: int, width: int) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """Return where the waves of `torch.fft.rfft2`, and those of opposite direction, lie in the plane of frequencies.

    Example:
        >>> [[line.tolist() for line in lines] for lines in wave_places(4, 4)]
        [[[2, 3, 0, 1], [2, 3, 0]], [[2, 1, 0, 3], [2, 1, 0]]]
    """
    rows, columns = torch.arange(height), torch.arange(width // 2 + 1)
    own = (rows + height // 2) % height, (columns + width // 2) % width
    opposite = (height // 2 - rows) % height, (width // 2 - columns) % width
    return own, opposite


@functools.lru_cache(maxsize=16)
def distances(height: int, width: int) -> Tensor:
    """Return how far each wave of `torch.fft.rfft2` is from zero frequency, in cycles over the shorter side.

    The tensor, float64 (H, W // 2 + 1), is cached: do not write into it.

    Example:
        >>> distances(4, 4)[2].round(decimals=2)
        tensor([2.0000, 2.2400, 2.8300], dtype=torch.float64)
    """
    side = min(height, width)
    down = torch.fft.fftfreq(height, dtype=torch.float64)[:, None] * side
    across = torch.fft.rfftfreq(width, dtype=torch.float64) * side
    radius: Tensor = (down * down + across * across).sqrt()
    return radius


def unit_noise(waves: Tensor, height: int, width: int) -> Tensor:
    """Return the noise (B, C, H, W) of a spectrum, scaled to a standard deviation of 1 over each plane.

    Args:
        waves: complex128 (B, C, H, W // 2 + 1).
        height: H.
        width: W.
    """
    noise: Tensor = torch.fft.irfft2(waves, s=(height, width))
    return noise / noise.std(dim=(2, 3), correction=0, keepdim=True)


def _as_levels(levels: Tensor) -> Tensor:
    return levels.clamp_(0, 255).to(torch.uint8)

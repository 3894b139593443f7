"""CPU twins of the noises in `bar_noise`, with its operations in their order: so the bytes are the same."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import numba
import numpy as np
import scipy.fft
import torch

from robustbench_bi.corruptions import bar_noise, series

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from robustbench_bi.corruptions.draws import Draws

_SINE = tuple(np.float32(coefficient) for coefficient in series.SINE)
_ZERO, _QUARTER, _HALF, _ONE = np.float32(0), np.float32(0.25), np.float32(0.5), np.float32(1)
_TWO, _THREE, _WHITE = np.float32(2), np.float32(3), np.float32(255)
_TILT, _PER_TURN = np.float32(0.3), np.float32(bar_noise.PER_TURN)
_SHORTER = np.array([bar_noise.SHORTER**number for number in range(bar_noise.ITERATIONS)], np.float32)
_SLOWER = np.array([bar_noise.SLOWER**-number for number in range(bar_noise.ITERATIONS)], np.float32)
_LAST_CELL = bar_noise.PERIOD - 1


def single_frequency_greyscale(images: Tensor, draws: Draws, *, amplitude: float) -> Tensor:
    """Twin of `bar_noise.single_frequency_greyscale`."""
    result = torch.empty_like(images)
    across, down = bar_noise.plane_waves(draws, *images.shape[-2:])
    _add_wave(images.numpy(), across.numpy(), down.numpy(), np.float32(amplitude), result.numpy())
    return result


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _add_wave(images: Any, across: Any, down: Any, amplitude: Any, result: Any) -> None:
    count, channels, height, width = images.shape
    wave = np.empty(width, np.float32)
    for number in range(count):
        phases = across[number]
        for y in range(height):
            phase = down[number, y]
            for x in range(width):
                wave[x] = _sine(phases[x] + phase) * amplitude
            for channel in range(channels):
                row, target = images[number, channel, y], result[number, channel, y]
                for x in range(width):
                    target[x] = np.uint8(min(max(np.float32(row[x]) + wave[x], _ZERO), _WHITE))


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _sine(turns: Any) -> Any:
    """`series.sine`, bit for bit."""
    turns = turns - np.floor(turns + _HALF)
    square = turns * turns
    total = ((_SINE[4] * square + _SINE[3]) * square + _SINE[2]) * square + _SINE[1]
    return turns * (_QUARTER - square) * (total * square + _SINE[0])


def plasma_noise(images: Tensor, draws: Draws, *, strength: float) -> Tensor:
    """Twin of `bar_noise.plasma_noise`."""
    result = torch.empty_like(images)
    drawn = (part.numpy() for part in bar_noise.plasma_draws(draws, min(images.shape[-2:])))
    _blend_plasma(images.numpy(), *drawn, np.float32(1 - strength / 255), np.float32(strength), result.numpy())
    return result


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _blend_plasma(
    images: Any, times: Any, steps: Any, gains: Any, iterations: Any, kept: Any, strength: Any, result: Any
) -> None:
    count, _, height, width = images.shape
    xs, ys, cloud = np.empty(width, np.float32), np.empty(width, np.float32), np.empty((3, width), np.float32)
    for number in range(count):
        time, step = times[number], steps[number]
        shift = _sine(time) * _PER_TURN
        for y in range(height):
            for x in range(width):
                xs[x], ys[x] = np.float32(x) * step, np.float32(y) * step
            for iteration in range(iterations[number]):
                short, moment, gain = _SHORTER[iteration], time * _SLOWER[iteration], gains[number, iteration]
                for x in range(width):
                    down = _sine(ys[x] * short + moment + _QUARTER) * gain
                    across = _sine(xs[x] * short + moment) * gain
                    xs[x] += down - across * _TILT
                    ys[x] += across + down * _TILT
            for x in range(width):
                cloud[0, x] = _sine(xs[x] - time) * strength
                cloud[1, x] = _sine((xs[x] + ys[x] + shift) * _HALF) * strength
                cloud[2, x] = _sine(ys[x] + time) * strength
            for channel in range(3):
                row, target = images[number, channel, y], result[number, channel, y]
                for x in range(width):
                    target[x] = np.uint8(min(max(np.float32(row[x]) * kept + cloud[channel, x], _ZERO), _WHITE))


def perlin_noise(images: Tensor, draws: Draws, *, share: float) -> Tensor:
    """Twin of `bar_noise.perlin_noise`."""
    result = torch.empty_like(images)
    height, width = images.shape[-2:]
    offsets, gradients = (part.numpy() for part in bar_noise.perlin_lattice(draws))
    rows, columns = (_lattice(extent, min(height, width)) for extent in (height, width))
    shares = np.float32(1 - share), np.float32(255 * share)
    _blend_perlin(images.numpy(), offsets, gradients, *rows, *columns, *shares, result.numpy())
    return result


@functools.lru_cache(maxsize=16)
def _lattice(extent: int, side: int) -> tuple[NDArray[np.uint32], NDArray[np.float32]]:
    """The cell of each pixel of a line and its place in the cell, for all octaves: (octaves, n)."""
    cells, places = zip(
        *(bar_noise.cell_places(extent, side, octave) for octave in range(bar_noise.OCTAVES)), strict=True
    )
    # An unsigned number as an index spares numba the question whether it counts from the end.
    return torch.stack(cells).numpy().astype(np.uint32), torch.stack(places).numpy()


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _blend_perlin(
    images: Any,
    offsets: Any,
    gradients: Any,
    tops: Any,
    downs: Any,
    lefts: Any,
    rights: Any,
    kept: Any,
    share: Any,
    result: Any,
) -> None:
    count, channels, height, width = images.shape
    octaves = len(tops)
    corners = np.int64(lefts[octaves - 1, width - 1]) + 2
    level, slope = np.empty(corners, np.float32), np.empty(corners, np.float32)
    eased, total = np.empty((octaves, width), np.float32), np.empty(width, np.float32)
    for octave in range(octaves):
        for x in range(width):
            eased[octave, x] = _ease(rights[octave, x])
    for number in range(count):
        for y in range(height):
            total[:] = _ZERO
            factor = np.float32(1.5)
            for octave in range(octaves):
                ends = np.int64(lefts[octave, width - 1]) + 2
                _edges(offsets[number], gradients[number], tops[octave, y], downs[octave, y], ends, level, slope)
                left, right, smooth = lefts[octave], rights[octave], eased[octave]
                for x in range(width):
                    corner, place = left[x], right[x]
                    following = corner + np.uint32(1)
                    before = level[corner] + slope[corner] * place
                    after = level[following] + slope[following] * (place - _ONE)
                    total[x] += abs(before + smooth[x] * (after - before)) * factor
                factor *= _HALF
            for x in range(width):
                total[x] = min(total[x] * _HALF + _HALF, _ONE) * share
            for channel in range(channels):
                row, target = images[number, channel, y], result[number, channel, y]
                for x in range(width):
                    target[x] = np.uint8(min(max(np.float32(row[x]) * kept + total[x], _ZERO), _WHITE))


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _edges(offsets: Any, gradients: Any, top: Any, down: Any, ends: int, level: Any, slope: Any) -> None:
    """Where a row of pixels crosses the edges between cells: the noise there, and its slope along the row."""
    first, second = offsets[top & _LAST_CELL], offsets[(top + 1) & _LAST_CELL]
    smooth = _ease(down)
    for corner in range(ends):
        upper, lower = gradients[(first + corner) & _LAST_CELL], gradients[(second + corner) & _LAST_CELL]
        above, below = upper[0] * down, lower[0] * (down - _ONE)
        level[corner] = above + smooth * (below - above)
        slope[corner] = upper[1] + smooth * (lower[1] - upper[1])


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _ease(place: Any) -> Any:
    return place * place * (_THREE - place * _TWO)


def blue_noise_sample(images: Tensor, draws: Draws, *, threshold: float) -> Tensor:
    """Twin of `bar_noise.blue_noise_sample`, whose Fourier transform may round otherwise."""
    result = torch.empty_like(images)
    height, width = images.shape[-2:]
    (noise,) = _noises(draws, 1, height, width, bar_noise.distances(height, width).numpy())
    _blacken(images.numpy(), noise, float(threshold), result.numpy())
    return result


def _noises(draws: Draws, channels: int, height: int, width: int, amplitudes: Any) -> list[NDArray[np.float64]]:
    """For each channel, noise (B, H, W) with a spectrum of these amplitudes."""
    phases = draws.bits16(channels, -(-height * width // 2)).numpy()
    noises = np.empty((channels, len(phases), height, width))
    spectrum = np.empty((height, width // 2 + 1), np.complex128)
    circle = bar_noise.unit_circle().numpy()
    for number in range(len(phases)):
        for channel in range(channels):
            _spectrum(phases[number, channel], circle, amplitudes, width, spectrum)
            noises[channel, number] = scipy.fft.irfft2(spectrum, s=(height, width), workers=1)
    return list(noises)


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _spectrum(phases: Any, circle: Any, amplitudes: Any, width: int, spectrum: Any) -> None:
    """`bar_noise.spectrum`, of phases whose second half is still to be mirrored."""
    height, columns = spectrum.shape
    last = height * width - 1
    for row in range(height):
        own, opposite = (row + height // 2) % height * width, (height // 2 - row) % height * width
        for column in range(columns):
            place = own + (column + width // 2) % width
            mirrored = opposite + (width // 2 - column) % width
            one, two = circle[phases[min(place, last - place)]], circle[phases[min(mirrored, last - mirrored)]]
            spectrum[row, column] = (one + two.conjugate()) * amplitudes[row, column]


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _blacken(images: Any, noises: Any, threshold: float, result: Any) -> None:
    count, channels, height, width = images.shape
    for number in range(count):
        limit = threshold * _deviation(noises[number].ravel())
        for channel in range(channels):
            for y in range(height):
                row, noise, target = images[number, channel, y], noises[number, y], result[number, channel, y]
                for x in range(width):
                    target[x] = row[x] if noise[x] > limit else np.uint8(0)


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _deviation(values: Any) -> float:
    """The standard deviation; eight sums at a time, because a processor can."""
    sums, squares = np.zeros(8), np.zeros(8)
    whole = len(values) // 8 * 8
    for start in range(0, whole, 8):
        part = values[start : start + 8]
        for lane in range(8):
            sums[lane] += part[lane]
            squares[lane] += part[lane] * part[lane]
    total, square = sums.sum(), squares.sum()
    for place in range(whole, len(values)):
        total += values[place]
        square += values[place] * values[place]
    mean = total / len(values)
    return float(np.sqrt(square / len(values) - mean * mean))


def brownish_noise(images: Tensor, draws: Draws, *, std: float) -> Tensor:
    """Twin of `bar_noise.brownish_noise`, whose Fourier transform may round otherwise."""
    result = torch.empty_like(images)
    height, width = images.shape[-2:]
    noises = _noises(draws, 3, height, width, _brown(height, width))
    for channel, noise in enumerate(noises):
        _add_noise(images[:, channel].numpy(), noise, float(std), result[:, channel].numpy())
    return result


@functools.lru_cache(maxsize=16)
def _brown(height: int, width: int) -> NDArray[np.float64]:
    return 1 / (bar_noise.distances(height, width).numpy() ** 2 + 1)


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _add_noise(planes: Any, noises: Any, std: float, result: Any) -> None:
    count, height, width = planes.shape
    for number in range(count):
        scale = std / _deviation(noises[number].ravel())
        for y in range(height):
            row, noise, target = planes[number, y], noises[number, y], result[number, y]
            for x in range(width):
                target[x] = np.uint8(min(max(row[x] + noise[x] * scale, 0.0), 255.0))

"""CPU twins of the distortions in `bar_warps`, with its operations in their order: so the bytes are the same."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numba
import numpy as np
import torch

from robustbench_bi.corruptions import bar_warps, digital, filters, series

if TYPE_CHECKING:
    from torch import Tensor

    from robustbench_bi.corruptions.draws import Draws

_SINE, _LOGARITHM, _EXPONENTIAL = (
    tuple(np.float32(coefficient) for coefficient in coefficients)
    for coefficients in (series.SINE, series.LOGARITHM, series.EXPONENTIAL)
)
_BITS, _HALF_OCTAVE, _ONE_AS_BITS = (
    np.int32(number) for number in (series.EXPONENT_BITS, series.HALF_OCTAVE, series.ONE)
)
_ZERO, _QUARTER, _HALF, _ONE = np.float32(0), np.float32(0.25), np.float32(0.5), np.float32(1)
_FIFTH, _WHITE, _RANGE, _TINY = np.float32(0.2), np.float32(255), np.float32(126), np.float32(1e-30)
_PER_TURN, _RADIANS = np.float32(bar_warps.PER_TURN), np.float32(bar_warps.RADIANS)
_ORIGIN, _ORIGIN_TURNS = np.float32(bar_warps.ORIGIN), np.float32(bar_warps.ORIGIN * bar_warps.PER_TURN)
_THINNESS, _FLAT = np.float32(bar_warps.THINNESS), np.float32(bar_warps.FLAT)
_BRIGHTEST, _SHARPNESS = np.float32(bar_warps.BRIGHTEST), np.float32(bar_warps.SHARPNESS)
_REFRACTED, _REFRACTED_SQUARE = np.float32(1 / bar_warps.REFRACTION), np.float32(1 / bar_warps.REFRACTION**2)
_ROUNDING_ERROR = np.float32(digital.ROUNDING_ERROR)
_TIMES = np.array(bar_warps.wave_times(), np.float32)


def caustic_refraction(images: Tensor, draws: Draws, *, lens: float, lighting: float) -> Tensor:
    """Twin of `bar_warps.caustic_refraction`."""
    result = torch.empty_like(images)
    side = min(images.shape[-2:])
    drawn = bar_warps.caustic_draws(draws, side).numpy()
    taps = filters.gaussian_taps(1.0).numpy().astype(np.float32)
    _refract(images.numpy(), drawn, taps, np.float32(lens * side), np.float32(255 * lighting), result.numpy())
    return result


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _refract(images: Any, drawn: Any, taps: Any, lens: Any, lighting: Any, result: Any) -> None:
    count, channels, height, width = images.shape
    planes = np.zeros((channels, height + 2, width + 2), np.float32)
    surface, places = np.empty((height, width), np.float32), np.empty((2, width), np.float32)
    slopes, light = np.empty((2, width), np.float32), np.empty(width, np.float32)
    sources, shares = np.empty(width, np.int32), np.empty((2, width), np.float32)
    levels = np.empty((channels, width), np.float32)
    smooth = np.zeros((height + 2, width + 2), np.float32)
    for number in range(count):
        _pad(images[number], planes)
        _caustics(drawn[number, 0], drawn[number, 1], surface)
        _smooth(surface, taps, smooth)
        for y in range(height):
            above, row, below = smooth[y], smooth[y + 1], smooth[y + 2]
            for x in range(width):
                slopes[0, x], slopes[1, x] = below[x + 1] - above[x + 1], row[x + 2] - row[x]
            for x in range(width):
                down, across = slopes[0, x], slopes[1, x]
                steepness = down * down + across * across
                upright = _ONE / np.sqrt(steepness + _ONE)
                bent = np.sqrt(_ONE - steepness * upright * upright * _REFRACTED_SQUARE) - upright * _REFRACTED
                reach = _ZERO if upright >= _FLAT else upright * bent * lens
                places[0, x], places[1, x] = np.float32(y) + down * reach, np.float32(x) + across * reach
                light[x] = (down - across) * lighting
            _read(planes, places, sources, shares, levels)
            for channel in range(channels):
                target = result[number, channel, y]
                for x in range(width):
                    target[x] = _level(levels[channel, x] + light[x])


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _caustics(time: Any, size: Any, surface: Any) -> None:
    """`bar_warps.caustics`, of one image."""
    height, width = surface.shape
    starts, ys, xs = np.empty(width, np.float32), np.empty(width, np.float32), np.empty(width, np.float32)
    wide = np.empty(width, np.float32)
    for x in range(width):
        place = np.float32(x) / size
        place = place - np.floor(place)
        wide[x], starts[x] = (place * _RADIANS + _ORIGIN) * _THINNESS, place + _ORIGIN_TURNS
    for row in range(height):
        place = np.float32(row) / size
        place = place - np.floor(place)
        deep, start = (place * _RADIANS + _ORIGIN) * _THINNESS, place + _ORIGIN_TURNS
        light = surface[row]
        for x in range(width):
            ys[x], xs[x], light[x] = start, starts[x], _ONE
        for wave in range(len(_TIMES)):
            moment = time * _TIMES[wave]
            for x in range(width):
                y = start + (_sine(moment - ys[x] + _QUARTER) + _sine(moment + xs[x])) * _PER_TURN
                z = starts[x] + (_sine(moment - xs[x]) + _sine(moment + ys[x] + _QUARTER)) * _PER_TURN
                ys[x], xs[x] = y, z
                one, two = _sine(y + moment), _sine(z + moment + _QUARTER)
                deeper, wider = deep * two, wide[x] * one
                light[x] += abs(one * two) / max(np.sqrt(deeper * deeper + wider * wider), _TINY)
        for x in range(width):
            dark = _BRIGHTEST - _power(light[x] * _FIFTH, _SHARPNESS)
            square = dark * dark
            fourth = square * square
            light[x] = min(fourth * fourth, _ONE)


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _sine(turns: Any) -> Any:
    """`series.sine`, bit for bit."""
    turns = turns - np.floor(turns + _HALF)
    square = turns * turns
    total = ((_SINE[4] * square + _SINE[3]) * square + _SINE[2]) * square + _SINE[1]
    return turns * (_QUARTER - square) * (total * square + _SINE[0])


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _power(base: Any, exponent: Any) -> Any:
    """`series.power`, bit for bit."""
    bits = np.float32(base).view(np.int32)
    octaves = np.int32(bits - _HALF_OCTAVE) >> _BITS
    mantissa = np.int32(bits - np.int32(octaves << _BITS)).view(np.float32)
    ratio = (mantissa - _ONE) / (mantissa + _ONE)
    square = ratio * ratio
    logarithm = ratio * ((_LOGARITHM[2] * square + _LOGARITHM[1]) * square + _LOGARITHM[0])
    scaled = min(max((np.float32(octaves) + logarithm) * exponent, -_RANGE), _RANGE)
    whole = np.floor(scaled + _HALF)
    part = scaled - whole
    total = ((_EXPONENTIAL[5] * part + _EXPONENTIAL[4]) * part + _EXPONENTIAL[3]) * part + _EXPONENTIAL[2]
    scale = np.int32(np.int32(np.int32(whole) << _BITS) + _ONE_AS_BITS).view(np.float32)
    return ((total * part + _EXPONENTIAL[1]) * part + _EXPONENTIAL[0]) * scale


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _smooth(surface: Any, taps: Any, smooth: Any) -> None:
    """Convolve down the columns, then along the rows; the result has a border of one pixel, which stays 0."""
    height, width = surface.shape
    radius = len(taps) - 1
    padded = np.empty(width + 2 * radius, np.float32)
    row = padded[radius : radius + width]
    for y in range(height):
        centre, sums = surface[y], smooth[y + 1, 1:]
        for x in range(width):
            row[x] = centre[x] * taps[0]
        for distance in range(1, radius + 1):
            above = surface[max(y - distance, distance - 1 - y)]
            below = surface[min(y + distance, 2 * height - 1 - y - distance)]
            for x in range(width):
                row[x] += (above[x] + below[x]) * taps[distance]
        for x in range(radius):
            padded[radius - 1 - x] = row[x]
            padded[radius + width + x] = row[width - 1 - x]
        for x in range(width):
            sums[x] = row[x] * taps[0]
        for distance in range(1, radius + 1):
            left, right = padded[radius - distance :], padded[radius + distance :]
            for x in range(width):
                sums[x] += (left[x] + right[x]) * taps[distance]


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _pad(image: Any, planes: Any) -> None:
    """Copy an image into planes with a border of one pixel, which stays black."""
    channels, height, width = image.shape
    for channel in range(channels):
        for y in range(height):
            row, target = image[channel, y], planes[channel, y + 1, 1:]
            for x in range(width):
                target[x] = row[x]


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _read(planes: Any, places: Any, sources: Any, shares: Any, levels: Any) -> None:
    """Read a row of bilinear means, levels (3, W), of padded planes at places (2, W), rows and columns."""
    channels, height, width = planes.shape
    for x in range(places.shape[1]):
        top, left = np.floor(places[0, x]), np.floor(places[1, x])
        shares[0, x], shares[1, x] = places[0, x] - top, places[1, x] - left
        # What begins outside lies outside as a whole, but for the one pixel before the first.
        row, column = np.int32(top) + np.int32(1), np.int32(left) + np.int32(1)
        inside = (row >= 0) & (row < height - 1) & (column >= 0) & (column < width - 1)
        sources[x] = row * np.int32(width) + column if inside else np.int32(-1)
    for channel in range(channels):
        pixels, target = planes[channel].ravel(), levels[channel]
        below = pixels[width:]
        for x in range(places.shape[1]):
            source = np.uint64(max(sources[x], np.int32(0)))
            following = source + np.uint64(1)
            before = pixels[source] + (below[source] - pixels[source]) * shares[0, x]
            after = pixels[following] + (below[following] - pixels[following]) * shares[0, x]
            mean = before + (after - before) * shares[1, x]
            target[x] = mean if sources[x] >= 0 else _ZERO


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _level(value: Any) -> Any:
    return np.uint8(min(max(value + _ROUNDING_ERROR, _ZERO), _WHITE))


def ripple(images: Tensor, draws: Draws, *, amplitude: float) -> Tensor:
    """Twin of `bar_warps.ripple`."""
    result = torch.empty_like(images)
    y, x = bar_warps.ripple_places(draws, images.shape[2], images.shape[3], amplitude)
    _shift(images.numpy(), y.numpy(), x.numpy(), result.numpy())
    return result


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _shift(images: Any, ys: Any, xs: Any, result: Any) -> None:
    """Each row of the result is a mean of two rows, read at places that are the same for all rows."""
    count, channels, height, width = images.shape
    planes, row = np.zeros((channels, height + 2, width + 2), np.float32), np.empty(width + 2, np.float32)
    sources, shares = np.empty(width, np.uint32), np.empty(width, np.float32)
    followers = np.empty(width, np.uint32)
    for number in range(count):
        _pad(images[number], planes)
        for x in range(width):
            left = np.floor(xs[number, x])
            shares[x] = xs[number, x] - left
            sources[x] = min(max(np.int64(left) + 1, 0), width + 1)
            followers[x] = min(max(np.int64(left) + 2, 0), width + 1)
        for y in range(height):
            top = np.floor(ys[number, y])
            lower = ys[number, y] - top
            first, second = min(max(np.int64(top) + 1, 0), height + 1), min(max(np.int64(top) + 2, 0), height + 1)
            for channel in range(channels):
                upper, below, target = planes[channel, first], planes[channel, second], result[number, channel, y]
                for x in range(width + 2):
                    row[x] = upper[x] + (below[x] - upper[x]) * lower
                for x in range(width):
                    left = row[sources[x]]
                    target[x] = _level(left + (row[followers[x]] - left) * shares[x])


def pinch_and_twirl(images: Tensor, draws: Draws, *, cells: int, angle: float, amount: float) -> Tensor:
    """Twin of `bar_warps.pinch_and_twirl`."""
    result = torch.empty_like(images)
    height, width = images.shape[-2:]
    signs = bar_warps.whirl_signs(draws, cells, height, width).numpy()
    _turn(images.numpy(), signs, bar_warps.whirls(height, width, cells, angle, amount), result.numpy())
    return result


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _turn(images: Any, signs: Any, maps: Any, result: Any) -> None:
    count, channels, height, width = images.shape
    planes, places = np.zeros((channels, height + 2, width + 2), np.float32), np.empty((2, width), np.float32)
    sources, shares = np.empty(width, np.int32), np.empty((2, width), np.float32)
    levels = np.empty((channels, width), np.float32)
    for number in range(count):
        _pad(images[number], planes)
        for y in range(height):
            sign = signs[number, y]
            for x in range(width):
                places[0, x] = maps[0, y, x] - maps[1, y, x] * sign[x]
                places[1, x] = maps[2, y, x] + maps[3, y, x] * sign[x]
            _read(planes, places, sources, shares, levels)
            for channel in range(channels):
                target = result[number, channel, y]
                for x in range(width):
                    target[x] = _level(levels[channel, x])

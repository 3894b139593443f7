"""CPU twins of the rings and stars in `bar_circles`, with its operations in their order: so the bytes are the same."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numba
import numpy as np
import torch

from robustbench_bi.corruptions import bar_circles, series

if TYPE_CHECKING:
    from torch import Tensor

    from robustbench_bi.corruptions.draws import Draws

_SINE, _TURNS, _LOGARITHM, _EXPONENTIAL = (
    tuple(np.float32(coefficient) for coefficient in coefficients)
    for coefficients in (series.SINE, series.TURNS, series.LOGARITHM, series.EXPONENTIAL)
)
_BITS, _HALF_OCTAVE, _ONE_AS_BITS = (
    np.int32(number) for number in (series.EXPONENT_BITS, series.HALF_OCTAVE, series.ONE)
)
_ZERO, _QUARTER, _HALF, _ONE = np.float32(0), np.float32(0.25), np.float32(0.5), np.float32(1)
_WHITE, _RANGE, _NEAR = np.float32(255), np.float32(126), np.float32(bar_circles.NEAR)
_TINY, _SMALL = np.float32(1e-30), np.float32(1e-20)


def concentric_sine_waves(images: Tensor, draws: Draws, *, height: float) -> Tensor:
    """Twin of `bar_circles.concentric_sine_waves`."""
    result = torch.empty_like(images)
    drawn = bar_circles.ring_draws(draws, *images.shape[-2:]).numpy()
    _add_rings(images.numpy(), drawn, np.float32(height), result.numpy())
    return result


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _add_rings(images: Any, drawn: Any, tall: Any, result: Any) -> None:
    count, channels, height, width = images.shape
    tooth = np.empty(width, np.float32)
    for number in range(count):
        centre_y, centre_x, waves, amplitude, ring = drawn[number]
        for y in range(height):
            down = np.float32(y) - centre_y
            for x in range(width):
                across = np.float32(x) - centre_x
                wobble = _sine(_turns_of(across, down) * waves) * amplitude
                rings = (np.sqrt(down * down + across * across) + wobble) / ring
                tooth[x] = (rings - np.floor(rings) - _HALF) * tall
            for channel in range(channels):
                row, target = images[number, channel, y], result[number, channel, y]
                for x in range(width):
                    target[x] = np.uint8(min(max(np.float32(row[x]) + tooth[x], _ZERO), _WHITE))


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _sine(turns: Any) -> Any:
    """`series.sine`, bit for bit."""
    turns = turns - np.floor(turns + _HALF)
    square = turns * turns
    total = ((_SINE[4] * square + _SINE[3]) * square + _SINE[2]) * square + _SINE[1]
    return turns * (_QUARTER - square) * (total * square + _SINE[0])


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _turns_of(y: Any, x: Any) -> Any:
    """`series.turns_of`, bit for bit."""
    across, down = abs(x), abs(y)
    slope = min(across, down) / max(across, down, _TINY)
    square = slope * slope
    total = (_TURNS[6] * square + _TURNS[5]) * square + _TURNS[4]
    total = ((total * square + _TURNS[3]) * square + _TURNS[2]) * square + _TURNS[1]
    turns = slope * (total * square + _TURNS[0])
    turns = _QUARTER - turns if down > across else turns
    return np.copysign(_HALF - turns if x < _ZERO else turns, y)


def sparkles(images: Tensor, draws: Draws, *, radius: float) -> Tensor:
    """Twin of `bar_circles.sparkles`."""
    result = torch.empty_like(images)
    drawn = bar_circles.star_draws(draws, bar_circles.STARS, images.shape[2], images.shape[3], radius)
    _add_stars(images.numpy(), *(part.numpy() for part in drawn), result.numpy())
    return result


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _add_stars(images: Any, centres: Any, rays: Any, lengths: Any, result: Any) -> None:
    count, _, _, width = images.shape
    stars = centres.shape[1]
    dark, light = np.empty(width, np.float32), np.empty((2, width), np.float32)
    for number in range(count):
        longest = np.maximum(lengths[number], _ONE)
        for y in range(images.shape[2]):
            dark[:] = _ONE
            for star in range(stars):
                _star(centres[number, star], rays[number, star], longest[star], y, light)
                for x in range(width):
                    dark[x] *= _ONE - min(light[0, x] * light[1, x], _ONE)
            _whiten(images[number], dark, y, result[number])


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _star(centre: Any, rays: Any, lengths: Any, y: int, light: Any) -> None:
    """Write the two factors of a star's light on a row of pixels into light, float32 (2, W)."""
    down, number = np.float32(y) - centre[0], np.float32(rays)
    around, near = light[0], light[1]
    for x in range(len(around)):
        around[x] = (_turns_of(np.float32(x) - centre[1], down) + _HALF) * number
    for x in range(len(around)):
        ray = np.floor(around[x])
        share, place = around[x] - ray, np.uint32(ray)
        length = lengths[place] + share * (lengths[place + np.uint32(1)] - lengths[place])
        across, middle = np.float32(x) - centre[1], share - _HALF
        around[x] = _ONE - middle * middle
        near[x] = length * length / (down * down + across * across + _NEAR)


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _whiten(image: Any, kept: Any, y: int, result: Any) -> None:
    for channel in range(len(image)):
        row, target = image[channel, y], result[channel, y]
        for x in range(len(row)):
            target[x] = np.uint8(min(max(_WHITE - (_WHITE - np.float32(row[x])) * kept[x], _ZERO), _WHITE))


def inverse_sparkles(images: Tensor, draws: Draws, *, hardness: float) -> Tensor:
    """Twin of `bar_circles.inverse_sparkles`."""
    result = torch.empty_like(images)
    height, width = images.shape[-2:]
    centres, rays, lengths = bar_circles.star_draws(draws, 1, height, width, bar_circles.INVERSE_RADIUS)
    middle = bar_circles.middle_half(centres[:, 0], height, width).numpy()
    _keep_star(images.numpy(), middle, rays.numpy(), lengths.numpy(), np.float32(hardness), result.numpy())
    return result


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _keep_star(images: Any, centres: Any, rays: Any, lengths: Any, hardness: Any, result: Any) -> None:
    count, _, _, width = images.shape
    kept, light = np.empty(width, np.float32), np.empty((2, width), np.float32)
    for number in range(count):
        for y in range(images.shape[2]):
            _star(centres[number], rays[number, 0], lengths[number, 0], y, light)
            for x in range(width):
                kept[x] = min(light[0, x] * _power(max(light[1, x], _SMALL), hardness), _ONE)
            _whiten(images[number], kept, y, result[number])


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

"""CPU twins of `digital.saturate` and `weather.brightness`: to HSV and back, for a few images in one thread."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numba
import numpy as np
import torch

from robustbench_bi.corruptions.filters import UNIT_HIGH, UNIT_LOW

if TYPE_CHECKING:
    from torch import Tensor

    from robustbench_bi.corruptions.draws import Draws

# Pixels that are worked on at once, whatever the width of the images: 3 KiB, in vectors of 64 levels without a rest.
_CHUNK = 512
# In place of the value of black, by which nothing can be divided.
_TINY = 1e-300


def saturate(images: Tensor, draws: Draws, *, factor: float, offset: float) -> Tensor:
    """Twin of `digital.saturate`, byte for byte."""
    return _changed(images, float(factor), float(offset), 0.0)


def brightness(images: Tensor, draws: Draws, *, offset: float) -> Tensor:
    """Twin of `weather.brightness`, byte for byte: it takes the way by the hue for every pixel."""
    return _changed(images, 1.0, 0.0, float(offset))


def _changed(images: Tensor, factor: float, offset: float, gain: float) -> Tensor:
    result = torch.empty_like(images)
    _change(images.flatten(2).numpy(), factor, offset, gain, result.flatten(2).numpy())
    return result


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _change(images: Any, factor: float, offset: float, gain: float, result: Any) -> None:
    """Scale the saturation of images, uint8 (B, 3, N), add to it, and add the gain to the value.

    Without a branch, in the float64 steps of scikit-image: many of the middle levels are whole numbers but for the
    rounding errors, which decide what truncation makes of them. Bytes are sorted and put in place in loops of their
    own, where a vector holds more of them.
    """
    values, leaders, lows = np.empty(_CHUNK, np.uint8), np.empty(_CHUNK, np.uint8), np.empty(_CHUNK, np.uint8)
    # The channels after and before the greatest one on the colour circle; the first then becomes the middle level.
    nexts, lasts = np.empty(_CHUNK, np.uint8), np.empty(_CHUNK, np.uint8)
    for number in range(len(images)):
        for first in range(0, images.shape[2], _CHUNK):
            reds, greens, blues = images[number, :, first : first + _CHUNK]
            new_reds, new_greens, new_blues = result[number, :, first : first + _CHUNK]
            for x in range(len(reds)):
                red, green, blue = reds[x], greens[x], blues[x]
                value = max(red, green, blue)
                values[x] = value
                leaders[x] = np.uint8(4 if blue == value else 2 if green == value else 0)
                nexts[x] = red if blue == value else blue if green == value else green
                lasts[x] = green if blue == value else red if green == value else blue
            for x in range(len(reds)):
                value, following, preceding = _unit(values[x]), _unit(nexts[x]), _unit(lasts[x])
                ahead, spread = following - preceding, value - min(following, preceding)
                # The hue, in halves of the circle and then in sixths; doubling it changes no rounding.
                halves = _third(ahead / spread + np.float64(leaders[x]))
                sixths = (halves + 2 if halves < 0 else halves) * 3
                fraction = sixths - np.floor(sixths)
                share = fraction if ahead < 0 else 1 - fraction
                saturation = min(max(spread / max(value, _TINY) * factor + offset, 0.0), 1.0)
                value = min(value + gain, 1.0)
                values[x] = np.uint8(value * 255)
                nexts[x] = np.uint8((1 - share * saturation) * value * 255)
                lows[x] = np.uint8((1 - saturation) * value * 255)
            for x in range(len(reds)):
                red, green, blue, high, middle, low = reds[x], greens[x], blues[x], values[x], nexts[x], lows[x]
                value, least = max(red, green, blue), min(red, green, blue)
                # Of grey, red leads.
                new_reds[x] = high if red == value else low if red == least else middle
                new_greens[x] = low if green == least else high if green == value else middle
                new_blues[x] = low if blue == least else high if blue == value else middle


@numba.njit(nogil=True, cache=True)
def _unit(level: Any) -> Any:
    """A grey level divided by 255."""
    return level * UNIT_HIGH + level * UNIT_LOW


@numba.njit(nogil=True, cache=True)
def _third(number: float) -> float:
    """A number divided by three, correctly rounded: the remainder of a first guess is exact. Divisions are slow."""
    guess = number * (1 / 3)
    return guess + (number - (guess + guess) - guess) * (1 / 3)

"""CPU twins of the blurs in `blur`: the same names and arguments, for a few images in one thread."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numba
import numpy as np
import torch

from robustbench_bi.corruptions import blur, filters
from robustbench_bi.corruptions import filters_numba_kernels as filter_kernels

if TYPE_CHECKING:
    from torch import Tensor

    from robustbench_bi.corruptions.draws import Draws

_TOGETHER = 32
"""Planes that `_zoom_together` takes: two vectors of 64 bytes, which repay the few steps around each pixel."""


def defocus_blur(images: Tensor, draws: Draws, *, radius: float, alias_blur: float) -> Tensor:
    """Twin of `blur.defocus_blur`."""
    planes = images.flatten(0, 1).numpy()
    blurred = filter_kernels.correlate_levels(planes, filters.disk_kernel(radius, alias_blur))
    return torch.from_numpy(blurred).view(images.shape)


def gaussian_blur(images: Tensor, draws: Draws, *, sigma: float) -> Tensor:
    """Twin of `blur.gaussian_blur`."""
    return torch.from_numpy(filter_kernels.gaussian_levels(images.flatten(0, 1).numpy(), sigma)).view(images.shape)


def glass_blur(images: Tensor, draws: Draws, *, sigma: float, max_delta: int, iterations: int) -> Tensor:
    """Twin of `blur.glass_blur`: one core copies the pixels one after the other, as published."""
    height, width = images.shape[2:]
    blurred = filter_kernels.gaussian_levels(images.flatten(0, 1).numpy(), sigma).reshape(images.shape)
    pixels = np.empty((len(images), height, width), np.uint32)
    _pack(blurred, pixels)
    for _ in range(iterations):
        words = draws.integer_words((2 * max_delta) ** 2, height - 2 * max_delta, width - 2 * max_delta)
        _copy_in_place(pixels, words, max_delta)
    _unpack(pixels, blurred)
    return torch.from_numpy(filter_kernels.gaussian_levels(blurred.reshape(-1, height, width), sigma)).view(
        images.shape
    )


@numba.njit(nogil=True, cache=True)
def _pack(planes: Any, pixels: Any) -> None:
    """Three bytes of a pixel into one word, so that a copy moves them together."""
    for number in range(len(pixels)):
        red, green, blue = planes[number, 0].ravel(), planes[number, 1].ravel(), planes[number, 2].ravel()
        packed = pixels[number].ravel()
        for place in range(packed.size):
            packed[place] = np.uint32(red[place]) | np.uint32(green[place]) << 8 | np.uint32(blue[place]) << 16


@numba.njit(nogil=True, cache=True)
def _unpack(pixels: Any, planes: Any) -> None:
    for number in range(len(pixels)):
        red, green, blue = planes[number, 0].ravel(), planes[number, 1].ravel(), planes[number, 2].ravel()
        packed = pixels[number].ravel()
        for place in range(packed.size):
            red[place], green[place], blue[place] = packed[place], packed[place] >> 8, packed[place] >> 16


@numba.njit(nogil=True, cache=True)
def _copy_in_place(pixels: Any, words: Any, max_delta: int) -> None:
    """Copy pixels one after the other; a word, scaled to how many neighbours there are, chooses one."""
    count, height, width = pixels.shape
    across, moves = width - 2 * max_delta, np.uint64(4 * max_delta * max_delta)
    steps = np.empty(4 * max_delta * max_delta, np.int64)
    for move in range(len(steps)):
        steps[move] = (move // (2 * max_delta) - max_delta) * width + move % (2 * max_delta) - max_delta
    for number in range(count):
        image = pixels[number].ravel()
        for y in range(height - max_delta, max_delta, -1):
            row, start = words[number, (y - max_delta - 1) * across :], y * width + max_delta + 1
            for x in range(across - 1, -1, -1):
                image[start + x] = image[start + x + steps[np.uint64(row[x]) * moves >> np.uint64(32)]]


def motion_blur(images: Tensor, draws: Draws, *, radius: int, sigma: float) -> Tensor:
    """Twin of `blur.motion_blur`, byte for byte."""
    degrees = draws.uniform(low=-45.0, high=45.0)
    blurred = filter_kernels.directional_blur(images.numpy(), degrees, radius=radius, sigma=sigma, rounded=False)
    return torch.from_numpy(blurred)


def zoom_blur(images: Tensor, draws: Draws, *, zoom_stop: float, zoom_step: float) -> Tensor:
    """Twin of `blur.zoom_blur`: each layer is interpolated in float32, first down the columns, then along the rows."""
    # An unsigned number as an index spares numba the question whether it counts from the end.
    (tops, down), (lefts, across) = (
        (places.numpy().astype(np.uint64), shares.numpy())
        for places, shares in blur.zoom_layers(images.shape[2], images.shape[3], zoom_stop, zoom_step)
    )
    planes = images.flatten(0, 1).numpy()
    result = np.empty_like(planes)
    together = len(planes) // _TOGETHER * _TOGETHER
    _zoom_together(planes[:together], tops, down, lefts, across, result[:together])
    _zoom(planes[together:], tops, down, lefts, across, result[together:])
    return torch.from_numpy(result).view(images.shape)


@numba.njit(nogil=True, cache=True)
def _zoom(planes: Any, tops: Any, down: Any, lefts: Any, across: Any, result: Any) -> None:
    count, height, width = planes.shape
    unit = np.empty((height, width), np.float32)
    row = np.empty(width, np.float32)
    sums = np.empty(width, np.float32)
    layers, one = np.float32(len(tops) + 1), np.uint64(1)
    for number in range(count):
        for y in range(height):
            for x in range(width):
                unit[y, x] = np.float32(planes[number, y, x]) / np.float32(255)
        for y in range(height):
            sums[:] = 0
            for layer in range(len(tops)):
                upper, lower, share = unit[tops[layer, y]], unit[tops[layer, y] + one], down[layer, y]
                for x in range(width):
                    row[x] = upper[x] + share * (lower[x] - upper[x])
                places, shares = lefts[layer], across[layer]
                for x in range(width):
                    left = row[places[x]]
                    sums[x] += left + shares[x] * (row[places[x] + one] - left)
            target = result[number, y]
            for x in range(width):
                mean = (sums[x] + unit[y, x]) / layers
                target[x] = min(mean, np.float32(1)) * np.float32(255)


@numba.njit(nogil=True, cache=True)
def _zoom_together(planes: Any, tops: Any, down: Any, lefts: Any, across: Any, result: Any) -> None:
    """As `_zoom`, the same pixel of many planes side by side: then no read of a vector gathers from many places."""
    count, height, width = planes.shape
    unit = np.empty((height, width * _TOGETHER), np.float32)
    row, sums = np.empty(width * _TOGETHER, np.float32), np.empty(width * _TOGETHER, np.float32)
    layers, one = np.float32(len(tops) + 1), np.uint64(1)
    units = np.arange(256).astype(np.float32) / np.float32(255)
    for first in range(0, count, _TOGETHER):
        for y in range(height):
            for lane in range(_TOGETHER):
                for x in range(width):
                    unit[y, x * _TOGETHER + lane] = units[planes[first + lane, y, x]]
        for y in range(height):
            sums[:] = 0
            for layer in range(len(tops)):
                upper, lower, share = unit[tops[layer, y]], unit[tops[layer, y] + one], down[layer, y]
                for place in range(np.uint64(row.size)):
                    row[place] = upper[place] + share * (lower[place] - upper[place])
                _add_across(row, lefts[layer], across[layer], sums)
            for place in range(row.size):
                sums[place] = min((sums[place] + unit[y, place]) / layers, np.float32(1)) * np.float32(255)
            for lane in range(_TOGETHER):
                for x in range(width):
                    result[first + lane, y, x] = sums[x * _TOGETHER + lane]


@numba.njit(nogil=True, cache=True)
def _add_across(row: Any, places: Any, shares: Any, sums: Any) -> None:
    """Add a layer of `_zoom_together`, interpolated along the row."""
    lanes = np.uint64(_TOGETHER)
    for x in range(np.uint64(places.size)):
        left, target, share = places[x] * lanes, x * lanes, shares[x]
        for lane in range(lanes):
            level = row[left + lane]
            sums[target + lane] += level + share * (row[left + lanes + lane] - level)

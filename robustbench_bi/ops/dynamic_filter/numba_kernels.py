"""The dynamic filter on the CPU: arguments and results of the compiled loops in `loops_numba_kernels`.

The loops take float32, and bfloat16 as int16, for NumPy has no such type. Where the channels of all tensors come last,
in groups of whole vectors, they work on the tensors as they are. Else the loops turn one image at a time, and beyond
the results there is one copy of an image for each thread; float16, and tensors of both layouts, are copied as a whole.

The work is cut into units of some images, or of some rows of one, which the threads take in turn. The cuts are the same
for any number of threads, so that their number changes no bit of a result.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from robustbench_bi.ops.dynamic_filter.layer_numba_kernels import MATRICES, LayerWeights, Numbers, Places
from robustbench_bi.ops.dynamic_filter.layer_numba_kernels import layer as layer_loops
from robustbench_bi.ops.dynamic_filter.loops_numba_kernels import (
    Taps,
    backward_planes,
    correlate,
    gather,
    gather_planes,
)
from robustbench_bi.ops.dynamic_filter.pointwise_numba_kernels import SMALL as SMALL
from robustbench_bi.ops.dynamic_filter.pointwise_numba_kernels import convolve as convolve_loops
from robustbench_bi.ops.dynamic_filter.pointwise_numba_kernels import in_stripes
from robustbench_bi.ops.dynamic_filter.vectors_numba_kernels import WIDTH
from robustbench_bi.ops.neighbourhoods import reflected
from robustbench_bi.ops.share_out import share_out

_UNIT = 2**17
"""How many numbers of images, filters and outputs a thread takes on at once, about."""

Geometry = tuple[int, int, int, str]
"""Kernel size, stride, dilation, and what lies outside the image."""
Layout = tuple[int, int, int]
"""Groups, the channels of each, and these filled up to whole vectors."""
Unit = tuple[int, int, int, int]
"""The first and the end of some images, and of some rows in them."""


class LayerGeometry(NamedTuple):
    """How a layer with a dynamic filter lies on an image.

    Attributes:
        kernel_size, stride, groups, combine: of the dynamic filter.
        base: kernel size, stride and dilation of the depthwise convolution in front of its generator; 1 and the stride
            of the generator where there is none.
        static: kernel size and groups of the static branch.
    """

    kernel_size: int
    stride: int
    groups: int
    combine: str
    base: tuple[int, int, int]
    static: tuple[int, int]


def forward(
    x: Tensor,
    spatial: Tensor,
    channel: Tensor | None,
    kernel_size: int,
    stride: int,
    dilation: int,
    combine: str,
    padding: str = "zeros",
) -> Tensor:
    """Twin of `reference.forward` for float32 and narrower types, and at least one pixel."""
    layout = _layout(x, spatial, kernel_size)
    last = _are_last(layout, x, spatial)
    output = _like(x, last, (*x.shape[:2], *spatial.shape[2:]))
    taps = _axes(output.shape[2:], x.shape[2:], (kernel_size, stride, dilation, padding), layout, False)
    filters = _array(spatial, last), _factors(channel, layout), _product(combine)
    given, size = (_array(x, last), *filters, _array(output, last)), (None,) * kernel_size
    if last:
        call = functools.partial(gather, *given, *taps, layout[0], spatial.shape[1], size)
    else:
        call = functools.partial(gather_planes, *given, *taps, layout, size)
    share_out([functools.partial(call, unit) for unit in _units(*_work(x, spatial), output.shape[2] if last else 1)])
    return output.to(x.dtype)


def layer(
    x: Tensor,
    base: Tensor,
    context: Tensor,
    channel: Tensor | None,
    shortcut: Tensor | None,
    weights: LayerWeights,
    geometry: LayerGeometry,
) -> Tensor:
    """A layer with a dynamic filter and what surrounds it in a network, for inference; all tensors are float32.

    The spatial filters are made from `base` by the depthwise convolution and the matrices of `weights`, with `context`
    added last, then FilterNorm where a gain is given; the channel filter is FilterNorm of `channel`. With y what
    `dynamic_filter` makes of them, and s what the static branch makes of x, z = max(least, scale · y + shift + s). The
    result is z, or where there is a last matrix, max(0, z · last + last_shift + shortcut).

    Args:
        x: (B, C, H, W) with the channels last; C/G is a multiple of 16.
        base: (B, C', H', W'), the channels last; H' and W' are as the strides of `geometry` say.
        context: (B, N) or (1, N), where N is G·K·K filled up to a multiple of 16.
        channel: (B, K·K·C), the channels of a tap one after another; None if there is no channel filter.
        shortcut: (B, C", Ho, Wo), the channels last; None where there is no last matrix.
        weights: what is the same for all images.
        geometry: of the layer.

    Returns:
        (B, C, Ho, Wo) or (B, C", Ho, Wo), the channels last.
    """
    sides = (-(-x.shape[2] // geometry.stride), -(-x.shape[3] // geometry.stride))
    channels = len(weights.last_shift) or x.shape[1]
    output = _like(x, True, (len(x), channels, *sides))
    given = (
        _flat(x),
        _flat(base),
        context.numpy(),
        None if channel is None else channel.numpy(),
        _product(geometry.combine),
        np.empty((len(x), 0), np.float32) if shortcut is None else _flat(shortcut),
        _flat(output),
        weights,
        _places(geometry, sides, tuple(x.shape[1:]), tuple(base.shape[1:])),
    )
    numbers = x.shape[1:].numel() + output.shape[1:].numel() + sides[0] * sides[1] * context.shape[1]
    units = _units_to_share(len(x), numbers, sides[0])

    def work(unit: Unit) -> None:
        layer_loops(*given, unit, None if channel is None else torch.empty(1, channel.shape[1]).numpy())

    share_out([functools.partial(work, unit) for unit in units])
    return output


@functools.lru_cache(maxsize=128)
def _places(geometry: LayerGeometry, sides: tuple[int, ...], image: tuple[int, ...], base: tuple[int, ...]) -> Places:
    """Where a layer's positions meet an image and what its filters are made from, both (C, H, W)."""
    layout = geometry.groups, image[0] // geometry.groups, image[0] // geometry.groups
    taps = _axes(sides, image[1:], (geometry.kernel_size, geometry.stride, 1, "zeros"), layout, False)
    depth = 1, base[0], base[0]
    base_taps = _axes(sides, base[1:], (*geometry.base, "zeros"), depth, False)
    sizes = (None,) * geometry.kernel_size, (None,) * geometry.base[0]
    static = image[1], image[2], geometry.stride, *geometry.static
    here = np.zeros(1, np.int64)
    return Places(*taps, sizes[0], *base_taps, sizes[1], geometry.groups, static, here)


def convolve(
    x: Tensor, matrix: Numbers, shift: Numbers, rectified: bool, averaged: bool
) -> tuple[Tensor, Tensor | None]:
    """A 1×1 convolution, perhaps with a ReLU, for inference.

    Args:
        x: float32 (B, C, H, W), the channels last.
        matrix: (C·K,), as `in_stripes` makes it; K is a multiple of 16.
        shift: (K,), what is added.
        rectified: whether what is below zero becomes zero.
        averaged: whether the mean over the pixels is wanted.

    Returns:
        (B, K, H, W), the channels last; and its mean (B, K), or None.
    """
    batch, _, height, width = x.shape
    target = _like(x, True, (batch, len(shift), height, width))
    numbers = x.shape[1:].numel() + target.shape[1:].numel()
    units = _units_to_share(batch, numbers, height)
    tops = sorted({top for _, _, top, _ in units})
    # Each band of rows has sums of its own, whichever thread makes them.
    sums = torch.zeros(len(tops), batch, len(shift) if averaged else 0)
    least = np.float32(0 if rectified else -np.inf)
    given = _flat(x), matrix, shift, least, width, _flat(target)
    share_out([functools.partial(convolve_loops, *given, sums[tops.index(unit[2])].numpy(), unit) for unit in units])
    return target, sums.sum(0).div_(height * width) if averaged else None


def layer_weights(**values: Any) -> LayerWeights:
    """`LayerWeights` of tensors and numbers, and of nothing for what is not given.

    A matrix is (depth, width), those of groups (groups, depth, width), whatever else there is of any shape.

    Example:
        >>> layer_weights(scale=torch.ones(2), least=0).scale
        array([1., 1.], dtype=float32)
    """
    made: dict[str, Any] = dict.fromkeys(LayerWeights._fields, np.empty(0, np.float32)) | {
        "gain": np.float32(0),
        "least": np.float32(0),
    }
    for name, value in values.items():
        if isinstance(value, Tensor):
            made[name] = matrix_weights(value) if name in MATRICES else _aligned(value)
        else:
            made[name] = np.float32(value)
    return LayerWeights(**made)


def matrix_weights(matrix: Tensor) -> Numbers:
    """A matrix (depth, width), or several one after another, as `pointwise` reads them.

    Example:
        >>> matrix_weights(torch.ones(3, 32)).shape
        (96,)
    """
    matrices = matrix.detach().float().numpy().reshape(-1, *matrix.shape[-2:])
    return _aligned(torch.from_numpy(np.concatenate([in_stripes(matrix) for matrix in matrices])))


def _aligned(values: Tensor) -> Numbers:
    """As one axis of float32: torch begins an array where a vector may, so that none lies across two lines."""
    array: Numbers = values.detach().to(torch.float32, copy=True).flatten().contiguous().numpy()
    return array


def backward(
    gradient: Tensor,
    x: Tensor,
    spatial: Tensor,
    channel: Tensor | None,
    kernel_size: int,
    stride: int,
    dilation: int,
    combine: str,
    padding: str = "zeros",
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Twin of `reference.backward` for float32 and narrower types, and at least one pixel."""
    layout = _layout(x, spatial, kernel_size)
    last = _are_last(layout, gradient, x, spatial)
    to_x, to_spatial = _like(x, last, x.shape), _like(spatial, last, spatial.shape)
    geometry, sides = (kernel_size, stride, dilation, padding), (x.shape[2:], gradient.shape[2:])
    to_pixels, to_positions = _axes(*sides, geometry, layout, True), _axes(*sides[::-1], geometry, layout, False)
    errors, pixels, weights = (_array(tensor, last) for tensor in (gradient, x, spatial))
    filters = weights, _factors(channel, layout), _product(combine)
    results = _array(to_x, last), _array(to_spatial, last)
    units = _units(*_work(x, spatial), gradient.shape[2] if last else 1)
    # Each band of rows has a sum of its own, and these are added in their order, whichever thread made them.
    bands = sorted({top for _, _, top, _ in units})
    sums = np.zeros((len(bands), len(x), 0 if channel is None else kernel_size**2 * layout[0] * layout[2]), np.float32)
    if last:
        call = functools.partial(gather, errors, *filters, results[0], *to_pixels, layout[0], 0, ())
        calls = [functools.partial(call, unit) for unit in _units(*_work(x, spatial), x.shape[2])]
        call = functools.partial(correlate, errors, pixels, *filters, results[1])
        own = [sums[bands.index(top)] for _, _, top, _ in units]
        calls += [
            functools.partial(call, band, *to_positions, layout[0], u) for band, u in zip(own, units, strict=True)
        ]
    else:
        given = errors, pixels, *filters, *results, sums[0], to_pixels, to_positions, layout
        call = functools.partial(backward_planes, *given)
        calls = [functools.partial(call, unit) for unit in units]
    share_out(calls)
    to_channel = None if channel is None else _channel_gradient(channel, sums, layout)
    return to_x.to(x.dtype), to_spatial.to(x.dtype), to_channel


def _layout(x: Tensor, spatial: Tensor, kernel_size: int) -> Layout:
    groups = spatial.shape[1] // kernel_size**2
    count = x.shape[1] // groups
    return groups, count, -(-count // WIDTH) * WIDTH


def _product(combine: str) -> bool | None:
    """As the loops are told: by its type, so that there is nothing to ask in them."""
    return True if combine == "mul" else None


def _are_last(layout: Layout, *tensors: Tensor) -> bool:
    """Whether `gather` and `correlate` can work on tensors as they are."""
    return layout[1] == layout[2] and all(
        tensor.dtype in (torch.float32, torch.bfloat16) and tensor.is_contiguous(memory_format=torch.channels_last)
        for tensor in tensors
    )


def _like(tensor: Tensor, last: bool, shape: tuple[int, ...]) -> Tensor:
    """An unfilled tensor that a kernel can write."""
    dtype = torch.bfloat16 if tensor.dtype == torch.bfloat16 else torch.float32
    return torch.empty(shape, dtype=dtype, memory_format=torch.channels_last if last else torch.contiguous_format)


def _array(tensor: Tensor, last: bool) -> NDArray[Any]:
    """(B, C, H, W) as a kernel takes it, (B, H·W·C) or (B, C·H·W); the same memory where that is possible."""
    tensor = tensor.detach()
    if tensor.dtype not in (torch.float32, torch.bfloat16):
        tensor = tensor.float()
    ordered = tensor.permute(0, 2, 3, 1) if last else tensor.contiguous()
    bits = ordered.view(torch.int16) if tensor.dtype == torch.bfloat16 else ordered
    return bits.numpy().reshape(len(tensor), tensor.shape[1:].numel())


def _flat(tensor: Tensor) -> NDArray[np.float32]:
    """The same for float32 with the channels last, in inference: most of a small layer's time would go there."""
    return tensor.permute(0, 2, 3, 1).numpy().reshape(len(tensor), -1)


def _factors(channel: Tensor | None, layout: Layout) -> NDArray[np.float32] | None:
    """A channel filter as float32 (B, K·K·C), the channels last and each group filled up."""
    if channel is None:
        return None
    groups, count, lanes = layout
    batch, taps = len(channel), channel.shape[2:].numel()
    # Torch begins an array where a vector may, so that none lies across two lines of the cache.
    factors = torch.zeros(batch, taps, groups, lanes).numpy()
    factors[..., :count] = _array(channel.float(), False).reshape(batch, groups, count, taps).transpose(0, 3, 1, 2)
    return factors.reshape(batch, taps * groups * lanes)


def _channel_gradient(channel: Tensor, sums: NDArray[np.float32], layout: Layout) -> Tensor:
    """The reverse, for the sums of some bands of rows."""
    groups, count, lanes = layout
    by_tap = sums.sum(0).reshape(len(channel), channel.shape[2:].numel(), groups, lanes)[..., :count]
    by_channel = np.ascontiguousarray(by_tap.transpose(0, 2, 3, 1))
    return torch.from_numpy(by_channel).view(channel.shape).to(channel.dtype)


def _work(x: Tensor, spatial: Tensor) -> tuple[int, int]:
    """How many images there are, and how many numbers of an image a kernel reads and writes, about."""
    return len(x), (2 * x.numel() + spatial.numel()) // len(x)


def _units(batch: int, image: int, height: int) -> list[Unit]:
    """What a thread takes on at once: some images, of so many numbers each, or some of the `height` rows of one."""
    if image <= _UNIT:
        count = _UNIT // image
        return [(start, min(start + count, batch), 0, height) for start in range(0, batch, count)]
    step = max(1, height * _UNIT // image)
    tops = range(0, height, step)
    return [(image, image + 1, top, min(top + step, height)) for image in range(batch) for top in tops]


def _units_to_share(batch: int, image: int, height: int) -> list[Unit]:
    """The same; one unit for a single thread, which has nobody to share with, as each call costs some microseconds."""
    return [(0, batch, 0, height)] if torch.get_num_threads() == 1 else _units(batch, image, height)


@functools.lru_cache(maxsize=128)
def _axes(
    targets: tuple[int, ...],
    sources: tuple[int, ...],
    geometry: Geometry,
    layout: Layout,
    transposed: bool,
) -> tuple[Taps, Taps]:
    """Where the taps of the target's rows and of its columns meet the source; sizes are height and width.

    The filter is that of the target's own position or, transposed, of the one that a tap comes from.
    """
    (groups, _, lanes), kernel_size = layout, geometry[0]
    pixel = groups * lanes
    column = pixel, groups * kernel_size**2 * transposed, 1, pixel
    row = sources[1] * column[0], sources[1] * column[1], kernel_size, kernel_size * pixel
    return (
        _taps(targets[0], sources[0], geometry, transposed, row),
        _taps(targets[1], sources[1], geometry, transposed, column),
    )


def _taps(targets: int, sources: int, geometry: Geometry, transposed: bool, steps: tuple[int, int, int, int]) -> Taps:
    """Where the taps of rows (or columns) meet.

    The steps are how far the next row of the source lies in the source and in the spatial filter, and the next tap in
    the spatial and in the channel filter.
    """
    kernel_size, stride, dilation, padding = geometry
    source_step, position_step, tap_step, factor_step = steps
    positions, taps = np.indices((sources if transposed else targets, kernel_size)).reshape(2, -1)
    met = stride * positions + (taps - kernel_size // 2) * dilation
    pixels = targets if transposed else sources
    if padding == "reflect":
        met = reflected(met, pixels)
    inside = (met >= 0) & (met < pixels)
    positions, taps, met = positions[inside], taps[inside], met[inside]
    target, source = (met, positions) if transposed else (positions, met)
    counts = np.bincount(target, minlength=targets)
    # A pixel that is mirrored may be met more than once by one tap.
    order = np.lexsort((taps, target))
    places = np.arange(len(order)) - np.repeat(np.cumsum(counts) - counts, counts)
    offsets = np.zeros((targets, max(kernel_size, counts.max(initial=0)), 3), np.int64)
    led = np.stack([source * source_step, source * position_step + taps * tap_step, taps * factor_step], axis=1)
    offsets[target[order], places] = led[order]
    side_by_side = stride == dilation == 1 and kernel_size > 1 and not transposed
    border = kernel_size // 2
    return Taps(offsets, counts, kernel_size, (border, targets - border) if side_by_side else (0, 0))

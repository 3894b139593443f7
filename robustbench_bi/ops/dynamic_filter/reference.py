"""The definition of the operator, in plain torch: every kernel is held to `forward` and `backward`.

Both loop over the K·K taps and add up shifted slices, so the largest thing in memory is one tap of the output's size;
`torch.nn.functional.unfold` would hold all K·K of them at once. A tap visits only the positions where it meets the
image: there is no padded copy, and on small maps most of a large filter costs nothing. Inside, channels come last:
the channels of a group share one filter value, and there they are neighbours in memory.
"""

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn import functional as F

Index = tuple[slice, slice, slice]
"""Which images, rows and columns."""


def forward(
    x: Tensor, spatial: Tensor, channel: Tensor | None, kernel_size: int, stride: int, dilation: int, combine: str
) -> Tensor:
    """Filter `x`. The arguments are those of `dynamic_filter`, checked and of one floating dtype.

    Sums are made in float32 where that dtype is narrower, and rounded once.

    Returns:
        (B, C, Ho, Wo), of the arguments' dtype and of the memory format of `x`.
    """
    by_position, by_channel = _by_tap(spatial, channel, kernel_size)
    groups = by_position.shape[-2]
    pixels = _grouped(x, groups)
    output = pixels.new_zeros(*by_position.shape[1:-1], pixels.shape[-1])
    for tap, positions, met in _taps(pixels.shape, output.shape, kernel_size, stride, dilation):
        weight = by_position[tap][positions]
        if by_channel is not None:
            weight = weight * by_channel[tap] if combine == "mul" else weight + by_channel[tap]
        output[positions].addcmul_(pixels[met], weight)
    return _like(output, x)


def backward(
    gradient: Tensor,
    x: Tensor,
    spatial: Tensor,
    channel: Tensor | None,
    kernel_size: int,
    stride: int,
    dilation: int,
    combine: str,
) -> tuple[Tensor, Tensor, Tensor | None]:
    """The gradients of `forward` for `x`, `spatial` and `channel`, given the gradient (B, C, Ho, Wo) of its output."""
    by_position, by_channel = _by_tap(spatial, channel, kernel_size)
    groups = by_position.shape[-2]
    pixels, errors = _grouped(x, groups), _grouped(gradient, groups)
    to_pixels = torch.zeros_like(pixels)
    to_position = torch.zeros_like(by_position)
    to_channel = None if by_channel is None else torch.zeros_like(by_channel)
    for tap, positions, met in _taps(pixels.shape, errors.shape, kernel_size, stride, dilation):
        weight = by_position[tap][positions]
        product = errors[positions] * pixels[met]
        if by_channel is None or to_channel is None:
            to_position[tap][positions] = product.sum(-1, keepdim=True)
        elif combine == "mul":
            to_channel[tap] = (product * weight).sum((1, 2), keepdim=True)
            to_position[tap][positions] = product.mul_(by_channel[tap]).sum(-1, keepdim=True)
            weight = weight * by_channel[tap]
        else:
            to_channel[tap] = product.sum((1, 2), keepdim=True)
            to_position[tap][positions] = product.sum(-1, keepdim=True)
            weight = weight + by_channel[tap]
        to_pixels[met].addcmul_(errors[positions], weight)
    channel_gradient = None
    if channel is not None and to_channel is not None:
        channel_gradient = to_channel.flatten(2).permute(1, 2, 0).reshape(channel.shape).to(x.dtype)
    spatial_gradient = to_position.squeeze(-1).permute(1, 4, 0, 2, 3).reshape(spatial.shape)
    return _like(to_pixels, x), spatial_gradient.to(x.dtype), channel_gradient


def unrolled(
    x: Tensor, spatial: Tensor, channel: Tensor | None, kernel_size: int, stride: int, dilation: int, combine: str
) -> Tensor:
    """`forward` in a few operations that every runtime has, for graphs that are exported. It holds all K·K taps."""
    (batch, channels), taps = x.shape[:2], kernel_size**2
    groups, (height, width) = spatial.shape[1] // taps, spatial.shape[2:]
    image = _summable(x).reshape(-1, 1, *x.shape[2:])
    # Tap t of the output is the image moved by t: a convolution of one channel with filters that are 1 at one place.
    moves = torch.eye(taps, dtype=image.dtype, device=x.device).reshape(taps, 1, kernel_size, kernel_size)
    pixels = F.conv2d(image, moves, None, stride, dilation * (kernel_size // 2), dilation)
    weight = _summable(spatial).reshape(batch, groups, 1, taps, height, width)
    if channel is not None:
        by_channel = _summable(channel).reshape(batch, groups, -1, taps, 1, 1)
        weight = weight * by_channel if combine == "mul" else weight + by_channel
    products = pixels.reshape(batch, groups, -1, taps, height, width) * weight
    return products.sum(3).reshape(batch, channels, height, width).to(x.dtype)


def memory_format(x: Tensor) -> torch.memory_format:
    """The memory format of what is made of `x`: channels last where `x` is so, else contiguous."""
    last = x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous()
    return torch.channels_last if last else torch.contiguous_format


def _summable(tensor: Tensor) -> Tensor:
    """The tensor in float32, if it is narrower."""
    return tensor.float() if tensor.dtype in (torch.float16, torch.bfloat16) else tensor


def _by_tap(spatial: Tensor, channel: Tensor | None, kernel_size: int) -> tuple[Tensor, Tensor | None]:
    """Both filters with the taps first: (K·K, B, Ho, Wo, G, 1) and (K·K, B, 1, 1, G, C/G)."""
    batch, filters, height, width = spatial.shape
    taps = kernel_size**2
    groups = filters // taps
    by_position = _summable(spatial).reshape(batch, groups, taps, height, width).permute(2, 0, 3, 4, 1)
    by_position = by_position.contiguous().unsqueeze(-1)
    if channel is None:
        return by_position, None
    by_channel = _summable(channel).reshape(batch, groups, channel.shape[1] // groups, taps).permute(3, 0, 1, 2)
    return by_position, by_channel[:, :, None, None].contiguous()


def _grouped(x: Tensor, groups: int) -> Tensor:
    """(B, C, H, W) as (B, H, W, G, C/G)."""
    batch, channels, height, width = x.shape
    return _summable(x).permute(0, 2, 3, 1).contiguous().view(batch, height, width, groups, channels // groups)


def _like(grouped: Tensor, x: Tensor) -> Tensor:
    """(B, H, W, G, C/G) as (B, C, H, W), of the dtype and memory format of `x`."""
    return grouped.flatten(3).permute(0, 3, 1, 2).to(x.dtype).contiguous(memory_format=memory_format(x))


def _taps(
    image: torch.Size, output: torch.Size, kernel_size: int, stride: int, dilation: int
) -> Iterator[tuple[int, Index, Index]]:
    """For each tap that meets the image: its number, the positions where it does, and the pixels it meets there."""
    offsets = range(-(kernel_size // 2) * dilation, (kernel_size // 2) * dilation + 1, dilation)
    rows = [_overlap(image[1], output[1], offset, stride) for offset in offsets]
    columns = [_overlap(image[2], output[2], offset, stride) for offset in offsets]
    everything = slice(None)
    for tap in range(kernel_size**2):
        row, column = rows[tap // kernel_size], columns[tap % kernel_size]
        if row is not None and column is not None:
            yield tap, (everything, row[0], column[0]), (everything, row[1], column[1])


def _overlap(pixels: int, positions: int, offset: int, stride: int) -> tuple[slice, slice] | None:
    """Along one axis: the positions i for which the pixel stride·i + offset exists, and those pixels."""
    first = max(0, -(offset // stride))
    end = min(positions, (pixels - 1 - offset) // stride + 1)
    if first >= end:
        return None
    start = stride * first + offset
    return slice(first, end), slice(start, start + stride * (end - first - 1) + 1, stride)

"""The definition of the operator, in plain torch: every kernel is held to `forward` and `backward`.

Both loop over the K·K taps and add up shifted slices, so the largest thing in memory is one tap of the output's size;
`torch.nn.functional.unfold` would hold all K·K of them at once. A tap visits only the positions where it meets the
image: there is no padded copy, and on small maps most of a large filter costs nothing. Inside, channels come last:
the channels of a group share one filter value, and there they are neighbours in memory.
"""

import torch
from torch import Tensor

from robustbench_bi.ops.neighbourhoods import (
    border_of,
    grouped,
    like,
    overlaps,
    shifted,
    summable,
    taps_first,
    taps_last,
    with_border,
    without_border,
)


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
    """Filter `x`. The arguments are those of `dynamic_filter`, checked and of one floating dtype.

    Sums are made in float32 where that dtype is narrower, and rounded once.

    Returns:
        (B, C, Ho, Wo), of the arguments' dtype and of the memory format of `x`.
    """
    by_position, by_channel = _by_tap(spatial, channel, kernel_size)
    groups = by_position.shape[-2]
    border = border_of(kernel_size, dilation, padding)
    pixels = with_border(grouped(x, groups), border, (1, 2))
    output = pixels.new_zeros(*by_position.shape[1:-1], pixels.shape[-1])
    for tap, positions, met in overlaps(pixels.shape, output.shape, kernel_size, stride, dilation, border):
        weight = by_position[tap][positions]
        if by_channel is not None:
            weight = weight * by_channel[tap] if combine == "mul" else weight + by_channel[tap]
        output[positions].addcmul_(pixels[met], weight)
    return like(output, x)


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
    """The gradients of `forward` for `x`, `spatial` and `channel`, given the gradient (B, C, Ho, Wo) of its output."""
    by_position, by_channel = _by_tap(spatial, channel, kernel_size)
    groups = by_position.shape[-2]
    border = border_of(kernel_size, dilation, padding)
    pixels, errors = with_border(grouped(x, groups), border, (1, 2)), grouped(gradient, groups)
    to_pixels = torch.zeros_like(pixels)
    to_position = torch.zeros_like(by_position)
    to_channel = None if by_channel is None else torch.zeros_like(by_channel)
    for tap, positions, met in overlaps(pixels.shape, errors.shape, kernel_size, stride, dilation, border):
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
    to_x = like(without_border(to_pixels, border, (1, 2)), x)
    return to_x, taps_last(to_position, spatial), channel_gradient


def unrolled(
    x: Tensor,
    spatial: Tensor,
    channel: Tensor | None,
    kernel_size: int,
    stride: int,
    dilation: int,
    combine: str,
    padding: str = "zeros",
) -> Tensor:
    """`forward` in a few operations that every runtime has, for graphs that are exported. It holds all K·K taps."""
    (batch, channels), taps = x.shape[:2], kernel_size**2
    groups, (height, width) = spatial.shape[1] // taps, spatial.shape[2:]
    image = summable(x).reshape(-1, 1, *x.shape[2:])
    pixels = shifted(image, kernel_size, stride, dilation, padding)
    weight = summable(spatial).reshape(batch, groups, 1, taps, height, width)
    if channel is not None:
        by_channel = summable(channel).reshape(batch, groups, -1, taps, 1, 1)
        weight = weight * by_channel if combine == "mul" else weight + by_channel
    products = pixels.reshape(batch, groups, -1, taps, height, width) * weight
    return products.sum(3).reshape(batch, channels, height, width).to(x.dtype)


def _by_tap(spatial: Tensor, channel: Tensor | None, kernel_size: int) -> tuple[Tensor, Tensor | None]:
    """Both filters with the taps first: (K·K, B, Ho, Wo, G, 1) and (K·K, B, 1, 1, G, C/G)."""
    by_position = taps_first(spatial, kernel_size)
    if channel is None:
        return by_position, None
    groups = by_position.shape[-2]
    by_channel = summable(channel).reshape(len(channel), groups, channel.shape[1] // groups, kernel_size**2)
    return by_position, by_channel.permute(3, 0, 1, 2)[:, :, None, None].contiguous()

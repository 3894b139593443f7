"""The round trip through a JPEG file, without the file.

Huffman coding loses nothing, so the pixels that come back from a file follow from colour conversion, chroma
subsampling, the discrete cosine transform and quantisation alone. Here these are computed as libjpeg-turbo, which is in
Pillow's wheels, computes them: in fixed point, so that the result equals that of a file byte for byte on every device.

Sources: ITU-T T.81, Annex K, for the quantisation tables; libjpeg-turbo's jccolor, jcsample, jfdctint, jidctint,
jdsample and jdcolor for the constants and roundings.
"""

import functools

import torch
from torch import Tensor

from robustbench_bi.ground.checks import check_integer, plain_integer

# T.81, tables K.1 (luminance) and K.2 (chrominance), rows are vertical frequencies.
_STEPS = torch.tensor(
    [
        [
            [16, 11, 10, 16, 24, 40, 51, 61],
            [12, 12, 14, 19, 26, 58, 60, 55],
            [14, 13, 16, 24, 40, 57, 69, 56],
            [14, 17, 22, 29, 51, 87, 80, 62],
            [18, 22, 37, 56, 68, 109, 103, 77],
            [24, 35, 55, 64, 81, 104, 113, 92],
            [49, 64, 78, 87, 103, 121, 120, 101],
            [72, 92, 95, 98, 112, 100, 103, 99],
        ],
        [
            [17, 18, 24, 47, 99, 99, 99, 99],
            [18, 21, 26, 66, 99, 99, 99, 99],
            [24, 26, 56, 99, 99, 99, 99, 99],
            [47, 66, 99, 99, 99, 99, 99, 99],
            [99, 99, 99, 99, 99, 99, 99, 99],
            [99, 99, 99, 99, 99, 99, 99, 99],
            [99, 99, 99, 99, 99, 99, 99, 99],
            [99, 99, 99, 99, 99, 99, 99, 99],
        ],
    ]
)
# The cosine transform of jfdctint, its butterflies multiplied out, in units of 2**-13: a row for each frequency, the
# left half of the samples (the right half mirrors it, with the other sign in odd rows). Its transpose is jidctint's.
_COSINES = [
    [8192, 8192, 8192, 8192],
    [11363, 9633, 6437, 2260],
    [10703, 4433, -4433, -10703],
    [9633, -2259, -11362, -6436],
    [8192, -8192, -8192, 8192],
    [6437, -11362, 2261, 9633],
    [4433, -10704, 10704, -4433],
    [2260, -6436, 9633, -11363],
]


def jpeg_round_trip(images: Tensor, *, quality: int = 85) -> Tensor:
    """Return images as they come back from a JPEG file, as the published ImageNet-C was stored.

    Its files were saved by Pillow with quality 85, chroma subsampled 4:2:0 and `optimize`, which changes the size of a
    file but no pixel. The result equals Pillow's byte for byte, at every size and quality, on every device.

    Args:
        images: uint8 (B, 3, H, W), of any size.
        quality: as Pillow's encoder takes it, 1 to 100.

    Returns:
        uint8 (B, 3, H, W), on the device of the images.

    Raises:
        InputError: quality is not an integer from 1 to 100.

    Example:
        >>> ramp = torch.arange(0, 256, 8, dtype=torch.uint8).expand(1, 3, 32, 32)
        >>> jpeg_round_trip(ramp, quality=7)[0, 0, 0, :8].tolist()
        [1, 5, 13, 23, 34, 44, 51, 56]
    """
    steps = quantisation_steps(quality).to(images.device, torch.float64)
    luminance, chroma = _encode_colours(images)
    luminance, chroma = _code_blocks(luminance, steps[0]), _code_blocks(chroma, steps[1])
    return _decode_colours(luminance, chroma, *images.shape[2:])


def quantisation_steps(quality: int) -> Tensor:
    """Return the quantisation tables of libjpeg for a quality.

    Args:
        quality: 1 to 100.

    Returns:
        int64 (2, 8, 8) on the CPU, from 1 to 255: luminance and chrominance, vertical frequency, horizontal frequency.

    Raises:
        InputError: quality is not an integer from 1 to 100.

    Example:
        >>> quantisation_steps(85)[0, 0]
        tensor([ 5,  3,  3,  5,  7, 12, 15, 18])
    """
    quality = check_integer("quality", plain_integer(quality), 1, 100)
    percent = 5000 // quality if quality < 50 else 200 - 2 * quality
    return _STEPS.mul(percent).add_(50).floor_divide_(100).clamp_(1, 255)


@functools.lru_cache(maxsize=16)
def _cosines(device: torch.device) -> Tensor:
    """The transform of eight samples, float64 (frequency, sample), in units of 2**-13."""
    left = torch.tensor(_COSINES, dtype=torch.float64)
    right = left.flip(1)
    right[1::2].neg_()
    return torch.cat([left, right], dim=1).to(device)


def _encode_colours(images: Tensor) -> tuple[Tensor, Tensor]:
    """Luminance and both chroma planes at half the size, int32 (B, 1 or 2, …), filled up to whole blocks of 8 × 8."""
    height, width = images.shape[2:]
    red, green, blue = images.to(torch.int32).chunk(3, dim=1)

    def mix(red_share: int, green_share: int, blue_share: int, offset: int) -> Tensor:
        sums = (red * red_share).add_(green, alpha=green_share).add_(blue, alpha=blue_share)
        return sums.add_(offset).bitwise_right_shift_(16)

    luminance = mix(19595, 38470, 7471, 1 << 15)
    # 128 and a rounding that sends halves down.
    offset = (128 << 16) + (1 << 15) - 1
    chroma = torch.cat([mix(-11059, -21709, 32768, offset), mix(32768, -27439, -5329, offset)], dim=1)
    # Columns are filled up before subsampling, rows after it, but for the one that an odd height lacks.
    chroma = _extend(chroma, _up_to_multiple(height, 2), _up_to_multiple(width, 16))
    rows = chroma[..., 0::2, :] + chroma[..., 1::2, :]
    halved = rows[..., 0::2] + rows[..., 1::2]
    # Halves go down in even columns and up in odd ones.
    halved += torch.arange(halved.shape[3], dtype=torch.int32, device=images.device).bitwise_and_(1).add_(1)
    halved.bitwise_right_shift_(2)
    return (
        _extend(luminance, _up_to_multiple(height, 8), _up_to_multiple(width, 8)),
        _extend(halved, _up_to_multiple(halved.shape[2], 8), halved.shape[3]),
    )


def _up_to_multiple(number: int, factor: int) -> int:
    return -(-number // factor) * factor


def _extend(planes: Tensor, height: int, width: int) -> Tensor:
    """Repeat the last row and the last column of (B, C, H, W) up to a height and a width."""
    for dim, side in ((2, height), (3, width)):
        if planes.shape[dim] < side:
            places = torch.arange(side, device=planes.device).clamp_(max=planes.shape[dim] - 1)
            planes = planes.index_select(dim, places)
    return planes


def _code_blocks(planes: Tensor, steps: Tensor) -> Tensor:
    """Transform blocks of 8 × 8, round their frequencies to multiples of the steps, and transform them back.

    A pass of jfdctint or jidctint adds up integers and rounds once, so it is the product with a matrix, rounded. It is
    taken in float64, which holds the sums exactly in any order; CUDA does not multiply matrices of integers.

    Args:
        planes: int32 (B, C, H, W), 0 to 255, sides multiples of 8.
        steps: float64 (8, 8).

    Returns:
        int32 (B, C, H, W), 0 to 255.
    """
    cosines = _cosines(planes.device)
    batch, channels, height, width = planes.shape
    across = (batch, channels, height, width // 8, 8)
    down = (batch, channels, height // 8, 8, width)
    samples = planes.to(torch.float64).sub_(128)
    # Rows first. Two fractional bits are kept between the passes; after both the scale is 8.
    frequencies = _round_half_up(samples.view(across) @ (cosines.T * 2.0**-11))
    frequencies = _round_half_up((cosines * 2.0**-15) @ frequencies.view(down))
    blocks = frequencies.view(batch, channels, height // 8, 8, width // 8, 8)
    _quantise(blocks, steps[:, None])
    # Columns first, with the same two bits between the passes.
    samples = _round_half_up((cosines.T * 2.0**-11) @ frequencies)
    samples = _round_half_up(samples.view(across) @ (cosines * 2.0**-18)).view(planes.shape)
    return samples.add_(128).clamp_(0, 255).to(torch.int32)


def _quantise(frequencies: Tensor, steps: Tensor) -> None:
    """Round float64 frequencies, 8 times too large, to multiples of the steps, in place."""
    # libjpeg rounds ties away from zero. A factor slightly above 1 / (8 * step) moves them there and nothing else.
    frequencies.mul_((1 + 2.0**-30) / 8 / steps).round_().mul_(steps)


def _round_half_up(values: Tensor) -> Tensor:
    return values.add_(0.5).floor_()


def _decode_colours(luminance: Tensor, chroma: Tensor, height: int, width: int) -> Tensor:
    """Images uint8 (B, 3, height, width) of int32 planes of whole blocks; chroma at half the size."""
    luminance = luminance[:, :, :height, :width]
    chroma = _double(chroma[:, :, : (height + 1) // 2, : (width + 1) // 2])[:, :, :height, :width] - 128
    blueness, redness = chroma.chunk(2, dim=1)

    def add(shift: Tensor) -> Tensor:
        return shift.bitwise_right_shift_(16).add_(luminance).clamp_(0, 255).to(torch.uint8)

    half = 1 << 15
    red = add((redness * 91881).add_(half))
    green = add((blueness * -22554).add_(redness, alpha=-46802).add_(half))
    blue = add((blueness * 116130).add_(half))
    return torch.cat([red, green, blue], dim=1)


def _double(planes: Tensor) -> Tensor:
    """Double both sides of planes int32 (B, C, H, W): three quarters of a sample, one quarter of the next one."""
    # libjpeg repeats the samples of planes up to two samples wide.
    far = 1 if planes.shape[3] > 2 else 0
    before, after = _neighbours(planes, 2)
    near = planes * (4 - far)
    rows = torch.stack([near.add(before, alpha=far), near.add_(after, alpha=far)], dim=3).flatten(2, 3)
    before, after = _neighbours(rows, 3)
    near = rows * (4 - far)
    # Halves go up on the left and down on the right.
    left, right = near.add(before, alpha=far).add_(8), near.add_(after, alpha=far).add_(7)
    return torch.stack([left, right], dim=4).flatten(3).bitwise_right_shift_(4)


def _neighbours(planes: Tensor, dim: int) -> tuple[Tensor, Tensor]:
    """Each sample's predecessor and successor along a dimension; at the ends, the sample itself."""
    length = planes.shape[dim]
    places = torch.arange(-1, length + 1, device=planes.device).clamp_(0, length - 1)
    return planes.index_select(dim, places[:-2]), planes.index_select(dim, places[2:])

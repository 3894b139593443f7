"""Sine, arctangent and power from additions and multiplications alone, in float32.

The functions of a library round differently on every device; these give the same bits wherever arithmetic follows
IEEE 754. Kernels repeat them with the coefficients that stand here. Angles are in turns, where 1 is a full circle.
"""

import torch
from torch import Tensor

# sin(2πt) is t (1/4 - t²) times a polynomial of t², from the constant on; likewise below.
SINE = (25.132734298706055, -64.8346176147461, 67.03803253173828, -38.063629150390625, 12.073663711547852)
# An arctangent up to 45° in turns.
TURNS = (
    *(0.15915483236312866, -0.05304057151079178, 0.03163979947566986, -0.02145473100244999),
    *(0.013327882625162601, -0.0058725993148982525, 0.0012454643147066236),
)
# The logarithm to base 2 of (1 + t) / (1 - t), and two to the power of -1/2 to 1/2.
LOGARITHM = (2.885390520095825, 0.9615882635116577, 0.5957841277122498)
EXPONENTIAL = (
    *(1.0000001192092896, 0.6931471824645996, 0.2402210682630539),
    *(0.05550327152013779, 0.009676037356257439, 0.0013400432653725147),
)
# The bits of float32: where the exponent begins, those of the square root of 1/2, and those of 1.
EXPONENT_BITS, HALF_OCTAVE, ONE = 23, 0x3F3504F3, 0x3F800000


def sine(turns: Tensor) -> Tensor:
    """Return the sine of float32 angles in turns, to within 6e-7.

    Example:
        >>> (sine(torch.tensor([0.0, 0.25, 0.5, 100.75])) * 1e5).round().int().tolist()
        [0, 100000, 0, -100000]
    """
    turns = turns - (turns + 0.5).floor()
    square = turns * turns
    return turns * (0.25 - square) * polynomial(SINE, square)


def turns_of(y: Tensor, x: Tensor) -> Tensor:
    """Return the angle of the point (x, y), float32, in turns from -1/2 to 1/2, to within 2e-7; 0 at the origin.

    Example:
        >>> (turns_of(torch.tensor([0.0, 2.0, 0.0, -1.0]), torch.tensor([3.0, 0.0, -1.0, 1.0])) * 1000).round().tolist()
        [0.0, 250.0, 500.0, -125.0]
    """
    across, down = x.abs(), y.abs()
    slope = torch.minimum(across, down) / torch.maximum(across, down).clamp(min=1e-30)
    turns = slope * polynomial(TURNS, slope * slope)
    turns = torch.where(down > across, 0.25 - turns, turns)
    return torch.copysign(torch.where(x < 0, 0.5 - turns, turns), y)


def root(values: Tensor) -> Tensor:
    """Return the square root of float32 values, correctly rounded, by way of float64.

    torch's own goes through a library on the CPU that is off by a bit in one value of six.

    Example:
        >>> root(torch.tensor([0.0, 2.25]))
        tensor([0.0000, 1.5000])
    """
    return values.double().sqrt().float()


def power(base: Tensor, exponent: float) -> Tensor:
    """Return float32 base ** exponent, to within a few millionths; the base must be a normal number above 0.

    What would leave the range of float32 stays at its end.

    Example:
        >>> power(torch.tensor([4.0, 0.25]), 0.5).round(decimals=5).tolist()
        [2.0, 0.5]
    """
    bits = base.view(torch.int32)
    octaves = (bits - HALF_OCTAVE) >> EXPONENT_BITS
    mantissa = (bits - (octaves << EXPONENT_BITS)).view(torch.float32)
    ratio = (mantissa - 1) / (mantissa + 1)
    logarithm = octaves.to(torch.float32) + ratio * polynomial(LOGARITHM, ratio * ratio)
    scaled = (logarithm * exponent).clamp(-126, 126)
    whole = (scaled + 0.5).floor()
    scale = ((whole.to(torch.int32) << EXPONENT_BITS) + ONE).view(torch.float32)
    return polynomial(EXPONENTIAL, scaled - whole) * scale


def polynomial(coefficients: tuple[float, ...], places: Tensor) -> Tensor:
    """Return the polynomial with these coefficients, from the constant on, at float32 places, by Horner's rule.

    Example:
        >>> polynomial((1.0, 0.0, 2.0), torch.tensor([3.0]))
        tensor([19.])
    """
    total = torch.full_like(places, coefficients[-1])
    for coefficient in coefficients[-2::-1]:
        total = total * places + coefficient
    return total

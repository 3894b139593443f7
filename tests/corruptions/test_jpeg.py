"""The round trip against Pillow's files, byte for byte. Pillow's wheels hold libjpeg-turbo; another libjpeg differs."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from robustbench_bi.corruptions import jpeg, jpeg_numba_kernels
from robustbench_bi.errors import InputError

Photographs = Callable[..., Tensor]
RoundTrip = Callable[..., Tensor]

both = pytest.mark.parametrize(
    "round_trip",
    [
        pytest.param(jpeg.jpeg_round_trip, id="reference"),
        pytest.param(jpeg_numba_kernels.jpeg_round_trip, id="numba"),
    ],
)


def through_files(images: Tensor, **options: Any) -> Tensor:
    decoded = []
    for image in images:
        file = BytesIO()
        Image.fromarray(np.ascontiguousarray(image.permute(1, 2, 0).numpy())).save(file, "JPEG", **options)
        decoded.append(torch.from_numpy(np.array(Image.open(file))).permute(2, 0, 1))
    return torch.stack(decoded)


def drawn_images(height: int, width: int) -> Tensor:
    """What photographs seldom hold: noise, few and saturated colours, black and white, one colour, large squares."""
    random = np.random.default_rng([height, width])

    def squares(count: int, side: int, levels: list[int], channels: int = 3) -> np.ndarray:
        shape = (count, channels, -(-height // side), -(-width // side))
        squares = random.choice(levels, shape).repeat(side, axis=2).repeat(side, axis=3)
        return np.broadcast_to(squares[:, :, :height, :width], (count, 3, height, width))

    every = list(range(256))
    images = [
        squares(2, 1, every),
        squares(1, 1, [100, 127, 128]),
        squares(1, 1, [0, 255]),
        squares(1, 1, [0, 255], channels=1),
        squares(1, 3, [0, 255]),
        squares(1, 4, [0, 255], channels=1),
        squares(1, 11, every),
        squares(2, max(height, width), every),
    ]
    return torch.from_numpy(np.concatenate(images).astype(np.uint8))


@both
@pytest.mark.parametrize("quality", [85, 7])
def test_equal_to_a_file_at_every_side(quality: int, round_trip: RoundTrip, photographs: Photographs) -> None:
    sides = [(side, 32 + 7 * side % 18) for side in range(32, 50)]
    for height, width in [*sides, (32, 113), (97, 33), (224, 224), (299, 299)]:
        images = torch.cat([photographs(2, height, width), drawn_images(height, width)])
        given = images.clone()
        assert torch.equal(round_trip(images, quality=quality), through_files(images, quality=quality)), (height, width)
        assert torch.equal(images, given)


@both
def test_equal_to_a_file_at_every_quality(round_trip: RoundTrip, photographs: Photographs) -> None:
    images = torch.cat([photographs(2, 40, 56), drawn_images(40, 56)])
    for quality in range(1, 101):
        assert torch.equal(round_trip(images, quality=quality), through_files(images, quality=quality)), quality


def test_equal_to_a_file_of_few_pixels() -> None:
    for height in (1, 2, 7, 8, 9, 16, 17, 31):
        for width in range(1, 32):
            images = drawn_images(height, width)
            expected = through_files(images, quality=60)
            assert torch.equal(jpeg.jpeg_round_trip(images, quality=60), expected), (height, width)
            if width >= 5:
                assert torch.equal(jpeg_numba_kernels.jpeg_round_trip(images, quality=60), expected), (height, width)


@both
def test_optimize_changes_no_pixel(round_trip: RoundTrip, photographs: Photographs) -> None:
    images = photographs(4, 61, 83)
    assert torch.equal(round_trip(images), through_files(images, quality=85, optimize=True))


@both
def test_batch_equals_single_images(round_trip: RoundTrip) -> None:
    images = drawn_images(45, 67)
    single = [round_trip(image[None], quality=30) for image in images]
    assert torch.equal(round_trip(images, quality=30), torch.cat(single))


@both
def test_no_images(round_trip: RoundTrip) -> None:
    assert round_trip(torch.zeros(0, 3, 40, 50, dtype=torch.uint8)).shape == (0, 3, 40, 50)


@both
def test_flat_images_at_ties(round_trip: RoundTrip) -> None:
    """At quality 50 the mean of a block goes in steps of two levels, so every odd level is a tie."""
    levels = torch.arange(256, dtype=torch.uint8)[:, None, None, None].expand(-1, 3, 32, 32).contiguous()
    decoded = round_trip(levels, quality=50)
    assert torch.equal(decoded, through_files(levels, quality=50))
    assert decoded[[125, 127, 129, 131], 0, 0, 0].tolist() == [124, 126, 130, 132]


def test_quantisation_rounds_ties_away_from_zero() -> None:
    """Every step with every frequency that eight bits can give, at the scale of 8 that the transform leaves."""
    frequencies = np.arange(-8200, 8201)
    for step in range(1, 256):
        sizes = (np.abs(frequencies) + 4 * step) // (8 * step) * step
        expected = np.sign(frequencies) * sizes
        rounded = torch.from_numpy(frequencies).double()
        jpeg._quantise(rounded, torch.tensor(step, dtype=torch.float64))
        assert np.array_equal(rounded.numpy(), expected), step
        factor = jpeg_numba_kernels._factors(np.float32(step))
        assert np.array_equal(jpeg_numba_kernels._multiple.py_func(frequencies, factor, np.float32(step)), expected), (
            step
        )


@pytest.mark.parametrize("quality", [50, 75, 3, 96])
def test_steps_equal_those_in_a_file(quality: int) -> None:
    file = BytesIO()
    Image.new("RGB", (16, 16)).save(file, "JPEG", quality=quality)
    tables = Image.open(file).quantization
    steps = jpeg.quantisation_steps(quality).flatten(1)
    assert [list(tables[number]) for number in range(2)] == steps.tolist()


@both
@pytest.mark.parametrize("quality", [0, 101, -1, 85.0, True, None, "85"])
def test_refuses_other_qualities(quality: object, round_trip: RoundTrip) -> None:
    with pytest.raises(InputError, match=r"quality must be an integer from 1 to 100, got "):
        round_trip(torch.zeros(1, 3, 32, 32, dtype=torch.uint8), quality=quality)

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO

import numpy as np
import pytest
import skimage.color
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from robustbench_bi.corruptions import digital, original
from robustbench_bi.corruptions.apply import corrupt, jpeg_round_trip

Photographs = Callable[..., Tensor]


def as_array(image: Tensor) -> NDArray[np.uint8]:
    return np.ascontiguousarray(image.permute(1, 2, 0).numpy())


def as_tensor(array: NDArray[np.uint8]) -> Tensor:
    return torch.from_numpy(array).permute(2, 0, 1)


def random_images() -> Tensor:
    """Noise, few colours, greys, black and white: what photographs seldom hold."""
    generator = torch.Generator().manual_seed(0)
    noise = torch.randint(0, 256, (2, 3, 64, 64), generator=generator)
    few = torch.randint(0, 3, (2, 3, 64, 64), generator=generator) * 127
    grey = torch.randint(0, 256, (2, 1, 64, 64), generator=generator).expand(-1, 3, -1, -1)
    return torch.cat([noise, few, grey]).to(torch.uint8)


@pytest.mark.parametrize("severity", range(1, 6))
@pytest.mark.parametrize("name", ["pixelate", "jpeg_compression", "saturate"])
def test_equal_to_the_original_on_random_images(name: str, severity: int) -> None:
    images = random_images()
    assert torch.equal(corrupt(images, name, severity), original.corrupt(images, name, severity))


def test_contrast_keeps_a_flat_image() -> None:
    flat = torch.arange(256, dtype=torch.uint8)[:, None, None, None].expand(-1, 3, 32, 32)
    assert torch.equal(corrupt(flat, "contrast", 3), flat)


@pytest.mark.parametrize(("height", "width"), [(32, 32), (33, 47), (64, 41), (299, 299), (101, 224)])
def test_pixelate_equals_pillow(height: int, width: int, photographs: Photographs) -> None:
    image = photographs(1, height, width)
    picture = Image.fromarray(as_array(image[0]))
    for scale in (0.95, 0.9, 0.85, 0.8, 0.75, 0.7, 0.65, 0.6, 0.5, 0.4, 0.3, 0.25, 0.2):
        small = picture.resize((int(width * scale), int(height * scale)), Image.Resampling.BOX)
        expected = np.array(small.resize((width, height), Image.Resampling.BOX))
        assert torch.equal(digital.pixelate(image, None, scale=scale)[0], as_tensor(expected)), scale  # type: ignore[arg-type]


def test_pixelate_windows_equal_pillow_at_every_side() -> None:
    """Ties between pixels, where Pillow's rounding decides, come at a few sides only, such as 33, 34, 37 and 41."""
    generator = np.random.default_rng(0)
    for side in range(32, 128):
        line = generator.integers(0, 256, (1, side), dtype=np.uint8)
        for scale in (0.85, 0.8, 0.6, 0.3):
            expected = np.array(Image.fromarray(line).resize((int(side * scale), 1), Image.Resampling.BOX))
            windows, weights = digital.box_windows(side, int(side * scale), torch.device("cpu"))
            means = digital._box_means(torch.from_numpy(line).float() @ windows.T, weights)
            assert np.array_equal(means.numpy(), expected), (side, scale)


@pytest.mark.parametrize("quality", [5, 50, 85])
def test_jpeg_round_trip_equals_a_file(quality: int, photographs: Photographs) -> None:
    """As the published files were written: with `optimize`, which we leave out."""
    images = photographs(5, 61, 83)
    expected = []
    for image in images:
        file = BytesIO()
        Image.fromarray(as_array(image)).save(file, "JPEG", quality=quality, optimize=True)
        expected.append(as_tensor(np.array(Image.open(file))))
    assert torch.equal(jpeg_round_trip(images, quality=quality), torch.stack(expected))


def test_jpeg_round_trip_of_nothing() -> None:
    assert jpeg_round_trip(torch.zeros(0, 3, 40, 50, dtype=torch.uint8)).shape == (0, 3, 40, 50)


def test_hsv_equals_scikit_image_bit_for_bit() -> None:
    images = random_images().double() / 255
    arrays = images.permute(0, 2, 3, 1).numpy()
    hsv = torch.stack(digital.rgb_to_hsv(images), dim=-1)
    assert np.array_equal(hsv.numpy(), skimage.color.rgb2hsv(arrays))
    assert np.array_equal(
        digital.hsv_to_rgb(*hsv.unbind(-1)).permute(0, 2, 3, 1).numpy(), skimage.color.hsv2rgb(hsv.numpy())
    )


@pytest.mark.parametrize("severity", range(1, 6))
def test_elastic_transform_keeps_a_flat_image(severity: int) -> None:
    flat = torch.arange(255, -1, -7, dtype=torch.uint8)[:, None, None, None].expand(-1, 3, 64, 64)
    assert torch.equal(corrupt(flat, "elastic_transform", severity, table="auto"), flat)


@pytest.mark.parametrize("severity", range(1, 6))
def test_elastic_constants_of_another_side_still_run(severity: int, photographs: Photographs) -> None:
    """Moves of 48.8 pixels on a side of 32 can turn the image inside out; it must stay an image."""
    images = photographs(16, 32)
    corrupted = corrupt(images, "elastic_transform", severity, table="imagenet-c")
    assert float(corrupted.double().std()) > 5

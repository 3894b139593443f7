import io
import types

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import transforms
from torchvision.datasets.folder import pil_loader

from robustbench_bi.data.containers.image_files import load_image
from robustbench_bi.data.preprocess import (
    INTERPOLATIONS,
    Preprocessing,
    fit_image,
    fit_images,
    normalise,
    preprocessing_of,
)
from robustbench_bi.errors import DataError, InputError

SHAPES = [
    (500, 375),
    (375, 500),
    (341, 256),
    (257, 256),
    (1, 7),
    (31, 33),
    (224, 225),
    (300, 300),
    (223, 640),
    (701, 97),
]


def picture(width, height, mode="RGB", seed=0):
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels).convert(mode)


def torchvision_pixels(image, preprocessing):
    interpolation = transforms.InterpolationMode(preprocessing.interpolation)
    resize = transforms.Resize(preprocessing.resize_size, interpolation)
    return np.asarray(transforms.CenterCrop(preprocessing.input_size)(resize(image))).transpose(2, 0, 1)


@pytest.mark.parametrize("size", SHAPES)
@pytest.mark.parametrize("preprocessing", [(224, 256), (224, 224), (97, 110), (64, 73)])
def test_geometry_equals_torchvision(size, preprocessing):
    preprocessing = Preprocessing(*preprocessing)
    image = picture(*size)
    assert np.array_equal(fit_image(image, preprocessing), torchvision_pixels(image, preprocessing))


@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
def test_every_interpolation_equals_torchvision(interpolation):
    preprocessing = Preprocessing(64, 73, interpolation)
    image = picture(90, 131)
    assert np.array_equal(fit_image(image, preprocessing), torchvision_pixels(image, preprocessing))


def test_an_image_of_the_models_side_is_taken_as_it_is():
    image = picture(224, 224)
    fitted = fit_image(image, Preprocessing())
    assert np.array_equal(fitted, np.asarray(image).transpose(2, 0, 1))
    assert not np.array_equal(fitted, torchvision_pixels(image, Preprocessing()))


@pytest.mark.parametrize("mode", ["L", "P", "CMYK", "RGBA", "LA", "1", "I;16"])
def test_files_of_other_colour_modes_are_read_as_torchvision_reads_them(mode, tmp_path):
    path = tmp_path / ("image.tif" if mode in ("CMYK", "I;16") else "image.png")
    if mode == "I;16":
        Image.fromarray(np.arange(64 * 64, dtype=np.uint16).reshape(64, 64) * 16).save(path)
    else:
        picture(64, 64, mode).save(path)
    with Image.open(path) as stored:
        assert stored.mode == mode
    expected = np.asarray(pil_loader(str(path))).transpose(2, 0, 1)
    assert np.array_equal(load_image(path, Preprocessing(64, 64)), expected)


def test_a_batch_is_fitted_image_by_image():
    images = np.stack([np.asarray(picture(40, 33, seed=seed)).transpose(2, 0, 1) for seed in range(3)])
    preprocessing = Preprocessing(64, 73)
    fitted = fit_images(images, preprocessing)
    for image, row in zip(images, fitted, strict=True):
        assert np.array_equal(row, fit_image(Image.fromarray(image.transpose(1, 2, 0).copy()), preprocessing))


def test_a_batch_of_the_models_side_is_not_copied():
    images = np.zeros((2, 3, 64, 64), dtype=np.uint8)
    assert fit_images(images, Preprocessing(64, 73)) is images


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "No such file"), (b"", "not an image"), (b"some text", "not an image"), ("cut", "truncated")],
)
def test_unreadable_files_are_named(content, message, tmp_path):
    path = tmp_path / "image.jpg"
    if content == "cut":
        stream = io.BytesIO()
        picture(64, 64).save(stream, "JPEG")
        content = stream.getvalue()[:-500]
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError, match=f"cannot read image .*image.jpg: .*{message}"):
        load_image(path, Preprocessing())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_normalise_equals_torchvision(dtype):
    images = torch.randint(0, 256, (2, 3, 5, 7), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    before = images.clone()
    preprocessing = Preprocessing()
    expected = transforms.Normalize(preprocessing.mean, preprocessing.std)(images.to(dtype) / 255)
    assert torch.equal(normalise(images, preprocessing, dtype), expected)
    assert torch.equal(images, before)


def test_normalise_in_half_precision_rounds_once():
    images = torch.arange(256, dtype=torch.uint8).repeat(3).view(1, 3, 16, 16)
    expected = normalise(images, Preprocessing()).to(torch.bfloat16)
    assert torch.equal(normalise(images, Preprocessing(), torch.bfloat16), expected)


@pytest.mark.parametrize("images", [torch.zeros(1, 3, 8, 8), torch.zeros(3, 8, 8, dtype=torch.uint8)])
def test_normalise_refuses_other_tensors(images):
    with pytest.raises(InputError, match=r"images must be uint8 of shape \(B, 3, H, W\), got"):
        normalise(images, Preprocessing())


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"input_size": 31}, "input_size must be an integer from 32 to 4096, got 31"),
        ({"resize_size": 4097}, "resize_size must be an integer from 32 to 4096, got 4097"),
        ({"input_size": True}, "input_size must be an integer"),
        ({"input_size": 224.0}, "input_size must be an integer"),
        ({"input_size": (3, 224, 224)}, "input_size must be an integer"),
        ({"resize_size": "256"}, "resize_size must be an integer"),
        ({"input_size": 224, "resize_size": 223}, "resize_size must be at least input_size"),
        ({"interpolation": "cubic"}, "interpolation must be one of nearest, .*, got 'cubic'"),
        ({"mean": (0.5, 0.5)}, "mean must be three numbers from 0 to 1"),
        ({"mean": 0.5}, "mean must be three numbers"),
        ({"mean": ("a", "b", "c")}, "mean must be three numbers"),
        ({"mean": (float("nan"), 0.5, 0.5)}, "mean must be three numbers"),
        ({"std": (58.395, 57.12, 57.375)}, r"std must be .* \(pixels are scaled to \[0, 1\]\)"),
        ({"std": (0.2, 0.0, 0.2)}, "std must be three numbers above 0"),
    ],
)
def test_values_out_of_range_are_refused_with_text(values, message):
    with pytest.raises(InputError, match=message):
        Preprocessing(**values)
    with pytest.raises(InputError, match=message):
        preprocessing_of(types.SimpleNamespace(), **values)


def test_a_model_without_attributes_gets_imagenets_values():
    assert preprocessing_of(object()) == Preprocessing(
        224, 256, "bilinear", (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    )


def test_attributes_of_a_model_are_its_preprocessing_and_overrides_win():
    model = types.SimpleNamespace(
        input_size=np.int64(299),
        resize_size=342,
        interpolation="bicubic",
        mean=[0.5] * 3,
        std=torch.full((1, 3, 1, 1), 0.5),
    )
    own = preprocessing_of(model, mean=None)
    assert own == Preprocessing(299, 342, "bicubic", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    assert preprocessing_of(model, mean=(0.1, 0.2, 0.3)).mean == (0.1, 0.2, 0.3)
    with pytest.raises(InputError, match="got size"):
        preprocessing_of(model, size=224)


@pytest.mark.parametrize(
    ("attributes", "overrides", "expected"),
    [
        ({"input_size": 299}, {}, (299, 342)),
        ({}, {"input_size": 112}, (112, 128)),
        ({"input_size": 224, "resize_size": 224}, {"input_size": 320}, (320, 320)),
        ({"input_size": 224, "resize_size": 232}, {"resize_size": 256}, (224, 256)),
        ({"resize_size": 240}, {}, (224, 240)),
        ({}, {"input_size": 300, "resize_size": 300}, (300, 300)),
    ],
)
def test_the_resize_follows_the_side_where_it_is_not_given(attributes, overrides, expected):
    chosen = preprocessing_of(types.SimpleNamespace(**attributes), **overrides)
    assert (chosen.input_size, chosen.resize_size) == expected

"""Resize and crop are those of timm and torchvision to the byte; transformers' are in tests/models/sources."""

import numpy as np
import pytest
import torchvision
from PIL import Image
from timm.data import create_transform, resolve_data_config
from timm.models import get_pretrained_cfg, list_models

from robustbench_bi.data.preprocess import Preprocessing, cut_image, fit_image, preprocessing_of
from robustbench_bi.errors import InputError
from robustbench_bi.models.sources.from_timm import preprocessing_of_config
from robustbench_bi.models.sources.from_torchvision import preprocessing_of_entry

ODD = ((61, 47), (301, 213), (255, 256), (37, 129))
"""Widths and heights."""


def picture(width, height):
    pixels = np.random.default_rng(width * height).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def assert_equal(preprocessing, transform):
    """On odd sizes, and on pictures of exactly the input size."""
    exactly = preprocessing.shape[::-1]
    for size in (*ODD, exactly):
        expected = np.asarray(transform(picture(*size)))
        assert np.array_equal(cut_image(picture(*size), preprocessing), expected), size


def test_every_configuration_of_timm_is_cut_as_timm_cuts_it():
    configs = {}
    for name in list_models(pretrained=True):
        config = resolve_data_config({}, pretrained_cfg=get_pretrained_cfg(name).to_dict())
        own = preprocessing_of_config(config)
        # The many that differ in nothing but their side are one way of cutting.
        key = (own["crop_mode"], config["interpolation"], config["crop_pct"])
        configs.setdefault(key, (config, own))
    modes = {key[0] for key in configs}
    assert modes == {"center", "squash", "border", "padded"}
    assert any(isinstance(own["input_size"], tuple) for _, own in configs.values())
    for config, own in configs.values():
        assert_equal(Preprocessing(**own), create_transform(**config, use_prefetcher=True))


def test_no_configuration_of_timm_is_refused():
    for name in list_models(pretrained=True):
        Preprocessing(**preprocessing_of_config(resolve_data_config({}, get_pretrained_cfg(name).to_dict())))


@pytest.mark.parametrize("mode", ["center", "squash", "border"])
@pytest.mark.parametrize("size", [(3, 64, 64), (3, 96, 64), (3, 33, 70)])
@pytest.mark.parametrize("crop_pct", [0.875, 1.0, 0.711])
def test_timms_modes_with_other_sizes(mode, size, crop_pct):
    config = {"input_size": size, "crop_pct": crop_pct, "crop_mode": mode, "interpolation": "bicubic"}
    config |= {"mean": (0.1, 0.5, 0.9), "std": (0.2, 0.2, 0.2)}
    assert_equal(Preprocessing(**preprocessing_of_config(config)), create_transform(**config, use_prefetcher=True))


def test_torchvisions_transforms_are_followed():
    entries = {}
    for name in torchvision.models.list_models(module=torchvision.models):
        for entry in torchvision.models.get_model_weights(name):
            own = preprocessing_of_entry(entry)
            entries.setdefault((own["input_size"], own["resize_size"], own["interpolation"]), entry)
    assert len(entries) > 20
    for entry in entries.values():
        transform = entry.transforms()
        own = Preprocessing(**preprocessing_of_entry(entry))
        unit = torchvision.transforms._presets.ImageClassification(
            crop_size=transform.crop_size[0],
            resize_size=transform.resize_size[0],
            interpolation=transform.interpolation,
            mean=(0.0, 0.0, 0.0),
            std=(1.0, 1.0, 1.0),
        )
        assert_equal(own, lambda image, unit=unit: (unit(image) * 255).round().byte())


def test_a_mode_is_another_cut():
    plain, squashed = Preprocessing(64, 64), Preprocessing(64, 64, crop_mode="squash")
    assert plain.cut == (64, 64, "bilinear")
    assert plain.cut != squashed.cut
    assert not np.array_equal(fit_image(picture(90, 60), plain), fit_image(picture(90, 60), squashed))


def test_a_crop_that_does_not_fit_must_be_asked_for():
    with pytest.raises(InputError, match="resize_size must be at least input_size"):
        Preprocessing(64, 56)
    assert fit_image(picture(90, 60), Preprocessing(64, 56, crop_mode="padded"))[:, 0].max() == 0


def test_rectangles_keep_their_proportion():
    own = preprocessing_of(None, input_size=(96, 64))
    assert (own.shape, own.resize_size, own.side) == ((96, 64), (110, 73), 64)
    assert preprocessing_of(None, input_size=[64, 64]).input_size == 64

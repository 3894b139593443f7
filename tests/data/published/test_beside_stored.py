"""Clean pictures beside stored corrupted ones: cut alike, paired by name, and with labels from wherever they are."""

import numpy as np
import pytest
import torch
from PIL import Image

import robustbench_bi as rb
from robustbench_bi.analysis import summary_frame
from robustbench_bi.data import open_data
from robustbench_bi.data.class_spaces.imagenet import imagenet_classes
from robustbench_bi.data.preprocess import Preprocessing

WNIDS = list(imagenet_classes())


class Ring(torch.nn.Module):
    """It answers by the brightness of the edge of what it sees."""

    mean, std, input_size, resize_size = (0.0,) * 3, (1.0,) * 3, 64, 72

    def forward(self, images):
        bright = images[:, :, :4].mean(dim=(1, 2, 3))
        return torch.stack([0.5 - bright, bright - 0.5], dim=1)


@pytest.fixture
def rings(tmp_path):
    """The same pictures clean and stored; in one of the two classes the edge is bright and the middle dark."""
    for number, edge in enumerate((20, 250)):
        pixels = np.full((224, 224, 3), edge, dtype=np.uint8)
        pixels[60:164, 60:164] = 20
        for folder in ("c/fog/1", "clean"):
            path = tmp_path / folder / "ab"[number] / "0.png"
            path.parent.mkdir(parents=True)
            Image.fromarray(pixels).save(path)
    return tmp_path


def test_clean_pictures_are_cropped_where_stored_ones_are(rings):
    options = {"suite": "fog", "severities": 1, "clean": rings / "clean", "out": rings / "runs"}
    cropped = rb.evaluate(Ring(), f"imagenet-c:{rings / 'c'}", **options)
    assert cropped.cells()["top1"].tolist() == [50.0, 50.0]
    assert "centre crop to 64 px of stored 224-px files" in summary_frame(cropped).caption
    fitted = rb.evaluate(Ring(), f"imagenet-c:{rings / 'c'}", fit=True, **options)
    assert fitted.cells()["top1"].tolist() == [100.0, 100.0]
    assert "224 px fitted to 64 px" in summary_frame(fitted).caption


def test_the_clean_crop_is_the_middle_of_the_published_steps(rings):
    clean = open_data(str(rings / "clean"))
    both = open_data(f"imagenet-c:{rings / 'c'}", clean=rings / "clean")
    whole = clean.read([1], Preprocessing(224, 256))
    assert np.array_equal(both.read([1], Preprocessing(64, 72)), whole[:, :, 80:144, 80:144])
    # A network of the stored side sees clean pictures by its own transform.
    own = Preprocessing(224, 235, "bicubic")
    assert np.array_equal(both.read([1], own), clean.read([1], own))


def test_stored_pictures_of_sizes_of_their_own_have_clean_ones_that_are_never_resized(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (90, 120, 3), dtype=np.uint8)
    for number in range(2):
        for folder in ("c/fog/1", "clean"):
            path = tmp_path / folder / "ab"[number] / "0.png"
            path.parent.mkdir(parents=True)
            Image.fromarray(pixels).save(path)
    both = open_data(f"imagenet-c:{tmp_path / 'c'}", clean=tmp_path / "clean")
    cut = Preprocessing(64, 72)
    assert np.array_equal(both.read([0], cut), both.read([0], cut, ("fog", 1)))

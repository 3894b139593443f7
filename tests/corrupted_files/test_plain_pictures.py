"""`corrupt` takes folders without classes and pictures of any size, and keeps their names."""

import numpy as np
import pytest
from PIL import Image

import robustbench_bi as rb
from robustbench_bi.cli import cli
from robustbench_bi.errors import DataError, InputError

SIZES = {
    "000000000139.jpg": (64, 48),
    "000000000285.jpg": (43, 64),
    "deep/inner/a.PNG": (40, 32),
    "deep/b.jpeg": (33, 50),
}


@pytest.fixture
def photos(tmp_path):
    generator = np.random.default_rng(0)
    for name, (width, height) in SIZES.items():
        path = tmp_path / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = generator.integers(0, 256, (height, width, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(path, "PNG")
    return tmp_path / "photos"


def opened(path):
    with Image.open(path) as image:
        return image.format, np.asarray(image.convert("RGB"))


OPTIONS = {"suite": "contrast,jpeg_compression", "severities": 3, "workers": 1}


def test_plain_pictures_keep_their_sizes_and_names(photos, tmp_path):
    summary = rb.write_corrupted(photos, tmp_path / "out", size="native", jpeg=None, keep_format=True, **OPTIONS)
    assert (summary.written, summary.source, summary.classes) == (8, "", None)
    import torch

    for name, (width, height) in SIZES.items():
        form, pixels = opened(tmp_path / "out" / "jpeg_compression" / "3" / name)
        assert pixels.shape == (height, width, 3)
        assert form == "PNG"
        clean = torch.from_numpy(opened(photos / name)[1].transpose(2, 0, 1)[None].copy())
        expected = rb.corrupt(clean, "jpeg_compression", 3, table="imagenet-c")[0].numpy().transpose(1, 2, 0)
        assert np.array_equal(pixels, expected)
    again = rb.write_corrupted(photos, tmp_path / "out", size="native", jpeg=None, keep_format=True, **OPTIONS)
    assert (again.written, again.whole) == (0, 8)


def test_jpeg_files_keep_their_whole_names_and_others_their_format_on_demand(photos, tmp_path):
    rb.write_corrupted(photos, tmp_path / "a", size="native", **OPTIONS)
    kept = tmp_path / "a" / "jpeg_compression" / "3"
    assert opened(kept / "000000000139.jpg")[0] == opened(kept / "deep" / "inner" / "a.JPEG")[0] == "JPEG"
    rb.write_corrupted(photos, tmp_path / "b", size="native", keep_format=True, **OPTIONS)
    kept = tmp_path / "b" / "jpeg_compression" / "3"
    assert (opened(kept / "000000000139.jpg")[0], opened(kept / "deep" / "inner" / "a.PNG")[0]) == ("JPEG", "PNG")


def test_plain_pictures_may_be_cut_too(photos, tmp_path):
    rb.write_corrupted(photos, tmp_path / "out", size=32, **OPTIONS)
    assert opened(tmp_path / "out" / "contrast" / "3" / "deep" / "b.jpeg")[1].shape == (32, 32, 3)


def test_the_command_takes_native(photos, tmp_path):
    from click.testing import CliRunner

    arguments = ["corrupt", str(photos), str(tmp_path / "out"), "--size", "native", "--suite", "contrast"]
    result = CliRunner().invoke(cli, [*arguments, "--severities", "1", "--workers", "1", "--quiet"])
    assert result.exit_code == 0, result.output
    assert "Written to" in result.output
    assert "Evaluate" not in result.output


def test_too_small_pictures_and_contradictions_are_refused(photos, tmp_path):
    with pytest.raises(InputError, match="keep their sizes with size native; leave out resize"):
        rb.write_corrupted(photos, tmp_path / "out", size="native", resize=64, **OPTIONS)
    with pytest.raises(InputError, match="size must be a number of pixels or 'native', got 'large'"):
        rb.write_corrupted(photos, tmp_path / "out", size="large", **OPTIONS)
    Image.new("RGB", (31, 90)).save(photos / "small.png")
    with pytest.raises(DataError, match=r"small.JPEG has 31×90 pixels, and corruptions need 32 each way"):
        rb.write_corrupted(photos, tmp_path / "out", size="native", **OPTIONS)

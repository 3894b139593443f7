import subprocess
import sys

import numpy as np
import pytest
import torch

from robustbench_bi.corruptions import original
from robustbench_bi.corruptions.apply import corrupt, jpeg_round_trip
from robustbench_bi.corruptions.pixels import Pixels
from robustbench_bi.errors import InputError, UnknownNameError
from robustbench_bi.ground.cells import CLEAN

CELL = ("gaussian_noise", 3)
IDS = np.array([7, 2**40, 3])


@pytest.fixture
def images():
    return torch.from_numpy(np.random.default_rng(0).integers(0, 256, (3, 3, 48, 40), dtype=np.uint8))


@pytest.mark.parametrize("planted", [{}, {"seed": 2**64 - 1}, {"table": "tiny-imagenet-c"}], ids=str)
def test_pixels_are_those_of_corrupt(images, planted):
    made = Pixels(**planted).of_cell(images, CELL, IDS)
    assert torch.equal(made, corrupt(images, *CELL, ids=IDS, **{"table": "auto", **planted}))
    assert bool(planted) != torch.equal(made, Pixels().of_cell(images, CELL, IDS))


def test_ids_key_the_draws(images):
    made = Pixels().of_cell(images, CELL, IDS)
    assert not torch.equal(made, Pixels().of_cell(images, CELL, IDS + 1))
    assert torch.equal(made[1:2], Pixels().of_cell(images[1:2], CELL, IDS[1:2]))


@pytest.mark.parametrize("quality", [85, 30])
def test_a_jpeg_round_trip_follows_the_corruption(images, quality):
    made = Pixels(jpeg=quality).of_cell(images, CELL, IDS)
    assert torch.equal(made, jpeg_round_trip(corrupt(images, *CELL, ids=IDS, table="auto"), quality=quality))
    assert not torch.equal(made, Pixels().of_cell(images, CELL, IDS))


@pytest.mark.parametrize("pixels", [Pixels(), Pixels(jpeg=30), Pixels(generator="imagecorruptions")], ids=str)
def test_clean_images_are_left_as_they_are(images, pixels):
    assert pixels.of_cell(images, CLEAN, IDS) is images


def test_the_other_package_makes_its_own_pixels(images):
    made = Pixels(generator="imagecorruptions", jpeg=60, seed=4).of_cell(images, CELL, IDS)
    assert torch.equal(made, jpeg_round_trip(original.corrupt(images, *CELL, ids=IDS, seed=4), quality=60))
    assert not torch.equal(made, Pixels(jpeg=60, seed=4).of_cell(images, CELL, IDS))


def test_an_array_gives_an_array_of_the_same_bytes(images):
    # As `Dataset.read` hands out photographs: the axes moved, the memory not.
    moved = np.ascontiguousarray(images.numpy().transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
    made = Pixels(jpeg=85, seed=1).of_cell(moved, CELL, IDS)
    assert isinstance(made, np.ndarray)
    assert np.array_equal(made, Pixels(jpeg=85, seed=1).of_cell(images, CELL, IDS).numpy())
    assert np.array_equal(moved, images.numpy())


def test_a_named_backend_makes_corruption_and_jpeg(images, monkeypatch):
    asked = []
    for name in ("corrupt", "jpeg_round_trip"):
        monkeypatch.setattr(
            f"robustbench_bi.corruptions.apply.{name}",
            lambda images, *_, backend, **__: asked.append(backend) or images,
        )
    Pixels(jpeg=85).of_cell(images, CELL, IDS, backend="reference")
    assert asked == ["reference", "reference"]


def test_what_cannot_be_made_is_refused(images):
    for cell in (CLEAN, CELL):
        with pytest.raises(InputError, match="generator must be bivo-robust or imagecorruptions, got 'files'"):
            Pixels(generator="files").of_cell(images, cell, IDS)
    with pytest.raises(UnknownNameError, match="imagenet"):
        Pixels(table="imagenet").of_cell(images, CELL, IDS)
    with pytest.raises(InputError, match="seed"):
        Pixels(seed=-1).of_cell(images, CELL, IDS)


def test_a_recipe_needs_no_torch():
    code = (
        "import sys; from robustbench_bi.corruptions.pixels import Pixels; Pixels(); sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from robustbench_bi.corruptions import CORRUPTIONS, SUITES, original
from robustbench_bi.errors import DataError, InputError, UnknownNameError

Photographs = Callable[..., Tensor]
# A double loop over pixels in Python makes glass_blur a hundred times slower than the others.
QUICK = [name for name in SUITES["all"].corruptions if name != "glass_blur"]


@pytest.mark.parametrize("name", SUITES["all"].corruptions)
def test_every_corruption_runs_and_can_be_repeated(name: str, photographs: Photographs) -> None:
    images = photographs(2, 48, 40)
    before = images.clone()
    corrupted = original.corrupt(images, name, 5)
    assert (corrupted.shape, corrupted.dtype) == (images.shape, torch.uint8)
    assert torch.equal(images, before)
    assert not torch.equal(corrupted, images)
    assert torch.equal(original.corrupt(images[1:], name, 5, ids=[1])[0], corrupted[1])
    numpy_result = original.corrupt(images[0].permute(1, 2, 0).numpy(), name, 5)
    assert np.array_equal(numpy_result, corrupted[0].permute(1, 2, 0).numpy())


@pytest.mark.parametrize("name", QUICK)
def test_seed_and_ids_matter_for_random_ones_only(name: str, photographs: Photographs) -> None:
    images = photographs(1, 48)
    first = original.corrupt(images, name, 3)
    for options in ({"seed": 1}, {"ids": [1]}, {"seed": 2**32}, {"ids": [2**32]}):
        assert torch.equal(first, original.corrupt(images, name, 3, **options)) is not CORRUPTIONS[name].random  # type: ignore[arg-type]


def test_gaussian_noise_is_what_its_formula_says(
    photographs: Photographs, record_original: Callable[..., object]
) -> None:
    image = photographs(1, 32)[0]
    corrupted, (noise,) = record_original(image, "gaussian_noise", 2)  # type: ignore[misc]
    expected = np.clip(image.permute(1, 2, 0).numpy() / 255.0 + noise, 0, 1) * 255
    assert np.array_equal(corrupted.permute(1, 2, 0).numpy(), expected.astype(np.uint8))


STATE_AFTER = """
import sys
import numpy as np
np.random.seed(5)
before = np.random.get_state()[1].tolist()
names = ("pkg_resources", "imagecorruptions", "scipy.ndimage.interpolation")
modules = [sys.modules.get(name) for name in names]
from robustbench_bi.corruptions import original
for name in ("fog", "impulse_noise", "gaussian_blur", "elastic_transform"):
    original.corrupt(np.zeros((32, 32, 3), np.uint8), name, 1)
print(np.random.get_state()[1].tolist() == before, hasattr(np, "float_"), np.random.normal is not None)
print([sys.modules.get(name) is module for name, module in zip(names, modules)][:2])
"""


def test_nothing_is_left_behind() -> None:
    """Neither NumPy nor its global generator nor the table of modules shows that the reference ran."""
    command = [sys.executable, "-c", STATE_AFTER]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    assert output == ["True False True", "[True, True]"]


def test_frost_textures_are_found_without_an_import() -> None:
    code = (
        "import sys; from robustbench_bi.corruptions import original; folder = original.frost_texture_folder();"
        "print(sorted(path.stem for path in folder.glob('frost*')), {'imagecorruptions', 'cv2'} & set(sys.modules))"
    )
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert output.strip() == "['frost1', 'frost2', 'frost3', 'frost4', 'frost5', 'frost6'] set()"


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    with pytest.raises(DataError, match=r"the package imagecorruptions is not installed .*pip install"):
        original.frost_texture_folder()


def test_bad_input_is_refused(photographs: Photographs) -> None:
    with pytest.raises(InputError, match="severity must be an integer from 1 to 5, got 6"):
        original.corrupt(photographs(1, 32), "fog", 6)
    with pytest.raises(InputError, match="images must be uint8"):
        original.corrupt(photographs(1, 32).float(), "fog", 1)
    with pytest.raises(UnknownNameError, match="Did you mean 'snow'"):
        original.corrupt(photographs(1, 32), "snoww", 1)

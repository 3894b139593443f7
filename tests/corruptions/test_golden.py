"""The pixels of each corruption are pinned: golden/<name>.npz holds what they are in this version.

A test that fails here tells that seeded pixels have changed, say because draws are asked for in another order. If that
is meant, raise `PIXEL_VERSION` and write the files again: `python tests/corruptions/test_golden.py`.
"""

from pathlib import Path

import numpy as np
import pytest

from robustbench_bi.corruptions import CORRUPTIONS, PIXEL_VERSION
from robustbench_bi.corruptions.apply import corrupt

FOLDER = Path(__file__).parent / "golden"
SEVERITIES = (2, 5)
IDS = (3, 2**40 + 1)


def pictures():
    """Two 32×32 pictures with gradients, edges and texture, from integers only: uint8 (2, 32, 32, 3)."""
    row, column = np.mgrid[0:32, 0:32]
    disk = ((row - 14) ** 2 + (column - 18) ** 2 < 90) * 90
    channels = [row * 7 + disk, column * 5 + (row * column) % 23 * 3, 200 - disk + (row ^ column)]
    first = np.stack(channels, axis=-1) % 256
    return np.stack([first, first[::-1, :, ::-1]]).astype(np.uint8)


def corrupted(name, seed=11):
    """A corruption of both pictures at each of `SEVERITIES`: uint8 (2, 2, 32, 32, 3)."""
    images = pictures()
    return np.stack([corrupt(images, name, s, seed=seed, ids=IDS, table="cifar-10-c") for s in SEVERITIES])


@pytest.mark.parametrize("name", CORRUPTIONS.names)
def test_pixels_are_those_of_this_version(name):
    with np.load(FOLDER / f"{name}.npz") as golden:
        assert golden["version"] == PIXEL_VERSION
        difference = np.abs(corrupted(name).astype(np.int16) - golden["pixels"])
    # Other processors may round a sum otherwise, which can show as a grey level here and there.
    assert difference.max() <= 1
    assert (difference > 0).mean() < 0.002


@pytest.mark.parametrize("name", [row.name for row in CORRUPTIONS if row.random])
def test_another_seed_is_told_apart(name):
    with np.load(FOLDER / f"{name}.npz") as golden:
        assert (corrupted(name, seed=12) != golden["pixels"]).mean() > 0.01


def test_every_file_belongs_to_a_corruption():
    assert sorted(path.stem for path in FOLDER.iterdir()) == sorted(CORRUPTIONS.names)


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for row in CORRUPTIONS:
        np.savez_compressed(FOLDER / f"{row.name}.npz", pixels=corrupted(row.name), version=PIXEL_VERSION)

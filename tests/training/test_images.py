from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from robustbench_bi.data import open_data
from robustbench_bi.data.preprocess import Preprocessing
from robustbench_bi.errors import DataError
from robustbench_bi.training.images import TrainingImages, prefetched
from robustbench_bi.training.recipe import Recipe

DEMO = Preprocessing(64, 64)


def images(dataset=None, *, preprocessing=DEMO, workers=0, seed=0, **recipe):
    dataset = open_data("demo", split="training", limit=24) if dataset is None else dataset
    return TrainingImages(dataset, preprocessing, Recipe(**{"crop": "shift", "shift": 4, **recipe}), seed, workers)


def epoch(source, number=0, parts=((0, 8), (8, 16), (16, 24))):
    batches = list(source.batches(number, [slice(*part) for part in parts]))
    return torch.cat([pictures for pictures, _ in batches]), torch.cat([labels for _, labels in batches])


@pytest.mark.parametrize("augment", ["none", "augmix", "noise"])
def test_workers_and_the_cutting_into_batches_change_no_pixel(augment):
    whole, labels = epoch(images(augment=augment), parts=((0, 24),))
    parts, others = epoch(images(augment=augment, workers=3))
    assert torch.equal(whole, parts)
    assert torch.equal(labels, others)
    # What a process of two gets, and what comes after a restart in the middle.
    shares = [epoch(images(augment=augment), parts=((rank * 4, rank * 4 + 4),))[0] for rank in range(2)]
    assert torch.equal(torch.cat(shares), whole[:8])
    assert torch.equal(epoch(images(augment=augment), parts=((16, 24),))[0], whole[16:])


def test_epochs_seeds_and_augmentations_differ():
    plain = epoch(images())[0]
    others = [
        epoch(images(), 1)[0],
        epoch(images(seed=1))[0],
        *(epoch(images(augment=a))[0] for a in ("augmix", "noise")),
    ]
    assert not any(torch.equal(plain, other) for other in others)


def test_an_augmentation_comes_on_top_of_the_same_crops():
    plain, noisy = epoch(images())[0], epoch(images(augment="noise"))[0]
    equal = (plain == noisy).flatten(1).all(1)
    assert 4 <= equal.sum() <= 20
    assert (plain.float() - noisy.float()).abs().mean() < 10


def test_augmentation_depends_on_the_image_not_on_its_place_in_a_subset():
    dataset = open_data("demo", split="training", limit=24)
    source = images(dataset, crop="none", flip=False, augment="noise")
    fewer = images(dataset.without(dataset.image_ids[:12]), crop="none", flip=False, augment="noise")
    rows = {number: source._augmented(source.read(np.array([number])), np.array([number]), 0) for number in (12, 20)}
    for number, expected in rows.items():
        row = np.array([number - 12])
        assert torch.equal(fewer._augmented(fewer.read(row), row, 0), expected)


@pytest.fixture
def folder(tmp_path):
    """Pictures twice as wide as high, whose red grows to the right and whose green grows downwards."""
    across, down = np.meshgrid(np.arange(200), np.arange(100))
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
        for number in range(6):
            pixels = np.stack([across, down, np.full_like(down, number)], axis=-1).astype(np.uint8)
            Image.fromarray(pixels).save(tmp_path / name / f"{number}.png")
    return open_data(str(tmp_path))


def test_inception_crops_of_files_are_of_the_whole_picture(folder):
    preprocessing = Preprocessing(32, 37)
    pictures, labels = epoch(images(folder, preprocessing=preprocessing, crop="inception"), parts=((0, 12),))
    assert pictures.shape == (12, 3, 32, 32)
    red = pictures[:, 0].flatten(1)
    # The centre square spans 50 to 150.
    assert red.min() < 30
    assert red.max() > 170
    again, others = epoch(
        images(folder, preprocessing=preprocessing, crop="inception", workers=3), parts=((0, 5), (5, 12))
    )
    assert torch.equal(pictures, again)
    assert torch.equal(labels, others)


def test_files_without_an_inception_crop_are_brought_to_one_size_first(folder):
    pictures, _ = epoch(images(folder, preprocessing=Preprocessing(32, 37), crop="none", flip=False), parts=((0, 12),))
    assert pictures[:, 0].min() > 45
    assert pictures[:, 0].max() < 155


def test_a_broken_file_is_named(folder, tmp_path):
    (tmp_path / "cat" / "3.png").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"cannot read image .*cat.3\.png"):
        epoch(images(folder, preprocessing=Preprocessing(32, 37), crop="inception", workers=2), parts=((0, 12),))


def test_without_whole_pictures_the_reader_serves(folder):
    source = images(replace(folder, open_image=None), preprocessing=Preprocessing(32, 37), crop="inception")
    assert epoch(source, parts=((0, 12),))[0].shape == (12, 3, 32, 32)


def test_prefetching_works_ahead_keeps_the_order_and_passes_errors_on():
    made = []

    def numbers():
        for number in range(5):
            made.append(number)
            yield number
        raise DataError("the end")

    ready = prefetched(numbers(), ahead=2)
    got = [next(ready)]
    got.extend(next(ready) for _ in range(4))
    assert got == [0, 1, 2, 3, 4] == made
    with pytest.raises(DataError, match="the end"):
        next(ready)


def test_prefetching_stops_when_it_is_closed():
    made = []
    ready = prefetched((made.append(number) or number for number in range(1000)), ahead=2)
    next(ready)
    ready.close()
    assert len(made) <= 4

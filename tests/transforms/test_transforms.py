"""Corrupt and RandomCorrupt: in samples, in workers, and with the libraries that they are made for."""

from __future__ import annotations

import pickle
import sys
from collections import Counter
from typing import Any

import datasets
import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision import tv_tensors
from torchvision.transforms import v2

import robustbench_bi as rb
from robustbench_bi.corruptions import SUITES
from robustbench_bi.errors import BackendUnavailableError, InputError, UnknownNameError
from robustbench_bi.transforms import Corrupt, RandomCorrupt, adapters, content_ids, for_albumentations, for_map

COUNT = 12
# Of a ramp of bytes; once published they never change.
KEY = 5_198_600_220_053_494_075
CHOICE = ("gaussian_blur", 1)


def pictures(count: int = COUNT, height: int = 36, width: int = 48) -> Tensor:
    random = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (count, 3, height, width), dtype=torch.uint8, generator=random)


def as_pillow(picture: Tensor) -> Image.Image:
    return Image.fromarray(picture.permute(1, 2, 0).numpy())


def as_tensor(picture: Any) -> Tensor:
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1)


TRANSFORMS = [
    Corrupt("shot_noise", 2, seed=3),
    Corrupt("contrast", 4),
    Corrupt("snow", 2, table="auto"),
    RandomCorrupt("all", (1, 5)),
]


@pytest.mark.parametrize("transform", TRANSFORMS, ids=repr)
def test_a_result_depends_on_the_pixels_alone(transform: Any) -> None:
    batch = pictures()
    expected = transform(batch)
    assert expected.dtype == torch.uint8 and not torch.equal(expected, batch)
    backwards = transform(batch.flip(0)).flip(0)
    for number, picture in enumerate(batch):
        found = [transform(picture), backwards[number], as_tensor(transform(as_pillow(picture)))]
        found += [as_tensor(transform.corrupt(picture.permute(1, 2, 0).numpy())), transform(tv_tensors.Image(picture))]
        assert all(torch.equal(one, expected[number]) for one in found), number


def test_a_picture_is_corrupted_as_by_the_function_with_its_key() -> None:
    batch = pictures(3)
    for name in ("gaussian_noise", "fog", "contrast", "elastic_transform"):
        assert torch.equal(Corrupt(name, 3, 5)(batch), rb.corrupt(batch, name, 3, seed=5, ids=content_ids(batch)))
        keyed = Corrupt(name, 3, seed=5).corrupt(batch, ids=[7, 0, 9])
        assert torch.equal(keyed, rb.corrupt(batch, name, 3, seed=5, ids=[7, 0, 9]))
    assert not torch.equal(Corrupt("fog", 3)(batch), Corrupt("fog", 3, seed=1)(batch))
    assert not torch.equal(Corrupt("fog", 3)(batch), rb.corrupt(batch, "fog", 3))


def test_one_changed_byte_changes_all_draws() -> None:
    base = torch.full((3, 32, 40), 100, dtype=torch.uint8)
    changed = base.expand(200, -1, -1, -1).clone()
    for number in range(1, 200):
        changed.view(200, -1)[number, number * 7] += 1
    assert len(set(content_ids(changed).tolist())) == 200
    turned = torch.full((1, 3, 40, 32), 100, dtype=torch.uint8)
    assert content_ids(turned).tolist() != content_ids(base).tolist()
    noisy = Corrupt("gaussian_noise", 1)(changed[:2]).float()
    assert (noisy[0] != noisy[1]).float().mean() > 0.5


def test_keys_stay_what_they_are() -> None:
    ramp = torch.arange(3 * 32 * 32).remainder(256).to(torch.uint8).view(1, 3, 32, 32)
    assert content_ids(ramp).tolist() == [KEY]
    assert RandomCorrupt("extra", "1-3", seed=2).choices(torch.tensor([KEY])) == [CHOICE]


def test_all_cells_are_equally_likely_and_the_seed_chooses_others() -> None:
    transform = RandomCorrupt("extra,fog", [1, 3, 5])
    ids = torch.arange(15_000)
    counts = Counter(transform.choices(ids))
    assert set(counts) == {(name, level) for name in (*SUITES["extra"].corruptions, "fog") for level in (1, 3, 5)}
    assert all(850 < count < 1150 for count in counts.values())
    others = RandomCorrupt("extra,fog", [1, 3, 5], seed=1).choices(ids)
    assert 0.03 < np.mean([one == other for one, other in zip(transform.choices(ids), others, strict=True)]) < 0.11
    from_generator = RandomCorrupt("extra", (level for level in (1, 2)))
    assert len(set(from_generator.choices(ids))) == 8


def test_random_choices_are_those_that_are_applied() -> None:
    batch = pictures()
    transform = RandomCorrupt(["noise", "spatter"], "2-4", seed=9)
    ids = content_ids(batch)
    for number, (name, severity) in enumerate(transform.choices(ids)):
        alone = rb.corrupt(batch[number], name, severity, seed=9, ids=ids[number : number + 1])
        assert torch.equal(transform(batch)[number], alone)
    assert len(set(transform.choices(ids))) > 3


def test_only_the_picture_of_a_sample_changes() -> None:
    image = tv_tensors.Image(pictures(1)[0])
    sample = {
        "image": image,
        "boxes": tv_tensors.BoundingBoxes([[1, 2, 9, 9]], format="XYXY", canvas_size=(36, 48)),
        "mask": tv_tensors.Mask(torch.ones(3, 36, 48, dtype=torch.uint8)),
        "more": (torch.zeros(3, 36, 48, dtype=torch.uint8), 5, "name"),
    }
    found = Corrupt("fog", 5)(sample)
    assert type(found["image"]) is tv_tensors.Image and not torch.equal(found["image"], image)
    assert torch.equal(found["boxes"], sample["boxes"]) and torch.equal(found["mask"], sample["mask"])
    assert torch.equal(found["more"][0], sample["more"][0]) and found["more"][1:] == (5, "name")
    video = tv_tensors.Video(pictures(2))
    assert type(Corrupt("fog", 5)(video)) is tv_tensors.Video
    labels = torch.tensor([3, 4])
    batch, same = Corrupt("fog", 5)(pictures(2), labels)
    assert same is labels and torch.equal(batch, Corrupt("fog", 5)(pictures(2)))


def test_in_a_chain_of_torchvision() -> None:
    chain = v2.Compose([v2.Resize(40), Corrupt("fog", 3), v2.ToImage(), v2.ToDtype(torch.float32, scale=True)])
    floats = chain(as_pillow(pictures(1)[0]))
    assert floats.dtype == torch.float32 and floats.shape == (3, 40, 53)


@pytest.mark.parametrize("transform", [Corrupt("fog", 3), RandomCorrupt("noise", 1)], ids=repr)
@pytest.mark.parametrize(
    ("sample", "text"),
    [
        (
            np.zeros((40, 40, 3), np.uint8),
            r"must hold an image, .* got ndarray; for an array, call transform\.corrupt",
        ),
        ((np.zeros((40, 40, 3), np.uint8), 3), "got ndarray, int"),
        ({}, "got nothing"),
        (tv_tensors.Mask(torch.zeros(3, 40, 40, dtype=torch.uint8)), "got Mask"),
        (torch.zeros(3, 40, 40), "must be uint8"),
        ((Image.new("RGB", (40, 40)), Image.new("L", (40, 40))), "must be RGB, got mode L"),
    ],
)
def test_what_is_no_picture_is_refused(transform: Any, sample: Any, text: str) -> None:
    with pytest.raises(InputError, match=text):
        transform(sample)


def test_settings_are_checked_when_a_transform_is_made() -> None:
    for make in (
        lambda: Corrupt("fogg", 3),
        lambda: RandomCorrupt("imagenet", 3),
        lambda: Corrupt("fog", 3, table="x"),
    ):
        with pytest.raises(UnknownNameError):
            make()
    for make in (
        lambda: Corrupt("fog", 6),
        lambda: RandomCorrupt("noise", 0),
        lambda: RandomCorrupt("noise", 1, seed=-1),
    ):
        with pytest.raises(InputError):
            make()
    random = "RandomCorrupt(suite=noise,fog, severities=(1, 2), seed=4, table=auto)"
    assert repr(RandomCorrupt("noise,fog", "1-2", 4, table="auto")) == random
    assert repr(Corrupt("fog", 3)) == "Corrupt(name=fog, severity=3, seed=0, table=imagenet-c)"


class Pictures(Dataset[Tensor]):
    def __len__(self) -> int:
        return COUNT

    def __getitem__(self, index: int) -> Tensor:
        return RandomCorrupt("noise,fog", "1-5")(pictures()[index])  # type: ignore[no-any-return]


@pytest.mark.parametrize(("workers", "batch"), [(0, 5), (1, 4), (2, 3)])
def test_workers_repeat_whatever_their_number(workers: int, batch: int) -> None:
    expected = RandomCorrupt("noise,fog", "1-5")(pictures())
    loader = DataLoader(
        Pictures(), batch_size=batch, num_workers=workers, multiprocessing_context="fork" if workers else None
    )
    for _ in range(2):
        assert torch.equal(torch.cat(list(loader)), expected)


def test_transforms_can_be_sent_to_workers() -> None:
    for transform in TRANSFORMS:
        again = pickle.loads(pickle.dumps(transform))
        assert torch.equal(again(pictures(2)), transform(pictures(2)))


@pytest.fixture
def data_set() -> datasets.Dataset:
    columns = {"image": [as_pillow(pictures(1, 36, 48 + number)[0]) for number in range(5)], "label": list(range(5))}
    features = {"image": datasets.Image(), "label": datasets.Value("int64")}
    return datasets.Dataset.from_dict(columns, features=datasets.Features(features))


def test_map_and_with_transform_of_datasets(data_set: datasets.Dataset) -> None:
    change = for_map(Corrupt("fog", 3))
    ways = [data_set.map(change), data_set.map(change, batched=True, batch_size=2), data_set.with_transform(change)]
    indexed = [data_set.map(change, with_indices=True, batched=batched) for batched in (False, True)]
    for number in range(5):
        original = np.array(data_set[number]["image"])
        for way in ways:
            assert np.array_equal(way[number]["image"], Corrupt("fog", 3).corrupt(original))
            assert way[number]["label"] == number
        for way in indexed:
            assert np.array_equal(way[number]["image"], rb.corrupt(original, "fog", 3, ids=[number]))
    assert ways[2][1:3]["label"] == [1, 2]
    with pytest.raises(UnknownNameError, match=r"unknown column 'img'\. Did you mean 'image'"):
        data_set.map(for_map(Corrupt("fog", 3), "img"))


def test_the_cache_of_datasets_knows_a_transform_again(data_set: datasets.Dataset) -> None:
    def fingerprint(*arguments: Any) -> str:
        return data_set.map(for_map(Corrupt(*arguments)))._fingerprint  # type: ignore[no-any-return]

    assert fingerprint("fog", 3) == fingerprint("fog", 3)
    assert len({fingerprint("fog", 3), fingerprint("fog", 2), fingerprint("fog", 3, 1), fingerprint("snow", 3)}) == 4


def test_in_a_chain_of_albumentations(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_ALBUMENTATIONS_UPDATE", "1")
    albumentations = pytest.importorskip("albumentations", reason="albumentations is not installed")
    picture = pictures(1)[0].permute(1, 2, 0).numpy()
    mask = np.ones(picture.shape[:2], np.uint8)
    chain = albumentations.Compose([for_albumentations(Corrupt("fog", 3))], seed=1)
    for way in (chain, pickle.loads(pickle.dumps(chain))):
        found = way(image=picture, mask=mask)
        assert np.array_equal(found["image"], Corrupt("fog", 3).corrupt(picture))
        assert np.array_equal(found["mask"], mask)
    assert np.array_equal(chain(images=np.stack([picture] * 2))["images"][1], Corrupt("fog", 3).corrupt(picture))
    half = albumentations.Compose([for_albumentations(Corrupt("fog", 3), p=0.5)], seed=1)
    changed = sum(not np.array_equal(half(image=picture)["image"], picture) for _ in range(60))
    assert 15 < changed < 45
    with pytest.raises(InputError, match="must be uint8"):
        chain(image=picture.astype(np.float32) / 255)


def test_albumentations_is_asked_for_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    adapters._albumentations_class.cache_clear()
    monkeypatch.setitem(sys.modules, "albumentations", None)
    with pytest.raises(BackendUnavailableError, match="pip install albumentations"):
        for_albumentations(Corrupt("fog", 3))

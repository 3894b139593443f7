"""The contract that every corruption of the table keeps."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from robustbench_bi.corruptions import CORRUPTIONS, TABLES, Corruption
from robustbench_bi.corruptions.apply import corrupt, jpeg_round_trip
from robustbench_bi.corruptions.original import corrupt as original_corrupt
from robustbench_bi.errors import BackendUnavailableError, InputError, UnknownNameError

Photographs = Callable[..., Tensor]
SIZES = [(32, 32), (33, 47), (64, 64), (224, 224), (299, 299)]


@pytest.fixture(params=list(CORRUPTIONS), ids=lambda row: row.name)
def row(request: pytest.FixtureRequest) -> Corruption:
    return request.param  # type: ignore[no-any-return]


@pytest.mark.parametrize(("height", "width"), SIZES, ids=str)
def test_kind_is_kept_and_input_unchanged(row: Corruption, height: int, width: int, photographs: Photographs) -> None:
    images = photographs(2, height, width)
    before = images.clone()
    corrupted = corrupt(images, row.name, 3, table="auto")
    assert (corrupted.shape, corrupted.dtype, corrupted.device) == (images.shape, images.dtype, images.device)
    assert corrupted.is_contiguous()
    assert torch.equal(images, before)
    assert not torch.equal(corrupted, images)


@pytest.mark.parametrize("table", TABLES.names)
def test_every_table_and_severity_runs(row: Corruption, table: str, photographs: Photographs) -> None:
    images = photographs(1, 48, 40)
    results = [corrupt(images, row.name, severity, table=table) for severity in range(1, 6)]
    assert all(result.shape == images.shape and result.dtype == torch.uint8 for result in results)
    assert any(not torch.equal(first, second) for first, second in itertools.pairwise(results))


def test_same_seed_same_bits(row: Corruption, photographs: Photographs) -> None:
    images = photographs(2, 64)
    first, again = (corrupt(images, row.name, 4, seed=5, table="auto") for _ in range(2))
    assert torch.equal(first, again)


@pytest.mark.parametrize(("height", "width"), [(33, 47), (64, 64)], ids=str)
def test_a_batch_of_seven_equals_seven_of_one(
    row: Corruption, height: int, width: int, photographs: Photographs
) -> None:
    images = photographs(7, height, width)
    ids = [5, 0, 2**33, 7, 7, 2, 2**63 - 1]
    for severity in (1, 5):
        together = corrupt(images, row.name, severity, ids=ids, table="auto")
        for number, identifier in enumerate(ids):
            alone = corrupt(images[number : number + 1], row.name, severity, ids=[identifier], table="auto")
            assert torch.equal(alone[0], together[number]), (severity, number)


def test_parts_of_a_batch_do_not_show(
    row: Corruption, photographs: Photographs, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = photographs(5, 33, 47)
    whole = corrupt(images, row.name, 3, table="auto")
    monkeypatch.setattr("robustbench_bi.corruptions.apply._PIXELS_AT_ONCE_CPU", 2 * 33 * 47)
    assert torch.equal(corrupt(images, row.name, 3, table="auto"), whole)


def test_ids_and_seed_matter_for_random_ones_only(row: Corruption, photographs: Photographs) -> None:
    images = photographs(1, 64).expand(3, -1, -1, -1)
    corrupted = corrupt(images, row.name, 3, ids=[4, 5, 4], table="auto")
    reseeded = corrupt(images, row.name, 3, ids=[4, 5, 4], seed=1, table="auto")
    high_seed = corrupt(images, row.name, 3, ids=[4, 5, 4], seed=2**32, table="auto")
    assert torch.equal(corrupted[0], corrupted[2])
    assert torch.equal(corrupted[0], corrupted[1]) is not row.random
    assert torch.equal(corrupted, reseeded) is not row.random
    assert torch.equal(corrupted, high_seed) is not row.random


def test_ids_default_to_positions(photographs: Photographs) -> None:
    images = photographs(3, 32)
    assert torch.equal(corrupt(images, "shot_noise", 2), corrupt(images, "shot_noise", 2, ids=[0, 1, 2]))


def test_layout_does_not_matter(row: Corruption, photographs: Photographs) -> None:
    images = photographs(2, 64, 48)
    expected = corrupt(images, row.name, 2, table="auto")
    channels_last = images.contiguous(memory_format=torch.channels_last)
    strided = torch.zeros(2, 3, 64, 96, dtype=torch.uint8)
    strided[..., ::2] = images
    assert torch.equal(corrupt(channels_last, row.name, 2, table="auto"), expected)
    assert torch.equal(corrupt(strided[..., ::2], row.name, 2, table="auto"), expected)


def test_numpy_in_numpy_out(row: Corruption, photographs: Photographs) -> None:
    images = photographs(2, 40, 56)
    expected = corrupt(images, row.name, 2, table="auto").permute(0, 2, 3, 1).numpy()
    arrays = images.permute(0, 2, 3, 1).numpy()
    batch = corrupt(arrays, row.name, 2, table="auto")
    one = corrupt(arrays[1], row.name, 2, ids=[1], table="auto")
    assert isinstance(batch, np.ndarray) and isinstance(one, np.ndarray)
    assert batch.dtype == one.dtype == np.uint8
    assert np.array_equal(batch, expected) and np.array_equal(one, expected[1])


@pytest.mark.parametrize("of", [np.asarray, torch.from_numpy])
@pytest.mark.parametrize("change", [corrupt, original_corrupt, lambda images, *_: jpeg_round_trip(images)])
def test_what_people_hold_comes_back_as_it_was_given(of: Any, change: Any, photographs: Photographs) -> None:
    batch = photographs(2, 40, 56)
    expected = change(batch, "contrast", 2)
    first, last = expected.numpy(), expected.permute(0, 2, 3, 1).numpy()
    for array, wanted in ((batch.numpy(), first), (batch.permute(0, 2, 3, 1).numpy(), last)):
        given = of(array.copy())
        for one, its in ((given, wanted), (given[0], wanted[0])):
            found = change(one, "contrast", 2)
            assert type(found) is type(one) and found.shape == one.shape and found.dtype == one.dtype
            assert np.array_equal(np.asarray(found), its)
    picture = change(Image.fromarray(batch[0].permute(1, 2, 0).numpy()), "contrast", 2)
    assert isinstance(picture, Image.Image) and picture.size == (56, 40) and picture.mode == "RGB"
    assert np.array_equal(np.asarray(picture), last[0])


def test_read_only_and_reversed_arrays(photographs: Photographs) -> None:
    array = photographs(1, 32)[0].permute(1, 2, 0).numpy()
    flipped = array[::-1]
    frozen = np.ascontiguousarray(flipped)
    frozen.flags.writeable = False
    assert np.array_equal(corrupt(flipped, "contrast", 1), corrupt(frozen, "contrast", 1))


@pytest.mark.parametrize("images", [torch.zeros(0, 3, 32, 32, dtype=torch.uint8), np.zeros((0, 32, 32, 3), np.uint8)])
def test_an_empty_batch_gives_an_empty_batch(row: Corruption, images: Any) -> None:
    for ids in (None, []):
        corrupted = corrupt(images, row.name, 1, ids=ids)
        assert type(corrupted) is type(images)
        assert corrupted.shape == images.shape


@pytest.mark.parametrize("value", [0, 255])
def test_black_and_white_images(row: Corruption, value: int) -> None:
    images = torch.full((1, 3, 32, 32), value, dtype=torch.uint8)
    assert corrupt(images, row.name, 5, table="cifar-10-c").shape == images.shape


@pytest.mark.parametrize("severity", [0, 6, -1, 2.5, 3.0, True, np.True_, "3", None, np.float64(2)])
def test_severity_is_refused(severity: Any) -> None:
    images = torch.zeros(1, 3, 32, 32, dtype=torch.uint8)
    with pytest.raises(InputError) as caught:
        corrupt(images, "fog", severity)
    assert str(caught.value) == f"severity must be an integer from 1 to 5, got {severity!r}"


def test_numpy_integers_are_accepted(photographs: Photographs) -> None:
    images = photographs(1, 32)
    plain = corrupt(images, "speckle_noise", 2, seed=3, ids=[9])
    assert torch.equal(corrupt(images, "speckle_noise", np.int64(2), seed=np.uint8(3), ids=np.array([9])), plain)
    assert torch.equal(corrupt(images, "speckle_noise", 2, seed=3, ids=torch.tensor([9])), plain)


BYTES = torch.uint8
REFUSED_IMAGES = [
    (torch.zeros(1, 3, 32, 32), r"images must be uint8 \(0 to 255\), got torch.float32"),
    (np.zeros((32, 32, 3)), r"images must be uint8 \(0 to 255\), got float64"),
    (torch.zeros(1, 1, 32, 32, dtype=BYTES), r"shape \(H, W, 3\) or \(B, H, W, 3\), got \(1, 1, 32, 32\)"),
    (np.zeros((3, 40, 3), np.uint8), r"shape \(3, 40, 3\) is ambiguous: channels could be first or last"),
    (torch.zeros(3, 40, 3, dtype=BYTES), r"shape \(3, 40, 3\) is ambiguous: channels could be first or last"),
    (torch.zeros(2, 3, 40, 3, dtype=BYTES), r"shape \(2, 3, 40, 3\) is ambiguous: channels could be first or last"),
    (np.zeros((1, 2, 3, 40, 40), np.uint8), r"shape \(3, H, W\) or \(B, 3, H, W\), or with channels last"),
    (Image.new("L", (40, 40)), r'must be RGB, got mode L; pass image.convert\("RGB"\)'),
    (Image.new("RGBA", (40, 40)), "must be RGB, got mode RGBA"),
    ([np.zeros((2, 40, 40, 3), np.uint8)], r"a list must hold single images.* got one of shape \(2, 40, 40, 3\)"),
    ([np.zeros((40, 40, 3), np.uint8), np.zeros((40, 31, 3), np.uint8)], "at least 32 pixels high and wide, got 40×31"),
    (np.zeros((32, 32), np.uint8), r"shape \(H, W, 3\) or \(B, H, W, 3\), got \(32, 32\)"),
    (np.zeros((32, 32, 4), np.uint8), r"shape \(H, W, 3\) or \(B, H, W, 3\), got \(32, 32, 4\)"),
    (torch.zeros(1, 3, 31, 64, dtype=BYTES), "images must be at least 32 pixels high and wide, got 31×64"),
    (np.zeros((64, 31, 3), np.uint8), "images must be at least 32 pixels high and wide, got 64×31"),
    ([[0]], "images must be a Pillow image, a torch tensor or a NumPy array, got list$"),
    (7, "images must be a Pillow image, a torch tensor or a NumPy array, got int$"),
    (torch.zeros(1, 3, 32, 32, dtype=BYTES, device="meta"), "dense tensor with values, got a meta tensor"),
    (torch.zeros(1, 3, 32, 32, dtype=BYTES).to_sparse(), r"got a tensor with layout torch\.sparse_coo"),
]


@pytest.mark.parametrize(("images", "text"), REFUSED_IMAGES)
def test_images_are_refused(images: Any, text: str) -> None:
    with pytest.raises(InputError, match=text):
        corrupt(images, "contrast", 1)


def test_a_list_is_refused_where_only_a_batch_is_taken() -> None:
    for change in (original_corrupt, lambda images, *_: jpeg_round_trip(images)):
        with pytest.raises(InputError, match=r"got list; stack several images of one size with np.stack\(images\)"):
            change([Image.new("RGB", (40, 40))], "contrast", 1)  # type: ignore[no-untyped-call]


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("name", ["fog", "contrast"])
def test_a_list_holds_pictures_of_different_sizes_and_kinds(name: str, threads: int, photographs: Photographs) -> None:
    tensor, array, wide = photographs(1, 40, 56)[0], photographs(2, 64)[1].permute(1, 2, 0).numpy(), photographs(1, 33)
    pictures = [tensor, array, Image.fromarray(wide[0].permute(1, 2, 0).numpy())]
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        corrupted = corrupt(pictures, name, 3, seed=4, table="auto")
        keyed = corrupt(tuple(pictures), name, 3, seed=4, ids=[7, 8, 9], table="auto")
    finally:
        torch.set_num_threads(before)
    assert [type(one) for one in corrupted] == [Tensor, np.ndarray, Image.Image]
    for results, ids in ((corrupted, (0, 1, 2)), (keyed, (7, 8, 9))):
        for picture, result, key in zip(pictures, results, ids, strict=True):
            alone = corrupt(picture, name, 3, seed=4, ids=[key], table="auto")
            assert np.array_equal(np.asarray(result), np.asarray(alone))
    assert corrupt([], name, 3) == []
    with pytest.raises(InputError, match="ids must hold one integer per image, 3 here"):
        corrupt(pictures, name, 3, ids=[0])


REFUSED_IDS = [
    ([1], r"ids must hold one integer per image, 2 here, got shape \(1,\)"),
    (3, r"ids must hold one integer per image, 2 here, got shape \(\)"),
    ([[1], [2]], r"ids must hold one integer per image, 2 here, got shape \(2, 1\)"),
    ([0.0, 1.0], "ids must be integers from 0 to 2.*, got float64"),
    ([True, False], "ids must be integers from 0 to 2.*, got bool"),
    ([3, -1], "ids must be integers from 0 to 2.*, got -1 to 3"),
    (np.array([0, 2**63], np.uint64), "ids must be integers from 0 to 2.*, got 0 to 9223372036854775808"),
    (["a", "b"], "ids must be integers"),
    ([[1], [2, 3]], r"ids must hold one integer per image, 2 here \(setting an array element with a sequence"),
    (torch.tensor([1.0, 2.0], requires_grad=True), "ids must be integers from 0 to 2.*, got float64"),
    (torch.tensor([1.0, 2.0], dtype=torch.bfloat16), "ids must be integers from 0 to 2.*, got float64"),
]


@pytest.mark.parametrize(("ids", "text"), REFUSED_IDS)
def test_ids_are_refused(ids: Any, text: str) -> None:
    with pytest.raises(InputError, match=text):
        corrupt(torch.zeros(2, 3, 32, 32, dtype=torch.uint8), "fog", 1, ids=ids)


@pytest.mark.parametrize("seed", [-1, 2**64, 0.0, True, None])
def test_seed_is_refused(seed: Any) -> None:
    with pytest.raises(InputError) as caught:
        corrupt(torch.zeros(1, 3, 32, 32, dtype=torch.uint8), "fog", 1, seed=seed)
    assert str(caught.value) == f"seed must be an integer from 0 to 2**64 - 1, got {seed!r}"


def test_unknown_names_are_refused() -> None:
    images = torch.zeros(0, 3, 32, 32, dtype=torch.uint8)
    with pytest.raises(UnknownNameError, match=r"unknown corruption 'fogg'\. Did you mean 'fog'\?"):
        corrupt(images, "fogg", 1)
    with pytest.raises(UnknownNameError, match=r"unknown table of constants 'imagenet'\. Did you mean 'imagenet-c'\?"):
        corrupt(images, "fog", 1, table="imagenet")
    with pytest.raises(UnknownNameError, match=r"unknown backend 'numbaa'\. Did you mean 'numba'\?"):
        corrupt(images, "fog", 1, backend="numbaa")


def test_a_backend_that_cannot_run_is_refused() -> None:
    images = torch.zeros(1, 3, 32, 32, dtype=torch.uint8)
    with pytest.raises(BackendUnavailableError, match=r"backend 'triton' cannot run here: only reference and"):
        corrupt(images, "contrast", 1, backend="triton")


def test_autocast_does_not_show(photographs: Photographs) -> None:
    images = photographs(1, 64)
    expected = corrupt(images, "pixelate", 3)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(corrupt(images, "pixelate", 3), expected)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_the_device_does_not_show(row: Corruption, photographs: Photographs) -> None:
    images = photographs(3, 64)
    on_cpu = corrupt(images, row.name, 3, table="auto")
    on_gpu = corrupt(images.cuda(), row.name, 3, table="auto")
    assert on_gpu.device.type == "cuda"
    apart = (on_cpu.int() - on_gpu.cpu().int()).abs()
    # Sums and transcendental functions may differ in their last bit, which truncation can turn into one grey level.
    assert float((apart > 0).float().mean()) < 1e-3
    assert int(apart.max()) <= 1

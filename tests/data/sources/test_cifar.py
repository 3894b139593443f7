import hashlib
import pickle
import tarfile

import numpy as np
import pytest
from torchvision.datasets import CIFAR10

from robustbench_bi.data import open_data
from robustbench_bi.data.preprocess import Preprocessing, fit_images
from robustbench_bi.errors import DataError, InputError

SMALL = Preprocessing(32, 36)
COUNT = 6


def pixels(count, seed):
    return np.random.default_rng(seed).integers(0, 256, (count, 32, 32, 3), dtype=np.uint8)


@pytest.fixture
def batches(tmp_path, monkeypatch):
    """A small CIFAR-10 in the published layout; torchvision is told its checksums."""
    folder = tmp_path / "data" / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    sums = {}
    for seed, name in enumerate(["test_batch", *(f"data_batch_{number}" for number in range(1, 6))]):
        flat = pixels(4, seed).transpose(0, 3, 1, 2).reshape(4, -1)
        content = pickle.dumps({"data": flat, "labels": [seed, 9, 0, 3]})
        (folder / name).write_bytes(content)
        sums[name] = hashlib.md5(content).hexdigest()
    meta = pickle.dumps({"label_names": []})
    (folder / "batches.meta").write_bytes(meta)
    monkeypatch.setattr(CIFAR10, "test_list", [["test_batch", sums["test_batch"]]])
    monkeypatch.setattr(CIFAR10, "train_list", [[name, sums[name]] for name in sorted(sums) if name != "test_batch"])
    monkeypatch.setattr(CIFAR10, "meta", {**CIFAR10.meta, "md5": hashlib.md5(meta).hexdigest()})
    monkeypatch.setattr(CIFAR10, "url", (tmp_path / "nothing.tar.gz").as_uri())
    return tmp_path / "data"


@pytest.mark.parametrize("inside", ["", "/cifar-10-batches-py"])
def test_the_test_set_is_the_evaluation_split(batches, inside):
    dataset = open_data(f"cifar-10:{batches}{inside}")
    assert (len(dataset), dataset.num_classes, dataset.native_size, dataset.stored_cells) == (4, 10, 32, None)
    assert dataset.labels.tolist() == [0, 9, 0, 3]
    assert dataset.class_names[9] == "truck"
    assert np.array_equal(dataset.read([3, 0], SMALL), pixels(4, 0)[[3, 0]].transpose(0, 3, 1, 2))
    assert dataset.find_broken() == ()


def test_the_training_split(batches):
    dataset = open_data(f"cifar-10:{batches}", split="training", limit=15)
    assert len(dataset) == 15
    batch, row = divmod(int(dataset.image_ids[7]), 4)
    assert np.array_equal(dataset.read([7], SMALL)[0], pixels(4, 1 + batch)[row].transpose(2, 0, 1))
    assert dataset.listing_hash != open_data(f"cifar-10:{batches}", split="training").listing_hash


def test_a_larger_model_gets_resized_images(batches):
    preprocessing = Preprocessing(64, 73, "bicubic")
    expected = fit_images(pixels(4, 0).transpose(0, 3, 1, 2), preprocessing)
    assert np.array_equal(open_data(f"cifar-10:{batches}").read(range(4), preprocessing), expected)


def test_a_failed_download_is_one_clear_error(batches, capsys):
    (batches / "cifar-10-batches-py" / "test_batch").write_bytes(b"damaged")
    with pytest.raises(
        DataError, match=r"cifar-10 is not in .*data and could not be downloaded \(.*No such file.*\): "
    ) as caught:
        open_data(f"cifar-10:{batches}")
    message = str(caught.value)
    assert message.endswith(
        f"download https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz and unpack it so that "
        f"{batches / 'cifar-10-batches-py'} exists"
    )
    assert "\n" not in message
    assert capsys.readouterr().out == ""


def test_images_of_arrays_are_named_by_class_and_number(batches):
    dataset = open_data(f"cifar-10:{batches}")
    assert dataset.names() == ("airplane/00000", "truck/00001", "airplane/00002", "cat/00003")
    assert dataset.without([0, 2]).names() == ("truck/00001", "cat/00003")
    assert (dataset.sizes().tolist(), dataset.sizes().dtype) == ([[32, 32]] * 4, np.int32)


@pytest.mark.parametrize("place", ["elsewhere", "beside"])
def test_missing_and_damaged_files_are_fetched_and_nothing_else_is_left(batches, tmp_path, url, monkeypatch, place):
    folder = batches / "cifar-10-batches-py"
    archive = tmp_path / "cifar-10-python.tar.gz" if place == "elsewhere" else batches / "cifar-10-python.tar.gz"
    with tarfile.open(archive, "w:gz") as packed:
        packed.add(folder, folder.name)
    monkeypatch.setattr(CIFAR10, "tgz_md5", hashlib.md5(archive.read_bytes()).hexdigest())
    # Already fetched by the user, it is used where it lies.
    monkeypatch.setattr(CIFAR10, "url", f"{url}/cifar-10-python.tar.gz")
    (folder / "test_batch").write_bytes(b"damaged")
    (folder / "data_batch_3").unlink()
    assert open_data(f"cifar-10:{batches}").labels.tolist() == [0, 9, 0, 3]
    assert len(open_data(f"cifar-10:{batches}", split="training")) == 20
    left = {"cifar-10-batches-py"} if place == "elsewhere" else {"cifar-10-batches-py", "cifar-10-python.tar.gz"}
    assert {path.name for path in batches.iterdir()} == left


@pytest.fixture
def root(tmp_path):
    labels = np.array([3, 1, 9, 0, 3, 5])
    np.save(tmp_path / "labels.npy", np.tile(labels, 5))
    for seed, name in enumerate(["fog", "snow"]):
        np.save(tmp_path / f"{name}.npy", pixels(5 * COUNT, seed))
    return tmp_path


def test_the_fifths_of_an_array_are_the_severities(root):
    dataset = open_data(f"cifar-10-c:{root}")
    assert dataset.labels.tolist() == [3, 1, 9, 0, 3, 5]
    assert dataset.stored_cells == {(name, severity) for name in ("fog", "snow") for severity in range(1, 6)}
    for severity in range(1, 6):
        expected = pixels(5 * COUNT, 1)[(severity - 1) * COUNT :][:COUNT]
        found = dataset.read(range(COUNT), SMALL, ("snow", severity))
        assert np.array_equal(found, expected.transpose(0, 3, 1, 2))
    with pytest.raises(DataError, match="holds no files for none at severity 0; it holds fog, snow"):
        dataset.read([0], SMALL)


def test_stored_arrays_name_their_images_likewise(root):
    dataset = open_data(f"cifar-10-c:{root}").without([1, 2, 3, 4])
    assert dataset.names() == ("cat/00000", "dog/00005")
    assert dataset.sizes().tolist() == [[32, 32]] * 2


def test_the_published_spelling_of_an_array_is_understood(root):
    (root / "snow.npy").rename(root / "transverse_chromatic_abberation.npy")
    names = {name for name, _ in open_data(f"cifar-10-c:{root}").stored_cells}
    assert names == {"fog", "transverse_chromatic_aberration"}


def test_clean_images_are_optional_and_a_limit_keeps_the_ids(root):
    np.save(root / "none.npy", pixels(COUNT, 7))
    dataset = open_data(f"cifar-10-c:{root}", limit=3)
    ids = dataset.image_ids
    assert len(ids) == 3
    assert dataset.labels.tolist() == np.array([3, 1, 9, 0, 3, 5])[ids].tolist()
    assert np.array_equal(dataset.read(range(3), SMALL), pixels(COUNT, 7)[ids].transpose(0, 3, 1, 2))
    assert np.array_equal(
        dataset.read(range(3), SMALL, ("fog", 2)), pixels(5 * COUNT, 0)[COUNT + ids].transpose(0, 3, 1, 2)
    )


def test_the_listing_hash_follows_pixels_and_labels(root):
    reference = open_data(f"cifar-10-c:{root}").listing_hash
    assert open_data(f"cifar-10-c:{root}").listing_hash == reference
    changed = pixels(5 * COUNT, 1)
    changed[-1, 5, 5, 1] ^= 1
    np.save(root / "snow.npy", changed)
    assert open_data(f"cifar-10-c:{root}").listing_hash != reference
    np.save(root / "snow.npy", pixels(5 * COUNT, 1))
    assert open_data(f"cifar-10-c:{root}").listing_hash == reference
    np.save(root / "labels.npy", np.tile(np.array([3, 1, 9, 0, 3, 6]), 5))
    assert open_data(f"cifar-10-c:{root}").listing_hash != reference


@pytest.mark.parametrize(
    ("name", "array", "message"),
    [
        ("snow", pixels(25, 0), r"snow.npy must be uint8 \(30, 32, 32, 3\) to fit labels.npy, got uint8 \(25, 32"),
        ("snow", pixels(30, 0).astype(np.float32), "must be uint8 .* got float32"),
        ("snow", pixels(30, 0).transpose(0, 3, 1, 2), r"got uint8 \(30, 3, 32, 32\)"),
        ("none", pixels(30, 0), r"none.npy must be uint8 \(6, 32, 32, 3\)"),
        ("labels", np.arange(30) % 10, "the same labels for each of the five severities, but they differ"),
        ("labels", np.zeros(31, dtype=int), "five times the labels of one severity"),
        ("labels", np.zeros((5, 6), dtype=int), "five times the labels of one severity"),
        ("labels", np.zeros(30), "five times the labels of one severity, got float64"),
        ("labels", np.full(30, 10), "class numbers from 0 to 9, got 10 to 10"),
        ("labels", np.array([None] * 30), r"cannot read .*labels.npy as an array: .*Python objects"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(root, name, array, message):
    np.save(root / f"{name}.npy", array)
    with pytest.raises(DataError, match=message):
        open_data(f"cifar-10-c:{root}")


def test_files_that_are_no_arrays_are_refused(root):
    for content in (b"", b"text"):
        (root / "fog.npy").write_bytes(content)
        with pytest.raises(DataError, match=r"cannot read .*fog.npy as an array"):
            open_data(f"cifar-10-c:{root}")
    with (root / "fog.npy").open("wb") as file:
        np.savez(file, a=np.zeros(3))
    with pytest.raises(DataError, match="it is an archive"):
        open_data(f"cifar-10-c:{root}")


def test_missing_files_are_named(root, tmp_path):
    (root / "labels.npy").unlink()
    with pytest.raises(DataError, match=r"expected <corruption>.npy and labels.npy in .*, found fog.npy, snow.npy"):
        open_data(f"cifar-10-c:{root}")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"found no .npy file"):
        open_data(f"cifar-10-c:{tmp_path / 'empty'}")
    with pytest.raises(InputError, match="cifar-10-c has no training split"):
        open_data(f"cifar-10-c:{root}", split="training")

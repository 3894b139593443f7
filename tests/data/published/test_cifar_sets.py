"""CIFAR's relatives and ImageNet-Sketch in published form, where every rule has an exact expected accuracy."""

import json
import pickle

import numpy as np
import pytest
from coloured import Reader, colour_of, write

import robustbench_bi as rb
from robustbench_bi.data import open_data
from robustbench_bi.data.class_spaces.imagenet import imagenet_classes
from robustbench_bi.data.sources.cifar_sets import CIFAR_100_CLASSES
from robustbench_bi.errors import InputError

WNIDS = list(imagenet_classes())


def pictures(answers):
    """Arrays of 32×32 whose answers are these: the first in the upper half, so height and width differ."""
    images = np.empty((len(answers), 32, 32, 3), dtype=np.uint8)
    for row, answer in enumerate(answers):
        images[row, :16], images[row, 16:] = colour_of(int(answer)), colour_of(0)
    return images


def top1(source, outputs, tmp_path, **options):
    run = rb.evaluate(Reader(outputs), source, out=tmp_path / "runs", **options)
    return run.cells().set_index(["corruption", "severity"])["top1"].to_dict()


@pytest.fixture
def cifar_100(tmp_path, monkeypatch):
    """CIFAR-100 as published: 100 test pictures of which 60 are answered rightly, and 50 for training, none of them."""
    from torchvision.datasets import CIFAR100

    folder = tmp_path / "cifar-100-python"
    folder.mkdir()
    fine = np.arange(100)
    for name, labels, answers in (
        ("test", fine, np.where(fine < 60, fine, (fine + 1) % 100)),
        ("train", fine[:50], (fine[:50] + 1) % 100),
    ):
        data = pictures(answers).transpose(0, 3, 1, 2).reshape(len(labels), -1)
        held = {"data": data, "fine_labels": labels.tolist(), "coarse_labels": (labels // 5).tolist()}
        (folder / name).write_bytes(pickle.dumps(held))
    (folder / "meta").write_bytes(pickle.dumps({"fine_label_names": list(CIFAR_100_CLASSES)}))
    monkeypatch.setattr(CIFAR100, "_check_integrity", lambda _: True)
    monkeypatch.setattr("torchvision.datasets.cifar.check_integrity", lambda *_: True)
    return tmp_path


@pytest.mark.parametrize("place", ["", "cifar-100-python"])
def test_cifar_100_has_the_fine_labels_of_its_test_pictures(cifar_100, place):
    source = f"cifar-100:{cifar_100 / place}"
    assert top1(source, 100, cifar_100, suite=()) == {("none", 0): 60.0}
    assert len(open_data(source, split="training")) == 50
    assert CIFAR_100_CLASSES[:2] == ("apple", "aquarium_fish") and list(CIFAR_100_CLASSES) == sorted(CIFAR_100_CLASSES)


def test_cifar_100_c_has_an_accuracy_of_its_own_at_each_severity(tmp_path):
    """At severity s the first 10 · s of 100 pictures are answered wrongly, and of the clean ones none."""
    labels = np.arange(100)
    stored = [pictures(np.where(labels < 10 * severity, (labels + 1) % 100, labels)) for severity in range(1, 6)]
    np.save(tmp_path / "fog.npy", np.concatenate(stored))
    np.save(tmp_path / "none.npy", pictures(labels))
    np.save(tmp_path / "labels.npy", np.tile(labels, 5))
    found = top1(f"cifar-100-c:{tmp_path}", 100, tmp_path, suite="fog")
    assert found == {("none", 0): 100.0, **{("fog", severity): 100.0 - 10 * severity for severity in range(1, 6)}}


def test_cifar_10_1_is_version_6_where_both_are_there(tmp_path):
    labels = np.arange(20) % 10
    for version, wrong in ((4, 10), (6, 5)):
        answers = np.where(np.arange(20) < wrong, (labels + 1) % 10, labels)
        np.save(tmp_path / f"cifar10.1_v{version}_data.npy", pictures(answers))
        np.save(tmp_path / f"cifar10.1_v{version}_labels.npy", labels)
    assert top1(f"cifar-10.1:{tmp_path}", 10, tmp_path, suite=()) == {("none", 0): 75.0}


def test_labels_that_lack_a_class_are_not_counted_from_0(tmp_path):
    labels = np.arange(3, 9)
    np.savez(tmp_path / "cifar102_test.npz", images=pictures(labels), labels=labels)
    np.savez(tmp_path / "cifar102_train.npz", images=pictures(labels - 1), labels=labels)
    assert top1(f"cifar-10.2:{tmp_path}", 10, tmp_path, suite=()) == {("none", 0): 100.0}


def test_clean_sets_are_corrupted_and_not_taken_for_stored_cells(tmp_path):
    np.savez(tmp_path / "cifar102_test.npz", images=pictures(range(10)), labels=np.arange(10))
    found = top1(f"cifar-10.2:{tmp_path}", 10, tmp_path, suite="brightness", severities=1)
    assert found[("none", 0)] == 100.0 and ("brightness", 1) in found


def test_imagenet_sketch_is_numbered_by_wnid_over_all_classes(tmp_path):
    """Of 40 classes every fourth is answered as the next one; the answers are ImageNet's numbers, not places."""
    numbers = list(range(0, 1000, 25))
    for place, number in enumerate(numbers):
        write(tmp_path / "sketch" / WNIDS[number] / "sketch_0.JPEG", number + (place % 4 == 0), size=(48, 48))
    for folder in ("", "sketch"):
        assert top1(f"imagenet-sketch:{tmp_path / folder}", 1000, tmp_path, suite=()) == {("none", 0): 75.0}
    run = rb.evaluate(Reader(), f"imagenet-sketch:{tmp_path}", suite=(), out=tmp_path / "runs")
    assert json.loads((run.directory / "run.json").read_text(encoding="utf-8"))["num_classes"] == 1000


@pytest.mark.parametrize("source", ["tar", "parquet"])
def test_archives_are_for_evaluation_and_say_how_to_train(source):
    with pytest.raises(InputError, match=f"{source} has no training split: .*; to train on it, unpack it"):
        open_data(f"{source}:x", split="training")

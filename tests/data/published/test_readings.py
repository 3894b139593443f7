"""Readings of rules that look right where nothing is missing, and are not."""

import numpy as np
import pytest
import torch
from coloured import Reader, picture, write
from PIL import Image

import robustbench_bi as rb
from robustbench_bi.data import open_data
from robustbench_bi.data.class_spaces.imagenet import imagenet_classes
from robustbench_bi.data.class_spaces.shift_sets import classes_of, objectnet_folders
from robustbench_bi.data.preprocess import Preprocessing, grey, normalise
from robustbench_bi.errors import DataError
from robustbench_bi.models.inference import score

WNIDS = list(imagenet_classes())
TINY = WNIDS[3::5]


def test_imagenet_v2_without_some_classes_keeps_its_numbers(tmp_path):
    for number in (3, 20, 100, 999):
        write(tmp_path / "v2" / str(number) / "a.jpeg", number)
    dataset = open_data(f"imagenet-v2:{tmp_path / 'v2'}")
    assert dict(zip(dataset.names(), dataset.labels.tolist(), strict=True)) == {
        f"{number}/a.jpeg": number for number in (3, 20, 100, 999)
    }


@pytest.mark.parametrize("source", ["imagenet-a", "imagenet-r"])
def test_classes_without_pictures_compete_too(tmp_path, source):
    for number in classes_of(source)[:2]:
        write(tmp_path / "data" / WNIDS[number] / "a.jpg", number)
    dataset = open_data(f"{source}:{tmp_path / 'data'}")
    assert dataset.answers.competing.tolist() == list(classes_of(source))


def test_the_loss_is_that_of_all_classes_that_count_together():
    logits = torch.tensor([[3.0, 2.0, 1.0, 0.0]])
    found = score(logits, torch.tensor([1]), accepted=torch.tensor([[1, 2, -1]]))
    shares = torch.softmax(logits, 1)[0]
    assert found["loss"].item() == pytest.approx(-float(torch.log(shares[1] + shares[2])), rel=1e-5)
    assert found["rank"].item() == 1


def test_tiny_imagenet_without_pictures_of_some_classes_keeps_its_numbers(tmp_path):
    (tmp_path / "val" / "images").mkdir(parents=True)
    (tmp_path / "wnids.txt").write_text("\n".join(TINY[::-1]))
    for place in (5, 150):
        write(tmp_path / "val" / "images" / f"val_{place}.JPEG", place, size=(64, 64))
    lines = (f"val_{place}.JPEG\t{TINY[place]}\t0\t0\t1\t1\n" for place in (5, 150))
    (tmp_path / "val" / "val_annotations.txt").write_text("".join(lines))
    dataset = open_data(f"tiny-imagenet:{tmp_path}")
    assert (dataset.labels.tolist(), dataset.num_classes) == ([5, 150], 200)


@pytest.mark.parametrize("size", [(36, 36), (68, 52)])
def test_the_border_is_cut_off_before_the_networks_transform(tmp_path, size):
    """What a network sees is what it would see of the picture without its frame, to the byte."""
    folder = next(iter(objectnet_folders()))
    inner = Image.fromarray(np.random.default_rng(0).integers(0, 200, (size[1] - 4, size[0] - 4, 3), dtype=np.uint8))
    framed = Image.new("RGB", size, "red")
    framed.paste(inner, (2, 2))
    for path, own in (("o/images", framed), ("plain", inner)):
        (tmp_path / path / folder).mkdir(parents=True)
        own.save(tmp_path / path / folder / "0.png")
    seen = [open_data(source).read([0], Preprocessing(32, 36)) for source in (
        f"objectnet:{tmp_path / 'o'}", str(tmp_path / "plain"))]  # fmt: skip
    assert np.array_equal(*seen)


def test_pictures_are_corrupted_in_colour_and_then_made_grey(tmp_path):
    """Saturation means nothing to a grey picture."""
    seen = []

    class Watching(Reader):
        def forward(self, images):
            seen.append(images.clone())
            return torch.zeros(len(images), 2)

    for label in "ab":
        (tmp_path / "data" / label).mkdir(parents=True)
        Image.new("RGB", (32, 32), (150, 60, 200)).save(tmp_path / "data" / label / "0.png")
    options = {"suite": "saturate", "severities": 5, "jpeg": None, "channels": 1, "out": tmp_path / "runs"}
    run = rb.evaluate(Watching(2), str(tmp_path / "data"), **options)
    clean = torch.from_numpy(run.open_data().read(range(2), Preprocessing(32, 32)))
    made = rb.corrupt(clean, "saturate", 5, table=run.config["table"])
    assert torch.equal((seen[-1] * 255).round().byte(), grey(made))
    assert not torch.equal(grey(made), grey(rb.corrupt(grey(clean).repeat(1, 3, 1, 1), "saturate", 5)))


def test_three_means_are_averaged_by_luminance():
    images = torch.full((1, 3, 2, 2), 255, dtype=torch.uint8)
    own = normalise(images, Preprocessing(mean=(0.1, 0.5, 0.9), std=(0.2, 0.4, 0.6), channels=1))
    mean, std = 0.299 * 0.1 + 0.587 * 0.5 + 0.114 * 0.9, 0.299 * 0.2 + 0.587 * 0.4 + 0.114 * 0.6
    assert own.shape == (1, 1, 2, 2)
    assert own[0, 0, 0, 0].item() == pytest.approx((1 - mean) / std, rel=1e-6)


def test_arrays_of_another_set_share_no_images(tmp_path):
    """They are named by class and place, and some of another set have such a name as well."""
    labels = np.arange(10)
    np.save(tmp_path / "fog.npy", np.zeros((50, 32, 32, 3), dtype=np.uint8))
    np.save(tmp_path / "labels.npy", np.tile(labels, 5))
    images = np.zeros((10, 32, 32, 3), dtype=np.uint8)
    np.savez(tmp_path / "cifar102_test.npz", images=images, labels=np.where(labels < 5, labels, 9))
    with pytest.raises(DataError, match=r"lacks 4 \(.*and holds 4 .*\. Give the set that was corrupted"):
        open_data(f"cifar-10-c:{tmp_path}", clean=f"cifar-10.2:{tmp_path}", common_images=True)


def test_other_clean_partners_are_another_run(tmp_path):
    """Arrays have no files whose contents could tell them apart."""
    labels = np.arange(10)
    images = np.stack([np.asarray(picture(label, size=(32, 32))) for label in labels])
    (tmp_path / "c").mkdir()
    np.save(tmp_path / "c" / "fog.npy", np.tile(images, (5, 1, 1, 1)))
    np.save(tmp_path / "c" / "labels.npy", np.tile(labels, 5))
    runs = []
    for name, own in (("one", images), ("two", images[::-1])):
        (tmp_path / name).mkdir()
        np.savez(tmp_path / name / "cifar102_test.npz", images=own, labels=labels)
        options = {"clean": f"cifar-10.2:{tmp_path / name}", "suite": "fog", "severities": 1, "out": tmp_path / "runs"}
        runs.append(rb.evaluate(Reader(10), f"cifar-10-c:{tmp_path / 'c'}", **options))
    assert [run.cells()["top1"].tolist() for run in runs] == [[100.0, 100.0], [0.0, 100.0]]
    assert runs[0].directory != runs[1].directory

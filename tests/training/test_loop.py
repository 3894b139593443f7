import csv
import sys
import types

import numpy as np
import pytest
import torch
from PIL import Image

from robustbench_bi.data import open_data
from robustbench_bi.data.preprocess import normalise, preprocessing_of
from robustbench_bi.errors import DataError, InputError, ModelOutputError, UnknownNameError
from robustbench_bi.models import create_model
from robustbench_bi.models.weights import read_metadata, weights_hash
from robustbench_bi.training.loop import Progress, train


def short(out, **arguments):
    return train("resnet38", "demo", **{"preset": "demo", "epochs": 1, "limit": 64, "out": out, **arguments})


def log_of(path):
    with path.with_suffix(".csv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def hash_of(path):
    return weights_hash(create_model("resnet38", weights=path))


def test_two_runs_give_equal_weights_and_another_seed_others(tmp_path):
    first, again, other = (short(tmp_path / name, seed=seed) for name, seed in (("a", 0), ("b", 0), ("c", 1)))
    assert hash_of(first) == hash_of(again)
    assert hash_of(first) != hash_of(other)


def test_the_callers_random_state_is_left_alone(tmp_path):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    short(tmp_path, limit=8)
    assert torch.equal(torch.rand(3), expected)


def test_the_loss_falls_on_a_few_images(tmp_path):
    path = short(tmp_path, limit=24, epochs=12, options={"width": 0.125})
    losses = [float(row["training_loss"]) for row in log_of(path)]
    assert len(losses) == 12
    assert losses[-1] < 0.87 * losses[0]


def test_the_checkpoint_rebuilds_the_network_and_its_stated_accuracy(tmp_path):
    steps = []
    path = short(tmp_path, epochs=2, progress=steps.append)
    assert path == tmp_path / "resnet38.safetensors"
    assert sorted(file.name for file in tmp_path.iterdir()) == ["resnet38.csv", "resnet38.safetensors"]
    assert [(step.epoch, step.step, step.steps) for step in steps] == [(1, 1, 1), (2, 1, 1)]
    assert all(isinstance(step, Progress) and step.images_per_second > 0 for step in steps)

    metadata = read_metadata(path)
    assert metadata["options"]["width"] == 0.25
    assert (metadata["seed"], metadata["data"], metadata["recipe"]["epochs"]) == (0, "demo", 2)
    assert {"torch", "numpy", "python"} <= set(metadata["versions"])

    network = create_model("resnet38", weights=path).eval()
    assert network.input_size == 64
    assert network.class_names[4] == "star"
    dataset = open_data("demo")
    images = torch.from_numpy(dataset.read(np.arange(500), preprocessing_of(network, resize_size=64)))
    with torch.inference_mode():
        logits = network(normalise(images, preprocessing_of(network, resize_size=64)))
    labels = torch.from_numpy(dataset.labels).long()
    stated = metadata["accuracy"]
    assert stated["n"] == 500
    assert stated["top1"] == pytest.approx(100 * (logits.argmax(1) == labels).double().mean().item(), abs=0.5)
    assert stated["loss"] == pytest.approx(torch.nn.functional.cross_entropy(logits, labels).item(), rel=1e-3)


def test_options_of_the_caller_win_over_those_of_the_preset(tmp_path):
    path = short(tmp_path, limit=8, options={"width": 0.125})
    assert create_model("resnet38", weights=path).fc.in_features == 256


class Diverging(torch.nn.Module):
    """A linear classifier whose training output becomes NaN after some steps."""

    def __init__(self, good_steps):
        super().__init__()
        self.fc = torch.nn.Linear(3, 10)
        self.good_steps = good_steps

    def forward(self, x):
        if self.training:
            self.good_steps -= 1
        logits = self.fc(x.mean((2, 3)))
        return logits * float("nan") if self.good_steps < 0 else logits


@pytest.mark.parametrize(("good_steps", "kept"), [(2, True), (0, False)])
def test_a_loss_that_is_not_finite_stops_and_keeps_the_last_good_weights(tmp_path, monkeypatch, good_steps, kept):
    factory = types.ModuleType("diverging_factory")
    factory.build = lambda num_classes=10: Diverging(good_steps)
    monkeypatch.setitem(sys.modules, "diverging_factory", factory)
    advice = "weights of epoch 2 are in .*-last.safetensors" if kept else "No epoch had finished"
    with pytest.raises(
        ModelOutputError, match=f"the loss became nan in epoch {good_steps + 1}, step 1; try .*{advice}"
    ):
        train("diverging_factory:build", "demo", preset="demo", epochs=4, limit=64, out=tmp_path)
    files = sorted(file.name for file in tmp_path.iterdir())
    name = "diverging_factory-build"
    assert files == [f"{name}-{kind}.safetensors" for kind in ("last", "state") if kept] + [f"{name}.csv"] * kept
    if kept:
        assert read_metadata(tmp_path / files[0])["epoch"] == 2


def test_logits_of_another_number_of_classes_are_refused(tmp_path, monkeypatch):
    factory = types.ModuleType("narrow_factory")
    factory.build = lambda: torch.nn.Sequential(
        torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(3, 7)
    )
    monkeypatch.setitem(sys.modules, "narrow_factory", factory)
    with pytest.raises(ModelOutputError, match=r"logits of shape \(64, 10\) for data with 10 classes, got \(64, 7\)"):
        train("narrow_factory:build", "demo", preset="demo", epochs=1, limit=64, out=tmp_path)


def failing(_):
    raise ValueError("no such layer\nand more")


@pytest.mark.parametrize(
    ("output", "text"),
    [
        (
            failing,
            r"output_factory:build failed on images of shape \(64, 3, 64, 64\): ValueError: no such layer; ",
        ),
        (lambda x: {"logits": x}, r"must return logits of shape \(64, 10\) for data with 10 classes, got dict"),
    ],
)
def test_a_network_that_fails_is_one_clear_error(tmp_path, monkeypatch, output, text):
    class Network(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.zeros(1))

        def forward(self, x):
            return output(x)

    factory = types.ModuleType("output_factory")
    factory.build = Network
    monkeypatch.setitem(sys.modules, "output_factory", factory)
    with pytest.raises(ModelOutputError, match=text):
        train("output_factory:build", "demo", preset="demo", epochs=1, limit=64, out=tmp_path)


def test_bf16_trains_and_is_recorded(tmp_path):
    metadata = read_metadata(short(tmp_path, precision="bf16"))
    assert metadata["precision"] == "bf16"
    assert metadata["images"] == 64


@pytest.fixture
def folder(tmp_path):
    """Pictures of two classes, of sizes of their own, as train and val."""
    generator = np.random.default_rng(0)
    for split, count in (("train", 6), ("val", 3)):
        for name in ("cat", "dog"):
            place = tmp_path / "pictures" / split / name
            place.mkdir(parents=True)
            for number in range(count):
                pixels = generator.integers(0, 256, (70 + number, 90, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(place / f"{number}.png")
    return tmp_path / "pictures"


def test_a_folder_trains_with_inception_crops(tmp_path, folder):
    options = {"width": 0.125, "input_size": 64}
    path = train("resnet38", str(folder), epochs=1, out=tmp_path / "out", options=options)
    metadata = read_metadata(path)
    assert metadata["class_names"] == ["cat", "dog"]
    assert metadata["accuracy"]["n"] == 6
    assert metadata["input_size"] == 64


def test_memory_and_streaming_give_equal_weights(tmp_path, folder, monkeypatch):
    arguments = {"epochs": 1, "preset": "cifar", "options": {"width": 0.125, "input_size": 64}}
    first = train("resnet38", str(folder), out=tmp_path / "a", workers=0, **arguments)
    monkeypatch.setattr("robustbench_bi.training.images.IN_MEMORY_BYTES", 0)
    second = train("resnet38", str(folder), out=tmp_path / "b", workers=2, **arguments)
    assert hash_of(first) == hash_of(second)


def test_a_folder_without_an_evaluation_split_is_refused(tmp_path, folder):
    with pytest.raises(DataError, match="has no evaluation split; expected the folders"):
        train("resnet38", str(folder / "train"), out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_other_pictures_under_the_same_names_and_of_the_same_sizes_are_a_split(tmp_path):
    for split, seed in (("train", 0), ("val", 1)):
        pixels = np.random.default_rng(seed).integers(0, 256, (4, 64, 64, 3), dtype=np.uint8)
        for number in range(4):
            place = tmp_path / "pictures" / split / "ab"[number % 2] / f"{number}.bmp"
            place.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels[number]).save(place)
    options = {"width": 0.125, "input_size": 64}
    path = train("resnet38", str(tmp_path / "pictures"), epochs=1, out=tmp_path / "out", options=options)
    assert read_metadata(path)["accuracy"]["n"] == 4


def test_splits_of_other_classes_are_refused(tmp_path, folder):
    (folder / "val" / "dog").rename(folder / "val" / "wolf")
    with pytest.raises(DataError, match="both must have the same class folders"):
        train("resnet38", str(folder), out=tmp_path / "out")


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ({"seed": -1}, InputError, "seed must be an integer from 0"),
        ({"precision": "fp8"}, InputError, "precision must be fp32 or bf16, got 'fp8'"),
        ({"device": "tpu9"}, InputError, "device 'tpu9' is not available"),
        ({"preset": "dmo"}, UnknownNameError, "Did you mean 'demo'"),
        ({"epochs": 0}, InputError, "epochs must be a positive integer, got 0"),
        ({"limit": 0}, InputError, "limit must be a positive integer, got 0"),
        ({"limit": 1}, DataError, "training needs at least 2 images, but demo has 1"),
        (
            {"options": {"weights": "demo"}},
            InputError,
            "weights cannot be set in training, which starts from random",
        ),
        ({"options": {"num_classes": 5}}, InputError, "num_classes cannot be set in training"),
        ({"recipe": {"input_size": 96}}, InputError, "resnet38 on demo takes 64 pixels, not 96; leave it out"),
        ({"recipe": {"warmup_epochs": 2}}, InputError, "warmup_epochs must be at most epochs=1, got 2"),
    ],
)
def test_bad_input_is_refused_before_anything_is_written(tmp_path, arguments, error, text):
    with pytest.raises(error, match=text):
        short(tmp_path / "out", **arguments)
    assert not (tmp_path / "out").exists()


def test_a_place_that_cannot_be_written_is_one_clear_error(tmp_path):
    (tmp_path / "out").write_text("a file")
    with pytest.raises(DataError, match=r"cannot use the folder .*Not a directory"):
        short(tmp_path / "out", limit=8)


def test_a_folder_that_cannot_be_entered_is_one_clear_error(tmp_path, monkeypatch):
    def closed(self):
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr("robustbench_bi.training.files.Path.exists", closed)
    with pytest.raises(DataError, match=rf"cannot use the folder {tmp_path}: Permission denied; choose another --out"):
        short(tmp_path, limit=8)


def test_what_is_not_of_the_recipe_is_refused_before_anything_is_written(tmp_path):
    with pytest.raises(UnknownNameError, match="Did you mean 'ema'"):
        short(tmp_path / "out", recipe={"emma": 0.9})
    with pytest.raises(InputError, match="64 images cannot be split evenly over 1 processes × 3 micro-batches"):
        short(tmp_path / "out", accumulate=3)
    assert not (tmp_path / "out").exists()

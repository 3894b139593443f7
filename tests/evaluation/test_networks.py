import dataclasses
import importlib
import json
import sys
import types

import numpy as np
import pytest
import timm.data
import torch
from PIL import Image

import robustbench_bi as rb
from robustbench_bi.data import open_data
from robustbench_bi.data.class_spaces.imagenet import class_names, imagenet_classes
from robustbench_bi.errors import InputError, ModelOutputError, WeightsError
from robustbench_bi.evaluation.loop import evaluate_models
from robustbench_bi.evaluation.networks import network_for, preprocessing_for
from robustbench_bi.evaluation.request import weights_for
from robustbench_bi.models import create_model
from robustbench_bi.models.weights import save_checkpoint

SMALL = {"suite": "contrast", "severities": "1", "limit": 8}


def checkpoint(path, num_classes=10, **metadata):
    save_checkpoint(path, create_model("resnet38", num_classes=num_classes, width=0.125, input_size=64), metadata)
    return str(path)


def user_module(folder, monkeypatch, factor):
    """A module of the user's whose network has no weights; returns the spec of its factory."""
    (folder / "own_net.py").write_text(
        "import torch\n\nclass Net(torch.nn.Module):\n    def forward(self, images):\n"
        f"        return {factor} * images.mean(dim=(2, 3)).repeat(1, 4)[:, :10]\n\ndef build():\n    return Net()\n"
    )
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(str(folder))
    sys.modules.pop("own_net", None)
    importlib.invalidate_caches()
    return "own_net:build"


def test_weights_are_one_for_all_or_one_for_each():
    assert weights_for(["a", "b"], None) == [None, None]
    assert weights_for(["a", "b"], "none") == ["none", "none"]
    assert weights_for(["a", "a"], ["x.pth", "y.pth"]) == ["x.pth", "y.pth"]


@pytest.mark.parametrize(
    ("models", "weights", "message"),
    [
        ([], None, "a sequence of at least one"),
        (["a", "b", "c"], ["x", "y"], "once for each of the 3 models, got 2"),
        (["a", "a"], "none", "two are the same"),
        ([torch.nn.Identity()], "none", "a module comes with its own weights"),
    ],
)
def test_weights_that_do_not_fit_the_models_are_refused(models, weights, message):
    with pytest.raises(InputError, match=message):
        weights_for(models, weights)


def test_each_model_gets_its_own_weights(tmp_path):
    first, second = checkpoint(tmp_path / "a.safetensors"), checkpoint(tmp_path / "b.safetensors")
    runs = evaluate_models(["resnet38", "resnet38"], weights=[first, second], out=tmp_path / "runs", **SMALL)
    assert runs[0].directory != runs[1].directory
    assert runs[0].config["weights_hash"] != runs[1].config["weights_hash"]


def test_a_checkpoint_of_another_number_of_classes_is_refused(tmp_path):
    weights = checkpoint(tmp_path / "seven.safetensors", num_classes=7)
    with pytest.raises(WeightsError, match=r"seven\.safetensors has 7 classes, but the data have 10"):
        network_for("resnet38", weights, open_data("demo"), torch.device("cpu"))


def test_a_checkpoint_of_other_classes_is_refused(tmp_path):
    dataset = open_data("demo")
    names = list(dataset.class_names)
    fits = checkpoint(tmp_path / "fits.safetensors", class_names=names)
    network_for("resnet38", fits, dataset, torch.device("cpu"))
    other = checkpoint(tmp_path / "other.safetensors", class_names=[names[0], "truck", *names[2:]])
    with pytest.raises(WeightsError, match=f"class 1 is 'truck' there and '{names[1]}' in the data"):
        network_for("resnet38", other, dataset, torch.device("cpu"))


def test_a_crop_mode_that_is_not_done_is_refused(tmp_path):
    Image.fromarray(np.zeros((40, 40, 3), dtype=np.uint8)).save(tmp_path / "0.png")
    folder = tmp_path / "data" / "a"
    folder.mkdir(parents=True)
    (tmp_path / "0.png").rename(folder / "0.png")
    dataset = open_data(str(tmp_path / "data"))
    network = torch.nn.Identity()
    network.crop_mode = "squash"
    with pytest.raises(InputError, match=r"crop mode 'squash'.*--resize-size"):
        preprocessing_for(network, dataset, {})
    assert preprocessing_for(network, dataset, {"resize_size": 256}).resize_size == 256


def test_changed_code_of_a_users_network_is_another_run(tmp_path, monkeypatch):
    first = rb.evaluate(user_module(tmp_path, monkeypatch, 1.0), out=tmp_path / "runs", **SMALL)
    same = rb.evaluate(user_module(tmp_path, monkeypatch, 1.0), out=tmp_path / "runs", **SMALL)
    changed = rb.evaluate(user_module(tmp_path, monkeypatch, -1.0), out=tmp_path / "runs", **SMALL)
    assert first.directory == same.directory != changed.directory
    assert first.records()["prediction"].tolist() != changed.records()["prediction"].tolist()


def test_a_network_that_does_not_fit_leaves_no_folder(tmp_path):
    class Wrong(torch.nn.Module):
        def forward(self, images):
            return torch.zeros(len(images), 3)

    with pytest.raises(ModelOutputError, match=r"\(1, 10\) for data with 10 classes, got \(1, 3\)"):
        rb.evaluate(Wrong(), out=tmp_path / "runs", **SMALL)
    assert not (tmp_path / "runs").exists()


def test_published_files_have_one_run_whatever_the_seed_and_the_table(tmp_path):
    for label in "abc":
        (tmp_path / "data" / "fog" / "1" / label).mkdir(parents=True)
        Image.fromarray(np.full((64, 64, 3), 99, dtype=np.uint8)).save(tmp_path / f"data/fog/1/{label}/0.png")

    class Three(torch.nn.Module):
        input_size = 64

        def forward(self, images):
            return images.mean(dim=(2, 3))

    options = {"suite": "fog", "severities": 1, "out": tmp_path / "runs"}
    source = f"imagenet-c:{tmp_path / 'data'}"
    first = rb.evaluate(Three(), source, **options)
    assert rb.evaluate(Three(), source, seed=5, table="imagenet-c", **options).directory == first.directory


def test_a_second_start_is_noted_when_something_was_missing(tmp_path):
    options = {**SMALL, "out": tmp_path, "weights": "none"}
    torch.manual_seed(0)
    first = rb.evaluate("resnet38", **options)
    assert "resumed" not in first.config["runtime"]
    (first.directory / "records" / "contrast-1-0000.parquet").unlink()
    torch.manual_seed(0)
    again = rb.evaluate("resnet38", batch_size=4, **options)
    assert again.directory == first.directory
    (start,) = json.loads((first.directory / "run.json").read_text())["runtime"]["resumed"]
    assert start["batch_size"] == 4
    assert start["versions"] == first.config["runtime"]["versions"]


def test_float32_is_not_rounded_to_tf32_inside(tmp_path):
    seen = []

    class Watching(torch.nn.Module):
        def forward(self, images):
            seen.append((torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32))
            return torch.zeros(len(images), 10)

    before = torch.backends.cudnn.allow_tf32
    rb.evaluate(Watching(), out=tmp_path, **SMALL)
    assert set(seen) == {(False, False)}
    assert torch.backends.cudnn.allow_tf32 == before


def test_the_datas_names_in_another_order_are_refused(tmp_path, monkeypatch):
    (tmp_path / "reordered.py").write_text(
        "import torch\n\n\ndef build():\n    network = torch.nn.Identity()\n"
        "    network.class_names = ['triangle', 'RING', *[f'c{i}' for i in range(8)]]\n    return network\n"
    )
    monkeypatch.chdir(tmp_path)
    demo = open_data("demo", limit=4)
    names = ("Ring", "triangle", *(f"c{i}" for i in range(8)))
    dataset = dataclasses.replace(demo, class_names=names)
    with pytest.raises(WeightsError, match=r"in another order: 'ring' is class 1 there and 0 in the data"):
        network_for("reordered:build", None, dataset, torch.device("cpu"))


def named(class_names):
    network = torch.nn.Identity()
    network.class_names = class_names
    return network


@pytest.mark.parametrize(
    ("stated", "message"),
    [
        (["cat", "tree", "dog", "apple"], "'apple' is class 3 there and 0 in the data"),
        (["cat, house cat", "apple, fruit", "dog, hound", "bird"], "'apple' is class 1 there and 0 in the data"),
        (["Apple", "tree", "Dog", "cat"], "'cat' is class 3 there and 2 in the data"),
        (["apple", "tree", "cat", "dog"], ""),
        (["cat", "cat", "dog", "tree"], "'dog' is class 2 there"),
        (["cat", "cat", "house", "tree"], ""),
        (["LABEL_0", "LABEL_1", "LABEL_2", "LABEL_3"], ""),
    ],
)
def test_names_that_the_data_have_under_another_number_are_refused(stated, message, monkeypatch):
    module = types.ModuleType("named")
    module.build = lambda: named(stated)
    monkeypatch.setitem(sys.modules, "named", module)
    dataset = dataclasses.replace(open_data("demo", limit=4), class_names=("apple", "bird", "cat", "dog"))
    if not message:
        assert network_for("named:build", None, dataset, torch.device("cpu")).class_names == tuple(stated)
        return
    with pytest.raises(WeightsError, match=message):
        network_for("named:build", None, dataset, torch.device("cpu"))


def test_imagenets_names_in_other_words_are_in_no_other_order(monkeypatch):
    info = timm.data.ImageNetInfo("imagenet-1k")
    stated = [info.index_to_description(number) for number in range(1000)]
    module = types.ModuleType("named")
    module.build = lambda: named(stated)
    monkeypatch.setitem(sys.modules, "named", module)
    names = class_names(imagenet_classes())
    dataset = dataclasses.replace(open_data("demo", limit=4), class_names=names)
    network_for("named:build", None, dataset, torch.device("cpu"))
    swapped = dataclasses.replace(dataset, class_names=(*names[:2], names[3], names[2], *names[4:]))
    with pytest.raises(WeightsError, match="in another order"):
        network_for("named:build", None, swapped, torch.device("cpu"))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("size", "options", "remarked"),
    [
        (np.int64(96), {}, "states 96 px, but these images are given as they are, at 64 px; --fit resizes them"),
        (np.int64(96), {"fit": True}, ""),
        (64, {}, ""),
        ((96, 64), {}, "states 96×64 px (height × width), but these images are given as they are, at 64 px"),
    ],
)
def test_a_size_that_is_stated_but_not_given_is_remarked_on(size, options, remarked, tmp_path):
    class Large(torch.nn.Module):
        input_size = size
        mean = std = (0.5, 0.5, 0.5)

        def forward(self, images):
            return images.mean((2, 3)) @ torch.ones(3, 10)

    run = rb.evaluate(Large(), out=tmp_path, **SMALL, **options)
    found = [remark for remark in run.config["runtime"]["remarks"] if "states" in remark]
    assert found == ([f"Large {remarked}"] if remarked else [])


@pytest.mark.filterwarnings("ignore")
def test_a_file_is_tried_at_the_size_of_the_images(tmp_path):
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 64 * 64, 10)).eval()
    torch.jit.save(torch.jit.script(network), tmp_path / "net.pt")
    run = rb.evaluate(f"torchscript:{tmp_path / 'net.pt'}", out=tmp_path / "runs", **SMALL)
    assert run.config["input_size"] == 64
    free = torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(3, 10)).eval()
    torch.jit.save(torch.jit.script(free), tmp_path / "free.pt")
    run = rb.evaluate(f"torchscript:{tmp_path / 'free.pt'}", out=tmp_path / "runs", fit=True, **SMALL)
    assert (run.config["input_size"], run.config["corrupt_size"]) == (224, 64)
    assert not any("states" in remark for remark in run.config["runtime"]["remarks"])


def test_a_size_that_was_assumed_is_not_said_to_be_stated(tmp_path, monkeypatch):
    name = user_module(tmp_path, monkeypatch, 1.0)
    run = rb.evaluate(name, out=tmp_path / "runs", **SMALL)
    assert not any("states" in remark for remark in run.config["runtime"]["remarks"])


def test_a_network_in_half_precision_is_told_what_helps(tmp_path):
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 64 * 64, 10)).half()
    with pytest.raises(ModelOutputError, match=r"failed on images of shape .*Half.*; try --precision fp16"):
        rb.evaluate(network, out=tmp_path, **SMALL)


@pytest.mark.parametrize(("tracked", "said"), [(True, 0), (False, 1)])
def test_answers_that_depend_on_their_batch_are_said_with_the_results(tracked, said, tmp_path):
    norm = torch.nn.BatchNorm2d(3, track_running_stats=tracked)
    network = torch.nn.Sequential(norm, torch.nn.AdaptiveAvgPool2d(4), torch.nn.Flatten(), torch.nn.Linear(48, 10))
    run = rb.evaluate(network, out=tmp_path, **SMALL)
    remarks = run.config["runtime"]["remarks"]
    assert sum(remark.startswith("Sequential answers an image differently beside others") for remark in remarks) == said
    assert ("depends_on" in run.config["runtime"]["forward_pass"]) == said


def test_a_network_of_its_own_precision_takes_no_other(tmp_path, monkeypatch):
    (tmp_path / "fixed.py").write_text(
        "import torch\n\n\ndef build():\n    network = torch.nn.Identity()\n    network.own_precision = True\n"
        "    return network\n"
    )
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=r"fixed:build runs in the precision of its file; leave out --precision bf16"):
        rb.evaluate("fixed:build", precision="bf16", out=tmp_path / "runs", limit=4)

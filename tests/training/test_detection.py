import json
import shutil

import coloured_boxes
import numpy as np
import pytest
import torch
from click.testing import CliRunner

import robustbench_bi as rb
from robustbench_bi.cli import cli
from robustbench_bi.data import open_data
from robustbench_bi.errors import DataError, InputError
from robustbench_bi.models import load_weights, read_checkpoint, save_checkpoint
from robustbench_bi.models.detectors.build import create_detector
from robustbench_bi.training.detection import DetectionImages
from robustbench_bi.training.loop import train
from robustbench_bi.training.recipe import PRESETS, Recipe

TINY = {
    "width": 0.125,
    "pyramid_channels": 16,
    "head_channels": 16,
    "smallest_anchor": 8,
    "min_size": 40,
    "max_size": 72,
}
RECIPE = {"batch_size": 2, "drops": (1,), "learning_rate": 0.05, "warmup_epochs": 0}


@pytest.fixture(scope="module")
def coco(tmp_path_factory):
    """COCO's folder with both splits."""
    root = tmp_path_factory.mktemp("coco")
    (root / "annotations").mkdir()
    for name, first in (("train", 1), ("val", 1000)):
        folder = root / f"{name}2017"
        folder.mkdir()
        coloured_boxes.write(folder, first_id=first)
        shutil.move(folder / "boxes.json", root / "annotations" / f"instances_{name}2017.json")
    return f"coco:{root}"


def learn(coco, out, epochs=2, model="fasterrcnn_resnet50", **options):
    further = {name: options.pop(name) for name in ("progress", "note") if name in options}
    return train(
        model, coco, preset="detection", epochs=epochs, recipe=RECIPE, options={**TINY, **options}, out=out, **further
    )


def test_a_trained_detector_is_a_file_that_is_evaluated_as_it_is(coco, tmp_path):
    path = learn(coco, tmp_path)
    log = (tmp_path / "fasterrcnn_resnet50.csv").read_text().splitlines()
    assert log[0] == "epoch,training_loss,evaluation_ap,seconds" and len(log) == 3
    detector = create_detector("fasterrcnn_resnet50", weights=path)
    assert detector.class_names == ("__background__", *coloured_boxes.NAMES)
    run = rb.detect("fasterrcnn_resnet50", coco, weights=str(path), suite=(), out=tmp_path / "runs")
    assert run.cells()["AP"][0] == pytest.approx(read_checkpoint(path).metadata["accuracy"]["ap"], abs=1e-6)


def test_a_stopped_training_goes_on_to_the_same_weights(coco, tmp_path):
    whole = read_checkpoint(learn(coco, tmp_path / "whole")).state

    def stop(progress):
        if (progress.epoch, progress.step) == (2, 1):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        learn(coco, tmp_path / "parts", progress=stop)
    said = []
    parts = read_checkpoint(learn(coco, tmp_path / "parts", note=said.append)).state
    assert "Resuming after" in said[0]
    assert all(torch.equal(whole[name], parts[name]) for name in whole)


def test_a_pretrained_backbone_keeps_its_stem_first_stage_and_statistics(coco, tmp_path):
    backbone = rb.create_model("resnet50", num_classes=3, width=0.125)
    file = tmp_path / "backbone.safetensors"
    save_checkpoint(file, backbone)
    path = learn(coco, tmp_path / "on", epochs=2, backbone_weights=str(file))
    before, after = backbone.state_dict(), read_checkpoint(path).state
    kept = {name for name in before if torch.equal(before[name], after.get(f"backbone.body.{name}", torch.zeros(0)))}
    statistics = {name for name in before if "running" in name or "num_batches" in name}
    frozen = {name for name in before if name.startswith(("conv1", "bn1", "layer1"))}
    assert statistics | frozen <= kept
    assert "layer4.0.conv1.weight" not in kept
    alone = read_checkpoint(learn(coco, tmp_path / "from")).state
    assert alone["backbone.body.bn1.num_batches_tracked"] > 0


def test_mirrored_pictures_have_mirrored_boxes_and_masks(coco):
    data = open_data(coco, split="training")
    images = DetectionImages(data, Recipe(crop="none"), seed=3, workers=0, masks=True)
    plain = DetectionImages(data, Recipe(crop="none", flip=False), seed=3, workers=0, masks=True)
    assert len(images) == 5, "an image without boxes teaches nothing"
    turned = 0
    for epoch in range(3):
        (pictures, targets), (same, before) = (next(own.batches(epoch, [slice(0, 5)])) for own in (images, plain))
        for picture, target, other, first in zip(pictures, targets, same, before, strict=True):
            turned += not torch.equal(picture, other)
            for box, mask, label in zip(target["boxes"], target["masks"], target["labels"], strict=True):
                down, across = np.nonzero(mask.numpy())
                edges = [across.min(), down.min(), across.max() + 1, down.max() + 1]
                assert box.tolist() == edges
                channel = picture[int(label) - 1].numpy()
                assert (channel[mask.numpy() > 0] == 200).all()
            assert target["labels"].tolist() == first["labels"].tolist()
    assert 3 < turned < 12


def test_the_schedule_of_the_paper():
    recipe = PRESETS["detection"]
    rates = [recipe.learning_rate_at(int(epoch * 1000), 1000) for epoch in (0, 1, 7.999, 8, 10.999, 11, 11.999)]
    assert rates[0] < 0.001
    assert rates[1:] == pytest.approx([0.02, 0.02, 0.002, 0.002, 0.0002, 0.0002])
    assert (recipe.epochs, recipe.batch_size, recipe.clip) == (12, 16, 0.0)
    assert PRESETS["detection-dynamic"].clip == 5.0
    with pytest.raises(
        InputError, match=r"drops must be epochs before the last of 8, got \[8\]; .* drops=\[\] for none"
    ):
        Recipe(epochs=8, drops=(8,))


def test_what_does_not_fit_is_refused(coco, tmp_path):
    with pytest.raises(InputError, match=r"has boxes and trains only detectors .fasterrcnn_resnet50, .*, got resnet50"):
        learn(coco, tmp_path, model="resnet50")
    with pytest.raises(InputError, match="is a detector; train it on coco:PATH or demo-detection"):
        train("fasterrcnn_resnet50", "demo", preset="demo", out=tmp_path)
    with pytest.raises(InputError, match="use --preset detection"):
        train("fasterrcnn_resnet50", coco, preset="paper", out=tmp_path)
    file = coco.removeprefix("coco:") + "/annotations/instances_val2017.json"
    with pytest.raises(DataError, match="has no training split"):
        train("fasterrcnn_resnet50", f"coco:{file}", preset="detection", out=tmp_path)
    with pytest.raises(InputError, match="cannot be trained with --compile, --accumulate"):
        train("fasterrcnn_resnet50", coco, preset="detection", recipe=RECIPE, options=TINY, accumulate=2, out=tmp_path)
    assert not list(tmp_path.glob("*.safetensors"))


def test_masks_are_needed_where_masks_are_learned(coco, tmp_path):
    root = tmp_path / "coco"
    shutil.copytree(coco.removeprefix("coco:"), root)
    path = root / "annotations" / "instances_train2017.json"
    stored = json.loads(path.read_text())
    del stored["annotations"][0]["segmentation"]
    path.write_text(json.dumps(stored))
    with pytest.raises(DataError, match="needs a mask for every object"):
        learn(f"coco:{root}", tmp_path / "out", model="maskrcnn_resnet50")


def test_load_weights_takes_a_detector_of_its_own(coco, tmp_path):
    network = rb.create_model("fasterrcnn_resnet50", num_classes=3, **TINY)
    path = tmp_path / "own.safetensors"
    save_checkpoint(path, network)
    load_weights(rb.create_model("fasterrcnn_resnet50", num_classes=3, **TINY), path)


def test_the_command_trains_a_detector(coco, tmp_path):
    options = [part for item in TINY.items() for part in ("--option", "{}={}".format(*item))]
    command = ["train", "--model", "fasterrcnn_resnet50", "--data", coco, "--limit", "2", "--epochs", "1", *options]
    command += ["--recipe", "drops=[]", "--batch-size", "2", "--out", str(tmp_path), "--quiet"]
    result = CliRunner().invoke(cli, command)
    assert result.exit_code == 0, result.output + repr(result.exception)
    assert (tmp_path / "fasterrcnn_resnet50.safetensors").is_file()

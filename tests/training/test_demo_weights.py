"""The bundled weights: what they state about themselves holds, and the report says the same."""

import csv
from pathlib import Path

import numpy as np
import pytest
import torch

from robustbench_bi.data import open_data
from robustbench_bi.data.preprocess import normalise, preprocessing_of
from robustbench_bi.models import create_model
from robustbench_bi.models.weights import demo_path, read_metadata
from robustbench_bi.training.recipe import PRESETS, Recipe

NAMES = ("resnet50", "resnext50", "ddf_resnet50", "binet50_dc_ca")
REPORT = Path(__file__).parents[2] / "reports" / "demo"


@pytest.fixture(scope="module")
def pictures():
    dataset = open_data("demo")
    images = dataset.read(np.arange(len(dataset)), preprocessing_of(object(), input_size=64, resize_size=64))
    return torch.from_numpy(images), torch.from_numpy(dataset.labels).long()


@pytest.mark.parametrize("name", NAMES)
def test_the_network_has_the_accuracy_that_it_states(name, pictures):
    images, labels = pictures
    network = create_model(name, weights="demo").eval()
    with torch.inference_mode():
        logits = torch.cat([network(normalise(batch, preprocessing_of(network))) for batch in images.split(100)])
    top1 = 100 * (logits.argmax(dim=1) == labels).double().mean().item()
    stated = read_metadata(demo_path(name))["accuracy"]
    assert stated["n"] == 500
    # Another processor may turn an image or two that lie between two classes.
    assert top1 == pytest.approx(stated["top1"], abs=0.5)
    assert torch.nn.functional.cross_entropy(logits, labels).item() == pytest.approx(stated["loss"], abs=0.01)
    assert 85 <= top1 <= 97


@pytest.mark.parametrize("name", NAMES)
def test_the_file_is_small_and_of_the_preset(name):
    metadata = read_metadata(demo_path(name))
    assert demo_path(name).stat().st_size < 4e6
    # Parts that the recipe did not have then are off.
    assert Recipe(**metadata["recipe"]) == PRESETS["demo"]
    assert (metadata["data"], metadata["images"], metadata["seed"], metadata["precision"]) == (
        "demo",
        10_000,
        0,
        "fp32",
    )
    assert metadata["class_names"] == list(open_data("demo").class_names)
    assert metadata["options"]["width"] == 0.25


@pytest.mark.parametrize("name", NAMES)
def test_the_report_has_the_same_numbers(name):
    accuracy = read_metadata(demo_path(name))["accuracy"]
    rows = [
        line
        for line in (REPORT / "README.md").read_text(encoding="utf-8").splitlines()
        if line.startswith(f"| `{name}`")
    ]
    assert len(rows) == 1
    assert f"| {accuracy['top1']:.1f} |" in rows[0]
    assert f"| {accuracy['loss']:.3f} |" in rows[0]
    with (REPORT / f"{name}.csv").open(encoding="utf-8") as file:
        log = list(csv.DictReader(file))
    assert len(log) == PRESETS["demo"].epochs
    # The last line is of the weights before they were rounded to half precision.
    assert float(log[-1]["evaluation_top1"]) == pytest.approx(accuracy["top1"], abs=0.5)

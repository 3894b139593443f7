"""A detector's name in `eval` and a classifier's in `detect` are answered with the command that takes them."""

import pytest
from torchvision.models import detection, list_models

from robustbench_bi.commands import early
from robustbench_bi.errors import UnknownNameError
from robustbench_bi.evaluation.request import EvalRequest
from robustbench_bi.models import create_model, find_model
from robustbench_bi.models.detectors import DETECTORS
from robustbench_bi.models.detectors.build import create_detector
from robustbench_bi.models.detectors.names import check_detector_name
from robustbench_bi.models.sources import library_names


def test_torchvisions_detectors_are_those_that_it_lists():
    assert library_names.torchvision_detectors() == set(list_models(module=detection))


@pytest.mark.parametrize(
    ("name", "typed"),
    [
        ("fasterrcnn_resnet50", "fasterrcnn_resnet50"),
        ("fasterrcnn_resnet50_fpn", "torchvision:fasterrcnn_resnet50_fpn"),
        ("torchvision:retinanet_resnet50_fpn", "torchvision:retinanet_resnet50_fpn"),
    ],
)
def test_a_detector_is_sent_to_detect(name, typed):
    message = rf"^{name} is a detector, not a classifier; use `bivo-robust detect --model {typed}`"
    with pytest.raises(UnknownNameError, match=message):
        find_model(name)
    check_detector_name(typed)


@pytest.mark.parametrize(
    ("name", "typed"),
    [
        ("resnet50", "resnet50"),
        ("binet50", "binet50"),
        ("eca_resnet50", "eca_resnet50"),
        ("vgg16", "timm:vgg16"),
        ("torchvision:vgg16", "torchvision:vgg16"),
        ("onnx:net.onnx", "onnx:net.onnx"),
    ],
)
def test_a_classifier_is_sent_to_eval(name, typed):
    message = rf"^{name} is a classifier, not a detector; use `bivo-robust eval --model {typed}`"
    with pytest.raises(UnknownNameError, match=message):
        create_detector(name, class_names=["cat"])


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        ("fasterrcnn_resnet5", "'fasterrcnn_resnet50'"),
        ("ssd300_vgg16", "'torchvision:ssd300_vgg16'"),
        ("torchvision:ssd300_vgg1", "'ssd300_vgg16'"),
    ],
)
def test_a_typo_gets_the_nearest_detector(name, advice):
    with pytest.raises(UnknownNameError, match=rf"Did you mean {advice}\?"):
        check_detector_name(name)


def test_what_torchvision_lists_elsewhere_is_left_to_it(monkeypatch):
    monkeypatch.setattr("robustbench_bi.models.detectors.names.torchvision_detectors", frozenset)
    check_detector_name("torchvision:ssd300_vgg16")


def test_a_typo_of_a_detector_in_eval_gets_the_detector():
    with pytest.raises(UnknownNameError, match=r"Did you mean 'maskrcnn_resnet50'\?"):
        find_model("maskrcnn_resnet5")


def test_networks_of_detectors_are_still_built_by_name():
    assert {find_model(name) for name in ("resnet50", "binet50")} == {None}
    name = DETECTORS.names[0]
    network = create_model(name, num_classes=2, width=0.125, pyramid_channels=8, head_channels=8)
    assert network.identity["name"] == name
    early.a_model_or_detector(type("C", (), {"resilient_parsing": False})(), None, name)
    assert EvalRequest.of([name], "demo-detection", task="detection").models == (name,)

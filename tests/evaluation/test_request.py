import dataclasses

import pytest
import torch

from robustbench_bi.data.request import DataRequest
from robustbench_bi.errors import InputError, UnknownNameError
from robustbench_bi.evaluation.request import EvalRequest
from robustbench_bi.ground.declared import declaration_of
from robustbench_bi.runs.identity import EvalConfig
from robustbench_bi.runs.settings import Settings


def test_keyword_arguments_find_their_place():
    request = EvalRequest.of(["resnet50"], "photos", limit=5, classes="c.tsv", seed=3, severities="1,3")
    assert request.data == DataRequest("photos", classes="c.tsv", limit=5)
    assert (request.seed, request.severities, request.models, request.weights) == (3, (1, 3), ("resnet50",), (None,))


def test_a_data_request_brings_its_own_options():
    data = DataRequest("photos", limit=5)
    assert EvalRequest.of(["resnet50"], data).data is data
    with pytest.raises(InputError, match="a DataRequest holds the options of its images; leave out limit"):
        EvalRequest.of(["resnet50"], data, limit=4)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"limit": True}, InputError, "limit must be an integer of at least 1, got True"),
        ({"batch_size": 0}, InputError, "batch_size must be an integer of at least 1, got 0"),
        ({"workers": -1}, InputError, "workers must be an integer of at least 0, got -1"),
        ({"seed": 2**64}, InputError, "seed must be an integer from 0 to 2"),
        ({"jpeg": "90.5"}, InputError, "jpeg must be a quality from 1 to 100"),
        ({"table": "imagenet"}, UnknownNameError, "Did you mean 'imagenet-c'"),
        ({"task": "segmentation"}, UnknownNameError, "unknown task 'segmentation'"),
        ({"pixel_version": 1}, InputError, "this version makes pixels of version"),
        ({"batchsize": 3}, InputError, "got batchsize. Did you mean 'batch_size'"),
    ],
)
def test_bad_options_are_refused_before_anything_is_opened(options, error, message):
    with pytest.raises(error, match=message):
        EvalRequest.of(["resnet50"], "no/such/folder", **options)


def test_a_request_is_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        EvalRequest.of(["resnet50"]).seed = 1


def test_every_setting_of_a_request_is_recorded_in_a_run():
    settings = {field.name for field in dataclasses.fields(Settings)}
    assert settings <= {field.name for field in dataclasses.fields(EvalConfig)}
    assert settings <= {field.name for field in dataclasses.fields(EvalRequest)}
    requested = {f.name for f in dataclasses.fields(EvalRequest) if declaration_of(f).role == "request"}
    assert requested == {"models", "weights", "data", "suite", "out", "skip_broken", "block_size", "model_options"}


def test_a_module_is_told_from_a_name():
    module = torch.nn.Identity()
    assert EvalRequest.of([module]).models == (module,)
    with pytest.raises(InputError, match="a model must be a name or a torch module, got int"):
        EvalRequest.of([3])


def test_a_data_request_is_written_down_and_read_again():
    for request in (DataRequest(), DataRequest("photos", classes="c.tsv", limit=3)):
        assert DataRequest.from_json(request.as_json()) == request
    assert DataRequest("photos").as_json() == {"source": "photos"}


WRONG = {
    "suite": (None, 5, [3]),
    "out": (None, 5),
    "weights": (5,),
    "severities": (None, 0),
    "input_size": (1.5, 8, "x"),
    "corrupt_size": (1.5, 0),
    "interpolation": ("cubic",),
    "std": ((0, 0, 0),),
    "device": ("gpu", "cuda:", None),
}


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in WRONG.items() for value in values])
def test_what_an_option_cannot_be_is_one_line_with_its_name(name, value):
    with pytest.raises(InputError) as caught:
        EvalRequest.of(["resnet50"], **{name: value})
    assert name[:6].rstrip("_e") in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_resize_below_the_crop_is_refused_but_where_a_border_fills_it():
    with pytest.raises(InputError, match="resize_size must be at least input_size"):
        EvalRequest.of(["resnet50"], input_size=224, resize_size=100)
    assert EvalRequest.of(["resnet50"], input_size=224, resize_size=100, crop_mode="border").resize_size == 100


def test_a_gpu_without_a_driver_is_refused(monkeypatch):
    from robustbench_bi.ground import devices

    monkeypatch.setattr(devices, "_lacks_driver", lambda: True)
    with pytest.raises(InputError, match="device 'cuda:1' is not available: found no NVIDIA driver"):
        EvalRequest.of(["resnet50"], device="cuda:1")
    monkeypatch.setattr(devices, "_lacks_driver", lambda: False)
    assert EvalRequest.of(["resnet50"], device="cuda:1").device == "cuda:1"

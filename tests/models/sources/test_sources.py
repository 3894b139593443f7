import inspect
import subprocess
import sys

import pytest
import torch

from robustbench_bi.errors import InputError, UnknownNameError, WeightsError
from robustbench_bi.models import MODEL_SOURCES, create_model
from robustbench_bi.models.inference import memory_format
from robustbench_bi.models.sources import brings_weights, split_name


@pytest.mark.parametrize(
    ("name", "options", "error", "message"),
    [
        ("timm:resnet5o", {}, UnknownNameError, "unknown timm model 'resnet5o'. Did you mean 'resnet50"),
        ("timm:resnet18", {"weights": "demo"}, WeightsError, "timm:resnet18 has no weights 'demo'; give a"),
        ("torchvision:resnet5o", {}, UnknownNameError, "unknown torchvision model 'resnet5o'. Did you mean 'resnet50'"),
        (
            "torchvision:resnet18",
            {"weights": "IMAGENET1K_V2"},
            WeightsError,
            "unknown weights of torchvision's resnet18: 'IMAGENET1K_V2'. Did you mean 'IMAGENET1K_V1'",
        ),
        (
            "torchvision:resnet18",
            {"weights": "IMAGENET1K_V1", "num_classes": 10},
            WeightsError,
            "torchvision's ResNet18_Weights.IMAGENET1K_V1 has 1000 classes, not 10",
        ),
        ("torchvision:resnet18", {"zoom": 3}, InputError, "torchvision:resnet18 cannot be built with these options: "),
    ],
)
def test_what_the_libraries_do_not_have_is_refused(name, options, error, message):
    with pytest.raises(error, match=message):
        create_model(name, **options)


@pytest.mark.parametrize(
    ("model", "source", "name"),
    [
        ("timm:resnet18", "timm", "resnet18"),
        ("timm:hf_hub:owner/name", "timm", "hf_hub:owner/name"),
        ("torchvision:resnet18", "torchvision", "resnet18"),
        ("package.module:build", "function", "package.module:build"),
        ("timm_models:build", "function", "timm_models:build"),
        # A module of that name is the user's own; the row has no prefix.
        ("function:build", "function", "function:build"),
    ],
)
def test_what_stands_before_the_colon_is_the_source(model, source, name):
    assert split_name(model) == (MODEL_SOURCES[source], name)


def test_a_name_without_a_colon_has_no_source():
    assert split_name("resnet50") is None
    assert split_name("timm") is None


def test_a_users_own_network_brings_its_weights_and_keeps_its_memory_format():
    for row in MODEL_SOURCES:
        whole = row.name not in ("timm", "torchvision")
        own = row.name in ("function", "onnx", "export", "torchscript")
        model = row.written.replace("NAME", "resnet18")
        assert brings_weights(model) == row.brings_weights == whole
        assert memory_format(model) == (torch.contiguous_format if own else torch.channels_last)
    assert not brings_weights("resnet50")


@pytest.mark.parametrize("name", MODEL_SOURCES.names)
def test_every_source_has_a_builder_with_the_common_signature(name):
    build = MODEL_SOURCES.load(name)
    assert list(inspect.signature(build).parameters) == ["name", "num_classes", "weights", "options"]


def test_listing_the_sources_imports_nothing_heavy():
    code = "import sys, robustbench_bi.models as models; list(models.MODEL_SOURCES); print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"numpy", "torch", "timm", "torchvision"} & set(loaded)
